package registry_test

import (
	"errors"
	"net/http"
	"testing"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/registrytest"
)

func TestDeleteTag(t *testing.T) {
	s := registrytest.New(t)
	image := s.AddManifest("acme/app", "1", bundle.MediaTypeOCIManifest, []byte(`{"schemaVersion":2}`))
	s.AddManifest("acme/app", "latest", bundle.MediaTypeOCIManifest, []byte(`{"schemaVersion":2}`))
	c := newClient(t, nil)
	repo := s.Repo("acme/app")
	for label, answer := range map[string]struct {
		fault registrytest.Fault
		want  error
	}{
		"disabled":       {registrytest.Code(http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported"), registry.ErrNoDeletion},
		"by digest only": {registrytest.Code(http.StatusBadRequest, "DIGEST_INVALID", "invalid digest"), registry.ErrNoDeletion},
		"not here":       {registrytest.Code(http.StatusNotFound, "UNSUPPORTED", "unsupported"), registry.ErrNoDeletion},
		"not allowed":    {registrytest.Code(http.StatusForbidden, "DENIED", "denied"), registry.ErrForbidden},
	} {
		s.Inject(registrytest.On("DELETE", "/manifests/", answer.fault))
		if err := c.DeleteTag(t.Context(), repo.Tag("1")); !errors.Is(err, answer.want) {
			t.Errorf("%s: %v, want %v", label, err, answer.want)
		}
	}
	s.Inject()
	if err := c.DeleteTag(t.Context(), repo.Tag("1")); err != nil {
		t.Fatal(err)
	}
	if s.StoredManifest("acme/app", "1") != nil || s.StoredManifest("acme/app", "latest") == nil || s.StoredManifest("acme/app", image.Digest.String()) == nil {
		t.Error("the tag is there, or something else is not")
	}
	if err := c.DeleteTag(t.Context(), repo.Tag("1")); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a second time: %v", err)
	}
}

// The token is asked for with the one action that it takes.
func TestDeleteTagScope(t *testing.T) {
	login := &registrytest.Login{User: user, Password: password}
	s := registrytest.New(t, registrytest.Wrap(login.Guard))
	s.AddManifest("acme/app", "1", bundle.MediaTypeOCIManifest, []byte(`{"schemaVersion":2}`))
	c := newClient(t, withKeychain(ada))
	if err := c.DeleteTag(t.Context(), s.Repo("acme/app").Tag("1")); err != nil {
		t.Fatal(err)
	}
	if s.StoredManifest("acme/app", "1") != nil {
		t.Error("the tag is still there")
	}
}
