package proof

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"airgap/bundle/strictjson"
	"airgap/verify/signature"
)

// signed is a message, signatures over it, and what came along to say who made them and when. Nothing of it is to be believed.
type signed struct {
	message    *signature.Message // nil: the manifest that the proof is about, as long as its bytes are missing
	envelope   bool               // the message is a DSSE envelope around payload, otherwise payload itself
	payload    []byte
	digest     *protocommon.HashOutput // of the message, as a message signature says; a hint
	signatures [][]byte                // any of them; one in all formats but DSSE envelopes

	certificate *x509.Certificate // nil: made with a bare key
	chain       []*x509.Certificate
	entries     []*protorekor.TransparencyLogEntry
	timestamps  [][]byte // RFC 3161
	stamped     []byte   // what they are over
}

// Bounds of what is carried along. sigstore-go takes as many entries and timestamps.
const (
	maxAnnotation   = 1 << 20 // bytes
	maxCertificates = 10
	maxWitnesses    = 32
)

// cosign's annotations.
// https://github.com/sigstore/cosign/blob/v2.6.5/specs/SIGNATURE_SPEC.md
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationEntry       = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// annotate takes what cosign writes into annotations of a layer.
func (s *signed) annotate(annotations map[string]string) error {
	for _, key := range []string{annotationCertificate, annotationChain, annotationEntry, annotationTimestamp} {
		if n := len(annotations[key]); n > maxAnnotation {
			return broken("its annotation %s has %d bytes, and at most %d are read", key, n, maxAnnotation)
		}
	}
	if err := s.annotateCertificates(annotations[annotationCertificate], annotations[annotationChain]); err != nil {
		return err
	}
	if err := s.annotateEntry(annotations[annotationEntry]); err != nil {
		return err
	}
	return s.annotateTimestamp(annotations[annotationTimestamp])
}

func (s *signed) annotateCertificates(leaf, chain string) error {
	certificates, err := parseCertificates(leaf)
	switch {
	case err != nil:
		return err
	case len(certificates) == 0:
		return nil
	case len(certificates) > 1:
		return broken("%d certificates in the annotation %s", len(certificates), annotationCertificate)
	}
	s.chain, err = parseCertificates(chain)
	s.setCertificate(certificates[0])
	return err
}

func parseCertificates(text string) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	for rest := bytes.TrimSpace([]byte(text)); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, broken("what should be certificates in PEM is something else")
		}
		if len(certificates) == maxCertificates {
			return nil, broken("more than %d certificates", maxCertificates)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, broken("certificate: %w", err)
		}
		certificates = append(certificates, certificate)
	}
	return certificates, nil
}

// annotateEntry reads a log entry with its signed entry timestamp.
func (s *signed) annotateEntry(text string) error {
	if text == "" {
		return nil
	}
	var entry struct {
		Promise []byte `json:"SignedEntryTimestamp"`
		Payload struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		} `json:"Payload"`
	}
	var body struct {
		Kind       string          `json:"kind"`
		APIVersion string          `json:"apiVersion"`
		Spec       strictjson.Span `json:"spec"`
	}
	if err := strictjson.Unmarshal([]byte(text), &entry); err != nil {
		return broken("annotation %s: %w", annotationEntry, err)
	}
	if err := strictjson.Unmarshal(entry.Payload.Body, &body); err != nil {
		return broken("annotation %s: body: %w", annotationEntry, err)
	}
	logID, err := hex.DecodeString(entry.Payload.LogID)
	if err != nil {
		return broken("annotation %s: log id: %w", annotationEntry, err)
	}
	s.entries = []*protorekor.TransparencyLogEntry{{
		LogIndex: entry.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: logID},
		KindVersion:       &protorekor.KindVersion{Kind: body.Kind, Version: body.APIVersion},
		IntegratedTime:    entry.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: entry.Promise},
		CanonicalizedBody: entry.Payload.Body,
	}}
	return nil
}

func (s *signed) annotateTimestamp(text string) error {
	if text == "" {
		return nil
	}
	var stamp struct {
		Signed []byte `json:"SignedRFC3161Timestamp"`
	}
	if err := strictjson.Unmarshal([]byte(text), &stamp); err != nil {
		return broken("annotation %s: %w", annotationTimestamp, err)
	}
	s.timestamps = [][]byte{stamp.Signed}
	return nil
}

func decodeBase64(what, text string) ([]byte, error) {
	if len(text) > maxAnnotation {
		return nil, broken("its %s has %d bytes, and at most %d are read", what, len(text), maxAnnotation)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, broken("%s: %w", what, err)
	}
	return raw, nil
}
