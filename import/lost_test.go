package importer_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/target"
)

// acmeHarbor is a Harbor with the projects of acme.
func acmeHarbor(t testing.TB, opts ...harbortest.Option) *harbortest.Server {
	s := harbortest.New(t, opts...)
	s.AddProject(harbortest.Project{Name: "acme"})
	s.AddProject(harbortest.Project{Name: "other"})
	return s
}

// expectInHarbor compares all that a Harbor has with the world.
func expectInHarbor(t *testing.T, a *importtest.Acme, s *harbortest.Server) {
	t.Helper()
	for _, image := range a.Images {
		repo := image.Root.Path
		if image.Root.Tag != "" && s.Tags(repo)[image.Root.Tag] != image.Root.Digest {
			t.Errorf("%s:%s is %s", repo, image.Root.Tag, s.Tags(repo)[image.Root.Tag])
		}
		for _, m := range image.Manifests {
			if _, body := s.Manifest(repo, m.Digest.String()); string(body) != string(a.Blobs[m.Digest]) {
				t.Errorf("%s lacks %s", repo, m.Digest)
			}
			if m.Tag != "" && s.Tags(repo)[m.Tag] != m.Digest {
				t.Errorf("%s:%s is %s", repo, m.Tag, s.Tags(repo)[m.Tag])
			}
			for _, b := range a.Parse(m.Digest).Blobs() {
				if b.MediaType != importtest.ForeignType && string(s.Blob(repo, b.Digest)) != string(a.Blobs[b.Digest]) {
					t.Errorf("%s lacks the blob %s", repo, b.Digest)
				}
			}
		}
	}
}

// collect runs garbage collection once, before the request is answered that due is true for.
func collect(s *harbortest.Server, untagged bool, due func(*http.Request) bool) registrytest.Fault {
	var once sync.Once
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if due(r) {
			once.Do(func() { s.CollectGarbage(untagged) })
		}
		return false
	}
}

// moments in which garbage is collected.
func moments(s *harbortest.Server) map[string]registrytest.Fault {
	pushed := func(part string) bool { return s.Count("PUT", part) > 0 }
	return map[string]registrytest.Fault{
		"everything was pushed": collect(s, true, func(r *http.Request) bool {
			return r.Method == "HEAD" && strings.Contains(r.URL.Path, "/manifests/sha256:") && s.Count("PUT", ".sig") == 2 && s.Count("PUT", ".att") == 2
		}),
		"cosign's tags are moved": collect(s, true, func(r *http.Request) bool { return r.Method == "PUT" && strings.Contains(r.URL.Path, ".att") }),
		"blobs were pushed": collect(s, false, func(r *http.Request) bool {
			return r.Method == "PUT" && strings.Contains(r.URL.Path, "/manifests/sha256:")
		}),
		"some manifests were pushed": collect(s, true, func(r *http.Request) bool {
			return pushed("/manifests/sha256:") && r.Method == "PUT" && s.Count("PUT", "/manifests/sha256:") == 15
		}),
	}
}

// TestGarbageCollection: what garbage collection takes before the tags move is pushed again.
func TestGarbageCollection(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	for moment := range moments(nil) {
		t.Run(moment, func(t *testing.T) {
			s := acmeHarbor(t)
			c := importtest.HarborClient(t, harbortest.Admin)
			o := intoHarbor(t, s, c)
			s.Inject(moments(s)[moment])
			done, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
			if err != nil || !done.Complete {
				t.Fatal(err)
			}
			expectInHarbor(t, a, s)
			if n := s.Count("PUT", "/manifests/sha256:"); n <= 28 {
				t.Errorf("%d pushes of manifests: nothing was collected", n)
			}
		})
	}
}

