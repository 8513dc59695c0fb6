package verify_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// deltas are three bundles of a mirror: the first has everything of one image, the second adds the other image and leaves out what
// the first stores, the third brings nothing new and so leaves out all configs and layers.
type deltas struct {
	key                  *signature.PrivateKey
	first, second, third *bundletest.Remade
	full                 []byte // the third, with nothing left out
}

func newDeltas(t *testing.T) *deltas {
	t.Helper()
	s, key := images(t), generate(t)
	one, both := exported(t, s, signWith(key), "good"), exported(t, s, signWith(key), "good", "liar")
	d := &deltas{key: key, full: both}
	d.first = bundletest.Remake(t, one, signWith(key), bundle.PlanOptions{Mirror: "m", Sequence: 1})
	d.second = bundletest.Remake(t, both, signWith(key), bundle.PlanOptions{Mirror: "m", Sequence: 2, StoredBy: d.first.Stores})
	d.third = bundletest.Remake(t, both, signWith(key), bundle.PlanOptions{Mirror: "m", Sequence: 3, StoredBy: d.second.Stores})
	return d
}

func (d *deltas) open(t *testing.T, b []byte, pipe bool) *verify.Bundle {
	t.Helper()
	checked, err := open(t, b, pipe, d.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return checked
}

func over(t *testing.T, b *verify.Bundle, bases ...*verify.Bundle) *verify.Bundle {
	t.Helper()
	all, err := b.Over(bases...)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// listener keeps what an Observer is told.
type listener struct {
	bundle.Observer

	mu          sync.Mutex
	total, done int64
	warnings    []string
}

func listen() *listener { return &listener{Observer: bundle.Observe(nil)} }

func (l *listener) Phase(_ string, total int64) { l.total = total }
func (l *listener) Warn(message string)         { l.warnings = append(l.warnings, message) }
func (l *listener) Add(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done += n
}

func TestOverGivesWhatWasLeftOut(t *testing.T) {
	d := newDeltas(t)
	first, second := d.open(t, d.first.Bytes, false), d.open(t, d.second.Bytes, false)
	for _, pipe := range []bool{false, true} {
		third := d.open(t, d.third.Bytes, pipe)
		header := third.Contents().Header
		if len(header.Bases) != 2 || header.Counts.Based != 3 {
			t.Fatalf("the third stands on %v", header.Bases)
		}
		for name, test := range map[string]struct {
			of    *verify.Bundle
			blobs int // of those left out
		}{
			"none": {third, 0}, "one": {over(t, third, first), 2}, "the other": {over(t, third, second), 1}, "both": {over(t, third, second, first), 3},
		} {
			had := 0
			var size int64
			for row, blob := range third.Contents().Blobs {
				if blob.Stored != bundle.StoredBase {
					continue
				}
				content, err := test.of.Open(row)
				if !test.of.Has(row) {
					if !errors.Is(err, bundle.ErrNotFound) {
						t.Errorf("%s: what was left out: %v", name, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(content)
				if err != nil || bundle.DigestOf(b) != blob.Digest {
					t.Errorf("%s: %d bytes of %s (%v)", name, len(b), blob.Digest, err)
				}
				had++
				size += blob.Size
			}
			if had != test.blobs {
				t.Errorf("%s: %d blobs can be had, want %d", name, had, test.blobs)
			}
			if !pipe {
				seen := listen()
				if err := test.of.CheckBlobs(t.Context(), seen); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if want := header.Counts.StoredBytes + size; seen.total != want || seen.done != want {
					t.Errorf("%s: read %d of %d bytes, want %d", name, seen.done, seen.total, want)
				}
			}
		}
		if err := over(t, third, first, second).CheckBlobs(t.Context(), nil); err != nil {
			t.Errorf("pipe %t: %v", pipe, err)
		}
	}
}

// Damage in a base is found only where it is read, and is said to be there.
func TestCheckBlobsReadsBases(t *testing.T) {
	d := newDeltas(t)
	spoiled := bytes.Clone(d.first.Bytes)
	spoiled[bytes.Index(spoiled, []byte("layerlayer"))] ^= 1
	first := d.open(t, spoiled, false)
	for _, pipe := range []bool{false, true} {
		third := d.open(t, d.third.Bytes, pipe)
		err := over(t, third, first).CheckBlobs(t.Context(), nil)
		if !errors.Is(err, bundle.ErrDigest) || !strings.Contains(err.Error(), "acme/app:") || !strings.Contains(err.Error(), "in m@1 ") {
			t.Errorf("pipe %t: a layer that is wrong in a base: %v", pipe, err)
		}
	}
	if err := d.open(t, d.third.Bytes, false).CheckBlobs(t.Context(), nil); err != nil {
		t.Errorf("without it: %v", err)
	}
}

func TestDeepThroughBases(t *testing.T) {
	d := newDeltas(t)
	first, second := d.open(t, d.first.Bytes, false), d.open(t, d.second.Bytes, false)
	for _, pipe := range []bool{false, true} {
		third := func() *verify.Bundle { return d.open(t, d.third.Bytes, pipe) }
		for name, test := range map[string]struct {
			of    *verify.Bundle
			want  error
			warns string
		}{
			"neither config nor layer": {third(), nil, ""},
			"a layer, one config":      {over(t, third(), first), nil, "1 layers cannot be compared"},
			"the config that lies":     {over(t, third(), second), nil, ""},
			"all":                      {over(t, third(), first, second), verify.ErrLayer, ""},
		} {
			seen := listen()
			if err := test.of.CheckBlobsDeep(t.Context(), seen); !errors.Is(err, test.want) {
				t.Errorf("pipe %t: %s: %v, want %v", pipe, name, err, test.want)
			}
			if got := strings.Join(seen.warnings, "\n"); !strings.Contains(got, test.warns) || (got == "") != (test.warns == "") {
				t.Errorf("pipe %t: %s: %q, want %q", pipe, name, got, test.warns)
			}
		}
	}
}

// Whoever made these had the key.
func TestOverRefusesClaimsThatBasesDoNotBear(t *testing.T) {
	d := newDeltas(t)
	sign := signWith(d.key)
	all := func(base bundle.Base) bundle.PlanOptions {
		return bundle.PlanOptions{Mirror: "m", Sequence: 9, StoredBy: func(bundle.Digest, int64) (bundle.Base, bool) { return base, true }}
	}
	claim := func(base bundle.Base) []byte { return bundletest.Remake(t, d.full, sign, all(base)).Bytes }
	renamed := func(change func(*bundle.Base)) bundle.Base {
		base := d.first.Base()
		change(&base)
		return base
	}
	full := bundletest.Remake(t, d.full, sign, bundle.PlanOptions{})
	x := bundle.Base{ManifestIndex: bundle.DigestOf([]byte("x")), Mirror: "x", Sequence: 1, Created: "2023-11-07T00:00:00Z"}
	onX := bundletest.Remake(t, d.full, sign, bundle.PlanOptions{Mirror: "y", Sequence: 1, StoredBy: all(x).StoredBy})
	onY := bundletest.Remake(t, d.full, sign, bundle.PlanOptions{Mirror: "x", Sequence: 1, StoredBy: all(onX.Base()).StoredBy})
	for name, test := range map[string]struct {
		delta, base []byte
		want        error
		says        string
	}{
		"it does not list it":           {claim(d.first.Base()), d.first.Bytes, bundle.ErrFormat, "m@1 of 1970-01-01, " + d.first.ManifestIndex.String() + ", which does not list it"},
		"it has it from a base itself":  {claim(d.third.Base()), d.third.Bytes, bundle.ErrFormat, `which has it as "base"`},
		"it has another sequence":       {claim(renamed(func(b *bundle.Base) { b.Sequence = 2 })), d.first.Bytes, bundle.ErrFormat, "calls itself m@1"},
		"it is of another mirror":       {claim(renamed(func(b *bundle.Base) { b.Mirror = "other" })), d.first.Bytes, bundle.ErrFormat, "calls itself m@1"},
		"it was made at another time":   {claim(renamed(func(b *bundle.Base) { b.Created = "2023-11-07T00:00:00Z" })), d.first.Bytes, bundle.ErrFormat, "calls itself m@1"},
		"it has nothing like that":      {d.third.Bytes, full.Bytes, verify.ErrBase, "it stands on m@1 of 1970-01-01, " + d.first.ManifestIndex.String() + "; m@2"},
		"it is the bundle itself":       {d.third.Bytes, d.third.Bytes, verify.ErrBase, "it stands on m@1"},
		"two that stand on each other":  {onY.Bytes, onX.Bytes, bundle.ErrFormat, `which has it as "base"`}, // so nothing ever goes round
		"and the other way":             {onX.Bytes, onY.Bytes, verify.ErrBase, "it stands on x@1"},
		"the bundle leaves nothing out": {full.Bytes, d.first.Bytes, verify.ErrBase, "leaves nothing out"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.open(t, test.delta, false).Over(d.open(t, test.base, false))
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %v: %s", err, test.want, test.says)
			}
		})
	}
	if _, err := d.open(t, d.third.Bytes, false).Over(d.open(t, d.first.Bytes, true)); !errors.Is(err, bundle.ErrUnsupported) {
		t.Errorf("a base in a pipe: %v", err)
	}
}

// Bundles of one image with one layer, which export cannot make: there is no such content.
func TestOverRefusesALayerOfAnotherKind(t *testing.T) {
	key := generate(t)
	layer := bytes.Repeat([]byte("layer"), 10_000)
	claimed := func(base bundle.Base) bundle.PlanOptions {
		return bundle.PlanOptions{Mirror: "m", Sequence: 2, StoredBy: func(d bundle.Digest, _ int64) (bundle.Base, bool) {
			return base, d == bundle.DigestOf(layer)
		}}
	}
	for name, test := range map[string]struct {
		mediaType string
		size      int
		says      string
	}{
		"nondistributable": {"application/vnd.oci.image.layer.nondistributable.v1.tar", len(layer), `which has it as "nondistributable"`},
		"shorter":          {"application/vnd.oci.image.layer.v1.tar", len(layer) - 1, fmt.Sprintf("it has %d bytes, and %d in m@1", len(layer), len(layer)-1)},
	} {
		t.Run(name, func(t *testing.T) {
			base, header := oneImage(t, key, bundle.Descriptor{MediaType: test.mediaType, Digest: bundle.DigestOf(layer), Size: int64(test.size)}, layer[:test.size],
				bundle.PlanOptions{Mirror: "m", Sequence: 1})
			delta, _ := oneImage(t, key, bundle.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: bundle.DigestOf(layer), Size: int64(len(layer))}, layer,
				claimed(header))
			_, err := delta.Over(base)
			if !errors.Is(err, bundle.ErrFormat) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %s", err, test.says)
			}
		})
	}
}

// oneImage writes a bundle as its signer wants it, and not as its blobs are.
func oneImage(t *testing.T, key *signature.PrivateKey, layer bundle.Descriptor, content []byte, options bundle.PlanOptions) (*verify.Bundle, bundle.Base) {
	t.Helper()
	blobs := map[bundle.Digest][]byte{layer.Digest: content, bundle.EmptyJSON: []byte("{}")}
	text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		bundle.MediaTypeOCIManifest, bundle.MediaTypeEmptyJSON, bundle.EmptyJSON, layer.MediaType, layer.Digest, layer.Size)
	digest := bundle.DigestOf([]byte(text))
	blobs[digest] = []byte(text)
	row := bundle.ManifestRow{Digest: digest, MediaType: bundle.MediaTypeOCIManifest, Size: int64(len(text)), Via: bundle.ViaRoot, From: "docker.io/acme/app"}
	root := bundle.Root{Source: "docker.io/acme/app:1", Path: "acme/app", Tag: "1", MediaType: row.MediaType, Digest: digest, Size: row.Size}
	parse := func(d bundle.Digest) (*bundle.Manifest, error) {
		return bundle.ParseManifest(bundle.MediaTypeOCIManifest, blobs[d])
	}
	options.Created = time.Unix(1, 0)
	contents, err := bundle.Plan([]bundle.Image{{Root: root, Manifests: []bundle.ManifestRow{row}}}, parse, options)
	if err != nil {
		t.Fatal(err)
	}
	layout, err := bundle.NewLayout(contents, signWith(key))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bundle.tar")
	file, err := bundle.CreateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := bundle.Create(file, layout)
	if err != nil {
		t.Fatal(err)
	}
	for at, b := range contents.Blobs {
		if !layout.HasEntry(at) {
			continue
		}
		w, err := writer.Blob(at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(blobs[b.Digest]); err != nil {
			t.Fatal(err)
		}
		_ = w.Close() // which notices what the layer is
	}
	if err := writer.Leave(); err != nil {
		t.Fatal(err)
	}
	medium, err := bundle.OpenFile(path + bundle.PartialSuffix)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := bundle.Open(medium)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sealed.Close(); err != nil {
			t.Error(err)
		}
	})
	checked, err := verify.Open(t.Context(), sealed, verify.Trust{Policy: policy.OfKeys([]signature.PublicKey{key.Public()})})
	if err != nil {
		t.Fatal(err)
	}
	return checked, contents.Header.Base(layout.ManifestIndex())
}
