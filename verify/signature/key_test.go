package signature_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/verify/signature"
)

// TestCosignKeys: keys that cosign encrypted open with their password, and belong to the public keys that it wrote.
func TestCosignKeys(t *testing.T) {
	for _, kind := range fixtureKinds {
		key, err := signature.ParsePrivateKey(fixture(t, kind+".key"), password(testPassword))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if public := fixture(t, kind+".pub"); !bytes.Equal(key.Public().MarshalPEM(), public) {
			t.Errorf("%s: public key\n%s\nwant\n%s", kind, key.Public().MarshalPEM(), public)
		}
	}
}

func TestEncryptedRoundTrip(t *testing.T) {
	for _, kind := range []signature.KeyKind{signature.ECDSAP256, signature.Ed25519, signature.RSA3072} {
		for _, secret := range []string{"", "correct horse"} {
			key := generate(t, kind)
			file, err := key.MarshalEncrypted([]byte(secret))
			if err != nil {
				t.Fatal(err)
			}
			again, err := signature.ParsePrivateKey(file, password(secret))
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if again.Public().Fingerprint() != key.Public().Fingerprint() {
				t.Errorf("%s: another key came back", kind)
			}
			if !bytes.Equal(sign(t, again, index), sign(t, key, index)) {
				t.Errorf("%s: the key that came back signs differently", kind)
			}
		}
	}
}

func TestPassword(t *testing.T) {
	file := fixture(t, "p256.key")
	for name, source := range map[string]func() ([]byte, error){
		"none":  nil,
		"wrong": password("wrong"),
		"empty": password(""),
	} {
		if _, err := signature.ParsePrivateKey(file, source); !errors.Is(err, signature.ErrPassword) {
			t.Errorf("%s: got %v, want ErrPassword", name, err)
		}
	}
	cancelled := errors.New("cancelled")
	if _, err := signature.ParsePrivateKey(file, func() ([]byte, error) { return nil, cancelled }); !errors.Is(err, cancelled) {
		t.Errorf("got %v, want the error of the password's source", err)
	}
	unwanted := func() ([]byte, error) { t.Error("asked for the password of a plain key"); return nil, nil }
	if _, err := signature.ParsePrivateKey(fixture(t, "ed25519.plain.key"), unwanted); err != nil {
		t.Error(err)
	}
	// What cosign 1 wrote differs in its name only.
	old := bytes.ReplaceAll(file, []byte("SIGSTORE"), []byte("COSIGN"))
	if _, err := signature.ParsePrivateKey(old, password(testPassword)); err != nil {
		t.Error(err)
	}
}

// TestFingerprint compares with the digest of the DER in the file, which openssl and cosign wrote.
func TestFingerprint(t *testing.T) {
	for _, kind := range fixtureKinds {
		block, _ := pem.Decode(fixture(t, kind+".pub"))
		sum := sha256.Sum256(block.Bytes)
		if got, want := publicKeys(t, kind)[0].Fingerprint(), "sha256:"+hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

func TestParsePublicKeys(t *testing.T) {
	p256, rsa3072 := string(fixture(t, "p256.pub")), string(fixture(t, "rsa.pub"))
	for name, c := range map[string]struct {
		file    string
		keys    int
		refused string
	}{
		"one":              {p256, 1, ""},
		"with text around": {"# ours\n" + p256 + "\n# the other site's\n" + rsa3072 + "\nend", 2, ""},
		"twice":            {p256 + rsa3072 + p256, 2, ""},
		"RSA 2560":         {string(rsaOf(t, 2560)), 1, ""},
		"RSA 8192":         {string(rsaOf(t, 8192)), 1, ""},
		"CRLF":             {strings.ReplaceAll(p256, "\n", "\r\n"), 1, ""},

		"empty":            {"", 0, "no PEM block"},
		"text":             {"sha256:00", 0, "no PEM block"},
		"second cut short": {p256 + rsa3072[:300], 0, "damaged"},
		"first damaged":    {strings.Replace(p256, "MF", "*F", 1) + rsa3072, 0, "damaged"},
		"private":          {string(fixture(t, "ed25519.plain.key")), 0, "private key"},
		"private, hidden":  {p256 + string(fixture(t, "p256.key")), 0, "private key"},
		"certificate":      {encode("CERTIFICATE", []byte{1}), 0, "CERTIFICATE"},
		"no DER":           {encode("PUBLIC KEY", []byte{1}), 0, "unusable key"},
		"RSA 1024":         {string(fixture(t, "refused-rsa1024.pub")), 0, "RSA of 1024 bits"},
		"RSA over 8192":    {string(rsaOf(t, 8193)), 0, "RSA of 8193 bits"},
		"P-224":            {string(fixture(t, "refused-p224.pub")), 0, "P-224"},
		"secp256k1":        {string(fixture(t, "refused-secp256k1.pub")), 0, "unusable key"},
		"X25519":           {string(fixture(t, "refused-x25519.pub")), 0, "something other than"},
		"one bad of two":   {p256 + string(fixture(t, "refused-rsa1024.pub")), 0, "RSA of 1024 bits"},
		"too large":        {p256 + strings.Repeat("\n", signature.MaxKeyFileSize), 0, "at most"},
	} {
		keys, err := signature.ParsePublicKeys([]byte(c.file))
		switch {
		case c.refused == "" && (err != nil || len(keys) != c.keys):
			t.Errorf("%s: %d keys, %v; want %d keys", name, len(keys), err, c.keys)
		case c.refused != "" && (!errors.Is(err, signature.ErrKey) || !strings.Contains(err.Error(), c.refused) || keys != nil):
			t.Errorf("%s: %d keys, %v; want a refusal with %q", name, len(keys), err, c.refused)
		}
	}
}

func encode(blockType string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}))
}

