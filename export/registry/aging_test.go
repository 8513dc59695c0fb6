package registry_test

import (
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
)

// What a client has concluded of a registry is not for ever: it may live for weeks, and registries change.

const longAfter = 2 * time.Hour

func TestReferrersAPIThatComesAndGoes(t *testing.T) {
	server := New(t)
	subject := server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	server.AddManifest("acme/app", "", bundle.MediaTypeOCIManifest, manifest(t, "sbom", &subject))
	c := newClient(t, nil)
	list := func() (registry.Referrers, error) {
		return c.Referrers(t.Context(), server.Repo("acme/app").Digest(subject.Digest.String()))
	}
	for _, step := range []struct {
		label  string
		faults []Fault
		api    bool
	}{
		{"without the API", []Fault{On("", "/referrers/", NotFoundText())}, false},
		{"the API comes", nil, true},
		{"the API goes", []Fault{On("", "/referrers/", NotFoundText())}, false},
	} {
		server.Inject(step.faults...)
		if step.label != "without the API" {
			_, err := list()
			wantError(t, err, nil, "both ways")
		}
		c.clock.advance(longAfter)
		got, err := list()
		ok(t, err)
		if got.API != step.api {
			t.Errorf("%s: API %t", step.label, got.API)
		}
	}
}

func TestTokenServiceThatMoves(t *testing.T) {
	login := &Login{Lifetime: 60}
	first := login.Service(t)
	server := loginServer(t, login)
	c := newClient(t, withKeychain(ada))
	resolve := func() error {
		_, err := c.Resolve(t.Context(), server.Repo("acme/app").Tag("1.0"))
		return err
	}
	ok(t, resolve())
	first.Close()
	login.Service(t)
	c.clock.advance(2 * time.Minute) // the token is old, and where to get another is believed still
	wantError(t, resolve(), registry.ErrUnavailable, "token service")
	c.clock.advance(longAfter)
	ok(t, resolve())
}

func TestMirrorsAreForgiven(t *testing.T) {
	for label, test := range map[string]struct {
		fault Fault
		after time.Duration
	}{
		"refused":        {On("GET", "/acme/", Code(401, "UNAUTHORIZED", "no")), longAfter},
		"few pulls left": {On("GET", "/acme/", Header("Ratelimit-Remaining", "3;w=21600")), 10 * time.Minute},
	} {
		t.Run(label, func(t *testing.T) {
			m := newMirrored(t, test.fault)
			m.configure(m.mirror.Host(), func(c *registry.HostConfig) { c.RateLimitMin = 5 })
			fetch := func() int {
				m.mirror.Forget()
				_, _, err := m.client.Manifest(t.Context(), m.origin.Repo("acme/app").Digest(m.manifest.Digest.String()))
				ok(t, err)
				return m.mirror.Count("GET", "/manifests/")
			}
			if n := fetch(); n == 0 {
				t.Error("the mirror was not asked")
			}
			if n := fetch(); n != 0 {
				t.Errorf("the mirror was asked %d times more", n)
			}
			m.client.clock.advance(test.after)
			if n := fetch(); n == 0 {
				t.Error("the mirror is never asked again")
			}
		})
	}
}

// A blob that is asked for again at once was wrong; long after, it is wanted once more.
func TestMirrorsGiveABlobOnceInAWhile(t *testing.T) {
	m := newMirrored(t)
	for i, want := range []int{1, 0, 1} {
		m.mirror.Forget()
		m.readBlob(t)
		if n := m.mirror.Count("GET", "/blobs/"); n != want {
			t.Errorf("time %d: the mirror was asked %d times, want %d", i, n, want)
		}
		if i == 1 {
			m.client.clock.advance(longAfter)
		}
	}
}

// A repository that had manifests long ago may be gone: whether it is has to be asked.
func TestRepositoryThatGoes(t *testing.T) {
	server := New(t)
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, nil)
	resolve := func(tag string) error {
		_, err := c.Resolve(t.Context(), server.Repo("acme/app").Tag(tag))
		return err
	}
	ok(t, resolve("1.0"))
	server.Inject(On("", "/manifests/", NameUnknown()))
	wantError(t, resolve("2.0"), registry.ErrNotFound)
	c.clock.advance(longAfter)
	wantError(t, resolve("2.0"), registry.ErrRepositoryUnknown)
}
