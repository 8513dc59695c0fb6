package registry

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// limiter holds the requests to one host to its HostConfig: so many at once, and so many in a second.
type limiter struct {
	slots    chan struct{} // nil: any number at once
	interval time.Duration // 0: any number in a second

	mu   sync.Mutex
	next time.Time // when the next request may begin
}

func newLimiter(cfg HostConfig) *limiter {
	l := &limiter{}
	if cfg.ReqConcurrent > 0 {
		l.slots = make(chan struct{}, cfg.ReqConcurrent)
	}
	if cfg.ReqPerSec > 0 {
		l.interval = time.Duration(float64(time.Second) / cfg.ReqPerSec)
	}
	return l
}

// enter waits until a request may begin. leave must be called once, when it is over.
func (l *limiter) enter(ctx context.Context, now func() time.Time, sleep func(context.Context, time.Duration) error) (leave func(), err error) {
	leave = func() {}
	if l.slots != nil {
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		leave = sync.OnceFunc(func() { <-l.slots })
	}
	if l.interval == 0 {
		return leave, nil
	}
	l.mu.Lock()
	at := now()
	if at.Before(l.next) {
		at = l.next
	}
	l.next = at.Add(l.interval)
	l.mu.Unlock()
	if wait := at.Sub(now()); wait > 0 {
		if err := sleep(ctx, wait); err != nil {
			leave()
			return nil, err
		}
	}
	return leave, nil
}

// RateLimit is how many manifests an account or an address may still fetch ("pulls").
// https://docs.docker.com/docker-hub/usage/pulls/#view-pull-rate-and-limit
type RateLimit struct {
	Remaining int
	Limit     int           // 0 where the registry does not say
	Window    time.Duration // in which Limit is meant; 0 where the registry does not say
}

// RateLimit returns what the registry's last answer about a manifest said. known is false where it said nothing.
func (c *Client) RateLimit(reg name.Registry) (limit RateLimit, known bool) {
	h := c.host(reg.RegistryStr())
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pulls, h.limited
}

// Pulls returns how many manifests this client has fetched from a registry with GET: what counts against a limit.
func (c *Client) Pulls(reg name.Registry) int {
	return int(c.host(reg.RegistryStr()).fetched.Load())
}

// noteRateLimit remembers headers such as "ratelimit-remaining: 76;w=21600": 76 pulls in a window of 6 hours.
func (h *host) noteRateLimit(header http.Header) {
	remaining, _, ok := parseLimit(header.Get("Ratelimit-Remaining"))
	if !ok {
		return
	}
	limit, window, _ := parseLimit(header.Get("Ratelimit-Limit"))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pulls, h.limited = RateLimit{Remaining: remaining, Limit: limit, Window: window}, true
}

func parseLimit(s string) (n int, window time.Duration, ok bool) {
	text, parameters, _ := strings.Cut(s, ";")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 0 {
		return 0, 0, false
	}
	if seconds, found := strings.CutPrefix(strings.TrimSpace(parameters), "w="); found {
		if w, err := strconv.Atoi(seconds); err == nil && w > 0 && w < 1e9 {
			window = time.Duration(w) * time.Second
		}
	}
	return n, window, true
}

// awaitPulls waits while fewer pulls are left than the host is configured to leave, and asks with HEAD, which does not
// count, whether that has changed. All that want to fetch wait together.
func (c *Client) awaitPulls(ctx context.Context, s *session, ref name.Reference) error {
	h := s.home
	enough := func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return !h.limited || h.pulls.Remaining >= h.cfg.RateLimitMin
	}
	for !enough() {
		_, err := h.waiting.do(ctx, func(ctx context.Context) (struct{}, error) {
			if enough() {
				return struct{}{}, nil
			}
			c.log.WarnContext(ctx, "waiting, as few pulls are left", "registry", displayHost(h.name), "after", h.cfg.RateLimitRetry, "least", h.cfg.RateLimitMin)
			if err := c.retry.Sleep(ctx, h.cfg.RateLimitRetry); err != nil {
				return struct{}{}, err
			}
			resp, _, err := c.fetch(ctx, c.manifestRequest("ask about the pulls left for", http.MethodHead, s, ref), 0)
			if err != nil {
				return struct{}{}, err
			}
			h.mu.Lock()
			h.limited = false // unless it says so again
			h.mu.Unlock()
			h.noteRateLimit(resp.Header)
			return struct{}{}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
