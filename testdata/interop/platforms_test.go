package interop

import (
	"strings"
	"testing"

	"airgap/bundle/bundletest"
)

// A sparse index goes into a registry that is configured to take it, under its own digest, and is refused with advice by
// one that is not; the rewritten index goes into both. crane then finds the platform that was carried.
func TestPlatformModes(t *testing.T) {
	f, b := bundletest.LoadFixture(t), newBench(t)
	from := bundletest.StartRegistry(t, true)
	f.Push(t, map[string]string{bundletest.Images: from, bundletest.Attestations: from})
	strict, lenient := startDistribution(t), startDistributionWith(t, "validation: {manifests: {indexes: {platforms: none}}}\n")
	b.run(t, "airgap", "keygen")
	for _, mode := range []string{"rewrite", "sparse"} {
		b.run(t, "airgap", "export", from+"/acme/dhi-python:3.13", "--platform", "linux/arm64", "--platform-mode", mode, "--key", "airgap.key", "-o", mode+".tar")
	}
	original := f.Digest(t, "acme/dhi-python", "3.13")
	arm64 := b.run(t, "crane", "digest", "--platform", "linux/arm64", from+"/acme/dhi-python:3.13")
	if _, err := b.try(t, "airgap", "import", "sparse.tar", strict, "--key", "airgap.pub"); err == nil || !strings.Contains(err.Error(), "--platform-mode rewrite") {
		t.Errorf("a sparse index, into a registry that looks for every manifest: %v", err)
	}
	for target, bundle := range map[string]string{strict + "/rewritten": "rewrite.tar", lenient + "/rewritten": "rewrite.tar", lenient + "/sparse": "sparse.tar"} {
		b.run(t, "airgap", "import", bundle, target, "--key", "airgap.pub")
		image := target + "/acme/dhi-python:3.13"
		if got := b.run(t, "crane", "digest", "--platform", "linux/arm64", image); got != arm64 {
			t.Errorf("%s: linux/arm64 is %s, want %s", image, got, arm64)
		}
		if got := strings.TrimSpace(b.run(t, "crane", "digest", image)); (got == original) != (bundle == "sparse.tar") {
			t.Errorf("%s is %s, the original %s", image, got, original)
		}
	}
}
