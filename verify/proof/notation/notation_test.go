package notation_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"

	"airgap/bundle"
	"airgap/verify/party"
	"airgap/verify/proof/notation"
	"airgap/verify/proof/notation/notationtest"
)

var target = bundle.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: bundle.DigestOf([]byte("an image")), Size: 8}

var mediaTypes = []string{notation.MediaTypeJWS, notation.MediaTypeCOSE}

// world has the people that the tests are about.
type world struct {
	root, stampRoot *notationtest.Holder
	alice, stamper  *notationtest.Holder
	late            *notationtest.Holder // whose certificate was valid for a while a year ago
	then            time.Time            // within that while
	store           *party.Notation
}

func newWorld(t testing.TB) *world {
	w := &world{root: notationtest.NewRoot(t, "root"), stampRoot: notationtest.NewRoot(t, "root of timestamps"), then: time.Now().AddDate(-1, 0, 0)}
	w.alice = w.root.Issue(t, notationtest.Certificate{Subject: notationtest.Name("alice")})
	w.late = w.root.Issue(t, notationtest.Certificate{Subject: notationtest.Name("alice"), NotBefore: w.then.Add(-time.Hour), NotAfter: w.then.Add(time.Hour)})
	w.stamper = w.stampRoot.Issue(t, notationtest.Certificate{
		Subject: notationtest.Name("stamper"), Timestamping: true, NotBefore: w.then.AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
	})
	w.store = &party.Notation{
		Certificates: []*x509.Certificate{w.root.Certificate()},
		Timestamps:   []*x509.Certificate{w.stampRoot.Certificate()},
		Identities:   []string{"*"},
	}
	return w
}

// TestKeys: every kind of key that Notation's specification names, in both envelopes.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	for name, key := range keys(t) {
		holder := w.root.Issue(t, notationtest.Certificate{Subject: notationtest.Name(name), Key: key})
		for _, mediaType := range mediaTypes {
			envelope := holder.Sign(t, notationtest.Request{MediaType: mediaType, Target: target})
			subject, signer, err := notation.Verify(envelope, mediaType, w.store, nil)
			if err != nil {
				t.Errorf("%s, %s: %v", name, mediaType, err)
				continue
			}
			want := party.Signer{Key: holder.SPKI(), Subject: "CN=" + name + ",O=Acme,ST=Wien,C=AT"}
			if subject.Digest != target.Digest || subject.Size != target.Size || signer != want {
				t.Errorf("%s, %s: %v by %+v, want %+v", name, mediaType, subject, signer, want)
			}
		}
	}
}

