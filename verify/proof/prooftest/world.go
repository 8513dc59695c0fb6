// Package prooftest makes signatures and attestations, good ones and bad ones of every kind, with what has to be said of each. The tests of
// package proof go over the table Cases, and testdata/interop asks cosign as well.
//
// Start with NewWorld: a small Sigstore, made anew for each test, whose logs are sigstore-go's virtual ones.
package prooftest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strconv"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"

	"airgap/bundle"
)

// Who the certificates of a World are for, unless a case says otherwise.
const (
	Issuer  = "https://issuer.example"
	Subject = "builder@acme.example"
)

// World is an authority for certificates, one for timestamps, a transparency log, and keys of every kind.
type World struct {
	Keys  map[string]crypto.Signer // by the name of their kind, as "p256"; "other" is one more of p256
	Image []byte                   // the manifest that proofs are about
	About bundle.Digest            // its digest
	Other bundle.Digest            // that of another image

	t         testing.TB
	now       time.Time
	log       *ca.VirtualSigstore
	authority authority
	stamps    authority
}

// authority is a root, an intermediate certificate, and its key.
type authority struct {
	root, intermediate *x509.Certificate
	key                crypto.Signer
	leaf               *x509.Certificate // of a timestamp authority, with its key
	leafKey            *ecdsa.PrivateKey
}

// NewWorld makes a World. The clock of everything in it is about now; certificates of the authorities are valid for days before and after.
func NewWorld(t testing.TB) *World {
	t.Helper()
	w := &World{t: t, now: time.Now().Truncate(time.Second)}
	var err error
	if w.log, err = ca.NewVirtualSigstore(); err != nil {
		t.Fatal(err)
	}
	w.authority, w.stamps = w.newAuthority("fulcio", x509.ExtKeyUsageCodeSigning), w.newAuthority("tsa", x509.ExtKeyUsageTimeStamping)
	w.stamps = w.withStampKey(w.stamps)
	w.Image, w.About, w.Other = image(t, "app"), bundle.DigestOf(image(t, "app")), bundle.DigestOf(image(t, "other"))
	w.Keys = map[string]crypto.Signer{
		"p256": ecdsaKey(t, elliptic.P256()), "p384": ecdsaKey(t, elliptic.P384()), "p521": ecdsaKey(t, elliptic.P521()),
		"ed25519": ed25519Key(t), "rsa2048": rsaKey(t, 2048), "rsa1024": rsaKey(t, 1024), "other": ecdsaKey(t, elliptic.P256()),
	}
	return w
}

func ecdsaKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ed25519Key(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (w *World) newAuthority(name string, usage x509.ExtKeyUsage) authority {
	rootKey, key := ecdsaKey(w.t, elliptic.P256()), ecdsaKey(w.t, elliptic.P256())
	template := func(common string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: common, Organization: []string{"acme"}}, KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		}
	}
	ca := w.certificate(template(name), nil, rootKey.Public(), rootKey)
	intermediate := template(name + " intermediate")
	intermediate.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	return authority{root: ca, intermediate: w.certificate(intermediate, ca, key.Public(), rootKey), key: key}
}

// withStampKey adds the certificate of a timestamp authority.
func (w *World) withStampKey(a authority) authority {
	w.t.Helper()
	a.leafKey = ecdsaKey(w.t, elliptic.P256())
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		w.t.Fatal(err)
	}
	a.leaf = w.certificate(&x509.Certificate{
		Subject: pkix.Name{CommonName: "tsa leaf"}, KeyUsage: x509.KeyUsageDigitalSignature,
		// Critical, as RFC 3161 demands (section 2.3).
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}, a.intermediate, a.leafKey.Public(), a.key)
	return a
}

// image returns the manifest of an image that has nothing in it.
func image(t testing.TB, name string) []byte {
	t.Helper()
	return encode(t, bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Annotations: map[string]string{"org.opencontainers.image.title": name},
		Config: &bundle.Descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: bundle.EmptyJSON, Size: 2},
		Layers: []bundle.Descriptor{},
	})
}

// certificate signs one, valid for some days where the template does not say.
func (w *World) certificate(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	w.t.Helper()
	if parent == nil {
		parent = template
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		w.t.Fatal(err)
	}
	template.SerialNumber = serial
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = w.now.AddDate(0, 0, -7), w.now.AddDate(0, 0, 7)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		w.t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return parsed
}

// leaf returns a certificate for somebody's key, valid for ten minutes.
func (w *World) leaf(by authority, key crypto.PublicKey, subject string, from time.Time) *x509.Certificate {
	w.t.Helper()
	issuer, err := asn1.MarshalWithParams(Issuer, "utf8")
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	if subject != "" {
		names = []string{subject}
	}
	return w.certificate(&x509.Certificate{
		EmailAddresses: names, NotBefore: from, NotAfter: from.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{ // both, as Fulcio writes them
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(Issuer)},
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: issuer},
		},
	}, by.intermediate, key, by.key)
}

