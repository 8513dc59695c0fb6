package proof_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/verify/party"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

// fixtureProofs reads all proofs in the fixture that hang from something by a subject or one of cosign's tags, or are of BuildKit.
func fixtureProofs(t testing.TB, f *bundletest.Fixture) []*proof.Proof {
	t.Helper()
	var all []*proof.Proof
	for _, r := range f.Repositories {
		for _, m := range r.Manifests {
			about := m.Subject
			for tag, digest := range r.Tags {
				if hex, isSHA := cutTag(tag); isSHA && digest == m.Digest {
					about = "sha256:" + hex
				}
			}
			if about == "" {
				about = buildKitSubject(t, f, r, m.Digest)
			}
			if about == "" {
				continue
			}
			parsed, err := bundle.ParseManifest(m.MediaType, m.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			proofs, err := proof.Read(context.Background(), proof.Carrier{Digest: digest(t, m.Digest), Manifest: parsed, About: digest(t, about)},
				func(_ context.Context, d bundle.Descriptor) ([]byte, error) { return f.Blob(t, d.Digest.String()), nil })
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, proofs...)
		}
	}
	return all
}

func cutTag(tag string) (hex string, ok bool) {
	if len(tag) < len("sha256-")+64 || tag[:7] != "sha256-" {
		return "", false
	}
	return tag[7 : 7+64], true
}

// buildKitSubject returns the platform that an attestation manifest is about: the index that lists it says so.
func buildKitSubject(t testing.TB, f *bundletest.Fixture, r bundletest.Repository, child string) string {
	t.Helper()
	for _, m := range r.Manifests {
		if !slices.Contains(m.Children, child) {
			continue
		}
		index, err := bundle.ParseManifest(m.MediaType, m.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range index.Manifests {
			if d.Digest.String() == child && d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
				return d.Annotations["vnd.docker.reference.digest"]
			}
		}
	}
	return ""
}

func digest(t testing.TB, s string) bundle.Digest {
	t.Helper()
	d, err := bundle.ParseDigest(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func keysOf(t testing.TB, file string) []party.Key {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := signature.ParsePublicKeys(content)
	if err != nil {
		t.Fatal(err)
	}
	var keys []party.Key
	for _, key := range parsed {
		keys = append(keys, party.Key{PublicKey: key, Where: file})
	}
	return keys
}

// TestFixture: what cosign 2 and 3 made in the fixture is by the fixture's key and by no other, and what it says is read from its payload.
func TestFixture(t *testing.T) {
	f := bundletest.LoadFixture(t)
	acme := &party.Party{Name: "acme", Keys: keysOf(t, "../../testdata/fixtures/acme/cosign.pub")}
	other := &party.Party{Name: "other", Keys: keysOf(t, "../signature/testdata/p256.pub")}
	counts := map[proof.Format]int{}
	types := map[string]int{}
	for _, p := range fixtureProofs(t, f) {
		counts[p.Format]++
		types[p.PredicateType]++
		signer, err := p.By(acme)
		_, otherErr := p.By(other)
		switch p.Format {
		case proof.InToto:
			if !errors.Is(err, proof.ErrUnsigned) {
				t.Errorf("%s: a statement that nobody signed: %v", p.Blob, err)
			}
		case proof.NotationJWS:
			if !errors.Is(err, proof.ErrUntrusted) {
				t.Errorf("%s: of Notation, by a key: %v", p.Blob, err)
			}
		default:
			if err != nil || signer.Key != acme.Keys[0].Digest() || signer.Party != "acme" {
				t.Errorf("%s %s: by %+v, %v", p.Format, p.Blob, signer, err)
			}
			if !errors.Is(otherErr, proof.ErrUntrusted) {
				t.Errorf("%s %s: by another key: %v", p.Format, p.Blob, otherErr)
			}
		}
		checkClaim(t, p)
	}
	if counts[proof.Cosign] != 4 || counts[proof.DSSE] != 2 || counts[proof.SigstoreBundle] < 20 || counts[proof.InToto] != 4 || counts[proof.NotationJWS] != 1 {
		t.Errorf("found %v", counts)
	}
	if len(types) < 7 {
		t.Errorf("predicate types %v", types)
	}
}

// checkClaim: signatures have no statement; that of an attestation has the type that the claim says.
func checkClaim(t *testing.T, p *proof.Proof) {
	t.Helper()
	statement, err := p.Statement()
	if p.Kind == proof.Signature {
		if err == nil || p.PredicateType != "" {
			t.Errorf("%s: a signature with a statement of type %q", p.Blob, p.PredicateType)
		}
		if (p.Reference != "") != (p.Format == proof.Cosign) {
			t.Errorf("%s: reference %q in %s", p.Blob, p.Reference, p.Format)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", p.Blob, err)
	} else if got := statement.(map[string]any)["predicateType"]; got != p.PredicateType || got == "" {
		t.Errorf("%s: type %v, claimed %s", p.Blob, got, p.PredicateType)
	}
}
