package notation

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/tspclient-go"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// The media types of envelopes.
const (
	MediaTypeJWS  = jws.MediaTypeEnvelope
	MediaTypeCOSE = cose.MediaTypeEnvelope
)

// MaxSize bounds an envelope, in bytes. Most take under 20 KiB, with a timestamp and its certificates.
const MaxSize = 1 << 20

// maxChain bounds the certificates of a chain, each of which costs the check of a signature.
const maxChain = 10

// payloadType is that of what envelopes hold.
const payloadType = "application/vnd.cncf.notary.payload.v1+json"

// read takes an envelope apart and refuses what two programs could read in two ways. Nothing in it is to be believed yet.
func read(envelope []byte, mediaType string) (*signature.EnvelopeContent, bundle.Descriptor, error) {
	none := bundle.Descriptor{}
	if len(envelope) > MaxSize {
		return nil, none, fmt.Errorf("%d bytes, more than %d", len(envelope), MaxSize)
	}
	if mediaType == MediaTypeJWS {
		if err := strictJWS(envelope); err != nil {
			return nil, none, err
		}
	}
	parsed, err := signature.ParseEnvelope(mediaType, envelope)
	if err != nil {
		return nil, none, err
	}
	content, err := parsed.Content()
	if err != nil {
		return nil, none, err
	}
	if err := acceptable(content); err != nil {
		return nil, none, err
	}
	var payload struct {
		TargetArtifact bundle.Descriptor `json:"targetArtifact"`
	}
	if err := strictjson.Unmarshal(content.Payload.Content, &payload); err != nil {
		return nil, none, fmt.Errorf("payload: %w", err)
	}
	if payload.TargetArtifact.Digest == (bundle.Digest{}) {
		return nil, none, errors.New("its payload names no target artifact")
	}
	return content, payload.TargetArtifact, nil
}

// strictJWS passes JWS through the gate for JSON. Its fields are those that Notation's reader knows, so that none is written in another case.
func strictJWS(envelope []byte) error {
	var e struct {
		Payload   string `json:"payload"`
		Protected string `json:"protected"`
		Signature string `json:"signature"`
		Header    struct {
			Timestamp    json.RawMessage `json:"io.cncf.notary.timestampSignature"`
			Certificates []string        `json:"x5c"`
			Agent        string          `json:"io.cncf.notary.signingAgent"`
		} `json:"header"`
	}
	if err := strictjson.Unmarshal(envelope, &e); err != nil {
		return err
	}
	if len(e.Header.Certificates) > maxChain {
		return tooLong(len(e.Header.Certificates))
	}
	protected, err := base64.RawURLEncoding.Strict().DecodeString(e.Protected)
	if err != nil {
		return fmt.Errorf("protected header: %w", err)
	}
	var header struct {
		Algorithm            string    `json:"alg"`
		ContentType          string    `json:"cty"`
		Critical             []string  `json:"crit"`
		Expiry               time.Time `json:"io.cncf.notary.expiry"`
		SigningScheme        string    `json:"io.cncf.notary.signingScheme"`
		SigningTime          time.Time `json:"io.cncf.notary.signingTime"`
		AuthenticSigningTime time.Time `json:"io.cncf.notary.authenticSigningTime"`
	}
	if err := strictjson.Unmarshal(protected, &header); err != nil {
		return fmt.Errorf("protected header: %w", err)
	}
	return nil
}

// acceptable refuses what Notation's verifier would leave to a plugin, or to its user.
func acceptable(content *signature.EnvelopeContent) error {
	if content.Payload.ContentType != payloadType {
		return fmt.Errorf("its payload is %.80q, not %s", content.Payload.ContentType, payloadType)
	}
	for _, attribute := range content.SignerInfo.SignedAttributes.ExtendedAttributes {
		if attribute.Critical {
			return fmt.Errorf("its attribute %.80q is critical, and not known here", fmt.Sprint(attribute.Key))
		}
	}
	chain := content.SignerInfo.CertificateChain
	if len(chain) > maxChain {
		return tooLong(len(chain))
	}
	return refuseWeakKeys(chain)
}

func tooLong(chain int) error {
	return fmt.Errorf("a chain of %d certificates, more than %d", chain, maxChain)
}

// refuseWeakKeys refuses certificates with keys that are too short, which the specification asks of leaves alone.
func refuseWeakKeys(chain []*x509.Certificate) error {
	for _, certificate := range chain {
		bits, least := 0, 0
		switch key := certificate.PublicKey.(type) {
		case *rsa.PublicKey:
			bits, least = key.N.BitLen(), 2048
		case *ecdsa.PublicKey:
			bits, least = key.Params().BitSize, 256
		}
		if bits < least {
			return fmt.Errorf("the key of the certificate %q has %d bits, fewer than %d", certificate.Subject, bits, least)
		}
	}
	return nil
}

// timeOf returns the time in a timestamp that has been verified.
func timeOf(token []byte) (time.Time, error) {
	signed, err := tspclient.ParseSignedToken(token)
	if err != nil {
		return time.Time{}, err
	}
	info, err := signed.Info()
	if err != nil {
		return time.Time{}, err
	}
	return info.GenTime, nil
}
