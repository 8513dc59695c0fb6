package interop

import (
	"fmt"
	"testing"
	"time"

	"airgap/bundle/bundletest"
	"airgap/verify/proof/prooftest"
)

// TestCosignKeyless: what cosign signs and attests without a key, at a Sigstore made for the test, counts for who trusts that and the identity.
func TestCosignKeyless(t *testing.T) {
	b, w := newBench(t), prooftest.NewWorld(t)
	services := w.Serve()
	host := bundletest.StartRegistry(t, true)
	images := []string{host + "/acme/app@" + w.About.String(), host + "/acme/old@" + w.About.String()}
	push(t, w, prooftest.Case{}, host+"/acme/app")
	push(t, w, prooftest.Case{}, host+"/acme/old")
	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	service := func(url string) string {
		return fmt.Sprintf(`[{"url":%q,"majorApiVersion":1,"validFor":{"start":%q},"operator":"test"}]`, url, since)
	}
	config := b.write(t, "signing.json", fmt.Sprintf(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","caUrls":%s,"rekorTlogUrls":%s,"rekorTlogConfig":{"selector":"ANY"},"tsaUrls":%s,"tsaConfig":{"selector":"ANY"}}`,
		service(services.Fulcio), service(services.Rekor), service(services.Timestamps)))
	root := b.write(t, "trusted_root.json", string(w.TrustedRoot(false)))
	said := b.write(t, "said.json", `{"well":true}`)
	for i, how := range [][]string{
		{"--signing-config", config, "--trusted-root", root},
		// As cosign 2 does it: under tags.
		{"--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false", "--fulcio-url", services.Fulcio, "--timestamp-server-url", services.Timestamps, "--insecure-skip-verify"},
	} {
		how = append(how, "--identity-token", w.Token(), "--allow-http-registry=true", "--yes", images[i])
		b.run(t, "cosign", append([]string{"sign"}, how...)...)
		b.run(t, "cosign", append([]string{"attest", "--predicate", said, "--type", "https://example.com/said"}, how...)...)
	}

	b.run(t, "airgap", "keygen")
	policy := func(subject string) string {
		return b.write(t, subject+".yaml", "version: 1\nsigners:\n  ci: {identities: {issuer: "+prooftest.Issuer+", subject: "+subject+"}, trustedRoot: trusted_root.json}\n"+
			"images:\n  - match: '**'\n    signatures: {by: ci}\n    attestations: {type: https://example.com/said, by: ci, maxAge: 1h, expect: {path: $.predicate.well, is: true}}\n")
	}
	b.run(t, "airgap", "export", images[0], images[1], "--policy", policy(prooftest.Subject), "--key", "airgap.key", "-o", "app.tar")
	b.run(t, "airgap", "verify", "app.tar", "--policy", policy(prooftest.Subject), "--key", "airgap.pub")
	if _, err := b.try(t, "airgap", "verify", "app.tar", "--policy", policy("somebody@else.example"), "--key", "airgap.pub"); err == nil {
		t.Error("signatures by another identity count")
	}
}
