package importer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor/harbortest"
	importer "airgap/import"
	"airgap/import/finding"
	"airgap/import/importtest"
	"airgap/import/readback"
	"airgap/import/report"
	"airgap/import/rollback"
	"airgap/import/target"
)

// trusting is a Harbor whose projects hide what is not signed. Of acme, all but the index is not.
func trusting(t testing.TB) *harbortest.Server {
	s := acmeHarbor(t)
	for _, project := range []string{"acme", "other"} {
		s.ChangeProject(project, func(p *harbortest.Project) { p.ContentTrust = true })
	}
	return s
}

// pushers may push, and may look past policies as well or not.
func pushers(s *harbortest.Server, more ...harbortest.Right) harbortest.Account {
	rights := append([]harbortest.Right{harbortest.Push}, more...)
	return s.AddSystemRobot("import", map[string][]harbortest.Right{"acme": rights, "other": rights})
}

// TestPullPolicy: what a policy hides is seen by Harbor's API, so that it is read back, found to be there, and skipped
// where tags cannot be moved.
func TestPullPolicy(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := trusting(t)
	c := importtest.HarborClient(t, pushers(s, harbortest.ReadArtifacts))
	o := intoHarbor(t, s, c)
	old := s.AddManifest("acme/tool", "2", bundle.MediaTypeOCIManifest, a.Blobs[a.Report.Digest])
	done, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
	if err != nil || !done.Complete || len(done.Unchecked) > 0 {
		t.Fatalf("%v, %+v", err, done)
	}
	expectInHarbor(t, a, s)
	i := slices.IndexFunc(done.Tags, func(m report.TagMove) bool { return m.Tag == "2" })
	if m := done.Tags[i]; m.Old != old.Digest || m.OldUnknown || m.Status != report.StatusMoved {
		t.Errorf("%+v", m)
	}
	if done.Done.ManifestsPresent != 0 {
		t.Errorf("%+v", done.Done)
	}
	for _, project := range []string{"acme", "other"} {
		s.ChangeProject(project, func(p *harbortest.Project) { p.Rules = []harbortest.Rule{{}} })
	}
	s.Forget()
	done, err = importer.Run(t.Context(), importtest.Open(t, path), c, o)
	if err != nil || done.Changed || !done.Complete || len(s.Writes()) > 0 {
		t.Errorf("%v, %v, %+v", err, s.Writes(), done.Done)
	}
}

