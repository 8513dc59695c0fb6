package registry_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
)

// mirrored is a registry, a mirror that keeps its content under proxy/, and a client that knows of both.
type mirrored struct {
	origin, mirror *Server
	client         *setup
	blob, manifest bundle.Descriptor
	changes        map[string]func(*registry.HostConfig)
}

// configure changes the configuration of a host, before its first use.
func (m *mirrored) configure(host string, change func(*registry.HostConfig)) {
	m.changes[host] = change
}

func newMirrored(t *testing.T, faults ...Fault) *mirrored {
	t.Helper()
	m := &mirrored{origin: New(t), mirror: New(t, Faults(faults...)), changes: map[string]func(*registry.HostConfig){}}
	for _, s := range []*Server{m.origin, m.mirror} {
		repo := "acme/app"
		if s == m.mirror {
			repo = "proxy/acme/app"
		}
		m.blob = s.AddBlob(repo, "application/octet-stream", content(300_000))
		m.manifest = s.AddManifest(repo, "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	}
	m.client = newClient(t, func(c *registry.Config) {
		c.Host = func(host string) registry.HostConfig {
			config := registry.HostConfig{PlainHTTP: true}
			switch host {
			case m.origin.Host():
				config.Mirrors = []string{m.mirror.Host()}
			case m.mirror.Host():
				config.PathPrefix = "proxy"
			}
			if change := m.changes[host]; change != nil {
				change(&config)
			}
			return config
		}
	})
	return m
}

func (m *mirrored) readBlob(t *testing.T) []byte {
	t.Helper()
	b, err := readBlob(m.client, m.origin.Repo("acme/app").Digest(m.blob.Digest.String()), m.blob.Size)
	ok(t, err)
	return b
}

func TestMirrorsGiveWhatIsNamedByDigest(t *testing.T) {
	m := newMirrored(t)
	repo := m.origin.Repo("acme/app")
	if !bytes.Equal(m.readBlob(t), content(300_000)) {
		t.Error("wrong content")
	}
	_, _, err := m.client.Manifest(t.Context(), repo.Digest(m.manifest.Digest.String()))
	ok(t, err)
	if n := len(m.origin.Requests()); n != 0 {
		t.Errorf("the registry itself was asked: %v", m.origin.Requests())
	}
	m.mirror.Forget()
	_, _, err = m.client.Manifest(t.Context(), repo.Tag("1.0"))
	ok(t, err)
	_, err = m.client.Tags(t.Context(), repo)
	ok(t, err)
	_, err = m.client.Referrers(t.Context(), repo.Digest(m.manifest.Digest.String()))
	ok(t, err)
	if n := len(m.mirror.Requests()); n != 0 {
		t.Errorf("the mirror was asked for what only the registry can tell: %v", m.mirror.Requests())
	}
}

// Whatever a mirror does, the registry itself has the last word, and nobody waits for the mirror.
func TestMirrorsThatFailArePassedOver(t *testing.T) {
	for label, fault := range map[string]Fault{
		"absent":       On("GET", "/acme/", Code(404, "NAME_UNKNOWN", "no")),
		"refused":      On("GET", "/acme/", Code(401, "UNAUTHORIZED", "no")),
		"out of order": On("GET", "/acme/", Answer(500, "oops")),
		"out of reach": On("", "", Drop()),
		"too much":     On("GET", "/blobs/", Extend(10)),
		"other type":   On("GET", "/manifests/", Header("Content-Type", bundle.MediaTypeOCIIndex)),
		"no type":      On("GET", "/manifests/", Header("Content-Type", "application/json")),
		"throttled":    On("GET", "/acme/", Throttle("3600")),
		"breaks off":   On("GET", "/blobs/", DropAfter(100_000)),
	} {
		t.Run(label, func(t *testing.T) {
			m := newMirrored(t, fault)
			for range 2 {
				if !bytes.Equal(m.readBlob(t), content(300_000)) {
					t.Error("wrong content")
				}
			}
			_, body, err := m.client.Manifest(t.Context(), m.origin.Repo("acme/app").Digest(m.manifest.Digest.String()))
			ok(t, err)
			if bundle.DigestOf(body) != m.manifest.Digest {
				t.Error("wrong manifest")
			}
			if m.origin.Count("", "/v2/acme/") == 0 {
				t.Error("the registry itself was not asked, so the mirror did not fail")
			}
			if naps := m.client.naps.taken(); len(naps) != 0 {
				t.Errorf("waited %v for the mirror", naps)
			}
		})
	}
}

// What comes from a mirror with the wrong content is asked of the registry when it is asked for again.
func TestWrongContentOfAMirror(t *testing.T) {
	m := newMirrored(t, On("GET", "/blobs/", Spoil()), On("GET", "/manifests/", Spoil()))
	if bytes.Equal(m.readBlob(t), content(300_000)) {
		t.Fatal("the mirror was not asked, or not spoiled")
	}
	if !bytes.Equal(m.readBlob(t), content(300_000)) {
		t.Error("the second time is wrong, too")
	}
	_, body, err := m.client.Manifest(t.Context(), m.origin.Repo("acme/app").Digest(m.manifest.Digest.String()))
	ok(t, err)
	if bundle.DigestOf(body) != m.manifest.Digest || m.origin.Count(http.MethodGet, "/manifests/") != 1 {
		t.Error("wrong manifest")
	}
}

// A mirror that is out of order is left alone for a while, and then asked again.
func TestMirrorsRest(t *testing.T) {
	m := newMirrored(t, On("GET", "/manifests/", Answer(500, "oops")))
	ref := m.origin.Repo("acme/app").Digest(m.manifest.Digest.String())
	for range 3 {
		_, _, err := m.client.Manifest(t.Context(), ref)
		ok(t, err)
	}
	if n := m.mirror.Count("GET", "/manifests/"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	m.mirror.Inject()
	m.client.clock.advance(10 * time.Minute)
	m.origin.Forget()
	_, _, err := m.client.Manifest(t.Context(), ref)
	ok(t, err)
	if len(m.origin.Requests()) != 0 {
		t.Error("a mirror that works again is not asked")
	}
}

// A repository that a mirror refuses is not asked for again; others are.
func TestMirrorsThatRefuseARepository(t *testing.T) {
	m := newMirrored(t, On("", "/proxy/acme/app/", Code(401, "UNAUTHORIZED", "project not found")))
	other := manifest(t, "other", nil)
	for repo, s := range map[string]*Server{"acme/other": m.origin, "proxy/acme/other": m.mirror} {
		s.AddManifest(repo, "", bundle.MediaTypeOCIManifest, other)
	}
	for range 3 {
		_, _, err := m.client.Manifest(t.Context(), m.origin.Repo("acme/app").Digest(m.manifest.Digest.String()))
		ok(t, err)
		m.readBlob(t)
	}
	if n := m.mirror.Count("", "/proxy/acme/app/"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	m.origin.Forget()
	_, _, err := m.client.Manifest(t.Context(), m.origin.Repo("acme/other").Digest(bundle.DigestOf(other).String()))
	ok(t, err)
	if len(m.origin.Requests()) != 0 {
		t.Error("other repositories of the mirror are not used")
	}
}

// Mirrors are for reading.
func TestNothingIsWrittenToAMirror(t *testing.T) {
	m := newMirrored(t)
	repo := m.origin.Repo("acme/new")
	blob := content(1000)
	desc := bundle.Descriptor{Digest: bundle.DigestOf(blob), Size: int64(len(blob))}
	ok(t, m.client.PushBlob(t.Context(), repo, desc, (&opener{content: blob}).open))
	if len(m.mirror.Requests()) != 0 {
		t.Errorf("the mirror was asked: %v", m.mirror.Requests())
	}
}
