package registry

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"airgap/export/registry/auth"
	"airgap/export/registry/retry"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Actions of a session, as scopes name them.
const (
	pull     = "pull"
	pullPush = "pull,push"
)

// sessionKey is what a session may be shared for.
type sessionKey struct {
	registry string
	scope    auth.Scope
}

// session is an auth.Session, and what has come of it.
type session struct {
	*auth.Session
	home   *host
	works  atomic.Bool  // a request has been answered well
	known  atomic.Int64 // when there last were manifests in the repository, in nanoseconds since 1970
	public atomic.Int64 // when one of them was last seen without an account
}

// saw notes that r was answered with a manifest.
func (s *session) saw(r *request, now time.Time) {
	s.known.Store(now.UnixNano())
	if !r.account {
		s.public.Store(now.UnixNano())
	}
}

// isKnown tells whether there have been manifests in the repository lately.
func (s *session) isKnown(now time.Time) bool { return isRecent(&s.known, now) }

// isPublic tells whether manifests of the repository have been seen without an account lately.
func (s *session) isPublic(now time.Time) bool { return isRecent(&s.public, now) }

func isRecent(at *atomic.Int64, now time.Time) bool {
	return now.Sub(time.Unix(0, at.Load())) < believedFor
}

type anonymousKeychain struct{}

func (anonymousKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.Anonymous, nil
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
	s, ok := c.sessions.get(key)
	if !ok {
		s = &session{Session: home.auth.Session(resource, scope), home: home}
		c.sessions.put(key, s)
	}
	return s
}

// ForgetTokens drops all tokens for a registry, so that the next requests fetch new ones: Harbor 2.14.4 and later may refuse
// those that are older than the project that they are used in.
func (c *Client) ForgetTokens(reg name.Registry) {
	c.core.mu.Lock()
	defer c.core.mu.Unlock()
	c.core.sessions.deleteFunc(func(key sessionKey, _ *session) bool { return key.registry == reg.RegistryStr() })
}

// Credentials returns what the keychain has for a registry, which may be nothing.
func (c *Client) Credentials(ctx context.Context, reg name.Registry) (*authn.AuthConfig, error) {
	account, err := c.core.host(reg.RegistryStr()).auth.Account(ctx, reg)
	if err != nil {
		return nil, &Error{Op: "read the credentials for", Ref: DisplayName(reg.RegistryStr()), At: "credentials", Err: err}
	}
	return account, nil
}

// authSender sends what the credentials for a host need (auth.Sender).
type authSender struct {
	core *core
	home *host
}

// Probe implements auth.Sender.
func (s authSender) Probe(ctx context.Context, once bool) (status int, header http.Header, err error) {
	h := s.home
	r := &request{op: "reach", ref: DisplayName(h.name), home: h, method: http.MethodGet, url: h.url(""), document: true}
	err = s.core.retrying(ctx, once, func() error {
		resp, err := s.core.hop(ctx, r, r.url, "")
		if err != nil {
			return err
		}
		if retry.Status(resp.StatusCode) {
			return r.failure(resp, s.core.cfg.Now())
		}
		r.discard(resp)
		status, header = resp.StatusCode, resp.Header
		return nil
	})
	return status, header, err
}

// Token implements auth.Sender.
func (s authSender) Token(ctx context.Context, t *auth.TokenRequest, read func([]byte) error) (status int, err error) {
	r := &request{
		op: "get a token for", ref: DisplayName(s.home.name), home: s.home, realm: t.URL, method: t.Method, url: t.URL,
		header: t.Header, body: t.Body, once: t.Once, secrets: t.Secrets, account: len(t.Secrets) > 0,
	}
	resp, body, err := s.core.fetch(ctx, r, auth.MaxToken)
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Status, err
	case err != nil:
		return 0, err
	}
	if err := read(body); err != nil {
		return resp.StatusCode, r.fail(err)
	}
	return resp.StatusCode, nil
}
