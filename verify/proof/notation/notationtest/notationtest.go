// Package notationtest makes certificates, Notation signatures and timestamps for tests, with the Notary Project's own library. Start with
// NewRoot, let it issue, and sign.
package notationtest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/tspclient-go"

	"airgap/bundle"
)

// Holder has a key and the certificates for it, from its own to that of its root.
type Holder struct {
	Key   crypto.Signer
	Chain []*x509.Certificate
}

// Certificate returns the holder's own.
func (h *Holder) Certificate() *x509.Certificate { return h.Chain[0] }

// SPKI returns the digest of the holder's public key.
func (h *Holder) SPKI() bundle.Digest {
	return bundle.DigestOf(h.Certificate().RawSubjectPublicKeyInfo)
}

// Name returns a subject as Notation's trust policies want them: C, ST, O and a common name.
func Name(common string) pkix.Name {
	return pkix.Name{Country: []string{"AT"}, Province: []string{"Wien"}, Organization: []string{"Acme"}, CommonName: common}
}

// Certificate says what to issue. The zero value is a certificate to sign code with, by a new key on P-256, valid for an hour on either side.
type Certificate struct {
	Subject             pkix.Name
	Key                 crypto.Signer
	NotBefore, NotAfter time.Time
	Authority           bool // may issue
	Timestamping        bool // signs timestamps
}

// NewRoot returns an authority of that name that nobody stands above, valid for ten years on either side.
func NewRoot(t testing.TB, common string) *Holder {
	now := time.Now()
	return (*Holder)(nil).Issue(t, Certificate{
		Subject: Name(common), Authority: true, NotBefore: now.AddDate(-10, 0, 0), NotAfter: now.AddDate(10, 0, 0),
	})
}

// Issue returns the holder of a new certificate by h, or of one by itself where h is nil.
func (h *Holder) Issue(t testing.TB, c Certificate) *Holder {
	t.Helper()
	if c.Key == nil {
		c.Key = check(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: check(rand.Int(rand.Reader, big.NewInt(1<<62)))(t),
		Subject:      c.Subject,
		NotBefore:    c.NotBefore,
		NotAfter:     c.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	switch {
	case c.Authority:
		template.KeyUsage, template.IsCA, template.BasicConstraintsValid = x509.KeyUsageCertSign, true, true
	case c.Timestamping:
		template.ExtraExtensions = []pkix.Extension{criticalTimestamping(t)}
	default:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	}
	issuer, issuerKey, above := template, c.Key, []*x509.Certificate(nil)
	if h != nil {
		issuer, issuerKey, above = h.Certificate(), h.Key, h.Chain
	}
	der := check(x509.CreateCertificate(rand.Reader, template, issuer, c.Key.Public(), issuerKey))(t)
	own := check(x509.ParseCertificate(der))(t)
	return &Holder{Key: c.Key, Chain: append([]*x509.Certificate{own}, above...)}
}

// criticalTimestamping is the extended key usage of an authority for timestamps, which RFC 3161 wants critical.
func criticalTimestamping(t testing.TB) pkix.Extension {
	timestamping := []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: check(asn1.Marshal(timestamping))(t)}
}

// Request says what to sign, and how. MediaType and Target, or Payload in place of it, must be there.
type Request struct {
	MediaType  string // notation.MediaTypeJWS or notation.MediaTypeCOSE
	Target     bundle.Descriptor
	Payload    []byte                  // in place of one that names Target
	Type       string                  // of the payload; Notation's by default
	Scheme     signature.SigningScheme // notary.x509 by default
	At         time.Time               // now by default
	Expiry     time.Time
	Attributes []signature.Attribute
	Timestamps *Holder // who puts a timestamp to it, of the time At
}

// Sign returns an envelope.
func (h *Holder) Sign(t testing.TB, r Request) []byte {
	t.Helper()
	if r.Payload == nil {
		r.Payload = check(json.Marshal(map[string]any{"targetArtifact": r.Target}))(t)
	}
	if r.Type == "" {
		r.Type = "application/vnd.cncf.notary.payload.v1+json"
	}
	if r.Scheme == "" {
		r.Scheme = signature.SigningSchemeX509
	}
	if r.At.IsZero() {
		r.At = time.Now()
	}
	request := &signature.SignRequest{
		Payload:                  signature.Payload{ContentType: r.Type, Content: r.Payload},
		Signer:                   check(signature.NewLocalSigner(h.Chain, h.Key))(t),
		SigningTime:              r.At,
		Expiry:                   r.Expiry,
		ExtendedSignedAttributes: r.Attributes,
		SigningScheme:            r.Scheme,
	}
	if r.Timestamps != nil {
		roots := x509.NewCertPool()
		roots.AddCert(r.Timestamps.Chain[len(r.Timestamps.Chain)-1])
		request.Timestamper, request.TSARootCAs = timestamper{r.Timestamps, r.At}, roots
	}
	return check(check(signature.NewEnvelope(r.MediaType))(t).Sign(request))(t)
}

// Token returns a timestamp over message, as it lies in an envelope.
func (h *Holder) Token(t testing.TB, message []byte, at time.Time) []byte {
	t.Helper()
	request := check(tspclient.NewRequest(tspclient.RequestOptions{Content: message, HashAlgorithm: crypto.SHA256}))(t)
	return check(timestamper{h, at}.Timestamp(t.Context(), request))(t).TimestampToken.FullBytes
}

// timestamper is an authority for timestamps whose clock has stopped.
type timestamper struct {
	*Holder
	at time.Time
}

// Timestamp implements tspclient.Timestamper.
func (s timestamper) Timestamp(_ context.Context, request *tspclient.Request) (*tspclient.Response, error) {
	der, err := request.MarshalBinary()
	if err != nil {
		return nil, err
	}
	parsed, err := timestamp.ParseRequest(der)
	if err != nil {
		return nil, err
	}
	stamp := timestamp.Timestamp{
		HashAlgorithm: parsed.HashAlgorithm, HashedMessage: parsed.HashedMessage, Nonce: parsed.Nonce,
		Time: s.at, Accuracy: time.Second, Policy: asn1.ObjectIdentifier{1, 2, 3, 4}, Certificates: s.Chain[1:], AddTSACertificate: true,
	}
	der, err = stamp.CreateResponseWithOpts(s.Certificate(), s.Key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	response := new(tspclient.Response)
	return response, response.UnmarshalBinary(der)
}

// check turns an error into the end of a test.
func check[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
