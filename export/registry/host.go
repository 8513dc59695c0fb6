package registry

import (
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"airgap/export/registry/auth"
	"airgap/export/registry/flight"
	"airgap/export/registry/recent"
	"airgap/export/registry/wire"

	"github.com/google/go-containerregistry/pkg/name"
)

// host is what the client knows of one host.
type host struct {
	name      string // as Config.Host was asked: "host" or "host:port"
	base      url.URL
	cfg       HostConfig
	transport *wire.Transport
	auth      *auth.Registry
	waiting   flight.Flight[bool] // for pulls; whether the one that asked was answered
	fetched   atomic.Int64        // manifests, with GET
	mirrors   []name.Registry
	asMirror  mirrorState

	mu        sync.Mutex
	pulls     RateLimit
	pullsAt   time.Time // when pulls was told; zero: it is not known
	referrers apiState
	// referrersPath: some request for referrers was answered by the registry, and not by the web server in which it runs.
	referrersPath bool
	withoutPath   int         // requests for referrers that were answered by the web server
	toldAt        time.Time   // when the registry last showed what referrers says
	elsewhere     atomic.Bool // it has sent a request for a manifest or a listing to another host
}

// url returns the address of elem, of a repository or empty, under /v2/ at h.
func (h *host) url(elem string) *url.URL {
	u := h.base
	if elem != "" {
		elem = h.prefixed(elem)
	}
	u.Path = "/v2/" + elem
	return &u
}

// prefixed returns the repository as it is called at h.
func (h *host) prefixed(repository string) string {
	if h.cfg.PathPrefix == "" {
		return repository
	}
	return h.cfg.PathPrefix + "/" + repository
}

// mirrorState is what is known of a host as a mirror: a mirror that is no use must cost less than none.
type mirrorState struct {
	restsUntil atomic.Int64 // Unix nanoseconds: it could not be reached, or asked to be left alone
	mu         sync.Mutex
	refused    recent.Map[string, time.Time] // when it did not let us have that repository
}

// RateLimit is how many manifests an account or an address may still fetch ("pulls").
// https://docs.docker.com/docker-hub/usage/pulls/#view-pull-rate-and-limit
type RateLimit struct {
	Remaining int
	Limit     int           // 0 where the registry does not say
	Window    time.Duration // in which Limit is meant; 0 where the registry does not say
}

// apiState is what is known of a registry's referrers API.
type apiState int

const (
	apiUnknown apiState = iota
	apiPresent
	apiAbsent
)
