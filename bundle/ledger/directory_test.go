package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/ledger/ledgertest"
)

func TestDirectoryKeepsHeads(t *testing.T) {
	ledgertest.Contract(t, func(t testing.TB) ledger.Repository { return ledger.Directory(filepath.Join(t.TempDir(), "ledger")) })
}

// FORMAT.md, "The ledger and the record", and the image layout specification say what lies there.
func TestDirectoryIsALayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	a := ledgertest.New(t, "dhi", 12, "x")
	if err := (ledger.Ledger{Repository: ledger.Directory(dir)}).Put(t.Context(), "dhi-000012", a); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	if got := read("oci-layout"); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Error(got)
	}
	const manifest, sigstore = `{"mediaType":"application/vnd.oci.image.manifest.v1+json"`, "application/vnd.dev.sigstore.bundle.v0.3+json"
	list := fmt.Sprintf(`{"manifests":[%s,"digest":%q,"size":%d,"artifactType":%q,"annotations":{`, manifest, a.Signature.Digest, a.Signature.Size, sigstore) +
		`"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1",` +
		`"org.opencontainers.image.created":"2023-11-14T22:13:20Z"}}],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}`
	if got := read("blobs/sha256/" + bundle.DigestOf([]byte(list)).Hex()); got != list {
		t.Error(got)
	}
	index := `{"manifests":[` +
		fmt.Sprintf(`%s,"digest":%q,"size":%d,"artifactType":%q},`, manifest, a.Signature.Digest, a.Signature.Size, sigstore) +
		fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.index.v1+json","digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":"sha256-%s"}},`,
			bundle.DigestOf([]byte(list)), len(list), a.Index.Digest.Hex()) +
		fmt.Sprintf(`%s,"digest":%q,"size":%d,"artifactType":"application/vnd.airgap.bundle.v1","annotations":{"org.opencontainers.image.ref.name":"dhi-000012"}}`,
			manifest, a.Index.Digest, a.Index.Size) +
		`],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}`
	if got := read("index.json"); got != index {
		t.Errorf("got  %s\nwant %s", got, index)
	}
	for _, o := range append(slices.Clip(a.Blobs), a.Index, a.Signature) {
		var want bytes.Buffer
		if err := o.Write(&want); err != nil {
			t.Fatal(err)
		}
		if got := read("blobs/sha256/" + o.Digest.Hex()); got != want.String() {
			t.Errorf("%s: %d bytes", o.Digest, len(got))
		}
	}
	if _, err := os.Stat(filepath.Join(dir, ".partial")); !errors.Is(err, os.ErrNotExist) {
		t.Error("something unfinished is left:", err)
	}
}

