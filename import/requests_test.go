package importer_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/report"
)

// byKind counts requests by what they are about.
func byKind(requests []registrytest.Request) map[string]int {
	kinds := map[string]int{}
	for _, r := range requests {
		kind := "other"
		for _, part := range []string{"/accessories", "/artifacts", "/tags/list", "/referrers/", "/manifests/sha256-", "/manifests/sha256:", "/manifests/", "/blobs/uploads/", "/blobs/"} {
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
			if got := byKind(s.Requests()); !maps.Equal(got, want) {
				t.Errorf("%v\nwant %v", got, want)
			}
			s.Forget()
			o := options(t, s)
			o.Thorough = true
			done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), o)
			if err != nil || done.Changed {
				t.Fatal(err)
			}
			got := byKind(s.Requests())
			if blobs := got[http.MethodHead+" /blobs/"]; blobs != done.Done.BlobsPresent || got["HEAD /manifests/sha256:"] != done.Done.ManifestsPresent {
				t.Errorf("%v of %d blobs and %d manifests", got, done.Done.BlobsPresent, done.Done.ManifestsPresent)
			}
		})
	}
}

// TestRequestsOfNoChangeInHarbor: one listing of a repository, and one manifest that proves it, stand for what they list. An
// account that may not see listings asks for all of that.
func TestRequestsOfNoChangeInHarbor(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	asked := map[string]int{
		"GET /artifacts":          2, // refused
		"HEAD /manifests/":        4,
		"HEAD /manifests/sha256-": 2 * 2,
		"HEAD /manifests/sha256:": 2*6 + 1,
		"GET /referrers/":         2 * 3,
		"GET /accessories":        2 * 3,
	}
	listed := map[string]int{
		"GET /artifacts":          2, // of the two repositories to which enough goes
		"HEAD /manifests/":        1, // to the third goes one tag
		"HEAD /manifests/sha256-": 2, // signatures are accessories, of which no tag is listed
		// What refers to the child of an index, or to what refers to something, is not listed: the SBOM and what signs it.
		"HEAD /manifests/sha256:": 2*(1+2) + 1,
		"GET /referrers/":         2 * 3,
		"GET /accessories":        2 * 2,
	}
	for name, test := range map[string]struct {
		account  func(*harbortest.Server) harbortest.Account
		thorough bool
		want     map[string]int
	}{
		"listed": {account: func(s *harbortest.Server) harbortest.Account {
			return pushers(s, harbortest.ListArtifacts, harbortest.ListAccessories)
		}, want: listed},
		"withheld": {account: func(s *harbortest.Server) harbortest.Account { return pushers(s, harbortest.ListAccessories) }, want: asked},
		"thorough": {account: func(*harbortest.Server) harbortest.Account { return harbortest.Admin }, thorough: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := acmeHarbor(t)
			c := importtest.HarborClient(t, test.account(s))
			o := intoHarbor(t, s, c)
			first, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
			if err != nil {
				t.Fatal(err)
			}
			s.Forget()
			o.Thorough = test.thorough
			done, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
			if err != nil || done.Changed || !done.Complete {
				t.Fatalf("%v, %+v", err, done)
			}
			if !slices.Equal(done.Notes, first.Notes) || len(done.Unchecked) > 0 {
				t.Errorf("%q, %q\nbefore: %q", done.Notes, done.Unchecked, first.Notes)
			}
			got := byKind(s.Requests())
			if test.thorough {
				if got["GET /artifacts"] != 0 || got["HEAD /blobs/"] != done.Done.BlobsPresent || got["HEAD /manifests/sha256:"] != done.Done.ManifestsPresent {
					t.Errorf("%v", got)
				}
				return
			}
			delete(got, "GET other") // what Harbor is, and what the projects allow
			delete(got, "HEAD other")
			if !maps.Equal(got, test.want) {
				t.Errorf("%v\nwant %v", got, test.want)
			}
		})
	}
}

// inHarbor imports a bundle into a new Harbor, and returns how to do that once more.
func inHarbor(t *testing.T, path string) (s *harbortest.Server, again func() *report.Report) {
	t.Helper()
	s = acmeHarbor(t)
	c := importtest.HarborClient(t, harbortest.Admin)
	o := intoHarbor(t, s, c)
	again = func() *report.Report {
		t.Helper()
		done, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
		if err != nil || !done.Complete {
			t.Fatalf("%v, %+v", err, done)
		}
		return done
	}
	again()
	s.Forget()
	return s, again
}

// TestListedInHarbor: what has changed in Harbor since an import is seen though the rest is taken from listings.
func TestListedInHarbor(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	for name, change := range map[string]func(t *testing.T, s *harbortest.Server){
		"a tag points elsewhere": func(_ *testing.T, s *harbortest.Server) {
			s.AddManifest("acme/app", "latest", bundle.MediaTypeOCIManifest, a.Blobs[a.Tool.Digest])
		},
		"a referrer is gone": func(t *testing.T, s *harbortest.Server) {
			remove(t, s, "acme", "app", s.Accessories("acme/app", a.Index.Digest)[0].Digest.String())
		},
		"an image is gone":     func(t *testing.T, s *harbortest.Server) { remove(t, s, "acme", "app", a.Index.Digest.String()) },
		"a repository is gone": func(t *testing.T, s *harbortest.Server) { remove(t, s, "acme", "app", "") },
	} {
		t.Run(name, func(t *testing.T) {
			s, again := inHarbor(t, path)
			change(t, s)
			if done := again(); !done.Changed || s.Count("GET", "/artifacts") == 0 {
				t.Errorf("%+v", done)
			}
			expectInHarbor(t, a, s)
		})
	}
}

