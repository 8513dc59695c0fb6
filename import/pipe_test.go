package importer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/verify"
)

// counter is an observer that adds up.
type counter struct {
	mu    sync.Mutex
	phase string
	total map[string]int64
	done  map[string]int64
	thing map[string]string
}

func newCounter() *counter {
	return &counter{total: map[string]int64{}, done: map[string]int64{}, thing: map[string]string{}}
}

func (c *counter) Count(name, thing string, total int64) {
	c.Phase(name, total)
	c.thing[name] = thing
}

func (c *counter) Phase(name string, total int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase, c.total[name] = name, total
}

func (c *counter) Add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[c.phase] += n
}

func (*counter) Item(string) {}
func (*counter) Warn(string) {}

// TestProgressCountsManifests: where there are few bytes it is manifests that are counted, and names and answers otherwise. What is
// counted adds up to what was announced.
func TestProgressCountsManifests(t *testing.T) {
	w := importtest.NewWorld(t)
	for i := range 3 {
		image := w.Image(strconv.Itoa(i), w.Layer(10))
		w.Referrer(image, importtest.SbomType, fmt.Sprint("of ", i))
		w.CosignTag(image, w.Image(fmt.Sprint("sig ", i)), ".sig")
		w.Root(fmt.Sprintf("example.com/app:%d", i), "app", strconv.Itoa(i), image)
	}
	o := options(t, registrytest.New(t, targets["fallback tags"]...))
	count := newCounter()
	o.Observer = count
	if _, err := importer.Run(t.Context(), importtest.Open(t, w.File()), importtest.Client(), o); err != nil {
		t.Fatal(err)
	}
	// One of the nine manifests was pushed before as a sample of its kind.
	for phase, want := range map[string]int64{"push": 8, "list referrers": 3 + 3, "check everything": 9, "tag": 3, "read back": 3 + 3 + 3} {
		if count.thing[phase] == "" || count.total[phase] != want || count.done[phase] != want {
			t.Errorf("%s: %d of %d %ss, want %d", phase, count.done[phase], count.total[phase], count.thing[phase], want)
		}
	}
}

// TestUploadsAreRetried: an upload that breaks off begins again, from the file or from the spool, and is counted once.
func TestUploadsAreRetried(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	for _, way := range []string{"file", "pipe"} {
		t.Run(way, func(t *testing.T) {
			s := registrytest.New(t, targets["acknowledges"]...)
			s.Inject(registrytest.On("PATCH", "", registrytest.Times(1, registrytest.DropUpload(100<<10))))
			b := importtest.Open(t, path)
			if way == "pipe" {
				b = importtest.OpenPipe(t, path)
			}
			o := options(t, s)
			count := newCounter()
			o.Observer = count
			done, err := importer.Run(t.Context(), b, importtest.Client(), o)
			if err != nil {
				t.Fatal(err)
			}
			expectAcme(t, a, s, false)
			want := done.Done.BytesPushed
			if way == "pipe" {
				want = 0 // everything that is no manifest, needed or not
				for _, b := range b.Contents().Blobs {
					if b.Role != bundle.RoleManifest && b.IsStored() && b.Digest != bundle.EmptyJSON {
						want += b.Size
					}
				}
				want += 2 // the empty config, which lies in the head
			}
			counted, total := count.done["push"], count.total["push"]
			if samples := count.done["push samples"]; samples == 0 || samples != count.total["push samples"] {
				t.Errorf("%d of %d bytes of samples", samples, count.total["push samples"])
			} else if first := count.done["push first blobs"]; first != count.total["push first blobs"] {
				t.Errorf("%d of %d bytes of first blobs", first, count.total["push first blobs"])
			} else if way == "file" { // from a pipe, they are read once more
				counted, total = counted+samples+first, total+samples+first
			}
			if total != want || counted != want {
				t.Errorf("%d of %d bytes, want %d", counted, total, want)
			}
		})
	}
}

// TestSpoolIsBounded: blobs that are larger than the spool go through it one at a time, and nothing is left of them.
func TestSpoolIsBounded(t *testing.T) {
	w := importtest.NewWorld(t)
	var layers []bundle.Descriptor
	for range 6 {
		layers = append(layers, w.Layer(2<<20))
	}
	image := w.Image("many", layers...)
	w.Root("docker.io/acme/many:1", "acme/many", "1", image)
	s := registrytest.New(t, targets["acknowledges"]...)
	o := options(t, s)
	o.SpoolBytes = 1 << 20
	var mu sync.Mutex
	uploading, most := 0, 0
	s.Inject(registrytest.On("PATCH", "", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		mu.Lock()
		uploading++
		most = max(most, uploading)
		mu.Unlock()
		next.ServeHTTP(w, r)
		mu.Lock()
		uploading--
		mu.Unlock()
		return true
	}))
	if _, err := importer.Run(t.Context(), importtest.OpenPipe(t, w.File()), importtest.Client(), o); err != nil {
		t.Fatal(err)
	}
	if most != 1 {
		t.Errorf("%d blobs in the spool at once", most)
	}
	if left, err := os.ReadDir(o.TempDir); err != nil || len(left) > 0 {
		t.Errorf("left in the spool: %v, %v", left, err)
	}
}

