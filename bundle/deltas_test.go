package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"airgap/bundle"
)

// baseOf names a bundle of a mirror, with a digest made of text.
func baseOf(mirror string, sequence uint64, text string) bundle.Base {
	return bundle.Base{ManifestIndex: bundle.DigestOf([]byte(text)), Mirror: mirror, Sequence: sequence, Created: "2023-11-07T00:00:00Z"}
}

func baseText(mirror string, sequence uint64, text string) string {
	return fmt.Sprintf(`{"manifestIndex":"%s","mirror":"%s","sequence":%d,"created":"2023-11-07T00:00:00Z"}`, bundle.DigestOf([]byte(text)), mirror, sequence)
}

// supplementOf makes a supplement of the header of newDeltaWorld.
func supplementOf(completes string) func([]byte) []byte {
	return func(header []byte) []byte {
		header = bytes.Replace(header, []byte(`"sequence":12`), []byte(`"sequence":0`), 1)
		header = bytes.Replace(header, []byte(`"requires":["bases"]`), []byte(`"requires":["bases","supplement"]`), 1)
		return bytes.Replace(header, []byte(`,"counts"`), []byte(`,"completes":`+completes+`,"counts"`), 1)
	}
}

// newDeltaWorld is newWorld as a delta: a config is in one base, all layers but one are in another, which has the attestations as
// well.
func newDeltaWorld() *world {
	w := newWorld()
	w.options.Mirror, w.options.Sequence = "dhi", 12
	own := bundle.DigestOf([]byte("own arm64"))
	config := bundle.DigestOf([]byte(`{"architecture":"amd64"}`))
	w.options.StoredBy = func(d bundle.Digest, size int64) (bundle.Base, bool) {
		switch d {
		case config:
			return baseOf("dhi", 9, "a"), true
		case own, bundle.DigestOf([]byte(`{"architecture":"arm64"}`)):
			return bundle.Base{}, false
		}
		return baseOf("dhi", 11, "b"), size >= 0
	}
	return w
}

