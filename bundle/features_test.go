package bundle_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
)

// newFeatureWorld uses every feature that a header can require: an index with a missing child, one that was made from
// another and comes with a signature of that, a repository for referrers, and images that could not be had.
func newFeatureWorld() *world {
	w := &world{blobs: map[bundle.Digest][]byte{}}
	child := w.manifest(image(w.add([]byte(`{"architecture":"amd64"}`)), w.add([]byte("layer"))), bundle.MediaTypeOCIManifest)
	elsewhere := bundle.Descriptor{MediaType: bundle.MediaTypeOCIManifest, Digest: bundle.DigestOf([]byte("s390x")), Size: 5}
	index := func(children ...bundle.Descriptor) bundle.Descriptor {
		return w.manifest(object{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": children}, bundle.MediaTypeOCIIndex)
	}
	sparse, rewritten := index(child, elsewhere), index(child)
	empty := w.add([]byte("{}"))
	empty.MediaType = bundle.MediaTypeEmptyJSON
	signature := image(empty, w.add([]byte("signature")))
	signature["artifactType"], signature["subject"] = "application/vnd.example.signature", sparse
	signed := w.manifest(signature, bundle.MediaTypeOCIManifest)
	signed.ArtifactType = "application/vnd.example.signature"

	row := func(d bundle.Descriptor, via bundle.Via, subject bundle.Digest) bundle.ManifestRow {
		return bundle.ManifestRow{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, ArtifactType: d.ArtifactType, Via: via, Subject: subject, From: "docker.io/acme/app"}
	}
	add := func(path string, d bundle.Descriptor, change func(*bundle.Root)) {
		root := bundle.Root{Source: "docker.io/acme/app:1", Path: path, Tag: "1", MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platforms: []string{"linux/amd64"}}
		change(&root)
		w.images = append(w.images, bundle.Image{Root: root, Manifests: []bundle.ManifestRow{
			row(d, bundle.ViaRoot, bundle.Digest{}), row(child, bundle.ViaChild, bundle.Digest{}), row(signed, bundle.ViaReferrersAPI, sparse.Digest),
		}})
	}
	add("acme/rewritten", rewritten, func(r *bundle.Root) { r.Original, r.UsedBy = sparse.Digest, []string{"docker.io/acme/chart:1"} })
	add("acme/sparse", sparse, func(r *bundle.Root) { r.ReferrerPath = "acme/proofs" })
	w.missing = []bundle.Missing{{Source: "docker.io/acme/gone:1", Path: "acme/gone", Tag: "1", Reason: "not found"}, {Source: "docker.io/acme/all", Path: "acme/all", Reason: "denied"}}
	return w
}

func TestFeaturesGoThrough(t *testing.T) {
	good := newFeatureWorld().stream(t)
	if err := checkFile(good); err != nil {
		t.Fatal(err)
	}
	sealed, err := bundle.Open(bundle.FromReaderAt(bytes.NewReader(good), int64(len(good))))
	if err != nil {
		t.Fatal(err)
	}
	r, err := sealed.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := r.Contents()
	if want := []string{"missing", "platforms", "referrer-path", "used-by"}; !slices.Equal(c.Header.Requires, want) {
		t.Errorf("requires %q, want %q", c.Header.Requires, want)
	}
	if len(c.Missing) != 2 || c.Missing[0].Destination() != "acme/all" || c.Missing[1].Destination() != "acme/gone:1" {
		t.Errorf("missing: %+v", c.Missing)
	}
	rewritten, sparse := c.Root(0), c.Root(1)
	if rewritten.IsSparse() || !sparse.IsSparse() || rewritten.Original != sparse.Digest {
		t.Errorf("roots: %+v, %+v", rewritten, sparse)
	}
}

// What a feature permits is permitted where it is used and nowhere else.
func TestFeaturesAreHeldToTheirRoots(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		want   string
	}{
		"a child is missing without a selection": {func(w *world) { w.images[1].Root.Platforms, w.images[0].Root.Original = nil, bundle.DigestOf(nil) }, "is not in the bundle"},
		"sparse under one root only": {func(w *world) {
			complete := w.images[1]
			complete.Root.Path, complete.Root.Platforms = "acme/complete", nil
			w.images = append(w.images, complete)
		}, "lists manifests that are not in the bundle"},
		"a referrer of something else":       {func(w *world) { w.images[0].Root.Original = bundle.DigestOf([]byte("other")) }, "is listed as reached via referrers-api, but is not"},
		"an original without platforms":      {func(w *world) { w.images[0].Root.Platforms = nil }, "no platforms"},
		"platforms out of order":             {func(w *world) { w.images[0].Root.Platforms = []string{"linux/b", "linux/a"} }, "out of order"},
		"referrers to the image's own place": {func(w *world) { w.images[1].Root.ReferrerPath = "acme/sparse" }, "own"},
		"a bad path for referrers":           {func(w *world) { w.images[1].Root.ReferrerPath = "../etc" }, "repository for referrers"},
		"charts out of order":                {func(w *world) { w.images[0].Root.UsedBy = []string{"b", "a"} }, "out of order"},
		"missing for no reason":              {func(w *world) { w.missing[0].Reason = "" }, "no reason"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFeatureWorld()
			test.change(w)
			if err := w.tryFile(t); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want something with %q", err, test.want)
			}
		})
	}
}

// A header that says less than the tables use, or more, is refused: old readers would overlook it.
func TestRequiredFeaturesAreThoseThatAreUsed(t *testing.T) {
	entries, _ := bundletest.Entries(newFeatureWorld().stream(t))
	content := func(place int) []byte { return entries[place-1].Raw[512 : 512+entries[place-1].Size] } // places as in FORMAT.md
	for name, requires := range map[string]string{
		"one too few":  `["missing","platforms"]`,
		"unknown":      `["missing","platforms","referrer-path","teleport","used-by"]`,
		"twice":        `["missing","missing","platforms","referrer-path","used-by"]`,
		"out of order": `["platforms","missing","referrer-path","used-by"]`,
	} {
		header := bytes.Replace(content(3), []byte(`["missing","platforms","referrer-path","used-by"]`), []byte(requires), 1)
		if _, err := bundle.ReadTables(header, content(4), content(5), content(6), content(7)); !errors.Is(err, bundle.ErrFormat) && !errors.Is(err, bundle.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlanMergesWhatIsAskedForTwice(t *testing.T) {
	w := newFeatureWorld()
	again := w.images[1]
	w.images[1].Manifests = w.images[1].Manifests[:2] // without its signature
	w.images = append(w.images, again)
	layout := w.plan(t)
	if got := len(layout.Contents().RootManifests(1)); layout.Contents().Header.Counts.Roots != 2 || got != 3 {
		t.Errorf("%d roots, the second with %d manifests; want 2 and 3", layout.Contents().Header.Counts.Roots, got)
	}
	again.Root.Platforms = []string{"linux/s390x"}
	w.images[2] = again
	manifest := func(bundle.Digest) (*bundle.Manifest, error) { return &bundle.Manifest{}, nil }
	if _, err := bundle.Plan(w.images, manifest, bundle.PlanOptions{}); !errors.Is(err, bundle.ErrCollision) {
		t.Errorf("two selections under one name: %v", err)
	}
}
