// Package party says who may sign: by keys, by identities that a certificate authority vouches for, or by a trust store of Notation.
// It is data; package proof tells whose a signature is, and package policy reads parties from a file.
package party

import (
	"crypto/x509"
	"regexp"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"airgap/bundle"
	"airgap/verify/signature"
)

// Party is somebody whose signatures count. The zero value is nobody.
type Party struct {
	Name       string // what a person calls it: names in the policy, or the files of its keys, or the place where it is written
	InPlace    bool   // it is written where it is asked for, and not by names alone
	Keys       []Key
	Identities []Identity
	Root       *root.TrustedRoot // of Identities
	Notation   *Notation
	Revoked    map[bundle.Digest]bool // digests of SubjectPublicKeyInfo, of keys and of certificates anywhere in a chain
}

// Key is a public key of a party.
type Key struct {
	signature.PublicKey
	Where string // the file that it is from, or its place in the policy
	Scope Scope
}

// Identity is whom a certificate has to name. Each part is one of two.
type Identity struct {
	Issuer            string
	IssuerExpression  *regexp.Regexp // anchored
	Subject           string
	SubjectExpression *regexp.Regexp // anchored
	Scope             Scope
}

// Matches tells whether a certificate names the identity.
func (i *Identity) Matches(issuer, subject string) bool {
	return matches(i.Issuer, i.IssuerExpression, issuer) && matches(i.Subject, i.SubjectExpression, subject)
}

// matches is never true for an identity that says nothing, nor for a certificate that does not.
func matches(exact string, expression *regexp.Regexp, named string) bool {
	return named != "" && (exact != "" && exact == named || expression != nil && expression.MatchString(named))
}

// Scope limits what a signature over a bundle counts for. The zero value limits nothing.
type Scope struct {
	Mirrors      []string // names
	Destinations []string // globs of HOST[/PREFIX]
}

// Notation is a trust store and the identities that count of those that it vouches for.
// https://github.com/notaryproject/specifications/blob/v1.1.0/specs/trust-store-trust-policy.md
type Notation struct {
	Certificates []*x509.Certificate
	Timestamps   []*x509.Certificate // roots of timestamp authorities
	Identities   []string            // "x509.subject: ...", or "*"
}

// Signer is who made a signature, as it was verified.
type Signer struct {
	Party   string        // whose it counts as
	Key     bundle.Digest // of the SubjectPublicKeyInfo of the key, or of the leaf certificate's
	Issuer  string        // of an identity
	Subject string        // of an identity; of Notation: the subject of the leaf certificate
	Time    time.Time     // by a log or a timestamp authority; zero: nobody vouches for one
}

// ID tells signers apart: keys by their digest, identities by issuer and subject.
func (s Signer) ID() string {
	if s.Issuer == "" && s.Subject == "" {
		return s.Key.String()
	}
	return s.Issuer + "\n" + s.Subject
}

// Names says for people who signers are.
func Names(signers []Signer) []string {
	names := make([]string, len(signers))
	for i, s := range signers {
		names[i] = s.String()
	}
	return names
}

// String says for people who it is.
func (s Signer) String() string {
	switch {
	case s.Subject == "" && s.Issuer == "":
		return s.Key.String()
	case s.Issuer == "":
		return s.Subject
	}
	return s.Subject + " (" + s.Issuer + ")"
}
