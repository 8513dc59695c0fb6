package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/bundle/platform"
	"airgap/bundle/tree"
	"airgap/export/registry/registrytest"
)

// newSource has the fixture in two registries, and keys.
func newSource(t *testing.T) *carried {
	t.Helper()
	c := &carried{world: newWorld(t), fixture: bundletest.LoadFixture(t)}
	c.images, c.attestations = bundletest.StartRegistry(t, true), bundletest.StartRegistry(t, false)
	c.fixture.Push(t, map[string]string{bundletest.Images: c.images, bundletest.Attestations: c.attestations})
	t.Setenv("AIRGAP_PASSWORD", "secret")
	c.file, c.public = filepath.Join(c.home, "bundle.tar"), filepath.Join(c.home, "airgap.pub")
	c.writeKeys(t)
	return c
}

// config writes a configuration in which IMAGES and ATTESTATIONS stand for the registries.
func (c *carried) config(t *testing.T, name, text string) string {
	t.Helper()
	return c.write(t, name, strings.NewReplacer("IMAGES", c.images, "ATTESTATIONS", c.attestations).Replace(text))
}

func (c *carried) export(t *testing.T, code int, message string, args ...string) {
	t.Helper()
	_ = os.Remove(c.file)
	c.expect(t, code, message, append([]string{"export", "--key", filepath.Join(c.home, "airgap.key"), "-o", c.file}, args...)...)
}

// inspected is what the bundle holds.
func (c *carried) inspected(t *testing.T) map[string]*tree.Tree {
	t.Helper()
	c.expect(t, exitOK, "", "inspect", c.file, "--json")
	var found inspection
	if err := json.Unmarshal(c.out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	images := map[string]*tree.Tree{}
	for _, image := range found.Images {
		images[image.Destination] = image.Tree
	}
	return images
}

// dhi is the sample of Docker's documentation, for the fixture's repository.
const dhi = `version: 1
creds:
  - registry: registry.example.com
    user: robot
    pass: "{{file \"/only/on/the/other/side\"}}"
sync:
  - source: IMAGES/acme/dhi-python
    target: registry.example.com/mirror/dhi-python
    type: repository
    fastCopy: true
    referrers: true
    referrerSource: ATTESTATIONS/acme/dhi-python
    referrerTarget: registry.example.com/mirror/dhi-python
    tags:
      allow: [ "3.*" ]
      deny: [ ".*alpine.*", ".*debian12.*" ]
`

func TestExportOfAConfiguration(t *testing.T) {
	c := newSource(t)
	config := c.config(t, "regsync.yaml", dhi)
	c.export(t, exitOK, "22 referrers from "+c.attestations+"/acme/dhi-python", "-c", config)
	images := c.inspected(t)
	if len(images) != 1 || images["mirror/dhi-python:3.13"] == nil {
		t.Fatalf("images: %v", images)
	}
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitOK, "imported", "import", c.file, target, "--key", c.public)
	c.expect(t, exitOK, "", "inspect", target+"/mirror/dhi-python:3.13", "--digest")
	if got, want := strings.TrimSpace(c.out.String()), c.fixture.Digest(t, "acme/dhi-python", "3.13"); got != want {
		t.Errorf("%s at the target, want %s", got, want)
	}

	// From standard input, with images besides, and a second file.
	content, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	c.Stdin = strings.NewReader(string(content))
	more := c.config(t, "more.yaml", "sync: [{source: 'IMAGES/acme/docker:1', target: registry.example.com/more, type: image}]")
	c.export(t, exitOK, "3 images", "-c", "-", "-c", more, c.images+"/acme/notation:1.0")
	if images = c.inspected(t); images["mirror/dhi-python:3.13"] == nil || images["more:latest"] == nil || images["acme/notation:1.0"] == nil {
		t.Errorf("images: %v", images)
	}
}

