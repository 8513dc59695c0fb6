package export_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export"
	. "airgap/export/registry/registrytest"
	"airgap/verify/judge"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// noFiles are the files of a policy that names none.
type noFiles struct{}

func (noFiles) ReadFile(string) ([]byte, error)  { return nil, fs.ErrNotExist }
func (noFiles) ReadDir(string) ([]string, error) { return nil, fs.ErrNotExist }

// attested asks for a statement by a key about every image.
func attested(t *testing.T, key *signature.PrivateKey) *policy.Policy {
	t.Helper()
	pem := strings.ReplaceAll(strings.TrimSpace(string(key.Public().MarshalPEM())), "\n", "\n        ")
	text := fmt.Sprintf("version: 1\nimages:\n  - match: '**'\n    attestations:\n      type: https://example.com/said\n      keys: |\n        %s\n", pem)
	p, err := policy.Parse("trust.yaml", []byte(text), noFiles{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// attest attaches a statement to an image, and returns the blob that holds it.
func (f *faulty) attest(t *testing.T, key *signature.PrivateKey, about bundle.Descriptor) bundle.Descriptor {
	t.Helper()
	content, err := signature.Attest(key, about.Digest, "https://example.com/said", json.RawMessage(`{"well":true}`))
	if err != nil {
		t.Fatal(err)
	}
	proof := f.AddBlob("acme/app", signature.MediaType, content)
	config := f.AddBlob("acme/app", bundle.MediaTypeEmptyJSON, []byte("{}"))
	f.add(t, "", bundle.Manifest{Config: &config, ArtifactType: signature.MediaType, Subject: &about, Layers: []bundle.Descriptor{proof}})
	return proof
}

// judging is an export of references that a policy judges.
func (f *faulty) judging(t *testing.T, p *policy.Policy, refs ...string) *exporting {
	t.Helper()
	e := f.exporting(t, export.WalkOptions{}, refs...)
	e.options.Policy = p
	return e
}

// What is judged is fetched once, and what fails is not fetched at all.
func TestProofsAreJudgedBeforeTheRestIsFetched(t *testing.T) {
	f, key := newFaulty(t), newKey(t)
	proof := f.attest(t, key, f.image)
	run := f.judging(t, attested(t, key), "acme/app:1")
	result, err := run.run(context.Background())
	if err != nil || result.Judgement == nil || result.Judgement.Images[0].Verdict != judge.Passes {
		t.Fatalf("%+v, %v", result, err)
	}
	if n := f.Count("GET", proof.Digest.String()); n != 1 {
		t.Errorf("the proof was fetched %d times", n)
	}

	f.Forget()
	run = f.judging(t, attested(t, newKey(t)), "acme/app:1")
	_, err = run.run(context.Background())
	if !errors.Is(err, judge.ErrPolicy) || !strings.Contains(err.Error(), "https://example.com/said") {
		t.Errorf("a statement by another key: %v", err)
	}
	if n := f.Count("GET", f.layer.Digest.String()); n > 0 || len(run.left(t)) > 0 {
		t.Errorf("%d layers were fetched for what is refused, and left is %v", n, run.left(t))
	}
}

// A plan of another policy is not continued.
func TestAnotherPolicyPlansAnew(t *testing.T) {
	f, key := newFaulty(t), newKey(t)
	f.attest(t, key, f.image)
	run := f.exporting(t, export.WalkOptions{}, "acme/app:1")
	f.Inject(On("GET", f.layer.Digest.String(), Code(404, "BLOB_UNKNOWN", "gone")))
	if _, err := run.run(context.Background()); err == nil {
		t.Fatal("the layer is not there")
	}
	f.Inject()
	run.options.Policy = attested(t, newKey(t))
	if _, err := run.run(context.Background()); !errors.Is(err, judge.ErrPolicy) {
		t.Errorf("what was begun without a policy is continued: %v", err)
	}
}

// With --keep-going what fails is recorded as missing, as anything that could not be had.
func TestImagesThatFailAreRecordedAsMissing(t *testing.T) {
	f, key := newFaulty(t), newKey(t)
	f.attest(t, key, f.image)
	config := f.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json", []byte(`{"architecture":"arm64"}`))
	f.add(t, "bare", bundle.Manifest{Config: &config, Layers: []bundle.Descriptor{f.layer}})
	run := f.judging(t, attested(t, key), "acme/app:1", "acme/app:bare")
	run.options.KeepGoing = true
	result, err := run.run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Images) != 1 || len(result.Missing) != 1 || !strings.HasSuffix(result.Missing[0].Source, ":bare") || !strings.Contains(result.Missing[0].Reason, "policy") {
		t.Errorf("carried %+v, missing %+v", result.Images, result.Missing)
	}
	if len(result.Judgement.Images) != 2 {
		t.Errorf("%d verdicts, and not on both", len(result.Judgement.Images))
	}
	content, err := os.ReadFile(run.file)
	if err != nil || !strings.Contains(string(content), `"missing":1`) {
		t.Errorf("the bundle does not say that an image is missing (%v)", err)
	}

	run = f.judging(t, attested(t, key), "acme/app:bare")
	run.options.KeepGoing = true
	if _, err := run.run(context.Background()); !errors.Is(err, judge.ErrPolicy) {
		t.Errorf("nothing is left to export: %v", err)
	}
}

// A proof whose content is wrong at first, as from a broken cache, is asked for again.
func TestASpoiltProofIsFetchedAgain(t *testing.T) {
	f, key := newFaulty(t), newKey(t)
	proof := f.attest(t, key, f.image)
	f.Inject(On("GET", proof.Digest.String(), Times(1, Spoil())))
	run := f.judging(t, attested(t, key), "acme/app:1")
	if _, err := run.run(context.Background()); err != nil {
		t.Error(err)
	}
	f.Inject(On("GET", proof.Digest.String(), Spoil()))
	if _, err := f.judging(t, attested(t, key), "acme/app:1").run(context.Background()); !errors.Is(err, bundle.ErrDigest) {
		t.Errorf("a proof that is always wrong: %v", err)
	}
}
