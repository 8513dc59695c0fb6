package harbor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"airgap/bundle"
)

const (
	// pageSize is the most that Harbor takes: above it answers 422.
	pageSize = 100
	// maxEntries bounds a listing as a whole.
	maxEntries = 10_000
	// maxListingTries is how often a listing is begun that changes while it is read.
	maxListingTries = 3
)

var errListingChanged = errors.New("the listing changed while it was read, again and again; try later")

// list reads all pages of a listing: no two entries have the same key. Where the next page is is not taken from the
// answer, which therefore cannot send a password anywhere.
func list[T any, K comparable](ctx context.Context, c *Client, k call, parse func([]byte) ([]T, error), key func(T) K) ([]T, error) {
	var entries []T
	var err error
	for range maxListingTries {
		if entries, err = listOnce(ctx, c, k, parse, key); !errors.Is(err, errListingChanged) {
			break
		}
	}
	return entries, err
}

// listOnce is list without another try. What comes or goes meanwhile moves the rest from one page to another, where it
// can be missed: a total (header X-Total-Count) that changes, or is not reached, is errListingChanged.
func listOnce[T any, K comparable](ctx context.Context, c *Client, k call, parse func([]byte) ([]T, error), key func(T) K) ([]T, error) {
	var entries []T
	seen := make(map[K]bool)
	total := 0
	for number := 1; number <= maxEntries/pageSize; number++ {
		page, count, err := onePage(ctx, c, k, number, parse)
		switch {
		case err != nil:
			return nil, err
		case number > 1 && count != total:
			return nil, c.malformed(k, errListingChanged)
		case count > maxEntries:
			return nil, c.malformed(k, fmt.Errorf("%w: a listing of %d entries; at most %d are read", bundle.ErrLimit, count, maxEntries))
		}
		total = count
		for _, entry := range page {
			if !seen[key(entry)] {
				seen[key(entry)] = true
				entries = append(entries, entry)
			}
		}
		switch {
		case len(entries) == total:
			return entries, nil
		case len(entries) > total || len(page) == 0:
			return nil, c.malformed(k, errListingChanged)
		}
	}
	return nil, c.malformed(k, errListingChanged)
}

// onePage reads one page, and the number of entries in all of them.
func onePage[T any](ctx context.Context, c *Client, k call, number int, parse func([]byte) ([]T, error)) (page []T, total int, err error) {
	query := url.Values{"page": {strconv.Itoa(number)}, "page_size": {strconv.Itoa(pageSize)}}
	maps.Copy(query, k.query)
	one := k
	one.method, one.query, one.limit = http.MethodGet, query, maxListing
	answer, err := c.do(ctx, one)
	if err != nil {
		return nil, 0, err
	}
	page, err = parse(answer.Body)
	if err == nil {
		header := answer.Header.Get("X-Total-Count")
		if total, err = strconv.Atoi(header); err != nil || total < 0 {
			err = fmt.Errorf("%w: X-Total-Count is %.40q", bundle.ErrFormat, header)
		}
	}
	if err != nil {
		return nil, 0, c.malformed(k, err)
	}
	return page, total, nil
}
