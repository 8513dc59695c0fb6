package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/export/registry/registrytest"
)

// exported runs an export of a mirror, and returns its result.
func (k *killable) exported(t *testing.T, more ...string) (result struct {
	ManifestIndex bundle.Digest `json:"manifestIndex"`
	Sequence      uint64        `json:"sequence"`
	Bases         []bundle.Base `json:"bases"`
	Counts        bundle.Counts `json:"counts"`
},
) {
	t.Helper()
	args := append([]string{"export", k.server.Host() + "/acme/app:1", "--mirror", "dhi", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file, "--json"}, more...)
	k.expect(t, exitOK, "", args...)
	if err := json.Unmarshal(k.out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// Killed just before or just after its number was taken, the export that is run again makes the bundle with that number, which the
// ledger has once; the next one stands on it.
func TestKilledAroundTheNumber(t *testing.T) {
	for name, isTaken := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			k := newKillable(t)
			killer := registrytest.Times(1, func(_ http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if isTaken {
					next.ServeHTTP(httptest.NewRecorder(), r)
				}
				k.mu.Lock()
				defer k.mu.Unlock()
				if err := k.process.Kill(); err != nil {
					t.Error(err)
				}
				return true
			})
			kept := registrytest.New(t, registrytest.Faults(registrytest.On("PUT", "/manifests/dhi-000001", killer)))
			mirrored := []string{"--mirror", "dhi", "--ledger", kept.Host() + "/airgap/ledger"}
			if !k.start(t, -1, mirrored...) {
				t.Fatal("it was not killed")
			}
			if _, err := os.Stat(k.file); err == nil {
				t.Fatal("the file has its name already")
			}
			if k.start(t, -1, mirrored...) {
				t.Fatal("killed twice")
			}
			k.expect(t, exitOK, "", "verify", k.file, "--key", k.public)
			inLedger := bundle.DigestOf(kept.StoredManifest("airgap/ledger", "dhi-000001"))
			k.image(t, "1", "second")
			next := k.exported(t, mirrored[2:]...)
			if next.Sequence != 2 || len(next.Bases) != 0 { // nothing of the first image is in the second
				t.Errorf("the next bundle is %d, and stands on %v", next.Sequence, next.Bases)
			}
			next = k.exported(t, append(mirrored[2:], "--since", "dhi@2")...)
			if next.Sequence != 3 || len(next.Bases) != 1 || next.Counts.Based == 0 {
				t.Errorf("the third bundle is %d, and stands on %v", next.Sequence, next.Bases)
			}
			k.image(t, "1", "first")
			next = k.exported(t, append(mirrored[2:], "--since", "dhi@1 "+inLedger.String()[:19])...)
			if len(next.Bases) != 1 || next.Bases[0].ManifestIndex != inLedger {
				t.Errorf("the bundle with the first image stands on %v, want %s", next.Bases, inLedger)
			}
		})
	}
}

