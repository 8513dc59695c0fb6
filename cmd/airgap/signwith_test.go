package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where the environment names these files, this test is a program that signs with the one, and leaves its arguments in the other.
const (
	signerKey = "AIRGAP_TEST_SIGNER_KEY"
	signerLog = "AIRGAP_TEST_SIGNER_LOG"
)

func isAsSigner() bool {
	return os.Getenv(signerKey) != "" && len(os.Args) == 3 && strings.HasPrefix(os.Args[1], "ecdsa-")
}

// asSigner signs as a smart card does: never twice alike.
func asSigner() error {
	der, err := os.ReadFile(os.Getenv(signerKey))
	if err != nil {
		return err
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(os.Getenv(signerLog), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(log, strings.Join(os.Args[1:], " ")+"\n"); err != nil {
		return err
	}
	digest, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	raw, err := key.Sign(rand.Reader, digest, nil)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(raw)
	return err
}

// cardKey makes a key that only this test, run as a program, signs with. It returns the flags for it, and how often it has signed.
func cardKey(t *testing.T, home string) (flags []string, public string, signed func() int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	secret, log := filepath.Join(home, "token"), filepath.Join(home, "token.log")
	public = filepath.Join(home, "token.pub")
	if err := os.WriteFile(secret, der, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(signerKey, secret)
	t.Setenv(signerLog, log)
	return []string{"--sign-with", os.Args[0], "--public-key", public}, public, func() int {
		lines, err := os.ReadFile(log)
		if err != nil {
			return 0
		}
		if n := bytes.Count(lines, []byte("ecdsa-p256-sha256 sha256:")); n == bytes.Count(lines, []byte("\n")) {
			return n
		}
		t.Errorf("it was run with %s", lines)
		return 0
	}
}

// An export that is signed by a program, which never signs twice alike, is continued with the signature that it has.
func TestSignWith(t *testing.T) {
	k := newKillable(t)
	flags, public, signed := cardKey(t, k.home)
	k.signing = flags
	if !k.start(t, 5) {
		t.Fatal("not killed")
	}
	k.server.Forget()
	if k.start(t, -1) {
		t.Fatal("killed without being asked for")
	}
	if fetched := k.server.Count("GET", "/blobs/"); fetched > killableLayers {
		t.Errorf("%d blobs were fetched, though some were there", fetched)
	}
	if n := signed(); n != 1 {
		t.Errorf("the program has signed %d times", n)
	}
	k.expect(t, exitOK, "all digests are right", "verify", k.file, "--key", public)
	k.expect(t, exitUntrusted, "not signed by a trusted key", "verify", k.file, "--key", k.public)
}

func TestSignWithFails(t *testing.T) {
	k := newKillable(t)
	flags, public, _ := cardKey(t, k.home)
	export := func(code int, message string, flags ...string) {
		t.Helper()
		args := append([]string{"export", k.server.Host() + "/acme/app:1", "-o", k.file}, flags...)
		k.expect(t, code, message, args...)
		if left := k.matches(t, "bundle.tar*"); len(left) > 0 {
			t.Errorf("%v: written: %v", flags, left)
		}
	}
	export(exitFailure, "not a signature by this key", "--sign-with", os.Args[0], "--public-key", k.public)
	export(exitUsage, "two ways to sign", append(flags, "--key", filepath.Join(k.home, "airgap.key"))...)
	export(exitUsage, "--public-key is missing", "--sign-with", os.Args[0])
	export(exitUsage, "--public-key is for --sign-with", "--public-key", public)
	export(exitUsage, "no-such-program", "--sign-with", "no-such-program", "--public-key", public)
	export(exitUsage, "--key is missing")
	t.Setenv(signerKey, filepath.Join(k.home, "no card\x1b[31m"))
	export(exitFailure, "exit status", "--sign-with", os.Args[0], "--public-key", public)
	if strings.Contains(k.err.String(), "\x1b") {
		t.Errorf("what the program says is shown as it is: %q", k.err.String())
	}
}

// The topic has what a program must know, and the script.
func TestSignWithTopic(t *testing.T) {
	w := newWorld(t)
	w.expect(t, exitOK, "", "help", "sign-with")
	for _, want := range []string{"ecdsa-p521-sha512", "ASN.1 DER", "#!/bin/sh", "openssl pkeyutl -sign"} {
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
}
