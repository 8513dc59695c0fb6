package importer_test

import (
	"errors"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/transfer"
)

// What refers to an image goes to the repository that the bundle names for it, with all that refers to that; cosign's
// tags stay beside what they are about.
func TestReferrersGoToTheirOwnRepository(t *testing.T) {
	w := importtest.NewWorld(t)
	platform := w.Image("amd64", w.Layer(1000))
	index := w.Manifest(bundle.MediaTypeOCIIndex, bundle.Manifest{Manifests: []bundle.Descriptor{platform}})
	sbom := w.Referrer(platform, importtest.SbomType, "sbom")
	signature := w.Referrer(sbom, importtest.SigstoreType, "signature of the sbom")
	tagged := w.Referrer(bundle.Descriptor{}, importtest.SigstoreType, "cosign 2")
	w.CosignTag(index, tagged, ".sig")
	w.Root("example.com/from:1", "app", "1", index)
	w.Images[0].Root.ReferrerPath = "proofs/app"
	s := registrytest.New(t, targets["acknowledges"]...)
	done, err := importer.Run(t.Context(), importtest.Open(t, w.File()), importtest.Client(), options(t, s))
	if err != nil {
		t.Fatal(err)
	}
	const app, proofs = "mirror/app", "mirror/proofs/app"
	for d, want := range map[bundle.Digest][]string{
		index.Digest: {app}, platform.Digest: {app}, tagged.Digest: {app}, sbom.Digest: {proofs}, signature.Digest: {proofs},
	} {
		for _, repo := range []string{app, proofs} {
			status, _ := get(t, s, "/v2/"+repo+"/manifests/"+d.String())
			if has := status == http.StatusOK; has != slices.Contains(want, repo) {
				t.Errorf("%s in %s: %t", d, repo, has)
			}
		}
	}
	expectList(t, s, proofs, platform.Digest, map[string]bundle.Manifest{sbom.Digest.String(): {}}, false)
	expectList(t, s, proofs, sbom.Digest, map[string]bundle.Manifest{signature.Digest.String(): {}}, false)
	for _, row := range done.Referrers {
		if want := row.CosignTag == ""; strings.HasSuffix(row.Repository, "proofs/app") != want {
			t.Errorf("%s is reported in %s", row.Digest, row.Repository)
		}
	}
}

// A target that does not take an index with missing manifests says so before a blob is sent.
func TestSparseIndexIsPushedFirst(t *testing.T) {
	w := importtest.NewWorld(t)
	carried, left := w.Image("amd64", w.Layer(1000)), w.Image("s390x", w.Layer(1000))
	index := w.Manifest(bundle.MediaTypeOCIIndex, bundle.Manifest{Manifests: []bundle.Descriptor{carried, left}})
	w.Root("example.com/from:1", "app", "1", index)
	root := &w.Images[0]
	root.Root.Platforms = []string{"linux/amd64"}
	root.Manifests = slices.DeleteFunc(root.Manifests, func(r bundle.ManifestRow) bool { return r.Digest == left.Digest })
	file := w.File()

	strict := registrytest.New(t) // go-containerregistry's registry looks for every manifest of an index
	_, err := importer.Run(t.Context(), importtest.Open(t, file), importtest.Client(), options(t, strict))
	if !errors.Is(err, transfer.ErrSparse) || !strings.Contains(err.Error(), "--platform-mode rewrite") {
		t.Errorf("at a target that refuses: %v", err)
	}
	if uploads := strict.Count(http.MethodPost, "/blobs/"); uploads > 0 {
		t.Errorf("%d uploads were begun before it was found out", uploads)
	}

	lenient := registrytest.New(t, registrytest.Wrap(takesSparse))
	if _, err := importer.Run(t.Context(), importtest.Open(t, file), importtest.Client(), options(t, lenient)); err != nil {
		t.Fatalf("at a target that does not mind: %v", err)
	}
	for reference, want := range map[string]int{"1": http.StatusOK, index.Digest.String(): http.StatusOK, carried.Digest.String(): http.StatusOK, left.Digest.String(): http.StatusNotFound} {
		if status, _ := get(t, lenient, "/v2/mirror/app/manifests/"+reference); status != want {
			t.Errorf("%s: status %d, want %d", reference, status, want)
		}
	}
}

// takesSparse keeps by itself the indexes that the registry behind it refuses, as registries do that do not look for the
// manifests of an index.
func takesSparse(next http.Handler) http.Handler {
	var mu sync.Mutex
	kept := map[string][]byte{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		content, have := kept[r.URL.Path]
		switch {
		case r.Method == http.MethodPut && r.Header.Get("Content-Type") == bundle.MediaTypeOCIIndex:
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			kept[r.URL.Path] = body
			kept[path.Dir(r.URL.Path)+"/"+bundle.DigestOf(body).String()] = body
			w.WriteHeader(http.StatusCreated)
		case have:
			w.Header().Set("Content-Type", bundle.MediaTypeOCIIndex)
			w.Header().Set("Docker-Content-Digest", bundle.DigestOf(content).String())
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(content)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
