package importer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/parallel"
	"airgap/import/placing"
	"airgap/import/report"
	"airgap/import/target"
	"airgap/verify"
)

// The kinds of registries that everything must work with.
var targets = map[string][]registrytest.Option{
	"acknowledges":   {registrytest.AcknowledgeSubjects(), perRepository()},
	"referrers API":  {perRepository()},
	"fallback tags":  {registrytest.NoReferrersAPI(), perRepository()},
	"refuses mounts": {registrytest.AcknowledgeSubjects(), perRepository(), registrytest.Wrap(behind(refuseMounts))},
}

// refuseMounts makes the target answer mounts as what it takes them for, the begin of an upload.
func refuseMounts(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	if r.URL.Query().Get("mount") != "" {
		r.URL.RawQuery = ""
	}
	return false
}

// perRepository makes repositories keep their blobs apart, and mounts work.
func perRepository() registrytest.Option {
	return registrytest.Wrap(func(next http.Handler) http.Handler {
		return behind(registrytest.BlobsPerRepository())(behind(registrytest.Mounts())(next))
	})
}

func behind(fault registrytest.Fault) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return registrytest.Then(fault, next) }
}

func options(t testing.TB, s *registrytest.Server) importer.Options {
	t.Helper()
	d, err := placing.ParseDestination(s.Host() + "/mirror")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	return importer.Options{Rules: placing.Rules{Destination: d}, Recording: importer.Recording{Trust: importtest.Trust()}, TempDir: t.TempDir(), Now: func() time.Time { now = now.Add(time.Second); return now }}
}

func TestImport(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	for name, at := range targets {
		for _, way := range []string{"file", "pipe"} {
			t.Run(name+", "+way, func(t *testing.T) {
				s := registrytest.New(t, at...)
				b := importtest.Open(t, path)
				if way == "pipe" {
					b = importtest.OpenPipe(t, path)
				}
				done, err := importer.Run(t.Context(), b, importtest.Client(), options(t, s))
				if err != nil {
					t.Fatal(err)
				}
				expectAcme(t, a, s, name == "fallback tags")
				expectReport(t, a, done, name)
			})
		}
	}
}

// expectAcme reads the target as any client would, and compares it with the world.
func expectAcme(t *testing.T, a *importtest.Acme, s *registrytest.Server, fallback bool) {
	t.Helper()
	for _, image := range a.Images {
		repo := "mirror/" + image.Root.Path
		if image.Root.Tag != "" {
			importtest.ExpectManifest(t, s, repo, image.Root.Tag, a.Blobs[image.Root.Digest])
		}
		lists := map[bundle.Digest]map[string]bundle.Manifest{}
		for _, m := range image.Manifests {
			importtest.ExpectManifest(t, s, repo, m.Digest.String(), a.Blobs[m.Digest])
			if m.Tag != "" {
				importtest.ExpectManifest(t, s, repo, m.Tag, a.Blobs[m.Digest])
			}
			parsed := a.Parse(m.Digest)
			for _, blob := range parsed.Blobs() {
				expectBlob(t, a, s, repo, blob)
			}
			if parsed.Subject != nil {
				if lists[parsed.Subject.Digest] == nil {
					lists[parsed.Subject.Digest] = map[string]bundle.Manifest{}
				}
				lists[parsed.Subject.Digest][m.Digest.String()] = *parsed
			}
		}
		for subject, want := range lists {
			expectList(t, s, repo, subject, want, fallback)
		}
	}
}

func expectBlob(t *testing.T, a *importtest.Acme, s *registrytest.Server, repo string, want bundle.Descriptor) {
	t.Helper()
	status, body := get(t, s, "/v2/"+repo+"/blobs/"+want.Digest.String())
	if want.MediaType == importtest.ForeignType {
		if status != http.StatusNotFound {
			t.Errorf("the layer that may not be distributed is in %s", repo)
		}
	} else if status != http.StatusOK || body != string(a.Blobs[want.Digest]) {
		t.Errorf("%s: blob %s: status %d, %d bytes", repo, want.Digest, status, len(body))
	}
}