// TestPullPolicyThatCannotBeSeenThrough: all is written, and what could not be read back is told.
func TestPullPolicyThatCannotBeSeenThrough(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := trusting(t)
	c := importtest.HarborClient(t, pushers(s))
	o := intoHarbor(t, s, c)
	s.AddManifest("acme/tool", "2", bundle.MediaTypeOCIManifest, a.Blobs[a.Report.Digest])
	s.Inject(moments(s)["everything was pushed"])
	done, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
	if !errors.Is(err, readback.ErrUnchecked) || errors.Is(err, target.ErrDiffers) || !strings.Contains(err.Error(), "artifact:read") {
		t.Fatal(err)
	}
	expectInHarbor(t, a, s)
	att := a.Arm64.Digest.FallbackTag() + ".att"
	want := []string{"acme/app:" + att, "acme/tool:2", "other/app:" + att}
	for i := range want {
		want[i] = s.Host() + "/" + want[i]
	}
	if !slices.Equal(done.Unchecked, want) || done.Complete || !done.Changed {
		t.Errorf("%+v", done)
	}
	for _, m := range done.Tags {
		if m.OldUnknown != (m.Tag == "2") || m.Status != report.StatusMoved || !m.Old.IsZero() {
			t.Errorf("%+v", m)
		}
	}

	// A rollback cannot know where that tag was, and must not take it for a new one.
	content, err := json.Marshal(done)
	if err != nil {
		t.Fatal(err)
	}
	imported, err := report.Read(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	admin := importtest.HarborClient(t, harbortest.Admin)
	back, err := rollback.Run(t.Context(), imported, admin, rollback.Options{Harbor: intoHarbor(t, s, admin).Harbor})
	i := slices.IndexFunc(back.Tags, func(row rollback.Row) bool { return row.Tag == "2" })
	if !errors.Is(err, rollback.ErrNotRolledBack) || back.Tags[i].Status != rollback.Failed || !strings.Contains(back.Tags[i].Reason, "pull policy hid") {
		t.Errorf("rollback: %v, %+v", err, back.Tags[i])
	}
	if _, there := s.Tags("acme/tool")["2"]; !there {
		t.Error("the rollback has removed a tag that was there before the import")
	}
	if _, err := importer.Run(t.Context(), importtest.Open(t, path), c, o); !errors.Is(err, readback.ErrUnchecked) {
		t.Fatal(err)
	}

	// What is to be protected cannot be, if nobody knows what it is.
	s.Forget()
	careful := o
	careful.NoOverwrite = true
	if _, err := importer.Run(t.Context(), importtest.Open(t, path), c, careful); !errors.Is(err, finding.ErrBlocked) || !strings.Contains(err.Error(), "acme/tool:2") {
		t.Errorf("--no-overwrite: %v", err)
	}

	// What is under cosign's tags now nobody knows, and it is not overwritten unasked.
	s.Forget()
	_, err = importer.Run(t.Context(), importtest.Open(t, path), c, o)
	if !errors.Is(err, target.ErrConflict) || errors.Is(err, readback.ErrUnchecked) || !strings.Contains(err.Error(), att) || len(s.Writes()) > 0 {
		t.Errorf("%v, %v", err, s.Writes())
	}
	o.OverwriteCosignTags = true
	done, err = importer.Run(t.Context(), importtest.Open(t, path), c, o)
	if !errors.Is(err, readback.ErrUnchecked) || done.Done.BlobsPushed+done.Done.BlobsMounted > 0 {
		t.Errorf("%v, %+v", err, done.Done)
	}
	expectInHarbor(t, a, s)
}

// TestImmutableTagThatCannotBeSeen: it is refused, right or not, and the error says what would help.
func TestImmutableTagThatCannotBeSeen(t *testing.T) {
	w := importtest.NewWorld(t)
	image := w.Image("tool", w.Layer(1000))
	w.Root("docker.io/acme/tool:2", "acme/tool", "2", image)
	s := trusting(t)
	s.AddManifest("acme/tool", "2", bundle.MediaTypeOCIManifest, w.Blobs[image.Digest])
	s.ChangeProject("acme", func(p *harbortest.Project) { p.Rules = []harbortest.Rule{{}} })
	c := importtest.HarborClient(t, pushers(s))
	_, err := importer.Run(t.Context(), importtest.Open(t, w.File()), c, intoHarbor(t, s, c))
	if err == nil || !strings.Contains(err.Error(), "immutable") || !strings.Contains(err.Error(), "artifact:read") {
		t.Error(err)
	}

	// Who may see the rules is told before anything is written.
	s.Forget()
	knowing := importtest.HarborClient(t, s.AddSystemRobot("knowing", map[string][]harbortest.Right{"acme": {harbortest.Push, harbortest.ListImmutableRules}}))
	done, err := importer.Run(t.Context(), importtest.Open(t, w.File()), knowing, intoHarbor(t, s, knowing))
	if !errors.Is(err, finding.ErrBlocked) || len(s.Writes()) > 0 {
		t.Fatalf("%v, %v", err, s.Writes())
	}
	expectFinding(t, done, finding.Blocks, finding.CheckImmutable, s.Host()+"/acme/tool:2", "artifact:read")
}

// TestPullPolicyAndDifference: what differs counts more than what is hidden.
func TestPullPolicyAndDifference(t *testing.T) {
	a := importtest.NewAcme(t)
	s := trusting(t)
	c := importtest.HarborClient(t, pushers(s))
	o := intoHarbor(t, s, c)
	s.Inject(after("PUT", "/acme/app/manifests/1", func() {
		s.AddManifest("acme/app", "1", bundle.MediaTypeOCIManifest, a.Blobs[a.CosignSig.Digest])
	}))
	done, err := importer.Run(t.Context(), importtest.Open(t, a.File()), c, o)
	if !errors.Is(err, target.ErrDiffers) || errors.Is(err, readback.ErrUnchecked) || len(done.Unchecked) == 0 {
		t.Errorf("%v, %+v", err, done.Unchecked)
	}
}

// TestPullPolicyBelowPrefix: Harbor's API is asked for what the registry is asked for, where the client puts a prefix before
// each repository.
func TestPullPolicyBelowPrefix(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab", ContentTrust: true})
	who := s.AddRobot("lab", "imp", harbortest.Push, harbortest.ReadArtifacts, harbortest.DeleteTag)
	c := registry.New(registry.Config{
		Keychain: who.Keychain(),
		Host: func(string) registry.HostConfig {
			return registry.HostConfig{PlainHTTP: true, PathPrefix: "lab/mirror"}
		},
	})
	t.Cleanup(c.CloseIdleConnections)
	o := intoHarbor(t, s, c)
	done, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
	if err != nil || !done.Complete || s.Tags("lab/mirror/acme/tool")["2"] != a.Tool.Digest {
		t.Fatalf("%v, %v", err, s.Tags("lab/mirror/acme/tool"))
	}
	content, err := json.Marshal(done)
	if err != nil {
		t.Fatal(err)
	}
	imported, err := report.Read(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rollback.Run(t.Context(), imported, c, rollback.Options{Harbor: o.Harbor}); err != nil || len(s.Tags("lab/mirror/acme/tool")) > 0 {
		t.Errorf("%v, %v", err, s.Tags("lab/mirror/acme/tool"))
	}
}
