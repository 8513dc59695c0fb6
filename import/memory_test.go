package importer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/export/registry/repository"
	importer "airgap/import"
	"airgap/import/finding"
	"airgap/import/importtest"
	"airgap/import/placing"
	"airgap/import/prune"
	"airgap/import/record"
	"airgap/import/report"
	"airgap/verify"
	"airgap/verify/signature"
)

// recordAt opens the record of a target as others do.
func recordAt(s *registrytest.Server, path string) ledger.Repository {
	return repository.New(importtest.Client(), s.Repo(path))
}

// recording imports a bundle into a target that keeps a record.
func recording(t *testing.T, s *registrytest.Server, path string, change func(*importer.Options)) (*report.Report, error) {
	t.Helper()
	o := options(t, s)
	if change != nil {
		change(&o)
	}
	return importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), o)
}

// records is recording that must go well.
func records(t *testing.T, s *registrytest.Server, path string, change func(*importer.Options)) *report.Report {
	t.Helper()
	done, err := recording(t, s, path, change)
	if err != nil || !done.Complete {
		t.Fatalf("%v, %+v", err, done)
	}
	return done
}

// importsOf returns what the record tells of imports of a bundle.
func importsOf(t *testing.T, repo ledger.Repository, index bundle.Digest) []*record.Imported {
	t.Helper()
	all, err := record.Imports(t.Context(), repo, index)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRecord: what was imported is in the record, with what became of each image; the same import again adds nothing and asks
// little.
func TestRecord(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	for name, at := range targets {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, at...)
			repo := recordAt(s, "mirror/airgap")
			for week, path := range w.Files {
				done := records(t, s, path, func(o *importer.Options) { o.Recording.Account, o.Recording.Version = "robot", "1.2" })
				if want := s.Host() + "/mirror/airgap"; done.Record != want {
					t.Errorf("recorded in %q, not %q", done.Record, want)
				}
				base := importtest.BaseOf(t, path)
				h, err := record.Open(t.Context(), repo, importtest.Trust(), "acme")
				if err != nil {
					t.Fatal(err)
				}
				newest, err := h.Newest(t.Context(), "acme")
				if err != nil || len(newest) != 1 || newest[0].Base() != base {
					t.Fatalf("%v, %+v", err, newest)
				}
				all := importsOf(t, repo, base.ManifestIndex)
				if len(all) != 1 || !all[0].IsWhole() || all[0].Account != "robot" || all[0].Version != "1.2" || all[0].Destination != s.Host()+"/mirror" {
					t.Fatalf("%+v", all)
				}
				if want := []record.Counts{{New: 3}, {Moved: 1, Unchanged: 2}}[week]; all[0].Counts != want {
					t.Errorf("week %d: %+v, not %+v", week+1, all[0].Counts, want)
				}
			}
			s.Forget()
			if done := records(t, s, w.Files[1], nil); done.Changed || len(importtest.Writes(s)) > 0 {
				t.Errorf("%+v, %q", done.Done, importtest.Writes(s))
			}
			if asked := s.Count("", "/mirror/airgap/"); asked > 14 {
				t.Errorf("%d requests about the record", asked)
			}
		})
	}
}

