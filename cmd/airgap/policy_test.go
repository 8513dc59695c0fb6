package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/cmd/airgap/trust"
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