func get(t *testing.T, s *registrytest.Server, path string) (int, string) {
	t.Helper()
	response, err := http.Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func expectList(t *testing.T, s *registrytest.Server, repo string, subject bundle.Digest, want map[string]bundle.Manifest, fallback bool) {
	t.Helper()
	tag := "/v2/" + repo + "/manifests/" + subject.FallbackTag()
	list := tag
	if !fallback {
		list = "/v2/" + repo + "/referrers/" + subject.String()
		if status, _ := get(t, s, tag); status != http.StatusNotFound {
			t.Errorf("%s has a fallback tag for %s, and the API", repo, subject)
		}
	}
	var index bundle.Manifest
	if _, body := get(t, s, list); json.Unmarshal([]byte(body), &index) != nil {
		t.Fatalf("%s: %s", list, body)
	}
	var got []string
	for _, d := range index.Manifests {
		got = append(got, d.Digest.String())
		m := want[d.Digest.String()]
		if fallback && (d.ArtifactType != m.EffectiveArtifactType() || !maps.Equal(d.Annotations, m.Annotations)) {
			t.Errorf("%s: wrong descriptor %+v", list, d)
		}
	}
	slices.Sort(got)
	if expected := slices.Sorted(maps.Keys(want)); !slices.Equal(got, expected) {
		t.Errorf("%s:\n%v\nwant\n%v", list, got, expected)
	}
}

func expectReport(t *testing.T, a *importtest.Acme, done *report.Report, at string) {
	t.Helper()
	want := report.Work{
		// acme/app and other/app get 13 manifests each.
		ManifestsPushed: 2*13 + 1 + 1, TagsMoved: 4 + 4,
	}
	blobs := map[bundle.Digest]int{}
	for _, repo := range []string{"acme/app", "other/app", "acme/tool", "acme/report"} {
		seen := map[bundle.Digest]bool{}
		for _, image := range a.Images {
			for _, m := range image.Manifests {
				for _, b := range a.Parse(m.Digest).Blobs() {
					if image.Root.Path == repo && b.MediaType != importtest.ForeignType && !seen[b.Digest] {
						seen[b.Digest] = true
						blobs[b.Digest]++
					}
				}
			}
		}
	}
	for d, n := range blobs {
		size := int64(len(a.Blobs[d]))
		want.BlobsPushed, want.BytesPushed = want.BlobsPushed+1, want.BytesPushed+size
		want.BlobsMounted, want.BytesMounted = want.BlobsMounted+n-1, want.BytesMounted+size*int64(n-1)
	}
	if done.Planned != want {
		t.Errorf("planned %+v\nwant    %+v", done.Planned, want)
	}
	if at == "refuses mounts" {
		want.BlobsPushed, want.BlobsMounted = want.BlobsPushed+want.BlobsMounted, 0
		want.BytesPushed, want.BytesMounted = want.BytesPushed+want.BytesMounted, 0
	}
	if at == "fallback tags" {
		want.FallbackTags = 2 * 3
	}
	if done.Done != want {
		t.Errorf("done %+v\nwant %+v", done.Done, want)
	}
	if !done.Complete || !done.Changed || done.DryRun || done.Seconds != 1 {
		t.Errorf("%+v", done)
	}
	if !slices.Equal(done.Nondistributable, []bundle.Digest{a.Foreign.Digest}) {
		t.Errorf("left out: %v", done.Nondistributable)
	}
	for _, row := range done.Images {
		if row.Status != report.StatusPushed {
			t.Errorf("%+v", row)
		}
		if row.Digest == a.Index.Digest && (row.Referrers != 9 || !slices.Equal(row.Platforms, []string{"linux/amd64", "linux/arm64"})) {
			t.Errorf("%+v", row)
		}
	}
	if len(done.Images) != 5 || len(done.Referrers) != 3*9 || len(done.Tags) != 4+4 {
		t.Errorf("%d images, %d referrers, %d tags", len(done.Images), len(done.Referrers), len(done.Tags))
	}
	if _, err := json.Marshal(done); err != nil {
		t.Error(err)
	}
}

func TestAgainChangesNothing(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	for name, at := range targets {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, at...)
			if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s)); err != nil {
				t.Fatal(err)
			}
			s.Forget()
			done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s))
			if err != nil || done.Changed || !done.Complete {
				t.Errorf("%v, %+v", err, done)
			}
			if w := importtest.Writes(s); len(w) > 0 {
				t.Errorf("written: %v", w)
			}
			if d := done.Done; d.BlobsPushed+d.BlobsMounted+d.ManifestsPushed+d.TagsMoved != 0 || d.BlobsVouched == 0 || d.BytesVouched == 0 {
				t.Errorf("%+v", done.Done)
			}
			for _, tag := range done.Tags {
				if tag.Status != report.StatusUnchanged || tag.Old != tag.New {
					t.Errorf("%+v", tag)
				}
			}
		})
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := registrytest.New(t, targets["acknowledges"]...)
	old := s.AddManifest("mirror/acme/app", "latest", bundle.MediaTypeOCIManifest, a.Blobs[a.Tool.Digest])
	s.AddManifest("mirror/acme/app", "", bundle.MediaTypeOCIManifest, a.Blobs[a.Arm64.Digest])
	for _, b := range []bool{false, true} {
		o := options(t, s)
		o.DryRun = true
		checked := importtest.Open(t, path)
		if b {
			checked = importtest.OpenPipe(t, path)
		}
		done, err := importer.Run(t.Context(), checked, importtest.Client(), o)
		if err != nil {
			t.Fatal(err)
		}
		if w := importtest.Writes(s); len(w) > 0 {
			t.Errorf("written: %v", w)
		}
		if done.Changed || done.Complete || !done.DryRun || done.Done.BlobsPushed != 0 || done.Planned.ManifestsPresent != 1 || done.Planned.TagsMoved != 8 {
			t.Errorf("%+v", done)
		}
		i := slices.IndexFunc(done.Tags, func(m report.TagMove) bool { return m.Tag == "latest" })
		if m := done.Tags[i]; m.Old != old.Digest || m.New != a.Index.Digest || m.Status != report.StatusPlanned {
			t.Errorf("%+v", m)
		}
	}
}

