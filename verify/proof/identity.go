package proof

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	sigstore "github.com/sigstore/sigstore-go/pkg/verify"

	"airgap/bundle"
	"airgap/verify/party"
	"airgap/verify/signature"
)

// setCertificate takes the certificate of the key that made the signature.
func (s *signed) setCertificate(leaf *x509.Certificate) {
	s.certificate = leaf
	// Go knows no subject alternative names of other kinds, which Fulcio issues; sigstore-go reads them (certificate.SummarizeCertificate).
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(leaf.UnhandledCriticalExtensions, func(id asn1.ObjectIdentifier) bool {
		return id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17})
	})
}

// byIdentity is for what was made with a certificate: by whom its authority says, as long as that is shown to have been while it was valid.
func (s *signed) byIdentity(whose *party.Party) (party.Signer, error) {
	summary, err := certificate.SummarizeCertificate(s.certificate)
	if err != nil {
		return party.Signer{}, fmt.Errorf("%w: made with a certificate that names nobody: %w", ErrUntrusted, err)
	}
	signer := party.Signer{
		Party: whose.Name, Key: bundle.DigestOf(s.certificate.RawSubjectPublicKeyInfo),
		Issuer: summary.Issuer, Subject: summary.SubjectAlternativeName,
	}
	if whose.Root == nil {
		return party.Signer{}, fmt.Errorf("%w: made with a certificate for %s by %s, and %s has no identities", ErrUntrusted, signer.Subject, signer.Issuer, whose.Name)
	}
	w, err := s.madeWithCertificate()
	if err != nil {
		return party.Signer{}, err
	}
	chains, made, err := w.chains(whose.Root)
	if err != nil {
		return party.Signer{}, err
	}
	signer.Time = made
	if revoked := revokedIn(chains, whose.Revoked); revoked != nil {
		return party.Signer{}, fmt.Errorf("%w: certificate of %q, key %s", ErrRevoked, revoked.Subject.String(), bundle.DigestOf(revoked.RawSubjectPublicKeyInfo))
	}
	if !slices.ContainsFunc(whose.Identities, func(i party.Identity) bool { return i.Matches(signer.Issuer, signer.Subject) }) {
		return party.Signer{}, fmt.Errorf("%w: made by %s as %s knows them, who is not of %s", ErrUntrusted, signer.Subject, signer.Issuer, whose.Name)
	}
	return signer, nil
}

// madeWithCertificate returns the signature that the certificate's key made.
func (s *signed) madeWithCertificate() (*witnessed, error) {
	key, err := signature.NewPublicKey(s.certificate.PublicKey)
	if err != nil {
		return nil, broken("certificate: %w", err)
	}
	for _, raw := range s.signatures {
		if key.Verifies(s.message, raw) {
			return &witnessed{signed: s, signature: raw, key: key}, nil
		}
	}
	return nil, broken("its signature is not by the key of its certificate")
}

func revokedIn(chains [][]*x509.Certificate, revoked map[bundle.Digest]bool) *x509.Certificate {
	for _, chain := range chains {
		for _, c := range chain {
			if revoked[bundle.DigestOf(c.RawSubjectPublicKeyInfo)] {
				return c
			}
		}
	}
	return nil
}

// chains returns how the certificate leads to an authority of the trusted root at the times at which the signature is shown to have been
// made, and the earliest of these.
func (w *witnessed) chains(tm root.TrustedMaterial) ([][]*x509.Certificate, time.Time, error) {
	if len(w.chainsAt(tm, w.certificate.NotBefore)) == 0 {
		return nil, time.Time{}, fmt.Errorf("%w: its certificate (%.100q) is not by an authority of the trusted root", ErrUntrusted, w.certificate.Issuer.String())
	}
	times, err := w.times(tm)
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(times) == 0 {
		return nil, time.Time{}, fmt.Errorf("%w: no log or timestamp authority of the trusted root says when it was made", ErrExpired)
	}
	var chains [][]*x509.Certificate
	for _, t := range times {
		if chains = w.chainsAt(tm, t); len(chains) == 0 {
			return nil, time.Time{}, fmt.Errorf("%w: made on %s, with a certificate for %s to %s", ErrExpired,
				t.UTC().Format(time.RFC3339), w.certificate.NotBefore.Format(time.RFC3339), w.certificate.NotAfter.Format(time.RFC3339))
		}
	}
	if len(tm.CTLogs()) > 0 {
		if err := sigstore.VerifySignedCertificateTimestamp(chains, 1, tm); err != nil {
			return nil, time.Time{}, fmt.Errorf("%w: its certificate is not shown to be in a certificate log of the trusted root: %.300s", ErrUntrusted, err.Error())
		}
	}
	return chains, earliest(times), nil
}

// chainsAt returns how the certificate leads to an authority of the trusted root at a time. Intermediate certificates may come with the proof.
func (s *signed) chainsAt(tm root.TrustedMaterial, at time.Time) [][]*x509.Certificate {
	for _, authority := range tm.FulcioCertificateAuthorities() {
		if fulcio, ok := authority.(*root.FulcioCertificateAuthority); ok {
			extended := *fulcio
			extended.Intermediates = slices.Concat(fulcio.Intermediates, s.chain)
			authority = &extended
		}
		if chains, err := authority.Verify(s.certificate, at); err == nil {
			return chains
		}
	}
	return nil
}
