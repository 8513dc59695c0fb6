package judge_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/verify/judge"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

const (
	provenance = "https://slsa.dev/provenance/v1"
	virus      = "https://scout.docker.com/virus/v0.1"
)

// asks is a policy of one rule for everything.
func asks(t testing.TB, rule policy.Rule) *policy.Policy {
	t.Helper()
	// Match is compiled by Parse alone.
	p, err := policy.Parse("p.yaml", []byte("version: 1\nimages: {match: \"**\", carry: true}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Images[0].Carry = false
	p.Images[0].Signatures, p.Images[0].Attestations = rule.Signatures, rule.Attestations
	return p
}

func signedBy(p party.Party, index bool) policy.Rule {
	return policy.Rule{Signatures: []policy.SignatureDemand{{Party: p, Threshold: 1, CoversIndex: index}}}
}

func attestedBy(p party.Party, every policy.Every) policy.Rule {
	return policy.Rule{Attestations: []policy.AttestationDemand{{Types: []string{provenance}, Party: p, Every: every}}}
}

// judged returns the verdict on the only image, and why.
func (w *world) judged(p *policy.Policy) (judge.Verdict, string) {
	w.t.Helper()
	if w.graph == nil {
		w.plan()
	}
	j, err := judge.Judge(w.t.Context(), p, w, judge.Options{Now: time.Unix(1_700_000_000, 0)})
	if err != nil {
		w.t.Fatal(err)
	}
	if failed := errors.Is(j.Err(), judge.ErrPolicy); failed != (j.Images[0].Verdict == judge.Fails) || failed != j.Fails(0) {
		w.t.Errorf("%v", j.Err())
	}
	return j.Images[0].Verdict, strings.Join(j.Images[0].Reasons, "\n")
}

// app is an image of two platforms, with BuildKit's statement about the first.
type app struct{ index, amd, arm, statement bundle.Descriptor }

func newApp(w *world) (a app) {
	a.amd, a.arm = w.image("app", "amd64"), w.image("app", "arm64")
	a.statement = w.statement(a.amd.Digest, provenance, "{}")
	a.index = w.index(a.amd, a.arm, a.statement)
	return a
}

func TestJudge(t *testing.T) {
	docker, stranger := generate(t), generate(t)
	by := partyOf("docker", docker)
	for name, test := range map[string]struct {
		rule   policy.Rule
		attach func(w *world, a app)
		want   judge.Verdict
		says   string
	}{
		"platforms are signed": {signedBy(by, false), func(w *world, a app) {
			w.sign(docker, a.amd.Digest)
			w.sign(docker, a.arm.Digest)
		}, judge.Passes, ""},
		"one platform is not signed": {signedBy(by, false), func(w *world, a app) {
			w.sign(docker, a.amd.Digest)
		}, judge.Fails, "linux/arm64: no signature by docker"},
		"the index is signed": {signedBy(by, true), func(w *world, a app) {
			w.sign(docker, a.index.Digest)
		}, judge.Passes, ""},
		"the index is signed, which is not enough": {signedBy(by, false), func(w *world, a app) {
			w.sign(docker, a.index.Digest)
		}, judge.Fails, `linux/amd64: no signature by docker; the index is signed, which counts for its platforms with "covers: index" only`},
		"a stranger's signature beside a good one": {signedBy(by, true), func(w *world, a app) {
			w.sign(stranger, a.index.Digest)
			w.sign(docker, a.index.Digest)
		}, judge.Passes, ""},
		"a broken signature beside a good one": {signedBy(by, true), func(w *world, a app) {
			w.refer(a.index.Digest, w.blob(bundle.MediaTypeSigstore, []byte("{")))
			w.sign(docker, a.index.Digest)
		}, judge.Passes, ""},
		"only a broken one": {signedBy(by, true), func(w *world, a app) {
			w.refer(a.index.Digest, w.blob(bundle.MediaTypeSigstore, []byte("{")))
		}, judge.Fails, "linux/amd64: no signature by docker; what there is does not count: sigstore-bundle sha256:"},
		"only a stranger's": {signedBy(by, true), func(w *world, a app) {
			w.sign(stranger, a.index.Digest)
		}, judge.Fails, "not by anybody who is trusted for it"},
		"a signature over another image": {signedBy(by, true), func(w *world, a app) {
			content, err := signature.Sign(docker, bundle.DigestOf([]byte("another")))
			if err != nil {
				w.t.Fatal(err)
			}
			w.refer(a.index.Digest, w.blob(bundle.MediaTypeSigstore, content))
		}, judge.Fails, "for something else"},
		"a statement that is signed itself": {attestedBy(by, policy.AnyOfImage), func(w *world, a app) {
			w.attest(docker, a.amd.Digest, provenance, `{}`)
		}, judge.Passes, ""},
		"a statement on one of two platforms": {attestedBy(by, policy.EveryPlatform), func(w *world, a app) {
			w.attest(docker, a.amd.Digest, provenance, `{}`)
		}, judge.Fails, "linux/arm64: no attestation " + provenance + " by docker"},
		"BuildKit's statement, signed at the second level": {attestedBy(by, policy.AnyOfImage), func(w *world, a app) {
			w.sign(docker, a.statement.Digest)
		}, judge.Passes, ""},
		"BuildKit's statement, signed by a stranger": {attestedBy(by, policy.AnyOfImage), func(w *world, a app) {
			w.sign(stranger, a.statement.Digest)
		}, judge.Fails, "not by anybody who is trusted for it"},
		"BuildKit's statement, signed by nobody": {attestedBy(by, policy.AnyOfImage), nil, judge.Fails, "signed by nobody"},
		"a stranger's statement, signed by docker": {attestedBy(by, policy.AnyOfImage), func(w *world, a app) {
			w.sign(docker, w.attest(stranger, a.amd.Digest, provenance, `{}`).Digest)
		}, judge.Passes, ""},
		"an attestation about the signed attestation": {attestedBy(by, policy.AnyOfImage), func(w *world, a app) {
			w.attest(docker, w.attest(stranger, a.amd.Digest, provenance, `{}`).Digest, virus, `{}`)
		}, judge.Fails, "not by anybody"},
		"no type that is asked for": {attestedBy(by, policy.EveryIndex), func(w *world, a app) {
			w.attest(docker, a.index.Digest, virus, `{}`)
		}, judge.Fails, "the index: no attestation"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := newApp(w)
			if test.attach != nil {
				test.attach(w, a)
			}
			w.root("docker.io/acme/app:1", a.index)
			verdict, reasons := w.judged(asks(t, test.rule))
			if verdict != test.want || !strings.Contains(reasons, test.says) {
				t.Errorf("%s: %s\nwant %s: %s", verdict, reasons, test.want, test.says)
			}
		})
	}
}

// What a container runtime could run is a platform that has to be signed, though the index calls it a statement.
func TestStatementsThatCouldRun(t *testing.T) {
	docker := generate(t)
	statement := func(w *world, change func(*bundle.Descriptor)) bundle.Descriptor {
		amd := w.image("app", "amd64")
		w.sign(docker, amd.Digest)
		d := w.statement(amd.Digest, provenance, "{}")
		change(&d)
		return w.index(amd, d)
	}
	for name, index := range map[string]func(w *world) bundle.Descriptor{
		"of a platform": func(w *world) bundle.Descriptor {
			return statement(w, func(d *bundle.Descriptor) { d.Platform.OS = "linux" })
		},
		"of no platform": func(w *world) bundle.Descriptor { return statement(w, func(d *bundle.Descriptor) { d.Platform = nil }) },
		"about nothing": func(w *world) bundle.Descriptor {
			return statement(w, func(d *bundle.Descriptor) { delete(d.Annotations, "vnd.docker.reference.digest") })
		},
		"about itself": func(w *world) bundle.Descriptor {
			return statement(w, func(d *bundle.Descriptor) { d.Annotations["vnd.docker.reference.digest"] = d.Digest.String() })
		},
		"of another type": func(w *world) bundle.Descriptor {
			return statement(w, func(d *bundle.Descriptor) { d.Annotations["vnd.docker.reference.type"] = "other" })
		},
		"with layers to run": func(w *world) bundle.Descriptor {
			return statement(w, func(d *bundle.Descriptor) {
				platform, annotations := d.Platform, d.Annotations
				*d = w.image("hidden", "")
				d.Platform, d.Annotations = platform, annotations
			})
		},
		"listed as a platform, too": func(w *world) bundle.Descriptor {
			amd := w.image("app", "amd64")
			w.sign(docker, amd.Digest)
			d := w.statement(amd.Digest, provenance, "{}")
			again := d
			again.Platform, again.Annotations = nil, nil
			return w.index(amd, again, d)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.root("docker.io/acme/app:1", index(w))
			if verdict, reasons := w.judged(asks(t, signedBy(partyOf("docker", docker), false))); verdict != judge.Fails {
				t.Errorf("%s: %s", verdict, reasons)
			}
		})
	}
	w := newWorld(t)
	w.root("docker.io/acme/app:1", statement(w, func(*bundle.Descriptor) {}))
	if verdict, reasons := w.judged(asks(t, signedBy(partyOf("docker", docker), false))); verdict != judge.Passes {
		t.Errorf("%s: %s", verdict, reasons)
	}
}

