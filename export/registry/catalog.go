package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
	apiPageSize         = 100 // Harbor's and Docker Hub's largest
)

// Listing is the repositories of a registry, or of a part of it.
type Listing struct {
	Repositories []string // paths, sorted, each once
	// PublicOnly is set where there were no credentials for a listing that shows strangers only a part.
	PublicOnly bool
}

// ErrNoListing: there is no way to list the repositories of this registry.
var ErrNoListing = errors.New("the registry does not list its repositories")

// Repositories lists the repositories of a registry; with a namespace only that one and what is below it. It asks for
// the registry's catalog, or else, at Harbor, which shows that to administrators only, Harbor's own API; Docker Hub has
// a listing for each namespace. A listing that is not complete is an error.
func (c *Client) Repositories(ctx context.Context, reg name.Registry, namespace string) (Listing, error) {
	if reg.RegistryStr() == name.DefaultRegistry {
		return c.hubRepositories(ctx, reg, namespace)
	}
	l := listing{namespace: namespace, seen: map[string]bool{}}
	publicOnly := false
	err := c.catalog(ctx, reg, &l)
	if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrForbidden) || hasNoCatalog(err) {
		isHarbor, probeErr := c.isHarbor(ctx, reg)
		switch {
		case probeErr != nil:
			return Listing{}, errors.Join(err, probeErr)
		case isHarbor:
			l = listing{namespace: namespace, seen: map[string]bool{}}
			publicOnly, err = c.harborRepositories(ctx, reg, &l)
		case hasNoCatalog(err):
			err = fmt.Errorf("%w; name its repositories one by one: %w", ErrNoListing, err)
		}
	}
	if err != nil {
		return Listing{}, err
	}
	return Listing{Repositories: l.sorted(), PublicOnly: publicOnly}, nil
}

func hasNoCatalog(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.token && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed || e.HasCode(codeUnsupported))
}

// listing gathers names.
type listing struct {
	namespace string
	seen      map[string]bool
}

// add takes a name, if it is within the namespace.
func (l *listing) add(repository string) error {
	if err := bundle.CheckPath(repository); err != nil {
		return err
	}
	if l.namespace == "" || repository == l.namespace || strings.HasPrefix(repository, l.namespace+"/") {
		l.seen[repository] = true
	}
	if len(l.seen) > maxRepositories {
		return fmt.Errorf("%w: more than %d repositories", bundle.ErrLimit, maxRepositories)
	}
	return nil
}

func (l *listing) sorted() []string {
	names := make([]string, 0, len(l.seen))
	for repository := range l.seen {
		names = append(names, repository)
	}
	slices.Sort(names)
	return names
}

// catalog reads the registry's own listing. https://distribution.github.io/distribution/spec/api/#listing-repositories
func (c *Client) catalog(ctx context.Context, reg name.Registry, l *listing) error {
	s := c.sessionFor(reg, sessionKey{registry: reg.RegistryStr(), actions: catalogActions})
	u := s.home.base
	u.Path, u.RawQuery = "/v2/_catalog", fmt.Sprintf("n=%d", catalogPageSize)
	r := &request{op: "list repositories of", ref: displayHost(reg.RegistryStr()), home: s.home, session: s, method: http.MethodGet, url: &u}
	return c.pages(ctx, r, maxRepositoriesBody, func(_ *http.Response, body []byte) error {
		var page struct {
			Repositories []string `json:"repositories"`
		}
		if err := strictjson.Unmarshal(body, &page); err != nil {
			return err
		}
		for _, repository := range page.Repositories {
			if err := l.add(repository); err != nil {
				return err
			}
		}
		return nil
	})
}

// isHarbor asks for what only Harbor answers so, without login.
func (c *Client) isHarbor(ctx context.Context, reg name.Registry) (bool, error) {
	h := c.host(reg.RegistryStr())
	u := h.base
	u.Path = "/api/v2.0/ping"
	r := &request{op: "look for Harbor at", ref: displayHost(reg.RegistryStr()), home: h, method: http.MethodGet, url: &u}
	_, body, err := c.fetch(ctx, r, 1<<10)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Status >= 400 && e.Status < 500, errors.Is(err, bundle.ErrLimit):
		return false, nil
	case err != nil:
		return false, err
	}
	return strings.TrimSpace(string(body)) == "Pong", nil
}

// harborRepositories reads Harbor's listing, which shows an account all that it may see.
// (Harbor's swagger: listAllRepositories, listRepositories)
func (c *Client) harborRepositories(ctx context.Context, reg name.Registry, l *listing) (publicOnly bool, err error) {
	s := c.sessionFor(reg, sessionKey{registry: reg.RegistryStr(), basic: true})
	u := s.home.base
	u.Path = "/api/v2.0/repositories"
	if project, _, _ := strings.Cut(l.namespace, "/"); project != "" {
		u.Path = "/api/v2.0/projects/" + project + "/repositories"
	}
	err = c.numberedPages(ctx, request{
		op: "list repositories of", ref: displayHost(reg.RegistryStr()), home: s.home, session: s,
		header: http.Header{"X-Is-Resource-Name": {"true"}},
	}, &u, func(resp *http.Response, body []byte) (got, total int, err error) {
		var page []struct {
			Name string `json:"name"`
		}
		if err := strictjson.Unmarshal(body, &page); err != nil {
			return 0, 0, err
		}
		for _, repository := range page {
			if err := l.add(repository.Name); err != nil {
				return 0, 0, err
			}
		}
		total, err = strconv.Atoi(resp.Header.Get("X-Total-Count"))
		if err != nil {
			return 0, 0, fmt.Errorf("%w: X-Total-Count is %.40q", bundle.ErrFormat, resp.Header.Get("X-Total-Count"))
		}
		return len(page), total, nil
	})
	return !s.isAccount(), err
}

