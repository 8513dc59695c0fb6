package importer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/projects"
	"airgap/import/report"
	"airgap/import/rollback"
	"airgap/import/target"
)

// unanswered carries the first such write out, and drops its answer.
func unanswered(part string) registrytest.Fault {
	return registrytest.On(http.MethodPut, part, registrytest.Times(1, func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		next.ServeHTTP(httptest.NewRecorder(), r)
		return registrytest.Drop()(w, r, next)
	}))
}

// TestImmutableTagWhoseAnswerIsLost: the second try is refused, as the first has made the tag what it is to be.
func TestImmutableTagWhoseAnswerIsLost(t *testing.T) {
	h := newAtHarbor(t)
	h.s.AddProject(harbortest.Project{Name: "lab", Rules: []harbortest.Rule{{}}})
	h.s.Inject(unanswered("/lab/acme/tool/manifests/2"))
	done := h.works(harbortest.Admin, "lab")
	i := slices.IndexFunc(done.Tags, func(m report.TagMove) bool { return m.Tag == "2" })
	if done.Tags[i].Status != report.StatusMoved || h.s.Tags("lab/acme/tool")["2"] != h.Tool.Digest {
		t.Errorf("%+v", done.Tags[i])
	}
}

// TestTagInDoubt: of a tag that was written, after which nobody answered any more, the report knows where it was, and a
// rollback puts it back.
func TestTagInDoubt(t *testing.T) {
	h := newAtHarbor(t)
	h.s.AddProject(harbortest.Project{Name: "lab"})
	old := h.old("lab/acme/tool", "2")
	var written, down atomic.Bool
	h.s.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/acme/tool/manifests/2") && !written.Swap(true) {
			down.Store(true)
			next.ServeHTTP(httptest.NewRecorder(), r)
		}
		return down.Load() && registrytest.Drop()(w, r, next)
	})
	done, err := h.run(harbortest.Admin, "lab")
	i := slices.IndexFunc(done.Tags, func(m report.TagMove) bool { return m.Tag == "2" })
	if m := done.Tags[i]; !errors.Is(err, registry.ErrUnavailable) || m.Status != report.StatusInDoubt || m.Old != old {
		t.Fatalf("%v, %+v", err, m)
	}
	down.Store(false)
	if h.s.Tags("lab/acme/tool")["2"] != h.Tool.Digest {
		t.Fatal("the tag was not moved, so that nothing is tested")
	}
	content, err := json.Marshal(done)
	if err != nil {
		t.Fatal(err)
	}
	imported, err := report.Read(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	c := importtest.HarborClient(t, harbortest.Admin)
	back, err := rollback.Run(t.Context(), imported, c, rollback.Options{Harbor: importtest.HarborOf(t, c, h.s)})
	if err != nil || !back.Complete || h.s.Tags("lab/acme/tool")["2"] != old {
		t.Errorf("%v, %+v", err, back)
	}
}

// TestProjectInDoubt: Harbor goes away as it creates a project, which the error does not call nothing.
func TestProjectInDoubt(t *testing.T) {
	h := newAtHarbor(t)
	var down atomic.Bool
	h.s.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		// The first POST is the question whether projects may be created.
		if r.Method == http.MethodPost && r.URL.Path == "/api/v2.0/projects" && h.s.Count("POST", "/api/v2.0/projects") == 2 && !down.Swap(true) {
			next.ServeHTTP(httptest.NewRecorder(), r)
		}
		return down.Load() && registrytest.Drop()(w, r, next)
	})
	done, err := h.run(harbortest.Admin, "new", createProjects)
	if !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "new (perhaps)") || done.Projects[0].Status != projects.InDoubt {
		t.Errorf("%v, %+v", err, done.Projects)
	}
	if !slices.Contains(h.s.Projects(), "new") {
		t.Error("the project was not created, so that nothing is tested")
	}
}

// TestNoOverwriteOfWhatIsHidden: a tag stays that somebody makes during the import, also where a pull policy hides it.
func TestNoOverwriteOfWhatIsHidden(t *testing.T) {
	a := importtest.NewAcme(t)
	s := trusting(t)
	c := importtest.HarborClient(t, pushers(s))
	o := intoHarbor(t, s, c)
	o.NoOverwrite = true
	theirs := a.Report.Digest
	s.Inject(registrytest.On(http.MethodPut, "/manifests/sha256:", registrytest.Times(1, func(http.ResponseWriter, *http.Request, http.Handler) bool {
		s.AddManifest("acme/tool", "2", bundle.MediaTypeOCIManifest, a.Blobs[theirs])
		return false
	})))
	_, err := importer.Run(t.Context(), importtest.Open(t, a.File()), c, o)
	if !errors.Is(err, target.ErrConflict) || s.Tags("acme/tool")["2"] != theirs {
		t.Errorf("%v, %v", err, s.Tags("acme/tool"))
	}
}