func TestDirectoryKeepsWhatOthersWrite(t *testing.T) {
	dir := t.TempDir()
	theirs := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + bundle.DigestOf(nil).String() + `","size":7,"data":"e30=","annotations":{"org.opencontainers.image.ref.name":"latest"}}`
	for name, content := range map[string]string{
		"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
		"index.json": `{"schemaVersion":2,"manifests":[` + theirs + `],"annotations":{"by":"another"}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := (ledger.Ledger{Repository: ledger.Directory(dir)}).Put(t.Context(), "dhi-000001", ledgertest.New(t, "dhi", 1, "x")); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil || !strings.Contains(string(index), theirs) || !strings.Contains(string(index), `"by":"another"`) {
		t.Errorf("%s, %v", index, err)
	}
}

func TestDirectoryWithSomethingElseIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := ledger.Ledger{Repository: ledger.Directory(dir)}
	if err := l.Put(t.Context(), "dhi-000001", ledgertest.New(t, "dhi", 1, "x")); !errors.Is(err, ledger.ErrNoLayout) {
		t.Error(err)
	}
	if _, err := ledger.Directory(dir).Lock("dhi"); !errors.Is(err, ledger.ErrNoLayout) {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Error(entries, err)
	}
}

func TestHostileDirectory(t *testing.T) {
	a := ledgertest.New(t, "dhi", 1, "x")
	for name, spoil := range map[string]struct {
		file, content string
		want          error
	}{
		"an index without end":       {"index.json", strings.Repeat(" ", bundle.MaxManifestSize) + "{}", bundle.ErrLimit},
		"an index that is no index":  {"index.json", `{"schemaVersion":2,"manifests":[],"Manifests":[]}`, bundle.ErrFormat},
		"another manifest":           {"blobs/sha256/" + a.Index.Digest.Hex(), "{}", bundle.ErrDigest},
		"a manifest without end":     {"blobs/sha256/" + a.Index.Digest.Hex(), strings.Repeat(" ", bundle.MaxManifestSize) + "{}", bundle.ErrLimit},
		"another header":             {"blobs/sha256/" + a.Blobs[0].Digest.Hex(), strings.Repeat("x", int(a.Blobs[0].Size)), bundle.ErrDigest},
		"a header of another length": {"blobs/sha256/" + a.Blobs[0].Digest.Hex(), "{}", bundle.ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := ledger.Ledger{Repository: ledger.Directory(dir)}
			if err := l.Put(t.Context(), "dhi-000001", a); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, spoil.file), []byte(spoil.content), 0o600); err != nil {
				t.Fatal(err)
			}
			head, err := l.Head(t.Context(), "dhi-000001")
			if err == nil {
				_, err = head.Header(t.Context())
			}
			if !errors.Is(err, spoil.want) {
				t.Error(err)
			}
		})
	}
}

func TestBrokenBlobIsWrittenAgain(t *testing.T) {
	dir, a := t.TempDir(), ledgertest.New(t, "dhi", 1, "x")
	l := ledger.Ledger{Repository: ledger.Directory(dir)}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", a.Blobs[0].Digest.Hex()), make([]byte, a.Blobs[0].Size), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Put(t.Context(), "dhi-000001", a); err != nil {
		t.Fatal(err)
	}
	head, err := l.Head(t.Context(), "dhi-000001")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := head.Header(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOneExportOfAMirrorAtATime(t *testing.T) {
	d := ledger.Directory(filepath.Join(t.TempDir(), "ledger"))
	unlock, err := d.Lock("dhi")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lock("dhi"); !errors.Is(err, ledger.ErrBusy) || !strings.Contains(err.Error(), "dhi") {
		t.Error(err)
	}
	other, err := d.Lock("index.json") // a name that a mirror may have
	if err != nil {
		t.Fatal(err)
	}
	l := ledger.Ledger{Repository: d}
	if err := l.Put(t.Context(), "dhi-000001", ledgertest.New(t, "dhi", 1, "x")); err != nil {
		t.Error("who has the lock cannot write:", err)
	}
	if err := errors.Join(unlock(), other()); err != nil {
		t.Fatal(err)
	}
	if unlock, err = d.Lock("dhi"); err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestMirrorsShareADirectory(t *testing.T) {
	l := ledger.Ledger{Repository: ledger.Directory(filepath.Join(t.TempDir(), "ledger"))}
	var done sync.WaitGroup
	for i := range uint64(10) {
		a := ledgertest.New(t, fmt.Sprint("m", i), 1, "x")
		done.Go(func() {
			if err := l.Put(t.Context(), bundle.SequenceTag(fmt.Sprint("m", i), 1), a); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	if entries, err := l.Entries(t.Context(), ""); err != nil || len(entries) != 10 {
		t.Error(entries, err)
	}
}

// What a process leaves that is killed while it writes is in nobody's way, and is not read.
func TestDirectoryAfterAKill(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	a := ledgertest.New(t, "dhi", 1, "x")
	if err := (ledger.Ledger{Repository: ledger.Directory(whole)}).Put(t.Context(), "dhi-000001", a); err != nil {
		t.Fatal(err)
	}
	for _, left := range [][]string{{}, {".lock"}, {".lock", "dhi.lock"}, {".lock", ".partial"}, {".lock", ".partial", "oci-layout"}, {".lock", ".partial", "oci-layout", "blobs/sha256/" + a.Blobs[0].Digest.Hex()}} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range left {
			content, err := os.ReadFile(filepath.Join(whole, name))
			if err != nil {
				content = []byte(`{"schemaVersion":2,"manif`)
			}
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l := ledger.Ledger{Repository: ledger.Directory(dir)}
		if entries, err := l.Entries(t.Context(), ""); err != nil || len(entries) > 0 {
			t.Errorf("%q: %v, %v", left, entries, err)
		}
		if err := l.Put(t.Context(), "dhi-000001", a); err != nil {
			t.Errorf("%q: %v", left, err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "index.json"))
		if err != nil {
			t.Fatal(err)
		}
		if want, err := os.ReadFile(filepath.Join(whole, "index.json")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: index.json is %s", left, got)
		}
	}
}
