package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/import/finding"
	"airgap/import/projects"
	"airgap/import/report"
)

// asAccount logs in with the command line.
func (c *carried) asAccount(t *testing.T, s *harbortest.Server, who harbortest.Account, flags ...string) {
	t.Helper()
	c.Stdin = strings.NewReader(who.Secret + "\n")
	c.expect(t, exitOK, "logged in", append([]string{"login", s.Host(), "-u", who.Name, "--password-stdin"}, flags...)...)
}

// TestPreflight: what is in the way is an error with remedies and a code of its own, and everything is in the report.
func TestPreflight(t *testing.T) {
	c := exportFixture(t)
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "small", Quota: 1000})
	c.asAccount(t, s, harbortest.Admin)
	file := filepath.Join(t.TempDir(), "report.json")
	c.expect(t, exitPreflight, "nothing was written to", "import", c.file, s.Host()+"/small", "--key", c.public, "--report", file)
	for _, text := range []string{"airgap: ", "project small: the import adds", "1000 bytes left", "Project Quotas", "its clock is"} {
		if !strings.Contains(c.err.String(), text) {
			t.Errorf("%q is not in:\n%s", text, c.err.String())
		}
	}
	c.expect(t, exitPreflight, "--create-projects", "import", c.file, s.Host()+"/absent", "--key", c.public, "--dry-run")
	if !strings.Contains(c.err.String(), "would import") || !strings.Contains(c.err.String(), s.Host()+"/absent/acme/docker:1  sha256:") {
		t.Errorf("the plan is not shown:\n%s", c.err.String())
	}
	if len(s.Repositories()) > 0 || s.Uploads() > 0 {
		t.Error("something was written")
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var parsed report.Report
	if err := json.Unmarshal(content, &parsed); err != nil {
		t.Fatal(err)
	}
	if first := parsed.Findings[0]; first.Level != finding.Blocks || first.Check != finding.CheckQuota || first.Subject != "project small" || first.Remedy == "" {
		t.Errorf("%+v", parsed.Findings)
	}
	c.asAccount(t, s, harbortest.Account{Name: "admin", Secret: "secret-wrong"}, "--skip-check")
	c.expect(t, exitPreflight, "log in with airgap login "+s.Host(), "import", c.file, s.Host()+"/library", "--key", c.public)
	if strings.Contains(c.err.String(), "secret-wrong") {
		t.Error("the password is on the screen")
	}
}

// TestCreateProjects with the command line, which says before what it would create.
func TestCreateProjects(t *testing.T) {
	c := exportFixture(t)
	s := harbortest.New(t)
	c.asAccount(t, s, harbortest.Admin)
	args := []string{"import", c.file, s.Host() + "/new", "--key", c.public, "--create-projects", "--project-quota", "500MB"}
	c.expect(t, exitOK, "project new: will be created, private, with a quota of 500000000 bytes", append(args, "--dry-run")...)
	if len(s.Projects()) != 1 {
		t.Errorf("a dry run created %v", s.Projects())
	}
	for _, done := range []string{" pushed", " mounted", " moved"} {
		if strings.Contains(c.err.String(), done) {
			t.Errorf("a dry run says that something was%s:\n%s", done, c.err.String())
		}
	}
	c.expect(t, exitOK, "created the project new", args...)
	if got := s.Project("new"); got.Public || got.Quota != 500e6 {
		t.Errorf("%+v", got)
	}
	c.expect(t, exitOK, "nothing changed", append(args, "--no-overwrite")...)
	c.expect(t, exitOK, "Harbor v2.14.4", "import", c.file, s.Host()+"/open", "--key", c.public, "--create-projects", "--project-public", "--project-quota", "unlimited", "--json")
	var done report.Report
	if err := json.Unmarshal(c.out.Bytes(), &done); err != nil || len(done.Projects) != 1 || done.Projects[0].Status != projects.Created || !s.Project("open").Public {
		t.Errorf("%v, %+v", err, done.Projects)
	}
	for message, flags := range map[string][]string{
		"--create-projects creates": {"--project-public"}, "which is not given": {"--project-quota", "1GB"},
		"--project-quota: ": {"--create-projects", "--project-quota", "much"}, `"dvd" is no size`: {"--create-projects", "--project-quota", "dvd"},
	} {
		c.expect(t, exitUsage, message, append([]string{"import", c.file, s.Host(), "--key", c.public}, flags...)...)
	}
	small := []string{"import", c.file, s.Host() + "/small", "--key", c.public, "--create-projects", "--project-quota", "10KB", "--dry-run"}
	c.expect(t, exitPreflight, "--project-quota is 10000 bytes", small...)
	other := bundletest.StartRegistry(t, true)
	c.expect(t, exitUsage, "is another registry", "import", c.file, other, "--key", c.public, "--create-projects")
}

// TestImportIntoNothing: that a target is not there is no finding.
func TestImportIntoNothing(t *testing.T) {
	c := exportFixture(t)
	s := registrytest.New(t)
	host := s.Host()
	s.Close()
	c.expect(t, exitUnreachable, host, "import", c.file, host, "--key", c.public)
}
