package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// Bounds on listings of repositories. A listing over them is an error that wraps bundle.ErrLimit.
const (
	maxRepositories     = 200_000
	maxRepositoriesBody = 16 << 20 // bytes of one page
	catalogPageSize     = 1000
)

// opList is what is tried here, for errors.
const opList = "list repositories of"

// Listing is the repositories of a registry, or of a part of it.
type Listing struct {
	Repositories []string // paths, sorted, each once
	// PublicOnly is set where private repositories are not listed, or may not be: without credentials, or with some that
	// do not open a listing that shows strangers only a part.
	PublicOnly bool
}

// Repositories lists the repositories of a registry, as paths without the registry; with a namespace only that one and
// what is below it. It asks for the registry's catalog, or else, at Harbor, which shows that to administrators only,
// Harbor's own API; Docker Hub has a listing for each namespace, and none without. A listing that is not complete is an
// error. So is a registry that has none, which wraps ErrNoListing; one whose catalog is refused wraps ErrUnauthorized or
// ErrForbidden.
func (c *Client) Repositories(ctx context.Context, reg name.Registry, namespace string) (Listing, error) {
	if namespace != "" {
		if err := bundle.CheckPath(namespace); err != nil {
			return Listing{}, &Error{Op: opList, Ref: DisplayName(reg.RegistryStr()), Err: err}
		}
	}
	if IsHub(reg.RegistryStr()) {
		return c.hubRepositories(ctx, reg, namespace)
	}
	h := c.host(reg.RegistryStr())
	catalog := newNames(h, namespace)
	err := c.catalog(ctx, reg, catalog)
	refused := errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrForbidden) || hasNoCatalog(err)
	switch {
	case err != nil && !refused:
		return Listing{}, err
	case err == nil && !catalog.empty: // An empty one may be all that this account is shown.
		return Listing{Repositories: catalog.sorted()}, nil
	}
	isHarbor, probeErr := c.isHarbor(ctx, h)
	switch {
	case probeErr != nil && err != nil:
		return Listing{}, fmt.Errorf("%w; whether it is Harbor, which has another listing, cannot be told: %w", err, probeErr)
	case probeErr != nil:
		return Listing{}, probeErr
	case isHarbor:
		return c.harborRepositories(ctx, reg, newNames(h, namespace))
	case hasNoCatalog(err):
		return Listing{}, fmt.Errorf("%w; name its repositories one by one: %w", ErrNoListing, err)
	case err != nil:
		return Listing{}, err
	}
	return Listing{Repositories: catalog.sorted()}, nil
}

func hasNoCatalog(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.token &&
		(e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed || e.HasCode(codeUnsupported))
}

// names gathers those names of a listing that are wanted.
type names struct {
	below string // what the names begin with that count at all, and what is not part of them: the path prefix of a host
	space string // as the registry calls it; empty for all that is below
	empty bool   // nothing at all was listed, wanted or not
	seen  map[string]bool
}

func newNames(h *host, namespace string) *names {
	n := &names{space: namespace, empty: true, seen: map[string]bool{}}
	if h.cfg.PathPrefix != "" {
		n.below = h.cfg.PathPrefix + "/"
	}
	if namespace != "" {
		n.space = h.prefixed(namespace)
	}
	return n
}

// project is the first part of all the names that are wanted; empty where there is no such.
func (n *names) project() string {
	project, _, _ := strings.Cut(n.below, "/")
	if n.space != "" {
		project, _, _ = strings.Cut(n.space, "/")
	}
	return project
}

// add takes a name, if it is wanted.
func (n *names) add(repository string) error {
	n.empty = false
	if n.space != "" && repository != n.space && !strings.HasPrefix(repository, n.space+"/") {
		return nil
	}
	path, within := strings.CutPrefix(repository, n.below)
	if !within {
		return nil
	}
	if err := bundle.CheckPath(path); err != nil {
		return err
	}
	n.seen[path] = true
	if len(n.seen) > maxRepositories {
		return tooManyRepositories()
	}
	return nil
}

func tooManyRepositories() error {
	return fmt.Errorf("%w: more than %d repositories", bundle.ErrLimit, maxRepositories)
}

func (n *names) sorted() []string {
	return slices.Sorted(maps.Keys(n.seen))
}

// catalog reads the registry's own listing. https://distribution.github.io/distribution/spec/api/#listing-repositories
func (c *Client) catalog(ctx context.Context, reg name.Registry, n *names) error {
	s := c.sessionFor(reg, sessionKey{registry: reg.RegistryStr(), actions: catalogActions})
	u := s.home.base
	u.Path, u.RawQuery = "/v2/_catalog", fmt.Sprintf("n=%d", catalogPageSize)
	r := &request{op: opList, ref: DisplayName(s.home.name), home: s.home, session: s, method: http.MethodGet, url: &u}
	return c.pages(ctx, r, maxRepositoriesBody, func(_ *http.Response, body []byte) error {
		var page struct {
			Repositories []string `json:"repositories"`
		}
		if err := strictjson.Unmarshal(body, &page); err != nil {
			return err
		}
		for _, repository := range page.Repositories {
			if err := n.add(repository); err != nil {
				return err
			}
		}
		return nil
	})
}
