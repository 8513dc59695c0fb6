package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"airgap/bundle"
)

// Listings whose pages are asked for by number, as those of Harbor and of Docker Hub are. No address in an answer decides
// where the next request, with its credentials, goes.

const (
	apiPageSize = 100 // Harbor's and Docker Hub's largest
	// maxListingTries is how often a listing is begun that changes while it is read.
	maxListingTries = 3
)

// numberedPage is one of them.
type numberedPage struct {
	names []string
	total int  // names in all pages
	more  bool // the answer says that there is another page
}

// parsePage reads one page.
type parsePage func(*http.Response, []byte) (numberedPage, error)

var errListingChanged = errors.New("the listing changed while it was read, again and again; try later")

// numberedPages reads a listing until it has had all names that there are, by the listing's own count, and hands each to
// add, some more than once.
func (c *Client) numberedPages(
	ctx context.Context, r request, query url.Values, parse parsePage, add func(string) error,
) error {
	var err error
	for range maxListingTries {
		if err = c.countedPages(ctx, r, query, parse, add); !errors.Is(err, errListingChanged) {
			return err
		}
	}
	return err
}

// countedPages reads a listing once. What comes or goes meanwhile moves the rest from one page to another, where it can be
// missed: a total that changes is errListingChanged.
func (c *Client) countedPages(
	ctx context.Context, r request, query url.Values, parse parsePage, add func(string) error,
) error {
	seen := make(map[string]bool)
	total := 0
	for number := 1; number <= maxPages; number++ {
		one := r
		one.method, one.url = http.MethodGet, numberedURL(r.url, query, number)
		resp, body, err := c.fetch(ctx, &one, maxRepositoriesBody)
		if err != nil {
			return err
		}
		page, err := parse(resp, body)
		if err != nil {
			return one.fail(err)
		}
		if number > 1 && page.total != total {
			return one.fail(errListingChanged)
		}
		total = page.total
		had := len(seen)
		for _, name := range page.names {
			seen[name] = true
			if err := add(name); err != nil {
				return one.fail(err)
			}
		}
		switch {
		case total > maxRepositories || len(seen) > maxRepositories:
			return one.fail(tooManyRepositories())
		case len(seen) >= total && !page.more:
			return nil
		case len(seen) == had:
			return one.failf("%w: the listing ends after %d of %d repositories", bundle.ErrFormat, len(seen), total)
		}
	}
	return r.failf("%w: a listing of more than %d pages", bundle.ErrLimit, maxPages)
}

func numberedURL(base *url.URL, query url.Values, number int) *url.URL {
	u := *base
	values := url.Values{"page": {strconv.Itoa(number)}, "page_size": {strconv.Itoa(apiPageSize)}}
	for key := range query {
		values[key] = query[key]
	}
	u.RawQuery = values.Encode()
	return &u
}

// checkTotal returns an error for a total that cannot be.
func checkTotal(total int) error {
	if total < 0 {
		return fmt.Errorf("%w: a listing of %d repositories", bundle.ErrFormat, total)
	}
	return nil
}
