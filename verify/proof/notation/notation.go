// Package notation checks signatures of the Notary Project, as the notation program makes them, with that project's own
// verifier: offline, against a trust store that is in memory. Start with Verify.
//
// Of its signing schemes notary.x509 counts, and notary.x509.signingAuthority does not: there an authority is trusted to say when it
// signed, and a policy names none. There are no plugins: a signature that cannot be checked without one is refused.
//
//	https://github.com/notaryproject/specifications/blob/v1.1.0/specs/signature-specification.md
//	https://github.com/notaryproject/specifications/blob/v1.1.0/specs/trust-store-trust-policy.md
package notation

import (
	"context"
	"errors"
	"fmt"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
	"airgap/verify/party"
)

// Errors of Verify.
var (
	// ErrBroken: malformed, altered, or in need of something that is not accepted here.
	ErrBroken = errors.New("broken")
	// ErrUntrusted: none of the store's certificates vouches for it, or it is by an identity that is not asked for.
	ErrUntrusted = errors.New("not by a trusted identity")
	// ErrRevoked: by somebody trusted, with a certificate that is revoked.
	ErrRevoked = errors.New("by a certificate that is revoked")
	// ErrExpired: by somebody trusted, and either its own time is over, or nothing shows that it was made while its certificates were valid.
	ErrExpired = errors.New("not shown to have been made while its certificates were valid")
)

// Verify checks a signature, and says what it is over and by whom. With an error other than ErrBroken the subject is what the envelope
// claims; there is a signer only without an error, and it has a time when a timestamp by an authority of the store vouches for one.
//
// The signer does not sign the timestamp, so that anybody can take it away: a bad one counts as none, and the
// certificates must then be valid now. What is in revoked (digests of SubjectPublicKeyInfo) does not count anywhere in a chain, that of
// a timestamp included.
func Verify(envelope []byte, mediaType string, store *party.Notation, revoked map[bundle.Digest]bool) (subject bundle.Descriptor, signer party.Signer, err error) {
	content, subject, err := read(envelope, mediaType)
	if err != nil {
		return bundle.Descriptor{}, party.Signer{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if store == nil {
		return subject, party.Signer{}, fmt.Errorf("%w: there is no trust store", ErrUntrusted)
	}
	c := check{envelope: envelope, mediaType: mediaType, subject: subject, store: store, revoked: revoked}
	token := content.SignerInfo.UnsignedAttributes.TimestampSignature
	timestamped := len(token) > 0 && len(store.Timestamps) > 0
	if err = c.run(timestamped); timestamped && errors.Is(err, ErrExpired) {
		if without := c.run(false); !errors.Is(without, ErrExpired) {
			err, timestamped = without, false
		}
	}
	if err != nil {
		return subject, party.Signer{}, err
	}
	leaf := content.SignerInfo.CertificateChain[0]
	signer = party.Signer{Key: bundle.DigestOf(leaf.RawSubjectPublicKeyInfo), Subject: leaf.Subject.String()}
	if timestamped {
		if signer.Time, err = timeOf(token); err != nil {
			return subject, party.Signer{}, fmt.Errorf("%w: timestamp: %w", ErrBroken, err)
		}
	}
	return subject, signer, nil
}

// check is one envelope before one trust store.
type check struct {
	envelope  []byte
	mediaType string
	subject   bundle.Descriptor
	store     *party.Notation
	revoked   map[bundle.Digest]bool
}

// run asks Notation's verifier. With timestamped the envelope's timestamp must be good, and without it is not looked at.
func (c check) run(timestamped bool) error {
	document := documentOf(c.store.Identities, timestamped)
	v, err := verifier.NewWithOptions(document, trustStore{c.store}, nil, verifier.VerifierOptions{
		RevocationCodeSigningValidator:  revocations(c.revoked),
		RevocationTimestampingValidator: revocations(c.revoked),
	})
	if err != nil {
		return fmt.Errorf("%w: the trust store cannot be used: %w", ErrUntrusted, err)
	}
	// Nothing of the interface waits for anything: what would ask a network is replaced above.
	outcome, err := v.Verify(context.Background(), ocispec.Descriptor{
		MediaType: c.subject.MediaType,
		Digest:    digest.Digest(c.subject.Digest.String()),
		Size:      c.subject.Size,
	}, c.envelope, notation.VerifierVerifyOptions{
		ArtifactReference:  anyReference,
		SignatureMediaType: c.mediaType,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", stateOf(outcome), err)
	}
	return nil
}

// stateOf says which of our errors an outcome is that is not good.
func stateOf(outcome *notation.VerificationOutcome) error {
	for _, result := range outcome.VerificationResults {
		if result.Error == nil {
			continue
		}
		switch result.Type {
		case trustpolicy.TypeAuthenticity:
			return ErrUntrusted
		case trustpolicy.TypeExpiry, trustpolicy.TypeAuthenticTimestamp:
			return ErrExpired
		case trustpolicy.TypeRevocation:
			return ErrRevoked
		}
	}
	return ErrBroken
}
