package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// cosign checks an approval with nothing but what tar unpacks, as APPROVAL.md says, and what is beside a bundle in a record.
func TestCosignChecksApprovals(t *testing.T) {
	for _, keyType := range []string{"ecdsa-p256", "ed25519", "rsa-3072"} {
		t.Run(keyType, func(t *testing.T) {
			w := exportWorld(t, "ecdsa-p256")
			w.run(t, "airgap", "keygen", "--type", keyType, "--output-key-prefix", "officer")
			w.run(t, "airgap", "approve", "world.tar", "--key", "airgap.pub", "--sign-key", "officer.key", "--note", "looked at <it>", "--until", "2200-01-01", "-o", "officer.approval")
			verify := func(key, predicateType, file string) error {
				_, err := w.try(t, "cosign", "verify-blob-attestation", "--key", key, "--bundle", "officer.approval", "--type", predicateType, "--insecure-ignore-tlog=true",
					filepath.Join("layout", blobPath(file)))
				return err
			}
			index, artifact := w.index[0].Digest.String(), w.index[1].Digest.String()
			if err := verify("officer.pub", "urn:airgap:approval:v1", index); err != nil {
				t.Error(err)
			}
			for name, err := range map[string]error{
				"another file": verify("officer.pub", "urn:airgap:approval:v1", artifact),
				"another key":  verify("airgap.pub", "urn:airgap:approval:v1", index),
				"another type": verify("officer.pub", "https://sigstore.dev/cosign/sign/v1", index),
			} {
				if err == nil {
					t.Errorf("cosign accepts the approval of %s", name)
				}
			}
		})
	}
}

// A countersignature may be made by cosign, and one of airgap's is checked by cosign.
func TestCosignCountersigns(t *testing.T) {
	w := exportWorld(t, "ecdsa-p256")
	index := filepath.Join("layout", blobPath(w.index[0].Digest.String()))
	w.run(t, "cosign", "generate-key-pair")
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`,
		w.index[0].Digest.Encoded())
	if err := os.WriteFile(filepath.Join(w.dir, "statement.json"), []byte(statement), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run(t, "cosign", "attest-blob", "--key", "cosign.key", "--statement", "statement.json", "--bundle", "by-cosign.json", "--use-signing-config=false", "--tlog-upload=false", "--yes", index)
	if _, err := w.try(t, "airgap", "verify", "world.tar", "--key", "cosign.pub"); err == nil {
		t.Error("nobody has signed with that key yet")
	}
	w.run(t, "airgap", "verify", "world.tar", "--key", "cosign.pub", "--signature", "by-cosign.json")

	w.run(t, "airgap", "keygen", "--output-key-prefix", "second")
	w.run(t, "airgap", "countersign", "world.tar", "--key", "airgap.pub", "--sign-key", "second.key", "-o", "world.second.sigstore.json")
	w.run(t, "cosign", "verify-blob-attestation", "--key", "second.pub", "--bundle", "world.second.sigstore.json", "--type", "https://sigstore.dev/cosign/sign/v1",
		"--insecure-ignore-tlog=true", index)
	w.run(t, "airgap", "verify", "world.tar", "--key", "second.pub")
}
