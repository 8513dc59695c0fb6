package registry

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"airgap/export/registry/auth"
	"airgap/export/registry/recent"
	"airgap/export/registry/retry"
	"airgap/export/registry/wire"
)

// core is what all operations share: the way of one request to a registry and back (send.go), with the hosts and sessions
// that it needs.
type core struct {
	cfg   Config // without zero values
	retry retry.Policy

	// tokens asks a host's token service; it needs the core itself.
	tokens func(*host) auth.Sender

	mu       sync.Mutex
	hosts    recent.Map[string, *host]
	sessions recent.Map[sessionKey, *session]
}

// host returns what is known of the host with that name, which is made at the first call.
func (c *core) host(hostname string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.hosts.Get(hostname)
	if !ok {
		h = c.newHost(hostname)
		c.hosts.Put(hostname, h)
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
	h.asMirror.refused = recent.New[string, time.Time](maxRefused)
	h.auth = auth.NewRegistry(h.base, c.cfg.Keychain, c.tokens(h), c.cfg.Now, believedFor)
	h.mirrors = c.parseMirrors(h)
	return h
}

// parseMirrors returns the registries that h has for mirrors; what is no registry's name is passed over, and said.
func (c *core) parseMirrors(h *host) []name.Registry {
	var mirrors []name.Registry
	for _, text := range h.cfg.Mirrors {
		mirror, err := name.NewRegistry(text)
		switch {
		case err != nil:
			c.cfg.Logger.Warn("a mirror is passed over, as it is no registry",
				"of", DisplayName(h.name), "mirror", sanitize(text, maxCause))
		case mirror.RegistryStr() != h.name:
			mirrors = append(mirrors, mirror)
		}
	}
	return mirrors
}

// session returns the one session for actions in repo.
func (c *core) session(repo name.Repository, actions string) *session {
	return c.sessionIn(repo, auth.Scope{Actions: actions})
}

// sessionIn returns the one session for scope in repo.
func (c *core) sessionIn(repo name.Repository, scope auth.Scope) *session {
	scope.Repository = c.host(repo.RegistryStr()).prefixed(repo.RepositoryStr())
	return c.sessionFor(repo, scope)
}

// sessionFor returns the one session for scope, with the account that the keychain has for resource.
func (c *core) sessionFor(resource authn.Resource, scope auth.Scope) *session {
	key := sessionKey{resource.RegistryStr(), scope}
	home := c.host(key.registry)
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sessions.Get(key)
	if !ok {
		s = &session{Session: home.auth.Session(resource, scope), home: home}
		c.sessions.Put(key, s)
	}
	return s
}

// pacer paces the tries of one operation.
func (c *core) pacer(once bool) retry.Pacer { return retry.Pacer{Policy: c.retry, Once: once} }

// retrying calls try until it succeeds, fails for good, or has failed too often, which with once is the first time. The
// error is then try's last, and not temporary for who may call this from a try of its own.
func (c *core) retrying(ctx context.Context, once bool, try func() error) error {
	p := c.pacer(once)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if err := c.pause(ctx, &p, err); err != nil {
			return err
		}
	}
}

// pause returns nil when err is worth another try and the time for it has come, or else the error to give up with.
func (c *core) pause(ctx context.Context, p *retry.Pacer, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *Error
	if !errors.As(err, &e) || !e.temporary || e.final {
		return err
	}
	d, ok := p.Next(e.RetryAfter)
	if !ok {
		e.final = true
		return err
	}
	c.cfg.Logger.WarnContext(ctx, "trying again", "after", d, "error", err)
	return c.retry.Sleep(ctx, d)
}

// resumeProgress is how many bytes a blob must get on between two breaks for the earlier breaks to be forgotten. With any
// less, a server could keep a client for ever with a byte per connection.
const resumeProgress = 64 << 10