// TestReportsAreAlike: the same import gives the same report.
func TestReportsAreAlike(t *testing.T) {
	path := importtest.NewAcme(t).File()
	var first []byte
	for range 3 {
		s := registrytest.New(t, targets["acknowledges"]...)
		done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s))
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(done)
		if err != nil {
			t.Fatal(err)
		}
		got = []byte(strings.ReplaceAll(string(got), s.Host(), "HOST"))
		if first == nil {
			first = got
		}
		if !reflect.DeepEqual(first, got) {
			t.Errorf("%s\n%s", first, got)
		}
	}
}

// tagsOf returns what the tags point to that people use.
func tagsOf(t *testing.T, a *importtest.Acme, s *registrytest.Server) map[string]string {
	t.Helper()
	tags := map[string]string{}
	for _, image := range a.Images {
		if image.Root.Tag != "" {
			if content := s.StoredManifest("mirror/"+image.Root.Path, image.Root.Tag); content != nil {
				tags[image.Root.Destination()] = bundle.DigestOf(content).String()
			}
		}
	}
	return tags
}

// TestEveryWriteFails lets one write after the other fail for good. No tag may move before all is there, and running
// it again must complete it.
func TestEveryWriteFails(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	for _, name := range []string{"acknowledges", "fallback tags"} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, targets[name]...)
			if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s)); err != nil {
				t.Fatal(err)
			}
			n := len(importtest.Writes(s))
			for k := 0; k < n; k++ {
				if k%5 != len(name)%5 && k < n-20 { // all of the last, where tags move
					continue
				}
				s := registrytest.New(t, targets[name]...)
				s.AddManifest("mirror/acme/app", "1", bundle.MediaTypeOCIManifest, a.Blobs[a.Tool.Digest])
				before := tagsOf(t, a, s)
				s.Inject(writesFrom(k, registrytest.Code(http.StatusInternalServerError, "UNKNOWN", "killed")))
				done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s))
				if err == nil || done == nil || done.Complete {
					t.Fatalf("write %d of %d failed: %v, %+v", k, n, err, done)
				}
				after := tagsOf(t, a, s)
				if !maps.Equal(before, after) && done.Done.TagsMoved == 0 {
					t.Errorf("write %d failed, and tags are %v instead of %v", k, after, before)
				}
				if strings.Contains(err.Error(), "no tag was moved") != maps.Equal(before, after) && k < n-8 {
					t.Errorf("write %d: %v, tags %v", k, err, after)
				}
				s.Inject()
				done, err = importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s))
				if err != nil || !done.Complete {
					t.Fatalf("after write %d failed: %v", k, err)
				}
				expectAcme(t, a, s, name == "fallback tags")
			}
		})
	}
}

// writesFrom lets a fault have all writes from number k on.
func writesFrom(k int, fault registrytest.Fault) registrytest.Fault {
	limited := registrytest.Between(k, 1<<30, fault)
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return r.Method != http.MethodGet && r.Method != http.MethodHead && limited(w, r, next)
	}
}

