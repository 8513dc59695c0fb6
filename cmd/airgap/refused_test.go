package main

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"airgap/export/registry/registrytest"
)

// A target that does not take charts says so with the exit code of a target that does not take what is brought, whatever its
// own status means elsewhere, and gets no image.
func TestRefusedKindOfArtifact(t *testing.T) {
	c := exportFixture(t)
	const chart = "application/vnd.cncf.helm.config.v1+json"
	target := registrytest.New(t, registrytest.Faults(registrytest.On("PUT", "/manifests/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		return bytes.Contains(body, []byte(chart)) && registrytest.Code(http.StatusNotFound, "NOT_FOUND", "no charts here")(w, r, next)
	})))
	c.expect(t, exitConflict, "config "+chart+": refused by "+target.Host()+"/mirror/charts/demo", "import", c.file, target.Host()+"/mirror", "--key", c.public)
	for _, root := range c.fixture.Roots() {
		if target.StoredManifest("mirror/"+root.Repository, root.Tag) != nil {
			t.Errorf("%s was tagged", root.Reference())
		}
	}
	for repository, tag := range map[string]string{"acme/dhi-python": "3.13", "acme/docker": "1", "acme/legacy": "1.0"} {
		if target.StoredManifest("mirror/"+repository, c.fixture.Digest(t, repository, tag)) != nil {
			t.Errorf("the image %s:%s was pushed", repository, tag)
		}
	}
	if pushed := target.Count(http.MethodPut, "/manifests/"); pushed > 32 {
		t.Errorf("%d manifests were pushed first", pushed)
	}
}
