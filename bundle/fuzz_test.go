package bundle_test

import (
	"encoding/json"
	"errors"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
)

// Whatever is read as a bundle is refused with one of the documented errors, or is exactly what its tables make it; as a
// file and as a pipe alike.
func FuzzHead(f *testing.F) {
	good := newWorld().stream(f)
	f.Add(good)
	f.Add(newFeatureWorld().stream(f))
	f.Add(newDeltaWorld().stream(f))
	entries, end := bundletest.Entries(good)
	for cut := 1; cut < len(entries); cut += 2 {
		var b []byte
		for _, e := range entries[:cut] {
			b = append(b, e.Raw...)
		}
		f.Add(append(b, end...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fromFile, fromPipe := checkFile(b), checkPipe(b)
		if (fromFile == nil) != (fromPipe == nil) {
			t.Fatalf("as a file: %v; as a pipe: %v", fromFile, fromPipe)
		}
		if fromFile == nil && len(b)%512 != 0 {
			t.Fatal("accepted a tar that does not end at a block")
		}
		for _, err := range []error{fromFile, fromPipe} {
			if err != nil && !isDocumented(err) {
				t.Fatalf("undocumented error: %v", err)
			}
		}
	})
}

func isDocumented(err error) bool {
	for _, sentinel := range []error{bundle.ErrFormat, bundle.ErrDigest, bundle.ErrLimit, bundle.ErrUnsupported} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// The tables of a bundle whose digests are right, as a signer could have made them: they are refused, or spelled again
// to the same bytes.
func FuzzTables(f *testing.F) {
	entries, _ := bundletest.Entries(newWorld().stream(f))
	const header, roots, manifests, blobs = 2, 3, 4, 5 // places in a bundle
	content := func(i int) []byte { return entries[i].Raw[512 : 512+entries[i].Size] }
	f.Add(content(header), content(roots), content(manifests), content(blobs), []byte{})
	entries, _ = bundletest.Entries(newFeatureWorld().stream(f))
	f.Add(content(header), content(roots), content(manifests), content(blobs), content(blobs+1))
	entries, _ = bundletest.Entries(newDeltaWorld().stream(f))
	f.Add(content(header), content(roots), content(manifests), content(blobs), []byte{})
	f.Add(supplementOf(baseText("dhi", 12, "c"))(content(header)), content(roots), content(manifests), content(blobs), []byte{})
	f.Fuzz(func(t *testing.T, header, roots, manifests, blobs, missing []byte) {
		c, err := bundle.ReadTables(header, roots, manifests, blobs, missing)
		if err != nil {
			if !isDocumented(err) {
				t.Fatalf("undocumented error: %v", err)
			}
			return
		}
		for row, b := range c.Blobs {
			if found, ok := c.Find(b.Digest); !ok || found != row {
				t.Fatalf("%s is in row %d, and found in row %d", b.Digest, row, found)
			}
		}
		for i := range c.Roots() {
			for _, m := range c.RootManifests(i) {
				if m.Root != i {
					t.Fatalf("root %d is given a row of root %d", i, m.Root)
				}
			}
		}
	})
}

// The parser of manifests never disagrees with encoding/json about what it accepts.
func FuzzParseManifest(f *testing.F) {
	fixture := bundletest.LoadFixture(f)
	for _, repository := range fixture.Repositories {
		for _, m := range repository.Manifests {
			f.Add(m.MediaType, m.Bytes)
		}
	}
	f.Fuzz(func(t *testing.T, mediaType string, content []byte) {
		m, err := bundle.ParseManifest(mediaType, content)
		if err != nil {
			return
		}
		var other bundle.Manifest
		if err := json.Unmarshal(content, &other); err != nil {
			t.Fatalf("encoding/json refuses what was accepted: %v", err)
		}
		if len(m.Children()) > len(m.Manifests) || len(m.Blobs()) > len(m.Layers)+len(m.Manifests)+1 {
			t.Fatal("more children or blobs than descriptors")
		}
	})
}