func TestSpoiledLayer(t *testing.T) {
	for _, way := range []string{"file", "pipe"} {
		t.Run(way, func(t *testing.T) {
			a := importtest.NewAcme(t)
			path := a.File()
			importtest.Spoil(t, path, a.Blobs[a.Large.Digest])
			s := registrytest.New(t, targets["acknowledges"]...)
			b := importtest.Open(t, path)
			if way == "pipe" {
				b = importtest.OpenPipe(t, path)
			}
			_, err := importer.Run(t.Context(), b, importtest.Client(), options(t, s))
			if !errors.Is(err, bundle.ErrDigest) {
				t.Fatal(err)
			}
			for _, part := range []string{"docker.io/acme/app:1", "linux/amd64", a.Large.Digest.String(), "no tag was moved"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
			if tags := tagsOf(t, a, s); len(tags) > 0 {
				t.Errorf("tags: %v", tags)
			}
			if s.StoredBlob("mirror/acme/app", a.Large.Digest) != nil || s.StoredManifest("mirror/acme/app", a.Index.Digest.String()) != nil {
				t.Error("the spoiled layer, or what needs it, was committed")
			}
		})
	}
}

// TestSpoiledButNotNeeded: what the target has is not read from a file, and counts apart; from a pipe it is read.
func TestSpoiledButNotNeeded(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := registrytest.New(t, targets["acknowledges"]...)
	if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s)); err != nil {
		t.Fatal(err)
	}
	importtest.Spoil(t, path, a.Blobs[a.Large.Digest])
	if done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), options(t, s)); err != nil || done.Done.BytesVouched < a.Large.Size {
		t.Error(err, done)
	}
	_, err := importer.Run(t.Context(), importtest.OpenPipe(t, path), importtest.Client(), options(t, s))
	if !errors.Is(err, bundle.ErrDigest) || !strings.Contains(err.Error(), "linux/amd64") {
		t.Error(err)
	}
}

func TestCosignTagConflict(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	s := registrytest.New(t, targets["acknowledges"]...)
	tag := a.Index.Digest.FallbackTag() + ".sig"
	for _, repo := range []string{"mirror/acme/app", "mirror/other/app"} {
		s.AddManifest(repo, tag, bundle.MediaTypeOCIManifest, a.Blobs[a.Tool.Digest])
	}
	o := options(t, s)
	done, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), o)
	if !errors.Is(err, target.ErrConflict) || len(importtest.Writes(s)) > 0 || done == nil {
		t.Fatalf("%v, %v", err, importtest.Writes(s))
	}
	for _, part := range []string{"mirror/acme/app:" + tag, "mirror/other/app:" + tag, a.Tool.Digest.String(), a.CosignSig.Digest.String(), "nothing was written"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	o.OverwriteCosignTags = true
	if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), o); err != nil {
		t.Fatal(err)
	}
	expectAcme(t, a, s, false)
}

// TestDamagedAtTarget: a blob of another size is no blob that is there.
// TestRootUnderCosignTag: an image may have a tag of its own under which cosign keeps signatures. It does not take the place of
// what is there unasked.
func TestRootUnderCosignTag(t *testing.T) {
	w := importtest.NewWorld(t)
	signed := w.Image("signed")
	tag := signed.Digest.FallbackTag() + ".sig"
	w.Root("example.com/app:"+tag, "app", tag, w.Image("root"))
	theirs := w.Image("signatures of others")
	s := registrytest.New(t, targets["acknowledges"]...)
	s.AddManifest("mirror/app", tag, bundle.MediaTypeOCIManifest, w.Blobs[theirs.Digest])
	o, b := options(t, s), w.File()
	if _, err := importer.Run(t.Context(), importtest.Open(t, b), importtest.Client(), o); !errors.Is(err, target.ErrConflict) || len(importtest.Writes(s)) > 0 {
		t.Errorf("%v, %v", err, importtest.Writes(s))
	}
	o.OverwriteCosignTags = true
	if done, err := importer.Run(t.Context(), importtest.Open(t, b), importtest.Client(), o); err != nil || done.Tags[0].Old != theirs.Digest || done.Tags[0].Cosign {
		t.Errorf("%v, %+v", err, done)
	}
}

func TestDamagedAtTarget(t *testing.T) {
	a := importtest.NewAcme(t)
	s := registrytest.New(t, targets["acknowledges"]...)
	s.Inject(registrytest.On("HEAD", a.Large.Digest.String(), registrytest.Answer(http.StatusOK, "", "Content-Length", "7")))
	_, err := importer.Run(t.Context(), importtest.Open(t, a.File()), importtest.Client(), options(t, s))
	if !errors.Is(err, target.ErrConflict) || !strings.Contains(err.Error(), "7 bytes") || len(importtest.Writes(s)) > 0 {
		t.Error(err)
	}
}

