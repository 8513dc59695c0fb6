package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
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

// TestSupplementStandsOnItsOwnRepositories: without a record, what a delta leaves out is found in the repositories of all of its
// images, and a supplement has only those of the images that lack something. It is taken all the same; and if the target loses more in
// the meantime, the list that its import writes is of all that is needed by then.
func TestSupplementStandsOnItsOwnRepositories(t *testing.T) {
	w := newWorld(t)
	w.writeKeys(t)
	source := registrytest.New(t)
	layer := func(repo, text string) bundle.Descriptor {
		return source.AddBlob(repo, "application/vnd.oci.image.layer.v1.tar", []byte(text))
	}
	image := func(repo string, layers ...string) {
		config := source.AddBlob(repo, "application/vnd.oci.image.config.v1+json", jsonOf(t, layers))
		m := bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config}
		for _, text := range layers {
			m.Layers = append(m.Layers, layer(repo, text))
		}
		source.AddManifest(repo, "1", m.MediaType, jsonOf(t, m))
	}
	export := func(args ...string) {
		t.Helper()
		w.expect(t, exitOK, "", append(append([]string{"export"}, args...), "--key", filepath.Join(w.home, "airgap.key"), "--ledger", filepath.Join(w.home, "ledger"))...)
	}
	images := []string{source.Host() + "/acme/app:1", source.Host() + "/acme/large:1", source.Host() + "/acme/other:1", "--mirror", "dhi", "-o"}
	file := func(name string) string { return filepath.Join(w.home, name) }
	image("acme/other", "shared", "other's")
	image("acme/app", "lost", "shared", "lost later")
	image("acme/large", "lost", "shared", "other's")
	export(append(images, file("1.tar"))...)
	image("acme/app", "lost", "shared", "lost later", "new")
	image("acme/large", "lost", "shared", "other's", "new")
	export(append(images, file("2.tar"))...)

	target := fars["go-containerregistry"](t)
	lose := func(repo, text string) {
		target.Do(t, http.MethodDelete, "/v2/mirror/"+repo+"/blobs/"+layer(repo, text).Digest.String())
	}
	imports := func(code int, name string, more ...string) {
		t.Helper()
		w.expect(t, code, "", append([]string{"import", file(name), target.host + "/mirror", "--no-record", "--key", file("airgap.pub")}, more...)...)
	}
	imports(exitOK, "1.tar")
	for _, text := range []string{"lost", "shared", "other's"} {
		lose("acme/app", text)
		lose("acme/large", text)
	}
	imports(exitStranded, "2.tar", "--want", file("want.json"))
	list := string(read(t, file("want.json")))
	for text, isWanted := range map[string]bool{"lost": true, "shared": true, "other's": false} { // what it takes with the one image is enough
		if strings.Contains(list, `{"digest":"`+bundle.DigestOf([]byte(text)).String()) != isWanted {
			t.Errorf("%q is wanted, or is not: %s", text, list)
		}
	}
	export("--want", file("want.json"), "-o", file("supplement.tar"))
	imports(exitOK, "supplement.tar", "--dry-run")
	// It has no proofs: what a policy asks of the images is asked of the bundle that it completes. But what is denied stays out.
	key := strings.ReplaceAll(strings.TrimSpace(string(read(t, file("airgap.pub")))), "\n", "\n        ")
	w.write(t, "trust.yaml", "version: 1\nimages:\n  - match: '**'\n    signatures:\n      keys: |\n        "+key+"\n")
	imports(exitFails, "2.tar", "--policy", file("trust.yaml"))
	imports(exitOK, "supplement.tar", "--dry-run", "--policy", file("trust.yaml"))
	w.write(t, "trust.yaml", "version: 1\nimages:\n  - {match: '*/acme/app', deny: withdrawn}\nunmatched: carry\n")
	imports(exitFails, "supplement.tar", "--dry-run", "--policy", file("trust.yaml"))
	w.expect(t, exitUsage, "--policy", "export", "--want", file("want.json"), "-o", file("s.tar"), "--key", filepath.Join(w.home, "airgap.key"), "--policy", file("trust.yaml"))

	lose("acme/app", "lost later")
	imports(exitStranded, "supplement.tar", "--want", file("want.json"))
	export("--want", file("want.json"), "-o", file("again.tar"))
	imports(exitOK, "again.tar")
	imports(exitOK, "2.tar")
}
