package signature

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// sigstoreBundle has the fields of a Sigstore bundle in the order in which cosign writes them.
type sigstoreBundle struct {
	MediaType string    `json:"mediaType"`
	Material  material  `json:"verificationMaterial"`
	Envelope  *envelope `json:"dsseEnvelope,omitempty"`
	// Message is the other kind of content, a bare signature over a file.
	Message json.RawMessage `json:"messageSignature,omitempty"`
}

// material says how to check a signature, in the words of its maker. What is raw here is known and not looked at.
type material struct {
	PublicKey   *publicKeyHint  `json:"publicKey,omitempty"`
	Certificate json.RawMessage `json:"certificate,omitempty"`
	Chain       json.RawMessage `json:"x509CertificateChain,omitempty"`
	Log         json.RawMessage `json:"tlogEntries,omitempty"`
	Timestamps  json.RawMessage `json:"timestampVerificationData,omitempty"`
}

type publicKeyHint struct {
	Hint string `json:"hint,omitempty"`
}

// envelope is a DSSE envelope.
type envelope struct {
	Payload     base64Bytes         `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	Signature base64Bytes `json:"sig"`
	KeyID     string      `json:"keyid,omitempty"` // a hint as well
}

// base64Bytes is base64 in JSON, in the one spelling that encoders write. encoding/json alone would take line breaks
// and stray bits at the end as well, and so many spellings of one signature.
type base64Bytes []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *base64Bytes) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return err
	}
	if base64.StdEncoding.EncodeToString(raw) != string(text) {
		return errors.New("base64 in an unusual spelling")
	}
	*b = raw
	return nil
}

// statement is an in-toto statement v1.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// subject is what a statement is about. Its other fields are optional, and without meaning here.
type subject struct {
	Digest      map[string]string `json:"digest"`
	Annotations json.RawMessage   `json:"annotations,omitempty"`
}

// parseBundle reads a Sigstore bundle and checks all that can be checked without believing its payload.
func parseBundle(signature []byte) (*sigstoreBundle, error) {
	if len(signature) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrMalformed, len(signature), MaxSize)
	}
	// Exact, as readers of protobuf's JSON are too: fields that only some readers know must not carry meaning.
	var b sigstoreBundle
	if err := strictjson.UnmarshalExact(signature, &b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch {
	case b.MediaType != MediaType:
		return nil, fmt.Errorf("%w: its media type is %.80q, not %s", ErrMalformed, b.MediaType, MediaType)
	case b.Envelope == nil || b.Message != nil:
		return nil, fmt.Errorf("%w: not a DSSE envelope alone; was it made by `cosign sign-blob`? Use `cosign sign`", ErrMalformed)
	case (b.Material.PublicKey == nil) == (b.Material.Certificate == nil) || b.Material.Chain != nil:
		return nil, fmt.Errorf("%w: neither by a key nor with one certificate", ErrMalformed)
	case len(b.Envelope.Signatures) != 1:
		return nil, fmt.Errorf("%w: %d signatures in one envelope; there must be one", ErrMalformed, len(b.Envelope.Signatures))
	}
	return &b, nil
}

// checkStatement checks what the payload says. Call it when the signature over the payload has been checked.
func (e *envelope) checkStatement(manifestIndex bundle.Digest) error {
	if e.PayloadType != PayloadType {
		return fmt.Errorf("%w: its payload is %.80q, not %s", ErrMalformed, e.PayloadType, PayloadType)
	}
	var s statement
	if err := strictjson.Unmarshal(e.Payload, &s); err != nil {
		return fmt.Errorf("%w: statement: %w", ErrMalformed, err)
	}
	switch {
	case s.Type != statementType:
		return fmt.Errorf("%w: its statement is %.80q, not %s", ErrMalformed, s.Type, statementType)
	case s.PredicateType != PredicateType:
		return fmt.Errorf("%w: predicate type %.80q, not %s", ErrWrongPredicate, s.PredicateType, PredicateType)
	case len(s.Subject) != 1:
		return fmt.Errorf("%w: over %d subjects; there must be one", ErrMalformed, len(s.Subject))
	case len(s.Subject[0].Digest) != 1:
		return fmt.Errorf("%w: its subject has %d digests; there must be one", ErrMalformed, len(s.Subject[0].Digest))
	}
	hex, ok := s.Subject[0].Digest["sha256"]
	if !ok {
		return fmt.Errorf("%w: its subject has no sha256 digest", ErrMalformed)
	}
	if hex != manifestIndex.Hex() {
		return fmt.Errorf("%w: it is over the digest %.80q, not over the manifest index %s", ErrWrongSubject, hex, manifestIndex)
	}
	if !isEmptyObject(s.Predicate) {
		return fmt.Errorf("%w: its predicate is %.80q, not {}", ErrWrongPredicate, s.Predicate)
	}
	return nil
}

// isEmptyObject tells whether JSON that has been checked is {}, with or without white space.
func isEmptyObject(document json.RawMessage) bool {
	var members map[string]json.RawMessage
	err := json.Unmarshal(document, &members)
	return err == nil && members != nil && len(members) == 0
}
