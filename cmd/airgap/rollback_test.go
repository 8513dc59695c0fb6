package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
	"airgap/export/registry/harbor/harbortest"
	"airgap/import/rollback"
)

// An image is imported as app:1, then another under that name and one that is new, and all of it is put back.
func TestRollbackCommand(t *testing.T) {
	c := exportFixture(t)
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "mirror"})
	for name, target := range map[string]struct {
		registry string
		login    []string
	}{
		"registry": {bundletest.StartRegistry(t, true) + "/mirror", nil},
		"Harbor":   {s.Host() + "/mirror", []string{"--username", harbortest.Admin.Name, "--password-stdin"}},
	} {
		t.Run(name, func(t *testing.T) {
			expect := func(code int, message string, args ...string) {
				t.Helper()
				c.Stdin = strings.NewReader(harbortest.Admin.Secret)
				c.expect(t, code, message, append(args, target.login...)...)
			}
			digest := func(name string) string {
				t.Helper()
				expect(exitOK, "", "inspect", target.registry+"/"+name, "--digest")
				return strings.TrimSpace(c.out.String())
			}
			report := filepath.Join(t.TempDir(), "report.json")
			expect(exitOK, "1 moved", "import", c.file, target.registry, "--key", c.public, "--only", "*/acme/docker:1", "--map", "*/acme/docker=mirror/app:1")
			before := digest("app:1")
			again := []string{
				"import", c.file, target.registry, "--key", c.public, "--only", "*/acme/docker:1", "--only", "*/acme/notation:1.0",
				"--map", "*/acme/docker=mirror/new:1", "--map", "*/acme/notation=mirror/app:1", "--report", report,
			}
			expect(exitOK, "", append(again, "--dry-run")...)
			expect(exitUsage, "it was a dry run", "rollback", report)
			expect(exitOK, "2 moved", again...)
			after := digest("app:1")
			if before == after {
				t.Fatal("the second import moved nothing")
			}

			expect(exitOK, "would put back 1 tag, and remove 1", "rollback", report, "--dry-run")
			if out := c.out.String(); !strings.Contains(out, "/mirror/app:1  back to "+before+" from "+after) || !strings.Contains(out, "/mirror/new:1  to be removed") {
				t.Errorf("%s", out)
			}
			if digest("app:1") != after {
				t.Error("a dry run has put app:1 back")
			}
			expect(exitOK, "1 tag put back, 1 removed", "rollback", report)
			if !strings.Contains(c.err.String(), "/mirror/app:1  back to "+before) || !strings.Contains(c.out.String(), "/mirror/app:1  "+before+"  was "+after) {
				t.Errorf("%s\n%s", c.err.String(), c.out.String())
			}
			if got := digest("app:1"); got != before {
				t.Errorf("app:1 is %s, want %s", got, before)
			}
			expect(exitMissing, "", "inspect", target.registry+"/new:1")
			expect(exitOK, "/mirror/app:1  as before the import already", "rollback", report, "--json")
			var shown rollback.Report
			if err := json.Unmarshal(c.out.Bytes(), &shown); err != nil || len(shown.Tags) != 2 || shown.Changed || !shown.Complete {
				t.Errorf("%v, %+v", err, shown)
			}
		})
	}
}

func TestRollbackCommandReadsReports(t *testing.T) {
	w := newWorld(t)
	target := bundletest.StartRegistry(t, true)
	digest := "sha256:" + strings.Repeat("1", 64)
	report := func(tags string) string {
		return `{"bundle":"` + digest + `","target":"` + target + `/mirror","tags":[` + tags + `]}`
	}
	w.expect(t, exitUsage, "REPORT is missing", "rollback")
	w.expect(t, exitUsage, "none.json", "rollback", filepath.Join(w.home, "none.json"))
	w.expect(t, exitUsage, "not the report of an import", "rollback", w.write(t, "a.json", `{"schemaVersion":2}`))
	w.expect(t, exitUsage, "evil.example", "rollback",
		w.write(t, "b.json", report(`{"repository":"evil.example/app","tag":"1","new":"`+digest+`","status":"moved"}`)))
	w.expect(t, exitUsage, "--jobs", "rollback", w.write(t, "c.json", report("")), "--jobs", "0")
	w.expect(t, exitOK, "moved no tags", "rollback", w.write(t, "d.json", report("")))
	w.Stdin = strings.NewReader(report(`{"repository":"` + target + `/app","tag":"1","new":"` + digest + `","status":"unchanged"}`))
	w.expect(t, exitOK, "moved no tags", "rollback", "-")
	w.Stdin = strings.NewReader(report(""))
	w.expect(t, exitUsage, "cannot give both", "rollback", "-", "--username", "ada", "--password-stdin")
}

func TestRollbackCommandFails(t *testing.T) {
	c := exportFixture(t)
	target := bundletest.StartRegistry(t, true)
	report := filepath.Join(t.TempDir(), "report.json")
	c.expect(t, exitOK, "", "import", c.file, target, "--key", c.public, "--only", "*/acme/docker:1", "--report", report)
	content, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	// A tag that was at something that is there no more.
	gone := "sha256:" + strings.Repeat("1", 64)
	changed := strings.Replace(string(content), `"tag": "1",`, `"tag": "1", "old": "`+gone+`",`, 1)
	file := c.write(t, "gone.json", changed)
	c.expect(t, exitDiffers, "does not have "+gone+" any more", "rollback", file)
	c.expect(t, exitDiffers, "", "rollback", file, "--dry-run")
}

func TestImportFlatten(t *testing.T) {
	c := exportFixture(t)
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitOK, "", "import", c.file, target+"/team", "--key", c.public, "--only", "*/acme/docker:1", "--flatten")
	if !strings.Contains(c.out.String(), target+"/team/acme--docker:1  ") {
		t.Errorf("%s", c.out.String())
	}
	c.expect(t, exitOK, "", "inspect", target+"/team/acme--docker:1", "--digest")
}
