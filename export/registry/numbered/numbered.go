// Package numbered reads listings whose pages are asked for by number, as those of Harbor and of Docker Hub are. No address
// in an answer decides where the next request, with its credentials, goes.
package numbered

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"airgap/bundle"
)

const (
	// pageSize is the most entries that Harbor and Docker Hub give in a page: Harbor answers 422 to more.
	pageSize = 100
	// tries is how often a listing is begun that changes while it is read.
	tries = 3
)

// ErrChanged: the listing is another one on each of its pages.
var ErrChanged = errors.New("the listing changed while it was read, again and again; try later")

// Page is one page of a listing.
type Page[T any] struct {
	Entries []T
	Total   int  // entries of all pages
	More    bool // the answer says that there is another page
}

// Query asks for a page, by its number from 1 on, and for what else is in query.
func Query(number int, query url.Values) url.Values {
	values := url.Values{"page": {strconv.Itoa(number)}, "page_size": {strconv.Itoa(pageSize)}}
	for key := range query {
		values[key] = query[key]
	}
	return values
}

// All returns the entries of all pages, of which no two have the same key: as many as the listing says that there are, or an
// error. read gets the page of that number. More than most entries are an error that wraps bundle.ErrLimit.
func All[T any, K comparable](most int, read func(number int) (Page[T], error), key func(T) K) (entries []T, err error) {
	for range tries {
		var again bool
		if entries, again, err = once(most, read, key); !again {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// once reads a listing once. What comes or goes meanwhile moves the rest from one page to another, where it can be missed:
// with a total that changes, or is not what there is, the listing is to be read again.
func once[T any, K comparable](most int, read func(int) (Page[T], error), key func(T) K) (entries []T, again bool, err error) {
	seen := make(map[K]bool)
	total := 0
	for number := 1; number <= most/pageSize+1; number++ {
		page, err := read(number)
		switch {
		case err != nil:
			return nil, false, err
		case page.Total < 0:
			return nil, false, fmt.Errorf("%w: a listing of %d entries", bundle.ErrFormat, page.Total)
		case page.Total > most:
			return nil, false, fmt.Errorf("%w: a listing of %d entries; at most %d are read", bundle.ErrLimit, page.Total, most)
		case number > 1 && page.Total != total:
			return nil, true, ErrChanged
		}
		total = page.Total
		had := len(entries)
		for _, entry := range page.Entries {
			if !seen[key(entry)] {
				seen[key(entry)] = true
				entries = append(entries, entry)
			}
		}
		switch {
		case len(entries) == total && !page.More:
			return entries, false, nil
		case len(entries) > total && !page.More:
			return nil, true, ErrChanged
		case len(entries) == had:
			return nil, true, fmt.Errorf("%w: the listing ends after %d of %d entries", bundle.ErrFormat, len(entries), total)
		}
	}
	return nil, false, fmt.Errorf("%w: a listing of more than %d entries", bundle.ErrLimit, most)
}