// TestRefusedRepositories: each repository that refuses is named once, and nothing is written to any.
func TestRefusedRepositories(t *testing.T) {
	a := importtest.NewAcme(t)
	s := registrytest.New(t, targets["acknowledges"]...)
	denied := registrytest.Code(http.StatusForbidden, "DENIED", "not yours")
	s.Inject(registrytest.On("", "/acme/tool/", denied), registrytest.On("", "/other/app/", denied))
	_, err := importer.Run(t.Context(), importtest.Open(t, a.File()), importtest.Client(), options(t, s))
	if !errors.Is(err, registry.ErrForbidden) || len(importtest.Writes(s)) > 0 {
		t.Fatal(err)
	}
	// Requests that were under way when the first was refused may be reported as well.
	for _, part := range []string{"mirror/acme/tool", "mirror/other/app"} {
		if n := strings.Count(err.Error(), part); n < 1 || n > parallel.DefaultJobs {
			t.Errorf("%s is named %d times in: %v", part, n, err)
		}
	}
}

func TestCancel(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	for _, way := range []string{"file", "pipe"} {
		for k := 0; k < 120; k += 7 {
			t.Run(fmt.Sprintf("%s at write %d", way, k), func(t *testing.T) {
				s := registrytest.New(t, targets["acknowledges"]...)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s.Inject(writesFrom(k, func(http.ResponseWriter, *http.Request, http.Handler) bool {
					cancel()
					return false
				}))
				b := importtest.Open(t, path)
				if way == "pipe" {
					b = importtest.OpenPipe(t, path)
				}
				done, err := importer.Run(ctx, b, importtest.Client(), options(t, s))
				if len(importtest.Writes(s)) <= k && err == nil {
					return // it was done before
				}
				moved := map[string]string{}
				for _, m := range done.Tags {
					if m.Status == report.StatusMoved && !m.Cosign {
						path := strings.TrimPrefix(m.Repository, s.Host()+"/mirror/")
						moved[path+":"+m.Tag] = m.New.String()
					}
				}
				if tags := tagsOf(t, a, s); !maps.Equal(tags, moved) {
					t.Errorf("tags %v, reported %v", tags, moved)
				}
				if err != context.Canceled || done.Complete {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// TestReadBack: what is read back differs.
func TestReadBack(t *testing.T) {
	a := importtest.NewAcme(t)
	s := registrytest.New(t, targets["acknowledges"]...)
	// Whoever pushes app:1 finds it changed at once; and one list is empty.
	s.Inject(
		registrytest.On("PUT", "/acme/app/manifests/1", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			next.ServeHTTP(w, r)
			s.AddManifest("mirror/acme/app", "1", bundle.MediaTypeOCIManifest, a.Blobs[a.Tool.Digest])
			return true
		}),
		registrytest.On("GET", "/other/app/referrers/"+a.Index.Digest.String(),
			registrytest.Answer(http.StatusOK, `{"schemaVersion":2,"manifests":[]}`, "Content-Type", bundle.MediaTypeOCIIndex)),
	)
	done, err := importer.Run(t.Context(), importtest.Open(t, a.File()), importtest.Client(), options(t, s))
	if !errors.Is(err, target.ErrDiffers) || done.Complete {
		t.Fatal(err)
	}
	for _, part := range []string{"mirror/acme/app:1 is " + a.Tool.Digest.String(), "mirror/other/app@" + a.Index.Digest.String()} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
}

// TestVanishesBeforeTags: a manifest that went missing while the import ran keeps all tags where they are.
func TestVanishesBeforeTags(t *testing.T) {
	a := importtest.NewAcme(t)
	s := registrytest.New(t, targets["acknowledges"]...)
	s.Inject(registrytest.On("", "/acme/app/manifests/"+a.Arm64.Digest.String(), func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return r.Method != "PUT" && registrytest.Code(http.StatusNotFound, "MANIFEST_UNKNOWN", "gone")(w, r, next)
	}))
	_, err := importer.Run(t.Context(), importtest.Open(t, a.File()), importtest.Client(), options(t, s))
	if !errors.Is(err, target.ErrDiffers) || !strings.Contains(err.Error(), a.Arm64.Digest.String()) || len(tagsOf(t, a, s)) > 0 {
		t.Error(err, tagsOf(t, a, s))
	}
}

// TestOrder: children before their index, subjects before referrers, referrers of one subject one at a time. Only the samples of
// two kinds of referrers come before everything.
func TestOrder(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	const early = 2
	for _, b := range []*verify.Bundle{importtest.OpenPipe(t, path), importtest.Open(t, path)} {
		s := registrytest.New(t, targets["acknowledges"]...)
		var watch watcher
		s.Inject(watch.fault(t, a))
		o := options(t, s)
		o.Jobs = 16
		if _, err := importer.Run(t.Context(), b, importtest.Client(), o); err != nil {
			t.Fatal(err)
		}
		if watch.early != early {
			t.Errorf("%d referrers arrived before their subjects, want %d", watch.early, early)
		}
	}
}
