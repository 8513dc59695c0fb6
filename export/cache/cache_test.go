package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/cache"
	"airgap/export/registry"
	"airgap/export/registry/registrytest"
)

type world struct {
	server *registrytest.Server
	client *registry.Client
	now    time.Time
	dir    string
}

const emptyIndex = `{"schemaVersion":2,"mediaType":"` + bundle.MediaTypeOCIIndex + `","manifests":[]}`

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{server: registrytest.New(t), now: time.Now(), dir: filepath.Join(t.TempDir(), "cache")}
	w.client = registry.New(registry.Config{Host: func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} }})
	w.server.AddManifest("acme/app", "1", bundle.MediaTypeOCIIndex, []byte(emptyIndex))
	return w
}

func (w *world) open(t *testing.T) *cache.Source {
	t.Helper()
	s, err := cache.New(w.client, w.dir, func() time.Time { return w.now })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) ref(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(w.server.Host() + "/" + s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (w *world) files(t *testing.T) (files []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestAManifestIsFetchedOnce(t *testing.T) {
	w := newWorld(t)
	for run := range 3 {
		s := w.open(t)
		desc, content, err := s.Manifest(t.Context(), w.ref(t, "acme/app:1"))
		if err != nil || string(content) != emptyIndex || desc.MediaType != bundle.MediaTypeOCIIndex || desc.Size != int64(len(content)) {
			t.Fatalf("run %d: %+v, %q, %v", run, desc, content, err)
		}
	}
	if gets := w.server.Count("GET", "/manifests/"); gets != 1 {
		t.Errorf("the manifest was fetched %d times", gets)
	}
}

func TestAMovedTagIsNoticed(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.open(t).Manifest(t.Context(), w.ref(t, "acme/app:1")); err != nil {
		t.Fatal(err)
	}
	const other = `{"schemaVersion":2,"mediaType":"` + bundle.MediaTypeOCIIndex + `","manifests":[],"annotations":{"a":"b"}}`
	w.server.AddManifest("acme/app", "1", bundle.MediaTypeOCIIndex, []byte(other))
	if _, content, err := w.open(t).Manifest(t.Context(), w.ref(t, "acme/app:1")); err != nil || string(content) != other {
		t.Errorf("%q, %v", content, err)
	}
}

func TestDamagedEntriesAreFetchedAgain(t *testing.T) {
	for name, damage := range map[string][]byte{
		"empty":              {},
		"cut":                []byte(bundle.MediaTypeOCIIndex + "\n" + emptyIndex[:20]),
		"another media type": []byte("text/html\n" + emptyIndex),
		"other content":      []byte(bundle.MediaTypeOCIIndex + "\n" + emptyIndex + " "),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if _, _, err := w.open(t).Manifest(t.Context(), w.ref(t, "acme/app:1")); err != nil {
				t.Fatal(err)
			}
			files := w.files(t)
			if len(files) != 1 {
				t.Fatalf("the cache has %q", files)
			}
			if err := os.WriteFile(files[0], damage, 0o600); err != nil {
				t.Fatal(err)
			}
			w.server.Forget()
			desc, content, err := w.open(t).Manifest(t.Context(), w.ref(t, "acme/app:1"))
			if fetched := w.server.Count("GET", "/manifests/"); err != nil || string(content) != emptyIndex || desc.MediaType != bundle.MediaTypeOCIIndex || fetched != 1 {
				t.Errorf("%+v, %q, %v; fetched %d times", desc, content, err, fetched)
			}
		})
	}
}

func TestErrorsAreNotKept(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.open(t).Manifest(context.Background(), w.ref(t, "acme/app:none")); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if files := w.files(t); len(files) != 0 {
		t.Errorf("kept: %q", files)
	}
}

func TestPruneRemovesWhatIsOldAndItsOwn(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.open(t).Manifest(t.Context(), w.ref(t, "acme/app:1")); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(w.dir, "thesis.txt")
	if err := os.WriteFile(precious, []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.open(t).Prune(); err != nil || len(w.files(t)) != 1 {
		t.Errorf("%v; the cache has %q", err, w.files(t))
	}
	old := w.now.Add(-100 * 24 * time.Hour)
	if err := os.Chtimes(w.files(t)[0], old, old); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(23 * time.Hour)
	if err := w.open(t).Prune(); err != nil || len(w.files(t)) != 1 {
		t.Errorf("%v; all was looked at again on the same day, and the cache has %q", err, w.files(t))
	}
	w.now = w.now.Add(100 * 24 * time.Hour)
	if err := w.open(t).Prune(); err != nil || len(w.files(t)) != 0 {
		t.Errorf("%v; the cache still has %q", err, w.files(t))
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestConfigsAreKeptForChoosingOnly(t *testing.T) {
	w := newWorld(t)
	config := w.server.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json", []byte(`{"created":"2026-01-01T00:00:00Z"}`))
	ref := w.server.Repo("acme/app").Digest(config.Digest.String())
	read := func(s interface {
		Blob(context.Context, name.Digest, int64) (io.ReadCloser, error)
	}) {
		t.Helper()
		body, err := s.Blob(t.Context(), ref, config.Size)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(body)
		if err != nil || bundle.DigestOf(content) != config.Digest {
			t.Fatalf("%q, %v", content, err)
		}
	}
	read(w.open(t))
	if files := w.files(t); len(files) != 0 {
		t.Errorf("what is exported is kept: %q", files)
	}
	for range 3 {
		read(w.open(t).WithBlobs())
	}
	if gets := w.server.Count("GET", "/blobs/"); gets != 2 {
		t.Errorf("fetched %d times, want once for the export and once for choosing", gets)
	}
}

// What a registry finds under a tag alone is fetched by it, and kept by its digest.
func TestWhatOnlyItsTagLeadsTo(t *testing.T) {
	w := newWorld(t)
	const tag = "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sig"
	w.server.AddManifest("acme/app", tag, bundle.MediaTypeOCIIndex, []byte(emptyIndex))
	w.server.Inject(registrytest.RoutesApart())
	for run := range 2 {
		w.server.Forget()
		_, content, err := w.open(t).Manifest(t.Context(), w.ref(t, "acme/app:"+tag))
		if fetched := w.server.Count("GET", "/manifests/"+tag); err != nil || string(content) != emptyIndex || fetched != 1-run {
			t.Errorf("run %d: %q, %v, fetched %d times", run, content, err, fetched)
		}
	}
}

// With an empty cache most tags are fetched at once, and with a full one none is fetched. Where pulls are counted, no manifest
// is fetched that is there.
func TestWhatTagsCost(t *testing.T) {
	const tags = 20
	for name, test := range map[string]struct {
		headers []string
	}{
		"no limit": {nil},
		"limited":  {[]string{"Ratelimit-Limit", "100;w=21600", "Ratelimit-Remaining", "76;w=21600"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.server.Inject(registrytest.On("", "/manifests/", func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
				for i := 0; i+1 < len(test.headers); i += 2 {
					rw.Header().Set(test.headers[i], test.headers[i+1])
				}
				return false
			}))
			for i := range tags { // every other tag is another name of the one before
				w.server.AddManifest("acme/app", fmt.Sprintf("t%02d", i), bundle.MediaTypeOCIIndex,
					fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"n":"%d"}}`, bundle.MediaTypeOCIIndex, i/2))
			}
			all := func() (heads, gets int) {
				s := w.open(t)
				w.server.Forget()
				for i := range tags {
					if _, content, err := s.Manifest(t.Context(), w.ref(t, fmt.Sprintf("acme/app:t%02d", i))); err != nil || !strings.Contains(string(content), fmt.Sprintf(`"n":"%d"`, i/2)) {
						t.Fatalf("tag %d: %q, %v", i, content, err)
					}
				}
				return w.server.Count("HEAD", "/manifests/"), w.server.Count("GET", "/manifests/")
			}
			heads, gets := all()
			if test.headers != nil && (heads != tags || gets != tags/2) || test.headers == nil && (heads > tags/2+1 || gets > tags) {
				t.Errorf("cold: %d HEAD, %d GET", heads, gets)
			}
			if heads, gets := all(); heads != tags || gets != 0 {
				t.Errorf("warm: %d HEAD, %d GET", heads, gets)
			}
		})
	}
}
