package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"

	"github.com/google/go-containerregistry/pkg/name"
)

// many are names in more than two pages of any of the listings here.
func many() (names []string) {
	for i := range 250 {
		names = append(names, fmt.Sprintf("team%d/app%03d", i%2, i))
	}
	slices.Sort(names)
	return names
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v)
}

// page returns the part of names that a request asks for by number.
func page(r *http.Request, names []string) []string {
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	size, _ := strconv.Atoi(r.URL.Query().Get("page_size"))
	from := min(len(names), (number-1)*size)
	return names[from:min(len(names), from+size)]
}

// catalog answers as distribution does, a hundred names at a time whatever is asked for.
func catalog(names []string) Fault {
	return On("GET", "/v2/_catalog", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		from, _ := slices.BinarySearch(names, r.URL.Query().Get("last")+"\x00")
		to := min(len(names), from+100)
		if to < len(names) {
			w.Header().Set("Link", fmt.Sprintf(`</v2/_catalog?last=%s&n=100>; rel="next"`, names[to-1]))
		}
		writeJSON(w, map[string]any{"repositories": names[from:to]})
		return true
	})
}

// harbor answers as Harbor 2.14 was seen to: the catalog is for administrators, its own API for everybody who may see
// something (shared/harbor, exchanges 06 and 07).
func harbor(names []string, total int) []Fault {
	repositories := func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		visible := names
		if project, ok := strings.CutPrefix(r.URL.Path, "/api/v2.0/projects/"); ok {
			project, _, _ = strings.Cut(project, "/")
			visible = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return !strings.HasPrefix(s, project+"/") })
		}
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			visible = nil
		}
		entries := []map[string]any{}
		for _, one := range page(r, visible) {
			entries = append(entries, map[string]any{"name": one, "id": 1, "artifact_count": 1})
		}
		w.Header().Set("X-Total-Count", strconv.Itoa(len(visible)+total))
		writeJSON(w, entries)
		return true
	}
	return []Fault{
		On("GET", "/v2/_catalog", Answer(401, `{"errors":[{"code":"UNAUTHORIZED","message":"unauthorized to list catalog: unauthorized to list catalog"}]}`, "WWW-Authenticate", `Basic realm="harbor"`)),
		On("GET", "/api/v2.0/ping", Answer(200, "Pong")),
		On("GET", "/api/v2.0/repositories", repositories), On("GET", "/repositories", repositories),
	}
}

func TestCatalog(t *testing.T) {
	server := New(t, Faults(catalog(many())))
	c := newClient(t, nil)
	got, err := c.Repositories(t.Context(), server.Repo("x/y").Registry, "")
	ok(t, err)
	if !slices.Equal(got.Repositories, many()) || got.PublicOnly {
		t.Errorf("%d repositories, public only %t", len(got.Repositories), got.PublicOnly)
	}
	got, err = c.Repositories(t.Context(), server.Repo("x/y").Registry, "team1")
	ok(t, err)
	if len(got.Repositories) != 125 || !strings.HasPrefix(got.Repositories[0], "team1/") {
		t.Errorf("in team1: %v", got.Repositories)
	}
}

func TestCatalogAsksForItsOwnScope(t *testing.T) {
	login := &Login{User: user, Password: password}
	server := New(t, Wrap(login.Guard), Wrap(func(next http.Handler) http.Handler { return Then(catalog(many()), next) }))
	_, _ = newClient(t, withKeychain(ada)).Repositories(t.Context(), server.Repo("x/y").Registry, "")
	if !slices.ContainsFunc(server.Requests(), func(r Request) bool {
		return r.Path == "/token" && strings.Contains(r.Query, "registry%3Acatalog%3A%2A")
	}) {
		t.Errorf("no token was asked for with the scope registry:catalog:*: %v", server.Requests())
	}
}

func TestHarborsOwnListing(t *testing.T) {
	for namespace, want := range map[string]int{"": 250, "team1": 125, "team1/app001": 1, "team3": 0} {
		server := New(t, Faults(harbor(many(), 0)...))
		got, err := newClient(t, withKeychain(ada)).Repositories(t.Context(), server.Repo("x/y").Registry, namespace)
		ok(t, err)
		if len(got.Repositories) != want || got.PublicOnly {
			t.Errorf("%q: %d repositories, want %d; public only %t", namespace, len(got.Repositories), want, got.PublicOnly)
		}
	}
	server := New(t, Faults(harbor(many(), 0)...))
	got, err := newClient(t, nil).Repositories(t.Context(), server.Repo("x/y").Registry, "")
	ok(t, err)
	if !got.PublicOnly {
		t.Error("without credentials it is not said that only what is public is listed")
	}
}

