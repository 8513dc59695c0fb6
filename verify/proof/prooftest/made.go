package prooftest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"google.golang.org/protobuf/encoding/protojson"

	"airgap/bundle"
)

// Layer is one proof in its manifest.
type Layer struct {
	MediaType   string
	Content     []byte
	Annotations map[string]string
}

// Carrier is a manifest with proofs about the World's image.
type Carrier struct {
	Tag          string // ".sig" or ".att": behind that tag; otherwise a referrer
	ArtifactType string
	ConfigType   string // media type of the config; "": as the form has it
	Annotations  map[string]string
	Layers       []Layer
}

// Manifest returns the bytes of the manifest, a referrer of about where it has no tag.
func (c Carrier) Manifest(t testing.TB, about bundle.Descriptor) []byte {
	t.Helper()
	m := bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, ArtifactType: c.ArtifactType, Annotations: c.Annotations,
		Config: &bundle.Descriptor{MediaType: bundle.MediaTypeEmptyJSON, Digest: bundle.EmptyJSON, Size: 2},
	}
	if c.Tag == "" {
		m.Subject = &about
	} else {
		m.Config.MediaType = "application/vnd.oci.image.config.v1+json"
	}
	if c.ConfigType != "" {
		m.Config.MediaType = c.ConfigType
	}
	for _, layer := range c.Layers {
		m.Layers = append(m.Layers, bundle.Descriptor{
			MediaType: layer.MediaType, Digest: bundle.DigestOf(layer.Content), Size: int64(len(layer.Content)), Annotations: layer.Annotations,
		})
	}
	return encode(t, m)
}

// made is something signed, before it is written in some format. Cases spoil what they like of it.
type made struct {
	w           *World
	payload     []byte
	payloadType string // "" for what is no envelope
	raws        [][]byte
	keyIDs      []string
	key         crypto.Signer
	certificate *x509.Certificate
	chain       []*x509.Certificate
	entry       *entry
	stamps      []func(over []byte) []byte
}

const inToto = "application/vnd.in-toto+json"

// The predicate types of the attestations made here, and of cosign's signatures.
const (
	Vuln = "https://in-toto.io/attestation/vulns/v0.1"
	VEX  = "https://openvex.dev/ns/v0.2.0"
	Sign = "https://sigstore.dev/cosign/sign/v1"
)

// message signs bare bytes.
func (w *World) message(key crypto.Signer, content []byte) *made {
	m := &made{w: w, payload: content, key: key}
	m.raws = [][]byte{w.rawSignature(key, hashOf(key), content)}
	return m
}

// simple signs cosign's payload for a manifest.
func (w *World) simple(key crypto.Signer, about bundle.Digest) *made {
	return w.message(key, simplePayload(w.t, about, "cosign container image signature"))
}

func simplePayload(t testing.TB, about bundle.Digest, kind string) []byte {
	t.Helper()
	return encode(t, map[string]any{
		"critical": map[string]any{
			"identity": map[string]any{"docker-reference": "registry.example/acme/app"},
			"image":    map[string]any{"docker-manifest-digest": about.String()},
			"type":     kind,
		},
		"optional": map[string]any{"Creator": "x", "creator": "y"},
	})
}

// attest signs a statement of the given type about a manifest.
func (w *World) attest(key crypto.Signer, predicateType string, about ...bundle.Digest) *made {
	return w.envelope(key, inToto, Statement(w.t, predicateType, about...))
}

// envelope signs a payload in a DSSE envelope.
func (w *World) envelope(key crypto.Signer, payloadType string, payload []byte) *made {
	m := &made{w: w, payload: payload, payloadType: payloadType, key: key, keyIDs: []string{""}}
	m.raws = [][]byte{w.rawSignature(key, hashOf(key), m.signed())}
	return m
}

// Statement is an in-toto statement v1. Its predicate has keys that differ in case alone, as build arguments do.
func Statement(t testing.TB, predicateType string, about ...bundle.Digest) []byte {
	t.Helper()
	subjects := make([]map[string]any, 0, len(about))
	for _, digest := range about {
		subjects = append(subjects, map[string]any{"name": "registry.example/acme/app", "digest": map[string]any{"sha256": digest.Hex()}})
	}
	predicate := map[string]any{}
	if predicateType != Sign {
		predicate = map[string]any{"HTTP_PROXY": 1, "http_proxy": 2}
	}
	return encode(t, map[string]any{"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": predicateType, "predicate": predicate})
}

// signed is what the signature is over.
func (m *made) signed() []byte {
	if m.payloadType == "" {
		return m.payload
	}
	return []byte("DSSEv1 " + strconv.Itoa(len(m.payloadType)) + " " + m.payloadType + " " + strconv.Itoa(len(m.payload)) + " " + string(m.payload))
}

