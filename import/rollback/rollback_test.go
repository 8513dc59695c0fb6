package rollback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/import/importtest"
	"airgap/import/placing"
	"airgap/import/readback"
	"airgap/import/report"
	"airgap/import/rollback"
)

// allTags reads the tags of repositories as any client would.
func allTags(t testing.TB, c *registry.Client, s interface{ Host() string }, paths ...string) map[string]bundle.Digest {
	t.Helper()
	found := map[string]bundle.Digest{}
	for _, path := range paths {
		d, err := placing.ParseDestination(s.Host())
		if err != nil {
			t.Fatal(err)
		}
		repo := d.Registry.Repo(path)
		tags, err := c.Tags(t.Context(), repo)
		if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrRepositoryUnknown) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			got, err := c.Resolve(t.Context(), repo.Tag(tag))
			if err != nil {
				t.Fatal(err)
			}
			found[path+":"+tag] = got.Digest
		}
	}
	return found
}

func expectTags(t testing.TB, got, want map[string]bundle.Digest) {
	t.Helper()
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is there", name)
		}
	}
	for name, digest := range want {
		if got[name] != digest {
			t.Errorf("%s is %s, want %s", name, got[name], digest)
		}
	}
}

// statuses are those of a report, by tag, without those of cosign.
func statuses(r *rollback.Report) map[string]rollback.Status {
	found := map[string]rollback.Status{}
	for _, row := range r.Tags {
		if !row.Cosign {
			_, path, _ := strings.Cut(row.Repository, "/mirror/")
			found[path+":"+row.Tag] = row.Status
		}
	}
	return found
}

