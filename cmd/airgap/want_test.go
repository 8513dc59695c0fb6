package main

import (
	"os"
	"path/filepath"
	"testing"

	"airgap/bundle/bundletest"
	"airgap/bundle/ledger"
	"airgap/import/importtest"
)

// TestWant: what a delta leaves out and the target lacks is listed, once, and the list is gone when nothing is wanted any more.
func TestWant(t *testing.T) {
	w := newWorld(t)
	mirror := importtest.NewWeekly(t, 2)
	public := w.write(t, "airgap.pub", string(mirror.Key.Public().MarshalPEM()))
	target := bundletest.StartRegistry(t, true) + "/mirror"
	list := filepath.Join(w.home, "want.json")
	delta := []string{"import", mirror.Files[1], target, "--key", public, "--want", list}

	w.expect(t, exitStranded, list+" lists", append(delta, "--dry-run")...)
	w.expect(t, exitStranded, "acme@1 of 2023-11-14", delta...)
	f, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if want, err := ledger.ReadWant(f); err != nil || want.Completes != importtest.BaseOf(t, mirror.Files[1]) {
		t.Errorf("%v, %+v", err, want)
	}
	w.expect(t, exitOK, "", "import", mirror.Files[0], target, "--key", public)
	w.expect(t, exitOK, "nothing is wanted", delta...)
	if _, err := os.Stat(list); !os.IsNotExist(err) {
		t.Error("the list is still there", err)
	}
	w.write(t, "want.json", "somebody's notes")
	w.expect(t, exitUsage, "is something else", delta...)
	w.expect(t, exitUsage, "would be overwritten", append(delta[:len(delta)-1], mirror.Files[1])...)
	if content, err := os.ReadFile(list); string(content) != "somebody's notes" {
		t.Errorf("%q, %v", content, err)
	}
}
