package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/strictjson"
	"airgap/export/registry/auth"
)

// Bounds on the catalog. One over them is an error that wraps bundle.ErrLimit.
const (
	maxRepositories     = 200_000
	maxRepositoriesBody = 16 << 20 // bytes of one page
	catalogPageSize     = 1000
)

// Catalog lists the repositories of a registry that has a catalog, in its order, as they are called there: path prefixes of
// its host are not looked at. Many registries show it to some accounts only, or to none; one that does not have it is an
// error that wraps ErrNoCatalog. https://distribution.github.io/distribution/spec/api/#listing-repositories
func (c *Client) Catalog(ctx context.Context, reg name.Registry) ([]string, error) {
	s := c.core.sessionFor(reg, auth.Scope{Actions: auth.Catalog})
	u := s.home.base
	u.Path, u.RawQuery = "/v2/_catalog", fmt.Sprintf("n=%d", catalogPageSize)
	r := &request{op: "list repositories of", ref: DisplayName(s.home.name), home: s.home, session: s, method: http.MethodGet, url: &u}
	var all []string
	err := c.core.pages(ctx, r, maxRepositoriesBody, func(_ *http.Response, body []byte) error {
		var page struct {
			Repositories []string `json:"repositories"`
		}
		if err := strictjson.Unmarshal(body, &page); err != nil {
			return err
		}
		if all = append(all, page.Repositories...); len(all) > maxRepositories {
			return fmt.Errorf("%w: more than %d repositories", bundle.ErrLimit, maxRepositories)
		}
		return nil
	})
	var e *Error
	switch {
	case errors.As(err, &e) && !e.token && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed || e.HasCode(codeUnsupported)):
		return nil, fmt.Errorf("%w: %w", ErrNoCatalog, err)
	case err != nil:
		return nil, err
	}
	return all, nil
}