func expectStatuses(t testing.TB, r *rollback.Report, want map[string]rollback.Status) {
	t.Helper()
	if got := statuses(r); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

const (
	restored  = rollback.Restored
	removed   = rollback.Removed
	unchanged = rollback.Unchanged
	changed   = rollback.Changed
	failed    = rollback.Failed
)

// Version 1, version 2, and back: everything is as before; once more, and nothing changes.
func TestRollback(t *testing.T) {
	_, first := importtest.Release(t, 1)
	_, second := importtest.Release(t, 2)
	registryTarget := registrytest.New(t, registrytest.AcknowledgeSubjects())
	harborTarget := harbortest.New(t)
	harborTarget.AddProject(harbortest.Project{Name: "mirror"})
	robot := harborTarget.AddRobot("mirror", "imp", harbortest.Push, harbortest.DeleteTag)
	for name, at := range map[string]struct {
		server interface{ Host() string }
		client *registry.Client
		writes func() int
	}{
		"registry": {registryTarget, importtest.Client(), func() int { return len(importtest.Writes(registryTarget)) }},
		"Harbor":   {harborTarget, importtest.HarborClient(t, robot), func() int { return len(harborTarget.Writes()) }},
	} {
		t.Run(name, func(t *testing.T) {
			c := at.client
			to := at.server.Host() + "/mirror"
			repos := []string{"mirror/acme/app", "mirror/acme/tool"}
			first.Into(c, to)
			before := allTags(t, c, at.server, repos...)
			imported := second.Into(c, to)
			after := allTags(t, c, at.server, repos...)
			if len(before) != 3 || len(after) != 6 || imported.Registry().Name() != at.server.Host() || imported.Target() != to {
				t.Fatalf("%v, %v, %s", before, after, imported.Target())
			}
			o := rollback.Options{Now: time.Now}
			if name == "Harbor" {
				o.Harbor = importtest.HarborOf(t, c, harborTarget)
			}
			planned := map[string]rollback.Status{"acme/app:1": "restore", "acme/tool:1": "remove", "acme/tool:latest": "remove"}
			finished := map[string]rollback.Status{"acme/app:1": restored, "acme/tool:1": removed, "acme/tool:latest": removed}
			again := map[string]rollback.Status{"acme/app:1": unchanged, "acme/tool:1": unchanged, "acme/tool:latest": unchanged}

			o.DryRun = true
			n := at.writes()
			done, err := rollback.Run(t.Context(), imported, c, o)
			if err != nil || done.Changed || done.Complete || at.writes() != n {
				t.Errorf("dry run: %v, %+v, %d writes", err, done, at.writes()-n)
			}
			expectStatuses(t, done, planned)

			o.DryRun = false
			o.Planned = func(rows []rollback.Row) {
				expectStatuses(t, &rollback.Report{Tags: rows}, planned)
				if at.writes() != n {
					t.Error("something was written before the plan was known")
				}
			}
			done, err = rollback.Run(t.Context(), imported, c, o)
			if err != nil || !done.Changed || !done.Complete || len(done.Tags) != 4 {
				t.Errorf("%v, %+v", err, done)
			}
			expectStatuses(t, done, finished)
			expectTags(t, allTags(t, c, at.server, repos...), before)
			for name, digest := range after { // nothing but names is gone
				path, _, _ := strings.Cut(name, ":")
				d, _ := placing.ParseDestination(at.server.Host())
				if _, err := c.Resolve(t.Context(), d.Registry.Repo(path).Digest(digest.String())); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}

			o.Planned, n = nil, at.writes()
			done, err = rollback.Run(t.Context(), imported, c, o)
			if err != nil || done.Changed || !done.Complete || at.writes() != n {
				t.Errorf("again: %v, %+v, %d writes", err, done, at.writes()-n)
			}
			expectStatuses(t, done, again)
		})
	}
}

// carriedOut is version 2 after version 1, at a registry.
type carriedOut struct {
	server        *registrytest.Server
	before, after map[string]bundle.Digest
	imported      *report.Imported
}

var bothRepos = []string{"mirror/acme/app", "mirror/acme/tool"}

func carryOut(t *testing.T) *carriedOut {
	t.Helper()
	_, first := importtest.Release(t, 1)
	_, second := importtest.Release(t, 2)
	c := &carriedOut{server: registrytest.New(t)}
	first.Into(importtest.Client(), c.server.Host()+"/mirror")
	c.before = allTags(t, importtest.Client(), c.server, bothRepos...)
	c.imported = second.Into(importtest.Client(), c.server.Host()+"/mirror")
	c.after = allTags(t, importtest.Client(), c.server, bothRepos...)
	c.server.Forget()
	return c
}

func (c *carriedOut) rollback(t *testing.T) (*rollback.Report, error) {
	t.Helper()
	return rollback.Run(t.Context(), c.imported, importtest.Client(), rollback.Options{})
}

// What somebody else has moved, removed or put back since the import stays as it is.
func TestRollbackLeavesOthersAlone(t *testing.T) {
	c := carryOut(t)
	another := []byte(`{"schemaVersion":2,"mediaType":"` + bundle.MediaTypeOCIIndex + `","manifests":[]}`)
	c.server.AddManifest("mirror/acme/app", "1", bundle.MediaTypeOCIIndex, another)
	c.server.AddManifest("mirror/acme/tool", "latest", bundle.MediaTypeOCIIndex, another)
	if err := importtest.Client().DeleteTag(t.Context(), c.server.Repo("mirror/acme/tool").Tag("1")); err != nil {
		t.Fatal(err)
	}
	done, err := c.rollback(t)
	if err != nil || !done.Complete {
		t.Errorf("%v, %+v", err, done)
	}
	expectStatuses(t, done, map[string]rollback.Status{"acme/app:1": changed, "acme/tool:1": unchanged, "acme/tool:latest": changed})
	if row := done.Tags[slices.IndexFunc(done.Tags, func(r rollback.Row) bool { return r.Status == changed })]; row.Found != bundle.DigestOf(another) {
		t.Errorf("%s was found", row.Found)
	}
	for _, name := range []string{"mirror/acme/app:1", "mirror/acme/tool:latest"} {
		path, tag, _ := strings.Cut(name, ":")
		importtest.ExpectManifest(t, c.server, path, tag, another)
	}
}

// The tag is moved by somebody else after all were looked at, and before it is its turn.
func TestRollbackLooksTwice(t *testing.T) {
	c := carryOut(t)
	another := []byte(`{"schemaVersion":2,"mediaType":"` + bundle.MediaTypeOCIIndex + `","manifests":[]}`)
	done, err := rollback.Run(t.Context(), c.imported, importtest.Client(), rollback.Options{Planned: func([]rollback.Row) {
		c.server.AddManifest("mirror/acme/app", "1", bundle.MediaTypeOCIIndex, another)
		c.server.AddManifest("mirror/acme/tool", "1", bundle.MediaTypeOCIIndex, another)
	}})
	if err != nil {
		t.Error(err)
	}
	expectStatuses(t, done, map[string]rollback.Status{"acme/app:1": changed, "acme/tool:1": changed, "acme/tool:latest": removed})
	importtest.ExpectManifest(t, c.server, "mirror/acme/app", "1", another)
	importtest.ExpectManifest(t, c.server, "mirror/acme/tool", "1", another)
}

func TestRollbackWithoutOldManifest(t *testing.T) {
	c := carryOut(t)
	old := c.before["mirror/acme/app:1"].String()
	c.server.Inject(registrytest.On("", "/manifests/"+old, registrytest.Code(http.StatusNotFound, "MANIFEST_UNKNOWN", "gone")))
	done, err := c.rollback(t)
	if !errors.Is(err, rollback.ErrNotRolledBack) || !strings.Contains(err.Error(), "acme/app:1") || !strings.Contains(err.Error(), old) || errors.Is(err, registry.ErrNotFound) {
		t.Errorf("%v", err)
	}
	expectStatuses(t, done, map[string]rollback.Status{"acme/app:1": rollback.Gone, "acme/tool:1": removed, "acme/tool:latest": removed})
	if got := allTags(t, importtest.Client(), c.server, bothRepos...); got["mirror/acme/app:1"] != c.after["mirror/acme/app:1"] || done.Complete || !done.Changed {
		t.Errorf("%v, %+v", got, done)
	}
}

// Registries that delete no tags, whatever they call that, keep them, and say so; the others are put back.
func TestRollbackWhereTagsAreNotDeleted(t *testing.T) {
	for name, fault := range map[string]registrytest.Fault{
		"405":                     registrytest.Code(http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported"),
		"400":                     registrytest.Code(http.StatusBadRequest, "DIGEST_INVALID", "invalid checksum digest format"),
		"404":                     registrytest.Answer(http.StatusNotFound, "404 page not found\n", "Content-Type", "text/plain"),
		"202, though it does not": registrytest.Answer(http.StatusAccepted, ""),
	} {
		t.Run(name, func(t *testing.T) {
			c := carryOut(t)
			c.server.Inject(registrytest.On("DELETE", "/manifests/", fault))
			done, err := c.rollback(t)
			if !errors.Is(err, rollback.ErrNotRolledBack) || errors.Is(err, registry.ErrNotFound) || done.Complete {
				t.Errorf("%v, %+v", err, done)
			}
			expectStatuses(t, done, map[string]rollback.Status{"acme/app:1": restored, "acme/tool:1": failed, "acme/tool:latest": failed})
			c.before["mirror/acme/tool:1"], c.before["mirror/acme/tool:latest"] = c.after["mirror/acme/tool:1"], c.after["mirror/acme/tool:latest"]
			for name, digest := range c.before {
				if got := allTags(t, importtest.Client(), c.server, bothRepos...)[name]; strings.Contains(name, ":sha256-") || got == digest {
					continue
				}
				t.Errorf("%s is not %s", name, digest)
			}
		})
	}
}

// deletesManifests has a tag's deletion delete the manifest as well: with its last tag, or with all of its tags.
func deletesManifests(s *registrytest.Server, lastOnly bool) registrytest.Fault {
	return registrytest.On("DELETE", "/manifests/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		repo, tag, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
		content := s.StoredManifest(repo, tag)
		doomed := []string{bundle.DigestOf(content).String()}
		for _, other := range []string{"1", "latest", "mine"} {
			if other != tag && bytes.Equal(s.StoredManifest(repo, other), content) {
				doomed = append(doomed, other)
			}
		}
		if len(doomed) == 1 || !lastOnly {
			for _, name := range doomed {
				other := r.Clone(r.Context())
				other.URL.Path = "/v2/" + repo + "/manifests/" + name
				next.ServeHTTP(discard{}, other)
			}
		}
		next.ServeHTTP(w, r)
		return true
	})
}

// discard is an answer that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// A registry that deletes a manifest with its last tag loses nothing: it is put back, by its digest.
func TestRollbackKeepsManifestOfLastTag(t *testing.T) {
	c := carryOut(t)
	tool := c.after["mirror/acme/tool:1"]
	c.server.Inject(deletesManifests(c.server, true))
	done, err := c.rollback(t)
	if err != nil || !done.Complete {
		t.Errorf("%v, %+v", err, done)
	}
	expectTags(t, allTags(t, importtest.Client(), c.server, bothRepos...), c.before)
	if c.server.StoredManifest("mirror/acme/tool", tool.String()) == nil {
		t.Error("the manifest is lost")
	}
	if !slices.ContainsFunc(done.Tags, func(r rollback.Row) bool { return strings.Contains(r.Reason, "it was put back") }) {
		t.Errorf("nothing is said of it: %+v", done.Tags)
	}
}

// A registry that deletes a manifest with all of its tags is asked to do so once, and what it took of others is put back.
func TestRollbackKeepsTagsOfOthers(t *testing.T) {
	c := carryOut(t)
	tool := c.after["mirror/acme/tool:1"]
	c.server.AddManifest("mirror/acme/tool", "mine", bundle.MediaTypeOCIManifest, c.server.StoredManifest("mirror/acme/tool", "1"))
	c.server.Inject(deletesManifests(c.server, false))
	done, err := c.rollback(t)
	if !errors.Is(err, rollback.ErrNotRolledBack) || !strings.Contains(err.Error(), "with all of its tags") {
		t.Errorf("%v", err)
	}
	got := allTags(t, importtest.Client(), c.server, bothRepos...)
	if got["mirror/acme/tool:mine"] != tool || c.server.StoredManifest("mirror/acme/tool", tool.String()) == nil {
		t.Errorf("%v", got)
	}
	tags := statuses(done)
	if n := c.server.Count("DELETE", "/mirror/acme/tool/"); n != 1 || tags["acme/app:1"] != restored || tags["acme/tool:1"] == tags["acme/tool:latest"] {
		t.Errorf("%d deletions, %v", n, tags)
	}
}

// Where the other tags of a manifest cannot be listed, nothing is deleted.
func TestRollbackInDoubt(t *testing.T) {
	c := carryOut(t)
	c.server.Inject(registrytest.On("GET", "/tags/list", registrytest.Code(http.StatusForbidden, "DENIED", "no")))
	done, err := c.rollback(t)
	if !errors.Is(err, rollback.ErrNotRolledBack) || !errors.Is(err, registry.ErrForbidden) || c.server.Count("DELETE", "") != 0 {
		t.Errorf("%v, %d deletions", err, c.server.Count("DELETE", ""))
	}
	expectStatuses(t, done, map[string]rollback.Status{"acme/app:1": restored, "acme/tool:1": failed, "acme/tool:latest": failed})
}

func TestRollbackEndsWhereNobodyAnswers(t *testing.T) {
	c := carryOut(t)
	c.server.Inject(registrytest.Drop())
	done, err := c.rollback(t)
	if !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "no tag was put back") || done.Changed {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.server.Inject()
	done, err = rollback.Run(ctx, c.imported, importtest.Client(), rollback.Options{Planned: func([]rollback.Row) { cancel() }})
	if !errors.Is(err, context.Canceled) || done.Changed || len(importtest.Writes(c.server)) != 0 {
		t.Errorf("%v, %v", err, importtest.Writes(c.server))
	}
}

// At Harbor: a rule that makes one tag immutable, and a robot that may push only, keep none of the others.
func TestRollbackIsRefusedByHarbor(t *testing.T) {
	_, first := importtest.Release(t, 1)
	_, second := importtest.Release(t, 2)
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "mirror"})
	pusher := importtest.HarborClient(t, s.AddRobot("mirror", "imp", harbortest.Push))
	first.Into(pusher, s.Host()+"/mirror")
	imported := second.Into(pusher, s.Host()+"/mirror")
	after := s.Tags("mirror/acme/tool")
	s.ChangeProject("mirror", func(p *harbortest.Project) { p.Rules = []harbortest.Rule{{Repository: "acme/app", Tag: "1"}} })

	done, err := rollback.Run(t.Context(), imported, pusher, rollback.Options{Harbor: importtest.HarborOf(t, pusher, s)})
	if !errors.Is(err, rollback.ErrNotRolledBack) || !errors.Is(err, harbor.ErrNotAllowed) ||
		!strings.Contains(err.Error(), "immutable") || !strings.Contains(err.Error(), `permission "delete" of "tag"`) {
		t.Errorf("%v", err)
	}
	expectStatuses(t, done, map[string]rollback.Status{"acme/app:1": failed, "acme/tool:1": failed, "acme/tool:latest": failed})
	if got := s.Tags("mirror/acme/tool"); len(got) != 2 || got["1"] != after["1"] {
		t.Errorf("%v", got)
	}
	// Cosign's tags are under no rule: the one of version 1 was not moved, the other is still there as robots may not delete.
	s.ChangeProject("mirror", func(p *harbortest.Project) { p.Rules = []harbortest.Rule{{Repository: "acme/tool", Tag: "latest"}} })
	admin := importtest.HarborClient(t, harbortest.Admin)
	done, err = rollback.Run(t.Context(), imported, admin, rollback.Options{Harbor: importtest.HarborOf(t, admin, s)})
	if !errors.Is(err, rollback.ErrNotRolledBack) || !errors.Is(err, harbor.ErrImmutable) || errors.Is(err, harbor.ErrNotAllowed) {
		t.Errorf("%v", err)
	}
	expectStatuses(t, done, map[string]rollback.Status{"acme/app:1": restored, "acme/tool:1": removed, "acme/tool:latest": failed})
}

