package signature_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/verify/signature"
)

var update = flag.Bool("update", false, "write the signatures in testdata anew")

// testPassword encrypts the keys in testdata.
const testPassword = "airgap-test"

// fixtureKinds are the keys in testdata by the name of their files.
var fixtureKinds = []string{"p256", "p384", "ed25519", "rsa"}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func password(p string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(p), nil }
}

// privateKey returns the key of that kind in testdata: a plain one where there is one, as the others cost time.
func privateKey(t testing.TB, kind string) *signature.PrivateKey {
	t.Helper()
	name := kind + ".plain.key"
	if kind == "p256" {
		name = "p256.key"
	}
	key, err := signature.ParsePrivateKey(fixture(t, name), password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicKeys(t testing.TB, kinds ...string) []signature.PublicKey {
	t.Helper()
	var keys []signature.PublicKey
	for _, kind := range kinds {
		parsed, err := signature.ParsePublicKeys(fixture(t, kind+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, parsed...)
	}
	return keys
}

func generate(t testing.TB, kind signature.KeyKind) *signature.PrivateKey {
	t.Helper()
	key, err := signature.Generate(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, key *signature.PrivateKey, d bundle.Digest) []byte {
	t.Helper()
	b, err := signature.Sign(key, d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var index = bundle.DigestOf([]byte("a manifest index"))

func TestRoundTrip(t *testing.T) {
	for _, kind := range signature.KeyKinds() {
		t.Run(string(kind), func(t *testing.T) {
			key := generate(t, kind)
			signed := sign(t, key, index)
			if again := sign(t, key, index); !bytes.Equal(again, signed) {
				t.Errorf("signed twice, got two signatures:\n%s\n%s", signed, again)
			}
			stranger := generate(t, signature.ECDSAP256).Public()
			got, err := signature.Verify(signed, index, []signature.PublicKey{{}, stranger, key.Public()})
			if err != nil {
				t.Fatal(err)
			}
			if got.Fingerprint() != key.Public().Fingerprint() {
				t.Errorf("verified by %s, not by %s", got.Fingerprint(), key.Public().Fingerprint())
			}
		})
	}
}

// TestBytes pins the bytes of signatures: bundles made before and after an upgrade must not differ. cosign accepted
// these (testdata/README.md).
func TestBytes(t *testing.T) {
	for _, kind := range fixtureKinds {
		signed := sign(t, privateKey(t, kind), bundle.DigestOf(fixture(t, "artifact.json")))
		name := "airgap-" + kind + ".sigstore.json"
		if *update {
			if err := os.WriteFile(filepath.Join("testdata", name), signed, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := fixture(t, name); !bytes.Equal(signed, want) {
			t.Errorf("%s: got %s\nwant %s", kind, signed, want)
		}
		if len(signed) > 2<<10 {
			t.Errorf("%s: a signature of %d bytes", kind, len(signed))
		}
	}
}

// TestEnvelopeMessage is the example in the specification.
// https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md#test-vectors
func TestEnvelopeMessage(t *testing.T) {
	got := signature.Signed(signature.NewEnvelopeMessage("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestCosign: what cosign 3 signed verifies, except that it prehashes for Ed25519, which cosign itself refuses.
func TestCosign(t *testing.T) {
	artifact := bundle.DigestOf(fixture(t, "artifact.json"))
	for _, kind := range fixtureKinds {
		key, err := signature.Verify(fixture(t, kind+".sigstore.json"), artifact, publicKeys(t, fixtureKinds...))
		switch {
		case kind == "ed25519" && !errors.Is(err, signature.ErrUntrustedKey):
			t.Errorf("%s: got %v, want a refusal of a second hash for one type of key", kind, err)
		case kind != "ed25519" && err != nil:
			t.Errorf("%s: %v", kind, err)
		case kind != "ed25519" && key.Fingerprint() != publicKeys(t, kind)[0].Fingerprint():
			t.Errorf("%s: verified by another key", kind)
		}
	}
}

func TestUntrusted(t *testing.T) {
	key, other := privateKey(t, "p256"), privateKey(t, "rsa")
	signed := sign(t, key, index)
	altered := bytes.Replace(signed, []byte(`"sig":"ME`), []byte(`"sig":"MF`), 1)
	for name, c := range map[string]struct {
		signature []byte
		trusted   []signature.PublicKey
		wanted    []string
	}{
		"no keys":     {signed, nil, []string{"no trusted key was given"}},
		"another key": {signed, []signature.PublicKey{other.Public()}, []string{key.Public().Fingerprint(), other.Public().Fingerprint(), "airgap keygen"}},
		"zero key":    {signed, make([]signature.PublicKey, 1), nil},
		"altered":     {altered, []signature.PublicKey{other.Public(), key.Public()}, []string{"damaged or altered"}},
	} {
		_, err := signature.Verify(c.signature, index, c.trusted)
		if !errors.Is(err, signature.ErrUntrustedKey) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, wanted := range c.wanted {
			if !strings.Contains(err.Error(), wanted) {
				t.Errorf("%s: %q does not say %q", name, err, wanted)
			}
		}
	}
}

// TestHintsAreIgnored: what the signature says of its key neither helps nor hinders.
func TestHintsAreIgnored(t *testing.T) {
	key, other := privateKey(t, "p256"), privateKey(t, "rsa")
	signed := sign(t, key, index)
	edit := func(hint, keyID string) []byte {
		return editJSON(t, signed, func(b map[string]any) {
			b["verificationMaterial"] = map[string]any{"publicKey": map[string]any{"hint": hint}}
			b["dsseEnvelope"].(map[string]any)["signatures"].([]any)[0].(map[string]any)["keyid"] = keyID
		})
	}
	otherHint := "B+ZmjPsqh9CzW0sb0NF9u8gdTwoOlxQY1roNK1P1gm4="
	for _, hint := range []string{"", "not base64", otherHint} {
		if _, err := signature.Verify(edit(hint, hint), index, []signature.PublicKey{other.Public(), key.Public()}); err != nil {
			t.Errorf("hint %q: %v", hint, err)
		}
		if _, err := signature.Verify(edit(hint, hint), index, []signature.PublicKey{other.Public()}); !errors.Is(err, signature.ErrUntrustedKey) {
			t.Errorf("hint %q, without the key: %v", hint, err)
		}
	}
}

// editJSON decodes a document, lets edit change it, and encodes it again.
func editJSON(t testing.TB, document []byte, edit func(map[string]any)) []byte {
	t.Helper()
	var decoded map[string]any
	if err := json.Unmarshal(document, &decoded); err != nil {
		t.Fatal(err)
	}
	edit(decoded)
	encoded, err := json.Marshal(decoded)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// TestSpoiledBundle: what is wrong around a good signature.
func TestSpoiledBundle(t *testing.T) {
	key := privateKey(t, "p256")
	signed := sign(t, key, index)
	envelope := func(b map[string]any) map[string]any { return b["dsseEnvelope"].(map[string]any) }
	material := func(b map[string]any) map[string]any { return b["verificationMaterial"].(map[string]any) }
	for name, edit := range map[string]func(map[string]any){
		"no media type":     func(b map[string]any) { delete(b, "mediaType") },
		"media type v0.2":   func(b map[string]any) { b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2" },
		"media type v0.3 b": func(b map[string]any) { b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3" },
		"no envelope":       func(b map[string]any) { delete(b, "dsseEnvelope") },
		"null envelope":     func(b map[string]any) { b["dsseEnvelope"] = nil },
		"a message":         func(b map[string]any) { b["messageSignature"] = map[string]any{} },
		"no material":       func(b map[string]any) { delete(b, "verificationMaterial") },
		"no public key":     func(b map[string]any) { delete(material(b), "publicKey") },
		"a certificate":     func(b map[string]any) { material(b)["certificate"] = map[string]any{"rawBytes": ""} },
		"a chain":           func(b map[string]any) { material(b)["x509CertificateChain"] = map[string]any{} },
		"unknown field":     func(b map[string]any) { b["other"] = 1 },
		"protobuf's name":   func(b map[string]any) { b["media_type"] = b["mediaType"] },
		"case":              func(b map[string]any) { b["MediaType"] = b["mediaType"] },
		"no signatures":     func(b map[string]any) { envelope(b)["signatures"] = []any{} },
		"two signatures": func(b map[string]any) {
			one := envelope(b)["signatures"].([]any)[0]
			envelope(b)["signatures"] = []any{one, one}
		},
		"payload no base64": func(b map[string]any) { envelope(b)["payload"] = "*" },
		"payload in lines": func(b map[string]any) {
			payload := envelope(b)["payload"].(string)
			envelope(b)["payload"] = payload[:76] + "\n" + payload[76:]
		},
		"URL-safe payload": func(b map[string]any) { envelope(b)["payload"] = "_w==" },
	} {
		_, err := signature.Verify(editJSON(t, signed, edit), index, []signature.PublicKey{key.Public()})
		if !errors.Is(err, signature.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spoiled := range map[string][]byte{
		"empty":         nil,
		"trailing data": append(bytes.Clone(signed), "{}"...),
		"cut":           signed[:len(signed)-1],
		"duplicate":     bytes.Replace(signed, []byte(`{"mediaType"`), []byte(`{"mediaType":"","mediaType"`), 1),
		"too large":     append(bytes.Clone(signed), bytes.Repeat([]byte(" "), signature.MaxSize)...),
	} {
		_, err := signature.Verify(spoiled, index, []signature.PublicKey{key.Public()})
		if !errors.Is(err, signature.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestIgnored: log entries and timestamps, which a countersigner's tool may add, change nothing.
func TestIgnored(t *testing.T) {
	key := privateKey(t, "p256")
	signed := editJSON(t, sign(t, key, index), func(b map[string]any) {
		material := b["verificationMaterial"].(map[string]any)
		material["tlogEntries"] = []any{map[string]any{"logIndex": "1"}}
		material["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": []any{}}
	})
	if _, err := signature.Verify(signed, index, []signature.PublicKey{key.Public()}); err != nil {
		t.Error(err)
	}
}

// TestSpoiledStatement: properly signed by a trusted key, and yet not what Sign would say.
func TestSpoiledStatement(t *testing.T) {
	const (
		inToto = "application/vnd.in-toto+json"
		v1     = `"_type":"https://in-toto.io/Statement/v1"`
		sign   = `"predicateType":"https://sigstore.dev/cosign/sign/v1"`
	)
	one := `{"digest":{"sha256":"` + index.Hex() + `"}}`
	other := `{"digest":{"sha256":"` + bundle.EmptyJSON.Hex() + `"}}`
	for name, c := range map[string]struct {
		payloadType, payload string
		wanted               error
	}{
		"good":                   {inToto, `{` + v1 + `,` + sign + `,"subject":[` + one + `],"predicate":{}}`, nil},
		"good, with more":        {inToto, `{` + v1 + `,` + sign + `,"subject":[{"name":"x",` + one[1:] + `],"predicate":{ },"more":{"a":1}}`, nil},
		"a predicate with more":  {inToto, `{` + v1 + `,` + sign + `,"subject":[` + one + `],"predicate":{"a":1}}`, signature.ErrWrongPredicate},
		"no predicate":           {inToto, `{` + v1 + `,` + sign + `,"subject":[` + one + `]}`, signature.ErrWrongPredicate},
		"a null predicate":       {inToto, `{` + v1 + `,` + sign + `,"subject":[` + one + `],"predicate":null}`, signature.ErrWrongPredicate},
		"an array as predicate":  {inToto, `{` + v1 + `,` + sign + `,"subject":[` + one + `],"predicate":[]}`, signature.ErrWrongPredicate},
		"other payload type":     {"application/json", `{` + v1 + `,` + sign + `,"subject":[` + one + `],"predicate":{}}`, signature.ErrMalformed},
		"no JSON":                {inToto, `x`, signature.ErrMalformed},
		"empty":                  {inToto, ``, signature.ErrMalformed},
		"null":                   {inToto, `null`, signature.ErrMalformed},
		"no type":                {inToto, `{` + sign + `,"subject":[` + one + `],"predicate":{}}`, signature.ErrMalformed},
		"statement v0.1":         {inToto, `{"_type":"https://in-toto.io/Statement/v0.1",` + sign + `,"subject":[` + one + `]}`, signature.ErrMalformed},
		"no predicate type":      {inToto, `{` + v1 + `,"subject":[` + one + `]}`, signature.ErrWrongPredicate},
		"other predicate type":   {inToto, `{` + v1 + `,"predicateType":"https://slsa.dev/provenance/v1","subject":[` + one + `]}`, signature.ErrWrongPredicate},
		"other subject":          {inToto, `{` + v1 + `,` + sign + `,"subject":[` + other + `]}`, signature.ErrWrongSubject},
		"upper-case digest":      {inToto, `{` + v1 + `,` + sign + `,"subject":[{"digest":{"sha256":"` + strings.ToUpper(index.Hex()) + `"}}]}`, signature.ErrWrongSubject},
		"prefixed digest":        {inToto, `{` + v1 + `,` + sign + `,"subject":[{"digest":{"sha256":"` + index.String() + `"}}]}`, signature.ErrWrongSubject},
		"no subject":             {inToto, `{` + v1 + `,` + sign + `,"subject":[]}`, signature.ErrMalformed},
		"two subjects":           {inToto, `{` + v1 + `,` + sign + `,"subject":[` + one + `,` + other + `]}`, signature.ErrMalformed},
		"the same subject twice": {inToto, `{` + v1 + `,` + sign + `,"subject":[` + one + `,` + one + `]}`, signature.ErrMalformed},
		"no digest":              {inToto, `{` + v1 + `,` + sign + `,"subject":[{}]}`, signature.ErrMalformed},
		"second digest":          {inToto, `{` + v1 + `,` + sign + `,"subject":[{"digest":{"sha256":"` + index.Hex() + `","sha512":"00"}}]}`, signature.ErrMalformed},
		"other algorithm":        {inToto, `{` + v1 + `,` + sign + `,"subject":[{"digest":{"sha512":"` + index.Hex() + `"}}]}`, signature.ErrMalformed},
		"algorithm in capitals":  {inToto, `{` + v1 + `,` + sign + `,"subject":[{"digest":{"SHA256":"` + index.Hex() + `"}}]}`, signature.ErrMalformed},
		"duplicate subject":      {inToto, `{` + v1 + `,` + sign + `,"subject":[` + one + `],"subject":[` + other + `]}`, signature.ErrMalformed},
		"subject in capitals":    {inToto, `{` + v1 + `,` + sign + `,"Subject":[` + one + `]}`, signature.ErrMalformed},
		"trailing data":          {inToto, `{` + v1 + `,` + sign + `,"subject":[` + one + `]}{}`, signature.ErrMalformed},
	} {
		key := privateKey(t, "ed25519")
		signed, err := signature.Seal(key, c.payloadType, []byte(c.payload))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signature.Verify(signed, index, []signature.PublicKey{key.Public()}); !errors.Is(err, c.wanted) {
			t.Errorf("%s: got %v, want %v", name, err, c.wanted)
		}
		// The payload must not be believed, nor complained of, before the signature is good.
		if _, err := signature.Verify(signed, index, publicKeys(t, "p384")); !errors.Is(err, signature.ErrUntrustedKey) {
			t.Errorf("%s, by another key: %v", name, err)
		}
	}
}

// TestFlippedBits: no change of one bit makes a signature over something else, and what is still accepted is so only
// because the bit is in a hint.
func TestFlippedBits(t *testing.T) {
	key := privateKey(t, "ed25519")
	signed := sign(t, key, index)
	hint := bytes.Index(signed, []byte(`"hint":"`)) + len(`"hint":"`)
	for i := range signed {
		for bit := range 8 {
			spoiled := bytes.Clone(signed)
			spoiled[i] ^= 1 << bit
			_, err := signature.Verify(spoiled, index, []signature.PublicKey{key.Public()})
			if inHint := i >= hint && i < hint+44; err == nil && !inHint {
				t.Errorf("byte %d from %q to %q: accepted", i, signed[i], spoiled[i])
			}
		}
	}
}

// TestEverySignatureByteCounts: the same for the other algorithms, in the signature and the payload.
func TestEverySignatureByteCounts(t *testing.T) {
	for _, kind := range fixtureKinds {
		key := privateKey(t, kind)
		signed := sign(t, key, index)
		for _, field := range []string{"payload", "sig"} {
			var original string
			for i := 0; i == 0 || i < len(original); i += 7 {
				spoiled := editJSON(t, signed, func(b map[string]any) {
					parent := b["dsseEnvelope"].(map[string]any)
					if field == "sig" {
						parent = parent["signatures"].([]any)[0].(map[string]any)
					}
					original = parent[field].(string)
					replacement := byte('A')
					if original[i] == 'A' {
						replacement = 'B'
					}
					parent[field] = original[:i] + string(replacement) + original[i+1:]
				})
				if _, err := signature.Verify(spoiled, index, []signature.PublicKey{key.Public()}); err == nil {
					t.Errorf("%s: accepted with character %d of %s changed", kind, i, field)
				}
			}
		}
	}
}
