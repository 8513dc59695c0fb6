package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"airgap/bundle/bundletest"
	"airgap/bundle/ledger"
	"airgap/export/registry/registrytest"
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
	w.expect(t, exitStranded, "\n  acme@1 of 2023-11-14", delta...) // on a line of its own
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

// TestDeltaOneVolumeAtATime: what is left out is looked for before any disk is asked for, and mounted.
func TestDeltaOneVolumeAtATime(t *testing.T) {
	w := newWorld(t)
	mirror := importtest.NewWeekly(t, 2)
	public := w.write(t, "airgap.pub", string(mirror.Key.Public().MarshalPEM()))
	target := registrytest.New(t, registrytest.Wrap(func(next http.Handler) http.Handler {
		return registrytest.Then(registrytest.BlobsPerRepository(), registrytest.Then(registrytest.Mounts(), next))
	})).Host()
	media := filepath.Join(w.home, "media")
	if err := os.Mkdir(media, 0o700); err != nil {
		t.Fatal(err)
	}
	w.expect(t, exitOK, "", "split", mirror.Files[1], "--volume-size", "64KiB", "-o", filepath.Join(media, "delta.tar"))
	delta := []string{"import", media, target + "/mirror", "--key", public, "--one-at-a-time", "--only", "*/acme/app:1", "--map", "*/acme/app=mirror/moved/app"}
	w.expect(t, exitStranded, "acme@1 of 2023-11-14", delta...)
	w.expect(t, exitOK, "", "import", mirror.Files[0], target+"/mirror", "--key", public)
	w.expect(t, exitOK, "2 mounted", delta...)
	w.expect(t, exitOK, "", "inspect", target+"/mirror/moved/app:1", "--digest")
}