// TrustedRoot returns the trusted_root.json of a World. With certificateLogs it names a log of certificates, which has none of those made here.
func (w *World) TrustedRoot(certificateLogs bool) []byte {
	w.t.Helper()
	logs := withIDs(w.t, w.log.RekorLogs())
	var certificates map[string]*root.TransparencyLog
	if certificateLogs {
		certificates = withIDs(w.t, w.log.CTLogs())
	}
	from, to := w.now.AddDate(0, 0, -7), w.now.AddDate(0, 0, 7)
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		append([]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: w.authority.root, Intermediates: []*x509.Certificate{w.authority.intermediate}, ValidityPeriodStart: from, ValidityPeriodEnd: to,
		}}, w.log.FulcioCertificateAuthorities()...),
		certificates,
		append([]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Root: w.stamps.root, Intermediates: []*x509.Certificate{w.stamps.intermediate}, Leaf: w.stamps.leaf, ValidityPeriodStart: from, ValidityPeriodEnd: to, URI: "https://tsa.example",
		}}, w.log.TimestampingAuthorities()...),
		logs)
	if err != nil {
		w.t.Fatal(err)
	}
	file, err := tr.MarshalJSON()
	if err != nil {
		w.t.Fatal(err)
	}
	return file
}

// withIDs mends the ids of virtual logs, which are written as text.
func withIDs(t testing.TB, logs map[string]*root.TransparencyLog) map[string]*root.TransparencyLog {
	t.Helper()
	for id, log := range logs {
		raw, err := hex.DecodeString(id)
		if err != nil {
			t.Fatal(err)
		}
		log.ID = raw
	}
	return logs
}

// stamp returns an RFC 3161 response for content.
func (a authority) stamp(t testing.TB, content []byte, at time.Time) []byte {
	t.Helper()
	sum := sha256.Sum256(content)
	return a.stampDigest(t, sum[:], at)
}

func (a authority) stampDigest(t testing.TB, sum []byte, at time.Time) []byte {
	t.Helper()
	template := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: sum, Time: at, Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}}
	response, err := template.CreateResponseWithOpts(a.leaf, a.leafKey, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// entry is one of a transparency log.
type entry struct {
	kind, version string
	body          []byte
	at            time.Time
	index         int64
	logID         []byte
	promise       []byte // signed entry timestamp; nil: none
	inclusion     bool   // with a proof of inclusion, in Sigstore bundles
}

// enter makes an entry in the World's log or another.
func (w *World) enter(log *ca.VirtualSigstore, body map[string]any, at time.Time) *entry {
	w.t.Helper()
	id, err := log.RekorLogID()
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := hex.DecodeString(id)
	if err != nil {
		w.t.Fatal(err)
	}
	e := &entry{kind: body["kind"].(string), version: body["apiVersion"].(string), body: encode(w.t, body), at: at, logID: raw, inclusion: true}
	e.promise, err = log.RekorSignPayload(tlog.RekorPayload{Body: base64.StdEncoding.EncodeToString(e.body), IntegratedTime: at.Unix(), LogIndex: e.index, LogID: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// json writes the entry as Sigstore bundles have it.
func (e *entry) json(w *World) any {
	w.t.Helper()
	written := map[string]any{
		"logIndex": "0", "logId": map[string]any{"keyId": e.logID}, "kindVersion": map[string]any{"kind": e.kind, "version": e.version},
		"integratedTime": strconv.FormatInt(e.at.Unix(), 10), "canonicalizedBody": e.body,
	}
	if e.promise != nil {
		written["inclusionPromise"] = map[string]any{"signedEntryTimestamp": e.promise}
	}
	if e.inclusion {
		proof, err := w.log.GetInclusionProof(e.body)
		if err != nil {
			w.t.Fatal(err)
		}
		hash, err := hex.DecodeString(*proof.RootHash)
		if err != nil {
			w.t.Fatal(err)
		}
		written["inclusionProof"] = map[string]any{
			"logIndex": "0", "rootHash": hash, "treeSize": "1", "hashes": []any{}, "checkpoint": map[string]any{"envelope": *proof.Checkpoint},
		}
	}
	return written
}

// pemOf writes a certificate or a public key.
func pemOf(t testing.TB, what any) []byte {
	t.Helper()
	if certificate, ok := what.(*x509.Certificate); ok {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	}
	der, err := x509.MarshalPKIXPublicKey(what)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