func TestPlan(t *testing.T) {
	c := newSource(t)
	config := c.config(t, "regsync.yaml", dhi+`
  - source: IMAGES/acme/docker
    target: registry.example.com/mirror/docker
    type: repository
    tags: {deny: ["list"]}
`)
	c.expect(t, exitOK, "", "plan", "-c", config)
	plain := c.out.String()
	for _, want := range []string{
		c.images + "/acme/dhi-python:3.13 -> mirror/dhi-python:3.13", "linux/amd64, linux/arm64",
		"https://spdx.dev/Document", "pulls: " + c.images, "total: ",
	} {
		if !strings.Contains(plain, want) {
			t.Errorf("the plan lacks %q:\n%s", want, plain)
		}
	}
	c.export(t, exitOK, "", "-c", config, "--dry-run")
	if c.out.String() == "" || len(c.matches(t, "bundle.tar*")) > 0 {
		t.Error("export --dry-run shows no plan, or writes")
	}
	c.expect(t, exitOK, "", "plan", "-c", config, "--json")
	var report planReport
	if err := json.Unmarshal(c.out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	var sizes int64
	for _, image := range report.Images {
		sizes += image.NewBytes
	}
	if sizes != report.Counts.StoredBytes || len(report.Images) == 0 {
		t.Errorf("the images bring %d new bytes, the bundle %d", sizes, report.Counts.StoredBytes)
	}
	for _, cost := range report.Pulls {
		if cost.Fetched != 0 && cost.Registry == c.images || cost.Export != 0 {
			t.Errorf("the third time manifests were fetched: %+v", cost)
		}
	}
	c.expect(t, exitOK, "", "plan", "-c", config, "--json", "--cache-dir", "none")
	if err := json.Unmarshal(c.out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if cost := report.Pulls[0]; cost.Fetched == 0 || cost.Export != cost.Fetched {
		t.Errorf("without a cache: %+v", cost)
	}
}

func (c *carried) matches(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.home, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestReferrersThatAreLeftOutAreReported(t *testing.T) {
	c := newSource(t)
	config := c.config(t, "regsync.yaml", strings.Replace(dhi, "referrers: true", "referrers: false", 1))
	c.export(t, exitOK, "left out (referrers: false): ", "-c", config, "--json")
	var result struct {
		Images []struct {
			Referrers        int
			LeftOutReferrers []struct{ Rule string }
		}
	}
	if err := json.Unmarshal(c.out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	if image := result.Images[0]; image.Referrers != 0 || len(image.LeftOutReferrers) == 0 {
		t.Errorf("%+v", image)
	}
	filtered := c.config(t, "filtered.yaml", dhi+"    referrerFilters: [{artifactType: application/vnd.nobody.has}]\n")
	c.export(t, exitOK, "left out (referrerFilters): ", "-c", filtered)
	if tree := c.inspected(t)["mirror/dhi-python:3.13"]; len(tree.Children[0].Referrers) != 0 {
		t.Errorf("referrers that no filter fits: %v", tree.Children[0].Referrers)
	}
}

// What is left out is counted as what it is.
func TestLeftOutIsCounted(t *testing.T) {
	w := newWorld(t)
	t.Setenv("AIRGAP_PASSWORD", "secret")
	s := registrytest.New(t, registrytest.Faults(registrytest.On("GET", "/v2/_catalog",
		registrytest.Answer(200, `{"repositories":["acme/app","acme/one","acme/two"]}`, "Content-Type", "application/json"))))
	for _, tag := range []string{"1", "2"} {
		s.AddManifest("acme/app", tag, bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+bundle.MediaTypeOCIIndex+`","manifests":[]}`))
	}
	config := w.write(t, "regsync.yaml", "sync: [{source: "+s.Host()+", target: harbor.example.com/all, type: registry, repos: {deny: ['.*/one', '.*/two']}, tags: {deny: ['2']}}]")
	w.expect(t, exitOK, "public key", "keygen", "--output-key-prefix", filepath.Join(w.home, "airgap"))
	w.expect(t, exitOK, "2 repositories and 1 image left out by the rules of the configuration", "export", "-c", config,
		"--key", filepath.Join(w.home, "airgap.key"), "-o", filepath.Join(w.home, "bundle.tar"))
}

func TestKeepGoing(t *testing.T) {
	c := newSource(t)
	config := c.config(t, "regsync.yaml", dhi+`
  - {source: IMAGES/acme/gone, target: registry.example.com/gone, type: repository}
  - {source: "IMAGES/acme/docker:gone", target: "registry.example.com/docker:gone", type: image}
`)
	c.export(t, exitMissing, "acme/gone", "-c", config)
	if !strings.Contains(c.err.String(), "acme/docker:gone") || !strings.Contains(c.err.String(), "--keep-going") {
		t.Errorf("not every failure is named, or not what can be done:\n%s", c.err.String())
	}
	if left := c.matches(t, "bundle.tar*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if code := c.run("plan", "-c", config); code != exitMissing || !strings.Contains(c.out.String(), "missing: "+c.images+"/acme/gone: ") {
		t.Errorf("plan: exit code %d\n%s", code, c.out.String())
	}
	if code := c.run("export", "--key", filepath.Join(c.home, "airgap.key"), "-o", c.file, "-c", config, "--keep-going"); code != exitIncomplete {
		t.Fatalf("exit code %d\n%s", code, c.err.String())
	}
	c.expect(t, exitOK, "all digests are right", "verify", c.file, "--key", c.public)
	if !strings.Contains(c.err.String(), "acme/docker:gone") {
		t.Errorf("verify does not say what is missing:\n%s", c.err.String())
	}
	c.expect(t, exitOK, "", "inspect", c.file)
	if !strings.Contains(c.out.String(), "missing: "+c.images+"/acme/gone: ") {
		t.Errorf("inspect does not say what is missing:\n%s", c.out.String())
	}
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitOK, "acme/docker:gone", "import", c.file, target, "--key", c.public)
}

func TestPlatforms(t *testing.T) {
	c := newSource(t)
	image := c.images + "/acme/dhi-python:3.13"
	original := c.fixture.Digest(t, "acme/dhi-python", "3.13")
	referrers := "--referrers-from=" + c.images + "/acme/dhi-python=" + c.attestations + "/acme/dhi-python"

	c.export(t, exitOK, "", image, referrers, "--platform", "linux/arm64")
	tree := c.inspected(t)["acme/dhi-python:3.13"]
	if tree.Digest.String() == original || findPlatform(t, tree, "linux/amd64") != nil || findPlatform(t, tree, "linux/arm64") == nil {
		t.Fatalf("not an index of linux/arm64 alone: %+v", tree)
	}
	if len(tree.Children) != 2 || len(findPlatform(t, tree, "linux/arm64").Referrers) == 0 {
		t.Errorf("%d manifests, want the image with its referrers and what BuildKit attests of it", len(tree.Children))
	}
	c.expect(t, exitOK, "", "inspect", c.file)
	if !strings.Contains(c.out.String(), "(only linux/arm64 of "+original+")") {
		t.Errorf("inspect does not say what was left out:\n%s", c.out.String())
	}
	rewritten := tree.Digest
	for name, api := range map[string]bool{"with the referrers API": true, "without": false} {
		target := bundletest.StartRegistry(t, api)
		report := filepath.Join(t.TempDir(), "report.json")
		c.expect(t, exitOK, "imported", "import", c.file, target, "--key", c.public, "--report", report)
		content, err := os.ReadFile(report)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), `"original": "`+original+`"`) {
			t.Errorf("%s: the report does not name the original", name)
		}
		c.expect(t, exitOK, "", "inspect", target+"/acme/dhi-python:3.13", "--digest")
		if got := strings.TrimSpace(c.out.String()); got != rewritten.String() {
			t.Errorf("%s: %s at the target, want %s", name, got, rewritten)
		}
	}

	c.export(t, exitOK, "", image, referrers, "--platform", "linux/arm64", "--platform-mode", "sparse")
	tree = c.inspected(t)["acme/dhi-python:3.13"]
	if tree.Digest.String() != original || findPlatform(t, tree, "linux/amd64") != nil || findPlatform(t, tree, "linux/arm64") == nil {
		t.Fatalf("not the original index with linux/arm64 alone: %+v", tree)
	}
	c.expect(t, exitOK, "all digests are right", "verify", c.file, "--key", c.public)
	c.expect(t, exitConflict, "--platform-mode rewrite", "import", c.file, bundletest.StartRegistry(t, true), "--key", c.public)

	c.export(t, exitMissing, "nothing for linux/s390x", image, referrers, "--platform", "linux/s390x")
	c.export(t, exitOK, "there is nothing for linux/s390x", image, referrers, "--platform", "linux/s390x", "--platform", "linux/arm64")
	c.export(t, exitMissing, "sparse", image+"@"+original, referrers, "--platform", "linux/arm64")
	c.export(t, exitUsage, "no such platform", image, "--platform", "arm64")
}

