package verify_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/verify"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/proof"
	"airgap/verify/proof/prooftest"
	"airgap/verify/signature"
)

// A signature that is good may count for nothing: who made it may be for other mirrors and destinations, be revoked, or be too few.
func TestTrust(t *testing.T) {
	key, officer, stranger := generate(t), generate(t), generate(t)
	made := time.Unix(1, 0) // as bundletest makes them
	b := bundletest.Remake(t, exported(t, images(t), signWith(key), "good"), signWith(key), bundle.PlanOptions{Mirror: "dhi", Sequence: 1, Created: made})
	none := bundletest.Remake(t, b.Bytes, signWith(key), bundle.PlanOptions{Created: made})
	other, err := signature.Sign(officer, none.ManifestIndex)
	if err != nil {
		t.Fatal(err)
	}
	countersigned, err := signature.Sign(officer, b.ManifestIndex)
	if err != nil {
		t.Fatal(err)
	}
	again, err := signature.Sign(key, b.ManifestIndex)
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := signature.Sign(stranger, b.ManifestIndex)
	if err != nil {
		t.Fatal(err)
	}
	scoped := func(s party.Scope) []party.Key { return []party.Key{{PublicKey: key.Public(), Scope: s}} }
	both := []party.Key{{PublicKey: officer.Public()}, {PublicKey: key.Public()}}
	plain := scoped(party.Scope{})
	for name, test := range map[string]struct {
		bundle  []byte
		policy  policy.Bundle
		trust   verify.Trust
		signers int
		want    error
		says    string
		base    error // of a bundle that another stands on
	}{
		"a mirror":                 {b.Bytes, policy.Bundle{Party: party.Party{Keys: scoped(party.Scope{Mirrors: []string{"a", "dhi"}})}}, verify.Trust{}, 1, nil, "", nil},
		"another mirror":           {b.Bytes, policy.Bundle{Party: party.Party{Keys: scoped(party.Scope{Mirrors: []string{"a"}})}}, verify.Trust{}, 0, verify.ErrScope, "counts for the mirrors a, and the bundle is of dhi", verify.ErrScope},
		"no mirror":                {none.Bytes, policy.Bundle{Party: party.Party{Keys: scoped(party.Scope{Mirrors: []string{"dhi"}})}}, verify.Trust{}, 0, verify.ErrScope, "the bundle is of none", verify.ErrScope},
		"a destination":            {b.Bytes, policy.Bundle{Party: party.Party{Keys: scoped(party.Scope{Destinations: []string{"*.example.com/**"}})}}, verify.Trust{Destination: "harbor.example.com/a/b"}, 1, nil, "", nil},
		"another destination":      {b.Bytes, policy.Bundle{Party: party.Party{Keys: scoped(party.Scope{Destinations: []string{"harbor.example.com/*"}})}}, verify.Trust{Destination: "harbor.example.com/a/b"}, 0, verify.ErrScope, "not for harbor.example.com/a/b", verify.ErrScope},
		"no destination":           {b.Bytes, policy.Bundle{Party: party.Party{Keys: scoped(party.Scope{Destinations: []string{"**"}})}}, verify.Trust{}, 0, verify.ErrScope, "say so with --for", verify.ErrScope},
		"mirror and destination":   {b.Bytes, policy.Bundle{Party: party.Party{Keys: scoped(party.Scope{Mirrors: []string{"dhi"}, Destinations: []string{"x"}})}}, verify.Trust{Destination: "y"}, 0, verify.ErrScope, "not for y", verify.ErrScope},
		"one key, two scopes":      {b.Bytes, policy.Bundle{Party: party.Party{Keys: append(scoped(party.Scope{Mirrors: []string{"a"}}), scoped(party.Scope{Mirrors: []string{"dhi"}})...)}}, verify.Trust{}, 1, nil, "", nil},
		"revoked":                  {b.Bytes, policy.Bundle{Party: party.Party{Keys: plain, Revoked: map[bundle.Digest]bool{key.Public().Digest(): true}}}, verify.Trust{}, 0, proof.ErrRevoked, key.Public().Fingerprint(), proof.ErrRevoked},
		"one of two":               {b.Bytes, policy.Bundle{Party: party.Party{Keys: both}, Threshold: 2}, verify.Trust{}, 0, verify.ErrThreshold, "by " + key.Public().Fingerprint() + ", which is 1 of 2", nil},
		"two of two":               {b.Bytes, policy.Bundle{Party: party.Party{Keys: both}, Threshold: 2}, verify.Trust{Signatures: []signature.Detached{{Name: "beside", Content: countersigned}}}, 2, nil, "", nil},
		"one twice":                {b.Bytes, policy.Bundle{Party: party.Party{Keys: append(both, plain...)}, Threshold: 2}, verify.Trust{Signatures: []signature.Detached{{Name: "beside", Content: again}}}, 0, verify.ErrThreshold, "1 of 2", nil},
		"one and a stranger":       {b.Bytes, policy.Bundle{Party: party.Party{Keys: both}, Threshold: 2}, verify.Trust{Signatures: []signature.Detached{{Name: "beside", Content: unknown}}}, 0, signature.ErrUntrustedKey, stranger.Public().Fingerprint(), nil},
		"one of another bundle":    {b.Bytes, policy.Bundle{Party: party.Party{Keys: both}, Threshold: 2}, verify.Trust{Signatures: []signature.Detached{{Name: "beside", Content: other}}}, 0, signature.ErrWrongSubject, none.ManifestIndex.Hex(), nil},
		"one who counts elsewhere": {b.Bytes, policy.Bundle{Party: party.Party{Keys: append(scoped(party.Scope{Mirrors: []string{"a"}}), both[0])}, Threshold: 2}, verify.Trust{Signatures: []signature.Detached{{Name: "beside", Content: countersigned}}}, 0, verify.ErrThreshold, "counts for the mirrors a", verify.ErrScope},
		"beside the bundle alone":  {b.Bytes, policy.Bundle{Party: party.Party{Keys: both[:1]}}, verify.Trust{Signatures: []signature.Detached{{Name: "beside", Content: countersigned}}}, 1, nil, "", signature.ErrUntrustedKey},
		"young enough":             {b.Bytes, policy.Bundle{Party: party.Party{Keys: plain}, MaxAge: time.Hour}, verify.Trust{Now: made.Add(time.Hour)}, 1, nil, "", nil},
		"too old":                  {b.Bytes, policy.Bundle{Party: party.Party{Keys: plain}, MaxAge: time.Hour}, verify.Trust{Now: made.Add(49 * time.Hour)}, 0, verify.ErrTooOld, "2 days ago", nil},
		"too old by the clock":     {b.Bytes, policy.Bundle{Party: party.Party{Keys: plain}, MaxAge: time.Hour}, verify.Trust{}, 0, verify.ErrTooOld, "1970-01-01", nil},
		"nobody":                   {b.Bytes, policy.Bundle{}, verify.Trust{Signatures: []signature.Detached{{Name: "beside", Content: countersigned}}}, 0, verify.ErrNoKey, "", verify.ErrNoKey},
	} {
		t.Run(name, func(t *testing.T) {
			test.trust.Policy = &policy.Policy{Bundle: test.policy}
			checked, err := openWith(t, test.bundle, test.trust)
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %v with %q", err, test.want, test.says)
			}
			if err == nil && len(checked.Signers()) != test.signers {
				t.Errorf("signed by %v, want %d", checked.Signers(), test.signers)
			}
			if _, err := openWith(t, test.bundle, test.trust.OfBases()); !errors.Is(err, test.base) {
				t.Errorf("as a base: %v, want %v", err, test.base)
			}
		})
	}
	if _, err := openWith(t, b.Bytes, verify.Trust{}); !errors.Is(err, verify.ErrNoKey) {
		t.Errorf("without a policy: %v", err)
	}
}

