package bundletest

import (
	"bytes"
	"io"
	"testing"

	"airgap/bundle"
)

// Remade is a bundle that was made of another one.
type Remade struct {
	Bytes         []byte
	ManifestIndex bundle.Digest
	Contents      *bundle.Contents
}

// Base names it as one that others build on.
func (r *Remade) Base() bundle.Base { return r.Contents.Header.Base(r.ManifestIndex) }

// Stores is for the StoredBy of bundles that build on this one, and on what it builds on.
func (r *Remade) Stores(d bundle.Digest, size int64) (bundle.Base, bool) {
	return r.Contents.StoredBy(r.Base(), d, size)
}

// Remake makes a bundle of the same images with other options: as one of a mirror, as a delta. The original must store all that
// the new one does.
func Remake(t testing.TB, original []byte, sign bundle.Signer, options bundle.PlanOptions) *Remade {
	t.Helper()
	sealed, err := bundle.Open(bundle.FromReaderAt(bytes.NewReader(original), int64(len(original))))
	if err != nil {
		t.Fatal(err)
	}
	reader, err := sealed.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	contents := reader.Contents()
	if options.Created, err = contents.Header.CreatedTime(); err != nil {
		t.Fatal(err)
	}
	var images []bundle.Image
	for i, root := range contents.Roots() {
		images = append(images, bundle.Image{Root: root, Manifests: contents.RootManifests(i)})
	}
	if contents, err = bundle.Plan(images, reader.ParseManifest, options); err != nil {
		t.Fatal(err)
	}
	layout, err := bundle.NewLayout(contents, sign)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	writer, err := bundle.Create(bundle.NewStream(&out), layout)
	if err != nil {
		t.Fatal(err)
	}
	for row, blob := range contents.Blobs {
		if layout.HasEntry(row) {
			copyBlob(t, writer, row, reader, blob.Digest)
		}
	}
	if err := writer.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return &Remade{out.Bytes(), layout.ManifestIndex(), contents}
}

func copyBlob(t testing.TB, to *bundle.Writer, row int, from *bundle.Reader, d bundle.Digest) {
	t.Helper()
	w, err := to.Blob(row)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := from.Contents().Find(d)
	r, err := from.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