// What refers to the original index is left out and named, or carried under the original's digest.
func TestReferrersOfARewrittenIndex(t *testing.T) {
	c := newSource(t)
	var root bundletest.Root
	for _, r := range c.fixture.Roots() {
		digest := c.fixture.Digest(t, r.Repository, r.Tag)
		if m := c.fixture.Manifest(t, digest); len(m.Children) > 1 && len(c.fixture.Closure(t, r).Tags) > 1 {
			root = r
			break
		}
	}
	if root.Repository == "" {
		t.Fatal("the fixture has no signed index")
	}
	image := c.images + "/" + root.Reference()
	c.export(t, exitOK, "it refers to the index with all platforms", image, "--platform", "linux/amd64")
	c.export(t, exitOK, "", image, "--platform", "linux/amd64", "--original-referrers")
	c.expect(t, exitOK, "all digests are right", "verify", c.file, "--key", c.public)
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitOK, "imported", "import", c.file, target, "--key", c.public)
	tag := strings.Replace(c.fixture.Digest(t, root.Repository, root.Tag), ":", "-", 1)
	found := false
	for _, suffix := range bundle.CosignSuffixes {
		found = found || c.run("inspect", target+"/"+root.Repository+":"+tag+suffix, "--digest") == exitOK
	}
	if !found {
		t.Error("the original's signatures are not at the target")
	}
}

