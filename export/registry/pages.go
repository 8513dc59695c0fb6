package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/export/registry/httpfield"
	"airgap/export/registry/wire"
)

// Bounds on listings of any kind. One over them is an error that wraps bundle.ErrLimit.
const (
	maxPages = 1000
	maxLink  = 8 << 10 // bytes of a Link header
)

var (
	errLink     = errors.New("malformed Link header")
	errLinkHost = errors.New("the next page is at another host, where it is not looked for")
	errLinkLoop = errors.New("the listing's pages go in a circle")
)

// pages fetches r and every page that follows it, and hands each to read. Whatever is wrong with a link is an error,
// since a listing that ends early looks like one that is complete.
func (c *core) pages(ctx context.Context, r *request, limit int64, read func(*http.Response, []byte) error) error {
	seen := make(map[string]bool)
	for len(seen) < maxPages {
		seen[r.url.String()] = true
		resp, body, err := c.fetch(ctx, r, limit)
		if err != nil {
			return err
		}
		if err := read(resp, body); err != nil {
			return r.fail(err)
		}
		next, err := nextPage(&r.home.base, resp)
		if err != nil {
			return r.fail(err)
		}
		if next == nil {
			return nil
		}
		if seen[next.String()] {
			return r.fail(errLinkLoop)
		}
		following := *r
		following.url = next
		r = &following
	}
	return r.failf("%w: a listing of more than %d pages", bundle.ErrLimit, maxPages)
}

// nextPage returns the address of the page after resp, or nil where that is the last.
func nextPage(home *url.URL, resp *http.Response) (*url.URL, error) {
	target, err := parseNextLink(resp.Header.Values("Link"))
	if err != nil || target == "" {
		return nil, err
	}
	next, err := resp.Request.URL.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLink, wire.URLError(err))
	}
	if err := wire.CheckURL(next); err != nil {
		return nil, fmt.Errorf("%w: %w", errLink, err)
	}
	next.Fragment = ""
	switch {
	case home.Scheme == "https" && next.Scheme != "https":
		return nil, fmt.Errorf("next page: %w", wire.ErrDowngrade)
	case strings.EqualFold(next.Host, home.Host):
		next.Scheme = home.Scheme // Harbor behind plain http may name itself with https
	case !sameOrigin(next, home):
		return nil, errLinkHost
	}
	return next, nil
}

// parseNextLink returns the target of the one link with the relation "next", or "" where there is none (RFC 8288,
// section 3).
func parseNextLink(fields []string) (string, error) {
	next := ""
	for _, field := range fields {
		if len(field) > maxLink {
			return "", errLink
		}
		for rest := strings.TrimLeft(field, " \t,"); rest != ""; rest = strings.TrimLeft(rest, " \t,") {
			target, rel, after, err := parseLink(rest)
			if err != nil {
				return "", err
			}
			rest = after
			if !slices.Contains(strings.Fields(strings.ToLower(rel)), "next") {
				continue
			}
			if target == "" || next != "" && next != target {
				return "", fmt.Errorf("%w: %d bytes that name no one next page", errLink, len(field))
			}
			next = target
		}
	}
	return next, nil
}

// parseLink reads one link off s: <target>; rel="relation"; other="..."
func parseLink(s string) (target, rel, rest string, err error) {
	end := strings.IndexByte(s, '>')
	if !strings.HasPrefix(s, "<") || end < 0 {
		return "", "", "", errLink
	}
	target, rest = strings.TrimSpace(s[1:end]), strings.TrimLeft(s[end+1:], " \t")
	for rest != "" && rest[0] != ',' {
		if rest[0] != ';' {
			return "", "", "", errLink
		}
		key, after := httpfield.Token(strings.TrimLeft(rest[1:], " \t"))
		after = strings.TrimLeft(after, " \t")
		text := ""
		if strings.HasPrefix(after, "=") {
			var ok bool
			if text, after, ok = httpfield.Value(strings.TrimLeft(after[1:], " \t")); !ok {
				return "", "", "", errLink
			}
		}
		if strings.EqualFold(key, "rel") && rel == "" {
			rel = text
		}
		rest = strings.TrimLeft(after, " \t")
	}
	return target, rel, rest, nil
}
