package repositories_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor/harbortest"
	. "airgap/export/registry/registrytest"
	"airgap/export/registry/repositories"
	"airgap/export/registry/retry"
)

const (
	user     = "ada"
	password = "s3cret-pa55"
)

// keychain has one account for everything; the zero value has none.
type keychain struct{ config authn.AuthConfig }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(k.config), nil
}

var (
	ada    = keychain{authn.AuthConfig{Username: user, Password: password}}
	nobody keychain
)

// lister lists with an account, and waits for nothing.
func lister(t *testing.T, account keychain, change ...func(*registry.HostConfig)) repositories.Lister {
	t.Helper()
	config := registry.HostConfig{PlainHTTP: true}
	for _, change := range change {
		change(&config)
	}
	c := registry.New(registry.Config{
		Keychain: account, Host: func(string) registry.HostConfig { return config },
		Retry: retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
	t.Cleanup(c.CloseIdleConnections)
	return repositories.Lister{Client: c}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails unless err is target, is the client's kind of error, says all parts and has no secret.
func wantError(t testing.TB, err, target error, parts ...string) {
	t.Helper()
	var e *registry.Error
	if !errors.As(err, &e) || target != nil && !errors.Is(err, target) {
		t.Fatalf("error %q (%T) is not %q", err, err, target)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
	if text := fmt.Sprintf("%v %+v", err, *e); strings.Contains(text, password) || strings.Contains(text, "Bearer ") {
		t.Errorf("there is a secret in %s", text)
	}
}

const emptyIndex = `{"schemaVersion":2,"mediaType":"` + bundle.MediaTypeOCIIndex + `","manifests":[]}`

// many are names in more than two pages of any of the listings here.
func many() (names []string) {
	for i := range 250 {
		names = append(names, fmt.Sprintf("team%d/app%03d", i%2, i))
	}
	slices.Sort(names)
	return names
}

// newFull starts a registry with those repositories.
func newFull(t *testing.T, names []string, options ...Option) (*Server, name.Registry) {
	t.Helper()
	server := New(t, options...)
	for _, name := range names {
		server.AddManifest(name, "1.0", bundle.MediaTypeOCIIndex, []byte(emptyIndex))
	}
	return server, server.Repo("x/y").Registry
}

func TestCatalog(t *testing.T) {
	server, reg := newFull(t, append(many(), "team1x/app", "team1"), Faults(Catalog(100)))
	for namespace, want := range map[string]int{"": 252, "team1": 126, "team1/app001": 1, "team3": 0} {
		got, err := lister(t, nobody).Repositories(t.Context(), reg, namespace)
		ok(t, err)
		if len(got.Repositories) != want || got.PublicOnly || !slices.IsSorted(got.Repositories) {
			t.Errorf("%q: %d repositories, want %d; public only %t", namespace, len(got.Repositories), want, got.PublicOnly)
		}
	}
	if n := server.Count("GET", "/api/"); n != 0 {
		t.Errorf("looked for Harbor %d times", n)
	}
}

// What is listed is what can be asked for: without the prefix, and without what lies outside of it.
func TestCatalogBelowAPathPrefix(t *testing.T) {
	_, reg := newFull(t, []string{"proxy/acme/app", "proxy/acme/tool", "proxy/other/app", "proxyacme/app", "acme/app"}, Faults(Catalog(2)))
	for namespace, want := range map[string][]string{
		"": {"acme/app", "acme/tool", "other/app"}, "acme": {"acme/app", "acme/tool"},
	} {
		c := lister(t, nobody, func(c *registry.HostConfig) { c.PathPrefix = "/proxy/" })
		got, err := c.Repositories(t.Context(), reg, namespace)
		ok(t, err)
		if !slices.Equal(got.Repositories, want) {
			t.Errorf("%q: %v, want %v", namespace, got.Repositories, want)
		}
		for _, repository := range got.Repositories {
			_, _, err := c.Manifest(t.Context(), reg.Repo(repository).Tag("1.0"))
			ok(t, err)
		}
	}
}

func TestCatalogAsksForItsOwnScope(t *testing.T) {
	login := &Login{User: user, Password: password}
	server, reg := newFull(t, many(), Wrap(login.Guard))
	_, err := lister(t, ada).Repositories(t.Context(), reg, "")
	ok(t, err)
	if !slices.ContainsFunc(server.Requests(), func(r Request) bool {
		return r.Path == "/token" && strings.Contains(r.Query, "registry%3Acatalog%3A%2A")
	}) {
		t.Errorf("no token was asked for with the scope registry:catalog:*: %v", server.Requests())
	}
}

// newHarbor starts a Harbor with those repositories, in projects of which team1 is public, and returns an account that may see
// them all.
func newHarbor(t *testing.T, names []string, options ...harbortest.Option) (*harbortest.Server, keychain) {
	t.Helper()
	s := harbortest.New(t, options...)
	member := s.AddUser(user)
	for _, project := range []string{"team0", "team1"} {
		s.AddProject(harbortest.Project{Name: project, Public: project == "team1"})
		s.AddMember(project, member, harbortest.Guest...)
	}
	for _, name := range names {
		s.AddManifest(name, "1.0", bundle.MediaTypeOCIIndex, []byte(emptyIndex))
	}
	return s, keychain{authn.AuthConfig{Username: member.Name, Password: member.Secret}}
}

func TestHarborsOwnListing(t *testing.T) {
	s, member := newHarbor(t, many())
	reg := s.Registry()
	for namespace, want := range map[string]int{"": 250, "team1": 125, "team1/app001": 1} {
		got, err := lister(t, member).Repositories(t.Context(), reg, namespace)
		ok(t, err)
		if len(got.Repositories) != want || got.PublicOnly {
			t.Errorf("%q: %d repositories, want %d; public only %t", namespace, len(got.Repositories), want, got.PublicOnly)
		}
	}
	got, err := lister(t, nobody).Repositories(t.Context(), reg, "")
	ok(t, err)
	if len(got.Repositories) != 125 || !got.PublicOnly {
		t.Errorf("without credentials: %d repositories, public only %t", len(got.Repositories), got.PublicOnly)
	}
	_, err = lister(t, nobody).Repositories(t.Context(), reg, "team0")
	wantError(t, err, registry.ErrUnauthorized, "airgap login")
	_, err = lister(t, member).Repositories(t.Context(), reg, "team3")
	wantError(t, err, registry.ErrForbidden)
	wrong := keychain{authn.AuthConfig{Username: user, Password: "wrong-" + password}}
	_, err = lister(t, wrong).Repositories(t.Context(), reg, "")
	wantError(t, err, registry.ErrUnauthorized)
}

// An empty catalog may be all that an account is shown.
func TestEmptyCatalogAtHarbor(t *testing.T) {
	s, member := newHarbor(t, many(), harbortest.Faults(On("GET", "/v2/_catalog", Answer(200, `{"repositories":null}`))))
	got, err := lister(t, member).Repositories(t.Context(), s.Registry(), "")
	ok(t, err)
	if len(got.Repositories) != 250 {
		t.Errorf("%d repositories", len(got.Repositories))
	}
}

// A listing that ends before its count, or moves while it is read, must not read as complete.
func TestHarborsListingIsCounted(t *testing.T) {
	s, member := newHarbor(t, many())
	reads := 0
	count := func(total func(page, total int) int) {
		reads = 0
		s.Inject(On("GET", "/repositories", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			answer := Real(r, next)
			page, _ := strconv.Atoi(r.URL.Query().Get("page"))
			n, _ := strconv.Atoi(answer.Header.Get("X-Total-Count"))
			reads++
			answer.Header.Set("X-Total-Count", strconv.Itoa(total(page, n)))
			answer.Send(w)
			return true
		}))
	}
	list := func() (repositories.Listing, error) {
		return lister(t, member).Repositories(t.Context(), s.Registry(), "")
	}
	count(func(_, total int) int { return total + 1 })
	_, err := list()
	wantError(t, err, bundle.ErrFormat, "250 of 251")
	count(func(page, total int) int { return total - page })
	_, err = list()
	wantError(t, err, nil, "changed while it was read")
	count(func(page, total int) int {
		if reads == 2 {
			return total - 1
		}
		return total
	})
	got, err := list()
	ok(t, err)
	if len(got.Repositories) != 250 || reads != 5 {
		t.Errorf("%d repositories in %d pages", len(got.Repositories), reads)
	}
	count(func(int, int) int { return 1 << 30 })
	_, err = list()
	wantError(t, err, bundle.ErrLimit)
}

func TestRegistriesWithoutAListing(t *testing.T) {
	for label, test := range map[string]struct {
		fault   Fault
		want    error
		message string
	}{
		"refused":           {On("GET", "/v2/_catalog", Code(401, "UNAUTHORIZED", "no")), registry.ErrUnauthorized, ""},
		"forbidden":         {On("GET", "/v2/_catalog", Code(403, "DENIED", "no")), registry.ErrForbidden, ""},
		"not there":         {On("GET", "", NotFoundText()), repositories.ErrNoListing, ""},
		"not allowed":       {On("GET", "/v2/_catalog", Answer(405, "")), repositories.ErrNoListing, ""},
		"a site for people": {On("GET", "/", Answer(403, strings.Repeat("<html>", 1000))), registry.ErrForbidden, ""},
		"out of order":      {On("GET", "/v2/_catalog", Answer(500, "")), registry.ErrUnavailable, ""},
		"Harbor or not": {
			First(On("GET", "/v2/_catalog", Code(403, "DENIED", "no")), On("GET", "/api/", Answer(502, ""))), registry.ErrUnavailable, "403",
		},
		"names that lie":   {On("GET", "/v2/_catalog", Answer(200, `{"repositories":["../etc"]}`)), bundle.ErrFormat, "../etc"},
		"not JSON":         {On("GET", "/v2/_catalog", Answer(200, `<html>`)), nil, ""},
		"pages in circles": {On("GET", "/v2/_catalog", Answer(200, `{"repositories":[]}`, "Link", `</v2/_catalog?n=1000>; rel="next"`)), nil, "circle"},
		"another host":     {On("GET", "/v2/_catalog", Answer(200, `{"repositories":[]}`, "Link", `<http://other/v2/_catalog>; rel="next"`)), nil, "another host"},
	} {
		t.Run(label, func(t *testing.T) {
			server := New(t, Faults(test.fault))
			_, err := lister(t, nobody).Repositories(t.Context(), server.Repo("x/y").Registry, "")
			wantError(t, err, test.want, test.message)
		})
	}
	server := New(t)
	_, err := lister(t, nobody).Repositories(t.Context(), server.Repo("x/y").Registry, "../x")
	wantError(t, err, bundle.ErrFormat)
	if len(server.Requests()) != 0 {
		t.Error("asked with a namespace that is none")
	}
}

// newDockerHub starts an API with 250 repositories of acme, all but one private.
func newDockerHub(t *testing.T, password string) (hub *Hub, reg name.Registry, at func(keychain) repositories.Lister) {
	t.Helper()
	private := map[string]bool{"acme/public": false, "other/app": true}
	for i := range 249 {
		private[fmt.Sprintf("acme/app%03d", i)] = true
	}
	hub = NewHub(t, user, password, private)
	reg, err := name.NewRegistry("docker.io")
	ok(t, err)
	return hub, reg, func(k keychain) repositories.Lister {
		l := lister(t, k)
		l.Hub = hub.Host()
		return l
	}
}

func TestDockerHubsListing(t *testing.T) {
	_, reg, at := newDockerHub(t, password)
	got, err := at(ada).Repositories(t.Context(), reg, "acme")
	ok(t, err)
	if len(got.Repositories) != 250 || got.Repositories[0] != "acme/app000" || got.PublicOnly {
		t.Errorf("%d repositories, public only %t", len(got.Repositories), got.PublicOnly)
	}
	got, err = at(ada).Repositories(t.Context(), reg, "acme/app007")
	ok(t, err)
	if !slices.Equal(got.Repositories, []string{"acme/app007"}) {
		t.Errorf("one: %v", got.Repositories)
	}
	got, err = at(nobody).Repositories(t.Context(), reg, "acme")
	ok(t, err)
	if !slices.Equal(got.Repositories, []string{"acme/public"}) || !got.PublicOnly {
		t.Errorf("without credentials: %v, public only %t", got.Repositories, got.PublicOnly)
	}
	wrong := keychain{authn.AuthConfig{Username: user, Password: "wrong-" + password}}
	_, err = at(wrong).Repositories(t.Context(), reg, "acme")
	wantError(t, err, registry.ErrUnauthorized, `"airgap login docker.io"`)
	_, err = at(nobody).Repositories(t.Context(), reg, "")
	wantError(t, err, repositories.ErrNoListing, "docker.io/acme")
}

// An organization's token without the scope for it is shown the public repositories, without a word.
func TestDockerHubHidesWhatIsPrivate(t *testing.T) {
	const token = "dckr_oat_" + password
	hub, reg, at := newDockerHub(t, token)
	organization := keychain{authn.AuthConfig{Username: user, Password: token}}
	got, err := at(organization).Repositories(t.Context(), reg, "acme")
	ok(t, err)
	if len(got.Repositories) != 250 || got.PublicOnly {
		t.Errorf("with the scope: %d repositories, public only %t", len(got.Repositories), got.PublicOnly)
	}
	hub.HidePrivate()
	got, err = at(organization).Repositories(t.Context(), reg, "acme")
	ok(t, err)
	if len(got.Repositories) != 1 || !got.PublicOnly {
		t.Errorf("without the scope: %v, public only %t", got.Repositories, got.PublicOnly)
	}
}

// The account is for Docker Hub alone: whatever its API answers, nobody else gets it, nor the token for it.
func TestDockerHubsAccountStaysThere(t *testing.T) {
	var got []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	realm := fmt.Sprintf(`Bearer realm="%s/token",service="x"`, thief.URL)
	for label, fault := range map[string]Fault{
		"login redirected":   On("POST", "/v2/auth/token", Answer(307, "", "Location", thief.URL)),
		"listing redirected": On("GET", "/v2/namespaces/", Answer(307, "", "Location", thief.URL)),
		"another realm":      On("GET", "/v2/namespaces/", Answer(401, "", "WWW-Authenticate", realm)),
		"another next":       On("GET", "/v2/namespaces/", Answer(200, `{"count":2,"next":"`+thief.URL+`","results":[{"name":"a"}]}`)),
		"no count":           On("GET", "/v2/namespaces/", Answer(200, `{"results":[{"name":"a"}]}`)),
		"a count below none": On("GET", "/v2/namespaces/", Answer(200, `{"count":-1,"results":[{"name":"a"}]}`)),
		"a name that lies":   On("GET", "/v2/namespaces/", Answer(200, `{"count":1,"results":[{"name":"../a"}]}`)),
		"no token":           On("POST", "/v2/auth/token", Answer(200, `{"access_token":"a b"}`)),
	} {
		t.Run(label, func(t *testing.T) {
			hub, reg, at := newDockerHub(t, password)
			hub.Inject(fault)
			got = nil
			_, err := at(ada).Repositories(t.Context(), reg, "acme")
			wantError(t, err, nil)
			for _, authorization := range got {
				if authorization != "" {
					t.Errorf("another host was sent %q", authorization)
				}
			}
		})
	}
}