func TestConfigCheck(t *testing.T) {
	w := newWorld(t)
	dhi := strings.NewReplacer("IMAGES", "docker.io", "ATTESTATIONS", "registry.scout.docker.com").Replace(dhi)
	good := w.write(t, "good.yaml", dhi)
	w.expect(t, exitOK, "is fine; entries: 1", "config", "check", good)
	if out := w.out.String(); !strings.Contains(out, "deny .*alpine.*, .*debian12.*") || !strings.Contains(out, ":7:5: repository docker.io/acme/dhi-python -> mirror/dhi-python") {
		t.Error(out)
	}
	odd := w.write(t, "odd.yaml", dhi+"    colour: red\n    backup: old\n")
	w.expect(t, exitOK, `unknown key "colour"`, "config", "check", odd)
	w.expect(t, exitOK, "backup does nothing here", "config", "check", odd)
	w.expect(t, exitUsage, `odd.yaml:17:5: unknown key "colour"`, "config", "check", "--strict", odd)
	w.expect(t, exitUsage, `did you mean "referrers"?`, "config", "check", w.write(t, "bad.yaml", dhi+"    referers: true\n"))
	w.expect(t, exitUsage, "", "export", "-c", filepath.Join(w.home, "bad.yaml"), "--key", "k", "-o", "o")
}

