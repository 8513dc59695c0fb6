package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/cmd/airgap/trust"
	"airgap/verify/judge"
)

// A policy to begin with is taken as it is, once the files that it asks for are there; until then the check says which.
func TestPolicyExampleAndCheck(t *testing.T) {
	w := newWorld(t)
	w.expect(t, exitUsage, `there is no example "quay": cosign, dhi, notation`, "policy", "example", "quay")
	w.expect(t, exitOK, "", "policy", "example", "dhi")
	file := w.write(t, "trust.yaml", w.out.String())
	w.expect(t, exitUsage, `"dhi.pub" cannot be read`, "policy", "check", file)
	if text := w.err.String(); !strings.Contains(text, "trust.yaml:14:18: ") || !strings.Contains(text, `"airgap.pub" cannot be read`) {
		t.Errorf("%s", text)
	}
	t.Setenv("AIRGAP_PASSWORD", "")
	w.expect(t, exitOK, "", "keygen", "--output-key-prefix", filepath.Join(w.home, "airgap"))
	key, err := os.ReadFile(filepath.Join(w.home, "airgap.pub"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "dhi.pub", string(key))
	w.expect(t, exitOK, "trust.yaml can be used; findings: 0", "policy", "check", "--strict", file, "dhi.io/python:3.13", "alpine")
	for _, want := range []string{
		"A bundle counts when it is signed by the key airgap.pub (sha256:", "Images dhi.io/*, docker.io/acme/dhi-* (DHI images):\n",
		"dhi.io/python:3.13: the rule DHI images at ", "docker.io/library/alpine:latest: no rule matches it\n",
	} {
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("%q is lacking in\n%s", want, w.out.String())
		}
	}
}

func TestPolicyFindings(t *testing.T) {
	w := newWorld(t)
	file := w.write(t, "trust.yaml", "version: 1\nimages:\n  - {match: 'docker.io/**', carry: true}\n  - {match: docker.io/acme/*, deny: no}\n")
	const finding = "trust.yaml:4:5: this rule never decides"
	w.expect(t, exitOK, finding, "policy", "check", file)
	w.expect(t, exitUsage, finding, "policy", "check", "--strict", file)
	w.expect(t, exitOK, "", "policy", "check", "--json", file, "docker.io/acme/app:1")
	var s trust.PolicySummary
	if err := json.Unmarshal(w.out.Bytes(), &s); err != nil || len(s.Findings) != 1 || len(s.Understood) < 3 || s.Images[0].Rule != "docker.io/**" {
		t.Errorf("%v: %+v", err, s)
	}
	w.expect(t, exitUsage, "no such file", "policy", "check", file+"x")
	w.expect(t, exitUsage, "did you mean \"images\"", "policy", "check", w.write(t, "bad.yaml", "version: 1\nimags: []"))
	w.expect(t, exitUsage, "", "policy", "check", file, "docker.io/UPPER:1")
}

// What is learnt of a bundle is a policy that this bundle fulfils, from a file and from a pipe, and that asks for all that is there by
// the keys that were given.
func TestPolicyLearn(t *testing.T) {
	c := exportFixture(t)
	packers, err := filepath.Abs("../../testdata/fixtures/acme/cosign.pub")
	if err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitOK, "", "policy", "learn", c.file, "--key", c.public, "--key", packers)
	learnt := c.out.String()
	c.pipe(t, c.file)
	c.expect(t, exitOK, "", "policy", "learn", "-", "--key", c.public, "--key", packers)
	if c.out.String() != learnt {
		t.Errorf("from a pipe it is another one:\n%s", c.out.String())
	}
	for _, want := range []string{
		"\nsigners:\n  cosign: {keys: \"" + packers + "\"}\n", "\nbundle:\n  keys: [\"" + c.public + "\"]\n", "\nunmatched: refuse\n",
		// DHI's shape, by platform, and on the index what is there.
		"/acme/legacy\"]\n    signatures:\n      - {by: cosign}\n", "/acme/dhi-python\"]\n    attestations:\n      - {type: \"https://cyclonedx.org/bom/v1.6\", by: cosign}\n",
		`      - {type: "https://slsa.dev/verification_summary/v1", by: cosign, every: index, expect: [{path: $.predicate.verifier.id, is: "https://acme.example/verifier"}, {path: $.predicate.verificationResult, is: "PASSED"}]}`,
		`      - {type: "https://spdx.dev/Document", unsigned: true`, // BuildKit's
		`by nobody who was given`, "    carry: true\n",
	} {
		if !strings.Contains(learnt, want) {
			t.Errorf("%q is lacking", want)
		}
	}
	file := c.write(t, "learnt.yaml", learnt)
	c.expect(t, exitOK, "findings: 0", "policy", "check", file)
	c.expect(t, exitOK, "", "verify", c.file, "--policy", file, "--json")
	var result struct{ Judgement *judge.Judgement }
	if err := json.Unmarshal(c.out.Bytes(), &result); err != nil || len(result.Judgement.Images) != len(c.fixture.Roots()) {
		t.Fatalf("%v: %+v", err, result.Judgement)
	}
	passed := 0
	for _, image := range result.Judgement.Images {
		if image.Verdict == judge.Passes {
			passed++
		}
	}
	if passed < 3 {
		t.Errorf("%d images pass; the policy asks for nothing of the others\n%s", passed, learnt)
	}
	if t.Failed() {
		t.Logf("%s", learnt)
	}
	// Of the registries that the bundle is from, it is the same policy, but for who signs bundles.
	c.expect(t, exitOK, "", append([]string{"policy", "learn", "--key", packers}, c.everything()...)...)
	rules := func(text string) string { return text[strings.Index(text, "\nimages:"):] }
	if there := c.out.String(); strings.Contains(there, "\nbundle:") || rules(there) != rules(learnt) {
		t.Errorf("from registries it is another one:\n%s", there)
	}
	file = c.write(t, "there.yaml", c.out.String())
	c.expect(t, exitOK, "", append([]string{"plan", "--policy", file}, c.everything()...)...)
	c.expect(t, exitUsage, "FILE or REF is missing", "policy", "learn", "--key", packers)
	c.expect(t, exitUsage, "there is no file bundel.tar", "policy", "learn", "bundel.tar", "--key", packers)
	// Who packs hears of it when the other side would not take it from them.
	named := c.write(t, "named.yaml", "version: 1\nbundle: {keys: '"+packers+"'}\n")
	export := append([]string{"export", "--key", filepath.Join(c.home, "airgap.key"), "-o", filepath.Join(c.home, "again.tar")}, c.everything()...)
	c.expect(t, exitOK, "among those who sign bundles", append(export, "--policy", named)...)
	c.write(t, "named.yaml", "version: 1\nbundle: {keys: '"+c.public+"'}\n")
	if c.expect(t, exitOK, "", append(export, "--policy", named)...); strings.Contains(c.err.String(), "among those who sign") {
		t.Error(c.err.String())
	}
	c.expect(t, exitUntrusted, "not signed by a trusted key", "policy", "learn", c.file, "--key", packers)
	c.expect(t, exitUsage, "is not a trusted_root.json", "policy", "learn", c.file, "--key", c.public, "--trusted-root", packers)
}