func keys(t *testing.T) map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = key
	}
	for name, bits := range map[string]int{"RSA 2048": 2048, "RSA 3072": 3072} {
		keys[name] = rsaKey(t, bits)
	}
	return keys
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestVerify: each case is one thing that is otherwise than in a good signature, in both envelopes.
func TestVerify(t *testing.T) {
	w := newWorld(t)
	stranger := notationtest.NewRoot(t, "stranger")
	bob := stranger.Issue(t, notationtest.Certificate{Subject: notationtest.Name("alice")})
	middle := w.root.Issue(t, notationtest.Certificate{Subject: notationtest.Name("middle"), Authority: true})
	below := middle.Issue(t, notationtest.Certificate{Subject: notationtest.Name("below")})
	future := w.root.Issue(t, notationtest.Certificate{Subject: notationtest.Name("alice"), NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)})
	for name, c := range map[string]struct {
		by      *notationtest.Holder
		request notationtest.Request
		store   func(*party.Notation)
		revoked []*notationtest.Holder
		want    error
		says    string
		time    time.Time
	}{
		"good":                            {},
		"by nobody of the store":          {by: bob, want: notation.ErrUntrusted},
		"an empty store":                  {store: func(s *party.Notation) { s.Certificates = nil }, want: notation.ErrUntrusted},
		"a certificate in between":        {by: below},
		"only that in between is trusted": {by: below, store: func(s *party.Notation) { s.Certificates = []*x509.Certificate{middle.Certificate()} }},

		"identity":                      {store: identities("x509.subject: C=AT, ST=Wien, O=Acme, CN=alice")},
		"identity in another order":     {store: identities("x509.subject:CN=alice,O=Acme,C=AT,S=Wien")},
		"fewer attributes than subject": {store: identities("x509.subject: C=AT, ST=Wien, O=Acme")},
		"one of two identities":         {store: identities("x509.subject: C=AT, ST=Wien, O=Acme, CN=carol", "x509.subject: C=AT, ST=Wien, O=Acme, CN=alice")},
		"another common name":           {store: identities("x509.subject: C=AT, ST=Wien, O=Acme, CN=carol"), want: notation.ErrUntrusted},
		"a common name in another case": {store: identities("x509.subject: C=AT, ST=Wien, O=Acme, CN=Alice"), want: notation.ErrUntrusted},
		"the beginning of a name":       {store: identities("x509.subject: C=AT, ST=Wien, O=Acme, CN=ali"), want: notation.ErrUntrusted},
		"an attribute more":             {store: identities("x509.subject: C=AT, ST=Wien, O=Acme, CN=alice, OU=Ops"), want: notation.ErrUntrusted},
		"the name of the issuer":        {store: identities("x509.subject: C=AT, ST=Wien, O=Acme, CN=root"), want: notation.ErrUntrusted},
		"no identity":                   {store: identities(), want: notation.ErrUntrusted},
		"not an identity":               {store: identities("x509.subject: CN=alice"), want: notation.ErrUntrusted},

		"revoked leaf":                   {revoked: []*notationtest.Holder{w.alice}, want: notation.ErrRevoked},
		"revoked in between":             {by: below, revoked: []*notationtest.Holder{middle}, want: notation.ErrRevoked},
		"revoked root":                   {revoked: []*notationtest.Holder{w.root}, want: notation.ErrRevoked},
		"another is revoked":             {by: below, revoked: []*notationtest.Holder{w.alice}},
		"revoked, and by a stranger":     {by: bob, revoked: []*notationtest.Holder{bob}, want: notation.ErrUntrusted},
		"revoked, with a good timestamp": {request: notationtest.Request{Timestamps: w.stamper}, revoked: []*notationtest.Holder{w.alice}, want: notation.ErrRevoked},

		"its time is not over":                {request: notationtest.Request{Expiry: time.Now().Add(time.Hour)}},
		"its time is over":                    {by: w.late, request: notationtest.Request{At: w.then, Expiry: w.then.Add(time.Minute), Timestamps: w.stamper}, want: notation.ErrExpired},
		"expired":                             {by: w.late, request: notationtest.Request{At: w.then}, want: notation.ErrExpired, says: "expired at"},
		"not yet valid":                       {by: future, request: notationtest.Request{At: time.Now().Add(90 * time.Minute)}, want: notation.ErrExpired},
		"expired, with a timestamp":           {by: w.late, request: notationtest.Request{At: w.then, Timestamps: w.stamper}, time: w.then},
		"valid, with a timestamp":             {request: notationtest.Request{Timestamps: w.stamper}, time: time.Now()},
		"timestamp, and no authority for it":  {by: w.late, request: notationtest.Request{At: w.then, Timestamps: w.stamper}, store: func(s *party.Notation) { s.Timestamps = nil }, want: notation.ErrExpired},
		"timestamp by an authority not named": {by: w.late, request: notationtest.Request{At: w.then, Timestamps: w.stamper}, store: otherTimestamps(stranger), want: notation.ErrExpired, says: "timestamp"},
		"valid, timestamp by somebody else":   {request: notationtest.Request{Timestamps: w.stamper}, store: otherTimestamps(stranger)},
		"timestamp by a revoked authority":    {by: w.late, request: notationtest.Request{At: w.then, Timestamps: w.stamper}, revoked: []*notationtest.Holder{w.stamper}, want: notation.ErrExpired, says: "revoked"},
		"valid, revoked timestamp authority":  {request: notationtest.Request{Timestamps: w.stamper}, revoked: []*notationtest.Holder{w.stamper}},

		"a critical attribute that nobody knows": {request: notationtest.Request{Attributes: attributes("com.acme.level", true)}, want: notation.ErrBroken, says: "com.acme.level"},
		"an attribute that nobody has to know":   {request: notationtest.Request{Attributes: attributes("com.acme.level", false)}},
		"needs a plugin":                         {request: notationtest.Request{Attributes: attributes("io.cncf.notary.verificationPlugin", true)}, want: notation.ErrBroken, says: "verificationPlugin"},
		"by a signing authority":                 {request: notationtest.Request{Scheme: signature.SigningSchemeX509SigningAuthority}, want: notation.ErrUntrusted},
		"an old date of a signing authority":     {by: w.late, request: notationtest.Request{At: w.then, Scheme: signature.SigningSchemeX509SigningAuthority}, want: notation.ErrUntrusted},

		"another type of payload":     {request: notationtest.Request{Type: "application/json"}, want: notation.ErrBroken, says: "application/json"},
		"no target":                   {request: notationtest.Request{Payload: []byte(`{}`)}, want: notation.ErrBroken, says: "no target"},
		"two targets":                 {request: notationtest.Request{MediaType: notation.MediaTypeCOSE, Payload: []byte(`{"targetArtifact":{},"targetArtifact":{}}`)}, want: notation.ErrBroken, says: "JSON refused"},
		"a target in another case":    {request: notationtest.Request{Payload: []byte(`{"TargetArtifact":` + targetJSON(t) + `}`)}, want: notation.ErrBroken, says: "JSON refused"},
		"a digest of another kind":    {request: notationtest.Request{Payload: []byte(`{"targetArtifact":{"digest":"md5:00"}}`)}, want: notation.ErrBroken},
		"a root whose key is short":   {by: shortRoot(t).Issue(t, notationtest.Certificate{Subject: notationtest.Name("alice")}), want: notation.ErrBroken, says: "1536 bits"},
		"a chain that is too long":    {by: longChain(t, w.root, 12), want: notation.ErrBroken, says: "more than 10"},
		"subject that is not a DN":    {by: w.root.Issue(t, notationtest.Certificate{Subject: pkix.Name{CommonName: "alice"}}), store: identities("x509.subject: C=AT, ST=Wien, O=Acme"), want: notation.ErrUntrusted},
		"subject that need not be":    {by: w.root.Issue(t, notationtest.Certificate{Subject: pkix.Name{CommonName: "alice"}})},
		"a name with two of a kind":   {by: w.root.Issue(t, notationtest.Certificate{Subject: pkix.Name{Country: []string{"AT", "DE"}, Organization: []string{"Acme"}, Province: []string{"Wien"}}}), store: identities("x509.subject: C=AT, ST=Wien, O=Acme"), want: notation.ErrUntrusted},
		"the store names its own key": {store: func(s *party.Notation) { s.Certificates = []*x509.Certificate{w.alice.Certificate()} }},
	} {
		for _, mediaType := range mediaTypes {
			if c.request.MediaType != "" && c.request.MediaType != mediaType {
				continue
			}
			t.Run(name+" "+mediaType, func(t *testing.T) {
				store, by, request := *w.store, w.alice, c.request
				if c.store != nil {
					c.store(&store)
				}
				if c.by != nil {
					by = c.by
				}
				request.MediaType, request.Target = mediaType, target
				subject, signer, err := notation.Verify(by.Sign(t, request), mediaType, &store, spki(c.revoked))
				if !errors.Is(err, c.want) || c.want == nil && err != nil {
					t.Fatalf("%v, want %v", err, c.want)
				}
				if err != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want it to say %q", err, c.says)
				}
				if known := subject.Digest == target.Digest; known == errors.Is(err, notation.ErrBroken) {
					t.Errorf("over %s, with %v", subject.Digest, err)
				}
				if (err == nil) != (signer.Key == by.SPKI()) || signer.Time.Sub(c.time).Abs() > time.Minute {
					t.Errorf("by %+v at %v, want %s at %v", signer, signer.Time, by.SPKI(), c.time)
				}
			})
		}
	}
}

