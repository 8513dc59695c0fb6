package prooftest

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
)

// Services are a World's authorities and its log as others meet them: by their addresses.
type Services struct{ Fulcio, Rekor, Timestamps string }

// Serve starts the services, which end with the test. They speak as much of their protocols as who signs needs.
func (w *World) Serve() Services {
	w.t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fulcio/api/v2/signingCert", w.serveCertificate)
	mux.HandleFunc("POST /timestamps", w.serveTimestamp)
	mux.HandleFunc("POST /rekor/api/v1/log/entries", w.serveEntry)
	server := httptest.NewServer(mux)
	w.t.Cleanup(server.Close)
	return Services{server.URL + "/fulcio", server.URL + "/rekor", server.URL + "/timestamps"}
}

// Token returns an identity token, as an OpenID provider would give to Subject, but with nobody's signature.
func (w *World) Token() string {
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString(encode(w.t, v)) }
	return part(map[string]any{"alg": "RS256"}) + "." + part(map[string]any{"iss": Issuer, "sub": "1", "email": Subject, "email_verified": true, "aud": "sigstore", "iat": w.now.Unix(), "exp": w.now.Add(time.Hour).Unix()}) + ".x000"
}

// serveCertificate is https://github.com/sigstore/fulcio/blob/v1.8.0/fulcio.proto, CreateSigningCertificate.
func (w *World) serveCertificate(rw http.ResponseWriter, r *http.Request) {
	var request struct {
		PublicKeyRequest struct {
			PublicKey struct {
				Content string `json:"content"`
			} `json:"publicKey"`
			ProofOfPossession []byte `json:"proofOfPossession"`
		} `json:"publicKeyRequest"`
	}
	if r.Header.Get("Authorization") != "Bearer "+w.Token() {
		http.Error(rw, "who are you?", http.StatusUnauthorized)
		return
	}
	if !decode(rw, r, &request) {
		return
	}
	block, _ := pem.Decode([]byte(request.PublicKeyRequest.PublicKey.Content))
	if block == nil {
		http.Error(rw, "no key", http.StatusBadRequest)
		return
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	public, ok := key.(*ecdsa.PublicKey)
	if err != nil || !ok {
		http.Error(rw, "not a key", http.StatusBadRequest)
		return
	}
	if sum := sha256.Sum256([]byte(Subject)); !ecdsa.VerifyASN1(public, sum[:], request.PublicKeyRequest.ProofOfPossession) {
		http.Error(rw, "not your key", http.StatusBadRequest)
		return
	}
	leaf := w.leaf(w.authority, public, Subject, w.now.Add(-time.Minute))
	_, _ = rw.Write(encode(w.t, map[string]any{"signedCertificateEmbeddedSct": map[string]any{
		"chain": map[string]any{"certificates": []string{string(pemOf(w.t, leaf)), string(pemOf(w.t, w.authority.intermediate))}},
	}}))
}

func (w *World) serveTimestamp(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	request, err := timestamp.ParseRequest(body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	rw.WriteHeader(http.StatusCreated)
	_, _ = rw.Write(w.stamps.stampDigest(w.t, request.HashedMessage, w.now))
}

// serveEntry is https://github.com/sigstore/rekor/blob/v1.4.2/openapi.yaml, createLogEntry, for DSSE envelopes.
func (w *World) serveEntry(rw http.ResponseWriter, r *http.Request) {
	var request struct {
		Spec struct {
			ProposedContent struct {
				Envelope  string   `json:"envelope"`
				Verifiers [][]byte `json:"verifiers"`
			} `json:"proposedContent"`
		} `json:"spec"`
	}
	if !decode(rw, r, &request) {
		return
	}
	content := request.Spec.ProposedContent
	var envelope struct {
		Payload    []byte
		Signatures []struct{ Sig string }
	}
	if err := json.Unmarshal([]byte(content.Envelope), &envelope); err != nil || len(envelope.Signatures) != 1 || len(content.Verifiers) != 1 {
		http.Error(rw, "not an envelope", http.StatusBadRequest)
		return
	}
	sum := func(content []byte) any {
		hash := sha256.Sum256(content)
		return map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(hash[:])}
	}
	e := w.enter(w.log, map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
		"envelopeHash": sum([]byte(content.Envelope)), "payloadHash": sum(envelope.Payload),
		"signatures": []any{map[string]any{"signature": envelope.Signatures[0].Sig, "verifier": content.Verifiers[0]}},
	}}, w.now)
	proof, err := w.log.GetInclusionProof(e.body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	uuid := strings.Repeat("0", 80)
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("ETag", uuid)
	rw.Header().Set("Location", "/api/v1/log/entries/"+uuid)
	rw.WriteHeader(http.StatusCreated)
	_, _ = rw.Write(encode(w.t, map[string]any{uuid: map[string]any{
		"body": e.body, "integratedTime": e.at.Unix(), "logIndex": e.index, "logID": hex.EncodeToString(e.logID),
		"verification": map[string]any{"inclusionProof": proof, "signedEntryTimestamp": e.promise},
	}}))
}

func decode(rw http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}
