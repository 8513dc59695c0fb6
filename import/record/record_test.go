package record_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/ledger/ledgertest"
	"airgap/import/placing"
	"airgap/import/record"
	"airgap/verify"
	"airgap/verify/signature"

	"airgap/verify/policy"
	"github.com/google/go-containerregistry/pkg/name"
)

func newRecord(t testing.TB) ledger.Repository {
	return ledger.Directory(filepath.Join(t.TempDir(), "record"))
}

// headerOf reads the header of an artifact.
func headerOf(t testing.TB, a bundle.Artifact) *bundle.Header {
	t.Helper()
	repo := newRecord(t)
	if err := (ledger.Ledger{Repository: repo}).Put(t.Context(), "x", a); err != nil {
		t.Fatal(err)
	}
	head, err := ledger.Ledger{Repository: repo}.Head(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	header, err := head.Header(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return header
}

func keep(t testing.TB, repo ledger.Repository, all ...bundle.Artifact) {
	t.Helper()
	for _, a := range all {
		if err := record.Keep(t.Context(), repo, a, headerOf(t, a)); err != nil {
			t.Fatal(err)
		}
	}
}

func history(t testing.TB, repo ledger.Repository, mirror string) *record.History {
	t.Helper()
	h, err := record.Open(t.Context(), repo, ledgertest.Trust, mirror)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAdmit(t *testing.T) {
	stranger, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	repo := newRecord(t)
	twelve := ledgertest.New(t, "dhi", 12, "twelve")
	keep(t, repo, ledgertest.New(t, "dhi", 11, "eleven"), twelve, ledgertest.New(t, "charts", 40, "another mirror"))
	// Nobody may take the mirror's numbers: neither who signs with another key nor who puts a bundle under another's name.
	keep(t, repo, ledgertest.Sign(t, stranger, bundle.PlanOptions{Mirror: "dhi", Sequence: 30}, "by a stranger"))
	if err := (ledger.Ledger{Repository: repo}).Put(t.Context(), "dhi-000020", ledgertest.New(t, "charts", 41, "in disguise")); err != nil {
		t.Fatal(err)
	}
	completes := bundle.Base{ManifestIndex: bundle.DigestOf([]byte("x")), Mirror: "dhi", Sequence: 3, Created: "2023-11-07T00:00:00Z"}
	made := time.Unix(1_700_000_000, 0)
	for name, test := range map[string]struct {
		mirror    string
		sequence  uint64
		text      string
		rules     record.Rules
		want      error
		overruled bool
	}{
		"newer":                        {"dhi", 13, "x", record.Rules{}, nil, false},
		"the same":                     {"dhi", 12, "twelve", record.Rules{}, nil, false},
		"older":                        {"dhi", 11, "eleven", record.Rules{}, record.ErrOlder, false},
		"older, never seen":            {"dhi", 3, "x", record.Rules{}, record.ErrOlder, false},
		"another one":                  {"dhi", 12, "x", record.Rules{}, record.ErrOther, false},
		"older, allowed":               {"dhi", 11, "eleven", record.Rules{AllowOlder: true}, nil, true},
		"another one, allowed":         {"dhi", 12, "x", record.Rules{AllowOlder: true}, nil, true},
		"newer, as if it were allowed": {"dhi", 13, "x", record.Rules{AllowOlder: true}, nil, false},
		"of a mirror without a record": {"other", 1, "x", record.Rules{}, nil, false},
		"without a mirror":             {"", 0, "x", record.Rules{}, nil, false},
		"pinned":                       {"dhi", 13, "x", record.Rules{Mirror: "dhi"}, nil, false},
		"pinned to another":            {"dhi", 13, "x", record.Rules{Mirror: "charts"}, record.ErrMirror, false},
		"pinned, of none":              {"", 0, "x", record.Rules{Mirror: "charts", AllowOlder: true}, record.ErrMirror, false},
		"young enough":                 {"dhi", 13, "x", record.Rules{MaxAge: time.Hour, Now: made.Add(time.Hour)}, nil, false},
		"too old":                      {"dhi", 13, "x", record.Rules{MaxAge: time.Hour, Now: made.Add(time.Hour + 1), AllowOlder: true}, verify.ErrTooOld, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := ledgertest.New(t, test.mirror, test.sequence, test.text)
			h := history(t, repo, test.mirror)
			overruled, err := h.Admit(t.Context(), headerOf(t, a), a.Index.Digest, test.rules)
			if !errors.Is(err, test.want) || overruled != test.overruled {
				t.Error(overruled, err)
			}
			if test.mirror == "dhi" && test.rules == (record.Rules{}) && len(h.Doubts()) != 2 {
				t.Error("doubts:", h.Doubts())
			}
		})
	}
	supplement := &bundle.Header{Mirror: "dhi", Completes: &completes, Created: "2023-11-07T00:00:00Z"}
	if _, err := history(t, repo, "dhi").Admit(t.Context(), supplement, bundle.DigestOf(nil), record.Rules{}); err != nil {
		t.Error("a supplement is no replay:", err)
	}
	var none *record.History
	if _, err := none.Admit(t.Context(), headerOf(t, twelve), twelve.Index.Digest, record.Rules{}); err != nil {
		t.Error(err)
	}
}

func TestAJoinedDeltaIsTheDelta(t *testing.T) {
	repo := newRecord(t)
	delta := ledgertest.New(t, "dhi", 12, "twelve")
	keep(t, repo, delta)
	joined := *headerOf(t, delta)
	joined.Joined = delta.Index.Digest
	if _, err := history(t, repo, "dhi").Admit(t.Context(), &joined, bundle.DigestOf([]byte("another manifest index")), record.Rules{}); err != nil {
		t.Error(err)
	}
}

// A bundle that was let in under a number that another has is kept beside it, and both are known from then on.
func TestTwoUnderOneNumber(t *testing.T) {
	repo := newRecord(t)
	one, other := ledgertest.New(t, "dhi", 12, "one"), ledgertest.New(t, "dhi", 12, "other")
	keep(t, repo, one, other, other, one)
	h := history(t, repo, "dhi")
	newest, err := h.Newest(t.Context(), "dhi")
	if err != nil || len(newest) != 2 || newest[0].ManifestIndex != one.Index.Digest || newest[1].ManifestIndex != other.Index.Digest {
		t.Fatal(newest, err)
	}
	for _, a := range []bundle.Artifact{one, other} {
		if _, err := h.Admit(t.Context(), headerOf(t, a), a.Index.Digest, record.Rules{}); err != nil {
			t.Error(err)
		}
	}
}

// What is kept beside another bundle counts also where the beginning of its digest looks like a number.
func TestADigestThatLooksLikeANumber(t *testing.T) {
	repo := newRecord(t)
	var other bundle.Artifact
	for i := 0; ; i++ {
		other = ledgertest.New(t, "dhi", 12, fmt.Sprint("other ", i))
		if strings.Trim(other.Index.Digest.Hex()[:12], "0123456789") == "" {
			break
		}
	}
	keep(t, repo, ledgertest.New(t, "dhi", 12, "one"), other)
	for _, mirror := range []string{"dhi", ""} {
		h := history(t, repo, mirror)
		entries, err := h.Entries(t.Context())
		if err != nil || len(entries) != 2 || len(h.Doubts()) > 0 {
			t.Error(mirror, entries, h.Doubts(), err)
		}
		if _, err := h.Admit(t.Context(), headerOf(t, other), other.Index.Digest, record.Rules{}); err != nil {
			t.Error(mirror, err)
		}
	}
}

// Somebody who cannot sign cannot keep a bundle out of the record by taking its place.
func TestATakenPlaceDoesNotKeepABundleOut(t *testing.T) {
	stranger, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	repo := newRecord(t)
	a := ledgertest.New(t, "dhi", 12, "x")
	keep(t, repo, ledgertest.Sign(t, stranger, bundle.PlanOptions{Mirror: "dhi", Sequence: 12}, "by a stranger"), a)
	eleven := ledgertest.New(t, "dhi", 11, "x")
	if _, err := history(t, repo, "dhi").Admit(t.Context(), headerOf(t, eleven), eleven.Index.Digest, record.Rules{}); !errors.Is(err, record.ErrOlder) {
		t.Error(err)
	}
	stranger2 := verify.Trust{Policy: policy.OfKeys([]signature.PublicKey{stranger.Public()})}
	h, err := record.Open(t.Context(), repo, stranger2, "")
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := h.Entries(t.Context()); err != nil || len(entries) != 1 || entries[0].ManifestIndex == a.Index.Digest {
		t.Error(entries, err)
	}
}

// done records an import of a bundle of one image.
func done(ctx context.Context, repo ledger.Repository, a bundle.Artifact, i record.Import, p record.Placed) error {
	i.Bundle = a.Index.Digest
	return record.Done(ctx, repo, a.Index.Descriptor, i, slices.Values([]record.Placed{p}))
}

func placed(t testing.TB, repo ledger.Repository, a bundle.Artifact) record.Placed {
	t.Helper()
	return record.Placed{Repository: "lab/acme/app", Tag: "1", Digest: contentsOf(t, repo, a).Root(0).Digest, Outcome: record.New}
}

func contentsOf(t testing.TB, repo ledger.Repository, a bundle.Artifact) *bundle.Contents {
	t.Helper()
	head, err := ledger.Ledger{Repository: repo}.Head(t.Context(), a.Index.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	contents, err := head.Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

func TestImportRecords(t *testing.T) {
	repo, a := newRecord(t), ledgertest.New(t, "dhi", 12, "x")
	keep(t, repo, a)
	started := time.Unix(1_700_000_000, 5).In(time.FixedZone("", 3600))
	second := record.Import{Mirror: "dhi", Sequence: 12, Destination: "harbor/lab", Started: started, Finished: started.Add(time.Hour), Account: "robot$lab", Version: "v1", Complete: true}
	first := second
	first.Finished, first.Partial = started.Add(time.Minute), true
	row := placed(t, repo, a)
	for _, i := range []record.Import{second, first} {
		if err := done(t.Context(), repo, a, i, row); err != nil {
			t.Fatal(err)
		}
	}
	all, err := record.Imports(t.Context(), repo, a.Index.Digest)
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	if all[0].IsWhole() || !all[1].IsWhole() || all[1].Account != "robot$lab" || all[1].Counts != (record.Counts{New: 1}) || !all[1].Started.Equal(started.Truncate(time.Second)) {
		t.Errorf("%+v", all[1])
	}
	var rows []record.Placed
	if err := all[1].Placed(t.Context(), contentsOf(t, repo, a), func(p record.Placed) error {
		rows = append(rows, p)
		return nil
	}); err != nil || !slices.Equal(rows, []record.Placed{row}) {
		t.Error(rows, err)
	}
}

// A plan stands for an import until that says how it ended, whatever the list of referrers calls it.
func TestPlans(t *testing.T) {
	for name, wrap := range map[string]func(ledger.Repository) ledger.Repository{
		"types are right": func(r ledger.Repository) ledger.Repository { return r },
		"types are wrong": func(r ledger.Repository) ledger.Repository { return untyped{r} },
	} {
		t.Run(name, func(t *testing.T) {
			repo, a := newRecord(t), ledgertest.New(t, "dhi", 12, "x")
			keep(t, repo, a)
			row := placed(t, repo, a)
			rows := slices.Values([]record.Placed{row})
			i := record.Import{Bundle: a.Index.Digest, Mirror: "dhi", Sequence: 12, Destination: "harbor/lab", Started: time.Unix(1_700_000_000, 0)}
			var plans []bundle.Digest
			for _, version := range []string{"killed", "ended"} {
				i.Version = version
				plan, err := record.Plan(t.Context(), repo, a.Index.Descriptor, i, rows)
				if err != nil {
					t.Fatal(err)
				}
				plans = append(plans, plan)
			}
			i.Finished, i.Complete, i.Plan = i.Started.Add(time.Second), true, plans[1]
			if err := record.Done(t.Context(), repo, a.Index.Descriptor, i, rows); err != nil {
				t.Fatal(err)
			}
			all, err := record.Imports(t.Context(), wrap(repo), a.Index.Digest)
			if err != nil || len(all) != 2 || !all[0].IsPlan() || all[0].IsWhole() || all[0].Version != "killed" || all[0].Counts.New != 1 || !all[1].IsWhole() {
				t.Errorf("%+v, %v", all, err)
			}
		})
	}
}

// untyped lists referrers by the media type of their configs, as some registries do.
type untyped struct{ ledger.Repository }

func (r untyped) Referrers(ctx context.Context, subject bundle.Digest) ([]bundle.Descriptor, error) {
	all, err := r.Repository.Referrers(ctx, subject)
	for i := range all {
		all[i].ArtifactType = "application/vnd.airgap.import.v1+json"
	}
	return all, err
}

// FORMAT.md, "Import records".
func TestImportRecordAsWritten(t *testing.T) {
	repo, a := newRecord(t), ledgertest.New(t, "dhi", 12, "x")
	keep(t, repo, a)
	row := placed(t, repo, a)
	row.Before, row.Outcome = bundle.DigestOf(nil), record.Moved
	at := time.Unix(1_700_000_000, 0)
	if err := done(t.Context(), repo, a, record.Import{Mirror: "dhi", Sequence: 12, Destination: "harbor/lab", Started: at, Finished: at, Version: "v1<"}, row); err != nil {
		t.Fatal(err)
	}
	rows := fmt.Sprintf(`{"root":0,"repository":"lab/acme/app","tag":"1","digest":%q,"before":%q,"outcome":"moved"}`+"\n", row.Digest, row.Before)
	config := fmt.Sprintf(`{"format":"airgap-import/1","bundle":%q,"mirror":"dhi","sequence":12,"destination":"harbor/lab","started":"2023-11-14T22:13:20Z",`, a.Index.Digest) +
		`"finished":"2023-11-14T22:13:20Z","account":"","version":"v1<","complete":false,"partial":false,"allowedOlder":false,"counts":{"new":0,"moved":1,"unchanged":0,"leftOut":0}}`
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.airgap.import.v1",` +
		fmt.Sprintf(`"config":{"mediaType":"application/vnd.airgap.import.v1+json","digest":%q,"size":%d},`, bundle.DigestOf([]byte(config)), len(config)) +
		fmt.Sprintf(`"layers":[{"mediaType":"application/vnd.airgap.placed.v1+jsonl","digest":%q,"size":%d,"annotations":{"org.opencontainers.image.title":"placed.jsonl"}}],`, bundle.DigestOf([]byte(rows)), len(rows)) +
		fmt.Sprintf(`"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d},`, a.Index.Digest, a.Index.Size) +
		`"annotations":{"org.opencontainers.image.created":"2023-11-14T22:13:20Z"}}`
	left := record.Placed{Root: 0, Digest: row.Digest, Outcome: record.LeftOut, Failing: true}
	if err := done(t.Context(), repo, a, record.Import{Mirror: "dhi", Sequence: 12, Destination: "harbor/lab", Started: at, Finished: at, Version: "v1<"}, left); err != nil {
		t.Fatal(err)
	}
	leftRows := fmt.Sprintf(`{"root":0,"digest":%q,"outcome":"left out","failing":true}`+"\n", row.Digest)
	leftConfig := strings.Replace(config, `"counts":{"new":0,"moved":1,"unchanged":0,"leftOut":0}`, `"counts":{"new":0,"moved":0,"unchanged":0,"leftOut":1,"failing":1}`, 1)
	plan, err := record.Plan(t.Context(), repo, a.Index.Descriptor, record.Import{Bundle: a.Index.Digest, Mirror: "dhi", Sequence: 12, Destination: "harbor/lab", Started: at, Version: "v1<"}, slices.Values([]record.Placed{row}))
	if err != nil {
		t.Fatal(err)
	}
	planned := strings.Replace(config, `"finished":"2023-11-14T22:13:20Z",`, "", 1)
	manifestOfPlan := strings.NewReplacer("vnd.airgap.import.v1\"", "vnd.airgap.import-plan.v1\"", bundle.DigestOf([]byte(config)).String(), bundle.DigestOf([]byte(planned)).String(),
		fmt.Sprintf(`"size":%d},"layers"`, len(config)), fmt.Sprintf(`"size":%d},"layers"`, len(planned))).Replace(manifest)
	if plan != bundle.DigestOf([]byte(manifestOfPlan)) {
		t.Errorf("the plan is %s", plan)
	}
	for _, want := range []string{rows, config, manifest, planned, manifestOfPlan, leftRows, leftConfig} {
		body, err := repo.Blob(t.Context(), bundle.Descriptor{Digest: bundle.DigestOf([]byte(want)), Size: int64(len(want))})
		if err != nil {
			t.Errorf("not there: %s: %v", want, err)
			continue
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDoneWantsRowsOfAllRoots(t *testing.T) {
	repo, a := newRecord(t), ledgertest.New(t, "dhi", 12, "x")
	keep(t, repo, a)
	good := placed(t, repo, a)
	for name, spoil := range map[string]func(*record.Placed){
		"another root":        func(p *record.Placed) { p.Root = 1 },
		"no outcome":          func(p *record.Placed) { p.Outcome = "" },
		"failing and brought": func(p *record.Placed) { p.Failing = true },
		"left out somewhere":  func(p *record.Placed) { p.Outcome = record.LeftOut },
		"moved nowhere":       func(p *record.Placed) { p.Repository = "" },
		"not a repository":    func(p *record.Placed) { p.Repository = "../x" },
		"not a tag":           func(p *record.Placed) { p.Tag = "a/b" },
		"without a digest":    func(p *record.Placed) { p.Digest = bundle.Digest{} },
		"two lines in a name": func(p *record.Placed) { p.Tag = "a\nb" },
	} {
		p := good
		spoil(&p)
		if err := done(t.Context(), repo, a, record.Import{}, p); !errors.Is(err, bundle.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := record.Imports(t.Context(), repo, a.Index.Digest); err != nil || len(all) > 0 {
		t.Error(all, err)
	}
}

// What an import record says of roots is held against what was signed.
func TestForgedRowsAreRefused(t *testing.T) {
	repo, a := newRecord(t), ledgertest.New(t, "dhi", 12, "x")
	keep(t, repo, a)
	good := placed(t, repo, a)
	other := good
	other.Digest = bundle.DigestOf([]byte("what the bundle has not got"))
	second := good
	second.Root = 1
	for name, rows := range map[string][]record.Placed{"another digest": {other}, "one too many": {good, second}, "none": nil} {
		b := ledgertest.New(t, "dhi", 13, name)
		keep(t, repo, b)
		i := record.Import{Bundle: b.Index.Digest}
		if name != "another digest" && len(rows) > 0 {
			rows = slices.Clone(rows)
			for k := range rows {
				rows[k].Digest = contentsOf(t, repo, b).Root(0).Digest
			}
		}
		if err := record.Done(t.Context(), repo, b.Index.Descriptor, i, slices.Values(rows)); err != nil {
			t.Fatal(err)
		}
		all, err := record.Imports(t.Context(), repo, b.Index.Digest)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		if err := all[0].Placed(t.Context(), contentsOf(t, repo, b), func(record.Placed) error { return nil }); !errors.Is(err, bundle.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An import that is interrupted while it writes the record is repeated, and then the record is the same.
func TestInterruptedRecord(t *testing.T) {
	a := ledgertest.New(t, "dhi", 12, "x")
	header := headerOf(t, a)
	i := record.Import{Mirror: "dhi", Sequence: 12, Destination: "harbor/lab", Finished: time.Unix(1_700_000_000, 0), Complete: true}
	write := func(repo ledger.Repository, row record.Placed) error {
		if err := record.Keep(t.Context(), repo, a, header); err != nil {
			return err
		}
		return done(t.Context(), repo, a, i, row)
	}
	whole := newRecord(t)
	keep(t, whole, a)
	row := placed(t, whole, a)
	for _, carriedOut := range []bool{false, true} {
		for writes := 1; ; writes++ {
			repo := newRecord(t)
			if write(&ledgertest.Interrupted{Repository: repo, Writes: writes, Done: carriedOut}, row) == nil {
				break
			}
			if err := write(repo, row); err != nil {
				t.Fatal(err)
			}
			all, err := record.Imports(t.Context(), repo, a.Index.Digest)
			if err != nil || len(all) != 1 || !all[0].IsWhole() {
				t.Fatal(all, err)
			}
		}
	}
}

func TestPlace(t *testing.T) {
	repos := func(names ...string) (all []name.Repository) {
		for _, n := range names {
			r, err := name.NewRepository(n)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		return all
	}
	for destination, test := range map[string]struct {
		repos []name.Repository
		want  string
	}{
		"localhost:1/lab":    {nil, "localhost:1/lab/airgap"},
		"localhost:1/lab/in": {repos("localhost:1/lab/in/app"), "localhost:1/lab/in/airgap"},
		"localhost:1":        {repos("localhost:1/acme/app", "localhost:1/acme/tool"), "localhost:1/acme/airgap"},
		"localhost:2":        {repos("localhost:2/acme/app", "localhost:2/other/tool"), ""},
		"localhost:3":        {nil, ""},
	} {
		d, err := placing.ParseDestination(destination)
		if err != nil {
			t.Fatal(err)
		}
		got, err := record.Place(d, test.repos)
		if test.want == "" && errors.Is(err, record.ErrNoPlace) {
			continue
		}
		if err != nil || got.Name() != test.want {
			t.Error(destination, got, err)
		}
	}
}
