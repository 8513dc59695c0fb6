package harbor_test

import (
	"maps"
	"slices"
	"testing"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/export/registry/harbor/harbortest"
)

func TestDeleteTag(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab", Rules: []harbortest.Rule{{Tag: "v*"}}})
	body := []byte(`{"schemaVersion":2}`)
	image := s.AddManifest("lab/team/web", "one", bundle.MediaTypeOCIIndex, body)
	other := s.AddManifest("lab/team/web", "other", bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	for _, tag := range []string{"two", "v1"} {
		s.AddManifest("lab/team/web", tag, bundle.MediaTypeOCIIndex, body)
	}
	tags := func(want ...string) {
		t.Helper()
		if got := slices.Sorted(maps.Keys(s.Tags("lab/team/web"))); !slices.Equal(got, want) {
			t.Errorf("tags %q, want %q", got, want)
		}
	}
	c := find(t, s, s.AddRobot("lab", "imp", harbortest.Push, harbortest.DeleteTag))
	ok(t, c.DeleteTag(t.Context(), "lab", "team/web", image.Digest, "one"))
	tags("other", "two", "v1")
	if !slices.Contains(s.Artifacts("lab/team/web"), image.Digest) {
		t.Error("the artifact is gone")
	}
	err := c.DeleteTag(t.Context(), "lab", "team/web", image.Digest, "one")
	wantError(t, err, `delete the tag "one" of lab/team/web@sha256:`, registry.ErrNotFound)
	err = c.DeleteTag(t.Context(), "lab", "team/web", other.Digest, "two") // of another artifact
	wantError(t, err, "404", registry.ErrNotFound)
	err = c.DeleteTag(t.Context(), "lab", "team/web", image.Digest, "v1")
	wantError(t, err, "immutable", harbor.ErrImmutable)
	pusher := find(t, s, s.AddRobot("lab", "push", harbortest.Push))
	err = pusher.DeleteTag(t.Context(), "lab", "team/web", image.Digest, "two")
	wantError(t, err, "403", harbor.ErrNotAllowed, registry.ErrForbidden)
	s.Forget()
	for _, wrong := range [][3]string{{"..", "team/web", "two"}, {"lab", "../web", "two"}, {"lab", "team/web", "../two"}, {"lab", "team/web", ""}} {
		if err := c.DeleteTag(t.Context(), wrong[0], wrong[1], image.Digest, wrong[2]); err == nil {
			t.Errorf("%q: no error", wrong)
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests for names that are none", n)
	}
	tags("other", "two", "v1")
}
