package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
	"airgap/export/registry/registrytest"
)

// newKeyPair makes NAME.key and NAME.pub, and returns where they are and the fingerprint.
func (w *world) newKeyPair(t *testing.T, name string) (private, public, fingerprint string) {
	t.Helper()
	t.Setenv("AIRGAP_PASSWORD", "password")
	prefix := filepath.Join(w.home, name)
	w.expect(t, exitOK, "", "keygen", "--output-key-prefix", prefix)
	return prefix + ".key", prefix + ".pub", strings.TrimSpace(w.out.String())
}

// A signature beside the bundle counts like the one in it, wherever the bundle is read from, and is kept in the record.
func TestCountersign(t *testing.T) {
	k := newKillable(t)
	index := k.exported(t).ManifestIndex
	key, public, fingerprint := k.newKeyPair(t, "second")
	volumes := t.TempDir()
	k.expect(t, exitOK, "", "split", k.file, "--volume-size", "64KiB", "-o", filepath.Join(volumes, "dhi.tar"))

	file := strings.TrimSuffix(k.file, ".tar") + ".second.sigstore.json"
	k.expect(t, exitUntrusted, "trusted: "+fingerprint, "verify", k.file, "--key", public)
	k.expect(t, exitUntrusted, "", "countersign", k.file, "--key", public, "--sign-key", key, "-o", file) // only of what is trusted
	k.expect(t, exitUsage, "--sign-key is missing", "countersign", k.file, "--key", k.public, "-o", file)
	k.expect(t, exitOK, "all digests are right", "countersign", k.file, "--key", k.public, "--sign-key", key, "-o", file)
	if got := strings.TrimSpace(k.out.String()); got != index.String() || !strings.Contains(k.err.String(), "/acme/app:1") {
		t.Errorf("it says %q\n%s", got, k.err.String())
	}
	k.expect(t, exitUsage, "not overwritten", "countersign", k.file, "--key", k.public, "--sign-key", key, "-o", file)

	k.expect(t, exitOK, "signed by "+fingerprint, "verify", k.file, "--key", public)
	k.expect(t, exitOK, ", "+fingerprint, "verify", k.file, "--key", public, "--key", k.public, "--signature", file) // once
	k.expect(t, exitUntrusted, "", "verify", volumes, "--key", public)
	k.expect(t, exitOK, "", "verify", volumes, "--key", public, "--signature", file)
	k.pipe(t, k.file)
	k.expect(t, exitOK, "", "verify", "-", "--key", public, "--signature", file)
	k.expect(t, exitUsage, "--signature: ", "verify", k.file, "--key", public, "--signature", file+".not")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(volumes, "dhi.second.sigstore.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{volumes, filepath.Join(volumes, "dhi.tar.0001")} {
		k.expect(t, exitOK, "", "verify", where, "--key", public)
	}

	for name, to := range map[string]string{"registry": bundletest.StartRegistry(t, true), "no referrers API": registrytest.New(t, registrytest.NoReferrersAPI()).Host()} {
		t.Run(name, func(t *testing.T) {
			k.expect(t, exitOK, "", "import", k.file, to+"/mirror", "--key", k.public)
			k.expect(t, exitOK, "", "status", to+"/mirror", "--key", public)
			if !strings.Contains(k.out.String(), "not believed") {
				t.Errorf("the record has\n%s", k.out.String())
			}
			k.expect(t, exitOK, "", "import", k.file, to+"/mirror", "--key", k.public, "--key", public) // which changes nothing else
			for range 2 {
				k.expect(t, exitOK, "", "status", to+"/mirror", "--key", public)
				if !strings.Contains(k.out.String(), "signed by "+fingerprint) || strings.Contains(k.out.String(), "not believed") {
					t.Errorf("the record has\n%s", k.out.String())
				}
				k.expect(t, exitOK, "nothing changed", "import", k.file, to+"/mirror", "--key", k.public, "--key", public)
			}
		})
	}
}
