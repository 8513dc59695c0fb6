package signature

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"airgap/bundle"
)

// Sign returns key's signature over manifestIndex: the JSON of a Sigstore bundle, as the package comment describes.
// The same key and digest give the same bytes, unless the key is held elsewhere. Errors are those of the key's implementation, or ErrNotSigned.
func Sign(key *PrivateKey, manifestIndex bundle.Digest) ([]byte, error) {
	return Attest(key, manifestIndex, PredicateType, json.RawMessage("{}"))
}

// Attest returns key's signature over the statement that predicate holds for the content with the given digest, in
// the same form: what "cosign attest" makes. Verify takes only what Sign makes.
func Attest(key *PrivateKey, about bundle.Digest, predicateType string, predicate json.RawMessage) ([]byte, error) {
	payload, err := statementOf(about, predicateType, predicate)
	if err != nil {
		return nil, err
	}
	return seal(key, PayloadType, payload)
}

// Statement returns the in-toto statement that Sign signs, for who has no key to sign it with.
func Statement(manifestIndex bundle.Digest) ([]byte, error) {
	return statementOf(manifestIndex, PredicateType, json.RawMessage("{}"))
}

func statementOf(about bundle.Digest, predicateType string, predicate json.RawMessage) ([]byte, error) {
	return json.Marshal(statement{
		Type:          statementType,
		Subject:       []subject{{Digest: map[string]string{"sha256": about.Hex()}}},
		PredicateType: predicateType,
		Predicate:     predicate,
	})
}

// seal signs payload and returns the Sigstore bundle around it.
func seal(key *PrivateKey, payloadType string, payload []byte) ([]byte, error) {
	raw, err := key.sign(NewEnvelopeMessage(payloadType, payload))
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", key.Public().Fingerprint(), err)
	}
	// Written with encoding/json: protobuf's own JSON varies its white space from build to build on purpose.
	return json.Marshal(sigstoreBundle{
		MediaType: MediaType,
		Material:  material{PublicKey: &publicKeyHint{Hint: key.Public().hint()}},
		Envelope: &envelope{
			Payload:     payload,
			PayloadType: payloadType,
			Signatures:  []envelopeSignature{{Signature: raw}},
		},
	})
}

// hint returns what cosign puts into a Sigstore bundle to name the key: the fingerprint in base64.
func (k PublicKey) hint() string {
	return base64.StdEncoding.EncodeToString(k.fingerprint[:])
}