// rsaOf returns a public key whose modulus, no product of primes, serves only to be long.
func rsaOf(t *testing.T, bits uint) []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := key.PublicKey
	public.N = public.N.Lsh(public.N, bits-2048)
	public.N.SetBit(public.N, 0, 1)
	der, err := x509.MarshalPKIXPublicKey(&public)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(encode("PUBLIC KEY", der))
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	small, err := x509.MarshalPKCS8PrivateKey(smallRSA(t))
	if err != nil {
		t.Fatal(err)
	}
	plain := string(fixture(t, "ed25519.plain.key"))
	for name, c := range map[string]struct{ file, refused string }{
		"empty":           {"", "no PEM block"},
		"two keys":        {plain + plain, "2 PEM blocks"},
		"public":          {string(fixture(t, "p256.pub")), "public key"},
		"SEC 1":           {encode("EC PRIVATE KEY", nil), "openssl pkcs8"},
		"PKCS#1":          {encode("RSA PRIVATE KEY", nil), "openssl pkcs8"},
		"OpenSSH":         {encode("OPENSSH PRIVATE KEY", nil), "cosign import-key-pair"},
		"encrypted PKCS8": {encode("ENCRYPTED PRIVATE KEY", nil), "openssl pkcs8"},
		"certificate":     {encode("CERTIFICATE", nil), "CERTIFICATE"},
		"no DER":          {encode("PRIVATE KEY", []byte{1}), "unusable key"},
		"RSA 1024":        {encode("PRIVATE KEY", small), "RSA of 1024 bits"},
		"cut short":       {plain[:60], "damaged"},
		"too large":       {plain + strings.Repeat("\n", signature.MaxKeyFileSize), "at most"},
	} {
		_, err := signature.ParsePrivateKey([]byte(c.file), password(testPassword))
		if !errors.Is(err, signature.ErrKey) || !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: got %v, want a refusal with %q", name, err, c.refused)
		}
	}
}

func smallRSA(t *testing.T) *rsa.PrivateKey {
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestGenerateRefuses(t *testing.T) {
	if _, err := signature.Generate("dsa"); !errors.Is(err, signature.ErrKey) || !strings.Contains(err.Error(), "ecdsa-p256") {
		t.Errorf("got %v, want the kinds there are", err)
	}
}

// TestNoSecretsInPrint: a key that ends up in a log line shows its fingerprint and no more.
func TestNoSecretsInPrint(t *testing.T) {
	key := privateKey(t, "ed25519")
	want := "private key of " + key.Public().Fingerprint()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		if got := fmt.Sprintf(verb, key); got != want {
			t.Errorf("%s: %s", verb, got)
		}
		if got := fmt.Sprintf(verb, *key); got != want {
			t.Errorf("%s of the value: %s", verb, got)
		}
	}
}

// The same key in a certificate is the same key, and one key when the file has both.
func TestCertificateIsItsKey(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)} // long expired: a certificate stands for its key and nothing else
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signature.ParsePublicKeys([]byte(encode("CERTIFICATE", der) + encode("PUBLIC KEY", spki)))
	if err != nil || len(keys) != 1 || keys[0].Fingerprint() != bundle.DigestOf(spki).String() {
		t.Errorf("%v, %v; want the key %s once", keys, err, bundle.DigestOf(spki))
	}
}