// What has no platforms does not pass because of that.
func TestIndexOfNothing(t *testing.T) {
	docker := generate(t)
	w := newWorld(t)
	w.root("docker.io/acme/app:1", w.index())
	for _, rule := range []policy.Rule{signedBy(partyOf("docker", docker), false), signedBy(partyOf("docker", docker), true), attestedBy(partyOf("docker", docker), policy.EveryPlatform)} {
		if verdict, _ := w.judged(asks(t, rule)); verdict != judge.Fails {
			t.Error(verdict)
		}
	}
	w = newWorld(t)
	index := w.index()
	w.sign(docker, index.Digest)
	w.root("docker.io/acme/app:1", index)
	if verdict, reasons := w.judged(asks(t, signedBy(partyOf("docker", docker), false))); verdict != judge.Passes {
		t.Error(verdict, reasons)
	}
}

// A nested index is covered by a signature over the one above, and covers its own platforms only.
func TestNestedIndex(t *testing.T) {
	docker := generate(t)
	for signed, want := range map[string]judge.Verdict{"outer": judge.Passes, "inner": judge.Fails} {
		w := newWorld(t)
		arm := w.image("app", "arm64")
		inner := w.index(arm)
		outer := w.index(w.image("app", "amd64"), inner)
		w.sign(docker, map[string]bundle.Digest{"outer": outer.Digest, "inner": inner.Digest}[signed])
		w.root("docker.io/acme/app:1", outer)
		verdict, reasons := w.judged(asks(t, signedBy(partyOf("docker", docker), true)))
		if verdict != want || strings.Contains(reasons, "arm64") {
			t.Errorf("%s: %s %s", signed, verdict, reasons)
		}
	}
}

