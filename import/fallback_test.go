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
	"airgap/import/target"
)

// foreignList is a list of referrers by somebody else, with things in it that airgap does not know.
func foreignList(a *acme) (list []byte, entry string) {
	entry = `{"mediaType":"` + bundle.MediaTypeOCIManifest + `","digest":"` + a.tool.Digest.String() + `","size":77,"artifactType":"application/vnd.foreign","data":"e30="}`
	return []byte(`{"annotations":{"by":"another"},"manifests":[` + entry + `],"mediaType":"` + bundle.MediaTypeOCIIndex + `","schemaVersion":2}`), entry
}

// expectMerged wants the foreign entry untouched, and all of ours once.
func expectMerged(t *testing.T, a *acme, s *registrytest.Server) {
	t.Helper()
	got := string(s.StoredManifest("mirror/acme/app", a.index.Digest.FallbackTag()))
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
	if len(index.Manifests) != 6 || len(digests) != 6 || digests[a.signature.Digest] != 1 {
		t.Errorf("%d entries, %d different: %s", len(index.Manifests), len(digests), got)
	}
}

func TestFallbackTagIsMerged(t *testing.T) {
	a := newAcme(t)
	path := a.file()
	s := registrytest.New(t, targets["fallback tags"]...)
	list, _ := foreignList(a)
	s.AddManifest("mirror/acme/app", "", a.tool.MediaType, a.blobs[a.tool.Digest]) // which go-containerregistry wants to see
	s.AddManifest("mirror/acme/app", a.index.Digest.FallbackTag(), bundle.MediaTypeOCIIndex, list)
	for _, changed := range []bool{true, false} {
		done, err := importer.Run(t.Context(), open(t, path), client(), options(t, s))
		if err != nil || done.Changed != changed {
			t.Fatal(err, done.Changed)
		}
		expectMerged(t, a, s)
	}
}

// overwrite lets another client, which does not look, overwrite the list just after it was written.
func overwrite(a *acme, s *registrytest.Server, times int) registrytest.Fault {
	return registrytest.On("PUT", "/acme/app/manifests/"+a.index.Digest.FallbackTag(), func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if strings.HasSuffix(r.URL.Path, ".sig") || times == 0 {
			return false
		}
		times-- // the list is written by one at a time
		next.ServeHTTP(w, r)
		list, _ := foreignList(a)
		s.AddManifest("mirror/acme/app", "", a.tool.MediaType, a.blobs[a.tool.Digest])
		s.AddManifest("mirror/acme/app", a.index.Digest.FallbackTag(), bundle.MediaTypeOCIIndex, list)
		return true
	})
}

func TestFallbackTagRace(t *testing.T) {
	a := newAcme(t)
	path := a.file()
	s := registrytest.New(t, targets["fallback tags"]...)
	s.Inject(overwrite(a, s, 2))
	if _, err := importer.Run(t.Context(), open(t, path), client(), options(t, s)); err != nil {
		t.Fatal(err)
	}
	expectMerged(t, a, s)
}

func TestFallbackTagRaceLost(t *testing.T) {
	a := newAcme(t)
	s := registrytest.New(t, targets["fallback tags"]...)
	s.Inject(overwrite(a, s, -1))
	_, err := importer.Run(t.Context(), open(t, a.file()), client(), options(t, s))
	if !errors.Is(err, target.ErrDiffers) || !strings.Contains(err.Error(), "other clients") || len(tagsOf(t, a, s)) > 0 {
		t.Error(err)
	}
}

// TestFallbackTagIsNoList: what is no list is not overwritten, and found before anything is written.
func TestFallbackTagIsNoList(t *testing.T) {
	a := newAcme(t)
	s := registrytest.New(t, targets["fallback tags"]...)
	for _, platform := range []bundle.Descriptor{a.amd64, a.arm64} {
		s.AddManifest("mirror/acme/app", "", platform.MediaType, a.blobs[platform.Digest])
	}
	s.AddManifest("mirror/acme/app", a.amd64.Digest.FallbackTag(), a.tool.MediaType, a.blobs[a.tool.Digest])
	_, err := importer.Run(t.Context(), open(t, a.file()), client(), options(t, s))
	if !errors.Is(err, target.ErrConflict) || !strings.Contains(err.Error(), a.amd64.Digest.String()) || len(writes(s)) > 0 {
		t.Error(err, writes(s))
	}
}

// TestFallbackTagsAreRepaired: a run that ended between a referrer and its list is put right by the next.
func TestFallbackTagsAreRepaired(t *testing.T) {
	a := newAcme(t)
	path := a.file()
	s := registrytest.New(t, targets["fallback tags"]...)
	if _, err := importer.Run(t.Context(), open(t, path), client(), options(t, s)); err != nil {
		t.Fatal(err)
	}
	tag := a.sbom.Digest.FallbackTag()
	s.AddManifest("mirror/acme/app", tag, bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+bundle.MediaTypeOCIIndex+`"}`))
	s.Forget()
	if _, err := importer.Run(t.Context(), open(t, path), client(), options(t, s)); err != nil {
		t.Fatal(err)
	}
	expectAcme(t, a, s, true)
	if got := writes(s); !slices.Equal(got, []string{"PUT /v2/mirror/acme/app/manifests/" + tag}) {
		t.Errorf("written: %v", got)
	}
}
