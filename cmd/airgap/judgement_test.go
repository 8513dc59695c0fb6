package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/export/registry/registrytest"
	"airgap/verify/judge"
)

// expectation is a line of a policy in verify/judge/testdata: "# expect IMAGE VERDICT", and for what fails ": " and a part of the reason.
type expectation struct {
	image   string
	verdict judge.Verdict
	reason  string
}

func expectations(t *testing.T, file string) (all []expectation) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		text, found := strings.CutPrefix(strings.TrimSpace(line), "# expect ")
		if !found {
			continue
		}
		said, reason, _ := strings.Cut(text, ": ")
		image, verdict, _ := strings.Cut(said, " ")
		all = append(all, expectation{image, judge.Verdict(verdict), reason})
	}
	if len(all) == 0 {
		t.Fatalf("%s expects nothing", file)
	}
	return all
}

// meets holds a judgement against what a policy expects.
func (e expectation) meets(t *testing.T, j *judge.Judgement) {
	t.Helper()
	for i := range j.Images {
		image := &j.Images[i]
		if !strings.HasSuffix(image.Source, "/"+e.image) {
			continue
		}
		if reasons := strings.Join(image.Reasons, "\n"); image.Verdict != e.verdict || !strings.Contains(reasons, e.reason) {
			t.Errorf("%s %s:\n%s\nwant: %s %s", e.image, image.Verdict, reasons, e.verdict, e.reason)
		}
		return
	}
	t.Errorf("%s was not judged", e.image)
}

// TestPolicies: the policies of verify/judge come to the same verdicts whatever the bundle is read from, and nothing is written
// where one fails.
func TestPolicies(t *testing.T) {
	c := exportFixture(t)
	volumes := t.TempDir()
	c.expect(t, exitOK, "", "split", c.file, "--volume-size", "128KiB", "-o", filepath.Join(volumes, "a.tar"))
	policies := glob("../../verify/judge/testdata/*.yaml")
	if len(policies) == 0 {
		t.Fatal("no policies")
	}
	for _, file := range policies {
		t.Run(filepath.Base(file), func(t *testing.T) {
			server := registrytest.New(t)
			target := server.Host()
			code := exitOK
			for i, from := range []string{c.file, "-", volumes} {
				c.pipe(t, c.file)
				got := c.run("verify", from, "--key", c.public, "--policy", file, "--json")
				var result struct{ Judgement *judge.Judgement }
				if err := json.Unmarshal(c.out.Bytes(), &result); err != nil || result.Judgement == nil {
					t.Fatalf("%v: %s%s", err, c.out.String(), c.err.String())
				}
				for _, e := range expectations(t, file) {
					e.meets(t, result.Judgement)
				}
				if i == 0 && result.Judgement.Err() != nil {
					code = exitFails
				}
				if got != code {
					t.Errorf("verify %s: exit code %d, want %d: %s", from, got, code, c.err.String())
				}
			}
			planned := c.run(append([]string{"plan", "--json", "--policy", file}, c.everything()...)...)
			var plan struct{ Judgement *judge.Judgement }
			if err := json.Unmarshal(c.out.Bytes(), &plan); err != nil || plan.Judgement == nil || planned != code {
				t.Fatalf("plan: exit code %d, want %d (%v): %s%s", planned, code, err, c.out.String(), c.err.String())
			}
			for _, e := range expectations(t, file) {
				e.meets(t, plan.Judgement)
			}
			if code != exitOK {
				second := filepath.Join(t.TempDir(), "second.tar")
				c.expect(t, code, "--keep-going", append([]string{"export", "--policy", file, "--key", filepath.Join(c.home, "airgap.key"), "-o", second}, c.everything()...)...)
				if left := glob(second + "*"); len(left) > 0 {
					t.Errorf("the export that was refused left %v", left)
				}
			}
			for _, from := range []string{c.file, "-", volumes} {
				c.pipe(t, c.file)
				c.expect(t, code, "", "import", from, target+"/mirror", "--key", c.public, "--policy", file, "--dry-run")
				if code == exitOK {
					continue
				}
				c.pipe(t, c.file)
				c.expect(t, code, "fail the policy", "import", from, target+"/mirror", "--key", c.public, "--policy", file)
			}
			if n := server.Count("POST", "") + server.Count("PUT", "") + server.Count("PATCH", ""); n > 0 {
				t.Errorf("something was written, or tried: %d requests", n)
			}
		})
	}
}