// TestPipeIsReadToItsEnd: what is wrong after the last blob that is needed keeps the tags where they are.
func TestPipeIsReadToItsEnd(t *testing.T) {
	a := importtest.NewAcme(t)
	file, err := os.ReadFile(a.File())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"cut short": file[:len(file)-1],
		"added to":  append(file[:len(file):len(file)], 0),
		"no zeros":  append(file[:len(file)-1:len(file)-1], 1),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bundle.tar")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			s := registrytest.New(t, targets["acknowledges"]...)
			_, err := importer.Run(t.Context(), importtest.OpenPipe(t, path), importtest.Client(), options(t, s))
			if !errors.Is(err, bundle.ErrFormat) || !strings.Contains(err.Error(), "no tag was moved") || len(tagsOf(t, a, s)) > 0 {
				t.Error(err)
			}
		})
	}
}

// TestTargetRefusesManifest names the image in the error.
func TestTargetRefusesManifest(t *testing.T) {
	a := importtest.NewAcme(t)
	s := registrytest.New(t, targets["acknowledges"]...)
	s.Inject(registrytest.On("PUT", "/manifests/"+a.Sbom.Digest.String(), registrytest.Code(http.StatusBadRequest, "MANIFEST_INVALID", "no artifacts here")))
	done, err := importer.Run(t.Context(), importtest.Open(t, a.File()), importtest.Client(), options(t, s))
	if err == nil || done.Complete || len(tagsOf(t, a, s)) > 0 {
		t.Fatal(err)
	}
	for _, part := range []string{"docker.io/acme/app:1", "referrer " + a.Sbom.Digest.String(), "no artifacts here", "run again"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
}

// TestTargetRefusesForeignLayers says what to do about it.
func TestTargetRefusesForeignLayers(t *testing.T) {
	a := importtest.NewAcme(t)
	s := registrytest.New(t, targets["acknowledges"]...)
	s.Inject(registrytest.On("PUT", "/manifests/"+a.Amd64.Digest.String(), registrytest.Code(http.StatusBadRequest, "MANIFEST_INVALID", "invalid URL on layer")))
	_, err := importer.Run(t.Context(), importtest.Open(t, a.File()), importtest.Client(), options(t, s))
	if err == nil || !strings.Contains(err.Error(), "--include-nondistributable") || !strings.Contains(err.Error(), a.Foreign.Digest.String()) {
		t.Error(err)
	}
}

// brokenMounts is a target whose mounts fail.
type brokenMounts struct{ importer.Target }

func (brokenMounts) Mount(context.Context, name.Repository, name.Repository, bundle.Digest) (bool, error) {
	return false, registry.ErrUnavailable
}

// TestMountsFail: whatever keeps a target from mounting, the blob is uploaded again.
func TestMountsFail(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	for _, b := range []*verify.Bundle{importtest.Open(t, path), importtest.OpenPipe(t, path)} {
		s := registrytest.New(t, targets["acknowledges"]...)
		done, err := importer.Run(t.Context(), b, brokenMounts{importtest.Client()}, options(t, s))
		if err != nil || done.Done.BlobsMounted != 0 || done.Done.BlobsPushed != done.Planned.BlobsPushed+done.Planned.BlobsMounted {
			t.Errorf("%v, %+v", err, done)
		}
		expectAcme(t, a, s, false)
	}
}

// TestProofsAreKeptOnce: what the bundle keeps of a pipe is uploaded from there, and takes no place in the spool of layers.
func TestProofsAreKeptOnce(t *testing.T) {
	w := importtest.NewWorld(t)
	image := w.Image("proved", w.Layer(100))
	w.Referrer(image, "application/vnd.example.sbom", strings.Repeat("s", 1<<20+1)) // more than is held in memory
	w.Root("docker.io/acme/proved:1", "acme/proved", "1", image)
	s := registrytest.New(t, targets["acknowledges"]...)
	o := options(t, s)
	o.TempDir = filepath.Join(o.TempDir, "is not there")
	report, err := importer.Run(t.Context(), importtest.OpenPipe(t, w.File()), importtest.Client(), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Done.BlobsPushed != 4 {
		t.Errorf("%d blobs pushed, want config, layer, SBOM and its empty config", report.Done.BlobsPushed)
	}
}
