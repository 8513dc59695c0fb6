package interop

import (
	"slices"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
)

// proof is something that cosign can check with the fixture's key.
type proof struct {
	registry   string // of the fixture, where the proof is at the source
	repository string
	digest     string
	verify     []string // cosign's command and flags
}

// proofs lists what cosign made in the fixture: every predicate type on every platform and the index, the
// signature on every attestation, and on acme/legacy the old tags and the new bundles.
func proofs(t testing.TB, f *bundletest.Fixture) []proof {
	t.Helper()
	all := bundleProofs(t, f)
	const legacy = "acme/legacy"
	index := f.Digest(t, legacy, "1.0")
	platforms := f.Manifest(t, index).Children
	oldSignature := []string{"verify", "--new-bundle-format=false"}
	old := func(digest string, verify ...string) {
		all = append(all, proof{bundletest.Images, legacy, digest, verify})
	}
	for _, digest := range append([]string{index}, platforms...) {
		old(digest, oldSignature...)
	}
	old(index, "verify-attestation", "--new-bundle-format=false", "--type", "custom")
	old(platforms[0], "verify-attestation", "--new-bundle-format=false", "--type", "slsaprovenance02")
	sbom := f.Repository(t, bundletest.Images, legacy).Tags[bundletest.FallbackTag(platforms[0])+".sbom"]
	old(sbom, oldSignature...)
	return all
}

// bundleProofs finds the Sigstore bundles of the fixture by their annotation, which cosign writes.
func bundleProofs(t testing.TB, f *bundletest.Fixture) []proof {
	t.Helper()
	var all []proof
	for _, r := range f.Repositories {
		for _, m := range r.Manifests {
			switch predicate := m.Annotations["dev.sigstore.bundle.predicateType"]; predicate {
			case "":
			case "https://sigstore.dev/cosign/sign/v1":
				all = append(all, proof{r.Registry, r.Name, m.Subject, []string{"verify"}})
			default:
				all = append(all, proof{r.Registry, r.Name, m.Subject, []string{"verify-attestation", "--type", predicate}})
			}
		}
	}
	// A fixture without bundles would make the test pass by checking nothing.
	if len(all) < 20 {
		t.Fatalf("the fixture has only %d Sigstore bundles", len(all))
	}
	return all
}

// expectProofs lets cosign check each proof in the place that where gives for it.
func expectProofs(t *testing.T, b *bench, f *bundletest.Fixture, where func(proof) string) {
	t.Helper()
	for _, p := range proofs(t, f) {
		reference := where(p) + "/" + p.repository + "@" + p.digest
		if err := checkProof(t, b, p, reference); err != nil {
			t.Error(err)
		}
	}
}

func checkProof(t testing.TB, b *bench, p proof, reference string) error {
	t.Helper()
	args := slices.Concat(p.verify, []string{"--key", fixtureFile(t, "cosign.pub"), "--insecure-ignore-tlog=true", reference})
	_, err := b.try(t, "cosign", args...)
	return err
}

// TestProofsHaveTeeth expects cosign to refuse what the fixture did not sign, the way it is asked to
// check what it did.
func TestProofsHaveTeeth(t *testing.T) {
	f, b := bundletest.LoadFixture(t), newBench(t)
	host := bundletest.StartRegistry(t, true)
	f.Push(t, map[string]string{bundletest.Images: host, bundletest.Attestations: host})
	notation := proof{verify: []string{"verify"}}
	reference := host + "/acme/notation@" + f.Digest(t, "acme/notation", "1.0")
	if err := checkProof(t, b, notation, reference); err == nil || !strings.Contains(err.Error(), "no signatures found") {
		t.Errorf("cosign verify of an image that it did not sign: %v", err)
	}
}
