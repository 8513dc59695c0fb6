package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
	"airgap/bundle/tree"
)

// carried is the fixture in two registries, and a bundle of everything in them.
type carried struct {
	*world
	fixture              *bundletest.Fixture
	images, attestations string
	file, public         string
}

// exportFixture exports every root of the fixture with the command line.
func exportFixture(t *testing.T) *carried {
	t.Helper()
	c := newSource(t)
	args := append([]string{"export", "--key", filepath.Join(c.home, "airgap.key"), "-o", c.file}, c.everything()...)
	c.expect(t, exitOK, "22 referrers from "+c.attestations+"/acme/dhi-python", args...)
	return c
}

// everything asks for all that the fixture has.
func (c *carried) everything() []string {
	args := []string{"--referrers-from", c.images + "/acme/dhi-python=" + c.attestations + "/acme/dhi-python"}
	for _, root := range c.fixture.Roots() {
		args = append(args, c.images+"/"+root.Reference())
	}
	return args
}

func TestRoundTrip(t *testing.T) {
	c := exportFixture(t)
	index := strings.TrimSpace(c.out.String())
	c.expect(t, exitOK, "all digests are right", "verify", c.file, "--key", c.public)
	if got := strings.TrimSpace(c.out.String()); got != index {
		t.Errorf("verify prints %q, export %q", got, index)
	}
	c.expect(t, exitOK, "all digests are right", "verify", c.file, "--key", c.public, "--deep")
	c.pipe(t, c.file)
	c.expect(t, exitOK, "all digests are right", "verify", "-", "--key", c.public, "--deep")
	for name, api := range map[string]bool{"with the referrers API": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			target := bundletest.StartRegistry(t, api)
			report := filepath.Join(t.TempDir(), "report.json")
			c.expect(t, exitOK, "would import", "import", c.file, target+"/mirror", "--key", c.public, "--dry-run")
			c.expect(t, exitOK, "imported", "import", c.file, target+"/mirror", "--key", c.public, "--report", report)
			for _, root := range c.fixture.Roots() {
				want := c.fixture.Digest(t, root.Repository, root.Tag)
				c.expect(t, exitOK, "", "inspect", target+"/mirror/"+root.Reference(), "--digest")
				if got := strings.TrimSpace(c.out.String()); got != want {
					t.Errorf("%s is %s at the target, want %s", root.Reference(), got, want)
				}
			}
			checkReport(t, report, len(c.fixture.Roots()))
			c.expect(t, exitOK, "nothing changed", "import", c.file, target+"/mirror", "--key", c.public)
		})
	}
}

// pipe gives a file to the next command on standard input.
func (c *carried) pipe(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c.Stdin = bytes.NewReader(content)
}

func checkReport(t *testing.T, file string, images int) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Complete bool
		Images   []any
		Tags     []any
	}
	if err := json.Unmarshal(content, &report); err != nil {
		t.Fatal(err)
	}
	if !report.Complete || len(report.Images) != images || len(report.Tags) < images {
		t.Errorf("the report has %d images and %d tags, complete: %t; want %d images", len(report.Images), len(report.Tags), report.Complete, images)
	}
}

func TestInspectShowsTheSameTreeOnBothSides(t *testing.T) {
	c := exportFixture(t)
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitOK, "", "import", c.file, target, "--key", c.public)
	c.expect(t, exitOK, "", "inspect", c.file, "--json")
	var inFile inspection
	if err := json.Unmarshal(c.out.Bytes(), &inFile); err != nil {
		t.Fatal(err)
	}
	if inFile.Bundle == nil || inFile.Bundle.SignatureChecked {
		t.Error("inspect without a key does not say that the signature was not checked")
	}
	for _, image := range inFile.Images {
		c.expect(t, exitOK, "", "inspect", target+"/"+image.Destination, "--json")
		var atTarget inspection
		if err := json.Unmarshal(c.out.Bytes(), &atTarget); err != nil {
			t.Fatal(err)
		}
		want, got := digests(t, image), digests(t, atTarget.Images[0])
		if want != got {
			t.Errorf("%s:\nin the file\n%s\nat the target\n%s", image.Source, want, got)
		}
	}
	c.expect(t, exitOK, "", "inspect", c.file)
	if !strings.Contains(c.out.String(), "NOT CHECKED") {
		t.Error("inspect without a key does not say that the signature was not checked")
	}
	index := c.fixture.Manifest(t, c.fixture.Digest(t, "acme/dhi-python", "3.13"))
	for platform, want := range map[string]string{
		"linux/amd64": index.Children[0], "linux/arm64": index.Children[1], "linux/arm64/v8": index.Children[1], "linux/aarch64": index.Children[1],
	} {
		c.expect(t, exitOK, "", "inspect", target+"/acme/dhi-python:3.13", "--platform", platform, "--digest")
		if got := strings.TrimSpace(c.out.String()); got != want {
			t.Errorf("%s is %s, want %s", platform, got, want)
		}
	}
}

// digests is a tree as text, without where things were found and in which way.
func digests(t *testing.T, image imageFacts) string {
	t.Helper()
	forgetPlaces(image.Tree)
	content, err := json.MarshalIndent(image.Tree, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func forgetPlaces(t *tree.Tree) {
	t.From, t.Via = "", ""
	for _, branch := range append(append([]*tree.Tree{}, t.Children...), t.Referrers...) {
		forgetPlaces(branch)
	}
}

func TestExitCodes(t *testing.T) {
	c := exportFixture(t)
	target := bundletest.StartRegistry(t, true)
	other := filepath.Join(c.home, "other")
	c.expect(t, exitOK, "", "keygen", "--output-key-prefix", other)
	c.expect(t, exitUntrusted, "not signed by a trusted key", "verify", c.file, "--key", other+".pub")
	c.expect(t, exitUntrusted, "", "import", c.file, target, "--key", other+".pub")
	c.expect(t, exitMissing, "acme/none", "export", c.images+"/acme/none:1", "--key", other+".key", "-o", filepath.Join(c.home, "x.tar"))
	c.expect(t, exitMissing, "no attestations", "export", c.images+"/acme/notation:1.0", "--key", other+".key", "-o", filepath.Join(c.home, "x.tar"),
		"--referrers-from", c.images+"="+c.attestations+"/none")
	c.expect(t, exitUsage, "keygen", "export", c.images+"/acme/notation:1.0", "-o", filepath.Join(c.home, "x.tar"))
	c.expect(t, exitConflict, "same destination", "export", c.images+"/acme/notation:1.0=a:1", c.images+"/acme/docker:1=a:1", "--key", other+".key", "-o", filepath.Join(c.home, "x.tar"))

	content, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-2000] ^= 1
	spoiled := c.write(t, "spoiled.tar", string(content))
	c.expect(t, exitDamaged, ", layer sha256:", "verify", spoiled, "--key", c.public)
	c.expect(t, exitDamaged, "no tag was moved", "import", spoiled, target, "--key", c.public)
	c.expect(t, exitMissing, "", "inspect", target+"/acme/dhi-python:3.13")
	if left, _ := filepath.Glob(filepath.Join(c.home, "x.tar*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
