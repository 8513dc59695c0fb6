package harbor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"airgap/bundle"
	"airgap/bundle/strictjson"
	"airgap/export/registry"
	"airgap/export/registry/numbered"
)

const (
	// maxEntries bounds a listing as a whole.
	maxEntries = 10_000
	// maxRepositories bounds that of repositories.
	maxRepositories = 200_000
)

// list reads all pages of a listing: no two entries have the same key.
func list[T any, K comparable](ctx context.Context, c *Client, k call, most int, parse func([]byte) ([]T, error), key func(T) K) ([]T, error) {
	k.method, k.limit = http.MethodGet, maxListing
	query := k.query
	entries, err := numbered.All(most, func(number int) (numbered.Page[T], error) {
		k.query = numbered.Query(number, query)
		return onePage(ctx, c, k, parse)
	}, key)
	var e *registry.Error
	if err != nil && !errors.As(err, &e) {
		return nil, c.malformed(k, err)
	}
	return entries, err
}

// onePage reads one page, and the number of entries in all of them (header X-Total-Count).
func onePage[T any](ctx context.Context, c *Client, k call, parse func([]byte) ([]T, error)) (page numbered.Page[T], err error) {
	answer, err := c.do(ctx, k)
	if err != nil {
		return page, err
	}
	if page.Entries, err = parse(answer.Body); err != nil {
		return page, c.malformed(k, err)
	}
	header := answer.Header.Get("X-Total-Count")
	if page.Total, err = strconv.Atoi(header); err != nil {
		return page, c.malformed(k, fmt.Errorf("%w: X-Total-Count is %.40q", bundle.ErrFormat, header))
	}
	return page, nil
}

// Repositories lists the repositories of a project, or with "" all that this account may see, with the project's name
// before theirs. (listRepositories, listAllRepositories)
func (c *Client) Repositories(ctx context.Context, project string) ([]string, error) {
	k := call{op: "list repositories of", path: "/repositories"}
	if project != "" {
		var err error
		if k, err = projectCall("list the repositories of", project, "/repositories"); err != nil {
			return nil, err
		}
	}
	k.query = url.Values{"sort": {"name"}}
	return list(ctx, c, k, maxRepositories, parseRepositories, func(name string) string { return name })
}

func parseRepositories(body []byte) ([]string, error) {
	var entries []struct {
		Name string `json:"name"`
	}
	if err := strictjson.Unmarshal(body, &entries); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name)
	}
	return names, nil
}
