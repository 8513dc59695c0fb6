package proof

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // digests of message signatures
	_ "crypto/sha512"
	"crypto/x509"
	"fmt"
	"slices"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	sigstore "github.com/sigstore/sigstore-go/pkg/bundle"

	"airgap/bundle/strictjson"
	"airgap/verify/signature"
)

// parseBundle reads a Sigstore bundle, v0.1 to v0.3. A message signature is left without its message.
// https://github.com/sigstore/protobuf-specs/blob/v0.5.2/protos/sigstore_bundle.proto
func (p *Proof) parseBundle(content []byte, _ map[string]string) error {
	var outline struct {
		Envelope struct {
			Payload strictjson.Span `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := strictjson.Unmarshal(content, &outline); err != nil {
		return broken("Sigstore bundle: %w", err)
	}
	// The payload, nearly all of it mostly, is taken out before the slow reading of the rest.
	payload := outline.Envelope.Payload
	without := slices.Concat(content[:payload[0]], []byte(`""`), content[payload[1]:])
	if payload == (strictjson.Span{}) {
		without = content
	}
	var b sigstore.Bundle
	if err := b.UnmarshalJSON(without); err != nil {
		return broken("Sigstore bundle: %.300s", err) // it may quote the content
	}
	material := b.GetVerificationMaterial()
	s := &signed{entries: material.GetTlogEntries()}
	for _, stamp := range material.GetTimestampVerificationData().GetRfc3161Timestamps() {
		s.timestamps = append(s.timestamps, stamp.GetSignedTimestamp())
	}
	if n := max(len(s.entries), len(s.timestamps)); n > maxWitnesses {
		return broken("a Sigstore bundle with %d log entries or timestamps; at most %d are read", n, maxWitnesses)
	}
	if err := s.takeCertificates(material); err != nil {
		return err
	}
	p.signed = s
	if message := b.GetMessageSignature(); message != nil {
		p.Kind = Signature
		s.sign(message.GetSignature())
		s.digest = message.GetMessageDigest()
		return nil
	}
	e := b.GetDsseEnvelope()
	if n := len(e.GetSignatures()); n != 1 {
		return broken("a Sigstore bundle with %d signatures in its envelope; there must be one", n)
	}
	s.envelope = true
	s.sign(e.GetSignatures()[0].GetSig())
	statement, err := base64In(payload.Of(content))
	if err != nil {
		return err
	}
	err = p.open(e.GetPayloadType(), statement)
	if p.PredicateType == signature.PredicateType { // also where it is about something else
		p.Kind, p.PredicateType, p.statement = Signature, "", nil
	}
	return err
}

func (s *signed) sign(raw []byte) { s.signatures, s.stamped = [][]byte{raw}, raw }

func (s *signed) takeCertificates(material *protobundle.VerificationMaterial) error {
	raw := material.GetX509CertificateChain().GetCertificates()
	if single := material.GetCertificate(); single != nil {
		raw = []*protocommon.X509Certificate{single}
	}
	if len(raw) > maxCertificates {
		return broken("a Sigstore bundle with %d certificates; at most %d are read", len(raw), maxCertificates)
	}
	for i, one := range raw {
		certificate, err := x509.ParseCertificate(one.GetRawBytes())
		switch {
		case err != nil:
			return broken("certificate: %w", err)
		case i == 0:
			s.setCertificate(certificate)
		default:
			s.chain = append(s.chain, certificate)
		}
	}
	return nil
}

// over gives a message signature its message: the bytes of the manifest that it must be over.
func (s *signed) over(manifest []byte) error {
	hash, known := map[protocommon.HashAlgorithm]crypto.Hash{
		protocommon.HashAlgorithm_SHA2_256: crypto.SHA256,
		protocommon.HashAlgorithm_SHA2_384: crypto.SHA384,
		protocommon.HashAlgorithm_SHA2_512: crypto.SHA512,
	}[s.digest.GetAlgorithm()]
	if !known {
		return broken("its message digest is %s", s.digest.GetAlgorithm())
	}
	sum := hash.New()
	sum.Write(manifest)
	if !bytes.Equal(sum.Sum(nil), s.digest.GetDigest()) {
		return fmt.Errorf("%w: it is over a message with the %s digest %.64x", ErrSubject, s.digest.GetAlgorithm(), s.digest.GetDigest())
	}
	s.payload, s.message = manifest, signature.NewMessage(manifest)
	return nil
}
