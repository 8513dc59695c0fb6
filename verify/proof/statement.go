package proof

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"airgap/bundle"
	"airgap/bundle/strictjson"
	"airgap/verify/signature"
)

// payloadTypeInToto is the payload type of in-toto statements in envelopes, and their media type in layers.
const payloadTypeInToto = "application/vnd.in-toto+json"

// Bounds of what is believed, those of sigstore-go.
const (
	maxSubjects       = 1024
	maxSubjectDigests = 32
)

// statement is what is read of an in-toto statement, v0.1 or v1.
// https://github.com/in-toto/attestation/blob/v1.1.2/spec/v1/statement.md
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     strictjson.Span `json:"predicate"` // its keys are others', and may differ in case alone
}

type subject struct {
	Digest      map[string]string `json:"digest"`
	Annotations strictjson.Span   `json:"annotations"`
}

// parseStatement takes a payload for the statement of an attestation about p.About.
func (p *Proof) parseStatement(payload []byte) error {
	var s statement
	if err := strictjson.Unmarshal(payload, &s); err != nil {
		return broken("statement: %w", err)
	}
	switch {
	case s.Type != "https://in-toto.io/Statement/v1" && s.Type != "https://in-toto.io/Statement/v0.1":
		return broken("its statement is of type %.80q", s.Type)
	case s.PredicateType == "":
		return broken("a statement without a predicate type")
	case len(s.Subject) > maxSubjects:
		return broken("a statement about %d subjects; at most %d are read", len(s.Subject), maxSubjects)
	}
	p.PredicateType, p.statement = s.PredicateType, payload
	for _, subject := range s.Subject {
		if len(subject.Digest) > maxSubjectDigests {
			return broken("a subject with %d digests; at most %d are read", len(subject.Digest), maxSubjectDigests)
		}
	}
	for _, subject := range s.Subject {
		if subject.Digest["sha256"] == p.About.Hex() {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrSubject, s.named())
}

// named says for people what a statement is about.
func (s *statement) named() string {
	switch {
	case len(s.Subject) == 0:
		return "it names no subject"
	case len(s.Subject) == 1:
		return fmt.Sprintf("it is about sha256:%.64q", s.Subject[0].Digest["sha256"])
	}
	return fmt.Sprintf("it is about %d other subjects", len(s.Subject))
}

// Statement decodes an attestation's statement: a map[string]any, with a json.Number for each number. Bytes and meaning are as signed: JSON that two
// readers could take in two ways is a Problem of the proof. The error is for what is no attestation or broken.
func (p *Proof) Statement() (any, error) {
	if p.statement == nil {
		return nil, errors.Join(errors.New("there is no statement to read"), p.Problem)
	}
	var decoded any
	decoder := json.NewDecoder(bytes.NewReader(p.statement))
	decoder.UseNumber()
	err := decoder.Decode(&decoded)
	return decoded, err
}

// parseUnsigned reads a statement that nobody signed: BuildKit's attestations are such.
// https://github.com/moby/buildkit/blob/v0.20.0/docs/attestations/attestation-storage.md
func (p *Proof) parseUnsigned(content []byte, _ map[string]string) error {
	return p.parseStatement(content)
}

// envelope is a DSSE envelope. Key ids are hints of anybody, and not read.
// https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md
type envelope struct {
	PayloadType string          `json:"payloadType"`
	Payload     strictjson.Span `json:"payload"`
	Signatures  []struct {
		Signature []byte `json:"sig"`
	} `json:"signatures"`
}

// maxSignatures bounds the signatures of one envelope: each is tried with each key.
const maxSignatures = 32

// parseEnvelope reads a DSSE envelope as cosign attaches it.
func (p *Proof) parseEnvelope(content []byte, annotations map[string]string) error {
	var e envelope
	if err := strictjson.Unmarshal(content, &e); err != nil {
		return broken("DSSE envelope: %w", err)
	}
	if n := len(e.Signatures); n == 0 || n > maxSignatures {
		return broken("a DSSE envelope with %d signatures; there must be 1 to %d", n, maxSignatures)
	}
	p.signed = &signed{envelope: true, stamped: content}
	for _, s := range e.Signatures {
		p.signed.signatures = append(p.signed.signatures, s.Signature)
	}
	if err := p.signed.annotate(annotations); err != nil {
		return err
	}
	payload, err := base64In(e.Payload.Of(content))
	if err != nil {
		return err
	}
	return p.open(e.PayloadType, payload)
}

// base64In decodes a JSON value that has passed the gate: base64 in a string, or nothing.
func base64In(value []byte) ([]byte, error) {
	text, quoted := bytes.CutPrefix(value, []byte(`"`))
	if !quoted || bytes.IndexByte(text, '\\') >= 0 {
		var decoded []byte
		if len(value) > 0 {
			if err := json.Unmarshal(value, &decoded); err != nil {
				return nil, broken("payload: %w", err)
			}
		}
		return decoded, nil
	}
	text = text[:len(text)-1]
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(decoded, text)
	if err != nil {
		return nil, broken("payload: %w", err)
	}
	return decoded[:n], nil
}

// open takes what an envelope holds.
func (p *Proof) open(payloadType string, payload []byte) error {
	if payloadType != payloadTypeInToto {
		return broken("its payload is %.80q, not %s", payloadType, payloadTypeInToto)
	}
	p.signed.payload, p.signed.message = payload, signature.NewEnvelopeMessage(payloadType, payload)
	return p.parseStatement(payload)
}

// simpleSigning is the payload of cosign's signatures.
// https://github.com/sigstore/cosign/blob/v2.6.5/specs/SIGNATURE_SPEC.md#payload-format-simple-signing
type simpleSigning struct {
	Critical struct {
		Type     string `json:"type"`
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
	} `json:"critical"`
	Optional strictjson.Span `json:"optional"`
}

// parseSimpleSigning reads a signature as cosign attaches it: the layer is the payload, the signature over it is an annotation.
func (p *Proof) parseSimpleSigning(content []byte, annotations map[string]string) error {
	var s simpleSigning
	if err := strictjson.Unmarshal(content, &s); err != nil {
		return broken("payload: %w", err)
	}
	raw, err := decodeBase64("signature", annotations[annotationSignature])
	switch {
	case err != nil:
		return err
	case len(raw) == 0:
		return broken("its layer has no annotation %s", annotationSignature)
	case s.Critical.Type != "cosign container image signature":
		return broken("its payload is of type %.80q", s.Critical.Type)
	}
	p.Reference = s.Critical.Identity.Reference
	p.signed = &signed{signatures: [][]byte{raw}, payload: content, message: signature.NewMessage(content), stamped: raw}
	if err := p.signed.annotate(annotations); err != nil {
		return err
	}
	if about, err := bundle.ParseDigest(s.Critical.Image.Digest); err != nil || about != p.About {
		return fmt.Errorf("%w: it is about %.71q", ErrSubject, s.Critical.Image.Digest)
	}
	return nil
}
