package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry/registrytest"
	"airgap/verify/approval"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

func publicKey(t *testing.T, file string) party.Key {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signature.ParsePublicKeys(content)
	if err != nil {
		t.Fatal(err)
	}
	return party.Key{PublicKey: keys[0]}
}

// An approval says what the flags say, over a bundle that was checked to its end.
func TestApprove(t *testing.T) {
	k := newKillable(t)
	index := k.exported(t).ManifestIndex
	key, public, fingerprint := k.newKeyPair(t, "officer")
	file := filepath.Join(k.home, "officer.approval")
	args := []string{"approve", k.file, "--key", k.public, "--sign-key", key, "-o", file}
	with := func(more ...string) []string { return append(args[:len(args):len(args)], more...) }

	k.expect(t, exitUsage, "--sign-key is missing", "approve", k.file, "--key", k.public, "-o", file)
	k.expect(t, exitUsage, "--until", with("--until", "tomorrow")...)
	k.expect(t, exitUsage, "is over", with("--until", "2023-11-13")...) // the world's clock is at 2023-11-14T22:13:20Z
	k.expect(t, exitUsage, "--for", with("--for", "harbor example")...)
	k.expect(t, exitUsage, "note is more than a line", with("--note", "a\nb")...)
	k.expect(t, exitUsage, "no such file", with("--report", file+".pdf")...)
	k.expect(t, exitUsage, "for a policy that asks for approvals", "verify", k.file, "--key", k.public, "--approval", file)
	k.expect(t, exitUntrusted, "", "approve", k.file, "--key", public, "--sign-key", key, "-o", file)
	spoiled := filepath.Join(k.home, "spoiled.tar")
	content, err := os.ReadFile(k.file)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-2000] ^= 1 // in the last layer
	if err := os.WriteFile(spoiled, content, 0o600); err != nil {
		t.Fatal(err)
	}
	k.expect(t, exitDamaged, "", "approve", spoiled, "--key", k.public, "--sign-key", key, "-o", file)
	if _, err := os.Lstat(file); err == nil {
		t.Error("an approval was written all the same")
	}

	report := k.write(t, "scan.pdf", "a report")
	k.expect(t, exitOK, "approved by "+fingerprint, with("--until", "2023-11-14", "--for", "harbor.example.com/mirror", "--note", "<read>", "--report", report)...)
	if got := strings.TrimSpace(k.out.String()); got != index.String() || !strings.Contains(k.err.String(), "/acme/app:1") || !strings.Contains(k.err.String(), "number 1 of the mirror dhi") {
		t.Errorf("it says %q\n%s", got, k.err.String())
	}
	k.expect(t, exitUsage, "not overwritten", args...)
	if content, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	ask := policy.Approvals{Party: party.Party{Keys: []party.Key{publicKey(t, public)}}, Threshold: 1}
	approved := approval.Case{Ask: &ask, ManifestIndex: index, Destination: "harbor.example.com/mirror", Now: time.Unix(1700000000, 0)}.Judge([]signature.Detached{{Content: content}})
	if err := approved.Err(); err != nil {
		t.Fatal(err)
	}
	said, err := json.Marshal(approved.Files[0].Approval)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2023-11-14T22:13:20Z","key":"` + fingerprint + `","destination":"harbor.example.com/mirror","until":"2023-11-14T23:59:59Z","note":"\u003cread\u003e","report":"` +
		bundle.DigestOf([]byte("a report")).String() + `"}`
	if string(said) != want {
		t.Errorf("it says\n%s\nwant\n%s", said, want)
	}
}

// Two officers have to approve, neither of whom packed the bundle: import refuses anything less before it asks the target more than what it is, and
// verify says what is missing.
func TestTwoPersonRule(t *testing.T) {
	k := newKillable(t)
	k.exported(t)
	first, firstPublic, firstPrint := k.newKeyPair(t, "first")
	second, secondPublic, _ := k.newKeyPair(t, "second")
	s := registrytest.New(t)
	to, name := s.Host()+"/mirror", strings.TrimSuffix(k.file, ".tar")
	trust := k.write(t, "trust.yaml", `version: 1
bundle:
  keys: [`+k.public+`]
  approvals: {threshold: 2, keys: [`+firstPublic+`, `+secondPublic+`, `+k.public+`], distinctFrom: bundle}
`)
	approve := func(key, file string, more ...string) {
		t.Helper()
		k.expect(t, exitOK, "approved by", append([]string{"approve", k.file, "--policy", trust, "--sign-key", key, "-o", file}, more...)...)
	}
	refused := func(says string, more ...string) {
		t.Helper()
		for range 2 {
			k.expect(t, exitUnapproved, says, append([]string{"import", k.file, to, "--policy", trust}, more...)...)
			k.pipe(t, k.file)
			k.expect(t, exitUnapproved, "approvals are missing", append([]string{"import", "-", to, "--policy", trust}, more...)...)
			k.expect(t, exitUnapproved, "", append([]string{"import", k.file, to, "--policy", trust, "--dry-run"}, more...)...)
		}
		k.expect(t, exitUnapproved, says, append([]string{"verify", k.file, "--policy", trust, "--for", to, "--require-approvals"}, more...)...)
		if len(s.Requests()) != s.Count("GET", "/api/v2.0/ping") { // whether it is a Harbor
			t.Fatalf("the target was asked %q", s.Requests())
		}
	}
	refused("there are 0 of the 2")
	k.expect(t, exitOK, "import will refuse it: approvals are missing", "verify", k.file, "--policy", trust)
	approve(first, name+".first.approval", "--for", to)
	refused("by " + firstPrint)
	packers := filepath.Join(k.home, "packer.approval")
	approve(filepath.Join(k.home, "airgap.key"), packers)
	refused("by who signed the bundle", "--approval", packers)
	elsewhere := filepath.Join(k.home, "elsewhere.approval")
	approve(second, elsewhere, "--for", s.Host()+"/other")
	refused("for another destination: "+s.Host()+"/other", "--approval", elsewhere, "--approval", packers)
	past := filepath.Join(k.home, "past.approval")
	approve(second, past, "--until", "2023-11-14")
	now := k.Now
	k.Now = func() time.Time { return time.Unix(1700000000, 0).AddDate(0, 0, 1) }
	refused("it has ended: 2023-11-14T23:59:59Z", "--approval", past)
	k.Now = now

	k.expect(t, exitOK, "approved: ", "verify", k.file, "--policy", trust, "--for", to, "--require-approvals", "--approval", past, "--approval", elsewhere, "--json")
	var result struct {
		Approvals approvalFacts `json:"approvals"`
	}
	if err := json.Unmarshal(k.out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	if a := result.Approvals; a.Threshold != 2 || a.Counting != 2 || len(a.Files) != 3 || !strings.Contains(a.Files[1].Problem, "another destination") {
		t.Errorf("%+v", a)
	}
	k.expect(t, exitOK, "approved: "+past, "import", k.file, to, "--policy", trust, "--approval", past)
	k.expect(t, exitOK, "nothing changed", "import", k.file, to, "--policy", trust, "--approval", past)
}