func TestDeltaLeavesOutWhatBasesStore(t *testing.T) {
	w := newDeltaWorld()
	good := w.stream(t)
	if err := checkFile(good); err != nil {
		t.Fatal(err)
	}
	if err := checkPipe(good); err != nil {
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
	if want := []bundle.Base{baseOf("dhi", 9, "a"), baseOf("dhi", 11, "b")}; !slices.Equal(c.Header.Bases, want) {
		t.Errorf("bases %v", c.Header.Bases)
	}
	if !slices.Equal(c.Header.Requires, []string{"bases"}) {
		t.Errorf("requires %q", c.Header.Requires)
	}
	based, bytesOfBases := 0, int64(0)
	self := c.Header.Base(sealed.ManifestIndex())
	for row, b := range c.Blobs {
		want := self
		switch b.Stored {
		case bundle.StoredBase:
			want = c.Header.Bases[b.Base]
			based++
			bytesOfBases += b.Size
			if b.Role == bundle.RoleManifest || b.Role == bundle.RoleAttestation || b.Digest == bundle.EmptyJSON {
				t.Errorf("%s %s was left out", b.Role, b.Digest)
			}
			if _, err := r.Open(row); !errors.Is(err, bundle.ErrNotFound) {
				t.Errorf("%s can be opened: %v", b.Digest, err)
			}
		case bundle.StoredNondistributable:
			if _, found := c.StoredBy(self, b.Digest, b.Size); found {
				t.Errorf("%s is stored by nobody", b.Digest)
			}
			continue
		}
		if got, found := c.StoredBy(self, b.Digest, b.Size); !found || got != want {
			t.Errorf("%s is stored by %v, want %v", b.Digest, got, want)
		}
		if _, found := c.StoredBy(self, b.Digest, b.Size+1); found {
			t.Errorf("%s is found with another size", b.Digest)
		}
	}
	if based != 3 || c.Header.Counts.Based != based || c.Header.Counts.BasedBytes != bytesOfBases {
		t.Errorf("%d blobs of %d bytes in bases; the header says %+v", based, bytesOfBases, c.Header.Counts)
	}
	if full := newWorld().stream(t); len(full)-len(good) < 20_000 {
		t.Errorf("the delta has %d bytes, the full bundle %d", len(good), len(full))
	}
}

func TestSupplementHasNoNumber(t *testing.T) {
	w := newWorld()
	completes := baseOf("dhi", 12, "c")
	w.options.Mirror, w.options.Completes = "dhi", &completes
	if _, err := w.tryPlan(); err == nil {
		t.Error("a supplement with tags")
	}
	w.images = w.images[:1]
	w.images[0].Root.Tag, w.images[0].Root.Source = "", "docker.io/acme/app@"+w.images[0].Root.Digest.String()
	layout := w.plan(t)
	header := layout.Contents().Header
	index := layout.ManifestIndex()
	if tag, want := header.EntryTag(index), "dhi-000012-"+index.Hex()[:12]; tag != want {
		t.Errorf("entry %s, want %s", tag, want)
	}
	if err := checkFile(w.stream(t)); err != nil {
		t.Error(err)
	}
}

func TestEntryTags(t *testing.T) {
	digest := bundle.DigestOf([]byte("x"))
	for want, header := range map[string]bundle.Header{
		"dhi-000012":                     {Mirror: "dhi", Sequence: 12},
		"a.b-1_c-18446744073709551615":   {Mirror: "a.b-1_c", Sequence: 1<<64 - 1},
		"bundle-" + digest.Hex()[:12]:    {},
		"m-1234567-" + digest.Hex()[:12]: {Mirror: "m", Completes: &bundle.Base{Mirror: "m", Sequence: 1234567}},
	} {
		if got := header.EntryTag(digest); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		mirror, sequence, ok := bundle.ParseSequenceTag(want)
		if ok != (header.Sequence > 0) || ok && (mirror != header.Mirror || sequence != header.Sequence) {
			t.Errorf("%s is read as %q %d %v", want, mirror, sequence, ok)
		}
	}
	for _, tag := range []string{"dhi-12", "dhi-0000012", "dhi-000000", "-000012", "DHI-000012", "dhi-000012-", "dhi-99999999999999999999", "latest"} {
		if _, _, ok := bundle.ParseSequenceTag(tag); ok {
			t.Errorf("%s is taken for an entry", tag)
		}
	}
}

// What a repository keeps of a bundle is enough to read its tables again, and anything else in its place is refused.
func TestHeadIsReadFromItsArtifact(t *testing.T) {
	layout := newDeltaWorld().plan(t)
	artifact := layout.Artifact()
	kept := map[bundle.Digest][]byte{}
	for _, o := range append(slices.Clone(artifact.Blobs), artifact.Index, artifact.Signature) {
		var b bytes.Buffer
		if err := o.Write(&b); err != nil {
			t.Fatal(err)
		}
		if bundle.DigestOf(b.Bytes()) != o.Digest || int64(b.Len()) != o.Size {
			t.Errorf("%s has the digest %s", o.Digest, bundle.DigestOf(b.Bytes()))
		}
		kept[o.Digest] = b.Bytes()
	}
	for _, content := range [][]byte{kept[artifact.Index.Digest], kept[artifact.Signature.Digest]} {
		m, err := bundle.ParseManifest(bundle.MediaTypeOCIManifest, content)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range m.Blobs() {
			if int64(len(kept[d.Digest])) != d.Size {
				t.Errorf("%s is named, and not part of the artifact", d.Digest)
			}
		}
	}
	read := func(change func(d bundle.Descriptor, b []byte) []byte) (*bundle.Contents, error) {
		head, err := bundle.ReadHead(kept[artifact.Index.Digest], nil, func(_ context.Context, d bundle.Descriptor) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(change(d, kept[d.Digest]))), nil
		})
		if err != nil {
			return nil, err
		}
		return head.Contents(t.Context())
	}
	c, err := read(func(_ bundle.Descriptor, b []byte) []byte { return b })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Blobs, layout.Contents().Blobs) || c.Header.Counts != layout.Contents().Header.Counts {
		t.Error("other tables than those that were written")
	}
	for name, change := range map[string]func([]byte) []byte{
		"shorter": func(b []byte) []byte { return b[:len(b)-1] },
		"other":   func(b []byte) []byte { return bytes.ToUpper(b) },
		"nothing": func([]byte) []byte { return nil },
	} {
		for at := range artifact.Blobs[:4] { // header and tables
			_, err := read(func(d bundle.Descriptor, b []byte) []byte {
				if d.Digest == artifact.Blobs[at].Digest {
					return change(b)
				}
				return b
			})
			if !errors.Is(err, bundle.ErrDigest) && !errors.Is(err, bundle.ErrFormat) {
				t.Errorf("%s in place of blob %d: %v", name, at, err)
			}
		}
	}
}