// TestReplay: every older bundle is refused, and another one under a number that was used, before anything is written. --allow-older
// goes on, and is recorded.
func TestReplay(t *testing.T) {
	w := importtest.NewWeekly(t, 3)
	other := importtest.NewWeekly(t, 1)
	other.Images = other.Images[:2]
	other.Number("acme", 3)
	another := other.File()
	s := registrytest.New(t, targets["acknowledges"]...)
	for _, path := range w.Files {
		records(t, s, path, nil)
	}
	for path, want := range map[string]error{w.Files[0]: record.ErrOlder, w.Files[1]: record.ErrOlder, another: record.ErrOther} {
		s.Forget()
		for _, dry := range []bool{false, true} {
			_, err := recording(t, s, path, func(o *importer.Options) { o.DryRun = dry })
			if writes := importtest.Writes(s); !errors.Is(err, want) || len(writes) > 0 {
				t.Errorf("%v, %q", err, writes)
			}
		}
	}
	allow := func(o *importer.Options) { o.Recording.AllowOlder = true }
	for _, path := range []string{w.Files[0], another} {
		done := records(t, s, path, allow)
		all := importsOf(t, recordAt(s, "mirror/airgap"), done.Bundle)
		if !done.AllowedOlder || !slices.ContainsFunc(all, func(i *record.Imported) bool { return i.AllowedOlder }) {
			t.Errorf("%v, %d imports", done.AllowedOlder, len(all))
		}
	}
	records(t, s, w.Files[2], nil) // which is the newest still, or as new
}

// TestAdmission: bundles of other mirrors and those that lay too long are refused without a record as well.
func TestAdmission(t *testing.T) {
	w := importtest.NewWeekly(t, 1)
	s := registrytest.New(t)
	now := time.Unix(1_700_000_000, 0).Add(31 * 24 * time.Hour)
	for want, change := range map[error]func(*importer.Options){
		record.ErrMirror: func(o *importer.Options) { o.Recording.Mirror = "dhi" },
		verify.ErrTooOld: func(o *importer.Options) {
			o.Recording.MaxAge, o.Now = 30*24*time.Hour, func() time.Time { return now }
		},
	} {
		for _, none := range []bool{false, true} {
			s.Forget()
			_, err := recording(t, s, w.Files[0], func(o *importer.Options) { change(o); o.Recording.None = none })
			if writes := importtest.Writes(s); !errors.Is(err, want) || len(writes) > 0 {
				t.Errorf("%v, %q; want %v", err, writes, want)
			}
		}
	}
	if done := records(t, s, w.Files[0], func(o *importer.Options) { o.Recording.None = true }); done.Record != "" || s.Count("", "/mirror/airgap") > 0 {
		t.Errorf("recorded in %q", done.Record)
	}
}

// TestRecordIsKeptWhere: a bundle of no mirror is recorded where that is asked for; images that go to several projects need to be
// told where.
func TestRecordIsKeptWhere(t *testing.T) {
	a := importtest.NewAcme(t)
	plain := a.File()
	w := importtest.NewWeekly(t, 1)
	s := registrytest.New(t, targets["acknowledges"]...)
	in := func(o *importer.Options) { o.Recording.In = s.Repo("ops/record") }
	if done := records(t, s, plain, nil); done.Record != "" {
		t.Errorf("recorded in %q", done.Record)
	}
	if done := records(t, s, plain, in); done.Record != s.Host()+"/ops/record" || len(importsOf(t, recordAt(s, "ops/record"), done.Bundle)) != 1 {
		t.Errorf("recorded in %q", done.Record)
	}
	mapping, err := placing.ParseMapping("docker.io/acme/tool=tools/tool")
	if err != nil {
		t.Fatal(err)
	}
	apart := func(o *importer.Options) { o.Destination.Prefix, o.Map = "", append(o.Map, mapping) }
	s.Forget()
	done, err := recording(t, s, w.Files[0], apart)
	if writes := importtest.Writes(s); !errors.Is(err, finding.ErrBlocked) || !strings.Contains(err.Error(), "--record") || len(writes) > 0 {
		t.Errorf("%v, %q", err, writes)
	}
	if blocks := finding.OfLevel(done.Findings, finding.Blocks); len(blocks) != 1 || blocks[0].Check != finding.CheckRecord {
		t.Errorf("%+v", done.Findings)
	}
	records(t, s, w.Files[0], func(o *importer.Options) { apart(o); in(o) })
	if done := records(t, s, w.Files[0], func(o *importer.Options) { o.Destination.Prefix = "" }); done.Record != s.Host()+"/acme/airgap" {
		t.Errorf("recorded in %q", done.Record)
	}
}