// The index that airgap made of some platforms is not what was signed.
func TestSelection(t *testing.T) {
	docker := generate(t)
	w := newWorld(t)
	original := w.index(w.image("app", "amd64"), w.image("app", "arm64"))
	w.sign(docker, original.Digest)
	w.attest(docker, original.Digest, provenance, "{}")
	delete(w.manifests, original.Digest)
	w.selected("docker.io/acme/app:1", w.index(w.image("app", "amd64")), original.Digest)
	verdict, reasons := w.judged(asks(t, signedBy(partyOf("docker", docker), true)))
	if verdict != judge.Fails || !strings.Contains(reasons, "of which the one here is a part: ask for signatures on platforms") {
		t.Error(verdict, reasons)
	}
	for _, every := range []policy.Every{policy.EveryIndex, policy.AnyOfImage, policy.EveryPlatform} {
		if verdict, reasons := w.judged(asks(t, attestedBy(partyOf("docker", docker), every))); verdict != judge.Fails {
			t.Error(every, verdict, reasons)
		}
	}
	w = newWorld(t)
	amd := w.image("app", "amd64")
	w.sign(docker, amd.Digest)
	w.selected("docker.io/acme/app:1", w.index(amd), original.Digest)
	if verdict, reasons := w.judged(asks(t, signedBy(partyOf("docker", docker), true))); verdict != judge.Passes {
		t.Error(verdict, reasons)
	}
}

func TestThreshold(t *testing.T) {
	one, two := generate(t), generate(t)
	rule := signedBy(partyOf("docker", one, two), true)
	rule.Signatures[0].Threshold = 2
	for name, test := range map[string]struct {
		by   []*signature.PrivateKey
		want judge.Verdict
	}{
		"both":           {[]*signature.PrivateKey{one, two}, judge.Passes},
		"one":            {[]*signature.PrivateKey{one}, judge.Fails},
		"one, twice":     {[]*signature.PrivateKey{one, one}, judge.Fails},
		"over platforms": {nil, judge.Passes},
	} {
		w := newWorld(t)
		a := newApp(w)
		for i, key := range test.by {
			signed := w.sign(key, a.index.Digest)
			if i > 0 { // the same signature in another manifest
				m := bundle.Manifest{ArtifactType: bundle.MediaTypeSigstore, Annotations: map[string]string{"again": "1"}}
				parsed, err := bundle.ParseManifest(signed.MediaType, w.blobs[signed.Digest])
				if err != nil {
					t.Fatal(err)
				}
				m.Config, m.Layers, m.Subject = parsed.Config, parsed.Layers, parsed.Subject
				w.manifest(bundle.MediaTypeOCIManifest, m)
			}
		}
		if test.by == nil { // one over the index, the other over each platform
			w.sign(one, a.index.Digest)
			w.sign(two, a.amd.Digest)
			w.sign(two, a.arm.Digest)
		}
		w.root("docker.io/acme/app:1", a.index)
		if verdict, reasons := w.judged(asks(t, rule)); verdict != test.want {
			t.Errorf("%s: %s %s", name, verdict, reasons)
		}
	}
}