// TestSkipFailing: what fails is left out with all that only it needs, and that is told and recorded; the same import again changes nothing.
func TestSkipFailing(t *testing.T) {
	c := exportFixture(t)
	const policy = "../../verify/judge/testdata/signed-index.yaml"
	failing := []string{"acme/docker", "acme/foreign", "acme/notation"}
	server := registrytest.New(t)
	report, record := filepath.Join(t.TempDir(), "report.json"), server.Host()+"/mirror/record"
	args := []string{"import", "-", server.Host() + "/mirror", "--key", c.public, "--policy", policy, "--skip-failing", "--report", report, "--record", record}
	c.pipe(t, c.file)
	c.expect(t, exitOK, "left out, since it fails the policy: "+c.images+"/acme/notation:1.0: the image: no signature by packers", args...)
	var done struct {
		Complete bool
		Images   []struct{ Source string }
		Failing  []struct {
			Source, Rule string
			Reasons      []string
		}
	}
	content, err := os.ReadFile(report)
	if err == nil {
		err = json.Unmarshal(content, &done)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !done.Complete || len(done.Failing) != len(failing) || len(done.Images)+len(done.Failing) != len(c.fixture.Roots()) {
		t.Errorf("%+v", done)
	}
	for i, row := range done.Failing {
		if !strings.Contains(row.Source, failing[i]) || row.Rule == "" || len(row.Reasons) == 0 {
			t.Errorf("%+v", row)
		}
		if n := server.Count("PUT", "/v2/mirror/"+failing[i]+"/") + server.Count("POST", "/v2/mirror/"+failing[i]+"/"); n > 0 {
			t.Errorf("%d requests write to %s", n, failing[i])
		}
	}
	if server.Count("PUT", "/v2/mirror/acme/legacy/manifests/1.0") == 0 {
		t.Error("what passes was not imported")
	}
	c.expect(t, exitOK, "", "status", server.Host()+"/mirror", "--key", c.public, "--record", record)
	if out := c.out.String(); !strings.Contains(out, "complete") || !strings.Contains(out, "3 left out since they fail the policy") {
		t.Error(out)
	}
	server.Forget()
	c.pipe(t, c.file)
	c.expect(t, exitOK, "nothing changed", args...)
	if n := server.Count("PUT", "") + server.Count("POST", ""); n > 0 {
		t.Errorf("%d requests write the second time", n)
	}
	// Under a policy that takes nothing, nothing is left to be imported.
	none := c.write(t, "none.yaml", "version: 1\nimages: {match: \"**\", deny: not today}\n")
	c.expect(t, exitFails, "nothing is left to be imported", "import", c.file, server.Host()+"/mirror", "--key", c.public, "--policy", none, "--skip-failing")
}

// TestInspectWithPolicy: the tree says whose the proofs are, and of each image what the policy says.
func TestInspectWithPolicy(t *testing.T) {
	c := exportFixture(t)
	c.expect(t, exitOK, "", "inspect", c.file, "--key", c.public, "--policy", "../../verify/judge/testdata/attested-platforms.yaml")
	for _, text := range []string{
		"policy: passes (rule */acme/dhi-*, ", "policy: FAILS (rule */acme/legacy, ", "  linux/arm64/v8: no attestation https://openvex.dev/ns/** by packers",
		"attestation by packers (sha256:", "attestation (unsigned)", "policy: carried (no rule matches)",
	} {
		if !strings.Contains(c.out.String(), text) {
			t.Errorf("%q is not in\n%s", text, c.out.String())
		}
	}
	c.expect(t, exitUsage, "--key is missing", "inspect", c.file, "--policy", "../../verify/judge/testdata/unsigned.yaml")
}

// TestChecker: a program of the site's has the last word on what passes, and sees verified statements and nothing else.
func TestChecker(t *testing.T) {
	c := exportFixture(t)
	const policy = "../../verify/judge/testdata/attested-one-platform.yaml"
	script := func(body string) string {
		path := c.write(t, "check.sh", "#!/bin/sh\n"+body)
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	verify := []string{"verify", c.file, "--key", c.public, "--policy", policy, "--exec"}
	c.expect(t, exitOK, "all digests are right", append(verify, script("test \"$(ls | tr '\\n' ' ')\" = '1.json 2.json 3.json image.json '"))...)
	t.Setenv("AIRGAP_SECRET", "secret")
	c.expect(t, exitFails, "acme/legacy:1.0 is not as the policy asks", append(verify, script("cat image.json *.json >&2; env >&2; exit 3"))...)
	for _, text := range []string{"the checker does not take it: ", "exit status 3", `"file":"1.json"`, `"platform":"linux/amd64"`, `"signers":["packers (sha256:`, `"predicateType":"https://openvex.dev/ns`, `"_type":"https://in-toto.io/Statement/`} {
		if !strings.Contains(c.err.String(), text) {
			t.Errorf("%q is not in %s", text, c.err.String())
		}
	}
	if strings.Contains(c.err.String(), "AIRGAP_SECRET") || strings.Contains(c.err.String(), "HOME=") {
		t.Errorf("the environment is not reduced: %s", c.err.String())
	}
	c.expect(t, exitFails, "its output is too long", append(verify, script("head -c 70000 /dev/zero"))...)
	c.expect(t, exitUsage, "--exec: ", append(verify, filepath.Join(c.home, "none"))...)
	c.expect(t, exitUsage, "--exec is for images that a policy judges", "verify", c.file, "--key", c.public, "--exec", script("true"))
	// Nobody signed these.
	unsigned := c.write(t, "unsigned.yaml", "version: 1\nimages: {match: '*/acme/dhi-*', attestations: {type: 'https://spdx.dev/Document**', unsigned: true}}\nunmatched: carry\n")
	c.expect(t, exitOK, "", "verify", c.file, "--key", c.public, "--policy", unsigned, "--exec", script("test ! -e 1.json"))
}
