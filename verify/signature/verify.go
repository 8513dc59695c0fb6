package signature

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"airgap/bundle"
)

// Detached is a Sigstore bundle that came in a file of its own, beside what it is about.
type Detached struct {
	Name    string // for people
	Content []byte
}

// Verify checks that signature, a Sigstore bundle, is over manifestIndex and by one of the trusted keys, and returns
// that key. Which key the signature says it is by plays no part. Nothing in the payload is looked at before the
// signature over it has been checked; log entries and timestamps are not looked at at all.
//
// Errors wrap ErrMalformed, ErrUntrustedKey, ErrWrongPredicate or ErrWrongSubject.
func Verify(signature []byte, manifestIndex bundle.Digest, trusted []PublicKey) (PublicKey, error) {
	b, err := parseBundle(signature)
	if err != nil {
		return PublicKey{}, err
	}
	if b.Material.PublicKey == nil {
		return PublicKey{}, fmt.Errorf("%w: only the identities of a policy can say whose it is", ErrCertificate)
	}
	signed := NewEnvelopeMessage(b.Envelope.PayloadType, b.Envelope.Payload)
	for _, key := range trusted {
		if !key.Verifies(signed, b.Envelope.Signatures[0].Signature) {
			continue
		}
		if err := b.Envelope.checkStatement(manifestIndex); err != nil {
			return PublicKey{}, err
		}
		return key, nil
	}
	return PublicKey{}, untrusted(b.Material.PublicKey.Hint, trusted)
}

// CheckCertified checks that signature has the form that the package comment describes, with a certificate in place of a key, and is
// over manifestIndex. Whose it is, is package proof's to say. Errors are those of Verify.
func CheckCertified(signature []byte, manifestIndex bundle.Digest) error {
	b, err := parseBundle(signature)
	if err != nil {
		return err
	}
	return b.Envelope.checkStatement(manifestIndex)
}

// untrusted explains that none of the trusted keys made a signature. The hint is anybody's word, so it serves to
// guide a person and nothing else.
func untrusted(hint string, trusted []PublicKey) error {
	if len(trusted) == 0 {
		return fmt.Errorf("%w: no trusted key was given", ErrUntrustedKey)
	}
	fingerprints := make([]string, len(trusted))
	for i, key := range trusted {
		if hint == key.hint() {
			return fmt.Errorf("%w: the signature says that it is by %s, which is trusted, but does not verify with it: "+
				"it was damaged or altered; get the bundle again from where it was made", ErrUntrustedKey, key.Fingerprint())
		}
		fingerprints[i] = key.Fingerprint()
	}
	claimed := "does not say by which key it is"
	if raw, err := base64.StdEncoding.DecodeString(hint); err == nil && len(raw) == sha256.Size {
		claimed = "says that it is by sha256:" + hex.EncodeToString(raw)
	}
	return fmt.Errorf("%w: the signature %s; trusted: %s. Compare with the fingerprint that `airgap keygen` printed where "+
		"the bundle was made, and give that public key if you trust it", ErrUntrustedKey, claimed, strings.Join(fingerprints, ", "))
}