// TestPartOfABundle: what --only has left out is said in the record, and a part is told once.
func TestPartOfABundle(t *testing.T) {
	w := importtest.NewWeekly(t, 1)
	s := registrytest.New(t, targets["acknowledges"]...)
	only := func(pattern string) func(*importer.Options) {
		return func(o *importer.Options) { o.Only = []string{pattern} }
	}
	for range 2 {
		records(t, s, w.Files[0], only("*/tool*"))
	}
	repo, index := recordAt(s, "mirror/airgap"), importtest.BaseOf(t, w.Files[0]).ManifestIndex
	all := importsOf(t, repo, index)
	if len(all) != 1 || !all[0].Partial || all[0].IsWhole() || all[0].Counts != (record.Counts{New: 1, LeftOut: 2}) {
		t.Errorf("%+v", all)
	}
	records(t, s, w.Files[0], func(o *importer.Options) { o.Now = func() time.Time { return time.Unix(1_800_000_000, 0) } })
	if all := importsOf(t, repo, index); len(all) != 2 || !all[1].IsWhole() {
		t.Errorf("%+v", all)
	}
	if done := records(t, s, w.Files[0], only("*/tool*")); done.Changed { // the whole is told, and the part with it
		t.Errorf("%d imports", len(importsOf(t, repo, index)))
	}
}

// TestUntrustedRecord: what nobody who is trusted has signed keeps no bundle out, and is named.
func TestUntrustedRecord(t *testing.T) {
	w := importtest.NewWeekly(t, 1)
	stranger, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	other := importtest.NewWorld(t)
	other.Key = stranger
	other.Root("docker.io/acme/tool:1", "acme/tool", "1", other.Image("forged"))
	other.Number("acme", 99)
	s := registrytest.New(t, targets["acknowledges"]...)
	forged := importtest.OpenSignedBy(t, other.File(), stranger)
	if err := record.Keep(t.Context(), recordAt(s, "mirror/airgap"), forged.Artifact(), &forged.Contents().Header); err != nil {
		t.Fatal(err)
	}
	done := records(t, s, w.Files[0], nil)
	warnings := finding.OfLevel(done.Findings, finding.Warning)
	if !slices.ContainsFunc(warnings, func(f finding.Finding) bool {
		return f.Check == finding.CheckRecord && strings.HasSuffix(f.Subject, ":acme-000099") && strings.Contains(f.Message, "not believed")
	}) {
		t.Errorf("%+v", done.Findings)
	}
}

// TestRecordMissing: where there are images of a mirror and no record of it, that is said.
func TestRecordMissing(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := registrytest.New(t, targets["acknowledges"]...)
	warned := func(r *report.Report) bool {
		return slices.ContainsFunc(r.Findings, func(f finding.Finding) bool {
			return f.Check == finding.CheckRecord && f.Level == finding.Warning && strings.Contains(f.Message, "tags of its images")
		})
	}
	if warned(records(t, s, w.Files[0], func(o *importer.Options) { o.Recording.None = true })) {
		t.Error("warned where nothing is kept")
	}
	if !warned(records(t, s, w.Files[1], nil)) {
		t.Error("not warned")
	}
	if warned(records(t, s, w.Files[1], nil)) {
		t.Error("warned with a record")
	}
}

// TestListedAgain: what a newer bundle lists again is for its maker to decide, and a note.
func TestListedAgain(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	w.Images = nil
	w.Root("docker.io/acme/app:1", "acme/app", "1", w.Built[0])
	w.Number("acme", 3)
	w.BuildOn(w.Files[1])
	s := registrytest.New(t, targets["acknowledges"]...)
	records(t, s, w.Files[0], nil)
	records(t, s, w.Files[1], nil)
	done := records(t, s, w.File(), nil)
	if !slices.ContainsFunc(done.Findings, func(f finding.Finding) bool {
		return f.Level == finding.Note && f.Subject == "acme/app:1" && strings.Contains(f.Message, "acme@1")
	}) {
		t.Errorf("%+v", done.Findings)
	}
}

