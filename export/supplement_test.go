package export_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/platform"
	"airgap/export"
	"airgap/export/mirror"
	. "airgap/export/registry/registrytest"
)

// wanting is a receiver of the second bundle of a mirror that lacks a layer of the first.
type wanting struct {
	*mirrored
	completes *mirror.Known
	want      *ledger.Want
	image     bundle.Digest // which has a layer that the second bundle stores
	found     *counts       // what the observer was told
	other     bundle.Digest
}

func newWanting(t *testing.T) *wanting {
	t.Helper()
	w := &wanting{mirrored: newMirrored(t)}
	w.mirrored.image(t, "other", "base", "third")
	w.images = append(w.images, parse(t, w.Host()+"/acme/app:other=mirror/other:1"))
	w.export(t, "1.tar")
	w.mirrored.image(t, "1", "base", "second")
	second, stored := w.export(t, "2.tar")
	if stored != "second" {
		t.Fatalf("the second bundle stores %s", stored)
	}
	var err error
	if w.completes, err = w.mirror.Find(t.Context(), bundle.Base{ManifestIndex: second.ManifestIndex, Mirror: "dhi", Sequence: 2, Created: second.Created}); err != nil {
		t.Fatal(err)
	}
	w.image, w.other = second.Images[0].Digest, second.Images[1].Digest
	w.want = w.wants("base", w.image, w.other)
	return w
}

func (w *wanting) wants(layer string, listing ...bundle.Digest) *ledger.Want {
	content := contentOf(layer)
	return &ledger.Want{Completes: w.completes.Base, Blobs: []ledger.WantedBlob{
		{Digest: bundle.DigestOf(content), Size: int64(len(content)), StoredBy: w.completes.Contents.Header.Bases[0], Manifests: listing},
	}}
}

func (w *wanting) supply(t *testing.T) (*export.Result, error) {
	t.Helper()
	s, err := export.NewSupplement(w.completes, w.want)
	if err != nil {
		return nil, err
	}
	if got := s.Registries(); !slices.Equal(got, []string{w.Host()}) {
		t.Errorf("the registries are %q", got)
	}
	w.found = &counts{done: map[string]int64{}}
	return s.Run(t.Context(), patient(), export.SignedBy(w.key), export.ToFile(w.file("supplement.tar")), export.Options{Created: time.Unix(1_700_000_001, 0), Observer: w.found})
}