// isAccount tells whether what was last sent was somebody's.
func (s *session) isAccount() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cred != nil && s.cred.account
}

// numberedPages fetches pages by their numbers until as many entries have come as the listing says that it has.
func (c *Client) numberedPages(ctx context.Context, r request, u *url.URL, read func(*http.Response, []byte) (got, total int, err error)) error {
	r.method = http.MethodGet
	had := 0
	for page := 1; page <= maxPages; page++ {
		address := *u
		address.RawQuery = fmt.Sprintf("page=%d&page_size=%d", page, apiPageSize)
		one := r
		one.url = &address
		resp, body, err := c.fetch(ctx, &one, maxRepositoriesBody)
		if err != nil {
			return err
		}
		got, total, err := read(resp, body)
		if err != nil {
			return one.fail(err)
		}
		had += got
		switch {
		case had >= total:
			return nil
		case got == 0:
			return one.failf("%w: the listing ends after %d of %d repositories", bundle.ErrFormat, had, total)
		}
	}
	return r.failf("%w: a listing of more than %d pages", bundle.ErrLimit, maxPages)
}

// hubRepositories reads Docker Hub's listing of a namespace.
// https://docs.docker.com/reference/api/hub/latest/#tag/repositories
func (c *Client) hubRepositories(ctx context.Context, reg name.Registry, namespace string) (Listing, error) {
	owner, rest, _ := strings.Cut(namespace, "/")
	if owner == "" || rest != "" {
		return Listing{}, fmt.Errorf("%w: Docker Hub lists what is in one namespace, as in docker.io/acme", ErrNoListing)
	}
	s, err := c.hubSession(ctx, reg)
	if err != nil {
		return Listing{}, err
	}
	l := listing{namespace: owner, seen: map[string]bool{}}
	u := s.home.base
	u.Path = "/v2/namespaces/" + owner + "/repositories"
	err = c.numberedPages(ctx, request{op: "list repositories of", ref: "docker.io/" + owner, home: s.home, session: s}, &u,
		func(_ *http.Response, body []byte) (got, total int, err error) {
			var page struct {
				Count   int `json:"count"`
				Results []struct {
					Name string `json:"name"`
				} `json:"results"`
			}
			if err := strictjson.Unmarshal(body, &page); err != nil {
				return 0, 0, err
			}
			for _, repository := range page.Results {
				if err := l.add(owner + "/" + repository.Name); err != nil {
					return 0, 0, err
				}
			}
			return len(page.Results), page.Count, nil
		})
	if err != nil {
		return Listing{}, err
	}
	return Listing{Repositories: l.sorted(), PublicOnly: !s.isAccount()}, nil
}

// hubSession logs in at Docker Hub's API, which is another host than its registry, with the account for that.
// https://docs.docker.com/reference/api/hub/latest/#tag/authentication-api
func (c *Client) hubSession(ctx context.Context, reg name.Registry) (*session, error) {
	account, err := c.sessionFor(reg, sessionKey{registry: reg.RegistryStr(), actions: catalogActions}).account(ctx)
	if err != nil {
		return nil, &Error{Op: "read the credentials for", Ref: "docker.io", At: "credentials", Err: err}
	}
	s := &session{client: c, home: c.host(c.cfg.Hub), resource: reg, cred: &credential{}}
	if account.Username == "" || account.Password == "" {
		return s, nil
	}
	body, err := json.Marshal(map[string]string{"identifier": account.Username, "secret": account.Password})
	if err != nil {
		return nil, err
	}
	u := s.home.base
	u.Path = "/v2/auth/token"
	r := &request{
		op: "log in at", ref: displayHost(c.cfg.Hub), home: s.home, realm: &u, method: http.MethodPost, url: &u, body: body,
		header: http.Header{"Content-Type": {"application/json"}}, secrets: []string{account.Password}, account: true,
	}
	_, answer, err := c.fetch(ctx, r, maxTokenBody)
	if err != nil {
		return nil, err
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := strictjson.Unmarshal(answer, &token); err != nil {
		return nil, r.failf("its answer is not a token: %w", err)
	}
	if token.AccessToken == "" || !printable(token.AccessToken) || strings.Contains(token.AccessToken, " ") {
		return nil, r.failf("its answer holds no token")
	}
	s.cred = &credential{header: "Bearer " + token.AccessToken, secrets: []string{token.AccessToken, account.Password}, account: true}
	return s, nil
}