// TestStorageLostInHarbor: Harbor's database still lists what its storage has lost, and the registry does not have.
func TestStorageLostInHarbor(t *testing.T) {
	a := importtest.NewAcme(t)
	s, again := inHarbor(t, a.File())
	s.Inject(reads("/v2/acme/app/manifests/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return s.Count(http.MethodPut, "/v2/acme/app/manifests/") == 0 && registrytest.NotFoundText()(w, r, next)
	}))
	again()
	for _, m := range a.Images[0].Manifests {
		if s.Count(http.MethodPut, "/acme/app/manifests/"+m.Digest.String()) == 0 {
			t.Errorf("%s was not pushed again", m.Digest)
		}
	}
}

// TestLargeRepositoryInHarbor: where much more is listed than the bundle brings, one page says so, and all is asked for.
func TestLargeRepositoryInHarbor(t *testing.T) {
	a := importtest.NewAcme(t)
	s, again := inHarbor(t, a.File())
	for i := range 150 {
		s.AddManifest("acme/app", "", bundle.MediaTypeOCIManifest, fmt.Appendf(nil, `{"schemaVersion":2,"annotations":{"n":"%d"}}`, i))
	}
	if done := again(); done.Changed {
		t.Errorf("%+v", done)
	}
	pages := 0
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, "/acme/repositories/app/artifacts") {
			pages++
		}
	}
	if tags := s.Count(http.MethodHead, "/v2/acme/app/manifests/latest"); pages != 1 || tags != 1 {
		t.Errorf("%d pages, and the tag was asked for %d times", pages, tags)
	}
}

// remove deletes an artifact, or with "" a repository, by Harbor's API.
func remove(t *testing.T, s *harbortest.Server, project, repository, digest string) {
	t.Helper()
	path := "/api/v2.0/projects/" + project + "/repositories/" + repository
	if digest != "" {
		path += "/artifacts/" + digest
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+s.Host()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(harbortest.Admin.Name, harbortest.Admin.Secret)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
}

// TestRequestsOfFirstImport: of a repository that the target does not know, nothing is asked that costs as much as to push it.
func TestRequestsOfFirstImport(t *testing.T) {
	const images = 6
	w := importtest.NewWorld(t)
	large := w.Layer(100 << 10)
	for i := range images {
		w.Root(fmt.Sprintf("example.com/app:%d", i), "app", strconv.Itoa(i), w.Image(strconv.Itoa(i), large))
	}
	path := w.File()
	s := registrytest.New(t)
	run := func() (*report.Report, map[string]int) {
		t.Helper()
		s.Forget()
		done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s))
		if err != nil {
			t.Fatal(err)
		}
		return done, byKind(s.Requests())
	}
	want := map[string]int{
		"GET other":               2, // /v2/
		"POST /blobs/uploads/":    images + 1,
		"PUT /blobs/uploads/":     images + 1,
		"PUT /manifests/sha256:":  images,
		"PUT /manifests/":         images,
		"GET /tags/list":          2,          // before anything is written, and before tags are moved
		"HEAD /manifests/sha256:": 1 + images, // the first one, and all once more before tags are moved
		"HEAD /manifests/":        1 + images, // the first one, and all when they are read back
		"HEAD /blobs/":            2,          // the first one, and the large one
	}
	done, got := run()
	if !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if done.Done.BlobsPushed != images+1 || done.Done.ManifestsPushed != images || done.Done.TagsMoved != images {
		t.Errorf("%+v", done.Done)
	}
}

// TestUntaggedContent: a repository without tags is unknown to distribution, whatever a run before has left there. That is asked
// for, and not pushed again.
func TestUntaggedContent(t *testing.T) {
	w := importtest.NewWorld(t)
	for i := range 6 {
		w.Root(fmt.Sprintf("example.com/app:%d", i), "app", strconv.Itoa(i), w.Image(strconv.Itoa(i), w.Layer(100)))
	}
	path := w.File()
	s := registrytest.New(t)
	refuse := registrytest.On(http.MethodPut, "/manifests/0", registrytest.Times(1, registrytest.Code(http.StatusForbidden, "DENIED", "no tags today")))
	s.Inject(refuse, registrytest.On(http.MethodGet, "/tags/list", registrytest.NameUnknown()))
	o := options(t, s)
	o.Jobs = 1
	if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), o); err == nil {
		t.Fatal("the tag was taken")
	}
	s.Forget()
	done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range importtest.Writes(s) {
		if strings.Contains(write, "/blobs/") || strings.Contains(write, "sha256:") {
			t.Error(write)
		}
	}
	if done.Done.TagsMoved != 6 || done.Done.BlobsPresent != 12 || done.Done.ManifestsPresent != 6 {
		t.Errorf("%+v", done.Done)
	}
}