func openWith(t *testing.T, b []byte, trust verify.Trust) (*verify.Bundle, error) {
	t.Helper()
	sealed, err := bundle.Open(bundle.FromReaderAt(bytes.NewReader(b), int64(len(b))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sealed.Close(); err != nil {
			t.Error(err)
		}
	})
	return verify.Open(t.Context(), sealed, trust)
}

// A signature with a certificate counts for the identities of the policy, as long as it is shown to have been made in time.
func TestTrustInIdentities(t *testing.T) {
	w, s, key := prooftest.NewWorld(t), images(t), generate(t)
	trusted, err := root.NewTrustedRootFromJSON(w.TrustedRoot(false))
	if err != nil {
		t.Fatal(err)
	}
	of := func(subject string, scope party.Scope) party.Party {
		return party.Party{Root: trusted, Identities: []party.Identity{{Issuer: prooftest.Issuer, Subject: subject, Scope: scope}}}
	}
	good := func(d bundle.Digest) ([]byte, error) { return w.Certified(signature.PredicateType, d, true), nil }
	for name, test := range map[string]struct {
		sign   bundle.Signer
		policy policy.Bundle
		want   error
	}{
		"good":               {good, policy.Bundle{Party: of(prooftest.Subject, party.Scope{})}, nil},
		"another identity":   {good, policy.Bundle{Party: of("somebody@acme.example", party.Scope{})}, signature.ErrUntrustedKey},
		"for another mirror": {good, policy.Bundle{Party: of(prooftest.Subject, party.Scope{Mirrors: []string{"dhi"}})}, verify.ErrScope},
		"keys alone":         {good, policy.Bundle{Party: party.Party{Keys: []party.Key{{PublicKey: key.Public()}}}}, signature.ErrCertificate},
		"one of two":         {good, policy.Bundle{Party: of(prooftest.Subject, party.Scope{}), Threshold: 2}, verify.ErrThreshold},
		"at no known time": {func(d bundle.Digest) ([]byte, error) { return w.Certified(signature.PredicateType, d, false), nil },
			policy.Bundle{Party: of(prooftest.Subject, party.Scope{})}, proof.ErrExpired},
		"another bundle": {func(bundle.Digest) ([]byte, error) {
			return w.Certified(signature.PredicateType, bundle.EmptyJSON, true), nil
		},
			policy.Bundle{Party: of(prooftest.Subject, party.Scope{})}, proof.ErrSubject},
		"another predicate": {func(d bundle.Digest) ([]byte, error) { return w.Certified("https://example.com/other", d, true), nil },
			policy.Bundle{Party: of(prooftest.Subject, party.Scope{})}, signature.ErrWrongPredicate},
	} {
		t.Run(name, func(t *testing.T) {
			checked, err := openWith(t, exported(t, s, test.sign, "good"), verify.Trust{Policy: &policy.Policy{Bundle: test.policy}})
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if err == nil && (len(checked.Signers()) != 1 || checked.Signers()[0].String() != prooftest.Subject+" ("+prooftest.Issuer+")") {
				t.Errorf("signed by %v", checked.Signers())
			}
		})
	}
}
