// Package registry is airgap's one client for container registries: export reads from it, the importer writes
// through it, inspect looks with it. It speaks the OCI distribution specification v1.1.1
// (https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md) and what Docker's registries made of it
// before.
//
// Make one Client with New, and share it: it is safe for concurrent use and remembers, per registry, the connections, the
// tokens and whether there is a referrers API; what it remembers is bounded, and believed for a while only. Every error is an
// *Error that wraps one of the sentinels in errors.go, or the context's own error once that is done.
//
// Here are the specification's requests (from client.go up), what they are made of that takes several requests (pages.go,
// fetch.go, blobreader.go), and the way of one request (send.go), which is put together from layers:
//
//	wire      one exchange with one host: connections, limits of rate and number, what to do when nothing moves (an http.RoundTripper)
//	auth      the credentials that it is sent with
//	retry     whether and when it is tried again
//
// Credentials and redirects are no RoundTrippers: which host may see which credential depends on the registry that an
// operation is for and on every step on the way, not on the request alone. Neither are retries, since an answer that breaks
// off while it is read is tried again too, and a blob from where it broke. Mirrors (mirror.go) and limits of pulls (pulls.go)
// lie around operations, not requests. What registries have besides the specification lies beside this package: harbor,
// dockerhub, and repositories, which lists with whatever there is.
//
// It is written on net/http and not on go-containerregistry's remote package, of which only the names and the
// credential interfaces are used. That package reads every failed referrers listing as "none", does not honour
// Retry-After, and does not continue a broken blob; its transport also tries https before http where an address is
// private and then falls back, refuses token services on private addresses, which is where air-gapped networks have
// them, and sends a request's body a second time without rewinding it.
package registry

import (
	"context"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry/auth"
	"airgap/export/registry/recent"
)

// Client talks to registries. It is safe for concurrent use.
type Client struct {
	core    *core
	mirrors *mirrors
}

// New returns a Client. It does no input or output.
func New(cfg Config) *Client {
	cfg = cfg.withDefaults()
	shared := &core{
		cfg:      cfg,
		retry:    cfg.Retry.WithDefaults(),
		hosts:    recent.New[string, *host](maxHosts),
		sessions: recent.New[sessionKey, *session](maxSessions),
	}
	shared.tokens = func(h *host) auth.Sender { return tokenSender{shared, h} }
	return &Client{core: shared, mirrors: &mirrors{core: shared, sent: recent.New[bundle.Digest, time.Time](maxMirrored)}}
}

// CloseIdleConnections closes the connections that no request uses.
func (c *Client) CloseIdleConnections() {
	c.core.mu.Lock()
	defer c.core.mu.Unlock()
	c.core.hosts.DeleteFunc(func(_ string, h *host) bool {
		h.transport.CloseIdleConnections()
		return false
	})
}

// IsLoopback tells whether host, with or without a port, is this machine: localhost or a name under it, 127.0.0.0/8
// or ::1. Such registries speak plain http by default; deciding so is the caller's part (see HostConfig).
func IsLoopback(hostport string) bool {
	hostname := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		hostname = h
	}
	hostname = strings.ToLower(strings.Trim(hostname, "[]"))
	if hostname == "localhost" || strings.HasSuffix(hostname, ".localhost") {
		return true
	}
	ip := net.ParseIP(hostname)
	return ip != nil && ip.IsLoopback()
}

// Ping checks that the registry can be reached and speaks the protocol and that it accepts the credentials for it.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#determining-support
func (c *Client) Ping(ctx context.Context, reg name.Registry) error {
	s := c.core.sessionFor(reg, auth.Scope{})
	r := &request{
		op: "reach", ref: DisplayName(reg.RegistryStr()), home: s.home, session: s, method: http.MethodGet, url: s.home.url(""),
	}
	_, _, err := c.core.fetch(ctx, r, maxAnswer)
	return err
}

// ForgetTokens drops all tokens for a registry, so that the next requests fetch new ones: Harbor 2.14.4 and later may refuse
// those that are older than the project that they are used in.
func (c *Client) ForgetTokens(reg name.Registry) {
	c.core.mu.Lock()
	defer c.core.mu.Unlock()
	c.core.sessions.DeleteFunc(func(key sessionKey, _ *session) bool { return key.registry == reg.RegistryStr() })
}

// Credentials returns what the keychain has for a registry, which may be nothing.
func (c *Client) Credentials(ctx context.Context, reg name.Registry) (*authn.AuthConfig, error) {
	account, err := c.core.host(reg.RegistryStr()).auth.Account(ctx, reg)
	if err != nil {
		return nil, &Error{Op: "read the credentials for", Ref: DisplayName(reg.RegistryStr()), At: "credentials", Err: err}
	}
	return account, nil
}

// RateLimit returns what the registry's last answer about a manifest said. known is false where it said nothing.
func (c *Client) RateLimit(reg name.Registry) (limit RateLimit, known bool) {
	h := c.core.host(reg.RegistryStr())
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pulls, !h.pullsAt.IsZero()
}

// Pulls returns how many GET requests for manifests this client has made to a registry: what counts against a limit of
// pulls. Requests that were refused with 401 or 429 do not, and are left out.
func (c *Client) Pulls(reg name.Registry) int {
	return int(c.core.host(reg.RegistryStr()).fetched.Load())
}

// Granted returns which actions the registry's token service grants in repo when it is asked for "pull" and "push", as far
// as its token says so, in the token's order; "*" stands for all. It may be more than was asked for. A token service that
// grants less than was asked for says so nowhere else: Harbor answers a wrong password with 200 and a token for nothing.
// known is false where there is nothing to read: the registry takes passwords or no credentials at all, or its tokens are
// opaque. The token is not verified, only its registry can do that, so this is for telling people early, and for nothing
// else. https://distribution.github.io/distribution/spec/auth/jwt/#getting-a-bearer-token
func (c *Client) Granted(ctx context.Context, repo name.Repository) (granted []string, known bool, err error) {
	s := c.core.session(repo, pullPush)
	granted, known, err = s.Granted(ctx)
	if err != nil {
		r := &request{op: "ask for the rights in", ref: DisplayName(repo.Name()), home: s.home, session: s, url: s.home.url("")}
		return nil, false, c.core.relabel(ctx, r, err)
	}
	return granted, known, nil
}

// PathPrefix returns what comes before the repositories of a registry at its host, with a slash at the end, or "".
func (c *Client) PathPrefix(reg name.Registry) string {
	return c.core.host(reg.RegistryStr()).prefixed("")
}

// Path returns the path that repo has at its host: below HostConfig.PathPrefix.
func (c *Client) Path(repo name.Repository) string {
	return c.core.host(repo.RegistryStr()).prefixed(repo.RepositoryStr())
}
