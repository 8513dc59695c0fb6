package registry

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"airgap/export/registry/retry"
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

const defaultStallTimeout = time.Minute

// defaultPullsRetry is the least that regsync waits.
const defaultPullsRetry = 5 * time.Minute

// withDefaults returns cfg without zero values.
func (cfg Config) withDefaults() Config {
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
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

type anonymousKeychain struct{}

func (anonymousKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.Anonymous, nil
}

// believedFor is for how long a conclusion is believed after the last answer that supports it.
const believedFor = time.Hour

// Bounds on what is remembered, by the number of entries; see package recent.
const (
	maxHosts    = 512
	maxSessions = 8192
	maxMirrored = 32768
	maxRefused  = 4096
)