func hashOf(key crypto.Signer) crypto.Hash {
	switch public := key.Public().(type) {
	case ed25519.PublicKey:
		return 0
	case *ecdsa.PublicKey:
		switch public.Curve.Params().BitSize {
		case 384:
			return crypto.SHA384
		case 521:
			return crypto.SHA512
		}
	}
	return crypto.SHA256
}

func (w *World) rawSignature(key crypto.Signer, options crypto.SignerOpts, content []byte) []byte {
	w.t.Helper()
	if hash := options.HashFunc(); hash != 0 {
		h := hash.New()
		h.Write(content)
		content = h.Sum(nil)
	}
	raw, err := key.Sign(rand.Reader, content, options)
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// certify adds a certificate for the key.
func (m *made) certify(by authority, subject string, from time.Time) *made {
	m.certificate = m.w.leaf(by, m.key.Public(), subject, from)
	return m
}

// logged adds an entry of the World's log, made at a time.
func (m *made) logged(at time.Time) *made { return m.loggedBy(m.w.log, at) }

func (m *made) loggedBy(log *ca.VirtualSigstore, at time.Time) *made {
	verifier := pemOf(m.w.t, m.key.Public())
	if m.certificate != nil {
		verifier = pemOf(m.w.t, m.certificate)
	}
	sum := func(content []byte) any {
		hash := sha256.Sum256(content)
		return map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(hash[:])}
	}
	message := sum(m.payload)
	if hash := hashOf(m.key); hash != 0 && hash != crypto.SHA256 {
		h := hash.New()
		h.Write(m.payload)
		message = map[string]any{"algorithm": map[crypto.Hash]string{crypto.SHA384: "sha384", crypto.SHA512: "sha512"}[hash], "value": hex.EncodeToString(h.Sum(nil))}
	}
	// Maps are written with sorted keys, which is the canonical form.
	body := map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"data":      map[string]any{"hash": message},
		"signature": map[string]any{"content": m.raws[0], "publicKey": map[string]any{"content": verifier}},
	}}
	if m.payloadType != "" {
		body = map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
			"envelopeHash": sum(m.envelopeJSON()), "payloadHash": sum(m.payload),
			"signatures": []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(m.raws[0]), "verifier": verifier}},
		}}
	}
	m.entry = m.w.enter(log, body, at)
	return m
}

// stamped adds a timestamp over what the format wants one over.
func (m *made) stamped(at time.Time) *made { return m.stampedBy(m.w.stamps, at) }

func (m *made) stampedBy(by authority, at time.Time) *made {
	m.stamps = append(m.stamps, func(over []byte) []byte { return by.stamp(m.w.t, over, at) })
	return m
}

func (m *made) envelopeJSON() []byte {
	signatures := make([]any, len(m.raws))
	for i, raw := range m.raws {
		signatures[i] = map[string]any{"keyid": m.keyIDs[i], "sig": raw}
	}
	return encode(m.w.t, map[string]any{"payloadType": m.payloadType, "payload": m.payload, "signatures": signatures})
}

// layer writes it as cosign 2 does.
func (m *made) layer() Layer {
	var l Layer
	var over []byte // what timestamps are over
	if m.payloadType == "" {
		over = m.raws[0]
		l = Layer{"application/vnd.dev.cosign.simplesigning.v1+json", m.payload, map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(over)}}
	} else {
		over = m.envelopeJSON()
		l = Layer{"application/vnd.dsse.envelope.v1+json", over, map[string]string{"dev.cosignproject.cosign/signature": ""}}
	}
	if m.certificate != nil {
		l.Annotations["dev.sigstore.cosign/certificate"] = string(pemOf(m.w.t, m.certificate))
		chain := ""
		for _, c := range m.chain {
			chain += string(pemOf(m.w.t, c))
		}
		l.Annotations["dev.sigstore.cosign/chain"] = chain
	}
	if e := m.entry; e != nil {
		l.Annotations["dev.sigstore.cosign/bundle"] = string(encode(m.w.t, map[string]any{
			"SignedEntryTimestamp": e.promise,
			"Payload":              map[string]any{"body": e.body, "integratedTime": e.at.Unix(), "logIndex": e.index, "logID": hex.EncodeToString(e.logID)},
		}))
	}
	for _, stamp := range m.stamps {
		l.Annotations["dev.sigstore.cosign/rfc3161timestamp"] = string(encode(m.w.t, map[string]any{"SignedRFC3161Timestamp": stamp(over)}))
	}
	return l
}

// tag puts layers behind one of cosign's tags.
func tag(suffix string, layers ...Layer) []Carrier { return []Carrier{{Tag: suffix, Layers: layers}} }

// bundle03 writes it as cosign 3 does.
func (m *made) bundle03() []Carrier {
	return m.bundle("application/vnd.dev.sigstore.bundle.v0.3+json", nil)
}