// TestFoundByTheRecord: what is left out is found in a repository to which only the record says that it went.
func TestFoundByTheRecord(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := registrytest.New(t, targets["acknowledges"]...)
	old := func(o *importer.Options) { o.Destination.Prefix = "old"; o.Recording.In = s.Repo("ops/airgap") }
	moved := func(o *importer.Options) { o.Recording.In = s.Repo("ops/airgap") }
	records(t, s, w.Files[0], old)
	done := records(t, s, w.Files[1], moved)
	expectWeek(t, w, s, 2, "mirror/acme/app")
	if done.Done.BytesPushed > 2000 {
		t.Errorf("%+v", done.Done)
	}
}

// failAt makes a request that writes fail as if the process were killed there, before it or after it was done.
func failAt(n *atomic.Int64, afterwards bool, stop context.CancelFunc) registrytest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		if n.Add(-1) != 0 {
			return false
		}
		if afterwards {
			next.ServeHTTP(discard{}, r)
		}
		stop()
		return registrytest.Drop()(w, r, next)
	}
}

// discard is an answer that nobody gets.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// TestKilledAnywhere: an import that ended at any writing request, and is repeated, ends as one that did not. Once any tag has moved,
// older bundles are kept out.
func TestKilledAnywhere(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	index := importtest.BaseOf(t, w.Files[1]).ManifestIndex
	for _, afterwards := range []bool{false, true} {
		for n, more := 1, true; more; n++ {
			t.Run(fmt.Sprint(n, afterwards), func(t *testing.T) {
				s := registrytest.New(t, targets["fallback tags"]...)
				records(t, s, w.Files[0], nil)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				var left atomic.Int64
				left.Store(int64(n))
				s.Inject(failAt(&left, afterwards, stop))
				o := options(t, s)
				o.Jobs = 1
				_, err := importer.Run(ctx, importtest.Open(t, w.Files[1]), importtest.Client(), o)
				if more = left.Load() <= 0; !more {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if string(s.StoredManifest("mirror/acme/app", "1")) == string(w.Blobs[w.Built[1].Digest]) {
					if _, err := recording(t, s, w.Files[0], nil); !errors.Is(err, record.ErrOlder) {
						t.Errorf("a tag has moved, and an older bundle is let in: %v", err)
					}
				}
				records(t, s, w.Files[1], nil)
				expectWeek(t, w, s, 2, "mirror/acme/app")
				repo := recordAt(s, "mirror/airgap")
				whole, last := 0, false
				for _, i := range importsOf(t, repo, index) {
					if last = i.IsWhole(); last {
						whole++
					}
				}
				if whole != 1 && (whole != 2 || !afterwards) || !last {
					t.Errorf("%d whole imports are told", whole)
				}
				if _, err := recording(t, s, w.Files[0], nil); !errors.Is(err, record.ErrOlder) {
					t.Error(err)
				}
			})
		}
	}
}

// TestKilledImportIsPruned: an import that ended at any writing request, and is repeated, brought what one brings that did not: prune
// knows it.
func TestKilledImportIsPruned(t *testing.T) {
	w := importtest.NewWeekly(t, 1)
	index := importtest.BaseOf(t, w.Files[0]).ManifestIndex
	w.Images = w.Images[:1]
	w.Number("acme", 2)
	next := w.File()
	for _, afterwards := range []bool{false, true} {
		for n, more := 1, true; more; n++ {
			s := registrytest.New(t, targets["acknowledges"]...)
			ctx, stop := context.WithCancel(t.Context())
			var left atomic.Int64
			left.Store(int64(n))
			s.Inject(failAt(&left, afterwards, stop))
			o := options(t, s)
			o.Jobs = 1
			_, err := importer.Run(ctx, importtest.Open(t, w.Files[0]), importtest.Client(), o)
			if more = left.Load() <= 0; !more && err != nil {
				t.Fatal(err)
			}
			stop()
			records(t, s, w.Files[0], nil)
			all := importsOf(t, recordAt(s, "mirror/airgap"), index)
			if !all[len(all)-1].IsWhole() || slices.ContainsFunc(all[:len(all)-1], func(i *record.Imported) bool { return i.IsWhole() && !afterwards }) {
				t.Errorf("killed at %d: %d imports are told", n, len(all))
			}
			records(t, s, next, func(o *importer.Options) { o.Now = func() time.Time { return time.Unix(1_800_000_000, 0) } })
			history, err := record.Open(t.Context(), recordAt(s, "mirror/airgap"), importtest.Trust(), "")
			if err != nil {
				t.Fatal(err)
			}
			pruned, err := prune.Run(t.Context(), history, importtest.Client(), prune.Options{Mirror: "acme", Destination: o.Destination, Keep: 1})
			if err != nil || len(pruned.Rows) != 2 || pruned.Rows[0].Name() != s.Host()+"/mirror/acme/app:first" || pruned.Rows[1].Name() != s.Host()+"/mirror/acme/tool:1" {
				t.Errorf("killed at %d, %v: %v, %+v", n, afterwards, err, pruned)
			}
		}
	}
}

// TestRecordInHarbor: the record is in a project that is there, or is created like others.
func TestRecordInHarbor(t *testing.T) {
	w := importtest.NewWeekly(t, 2)
	s := acmeHarbor(t)
	c := importtest.HarborClient(t, harbortest.Admin)
	run := func(path string, create bool) (*report.Report, error) {
		t.Helper()
		o := intoHarbor(t, s, c)
		o.Recording.In, o.CreateProjects = s.Repo("ops/record"), create
		return importer.Run(t.Context(), importtest.Open(t, path), c, o)
	}
	if _, err := run(w.Files[0], false); !errors.Is(err, finding.ErrBlocked) || !strings.Contains(err.Error(), "project ops") || len(s.Writes()) > 0 {
		t.Errorf("%v, %q", err, s.Writes())
	}
	for _, path := range w.Files {
		if done, err := run(path, true); err != nil || !done.Complete {
			t.Fatalf("%v, %+v", err, done)
		}
	}
	if tags := s.Tags("ops/record"); tags["acme-000001"].IsZero() || tags["acme-000002"].IsZero() {
		t.Errorf("%v", tags)
	}
	s.Forget()
	if _, err := run(w.Files[0], true); !errors.Is(err, record.ErrOlder) || len(s.Writes()) > 0 {
		t.Errorf("%v, %q", err, s.Writes())
	}
}

// TestRecordCountsForTheQuota: what goes to the record does not fail for want of room when all else is there.
func TestRecordCountsForTheQuota(t *testing.T) {
	w := importtest.NewWeekly(t, 1)
	s := acmeHarbor(t)
	c := importtest.HarborClient(t, harbortest.Admin)
	into := func(project string, none bool) (*report.Report, error) {
		t.Helper()
		o := intoHarbor(t, s, c)
		o.Destination.Prefix, o.Recording.None = project, none
		return importer.Run(t.Context(), importtest.Open(t, w.Files[0]), c, o)
	}
	if done, err := into("acme", true); err != nil {
		t.Fatalf("%v, %+v", err, done)
	}
	s.AddProject(harbortest.Project{Name: "full", Quota: s.Used("acme")})
	s.Forget()
	if _, err := into("full", false); !errors.Is(err, finding.ErrBlocked) || !strings.Contains(err.Error(), "quota") || len(s.Writes()) > 0 {
		t.Errorf("%v, %q", err, s.Writes())
	}
	if done, err := into("full", true); err != nil || !done.Complete {
		t.Error(err)
	}
}
