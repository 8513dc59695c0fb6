package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// noteRateLimit remembers headers such as "ratelimit-limit: 100;w=21600" and "ratelimit-remaining: 76;w=21600": 76 pulls
// are left of 100 in a window of 6 hours. Where there are none, what was known before stays.
func (h *host) noteRateLimit(header http.Header, now time.Time) {
	remaining, window, ok := parseLimit(header.Get("Ratelimit-Remaining"))
	if !ok {
		return
	}
	limit, of, ok := parseLimit(header.Get("Ratelimit-Limit"))
	if ok && of > 0 {
		window = of
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pulls, h.pullsAt = RateLimit{Remaining: remaining, Limit: limit, Window: window}, now
}

// forgetRateLimit is for when the registry no longer says that there is one.
func (h *host) forgetRateLimit() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pulls, h.pullsAt = RateLimit{}, time.Time{}
}

// maxWindow is more than any registry counts in, in seconds.
const maxWindow = 365 * 24 * 3600

// parseLimit reads "76;w=21600": a number, and seconds. ok is false where it is no number; what else is wrong with it
// only leaves the window unknown.
func parseLimit(s string) (n int, window time.Duration, ok bool) {
	text, parameters, _ := strings.Cut(s, ";")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 0 {
		return 0, 0, false
	}
	for parameter := range strings.SplitSeq(parameters, ";") {
		text, found := strings.CutPrefix(strings.TrimSpace(parameter), "w=")
		if w, err := strconv.Atoi(text); found && err == nil && w > 0 && w <= maxWindow {
			window = time.Duration(w) * time.Second
		}
	}
	return n, window, true
}

// pullsLeft tells whether as many pulls are left as h is configured to leave, as far as is known.
func (h *host) pullsLeft() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pullsAt.IsZero() || h.pulls.Remaining >= h.cfg.RateLimitMin
}

// awaitPulls waits while fewer pulls are left than the host is configured to leave, and asks with HEAD, which does not
// count, whether that has changed. All that want to fetch wait together, and one of them asks.
func (c *core) awaitPulls(ctx context.Context, s *session, ref name.Reference) error {
	h := s.home
	for !h.pullsLeft() {
		if err := h.checkAttainable(ref); err != nil {
			return err
		}
		asked, err := h.waiting.Do(ctx, func(ctx context.Context) (bool, error) {
			if h.pullsLeft() {
				return true, nil
			}
			c.cfg.Logger.WarnContext(ctx, "waiting, as few pulls are left",
				"registry", DisplayName(h.name), "after", h.cfg.RateLimitRetry, "least", h.cfg.RateLimitMin)
			if err := c.retry.Sleep(ctx, h.cfg.RateLimitRetry); err != nil {
				return false, err
			}
			return c.askPulls(ctx, s, ref) == nil, nil
		})
		if err != nil {
			return err
		}
		if asked {
			continue
		}
		// The one that asked was refused, for what it wants; that says nothing of ref.
		err = c.askPulls(ctx, s, ref)
		var e *Error
		switch {
		case errors.As(err, &e) && e.Status >= 400 && e.Status <= 499 && e.Status != http.StatusTooManyRequests:
			return nil // GET can say why
		case err != nil:
			return err
		}
	}
	return nil
}

// askPulls asks with HEAD how many pulls are left. An answer that does not say means that there is no limit.
func (c *core) askPulls(ctx context.Context, s *session, ref name.Reference) error {
	resp, _, err := c.fetch(ctx, manifestRequest("ask about the pulls left for", http.MethodHead, s, ref), 0)
	if err != nil {
		return err
	}
	if _, _, ok := parseLimit(resp.Header.Get("Ratelimit-Remaining")); !ok {
		s.home.forgetRateLimit()
	}
	s.home.noteRateLimit(resp.Header, c.cfg.Now())
	return nil
}

// checkAttainable returns an error where the pulls that are to be left are more than there ever are.
func (h *host) checkAttainable(ref name.Reference) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pulls.Limit == 0 || h.pulls.Limit >= h.cfg.RateLimitMin {
		return nil
	}
	return &Error{Op: "fetch manifest", Ref: DisplayName(ref.Name()), Err: fmt.Errorf(
		"%w: %d pulls are to be left, of the %d that it allows at all", ErrThrottled, h.cfg.RateLimitMin, h.pulls.Limit)}
}