func TestAges(t *testing.T) {
	docker := generate(t)
	for finished, want := range map[string]string{
		"2023-11-01T00:00:00Z": "",
		"2023-10-01T00:00:00Z": "it was made on 2023-10-01T00:00:00Z, which is longer ago than 30d",
		"2024-11-01T00:00:00Z": "which is yet to come",
		"never":                "neither the statement nor a log or timestamp authority says when it was made",
	} {
		rule := attestedBy(partyOf("docker", docker), policy.AnyOfImage)
		rule.Attestations[0].MaxAge = 30 * 24 * time.Hour
		w := newWorld(t)
		a := newApp(w)
		w.attest(docker, a.amd.Digest, provenance, `{"runDetails":{"metadata":{"finishedOn":"`+finished+`"}}}`)
		w.root("docker.io/acme/app:1", a.index)
		verdict, reasons := w.judged(asks(t, rule))
		if (verdict == judge.Passes) != (want == "") || !strings.Contains(reasons, want) {
			t.Errorf("%s: %s %s", finished, verdict, reasons)
		}
	}
}

// Images that share manifests have their proofs read once.
func TestSharedProofs(t *testing.T) {
	docker := generate(t)
	w := newWorld(t)
	a := newApp(w)
	w.sign(docker, a.index.Digest)
	w.attest(docker, a.amd.Digest, provenance, "{}")
	for _, tag := range []string{"1", "1.2", "1.2.3", "latest"} {
		w.root("docker.io/acme/app:"+tag, a.index)
	}
	w.root("docker.io/acme/only:1", a.amd)
	if verdict, reasons := w.judged(asks(t, attestedBy(partyOf("docker", docker), policy.AnyOfImage))); verdict != judge.Passes {
		t.Error(verdict, reasons)
	}
	// The single platform has no statement of BuildKit's, which its index lists: what is known of it is another thing.
	if n := w.reads.Load(); n != 4 {
		t.Errorf("%d proofs were read, of 3 that there are", n)
	}
}

func TestCancelledJudge(t *testing.T) {
	w := newWorld(t)
	a := newApp(w)
	w.root("docker.io/acme/app:1", a.index)
	w.plan()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if j, err := judge.Judge(ctx, asks(t, signedBy(party.Party{}, true)), w, judge.Options{}); !errors.Is(err, context.Canceled) || j != nil {
		t.Error(j, err)
	}
}

// BenchmarkJudge judges 1,000 images of two platforms with 20 proofs each: on each platform five attestations, each signed at the second
// level. Most statements are small, and some are SBOMs of a megabyte.
func BenchmarkJudge(b *testing.B) {
	docker := generate(b)
	w := newWorld(b)
	large := `{"packages":["` + strings.Repeat(`package","`, 1<<17) + `"]}`
	for i := range 1000 {
		amd, arm := w.image(fmt.Sprint("app", i), "amd64"), w.image(fmt.Sprint("app", i), "arm64")
		for _, platform := range []bundle.Digest{amd.Digest, arm.Digest} {
			for _, predicateType := range []string{provenance, virus, "https://spdx.dev/Document", "https://openvex.dev/ns/v0.2.0", "https://slsa.dev/verification_summary/v1"} {
				predicate := fmt.Sprintf(`{"image":%d,"of":%q}`, i, predicateType)
				if predicateType == "https://spdx.dev/Document" && i%20 == 0 {
					predicate = large
				}
				w.sign(docker, w.attest(docker, platform, predicateType, predicate).Digest)
			}
		}
		w.root(fmt.Sprintf("docker.io/acme/app%d:1", i), w.index(amd, arm))
	}
	w.plan()
	p := asks(b, policy.Rule{Attestations: []policy.AttestationDemand{
		{Types: []string{provenance}, Party: partyOf("docker", docker)},
		{Types: []string{virus}, Party: partyOf("docker", docker)},
		{Types: []string{"https://spdx.dev/**"}, Party: partyOf("docker", docker)},
	}})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // which empties pools
	runtime.ReadMemStats(&before)
	var j *judge.Judgement
	for b.Loop() {
		var err error
		if j, err = judge.Judge(b.Context(), p, w, judge.Options{}); err != nil || j.Err() != nil {
			b.Fatal(err, j.Err())
		}
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/20_000, "kept-B/proof")
	runtime.KeepAlive(w)
	runtime.KeepAlive(j)
}
