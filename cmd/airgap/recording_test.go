package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/bundle/bundletest"
	"airgap/bundle/ledger"
	"airgap/import/importtest"
	"airgap/import/report"
)

// TestImportOfMirror: what the flags about records say is done.
func TestImportOfMirror(t *testing.T) {
	w := newWorld(t)
	mirror := importtest.NewWeekly(t, 4)
	public := w.write(t, "airgap.pub", string(mirror.Key.Public().MarshalPEM()))
	target := bundletest.StartRegistry(t, true) + "/mirror"
	imports := func(week int, more ...string) []string {
		return append([]string{"import", mirror.Files[week-1], target, "--key", public}, more...)
	}
	receipt := filepath.Join(w.home, "receipt.json")
	w.expect(t, exitOK, "", imports(1, "--json")...)
	var done report.Report
	if err := json.Unmarshal(w.out.Bytes(), &done); err != nil || done.Mirror != "acme" || done.Record != target+"/airgap" {
		t.Errorf("%v, %+v", err, done)
	}
	w.expect(t, exitOK, "bundle acme@2, sha256:", imports(2, "--receipt", receipt)...)
	f, err := os.Open(receipt)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if read, err := ledger.ReadReceipt(f); err != nil || read.Complete == nil || read.Complete.Sequence != 2 {
		t.Errorf("%v, %+v", err, read)
	}
	w.expect(t, exitReplay, "nothing was written", imports(1)...)
	w.expect(t, exitReplay, "older than what was imported", imports(1, "--dry-run")...)
	w.expect(t, exitOK, "--allow-older", imports(1, "--allow-older")...)
	w.expect(t, exitReplay, "of another mirror", imports(3, "--mirror", "dhi")...)
	w.Now = func() time.Time { return time.Unix(1_700_000_000, 0).Add(31 * 24 * time.Hour) }
	w.expect(t, exitReplay, "too old", imports(3, "--max-age", "30d")...)
	w.expect(t, exitOK, "recorded in "+target+"/airgap", imports(3, "--max-age", "32d", "--mirror", "acme")...)
	w.expect(t, exitOK, "not recorded", imports(1, "--no-record")...)
	for _, wrong := range [][]string{
		{"--max-age", "month"}, {"--max-age", "0d"}, {"--mirror", "A"}, {"--no-record", "--prune"}, {"--dry-run", "--prune"}, {"--keep", "0"},
		{"--record", "Not A Path"}, {"--receipt", public}, {"--receipt", receipt, "--dry-run"},
	} {
		w.expect(t, exitUsage, strings.TrimPrefix(wrong[0], "--"), imports(3, wrong...)...)
	}
	elsewhere := bundletest.StartRegistry(t, true)
	w.expect(t, exitOK, "recorded in "+elsewhere+"/ops/kept", "import", mirror.Files[0], elsewhere, "--key", public, "--record", "ops/kept")
}

// TestImportPrunes: what the mirror no longer lists goes at the end of the import.
func TestImportPrunes(t *testing.T) {
	w := newWorld(t)
	mirror := importtest.NewWorld(t)
	public := w.write(t, "airgap.pub", string(mirror.Key.Public().MarshalPEM()))
	target := bundletest.StartRegistry(t, true) + "/mirror"
	stays, goes := mirror.Image("stays", mirror.Layer(100)), mirror.Image("goes", mirror.Layer(100))
	for week := range uint64(3) {
		mirror.Images = nil
		mirror.Root("docker.io/acme/app:1", "acme/app", "1", stays)
		if week == 0 {
			mirror.Root("docker.io/acme/app:old", "acme/app", "old", goes)
		}
		mirror.Number("acme", week+1)
		w.expect(t, exitOK, "", "import", mirror.File(), target, "--key", public, "--prune")
		got := w.run("inspect", target+"/acme/app:old", "--digest")
		if want := map[bool]int{true: exitMissing, false: exitOK}[week == 2]; got != want {
			t.Errorf("week %d: exit code %d, want %d: %s", week+1, got, want, w.err.String())
		}
	}
	w.expect(t, exitOK, "", "inspect", target+"/acme/app:1", "--digest")
}