// Content trust hides what nobody has signed from who would pull it, and not from a rollback.
func TestRollbackOfWhatHarborHides(t *testing.T) {
	_, first := importtest.Release(t, 1)
	_, second := importtest.Release(t, 2)
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "mirror"})
	robot := s.AddRobot("mirror", "imp", harbortest.Push, harbortest.DeleteTag, harbortest.ReadArtifacts)
	blind := importtest.HarborClient(t, s.AddRobot("mirror", "blind", harbortest.Push, harbortest.DeleteTag))
	c := importtest.HarborClient(t, robot)
	first.Into(c, s.Host()+"/mirror")
	before := s.Tags("mirror/acme/app")
	imported := second.Into(c, s.Host()+"/mirror")
	tool := s.Repo("mirror/acme/tool").Tag("1")
	s.ChangeProject("mirror", func(p *harbortest.Project) { p.ContentTrust = true })
	if _, err := c.Resolve(t.Context(), tool); err == nil || !strings.Contains(err.Error(), "412") {
		t.Fatalf("%s is not hidden: %v", tool, err)
	}

	done, err := rollback.Run(t.Context(), imported, blind, rollback.Options{Harbor: importtest.HarborOf(t, blind, s), DryRun: true})
	if !errors.Is(err, rollback.ErrNotRolledBack) || errors.Is(err, readback.ErrUnchecked) || !strings.Contains(err.Error(), "artifact:read") {
		t.Errorf("%v", err)
	}
	expectStatuses(t, done, map[string]rollback.Status{"acme/app:1": rollback.Restore, "acme/tool:1": failed, "acme/tool:latest": failed})

	done, err = rollback.Run(t.Context(), imported, c, rollback.Options{Harbor: importtest.HarborOf(t, c, s)})
	if err != nil {
		t.Error(err)
	}
	expectStatuses(t, done, map[string]rollback.Status{"acme/app:1": restored, "acme/tool:1": removed, "acme/tool:latest": removed})
	expectTags(t, s.Tags("mirror/acme/app"), before)
	if left := s.Tags("mirror/acme/tool"); len(left) != 0 {
		t.Errorf("%v", left)
	}
}