// A listing that ends before its count must not read as complete.
func TestHarborsListingIsCounted(t *testing.T) {
	server := New(t, Faults(harbor(many(), 1)...))
	_, err := newClient(t, withKeychain(ada)).Repositories(t.Context(), server.Repo("x/y").Registry, "")
	wantError(t, err, bundle.ErrFormat, "250 of 251")
}

func TestRegistriesWithoutAListing(t *testing.T) {
	for label, test := range map[string]struct {
		fault Fault
		want  error
	}{
		"refused":          {On("GET", "/v2/_catalog", Code(401, "UNAUTHORIZED", "no")), registry.ErrUnauthorized},
		"forbidden":        {On("GET", "/v2/_catalog", Code(403, "DENIED", "no")), registry.ErrForbidden},
		"not there":        {On("GET", "/v2/_catalog", NotFoundText()), registry.ErrNoListing},
		"not allowed":      {On("GET", "/v2/_catalog", Answer(405, "")), registry.ErrNoListing},
		"out of order":     {On("GET", "/v2/_catalog", Answer(500, "")), registry.ErrUnavailable},
		"names that lie":   {On("GET", "/v2/_catalog", Answer(200, `{"repositories":["../etc"]}`)), nil},
		"pages in circles": {On("GET", "/v2/_catalog", Answer(200, `{"repositories":[]}`, "Link", `</v2/_catalog?n=1000>; rel="next"`)), nil},
	} {
		t.Run(label, func(t *testing.T) {
			server := New(t, Faults(test.fault))
			_, err := newClient(t, nil).Repositories(t.Context(), server.Repo("x/y").Registry, "")
			wantError(t, err, test.want)
		})
	}
}

// hub answers as Docker Hub's API does.
func hub(t *testing.T, names []string) (host string, logins *int) {
	t.Helper()
	logins = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v2/auth/token":
			var body struct{ Identifier, Secret string }
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Identifier != user || body.Secret != password {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			*logins++
			writeJSON(w, map[string]string{"access_token": "t0ken"})
		case "/v2/namespaces/acme/repositories":
			visible := names
			if r.Header.Get("Authorization") != "Bearer t0ken" {
				visible = names[:1]
			}
			var results []map[string]any
			for _, one := range page(r, visible) {
				results = append(results, map[string]any{"name": one, "is_private": true})
			}
			writeJSON(w, map[string]any{"count": len(visible), "next": nil, "results": results})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), logins
}

func TestDockerHubsListing(t *testing.T) {
	var names []string
	for i := range 250 {
		names = append(names, fmt.Sprintf("app%03d", i))
	}
	dockerHub, err := name.NewRegistry("docker.io")
	ok(t, err)
	host, logins := hub(t, names)
	at := func(c *registry.Config) { c.Hub = host }

	got, err := newClient(t, func(c *registry.Config) { at(c); c.Keychain = ada }).Repositories(t.Context(), dockerHub, "acme")
	ok(t, err)
	if len(got.Repositories) != 250 || got.Repositories[0] != "acme/app000" || got.PublicOnly || *logins != 1 {
		t.Errorf("%d repositories, public only %t, %d logins", len(got.Repositories), got.PublicOnly, *logins)
	}
	got, err = newClient(t, at).Repositories(t.Context(), dockerHub, "acme")
	ok(t, err)
	if len(got.Repositories) != 1 || !got.PublicOnly {
		t.Errorf("without credentials: %v, public only %t", got.Repositories, got.PublicOnly)
	}
	wrong := ada
	wrong.config.Password = "wrong"
	_, err = newClient(t, func(c *registry.Config) { at(c); c.Keychain = wrong }).Repositories(t.Context(), dockerHub, "acme")
	wantError(t, err, registry.ErrUnauthorized)
	if _, err = newClient(t, at).Repositories(t.Context(), dockerHub, ""); err == nil || !strings.Contains(err.Error(), "docker.io/acme") {
		t.Errorf("without a namespace: %v", err)
	}
}
