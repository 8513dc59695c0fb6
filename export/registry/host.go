package registry

import (
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"airgap/export/registry/auth"
	"airgap/export/registry/flight"
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
