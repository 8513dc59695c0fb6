package bundletest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
)

// TestClosureOfHardenedImage counts what README.md in testdata/fixtures promises. A fixture that has lost
// something would make every test that compares with it pass too easily.
func TestClosureOfHardenedImage(t *testing.T) {
	f := LoadFixture(t)
	closure := f.Closure(t, Root{"acme/dhi-python", "3.13", f.Digest(t, "acme/dhi-python", "3.13")})
	inImages, bundles := 0, 0
	for _, m := range closure.Manifests {
		if m.Registry == Images {
			inImages++
		} else if m.ArtifactType == "application/vnd.dev.sigstore.bundle.v0.3+json" && m.Subject != "" {
			bundles++
		}
	}
	if inImages != 5 || bundles != 22 || len(closure.Manifests) != 27 {
		t.Errorf("%d manifests, %d of them in images and %d bundles elsewhere; want 27, 5 and 22",
			len(closure.Manifests), inImages, bundles)
	}
	for _, m := range closure.Manifests {
		if m.Registry == Images && m.MediaType == ociIndex && len(f.Referrers(m.Digest)) != 1 {
			t.Errorf("the index has %d referrers, want 1", len(f.Referrers(m.Digest)))
		}
	}
}

// TestClosureFollowsCosignTags needs the tag on what is behind another tag.
func TestClosureFollowsCosignTags(t *testing.T) {
	f := LoadFixture(t)
	closure := f.Closure(t, Root{"acme/legacy", "1.0", f.Digest(t, "acme/legacy", "1.0")})
	if want := f.Repository(t, Images, "acme/legacy").Tags; !maps.Equal(closure.Tags, want) {
		t.Errorf("tags %v, want %v", closure.Tags, want)
	}
	if len(closure.Manifests) != 14 {
		t.Errorf("%d manifests, want 14", len(closure.Manifests))
	}
}

func TestRootsCoverTheFixture(t *testing.T) {
	f := LoadFixture(t)
	covered := map[string]bool{}
	var references []string
	for _, root := range f.Roots() {
		references = append(references, root.Reference())
		for _, m := range f.Closure(t, root).Manifests {
			covered[m.Digest] = true
		}
	}
	want := []string{
		"acme/dhi-python:3.13", "acme/docker:1", "acme/foreign:1", "acme/legacy:1.0",
		"acme/notation:1.0", "acme/report:2026", "acme/report:all", "charts/demo:0.1.0",
	}
	if !slices.Equal(references, want) {
		t.Errorf("roots %v, want %v", references, want)
	}
	for digest := range f.byDigest {
		if !covered[digest] {
			t.Errorf("manifest %s hangs from no root", digest)
		}
	}
}

// TestPush reads back from the registry what was pushed: the referrers through the API where there is
// one, and otherwise through fallback tags, of which there are none where there is the API.
func TestPush(t *testing.T) {
	for name, api := range map[string]bool{"referrers API": true, "fallback tags": false} {
		t.Run(name, func(t *testing.T) {
			f := LoadFixture(t)
			hosts := map[string]string{Images: StartRegistry(t, api), Attestations: StartRegistry(t, api)}
			f.Push(t, hosts)
			for _, r := range f.Repositories {
				base := "http://" + hosts[r.Registry] + "/v2/" + r.Name
				for _, blob := range r.Blobs {
					expectStatus(t, base+"/blobs/"+blob, http.StatusOK)
				}
				for tag, digest := range r.Tags {
					if got := expectStatus(t, base+"/manifests/"+tag, http.StatusOK); string(got) != string(f.Blob(t, digest)) {
						t.Errorf("%s:%s is not %s", r.Name, tag, digest)
					}
				}
				for _, m := range r.Manifests {
					expectStatus(t, base+"/manifests/"+m.Digest, http.StatusOK)
					if m.Subject != "" {
						expectReferrers(t, f, base, m.Subject, api)
					}
				}
			}
		})
	}
}

func expectReferrers(t *testing.T, f *Fixture, base, subject string, api bool) {
	t.Helper()
	listing := base + "/referrers/" + subject
	if fallback := base + "/manifests/" + FallbackTag(subject); api {
		expectStatus(t, fallback, http.StatusNotFound)
	} else {
		listing = fallback
	}
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(expectStatus(t, listing, http.StatusOK), &index); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range index.Manifests {
		got = append(got, m.Digest)
		if full := f.Manifest(t, m.Digest); !api && m.ArtifactType != full.ArtifactType || m.Size != len(full.Bytes) {
			t.Errorf("%s: wrong descriptor %+v", listing, m)
		}
	}
	for _, m := range f.Referrers(subject) {
		want = append(want, m.Digest)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s has %v, want %v", listing, got, want)
	}
}

func expectStatus(t *testing.T, url string, status int) []byte {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		t.Errorf("%s: %s, %v; want status %d", url, response.Status, err, status)
	}
	return body
}
