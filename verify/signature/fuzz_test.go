package signature_test

import (
	"testing"

	"airgap/bundle"
	"airgap/verify/signature"
)

// FuzzVerify: whatever is accepted carries the payload and the signature of one of the seeds.
func FuzzVerify(f *testing.F) {
	artifact := bundle.DigestOf(fixture(f, "artifact.json"))
	for _, kind := range fixtureKinds {
		f.Add(fixture(f, kind+".sigstore.json"))
		f.Add(sign(f, privateKey(f, kind), artifact))
		f.Add(sign(f, privateKey(f, kind), index))
	}
	trusted := publicKeys(f, fixtureKinds...)
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := signature.Verify(in, artifact, trusted); err != nil {
			return
		}
		if len(in) > signature.MaxSize {
			t.Errorf("accepted %d bytes", len(in))
		}
		// Two digests cannot both be the one subject.
		if _, err := signature.Verify(in, index, trusted); err == nil {
			t.Error("accepted for two subjects")
		}
		if _, err := signature.Verify(in, artifact, []signature.PublicKey{generate(t, signature.Ed25519).Public()}); err == nil {
			t.Error("accepted by a key that was made just now")
		}
	})
}

func FuzzParsePublicKeys(f *testing.F) {
	for _, kind := range fixtureKinds {
		f.Add(fixture(f, kind+".pub"))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		keys, err := signature.ParsePublicKeys(in)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys and %v", len(keys), err)
		}
		for _, key := range keys {
			again, err := signature.ParsePublicKeys(key.MarshalPEM())
			if err != nil || again[0].Fingerprint() != key.Fingerprint() {
				t.Errorf("not the same key after writing and reading: %v", err)
			}
		}
	})
}
