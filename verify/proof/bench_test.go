package proof_test

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"testing"

	"airgap/bundle"
	"airgap/verify/party"
	"airgap/verify/proof"
	"airgap/verify/proof/prooftest"
	"airgap/verify/signature"
)

// BenchmarkJudged reads attestations and asks whose they are, and reports the time of one. A thousand images with twenty proofs each are to be judged
// in five seconds of two processors: 500 us are what there is for one.
func BenchmarkJudged(b *testing.B) {
	w := prooftest.NewWorld(b)
	key, err := signature.NewPublicKey(w.Keys["p256"].(*ecdsa.PrivateKey).Public())
	if err != nil {
		b.Fatal(err)
	}
	whose := &party.Party{Keys: []party.Key{{PublicKey: key}}}
	for _, size := range []int{1 << 10, 10 << 10, 100 << 10, 1 << 20} {
		for name, carriers := range w.Attested(sbom(size)) {
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				layer := carriers[0].Layers[0]
				m, err := bundle.ParseManifest(bundle.MediaTypeOCIManifest, carriers[0].Manifest(b, bundle.Descriptor{Digest: w.About}))
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(layer.Content)))
				b.ReportAllocs()
				for b.Loop() {
					proofs, err := proof.Read(context.Background(), proof.Carrier{Manifest: m, About: w.About},
						func(context.Context, bundle.Descriptor) ([]byte, error) { return layer.Content, nil })
					if err != nil {
						b.Fatal(err)
					}
					if _, err := proofs[0].By(whose); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// sbom is like a predicate of the given size in bytes.
func sbom(size int) json.RawMessage {
	text := []byte(`{"spdxVersion":"SPDX-2.3","packages":[`)
	for i := 0; len(text) < size; i++ {
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Appendf(text, `{"name":"package-%d","SPDXID":"SPDXRef-Package-%d","versionInfo":"1.2.%d","licenseConcluded":"NOASSERTION","filesAnalyzed":false,`+
			`"externalRefs":[{"referenceCategory":"SECURITY","referenceType":"cpe23Type","referenceLocator":"cpe:2.3:a:p:p:1.2.%d:*:*:*:*:*:*:*"}]}`, i, i, i, i)
	}
	return append(text, "]}"...)
}
