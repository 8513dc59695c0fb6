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
