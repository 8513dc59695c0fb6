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

// Bounds on lists of tags. A list over them is an error that wraps bundle.ErrLimit.
const (
	maxTagsBody  = 16 << 20 // bytes of one page: some registries ignore the page size
	maxTags      = 200_000
	tagsPageSize = 1000
)

// Tags lists the tags of repo, all pages of them, in the registry's order and each once. A repository that does not exist
// is an error that wraps ErrRepositoryUnknown or ErrNotFound.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags
func (c *Client) Tags(ctx context.Context, repo name.Repository) ([]string, error) {
	var tags []string
	seen := make(map[string]bool)
	err := c.core.pages(ctx, c.tagsRequest(repo, tagsPageSize), maxTagsBody, func(_ *http.Response, body []byte) error {
		page, err := readTags(body)
		if err != nil {
			return err
		}
		for _, tag := range page {
			if err := bundle.CheckTag(tag); err != nil {
				return err
			}
			if !seen[tag] {
				seen[tag] = true
				tags = append(tags, tag)
			}
		}
		if len(tags) > maxTags {
			return fmt.Errorf("%w: more than %d tags", bundle.ErrLimit, maxTags)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}

// HasTags tells whether the listing of a repository's tags has any, in one request. Errors are those of Tags. A registry may
// know no repository but those with tags, so that one which is unknown may have manifests and blobs.
func (c *Client) HasTags(ctx context.Context, repo name.Repository) (bool, error) {
	r := c.tagsRequest(repo, 1)
	resp, body, err := c.core.fetch(ctx, r, maxTagsBody)
	if err != nil {
		return false, err
	}
	tags, err := readTags(body)
	if err != nil {
		return false, r.fail(err)
	}
	next, err := nextPage(&r.home.base, resp)
	if err != nil {
		return false, r.fail(err)
	}
	return len(tags) > 0 || next != nil, nil
}

// tagsRequest asks for the first n tags of a repository.
func (c *Client) tagsRequest(repo name.Repository, n int) *request {
	s := c.core.session(repo, pull)
	u := s.home.url(repo.RepositoryStr() + "/tags/list")
	u.RawQuery = fmt.Sprintf("n=%d", n)
	return &request{op: "list tags of", ref: DisplayName(repo.Name()), home: s.home, session: s, method: http.MethodGet, url: u, front: true}
}

// readTags reads one page of a listing.
func readTags(body []byte) ([]string, error) {
	var page struct {
		Tags []string `json:"tags"`
	}
	err := strictjson.Unmarshal(body, &page)
	return page.Tags, err
}

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
