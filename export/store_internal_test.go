package export

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"airgap/bundle"
)

// Manifests are the same from memory and from the file, and memory has no more of them than maxParsed.
func TestManifestsThatAreParsedAreBounded(t *testing.T) {
	store, err := newContentStore()
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	const size, count = 1 << 20, 6
	var digests []bundle.Digest
	for i := range count {
		content := fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[],"annotations":{"n":"%d","x":%q}}`, i, strings.Repeat("x", size))
		m, err := bundle.ParseManifest(bundle.MediaTypeOCIIndex, content)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, bundle.DigestOf(content))
		if err := store.put(digests[i], bundle.MediaTypeOCIIndex, content, m); err != nil {
			t.Fatal(err)
		}
	}
	if kept := len(store.parsed); kept == 0 || kept > maxParsed/size {
		t.Errorf("%d manifests of %d bytes are in memory", kept, size)
	}
	check := func() {
		t.Helper()
		for i, d := range digests {
			if m, err := store.manifest(d); err != nil || m.Annotations["n"] != strconv.Itoa(i) {
				t.Errorf("manifest %d: %v", i, err)
			}
		}
	}
	check()
	store.forget()
	check()
	if store.parsed != nil {
		t.Error("nothing is forgotten")
	}
}
