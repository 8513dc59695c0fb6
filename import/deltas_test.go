package importer_test

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/placing"
	"airgap/import/report"
	"airgap/import/stranded"
	"airgap/import/target"
)

// brings imports a bundle, which must go well.
func brings(t *testing.T, s *registrytest.Server, path string, change func(*importer.Options)) *report.Report {
	t.Helper()
	o := options(t, s)
	if change != nil {
		change(&o)
	}
	done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), o)
	if err != nil || !done.Complete {
		t.Fatalf("%v, %+v", err, done)
	}
	return done
}

// expectWeek compares the target with what the source had in a week.
func expectWeek(t *testing.T, w *importtest.Weekly, s *registrytest.Server, week int, repo string) {
	t.Helper()
	built := w.Built[week-1]
	importtest.ExpectManifest(t, s, repo, "1", w.Blobs[built.Digest])
	for _, blob := range w.Parse(built.Digest).Blobs() {
		expectBlob(t, &importtest.Acme{World: w.World}, s, repo, blob)
	}
}

func TestDeltas(t *testing.T) {
	w := importtest.NewWeekly(t, 3)
	for name, at := range targets {
		for _, way := range []string{"file", "pipe"} {
			t.Run(name+", "+way, func(t *testing.T) {
				s := registrytest.New(t, at...)
				for week, path := range w.Files {
					s.Forget()
					b := importtest.Open(t, path)
					if way == "pipe" {
						b = importtest.OpenPipe(t, path)
					}
					done, err := importer.Run(t.Context(), b, importtest.Client(), options(t, s))
					if err != nil || !done.Complete || done.Want != nil {
						t.Fatalf("%v, %+v", err, done)
					}
					if done.Mirror != "acme" || done.Sequence != uint64(week+1) || done.Identity != b.ManifestIndex() {
						t.Errorf("%s@%d %s", done.Mirror, done.Sequence, done.Identity)
					}
					expectWeek(t, w, s, week+1, "mirror/acme/app")
					// The SBOM and the new layer; the config and the layer below it are left out.
					if sent := done.Done.BlobsPushed; week > 0 && (sent > 3 || done.Done.BytesPushed > 2000) {
						t.Errorf("week %d: %d blobs of %d bytes", week+1, sent, done.Done.BytesPushed)
					}
				}
			})
		}
	}
}

// TestStranded: nothing is written where the target lacks what is left out; the list says what, by the bundle that stores it.
func TestStranded(t *testing.T) {
	w := importtest.NewWeekly(t, 3)
	for name, change := range map[string]func(*importer.Options){
		"import": nil, "dry run": func(o *importer.Options) { o.DryRun = true },
	} {
		for _, way := range []string{"file", "pipe"} {
			t.Run(name+", "+way, func(t *testing.T) {
				s := registrytest.New(t, targets["acknowledges"]...)
				o := options(t, s)
				if change != nil {
					change(&o)
				}
				b := importtest.Open(t, w.Files[2])
				if way == "pipe" {
					b = importtest.OpenPipe(t, w.Files[2])
				}
				done, err := importer.Run(t.Context(), b, importtest.Client(), o)
				first := importtest.BaseOf(t, w.Files[0])
				if !errors.Is(err, stranded.ErrStranded) || !strings.Contains(err.Error(), first.String()) {
					t.Fatal(err)
				}
				if writes := importtest.Writes(s); len(writes) > 0 {
					t.Errorf("%q", writes)
				}
				var written bytes.Buffer
				if err := done.Want.Write(&written); err != nil {
					t.Fatal(err)
				}
				want, err := ledger.ReadWant(&written)
				if err != nil {
					t.Fatal(err)
				}
				if want.Completes != importtest.BaseOf(t, w.Files[2]) || len(want.Blobs) != 5 || done.Planned.BytesPushed > 2000 {
					t.Errorf("%+v, planned %+v", want, done.Planned)
				}
				at := slices.IndexFunc(want.Blobs, func(b ledger.WantedBlob) bool { return b.Digest == w.Base.Digest })
				if at < 0 || want.Blobs[at].StoredBy != first || len(want.Blobs[at].Manifests) != 2 || !slices.Contains(want.Blobs[at].Manifests, w.Built[2].Digest) {
					t.Errorf("%+v", want.Blobs)
				}
			})
		}
	}
}

// gone makes a blob be in no repository.
func gone(d bundle.Digest) registrytest.Fault {
	return reads("/blobs/"+d.String(), registrytest.NotFoundText())
}

