package importer_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/target"
)

// foreignList is a list of referrers by somebody else, with things in it that airgap does not know.
func foreignList(a *importtest.Acme) (list []byte, entry string) {
	entry = `{"mediaType":"` + bundle.MediaTypeOCIManifest + `","digest":"` + a.Tool.Digest.String() + `","size":77,"artifactType":"application/vnd.foreign","data":"e30="}`
	return []byte(`{"annotations":{"by":"another"},"manifests":[` + entry + `],"mediaType":"` + bundle.MediaTypeOCIIndex + `","schemaVersion":2}`), entry
}

// expectMerged wants the foreign entry untouched, and all of ours once.
func expectMerged(t *testing.T, a *importtest.Acme, s *registrytest.Server) {
	t.Helper()
	got := string(s.StoredManifest("mirror/acme/app", a.Index.Digest.FallbackTag()))
	_, entry := foreignList(a)
	if !strings.Contains(got, entry) || !strings.Contains(got, `"by":"another"`) {
		t.Errorf("the foreign entry is gone or changed: %s", got)
	}
	var index bundle.Manifest
	if err := json.Unmarshal([]byte(got), &index); err != nil {
		t.Fatal(err)
	}
	digests := map[bundle.Digest]int{}
	for _, d := range index.Manifests {
		digests[d.Digest]++
	}
	if len(index.Manifests) != 6 || len(digests) != 6 || digests[a.Signature.Digest] != 1 {
		t.Errorf("%d entries, %d different: %s", len(index.Manifests), len(digests), got)
	}
}

func TestFallbackTagIsMerged(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := registrytest.New(t, targets["fallback tags"]...)
	list, _ := foreignList(a)
	s.AddManifest("mirror/acme/app", "", a.Tool.MediaType, a.Blobs[a.Tool.Digest]) // which go-containerregistry wants to see
	s.AddManifest("mirror/acme/app", a.Index.Digest.FallbackTag(), bundle.MediaTypeOCIIndex, list)
	for _, changed := range []bool{true, false} {
		done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s))
		if err != nil || done.Changed != changed {
			t.Fatal(err, done.Changed)
		}
		expectMerged(t, a, s)
	}
}

// overwrite lets another client, which does not look, overwrite the list just after it was written.
func overwrite(a *importtest.Acme, s *registrytest.Server, times int) registrytest.Fault {
	return registrytest.On("PUT", "/acme/app/manifests/"+a.Index.Digest.FallbackTag(), func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if strings.HasSuffix(r.URL.Path, ".sig") || times == 0 {
			return false
		}
		times-- // the list is written by one at a time
		next.ServeHTTP(w, r)
		list, _ := foreignList(a)
		s.AddManifest("mirror/acme/app", "", a.Tool.MediaType, a.Blobs[a.Tool.Digest])
		s.AddManifest("mirror/acme/app", a.Index.Digest.FallbackTag(), bundle.MediaTypeOCIIndex, list)
		return true
	})
}

func TestFallbackTagRace(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := registrytest.New(t, targets["fallback tags"]...)
	s.Inject(overwrite(a, s, 2))
	if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s)); err != nil {
		t.Fatal(err)
	}
	expectMerged(t, a, s)
}

func TestFallbackTagRaceLost(t *testing.T) {
	a := importtest.NewAcme(t)
	s := registrytest.New(t, targets["fallback tags"]...)
	s.Inject(overwrite(a, s, -1))
	_, err := importer.Run(t.Context(), importtest.Open(t, a.File()), importtest.Client(), options(t, s))
	if !errors.Is(err, target.ErrDiffers) || !strings.Contains(err.Error(), "other clients") || len(tagsOf(t, a, s)) > 0 {
		t.Error(err)
	}
}

// TestFallbackTagIsNoList: what is no list is not overwritten, and found before anything is written.
func TestFallbackTagIsNoList(t *testing.T) {
	a := importtest.NewAcme(t)
	s := registrytest.New(t, targets["fallback tags"]...)
	for _, platform := range []bundle.Descriptor{a.Amd64, a.Arm64} {
		s.AddManifest("mirror/acme/app", "", platform.MediaType, a.Blobs[platform.Digest])
	}
	s.AddManifest("mirror/acme/app", a.Amd64.Digest.FallbackTag(), a.Tool.MediaType, a.Blobs[a.Tool.Digest])
	_, err := importer.Run(t.Context(), importtest.Open(t, a.File()), importtest.Client(), options(t, s))
	if !errors.Is(err, target.ErrConflict) || !strings.Contains(err.Error(), a.Amd64.Digest.String()) || len(importtest.Writes(s)) > 0 {
		t.Error(err, importtest.Writes(s))
	}
}

// TestFallbackTagsAreRepaired: a run that ended between a referrer and its list is put right by the next.
func TestFallbackTagsAreRepaired(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := registrytest.New(t, targets["fallback tags"]...)
	if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s)); err != nil {
		t.Fatal(err)
	}
	tag := a.Sbom.Digest.FallbackTag()
	s.AddManifest("mirror/acme/app", tag, bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+bundle.MediaTypeOCIIndex+`"}`))
	s.Forget()
	if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s)); err != nil {
		t.Fatal(err)
	}
	expectAcme(t, a, s, true)
	if got := importtest.Writes(s); !slices.Equal(got, []string{"PUT /v2/mirror/acme/app/manifests/" + tag}) {
		t.Errorf("written: %v", got)
	}
}
