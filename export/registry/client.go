// Package registry is airgap's one client for container registries: export reads from it, the importer writes
// through it, inspect looks with it. It speaks the OCI distribution specification v1.1.1
// (https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md) and what Docker's registries made of it
// before.
//
// Make one Client with New, and share it: it is safe for concurrent use and remembers, per registry, the connections, the
// tokens and whether there is a referrers API; what it remembers is bounded, and believed for a while only. Every error is an
// *Error that wraps one of the sentinels in errors.go, or the context's own error once that is done.
//
// Here are the specification's requests, the errors, and the way of one request (send.go), which is put together from layers:
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
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/export/registry/auth"
	"airgap/export/registry/retry"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Config is what a Client needs to know. The zero value is valid: anonymous, https everywhere.
type Config struct {
	// Keychain has the credentials; nil is anonymous everywhere. It is asked with a repository (or, by Ping, with a
	// registry), once per set of actions and again whenever the registry refuses what it gave.
	Keychain authn.Keychain

	// Host has the settings of a host; nil means defaults. It is asked once for each "host" or "host:port" that is
	// contacted: for registries as go-containerregistry spells them (Docker Hub is "index.docker.io"), and also for
	// token services and the hosts that blobs are redirected to, so that a client certificate or a relaxed check
	// meant for one host is never used for another.
	Host func(host string) HostConfig

	// UserAgent is sent with every request; empty means "airgap".
	UserAgent string

	// Logger gets one line per request at level Debug and one per retry at level Warn; nil discards them. No line
	// holds a credential or the query of a URL.
	Logger *slog.Logger

	// Retry says how often and how patiently to try again; the zero value means defaults.
	Retry retry.Policy

	// StallTimeout is how long a connection may carry no byte, in either direction, before it counts as broken; zero
	// means one minute. There is no limit on how long a transfer takes as a whole.
	StallTimeout time.Duration

	// NotFoundIsEnough makes a manifest that HEAD does not find ErrNotFound, without a GET to learn whether it is the
	// repository that is unknown (which is not done either where manifests have been seen in the repository before). That is
	// for who is about to write there, to whom it makes no difference.
	NotFoundIsEnough bool

	// Overloaded, if it is set, is called at each answer by which a host says that it cannot take so much: 429, 500, 502, 503
	// or 504. The request is repeated all the same; this is for who decides how many there are at once.
	Overloaded func(host string)

	// Now is the clock for the expiry of tokens and for Retry-After dates; nil means time.Now.
	Now func() time.Time
}

// HostConfig is how to reach one host.
type HostConfig struct {
	// PlainHTTP speaks http where the default is https. It alone decides: unlike go-containerregistry, this package
	// does not take private addresses or loopback for plain http, and never falls back from https to http.
	PlainHTTP bool
	// TLS has certificate authorities, client certificates and checks for this host alone; nil means Go's defaults.
	// It is cloned.
	TLS *tls.Config

	// ReqPerSec is how many requests to this host may begin in a second; 0 is any number.
	ReqPerSec float64
	// ReqConcurrent is how many requests to this host may be under way at once, for which the body of an answer counts
	// until it is closed; 0 is any number. Who keeps that many blobs open waits for ever with the next request. Requests
	// for tokens do not count: others wait for them.
	ReqConcurrent int
	// PathPrefix is put before every repository at this host, as for a project of Harbor that is a proxy for another
	// registry; Repositories lists only what is below it, without it.
	PathPrefix string
	// Mirrors are registries that are asked first, in order, for what is named by its digest: Blob, and Manifest with a
	// digest. Such content cannot be old, or wrong without being noticed. Whatever goes wrong at a mirror, the next is
	// asked, and the registry itself at last. Tags, listings, referrers and whether something exists are always the
	// registry's own to tell: an old mirror must never read as "there are no attestations". Nothing is written to a
	// mirror; who reads back what was written wants none. Their own HostConfig applies to them, but for their mirrors.
	Mirrors []string
	// RateLimitMin is how many pulls the registry must last have said to be left for a manifest to be fetched from it.
	// While there are fewer, it is waited for RateLimitRetry (0 is five minutes) and asked again. 0 is never.
	RateLimitMin   int
	RateLimitRetry time.Duration
}

// Client talks to registries. It is safe for concurrent use.
type Client struct {
	core    *core
	mirrors *mirrors
}

// New returns a Client. It does no input or output.
func New(cfg Config) *Client {
	if cfg.Keychain == nil {
		cfg.Keychain = anonymousKeychain{}
	}
	if cfg.Host == nil {
		cfg.Host = func(string) HostConfig { return HostConfig{} }
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "airgap"
	}
	if cfg.StallTimeout <= 0 {
		cfg.StallTimeout = defaultStallTimeout
	}
	if cfg.Overloaded == nil {
		cfg.Overloaded = func(string) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	shared := &core{
		cfg:      cfg,
		log:      logger,
		retry:    cfg.Retry.WithDefaults(),
		hosts:    newRecent[string, *host](maxHosts),
		sessions: newRecent[sessionKey, *session](maxSessions),
	}
	return &Client{core: shared, mirrors: &mirrors{core: shared, sent: newRecent[bundle.Digest, time.Time](maxMirrored)}}
}

// CloseIdleConnections closes the connections that no request uses.
func (c *Client) CloseIdleConnections() {
	c.core.mu.Lock()
	defer c.core.mu.Unlock()
	c.core.hosts.deleteFunc(func(_ string, h *host) bool {
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

const defaultStallTimeout = time.Minute

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
