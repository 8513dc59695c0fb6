package bundle_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"airgap/bundle"
)

// TestDeltaReadAsWritten finds all content of a delta, in it and in what it stands on, by what FORMAT.md says and with nothing of the
// package.
func TestDeltaReadAsWritten(t *testing.T) {
	build := func(sequence uint64, storedBy func(bundle.Digest, int64) (bundle.Base, bool)) ([]byte, *bundle.Layout) {
		w := newWorld()
		w.options = bundle.PlanOptions{Mirror: "dhi", Sequence: sequence, StoredBy: storedBy}
		return w.stream(t), w.plan(t)
	}
	stores := func(l *bundle.Layout, some func(bundle.Digest) bool) func(bundle.Digest, int64) (bundle.Base, bool) {
		c := l.Contents()
		return func(d bundle.Digest, size int64) (bundle.Base, bool) {
			base, found := c.StoredBy(c.Header.Base(l.ManifestIndex()), d, size)
			return base, found && some(d)
		}
	}
	config, own := bundle.DigestOf([]byte(`{"architecture":"amd64"}`)), bundle.DigestOf([]byte("own arm64"))
	nine, nineLayout := build(9, nil)
	eleven, elevenLayout := build(11, stores(nineLayout, func(d bundle.Digest) bool { return d == config }))
	twelve, _ := build(12, stores(elevenLayout, func(d bundle.Digest) bool { return d != own }))

	library := []*foreigner{readAsWritten(t, nine), readAsWritten(t, eleven)}
	delta := readAsWritten(t, twelve)
	left := map[string]int{}
	for _, b := range delta.blobs {
		content, from, err := delta.content(b, library)
		if b.Stored == "nondistributable" {
			if !errors.Is(err, errNowhere) {
				t.Errorf("%s: %v", b.Digest, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := digestOf(content); got != b.Digest || int64(len(content)) != b.Size {
			t.Errorf("%s has %d bytes and the digest %s", b.Digest, len(content), got)
		}
		if from != delta {
			left[fmt.Sprintf("%s@%d", from.header.Mirror, from.header.Sequence)]++
		}
	}
	if len(left) != 2 || left["dhi@9"] != 1 || left["dhi@11"] < 2 {
		t.Errorf("found in bases: %v", left)
	}
	if _, _, err := delta.content(delta.blob(t, config.String()), library[1:]); !errors.Is(err, errNowhere) {
		t.Errorf("without dhi@9: %v", err)
	}
}

var errNowhere = errors.New("nobody stores it")

// foreigner is a bundle as a stranger's program has read it.
type foreigner struct {
	index   string // digest
	entries map[string][]byte
	header  struct {
		Mirror   string
		Sequence uint64
		Requires []string
		Bases    []struct {
			ManifestIndex, Mirror string
			Sequence              uint64
		}
	}
	blobs []foreignRow
}

type foreignRow struct {
	Digest, Role, Stored string
	Size                 int64
	Base                 *int
}

func readAsWritten(t *testing.T, file []byte) *foreigner {
	t.Helper()
	f := &foreigner{entries: map[string][]byte{}}
	archive := tar.NewReader(bytes.NewReader(file))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		digest, isBlob := strings.CutPrefix(h.Name, "blobs/sha256/")
		if isBlob && f.index == "" { // entry 2 is the signed object
			f.index = "sha256:" + digest
		}
		if f.entries[h.Name] = content; isBlob && digestOf(content) != "sha256:"+digest {
			t.Fatalf("%s has other content", h.Name)
		}
	}
	var index struct {
		Config struct{ Digest string }
		Layers []struct{ MediaType, Digest string }
	}
	f.parse(t, f.index, &index)
	f.parse(t, index.Config.Digest, &f.header)
	f.blobs = rows[foreignRow](t, f.entry(index.Layers[2].Digest))
	return f
}

func (f *foreigner) entry(digest string) []byte {
	return f.entries["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")]
}

func (f *foreigner) parse(t *testing.T, digest string, v any) {
	t.Helper()
	if err := json.Unmarshal(f.entry(digest), v); err != nil {
		t.Fatal(err)
	}
}

func (f *foreigner) blob(t *testing.T, digest string) foreignRow {
	t.Helper()
	for _, b := range f.blobs {
		if b.Digest == digest {
			return b
		}
	}
	t.Fatalf("%s is not listed", digest)
	return foreignRow{}
}

// content returns what a row stands for and who stores it: "Tables", "Deltas".
func (f *foreigner) content(b foreignRow, library []*foreigner) ([]byte, *foreigner, error) {
	switch b.Stored {
	case "full":
		return f.entry(b.Digest), f, nil
	case "base":
		for _, other := range library {
			if other.index != f.header.Bases[*b.Base].ManifestIndex {
				continue
			}
			for _, stored := range other.blobs {
				if stored.Digest == b.Digest && stored.Size == b.Size && stored.Stored == "full" {
					return other.entry(b.Digest), other, nil
				}
			}
		}
	}
	return nil, nil, fmt.Errorf("%s: %w", b.Digest, errNowhere)
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
