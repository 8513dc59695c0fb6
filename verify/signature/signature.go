// Package signature makes and checks the signature over a bundle's manifest index, and reads and writes the keys for
// it. Start with Generate or ParsePrivateKey and Sign on the one side, ParsePublicKeys and Verify on the other. The
// package reads no files or environment and prints nothing: passwords come from a function of the caller.
//
// # What a signature is
//
// A Sigstore bundle v0.3 that holds a DSSE envelope with one signature over an in-toto statement v1, which names one
// subject by its sha256 digest (the manifest index) and has the predicate type and the empty predicate that
// `cosign sign` writes. Nothing vouches for the time: there is no certificate, no timestamp and no log entry. (Those by an
// identity have these: export/keyless makes them, and verify/proof checks them.)
//
//	https://github.com/sigstore/protobuf-specs/blob/v0.5.1/protos/sigstore_bundle.proto
//	https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
//	https://github.com/in-toto/attestation/blob/v1.1.2/spec/v1/statement.md
//
// The same key and digest give the same bytes, unless the key is held elsewhere (package command).
//
// # Algorithms
//
// Each type of key has exactly one algorithm, as in Sigstore's registry, so that nothing in a signature chooses how
// it is checked: ECDSA P-256 with SHA-256, P-384 with SHA-384, P-521 with SHA-512; Ed25519, not prehashed; RSA of
// 2048 to 8192 bits with PKCS#1 v1.5 and SHA-256.
//
//	https://github.com/sigstore/architecture-docs/blob/main/algorithm-registry.md
//
// # Checking without airgap
//
// With cosign 3.1.3, for the manifest index and the Sigstore bundle as files, and when both are in a registry:
//
//	cosign verify-blob-attestation --key airgap.pub --bundle signature.sigstore.json \
//	    --type https://sigstore.dev/cosign/sign/v1 --insecure-ignore-tlog=true manifest-index.json
//	cosign verify --key airgap.pub --insecure-ignore-tlog=true REGISTRY/REPOSITORY@sha256:<manifest index>
//
// Both run without a network beyond the registry. Keys on P-384 and P-521 need --signature-digest-algorithm=sha384 or
// =sha512 besides. cosign 3.1.3 signs with Ed25519 keys prehashed, which neither it nor airgap accepts in a DSSE
// envelope; signatures that airgap makes with such keys pass. To countersign with cosign use `cosign sign`:
// `cosign attest-blob` writes a statement v0.1 unless it is given one.
package signature

import (
	"errors"
	"fmt"

	"airgap/bundle"
)

// Sentinels for callers. Every error of Verify wraps one of the first four, every error about a key file
// ErrKey or ErrPassword.
var (
	// ErrMalformed: not a signature of the kind that the package comment describes.
	ErrMalformed = errors.New("malformed signature")
	// ErrCertificate: made with a certificate, and not with a key that is known by itself. It wraps ErrMalformed.
	ErrCertificate = fmt.Errorf("%w: made with a certificate", ErrMalformed)
	// ErrMissing: there is no signature.
	ErrMissing = errors.New("not signed")
	// ErrUntrustedKey: no trusted key made this signature, or it was altered; the two cannot be told apart.
	ErrUntrustedKey = errors.New("not signed by a trusted key")
	// ErrWrongPredicate: signed by a trusted key, but as something other than a signature over content.
	ErrWrongPredicate = errors.New("signed for another purpose")
	// ErrWrongSubject: signed by a trusted key, over something else.
	ErrWrongSubject = errors.New("signature over something else")
	// ErrKey: a key file that cannot be used.
	ErrKey = errors.New("unusable key")
	// ErrNotSigned: whoever holds the key returned something other than its signature.
	ErrNotSigned = errors.New("not a signature by this key")
	// ErrPassword: the key file is encrypted, and the password is wrong or there is none.
	ErrPassword = errors.New("wrong or missing password")
)

const (
	// MediaType is that of a Sigstore bundle v0.3, in the bundle itself and of the layer that carries it.
	MediaType = bundle.MediaTypeSigstore
	// PredicateType is that of `cosign sign`.
	PredicateType = "https://sigstore.dev/cosign/sign/v1"
	// MaxSize bounds a signature, in bytes. Ours take under 1 KiB; the rest is room for log entries by others.
	MaxSize = bundle.MaxSignatureSize
	// MaxKeyFileSize bounds a file of keys, in bytes.
	MaxKeyFileSize = 64 << 10

	// PayloadType is that of what is signed, in its envelope.
	PayloadType = "application/vnd.in-toto+json"

	statementType = "https://in-toto.io/Statement/v1"
)
