// Package repositories lists the repositories of a registry, in whichever way it has for that: the catalog of the
// specification, Harbor's own listing (package harbor), or Docker Hub's (package dockerhub).
package repositories

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/dockerhub"
	"airgap/export/registry/harbor"
)

// ErrNoListing: there is no way to list the repositories of this registry.
var ErrNoListing = errors.New("the registry does not list its repositories")

// Listing is the repositories of a registry, or of a part of it.
type Listing struct {
	Repositories []string // paths, sorted, each once
	// PublicOnly is set where private repositories are not listed, or may not be: without credentials, or with some that
	// do not open a listing that shows strangers only a part.
	PublicOnly bool
}

// Lister is a client for registries that lists repositories too.
type Lister struct {
	*registry.Client
	// Hub is the host of Docker Hub's API; empty means registry.HubAPI.
	Hub string
}

// Repositories lists the repositories of a registry, as paths without the registry; with a namespace only that one and
// what is below it. It asks for the registry's catalog, or else, at Harbor, which shows that to administrators only,
// Harbor's own API; Docker Hub has a listing for each namespace, and none without. A listing that is not complete is an
// error. So is a registry that has none, which wraps ErrNoListing; one whose catalog is refused wraps
// registry.ErrUnauthorized or registry.ErrForbidden.
func (l Lister) Repositories(ctx context.Context, reg name.Registry, namespace string) (Listing, error) {
	if namespace != "" {
		if err := bundle.CheckPath(namespace); err != nil {
			return Listing{}, failure(reg, err)
		}
	}
	if registry.IsHub(reg.RegistryStr()) {
		return l.ofDockerHub(ctx, reg, namespace)
	}
	catalog, err := l.Catalog(ctx, reg)
	refused := errors.Is(err, registry.ErrUnauthorized) || errors.Is(err, registry.ErrForbidden) || errors.Is(err, registry.ErrNoCatalog)
	switch {
	case err != nil && !refused:
		return Listing{}, err
	case len(catalog) > 0: // An empty one may be all that this account is shown.
		return l.wanted(reg, namespace, catalog)
	}
	h, probeErr := harbor.Find(ctx, l.Client, reg)
	switch {
	case probeErr != nil && err != nil:
		return Listing{}, fmt.Errorf("%w; whether it is Harbor, which has another listing, cannot be told: %w", err, probeErr)
	case probeErr != nil:
		return Listing{}, probeErr
	case h != nil:
		return l.ofHarbor(ctx, h, namespace)
	case errors.Is(err, registry.ErrNoCatalog):
		return Listing{}, fmt.Errorf("%w; name its repositories one by one: %w", ErrNoListing, err)
	case err != nil:
		return Listing{}, err
	}
	return Listing{}, nil
}

func failure(reg name.Registry, err error) error {
	return &registry.Error{Op: "list repositories of", Ref: registry.DisplayName(reg.RegistryStr()), Err: err}
}

func (l Lister) ofDockerHub(ctx context.Context, reg name.Registry, namespace string) (Listing, error) {
	owner, _, _ := strings.Cut(namespace, "/")
	if owner == "" {
		return Listing{}, failure(reg, fmt.Errorf("%w, but for those of one namespace, as in docker.io/acme", ErrNoListing))
	}
	paths, publicOnly, err := dockerhub.Repositories(ctx, l.Client, cmp.Or(l.Hub, registry.HubAPI), owner)
	if err != nil {
		return Listing{}, err
	}
	listing, err := l.wanted(reg, namespace, paths)
	listing.PublicOnly = publicOnly
	return listing, err
}

// ofHarbor reads Harbor's own listing, which shows an account all that it may see: of the project, where only what is in
// one is wanted.
func (l Lister) ofHarbor(ctx context.Context, h *harbor.Client, namespace string) (Listing, error) {
	account, err := l.Credentials(ctx, h.Registry())
	if err != nil {
		return Listing{}, err
	}
	anonymous := *account == authn.AuthConfig{}
	if !anonymous {
		// A wrong password proves nothing at Harbor, which lists to strangers what is public, and says no more.
		if _, err := h.Account(ctx); err != nil {
			return Listing{}, err
		}
	}
	project, _, _ := strings.Cut(l.PathPrefix(h.Registry())+namespace, "/")
	paths, err := h.Repositories(ctx, project)
	if err != nil {
		return Listing{}, err
	}
	listing, err := l.wanted(h.Registry(), namespace, paths)
	listing.PublicOnly = anonymous
	return listing, err
}

// wanted keeps what is wanted of the repositories that a registry has: what can be asked for, below the path prefix that
// the client has for the host and without it, and is namespace or below that.
func (l Lister) wanted(reg name.Registry, namespace string, all []string) (Listing, error) {
	prefix := l.PathPrefix(reg)
	seen := map[string]bool{}
	for _, repository := range all {
		path, within := strings.CutPrefix(repository, prefix)
		if !within || namespace != "" && path != namespace && !strings.HasPrefix(path, namespace+"/") {
			continue
		}
		if err := bundle.CheckPath(path); err != nil {
			return Listing{}, failure(reg, err)
		}
		seen[path] = true
	}
	return Listing{Repositories: slices.Sorted(maps.Keys(seen))}, nil
}