// TestLayerLostInBetween: a layer that the manifest of last week vouches for is looked for all the same where this week's needs it.
func TestLayerLostInBetween(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := registrytest.New(t, targets["acknowledges"]...)
	brings(t, s, w.Files[0], nil)
	s.Inject(gone(w.Base.Digest))
	s.Forget()
	done, err := importer.Run(t.Context(), importtest.Open(t, w.Files[1]), importtest.Client(), options(t, s))
	if !errors.Is(err, stranded.ErrStranded) || len(done.Want.Blobs) != 1 || done.Want.Blobs[0].Digest != w.Base.Digest {
		t.Errorf("%v, %+v", err, done.Want)
	}
	if writes := importtest.Writes(s); len(writes) > 0 {
		t.Errorf("%q", writes)
	}
}

// TestVouchedFor: what nothing needs that is pushed is not asked for.
func TestVouchedFor(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := registrytest.New(t, targets["acknowledges"]...)
	brings(t, s, w.Files[0], nil)
	brings(t, s, w.Files[1], nil)
	s.Forget()
	if done := brings(t, s, w.Files[1], nil); done.Changed || s.Count(http.MethodHead, "/blobs/") > 0 {
		t.Errorf("%+v", done)
	}
	s.Forget()
	done := brings(t, s, w.Files[1], func(o *importer.Options) { o.Thorough = true })
	if asked := s.Count(http.MethodHead, "/blobs/"); asked != done.Done.BlobsPresent {
		t.Errorf("asked for %d of %d blobs", asked, done.Done.BlobsPresent)
	}
}

// moves makes images go to another repository than before.
func moves(t *testing.T) func(*importer.Options) {
	t.Helper()
	mapping, err := placing.ParseMapping("docker.io/acme/app=mirror/moved/app")
	if err != nil {
		t.Fatal(err)
	}
	return func(o *importer.Options) { o.Map = append(o.Map, mapping) }
}

// TestMovedRepository: what is left out is taken from the repository of the target that has it, by a copy where it is not
// mounted.
func TestMovedRepository(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	for name, at := range targets {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, at...)
			// The tool is in the repository from which the app moves.
			mapping, err := placing.ParseMapping("docker.io/acme/tool=mirror/acme/app:tool")
			if err != nil {
				t.Fatal(err)
			}
			both := func(o *importer.Options) { o.Map = append(o.Map, mapping) }
			brings(t, s, w.Files[0], both)
			done := brings(t, s, w.Files[1], func(o *importer.Options) { both(o); moves(t)(o) })
			expectWeek(t, w, s, 2, "mirror/moved/app")
			if mounted := name != "refuses mounts"; mounted != (done.Done.BytesPushed < 2000) {
				t.Errorf("%+v", done.Done)
			}
		})
	}
}

// TestCopyIsChecked: what is read from another repository counts only with the right digest.
func TestCopyIsChecked(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := registrytest.New(t, targets["refuses mounts"]...)
	mapping, err := placing.ParseMapping("docker.io/acme/tool=mirror/acme/app:tool")
	if err != nil {
		t.Fatal(err)
	}
	both := func(o *importer.Options) { o.Map = append(o.Map, mapping) }
	brings(t, s, w.Files[0], both)
	s.Inject(registrytest.On(http.MethodGet, "/blobs/"+w.Base.Digest.String(), registrytest.Spoil()))
	o := options(t, s)
	both(&o)
	moves(t)(&o)
	_, err = importer.Run(t.Context(), importtest.Open(t, w.Files[1]), importtest.Client(), o)
	if !errors.Is(err, bundle.ErrDigest) || !strings.Contains(err.Error(), w.Base.Digest.String()) {
		t.Error(err)
	}
	if s.StoredManifest("mirror/moved/app", "1") != nil {
		t.Error("the tag was written")
	}
}

// TestOtherSizeAtTarget: what is there under the name of a blob and has another size is no blob to stand on.
func TestOtherSizeAtTarget(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := registrytest.New(t, targets["acknowledges"]...)
	brings(t, s, w.Files[0], nil)
	s.Inject(registrytest.On(http.MethodHead, "/blobs/"+w.Base.Digest.String(), registrytest.Answer(http.StatusOK, "", "Content-Length", "7")))
	s.Forget()
	_, err := importer.Run(t.Context(), importtest.Open(t, w.Files[1]), importtest.Client(), options(t, s))
	if writes := importtest.Writes(s); !errors.Is(err, target.ErrConflict) || len(writes) > 0 {
		t.Errorf("%v, %q", err, writes)
	}
}