// Credentials of registries in play are evaluated, those of others are not, and no secret is shown.
func TestConfigurationsCredentials(t *testing.T) {
	c := newSource(t)
	const secret = "hunter2-in-the-file"
	login := c.guarded(t, "ada", secret)
	text := fmt.Sprintf(`creds:
  - {registry: %[1]q, user: ada, pass: "{{env \"AIRGAP_TEST_PASS\"}}"}
  - {registry: elsewhere.example.com, user: ada, pass: "{{file \"/not/here\"}}"}
sync: [{source: %[1]s/acme/app, target: mirror/app, type: repository, tags: {allow: ['1']}}]
`, login)
	config := c.write(t, "regsync.yaml", text)
	c.export(t, exitUsage, `"AIRGAP_TEST_PASS" is not there`, "-c", config)
	t.Setenv("AIRGAP_TEST_PASS", "wrong")
	c.export(t, exitUnauthorized, "", "-c", config)
	t.Setenv("AIRGAP_TEST_PASS", secret)
	c.export(t, exitOK, "1 image", "-c", config, "--log-level", "debug")
	file, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	for where, shown := range map[string]string{"standard error": c.err.String(), "standard output": c.out.String(), "the bundle": string(file)} {
		if strings.Contains(shown, secret) {
			t.Errorf("%s has the secret", where)
		}
	}
	c.expect(t, exitOK, "", "plan", "-c", config, "--json")
	if strings.Contains(c.out.String(), secret) || slices.Contains(c.matches(t, "*"), secret) {
		t.Error("the plan has the secret")
	}
}

// guarded starts a registry with an image that asks for a login, and returns its host.
func (c *carried) guarded(t *testing.T, user, password string) string {
	t.Helper()
	login := &registrytest.Login{User: user, Password: password}
	server := registrytest.New(t, registrytest.Wrap(login.Guard))
	config := server.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json", []byte("{}"))
	content := jsonOf(t, bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config})
	server.AddManifest("acme/app", "1", bundle.MediaTypeOCIManifest, content)
	return server.Host()
}

// In a pipe blobs wait for those before them. A registry that is asked one thing at a time must not make that a wait for
// ever.
func TestOneRequestAtATimeIntoAPipe(t *testing.T) {
	c := newSource(t)
	config := c.config(t, "regsync.yaml", strings.Replace(dhi, "creds:\n", "creds:\n  - {registry: \"IMAGES\", reqConcurrent: 1}\n  - {registry: \"ATTESTATIONS\", reqConcurrent: 1}\n", 1))
	if code := c.run("export", "-c", config, "--key", filepath.Join(c.home, "airgap.key"), "-o", "-"); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, c.err.String())
	}
	c.file = c.write(t, "piped.tar", c.out.String())
	c.expect(t, exitOK, "all digests are right", "verify", c.file, "--key", c.public)
}

// A credential helper is asked for the registry, or for the name that the file gives it.
func TestCredentialHelperOfAConfiguration(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a shell script cannot stand in for a credential helper here")
	}
	c := newSource(t)
	host := c.guarded(t, "ada", "from-the-helper")
	dir := t.TempDir()
	script := "#!/bin/sh\nread server\n[ \"$1 $server\" = \"get mirror.example.com\" ] || exit 1\necho '{\"ServerURL\":\"x\",\"Username\":\"ada\",\"Secret\":\"from-the-helper\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-acme"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	config := c.write(t, "regsync.yaml", fmt.Sprintf("creds: [{registry: %q, credHelper: docker-credential-acme, credHost: mirror.example.com}]\nsync: [{source: '%s/acme/app:1', target: mirror/app, type: image}]\n", host, host))
	c.export(t, exitOK, "1 image", "-c", config)
}

func findPlatform(t *testing.T, tree *tree.Tree, asked string) *tree.Tree {
	t.Helper()
	matcher, err := platform.Parse(asked)
	if err != nil {
		t.Fatal(err)
	}
	return tree.FindPlatform(matcher)
}