// bundle writes it as a Sigstore bundle of some version; edit may spoil the JSON.
func (m *made) bundle(mediaType string, edit func(map[string]any)) []Carrier {
	content := encode(m.w.t, m.bundleJSON(mediaType, edit))
	return []Carrier{{
		ArtifactType: mediaType,
		Annotations:  map[string]string{"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": m.predicateType()},
		Layers:       []Layer{{MediaType: mediaType, Content: content}},
	}}
}

func (m *made) predicateType() string {
	var s struct{ PredicateType string }
	_ = json.Unmarshal(m.payload, &s) // a payload of another kind has none
	return s.PredicateType
}

func (m *made) bundleJSON(mediaType string, edit func(map[string]any)) map[string]any {
	material := map[string]any{"publicKey": map[string]any{"hint": "x"}}
	if m.certificate != nil {
		leaf := map[string]any{"rawBytes": m.certificate.Raw}
		if mediaType == "application/vnd.dev.sigstore.bundle.v0.3+json" {
			material = map[string]any{"certificate": leaf}
		} else {
			material = map[string]any{"x509CertificateChain": map[string]any{"certificates": []any{leaf}}}
		}
	}
	if m.entry != nil {
		material["tlogEntries"] = []any{m.entry.json(m.w)}
	}
	if len(m.stamps) > 0 {
		var stamps []any
		for _, stamp := range m.stamps {
			stamps = append(stamps, map[string]any{"signedTimestamp": stamp(m.raws[0])})
		}
		material["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": stamps}
	}
	b := map[string]any{"mediaType": mediaType, "verificationMaterial": material}
	if m.payloadType != "" {
		b["dsseEnvelope"] = json.RawMessage(m.envelopeJSON())
	} else {
		sum := sha256.Sum256(m.payload)
		b["messageSignature"] = map[string]any{"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": sum[:]}, "signature": m.raws[0]}
	}
	if edit != nil {
		edit(b)
	}
	return b
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Attested returns attestations with a predicate, by the key p256, in each form that carries them.
func (w *World) Attested(predicate json.RawMessage) map[string][]Carrier {
	w.t.Helper()
	statement := encode(w.t, map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://spdx.dev/Document", "predicate": predicate,
		"subject": []any{map[string]any{"name": "registry.example/acme/app", "digest": map[string]any{"sha256": w.About.Hex()}}},
	})
	m := w.envelope(w.Keys["p256"], inToto, statement)
	return map[string][]Carrier{"envelope": tag(".att", m.layer()), "bundle": m.bundle03()}
}

// rekor2 is an attestation with an entry of Rekor 2, all by sigstore-go's virtual Sigstore; such entries say no time.
func (w *World) rekor2(timestamp bool) []Carrier {
	w.t.Helper()
	payload := Statement(w.t, Vuln, w.About)
	entity, err := w.log.AttestAtTimeHashedRekordV2(Subject, Issuer, payload, time.Unix(0, 0))
	if err != nil {
		w.t.Fatal(err)
	}
	entries, entriesErr := entity.TlogEntries()
	content, contentErr := entity.SignatureContent()
	verification, verificationErr := entity.VerificationContent()
	stamps, stampsErr := entity.Timestamps()
	if err := errors.Join(entriesErr, contentErr, verificationErr, stampsErr); err != nil {
		w.t.Fatal(err)
	}
	m := &made{w: w, payload: payload, payloadType: inToto, raws: [][]byte{content.Signature()}, keyIDs: []string{""}, certificate: verification.Certificate()}
	if timestamp {
		m.stamps = append(m.stamps, func([]byte) []byte { return stamps[0] })
	}
	entry, err := protojson.Marshal(entries[0].TransparencyLogEntry())
	if err != nil {
		w.t.Fatal(err)
	}
	return m.bundle("application/vnd.dev.sigstore.bundle.v0.3+json", func(b map[string]any) {
		b["verificationMaterial"].(map[string]any)["tlogEntries"] = []any{json.RawMessage(entry)}
	})
}

// Certified returns a Sigstore bundle with a statement about something, signed with a certificate of the World that is over now. stamped: a
// timestamp shows that it was made before.
func (w *World) Certified(predicateType string, about bundle.Digest, stamped bool) []byte {
	w.t.Helper()
	statement := encode(w.t, map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": predicateType, "predicate": map[string]any{},
		"subject": []any{map[string]any{"digest": map[string]any{"sha256": about.Hex()}}},
	})
	m := w.envelope(w.Keys["p256"], inToto, statement).certify(w.authority, Subject, w.issued())
	if stamped {
		m = m.stamped(w.during())
	}
	return m.bundle03()[0].Layers[0].Content
}