// TestSupplement: a supplement completes a delta, whichever is imported first.
func TestSupplement(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	supplement := w.Supplement(w.Files[1], "acme/app", w.Built...)
	for name, before := range map[string]bool{"before": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, targets["acknowledges"]...)
			only := func(o *importer.Options) { o.Only = []string{"*/acme/app*"} }
			if !before {
				o := options(t, s)
				only(&o)
				if _, err := importer.Run(t.Context(), importtest.Open(t, w.Files[1]), importtest.Client(), o); !errors.Is(err, stranded.ErrStranded) {
					t.Fatal(err)
				}
			}
			if done := brings(t, s, supplement, nil); done.Sequence != 0 || done.Mirror != "acme" || done.Done.TagsMoved > 0 {
				t.Errorf("%+v", done)
			}
			brings(t, s, w.Files[1], only)
			expectWeek(t, w, s, 2, "mirror/acme/app")
		})
	}
}

// TestDeltasInHarbor: in Harbor as well, where other repositories of the project are looked into.
func TestDeltasInHarbor(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := acmeHarbor(t)
	s.AddProject(harbortest.Project{Name: "mirror"})
	c := importtest.HarborClient(t, harbortest.Admin)
	run := func(path string, change func(*importer.Options)) (*report.Report, error) {
		t.Helper()
		o := intoHarbor(t, s, c)
		o.Destination.Prefix = "mirror"
		if change != nil {
			change(&o)
		}
		return importer.Run(t.Context(), importtest.Open(t, path), c, o)
	}
	if _, err := run(w.Files[1], nil); !errors.Is(err, stranded.ErrStranded) {
		t.Fatal(err)
	}
	if done, err := run(w.Files[0], nil); err != nil || !done.Complete {
		t.Fatal(err)
	}
	done, err := run(w.Files[1], func(o *importer.Options) { moves(t)(o); o.Only = []string{"*/acme/app*"} })
	if err != nil || !done.Complete || done.Done.BytesPushed > 2000 {
		t.Fatalf("%v, %+v", err, done.Done)
	}
	if s.Tags("mirror/moved/app")["1"] != w.Built[1].Digest || s.Blob("mirror/moved/app", w.Base.Digest) == nil {
		t.Errorf("%v", s.Tags("mirror/moved/app"))
	}
}

// TestLostDuringImport: what is left out and gets lost while the import is under way is named, and no tag moves.
func TestLostDuringImport(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := registrytest.New(t, targets["acknowledges"]...)
	brings(t, s, w.Files[0], nil)
	built := "/manifests/" + w.Built[1].Digest.String()
	isLost := func() bool { return s.Count(http.MethodPut, built) > 0 }
	s.Inject(
		registrytest.On(http.MethodPut, built, registrytest.Code(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")),
		reads("/blobs/"+w.Base.Digest.String(), func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
			return isLost() && registrytest.NotFoundText()(rw, r, next)
		}),
	)
	_, err := importer.Run(t.Context(), importtest.Open(t, w.Files[1]), importtest.Client(), options(t, s))
	if !errors.Is(err, target.ErrDiffers) || !strings.Contains(err.Error(), w.Base.Digest.String()) || !strings.Contains(err.Error(), "leaves it out") {
		t.Error(err)
	}
	importtest.ExpectManifest(t, s, "mirror/acme/app", "1", w.Blobs[w.Built[0].Digest])
}

// TestCollectedInHarbor: what was deleted and collected since the last bundle is found before anything is written, and what stores
// it can be imported once more.
func TestCollectedInHarbor(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := acmeHarbor(t)
	c := importtest.HarborClient(t, harbortest.Admin)
	run := func(path string) error {
		t.Helper()
		_, err := importer.Run(t.Context(), importtest.Open(t, path), c, intoHarbor(t, s, c))
		return err
	}
	if err := run(w.Files[0]); err != nil {
		t.Fatal(err)
	}
	remove(t, s, "acme", "app", "")
	s.Advance(3 * time.Hour)
	s.CollectGarbage(true)
	s.Forget()
	if err := run(w.Files[1]); !errors.Is(err, stranded.ErrStranded) || len(s.Writes()) > 0 {
		t.Errorf("%v, %q", err, s.Writes())
	}
	for _, path := range w.Files {
		if err := run(path); err != nil {
			t.Fatal(err)
		}
	}
	if s.Tags("acme/app")["1"] != w.Built[1].Digest {
		t.Errorf("%v", s.Tags("acme/app"))
	}
}
