package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/verify/policy/policytest"
)

// A trusted root comes out of a bundle as it went in, and counts for nothing: it is only compared with those that the policy names.
func TestTrustedRootTravels(t *testing.T) {
	k := newKillable(t)
	newRoot := func() string {
		_, authority := policytest.Key(t, time.Now().AddDate(1, 0, 0))
		return policytest.TrustedRoot(t, authority, true)
	}
	content := newRoot()
	file := k.write(t, "root.json", content)
	k.expect(t, exitUsage, "is no trusted_root.json", "export", k.server.Host()+"/acme/app:1", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file, "--trusted-root", k.public)
	k.exported(t, "--trusted-root", file)

	out := filepath.Join(k.home, "out.json")
	k.expect(t, exitOK, "", "inspect", k.file, "--key", k.public, "--trusted-root", out)
	if got, err := os.ReadFile(out); err != nil || string(got) != content || !strings.Contains(k.out.String(), bundle.DigestOf([]byte(content)).String()+", which nobody believes") {
		t.Errorf("%v, %s\n%s", err, got, k.out.String())
	}
	k.expect(t, exitUsage, "not overwritten", "inspect", k.file, "--key", k.public, "--trusted-root", out)

	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(content), "", "   "); err != nil {
		t.Fatal(err)
	}
	k.write(t, "same.json", indented.String())
	k.write(t, "other.json", newRoot())
	asks := func(root string) string {
		return k.write(t, root+".yaml", "version: 1\nbundle: {keys: ["+k.public+"], approvals: {identities: {issuer: a, subject: b}, trustedRoot: "+root+"}}\n")
	}
	k.expect(t, exitOK, "one that the policy names", "verify", k.file, "--policy", asks("same.json"))
	k.expect(t, exitOK, "another trusted root ("+bundle.DigestOf([]byte(content)).String()+") than the policy names", "verify", k.file, "--policy", asks("other.json"))
	k.expect(t, exitOK, "all digests are right", "verify", k.file, "--key", k.public)
	if strings.Contains(k.err.String(), "trusted root") {
		t.Errorf("nothing to compare it with:\n%s", k.err.String())
	}

	k.file = filepath.Join(k.home, "without.tar")
	k.image(t, "1", "another")
	k.exported(t)
	k.expect(t, exitUsage, "brings none", "inspect", k.file, "--key", k.public, "--trusted-root", out)
}
