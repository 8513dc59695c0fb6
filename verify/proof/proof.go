// Package proof reads what hangs from manifests to prove something about them, and tells whose it is: cosign's signatures and
// attestations, Sigstore bundles, Notation's signatures (package notation), and statements that nobody has signed.
//
// Start with Read, which takes a manifest apart, and ask each Proof with By whose it is. The page verify/policy/POLICY.md says what counts as
// what. Nothing here asks a network, and no key, root or certificate that comes with a proof is trusted for that.
//
// Every format becomes the same thing (type signed): a message, signatures over it, and what came along to say who made them and when.
// Signatures are checked in one place (package signature), so that a key has one hash and one scheme wherever it is met; certificates, log entries
// and timestamps are checked by sigstore-go.
package proof

import (
	"errors"

	"airgap/bundle"
)

// Kind says what a proof is.
type Kind uint8

// The kinds.
const (
	Signature   Kind = iota + 1 // over the manifest itself
	Attestation                 // a statement about it
)

// Format says how a proof is written.
type Format string

// The formats.
const (
	Cosign         Format = "cosign"          // simple signing
	DSSE           Format = "dsse"            // an envelope in a layer
	SigstoreBundle Format = "sigstore-bundle" // v0.1 to v0.3
	NotationJWS    Format = "notation-jws"
	NotationCOSE   Format = "notation-cose"
	InToto         Format = "in-toto" // a statement without a signature
)

// Errors of By, one for each state of POLICY.md that is not good.
var (
	ErrUntrusted = errors.New("not by anybody who is trusted for it")
	ErrBroken    = errors.New("broken")
	ErrSubject   = errors.New("for something else")
	ErrRevoked   = errors.New("by a key or certificate that is revoked")
	ErrExpired   = errors.New("not shown to have been made while its certificate was valid")
	ErrUnsigned  = errors.New("signed by nobody")
)

// Claim is what a proof says, before anybody has checked whose it is.
type Claim struct {
	Kind          Kind
	Format        Format
	Carrier       bundle.Digest // the manifest that carries it
	Blob          bundle.Digest
	About         bundle.Digest // the manifest that it hangs from
	PredicateType string        // of the payload; "" for signatures
	Reference     string        // the signed docker-reference; "" where there is none
	Problem       error         // wraps ErrBroken or ErrSubject: it is these to everybody
}

// Proof is one signature or attestation.
type Proof struct {
	Claim

	statement []byte  // of an attestation: the payload, JSON that has passed the gate
	signed    *signed // nil: nobody signed it, or it is of Notation

	envelope  []byte // of Notation
	mediaType string
}
