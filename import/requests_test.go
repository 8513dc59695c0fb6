package importer_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
)

// byKind counts requests by what they are about.
func byKind(s *registrytest.Server) map[string]int {
	kinds := map[string]int{}
	for _, r := range s.Requests() {
		kind := "other"
		for _, part := range []string{"/referrers/", "/manifests/sha256-", "/manifests/sha256:", "/manifests/", "/blobs/uploads/", "/blobs/"} {
			if strings.Contains(r.Path, part) {
				kind = part
				break
			}
		}
		kinds[r.Method+" "+kind]++
	}
	return kinds
}

// TestRequestsOfNoChange: an import that changes nothing asks once for each tag, for each manifest that no index lists which is
// there, and for each subject with referrers. What these vouch for is not asked for one by one, unless that is wanted.
func TestRequestsOfNoChange(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	asked := map[string]int{
		"GET other":               2,     // /v2/, of which one tells the time
		"HEAD /manifests/":        4,     // tags of people
		"HEAD /manifests/sha256-": 2 * 2, // tags of cosign
		// In two repositories an SBOM, what signs it, three signatures, and an index that lists the fourth; and an artifact.
		"HEAD /manifests/sha256:": 2*6 + 1,
		"GET /referrers/":         2 * 3, // of the index, of an image and of the SBOM
	}
	withLists := maps.Clone(asked)
	withLists["GET /manifests/sha256-"] = 2 * 3 // where there is no referrers API
	for name, want := range map[string]map[string]int{"acknowledges": asked, "referrers API": asked, "fallback tags": withLists} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, targets[name]...)
			for range 2 {
				s.Forget()
				if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s)); err != nil {
					t.Fatal(err)
				}
			}
			if got := byKind(s); !maps.Equal(got, want) {
				t.Errorf("%v\nwant %v", got, want)
			}
			s.Forget()
			o := options(t, s)
			o.Thorough = true
			done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), o)
			if err != nil || done.Changed {
				t.Fatal(err)
			}
			got := byKind(s)
			if blobs := got[http.MethodHead+" /blobs/"]; blobs != done.Done.BlobsPresent || got["HEAD /manifests/sha256:"] != done.Done.ManifestsPresent {
				t.Errorf("%v of %d blobs and %d manifests", got, done.Done.BlobsPresent, done.Done.ManifestsPresent)
			}
		})
	}
}