// TestGarbageCollectionFromPipe: a layer that came through a pipe cannot be read again.
func TestGarbageCollectionFromPipe(t *testing.T) {
	a := importtest.NewAcme(t)
	s := acmeHarbor(t)
	c := importtest.HarborClient(t, harbortest.Admin)
	o := intoHarbor(t, s, c)
	s.Inject(moments(s)["everything was pushed"])
	_, err := importer.Run(t.Context(), importtest.OpenPipe(t, a.File()), c, o)
	if !errors.Is(err, target.ErrDiffers) {
		t.Fatal(err)
	}
	for _, want := range []string{"no tag was moved", "docker.io/acme/app:1", "cannot be read from the pipe again: run the command once more"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if tags := s.Tags("acme/tool"); len(tags) > 0 {
		t.Errorf("tags: %v", tags)
	}
}

// TestProofsLostFromPipe: configs and attestations of a bundle that came through a pipe were kept, and are pushed again, whether
// they are missed by a manifest that is pushed or when everything has been.
func TestProofsLostFromPipe(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	lost := a.Parse(a.Tool.Digest).Config.Digest
	manifest := "/acme/tool/manifests/" + a.Tool.Digest.String()
	for name, missed := range map[string]string{"by a manifest": http.MethodPut, "at the end": http.MethodHead} {
		t.Run(name, func(t *testing.T) {
			s := acmeHarbor(t)
			c := importtest.HarborClient(t, harbortest.Admin)
			o := intoHarbor(t, s, c)
			pushed := func() int { return s.Count(http.MethodPost, "/acme/tool/blobs/uploads/") }
			before := 0
			gone := func() bool { return before > 0 && pushed() == before }
			s.Inject(registrytest.On("", "/acme/tool/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				isManifest := strings.HasSuffix(r.URL.Path, manifest)
				if isManifest && r.Method == missed && before == 0 && s.Count(http.MethodPut, manifest) > 0 {
					before = pushed()
				}
				switch {
				case !gone():
					return false
				case isManifest && r.Method == http.MethodPut:
					return registrytest.Code(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")(w, r, next)
				case isManifest, strings.HasSuffix(r.URL.Path, lost.String()) && r.Method == http.MethodHead:
					return registrytest.NotFoundText()(w, r, next)
				}
				return false
			}))
			done, err := importer.Run(t.Context(), importtest.OpenPipe(t, path), c, o)
			if err != nil || !done.Complete {
				t.Fatal(err)
			}
			if before == 0 || pushed() != before+1 {
				t.Errorf("%d uploads and mounts, %d before the config was lost", pushed(), before)
			}
			expectInHarbor(t, a, s)
		})
	}
}

// TestManifestsLostFromPipe: manifests of a bundle that came through a pipe were kept, and are pushed again.
func TestManifestsLostFromPipe(t *testing.T) {
	a := importtest.NewAcme(t)
	s := acmeHarbor(t)
	c := importtest.HarborClient(t, harbortest.Admin)
	o := intoHarbor(t, s, c)
	// As after a collection that comes at once after the push, so that the blobs are still spared.
	place := "/acme/tool/manifests/" + a.Tool.Digest.String()
	s.Inject(reads(place, func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return s.Count("PUT", place) == 1 && registrytest.NotFoundText()(w, r, next)
	}))
	done, err := importer.Run(t.Context(), importtest.OpenPipe(t, a.File()), c, o)
	if err != nil || !done.Complete {
		t.Fatal(err)
	}
	if n := s.Count("PUT", place); n != 2 {
		t.Errorf("pushed %d times", n)
	}
	expectInHarbor(t, a, s)
}

// TestLostForEver: what is gone each time ends the import, with the tags where they were.
func TestLostForEver(t *testing.T) {
	a := importtest.NewAcme(t)
	s := acmeHarbor(t)
	c := importtest.HarborClient(t, harbortest.Admin)
	o := intoHarbor(t, s, c)
	old := s.AddManifest("acme/tool", "2", bundle.MediaTypeOCIManifest, a.Blobs[a.Report.Digest])
	s.Inject(reads("/other/app/manifests/"+a.Arm64.Digest.String(), registrytest.NotFoundText()))
	_, err := importer.Run(t.Context(), importtest.Open(t, a.File()), c, o)
	if !errors.Is(err, target.ErrDiffers) || !strings.Contains(err.Error(), a.Arm64.Digest.String()) || s.Tags("acme/tool")["2"] != old.Digest {
		t.Errorf("%v, %v", err, s.Tags("acme/tool"))
	}
	if n := s.Count("PUT", "/other/app/manifests/"+a.Arm64.Digest.String()); n != 4 {
		t.Errorf("pushed %d times", n)
	}
}

// reads has requests that look at something.
func reads(part string, fault registrytest.Fault) registrytest.Fault {
	return registrytest.On("", part, func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return (r.Method == http.MethodGet || r.Method == http.MethodHead) && fault(w, r, next)
	})
}

// after does something once such a request has been answered.
func after(method, part string, do func()) registrytest.Fault {
	return registrytest.On(method, part, func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		next.ServeHTTP(w, r)
		do()
		return true
	})
}
