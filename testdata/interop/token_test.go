package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
)

// softHSM is the library of Debian's softhsm2.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// With the script that "airgap help sign-with" shows, OpenSSL signs bundles with a key that lies in a PKCS#11 token. airgap and cosign
// check the signatures like any others.
func TestSignWithToken(t *testing.T) {
	if _, err := os.Stat(softHSM); err != nil {
		t.Fatalf("%v: run these tests with \"make interop\", which installs it", err)
	}
	fixture, from := bundletest.LoadFixture(t), bundletest.StartRegistry(t, true)
	fixture.Push(t, map[string]string{bundletest.Images: from, bundletest.Attestations: bundletest.StartRegistry(t, true)})
	for name, key := range map[string]struct{ generate, cosign []string }{
		"P-256": {[]string{"EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, nil},
		"P-384": {[]string{"EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, []string{"--signature-digest-algorithm=sha384"}},
		"RSA":   {[]string{"RSA", "-pkeyopt", "rsa_keygen_bits:3072"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{bench: newBench(t), fixture: fixture, images: from}
			w.token(t, key.generate...)
			export := []string{"export", from + "/acme/notation:1.0", "--sign-with", "./sign.sh", "--public-key", "token.pub", "-o", "signed.tar"}

			w.write(t, "pin", "0000")
			if _, err := w.try(t, "airgap", export...); err == nil || !strings.Contains(err.Error(), "sign.sh") {
				t.Errorf("with a wrong PIN: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(w.dir, "signed.tar*")); len(left) > 0 {
				t.Errorf("written without a signature: %v", left)
			}
			w.write(t, "pin", "1234")
			w.run(t, "airgap", export...)
			w.run(t, "airgap", "verify", "signed.tar", "--key", "token.pub")
			w.unpack(t, "signed.tar")
			if err := w.cosignChecks(t, "token.pub", blobPath(w.index[0].Digest.String()), key.cosign...); err != nil {
				t.Error(err)
			}
		})
	}
}

// token puts a new key into a new token, its public part into token.pub and the script that signs with it into sign.sh, which takes
// the token's PIN, 1234, from the file pin.
func (w *world) token(t *testing.T, generate ...string) {
	t.Helper()
	config := w.write(t, "softhsm2.conf", "directories.tokendir = "+t.TempDir()+"\nlog.level = ERROR\n")
	w.env = append(w.env, "SOFTHSM2_CONF="+config, "PKCS11_MODULE_PATH="+softHSM,
		"AIRGAP_PKCS11_KEY=pkcs11:token=airgap;object=packer;type=private;pin-source=file:"+filepath.Join(w.dir, "pin"))
	w.run(t, "softhsm2-util", "--init-token", "--free", "--label", "airgap", "--pin", "1234", "--so-pin", "5678")
	w.run(t, "openssl", slices.Concat([]string{"genpkey", "-out", "token.pem", "-algorithm"}, generate)...)
	w.run(t, "openssl", "pkey", "-in", "token.pem", "-pubout", "-out", "token.pub")
	w.run(t, "softhsm2-util", "--import", "token.pem", "--token", "airgap", "--label", "packer", "--id", "01", "--pin", "1234")
	_, script, _ := strings.Cut(w.run(t, "airgap", "help", "sign-with"), "#!/bin/sh")
	if err := os.Chmod(w.write(t, "sign.sh", "#!/bin/sh"+script), 0o700); err != nil {
		t.Fatal(err)
	}
}