// A supplement has what is wanted and, but for manifests, nothing else; it says which bundle it completes, has no number and no tags,
// and goes to where that bundle brings the image.
func TestSupplement(t *testing.T) {
	w := newWanting(t)
	w.Forget()
	result, err := w.supply(t)
	if err != nil {
		t.Fatal(err)
	}
	if stored := w.stored(t, "supplement.tar"); stored != "base" || result.Counts.Stored != 2 || result.Counts.Manifests != 1 {
		t.Errorf("it stores %q: %+v", stored, result.Counts)
	}
	if result.Sequence != 0 || result.Mirror != "dhi" || *result.Completes != w.completes.Base || basesOf(result) != "dhi@1" {
		t.Errorf("it is %s@%d of %v, and stands on %s", result.Mirror, result.Sequence, result.Completes, basesOf(result))
	}
	if n := w.found.done["find manifest"]; n != 2 { // both that list it
		t.Errorf("%d manifests were counted", n)
	}
	if image := result.Images[0]; len(result.Images) != 1 || image.Destination != "mirror/other@"+w.other.String() || image.Digest != w.other {
		t.Errorf("it brings %+v", result.Images)
	}
	if n := w.Count("GET", "/referrers/") + w.Count("GET", "/tags/"); n > 0 {
		t.Errorf("%d requests looked for something else", n)
	}
	if got := w.entries(t); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("the ledger has %v", got)
	}
	again, err := os.ReadFile(w.file("supplement.tar"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.supply(t); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(w.file("supplement.tar")); err != nil || !bytes.Equal(now, again) {
		t.Errorf("made again it is another one (%v)", err)
	}
	// It is no bundle to build on.
	w.wishes.Since = []mirror.Since{w.head(t, "supplement.tar")}
	if _, err := w.run(t.Context(), "3.tar"); !errors.Is(err, mirror.ErrBase) || !strings.Contains(err.Error(), "supplement") {
		t.Errorf("built on a supplement: %v", err)
	}
}

// The completed bundle cannot be imported before its supplement. So this stands on nothing that only that one stores, even where it
// has to carry it as well.
func TestSupplementDoesNotStandOnWhatItCompletes(t *testing.T) {
	w := newWanting(t)
	w.want = w.wants("base", w.image)
	result, err := w.supply(t)
	if err != nil {
		t.Fatal(err)
	}
	if stored := w.stored(t, "supplement.tar"); stored != "base second" || basesOf(result) != "" {
		t.Errorf("it stores %q, and stands on %q", stored, basesOf(result))
	}
}

// Broken off in the middle of a blob, a supplement is continued.
func TestSupplementIsContinued(t *testing.T) {
	w := newWanting(t)
	w.Inject(On("GET", "/blobs/", Times(1, Code(403, "DENIED", "not now"))))
	if _, err := w.supply(t); err == nil {
		t.Fatal("no error")
	}
	result, err := w.supply(t)
	if err != nil || !result.Continued || w.stored(t, "supplement.tar") != "base" {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestWhatCannotBeSupplied(t *testing.T) {
	w := newWanting(t)
	layer := bundle.DigestOf(contentOf("base"))
	for name, test := range map[string]struct {
		want    *ledger.Want
		fault   Fault
		problem error
		says    []string
	}{
		"a blob of another bundle":                {w.wants("first", w.image), nil, ledger.ErrWant, []string{"dhi@2", "does not list sha256"}},
		"a manifest of another bundle":            {w.wants("base", bundle.DigestOf([]byte("x"))), nil, ledger.ErrWant, []string{"does not list the manifest"}},
		"a manifest that does not list the blob":  {w.wants("third", w.image), nil, ledger.ErrWant, []string{"does not list " + bundle.DigestOf(contentOf("third")).String()}},
		"a layer that is gone":                    {w.want, On("HEAD", "/blobs/"+layer.String(), Code(404, "BLOB_UNKNOWN", "")), export.ErrGone, []string{layer.String(), "/acme/app:1", "--full"}},
		"an image that is gone":                   {w.want, On("GET", "/manifests/"+w.image.String(), Code(404, "MANIFEST_UNKNOWN", "")), export.ErrGone, []string{layer.String(), "/acme/app:1"}},
		"a registry that cannot be asked for now": {w.want, On("HEAD", "/blobs/", Code(403, "DENIED", "")), nil, []string{"403"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.want = test.want
			if test.fault != nil {
				w.Inject(test.fault)
				defer w.Inject()
			}
			_, err := w.supply(t)
			if err == nil || test.problem != nil && !errors.Is(err, test.problem) {
				t.Fatalf("%v, want %v", err, test.problem)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%v does not say %q", err, text)
				}
			}
			if _, err := os.Stat(w.file("supplement.tar")); err == nil {
				t.Error("there is a bundle")
			}
		})
	}
}

// What an index lists itself comes with those of its manifests that the completed bundle carries, and no others.
func TestSupplementOfSparseIndex(t *testing.T) {
	w := &wanting{mirrored: newMirrored(t)}
	blob := w.AddBlob("acme/app", "application/vnd.acme.text", contentOf("base"))
	index := bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIIndex}
	for _, arch := range []string{"amd64", "arm64"} {
		w.mirrored.image(t, arch, "of "+arch)
		content := w.StoredManifest("acme/app", arch)
		index.Manifests = append(index.Manifests, bundle.Descriptor{
			MediaType: bundle.MediaTypeOCIManifest, Digest: bundle.DigestOf(content), Size: int64(len(content)), Platform: &platform.Platform{OS: "linux", Architecture: arch},
		})
	}
	index.Manifests = append(index.Manifests, blob)
	content, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	listing := w.AddManifest("acme/app", "index", index.MediaType, content)
	request := parse(t, w.Host()+"/acme/app:index")
	amd64, err := platform.Parse("linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	request.Settings = export.Settings{Platforms: []platform.Matcher{amd64}, Mode: export.PlatformsSparse}
	w.images = export.Requests{request}
	w.export(t, "1.tar")
	second, stored := w.export(t, "2.tar")
	if stored != "" {
		t.Fatalf("the second bundle stores %s", stored)
	}
	if w.completes, err = w.mirror.Find(t.Context(), bundle.Base{ManifestIndex: second.ManifestIndex, Mirror: "dhi", Sequence: 2, Created: second.Created}); err != nil {
		t.Fatal(err)
	}
	w.want = w.wants("base", listing.Digest)
	result, err := w.supply(t)
	if err != nil {
		t.Fatal(err)
	}
	if stored := w.stored(t, "supplement.tar"); stored != "base" || result.Counts.Manifests != 2 || result.Counts.Stored != 3 {
		t.Errorf("it stores %q: %+v", stored, result.Counts)
	}
}