func identities(list ...string) func(*party.Notation) {
	return func(s *party.Notation) { s.Identities = list }
}

func otherTimestamps(root *notationtest.Holder) func(*party.Notation) {
	return func(s *party.Notation) { s.Timestamps = []*x509.Certificate{root.Certificate()} }
}

func attributes(key string, critical bool) []signature.Attribute {
	return []signature.Attribute{{Key: key, Critical: critical, Value: "x"}}
}

func spki(holders []*notationtest.Holder) map[bundle.Digest]bool {
	digests := map[bundle.Digest]bool{}
	for _, h := range holders {
		digests[h.SPKI()] = true
	}
	return digests
}

func targetJSON(t *testing.T) string {
	b, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func shortRoot(t *testing.T) *notationtest.Holder {
	return (*notationtest.Holder)(nil).Issue(t, notationtest.Certificate{Subject: notationtest.Name("short"), Authority: true, Key: rsaKey(t, 1536)})
}

func longChain(t *testing.T, holder *notationtest.Holder, n int) *notationtest.Holder {
	for range n {
		holder = holder.Issue(t, notationtest.Certificate{Subject: notationtest.Name("longer"), Authority: true})
	}
	return holder.Issue(t, notationtest.Certificate{Subject: notationtest.Name("alice")})
}

// TestSpoiled spoils JWS by hand, as only its fields can be taken apart easily, and COSE byte by byte.
func TestSpoiled(t *testing.T) {
	w := newWorld(t)
	good := w.alice.Sign(t, notationtest.Request{MediaType: notation.MediaTypeJWS, Target: target})
	old := w.late.Sign(t, notationtest.Request{MediaType: notation.MediaTypeJWS, Target: target, At: w.then})
	other := w.alice.Sign(t, notationtest.Request{MediaType: notation.MediaTypeJWS, Target: bundle.Descriptor{MediaType: target.MediaType, Digest: bundle.DigestOf([]byte("another")), Size: 7}})
	bob := notationtest.NewRoot(t, "stranger").Issue(t, notationtest.Certificate{Subject: notationtest.Name("alice")})
	for name, c := range map[string]struct {
		envelope []byte
		want     error
	}{
		"unchanged":                         {edit(t, good, func(map[string]any) {}), nil},
		"the payload of another":            {edit(t, good, func(e map[string]any) { e["payload"] = fields(t, other)["payload"] }), notation.ErrBroken},
		"the signature of another":          {edit(t, good, func(e map[string]any) { e["signature"] = fields(t, other)["signature"] }), notation.ErrBroken},
		"the chain of a stranger":           {edit(t, good, func(e map[string]any) { header(e)["x5c"] = x5c(bob) }), notation.ErrBroken},
		"the trusted root in a wrong chain": {edit(t, bob.Sign(t, notationtest.Request{MediaType: notation.MediaTypeJWS, Target: target}), func(e map[string]any) { header(e)["x5c"] = append(x5c(bob), x5c(w.root)...) }), notation.ErrBroken},
		"no chain":                          {edit(t, good, func(e map[string]any) { delete(header(e), "x5c") }), notation.ErrBroken},
		"a chain without its root":          {edit(t, good, func(e map[string]any) { header(e)["x5c"] = x5c(w.alice)[:1] }), notation.ErrBroken},
		"no algorithm":                      {edit(t, good, protected(t, func(h map[string]any) { h["alg"] = "none" })), notation.ErrBroken},
		"an algorithm with a shared secret": {edit(t, good, protected(t, func(h map[string]any) { h["alg"] = "HS256" })), notation.ErrBroken},
		"another algorithm":                 {edit(t, good, protected(t, func(h map[string]any) { h["alg"] = "PS256" })), notation.ErrBroken},
		"a later time in the header":        {edit(t, old, protected(t, func(h map[string]any) { h["io.cncf.notary.signingTime"] = time.Now().Format(time.RFC3339) })), notation.ErrBroken},
		"a field twice":                     {[]byte(strings.Replace(string(good), "{", `{"payload":"",`, 1)), notation.ErrBroken},
		"a field in another case":           {[]byte(strings.Replace(string(good), `"payload"`, `"Payload"`, 1)), notation.ErrBroken},
		"something after it":                {append(slices.Clone(good), '{'), notation.ErrBroken},
		"too large":                         {append(slices.Clone(good), make([]byte, notation.MaxSize)...), notation.ErrBroken},
		"empty":                             {nil, notation.ErrBroken},
		"a timestamp over something else":   {stamped(t, old, w.stamper.Token(t, []byte("something else"), w.then)), notation.ErrExpired},
		"a timestamp after its time":        {stamped(t, old, w.stamper.Token(t, signatureOf(t, old), time.Now())), notation.ErrExpired},
		"a timestamp before its time":       {stamped(t, old, w.stamper.Token(t, signatureOf(t, old), w.then.AddDate(0, 0, -1))), notation.ErrExpired},
		"a timestamp in time":               {stamped(t, old, w.stamper.Token(t, signatureOf(t, old), w.then)), nil},
		"a timestamp that is none":          {stamped(t, old, []byte("none")), notation.ErrExpired},
		"a timestamp by one who signs code": {stamped(t, old, w.stampRoot.Issue(t, notationtest.Certificate{Subject: notationtest.Name("x"), NotBefore: w.then.Add(-time.Hour)}).Token(t, signatureOf(t, old), w.then)), notation.ErrExpired},
		"valid, and a timestamp that fails": {stamped(t, good, []byte("none")), nil},
	} {
		if _, _, err := notation.Verify(c.envelope, notation.MediaTypeJWS, w.store, nil); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}

	inCOSE := w.alice.Sign(t, notationtest.Request{MediaType: notation.MediaTypeCOSE, Target: target})
	for _, mediaType := range []string{notation.MediaTypeJWS, "application/json", ""} {
		if _, _, err := notation.Verify(inCOSE, mediaType, w.store, nil); !errors.Is(err, notation.ErrBroken) {
			t.Errorf("COSE as %q: %v", mediaType, err)
		}
	}
	for i := range inCOSE {
		spoiled := slices.Clone(inCOSE)
		spoiled[i] ^= 1
		subject, signer, err := notation.Verify(spoiled, notation.MediaTypeCOSE, w.store, nil)
		if err == nil && (subject.Digest != target.Digest || signer.Key != w.alice.SPKI()) {
			t.Errorf("byte %d: over %s by %+v", i, subject.Digest, signer)
		}
	}
}

// fields returns the members of an envelope in JWS.
func fields(t testing.TB, envelope []byte) map[string]any {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal(envelope, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func edit(t testing.TB, envelope []byte, change func(map[string]any)) []byte {
	t.Helper()
	e := fields(t, envelope)
	change(e)
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func header(envelope map[string]any) map[string]any { return envelope["header"].(map[string]any) }

func x5c(holder *notationtest.Holder) []any {
	var list []any
	for _, certificate := range holder.Chain {
		list = append(list, certificate.Raw)
	}
	return list
}

func protected(t testing.TB, change func(map[string]any)) func(map[string]any) {
	return func(envelope map[string]any) {
		raw, err := base64.RawURLEncoding.DecodeString(envelope["protected"].(string))
		if err != nil {
			t.Fatal(err)
		}
		envelope["protected"] = base64.RawURLEncoding.EncodeToString(edit(t, raw, change))
	}
}

func stamped(t testing.TB, envelope, token []byte) []byte {
	return edit(t, envelope, func(e map[string]any) { header(e)["io.cncf.notary.timestampSignature"] = token })
}

func signatureOf(t testing.TB, envelope []byte) []byte {
	raw, err := base64.RawURLEncoding.DecodeString(fields(t, envelope)["signature"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestFixture: what notation-go put into a registry, with metadata of a user among its annotations.
func TestFixture(t *testing.T) {
	envelope, image, store := fixture(t)
	subject, signer, err := notation.Verify(envelope, notation.MediaTypeJWS, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	if subject.Digest != image || subject.Annotations["io.acme.release"] != "1.0" {
		t.Errorf("over %+v, want %s", subject, image)
	}
	if want := "CN=airgap test fixture,O=Acme,C=AT"; signer.Subject != want || !signer.Time.IsZero() {
		t.Errorf("by %+v, want %s", signer, want)
	}
}

// fixture returns the Notation signature among the fixtures, the digest of the image that it is for, and a store that trusts its maker.
func fixture(t testing.TB) (envelope []byte, image bundle.Digest, store *party.Notation) {
	t.Helper()
	const acme = "../../../testdata/fixtures/acme"
	file := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(acme, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	blob := func(d bundle.Digest) []byte { return file("blobs/sha256/" + d.Hex()) }
	var repositories []struct {
		Repository string `json:"repository"`
		Manifests  []bundle.Descriptor
		Tags       map[string]bundle.Digest
	}
	if err := json.Unmarshal(file("repositories.json"), &repositories); err != nil {
		t.Fatal(err)
	}
	for _, r := range repositories {
		if r.Repository != "acme/notation" {
			continue
		}
		image = r.Tags["1.0"]
		for _, m := range r.Manifests {
			var manifest bundle.Manifest
			if err := json.Unmarshal(blob(m.Digest), &manifest); err != nil {
				t.Fatal(err)
			}
			if manifest.Subject != nil {
				envelope = blob(manifest.Layers[0].Digest)
			}
		}
	}
	block, _ := pem.Decode(file("notation.crt"))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return envelope, image, &party.Notation{Certificates: []*x509.Certificate{certificate}, Identities: []string{"*"}}
}

func TestCheckIdentities(t *testing.T) {
	for name, c := range map[string]struct {
		identities []string
		says       string
	}{
		"any":         {[]string{"*"}, ""},
		"one":         {[]string{"x509.subject: C=AT, ST=Wien, O=Acme"}, ""},
		"two":         {[]string{"x509.subject: C=AT, ST=Wien, O=Acme, CN=a", "x509.subject: C=AT, ST=Wien, O=Acme, CN=b"}, ""},
		"none":        {nil, "identities"},
		"any and one": {[]string{"*", "x509.subject: C=AT, ST=Wien, O=Acme"}, "wildcard"},
		"no C":        {[]string{"x509.subject: ST=Wien, O=Acme"}, "C"},
		"one in two":  {[]string{"x509.subject: C=AT, ST=Wien, O=Acme", "x509.subject: C=AT, ST=Wien, O=Acme, CN=b"}, "overlap"},
		"other kind":  {[]string{"email:alice@acme.example"}, "x509.subject:"},
	} {
		err := notation.CheckIdentities(c.identities)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// FuzzVerify: what is accepted is by the one who is trusted, over what was signed.
func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	for _, mediaType := range mediaTypes {
		f.Add(w.alice.Sign(f, notationtest.Request{MediaType: mediaType, Target: target}), mediaType)
		f.Add(w.late.Sign(f, notationtest.Request{MediaType: mediaType, Target: target, At: w.then, Timestamps: w.stamper}), mediaType)
	}
	f.Fuzz(func(t *testing.T, envelope []byte, mediaType string) {
		subject, signer, err := notation.Verify(envelope, mediaType, w.store, nil)
		switch {
		case err == nil && (subject.Digest != target.Digest || signer.Key != w.alice.SPKI() && signer.Key != w.late.SPKI()):
			t.Errorf("accepted: %+v by %+v", subject, signer)
		case err != nil && signer != party.Signer{}:
			t.Errorf("a signer with %v: %+v", err, signer)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	for _, mediaType := range mediaTypes {
		envelope := w.alice.Sign(b, notationtest.Request{MediaType: mediaType, Target: target, Timestamps: w.stamper})
		b.Run(mediaType, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := notation.Verify(envelope, mediaType, w.store, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
