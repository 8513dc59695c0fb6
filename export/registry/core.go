package registry

import (
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"airgap/export/registry/auth"
	"airgap/export/registry/retry"
	"airgap/export/registry/wire"
)

// core is what all operations share: the way of one request to a registry and back (send.go), with the hosts and sessions
// that it needs.
type core struct {
	cfg   Config // without zero values
	log   *slog.Logger
	retry retry.Policy

	mu       sync.Mutex
	hosts    recent[string, *host]
	sessions recent[sessionKey, *session]
}

// host returns what is known of the host with that name, which is made at the first call.
func (c *core) host(hostname string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.hosts.get(hostname)
	if !ok {
		h = c.newHost(hostname)
		c.hosts.put(hostname, h)
	}
	return h
}

func (c *core) newHost(hostname string) *host {
	cfg := c.cfg.Host(hostname)
	scheme := "https"
	if cfg.PlainHTTP {
		scheme = "http"
	}
	cfg.PathPrefix = strings.Trim(cfg.PathPrefix, "/")
	if cfg.RateLimitRetry <= 0 {
		cfg.RateLimitRetry = defaultPullsRetry
	}
	h := &host{
		name: hostname,
		base: url.URL{Scheme: scheme, Host: hostname},
		cfg:  cfg,
		transport: wire.New(wire.Config{
			TLS: cfg.TLS, ReqPerSec: cfg.ReqPerSec, ReqConcurrent: cfg.ReqConcurrent,
			Stall: c.cfg.StallTimeout, Now: c.cfg.Now, Sleep: c.retry.Sleep,
		}),
	}
	h.asMirror.refused = newRecent[string, time.Time](maxRefused)
	h.auth = auth.NewRegistry(h.base, c.cfg.Keychain, authSender{c, h}, c.cfg.Now, believedFor)
	h.mirrors = c.parseMirrors(h)
	return h
}
