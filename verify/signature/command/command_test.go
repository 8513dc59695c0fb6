package command_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/program"
	"airgap/verify/signature"
	"airgap/verify/signature/command"
)

// With behaviour and secret in its environment, this test is a program that signs.
const (
	behaviour = "AIRGAP_TEST_BEHAVIOUR"
	secret    = "AIRGAP_TEST_SECRET" // PKCS#8 in base64
)

func TestMain(m *testing.M) {
	if how := os.Getenv(behaviour); how != "" {
		if err := sign(how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sign is what an HSM does: it knows its key, and nothing of what it signs.
func sign(how string) error {
	der, err := base64.StdEncoding.DecodeString(os.Getenv(secret))
	if err != nil {
		return err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return err
	}
	signed, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var hash crypto.Hash
	switch os.Args[1] {
	case "ecdsa-p256-sha256", "rsa-pkcs1-sha256":
		hash = crypto.SHA256
	case "ecdsa-p384-sha384":
		hash = crypto.SHA384
	case "ecdsa-p521-sha512":
		hash = crypto.SHA512
	case "ed25519":
	default:
		return fmt.Errorf("asked for %q", os.Args[1])
	}
	if hash != 0 && len(signed) != hash.Size() {
		return fmt.Errorf("%d bytes to sign", len(signed))
	}
	raw, err := key.(crypto.Signer).Sign(rand.Reader, signed, hash)
	if err != nil {
		return err
	}
	switch how {
	case "raw":
	case "base64":
		raw = []byte(base64.StdEncoding.EncodeToString(raw) + "\r\n")
	case "fails":
		return errors.New("no card in the reader\nat all")
	case "nothing":
		raw = nil
	case "something else":
		raw[len(raw)-1] ^= 1
	case "too much":
		raw = bytes.Repeat(raw, 4096)
	case "hangs":
		select {}
	}
	_, err = os.Stdout.Write(raw)
	return err
}

var subject = bundle.DigestOf([]byte("a manifest index"))

// held returns the key in der, as this test signs with it when it is run with that behaviour.
func held(ctx context.Context, t *testing.T, private crypto.Signer, how string) *signature.PrivateKey {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(secret, base64.StdEncoding.EncodeToString(der))
	t.Setenv(behaviour, how)
	public, err := signature.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	key, err := command.Key(ctx, os.Args[0], public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSign(t *testing.T) {
	keys := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		keys[name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	_, keys["Ed25519"], _ = ed25519.GenerateKey(rand.Reader)
	keys["RSA"], _ = rsa.GenerateKey(rand.Reader, 2048)
	for name, private := range keys {
		for _, how := range []string{"raw", "base64"} {
			key := held(t.Context(), t, private, how)
			signed, err := signature.Sign(key, subject)
			if err != nil {
				t.Errorf("%s, %s: %v", name, how, err)
				continue
			}
			if by, err := signature.Verify(signed, subject, []signature.PublicKey{key.Public()}); err != nil || by.Fingerprint() != key.Public().Fingerprint() {
				t.Errorf("%s, %s: %v", name, how, err)
			}
		}
	}
}

func TestSignFails(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for how, c := range map[string]struct {
		want error
		says string
	}{
		"fails":          {nil, "exit status 3: no card in the reader"},
		"nothing":        {nil, "printed no signature"},
		"something else": {signature.ErrNotSigned, "ecdsa-p256-sha256"},
		"too much":       {program.ErrOutput, "65536 bytes"},
	} {
		_, err := signature.Sign(held(t.Context(), t, private, how), subject)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", how, err, c.says)
		}
	}
	if _, err := command.Key(t.Context(), "./no-such-program", signature.PublicKey{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
	if _, err := command.Key(t.Context(), "no-such-program", signature.PublicKey{}); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("no program on the PATH: %v", err)
	}
}

// The program ends when airgap does.
func TestSignStops(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	key := held(ctx, t, private, "hangs")
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := signature.Sign(key, subject); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