// Everything that a person may have at hand says what to build on, and the ledger is in the user's state directory.
func TestWhatToBuildOn(t *testing.T) {
	k := newKillable(t)
	first := k.exported(t)
	if _, err := os.Stat(filepath.Join(k.home, ".local", "state", "airgap", "ledger", "index.json")); err != nil {
		t.Error(err)
	}
	firstFile := k.file
	receipt := filepath.Join(k.home, "receipt.json")
	out, err := os.Create(receipt)
	if err != nil {
		t.Fatal(err)
	}
	received := &ledger.Received{Mirror: "dhi", Sequence: 1, Identity: first.ManifestIndex}
	if err := ledger.NewReceipt("harbor.example.com", time.Unix(0, 0), received, nil).Write(out); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	k.file = filepath.Join(k.home, "next.tar")
	k.image(t, "1", "another") // what stands in between has nothing of the first
	k.exported(t)
	k.image(t, "1", "first")
	for _, since := range []string{firstFile, receipt, "dhi@1", received.Line().String()} {
		result := k.exported(t, "--since", since)
		if len(result.Bases) != 1 || result.Bases[0].ManifestIndex != first.ManifestIndex || result.Counts.Based != killableLayers+1 {
			t.Errorf("--since %s: it stands on %v, and leaves out %d blobs", since, result.Bases, result.Counts.Based)
		}
		k.image(t, "1", "another")
		k.exported(t, "--full")
		k.image(t, "1", "first")
	}
	k.expect(t, exitOK, "stands on dhi@1: 13 blobs", "export", k.server.Host()+"/acme/app:1", "--mirror", "dhi", "--since", "dhi@1", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file)
	nothing := k.write(t, "nothing.json", strings.Replace(readFile(t, receipt), `"complete"`, `"completed"`, 1))
	for since, says := range map[string]string{
		"dhi@1 sha256:000000000000": "not from this ledger", "dhi@99": "not in the ledger", "nonsense": "no file of that name",
		strings.TrimSuffix(received.Line().String(), " ") + "x": "misheard", nothing: "not a receipt",
	} {
		k.expect(t, exitUsage, says, "export", k.server.Host()+"/acme/app:1", "--mirror", "dhi", "--since", since, "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file)
	}
	for _, wrong := range [][]string{
		{"--since", "dhi@1"}, {"--full"}, {"--tolerate", "1"}, {"--ledger", "x"}, {"--mirror", "D H I"},
		{"--mirror", "dhi", "--full", "--since", "dhi@1"}, {"--mirror", "dhi", "--full", "--tolerate", "1"}, {"--mirror", "dhi", "--tolerate", "1", "--since", "dhi@1"},
		{"--mirror", "dhi", "--tolerate", "-1"}, {"--mirror", "dhi", "--ledger", "registry.example.com/A"},
	} {
		k.expect(t, exitUsage, "", append([]string{"export", k.server.Host() + "/acme/app:1", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file}, wrong...)...)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// A list of wanted blobs is answered with a supplement, of a bundle that the ledger has.
func TestWantIsAnswered(t *testing.T) {
	k := newKillable(t)
	k.exported(t)
	second := k.exported(t)
	layer := bytes.Repeat(fmt.Appendf(nil, "%s layer %d\n", "first", 3), 4000)
	var manifest struct {
		Layers []bundle.Descriptor `json:"layers"`
	}
	image := k.server.StoredManifest("acme/app", "1")
	if err := json.Unmarshal(image, &manifest); err != nil {
		t.Fatal(err)
	}
	want := ledger.Want{Completes: second.Bases[0], Blobs: []ledger.WantedBlob{{
		Digest: bundle.DigestOf(layer), Size: int64(len(layer)), StoredBy: second.Bases[0], Manifests: []bundle.Digest{bundle.DigestOf(image)},
	}}}
	var text bytes.Buffer
	if err := want.Write(&text); err != nil {
		t.Fatal(err)
	}
	file, supplement := k.write(t, "want.json", text.String()), filepath.Join(k.home, "supplement.tar")
	answer := []string{"export", "--want", file, "--key", filepath.Join(k.home, "airgap.key"), "-o", supplement}
	k.expect(t, exitOK, "a supplement of dhi@1", answer...)
	k.expect(t, exitOK, "", "verify", supplement, "--key", k.public)
	k.expect(t, exitUsage, "--want alone", append(answer, k.server.Host()+"/acme/app:1")...)
	k.expect(t, exitUsage, "--want alone", append(answer, "--mirror", "dhi")...)
	k.expect(t, exitUsage, "not a list of wanted blobs", "export", "--want", k.public, "--key", filepath.Join(k.home, "airgap.key"), "-o", supplement)
	k.expect(t, exitUsage, "not in the ledger", append(answer, "--ledger", filepath.Join(k.home, "another"))...)
	k.expect(t, exitOK, "", "keygen", "--output-key-prefix", filepath.Join(k.home, "new"))
	answer[4] = filepath.Join(k.home, "new.key")
	k.expect(t, exitUntrusted, "not signed by a trusted key", answer...)
	k.expect(t, exitOK, "a supplement of dhi@1", append(answer, "--ledger-key", k.public)...)
}

// The plan of a mirror says what is left out, and which bundle would be better to build on.
func TestPlanOfMirror(t *testing.T) {
	k := newKillable(t)
	plan := []string{"plan", k.server.Host() + "/acme/app:1", "--mirror", "dhi", "--ledger-key", k.public}
	k.expect(t, exitOK, "", plan...)
	if got := k.out.String(); !strings.Contains(got, "mirror: dhi@1 builds on no other: 0 B left out of") {
		t.Errorf("the first plan:\n%s", got)
	}
	k.exported(t)
	k.image(t, "1", "another")
	k.exported(t)
	k.image(t, "1", "first")
	k.expect(t, exitOK, "", plan...)
	if got := k.out.String(); !strings.Contains(got, "mirror: dhi@3 builds on no other") || !strings.Contains(got, "smallest on dhi@1, of the last 2 bundles") || !strings.Contains(got, "(--since dhi@1)") {
		t.Errorf("the plan of the third:\n%s", got)
	}
	k.expect(t, exitOK, "", append(plan, "--since", "dhi@1")...)
	if got := k.out.String(); !strings.Contains(got, "mirror: dhi@3 stands on dhi@1: ") || !strings.Contains(got, "on none of the last 2 bundles it would be smaller") || !strings.Contains(got, " left out\n") {
		t.Errorf("the plan on the first:\n%s", got)
	}
	k.expect(t, exitOK, "", append(plan, "--json")...)
	var report struct {
		Counts    bundle.Counts `json:"counts"`
		FullBytes int64         `json:"fullBytes"`
		Deltas    []struct {
			Sequence uint64 `json:"sequence"`
			Bytes    int64  `json:"bytes"`
		} `json:"deltas"`
	}
	if err := json.Unmarshal(k.out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if d := report.Deltas; len(d) != 2 || d[0].Sequence != 2 || d[1].Sequence != 1 || d[0].Bytes != report.FullBytes || d[0].Bytes != report.Counts.StoredBytes || d[1].Bytes >= 5000 {
		t.Errorf("%+v", report)
	}
	k.expect(t, exitOK, "are not checked (--ledger-key checks them)", plan[:4]...)
	other := filepath.Join(t.TempDir(), "other")
	k.expect(t, exitOK, "", "keygen", "--output-key-prefix", other)
	k.expect(t, exitUntrusted, "not signed by a trusted key", append(plan[:4:4], "--ledger-key", other+".pub")...)
	k.expect(t, exitOK, "", "export", plan[1], "--mirror", "dhi", "--dry-run", "--key", filepath.Join(k.home, "airgap.key"))
}

// The configuration file may name the mirror; two that name two leave it to the command line.
func TestMirrorOfConfiguration(t *testing.T) {
	k := newKillable(t)
	entry := "\nsync: [{type: image, source: " + k.server.Host() + "/acme/app:1, target: harbor.example.com/app:1}]\n"
	dhi, other := k.write(t, "dhi.yaml", "mirror: dhi"+entry), k.write(t, "other.yaml", "mirror: other"+entry)
	k.expect(t, exitOK, "is fine", "config", "check", dhi)
	if got := k.out.String(); !strings.Contains(got, "mirror: dhi\n") {
		t.Errorf("config check says\n%s", got)
	}
	export := func(more ...string) []string {
		return append([]string{"export", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file, "--json"}, more...)
	}
	for i, args := range [][]string{{"-c", dhi}, {"-c", dhi, "-c", dhi}, {"-c", other, "--mirror", "dhi"}} {
		k.expect(t, exitOK, "", export(args...)...)
		if got := k.out.String(); !strings.Contains(got, `"mirror": "dhi"`) || !strings.Contains(got, fmt.Sprintf(`"sequence": %d`, i+1)) {
			t.Errorf("export %v says\n%s", args, got)
		}
	}
	k.expect(t, exitUsage, "say with --mirror", export("-c", dhi, "-c", other)...)
}
