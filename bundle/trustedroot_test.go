package bundle_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
)

// A trusted root travels byte for byte, from a file and from a pipe, and into records.
func TestTrustedRootTravels(t *testing.T) {
	for name, w := range map[string]*world{"nothing else": newWorld(), "something missing": newFeatureWorld()} {
		t.Run(name, func(t *testing.T) {
			root := []byte("{\"mediaType\": \"<anything>\"}\n")
			w.options.TrustedRoot = root
			good := w.stream(t)
			if err := checkFile(good); err != nil {
				t.Fatal(err)
			}
			for _, medium := range []bundle.Medium{bundle.FromReader(bytes.NewReader(good)), bundle.FromReaderAt(bytes.NewReader(good), int64(len(good)))} {
				sealed, err := bundle.Open(medium)
				if err != nil {
					t.Fatal(err)
				}
				r, err := sealed.Reader(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if c := r.Contents(); !bytes.Equal(c.TrustedRoot, root) || !slices.Contains(c.Header.Requires, "trusted-root") {
					t.Errorf("requires %q, with %q", c.Header.Requires, c.TrustedRoot)
				}
				if !slices.ContainsFunc(r.Artifact().Blobs, func(o bundle.Object) bool { return o.Digest == bundle.DigestOf(root) }) {
					t.Error("a record would lack it")
				}
				if err := sealed.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	w := newWorld()
	w.options.TrustedRoot = make([]byte, bundle.MaxTrustedRootSize+1)
	if _, err := w.tryPlan(); !errors.Is(err, bundle.ErrLimit) {
		t.Errorf("one that is too large: %v", err)
	}
}

// A manifest index whose layers are in another order, there twice, unknown, or too large is refused before any of them is read.
func TestTrustedRootIsHeldToItsPlace(t *testing.T) {
	w := newFeatureWorld()
	w.options.TrustedRoot = []byte("{}")
	entries, _ := bundletest.Entries(w.stream(t))
	index := string(entries[1].Raw[512 : 512+entries[1].Size])
	begin, end := strings.Index(index, `,{"mediaType":"application/vnd.airgap.missing`), strings.LastIndex(index, "]")
	layers := strings.SplitAfter(index[begin:end], "}}")[:2] // missing, trusted root
	for name, changed := range map[string][]string{
		"as it is":    layers,
		"other order": {layers[1], layers[0]},
		"twice":       {layers[1], layers[1]},
		"unknown":     {layers[0], strings.Replace(layers[1], "trusted-root", "trusted-boot", 1)},
		"no table":    {strings.Replace(layers[1], "trusted-root", "blobs", 1)},
		"too large":   {layers[0], strings.Replace(layers[1], `"size":2`, fmt.Sprintf(`"size":%d`, bundle.MaxTrustedRootSize+1), 1)},
		"of no size":  {layers[0], strings.Replace(layers[1], `"size":2`, `"size":0`, 1)},
		"three more":  {layers[0], layers[1], layers[1]},
	} {
		_, err := bundle.ReadHead([]byte(index[:begin]+strings.Join(changed, "")+index[end:]), nil, nil)
		if (err == nil) != (name == "as it is") || err != nil && !errors.Is(err, bundle.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
