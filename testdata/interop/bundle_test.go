package interop

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"

	"airgap/bundle/bundletest"
)

// world is the fixture in a bundle, world.tar in the bench's directory, and unpacked in layout.
type world struct {
	*bench
	fixture *bundletest.Fixture
	images  string // host that it was exported from
	index   []ocispec.Descriptor
}

func exportWorld(t *testing.T, keyType string) *world {
	t.Helper()
	w := &world{bench: newBench(t), fixture: bundletest.LoadFixture(t)}
	w.images = bundletest.StartRegistry(t, true)
	from := map[string]string{bundletest.Images: w.images, bundletest.Attestations: bundletest.StartRegistry(t, true)}
	w.fixture.Push(t, from)
	w.run(t, "airgap", "keygen", "--type", keyType)
	w.run(t, "airgap", exportArgs(w.fixture, from)...)
	w.unpack(t, "world.tar")
	return w
}

// unpack puts a bundle into layout.
func (w *world) unpack(t *testing.T, file string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(w.dir, "layout"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.run(t, "tar", "xf", file, "-C", "layout")
	var index ocispec.Index
	w.readJSON(t, "index.json", &index)
	w.index = index.Manifests
}

// cosignChecks lets cosign check the signature in layout over one of its files with a key, as FORMAT.md says.
func (w *world) cosignChecks(t *testing.T, key, file string, more ...string) error {
	t.Helper()
	var manifest ocispec.Manifest
	w.readJSON(t, blobPath(w.index[1].Digest.String()), &manifest)
	_, err := w.try(t, "cosign", append([]string{"verify-blob-attestation", "--key", key, "--bundle", filepath.Join("layout", blobPath(manifest.Layers[0].Digest.String())),
		"--type", "https://sigstore.dev/cosign/sign/v1", "--insecure-ignore-tlog=true", filepath.Join("layout", file)}, more...)...)
	return err
}

func (w *world) readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "layout", path))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

func blobPath(digest string) string { return "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:") }

// expectClosure looks at the target for every manifest that hangs from a root, but for those that hang from it by a
// cosign tag alone, which most tools know nothing of.
func (w *world) expectClosure(t *testing.T, repository string, root bundletest.Root) {
	t.Helper()
	closure := w.fixture.Closure(t, root)
	for _, m := range closure.Manifests {
		if m.Subject == "" && m.Digest != w.fixture.Digest(t, root.Repository, root.Tag) && !w.isChild(closure, m.Digest) {
			continue
		}
		if _, err := w.try(t, "crane", "manifest", "--insecure", repository+"@"+m.Digest); err != nil {
			t.Errorf("%s (%s) was not carried: %v", m.Digest, m.ArtifactType, err)
		}
	}
}

func (w *world) isChild(closure bundletest.Closure, digest string) bool {
	for _, m := range closure.Manifests {
		for _, child := range m.Children {
			if child == digest {
				return true
			}
		}
	}
	return false
}

// hardened is the root with two platforms and attestations two levels deep.
func (w *world) hardened(t *testing.T) bundletest.Root {
	t.Helper()
	for _, root := range w.fixture.Roots() {
		if root.Repository == "acme/dhi-python" {
			return root
		}
	}
	t.Fatal("the fixture has no acme/dhi-python")
	return bundletest.Root{}
}

func TestTarListsCleanly(t *testing.T) {
	w := exportWorld(t, "ecdsa-p256")
	listed := strings.Split(w.run(t, "tar", "tf", "world.tar"), "\n")
	if len(listed) < 100 || listed[0] != "oci-layout" {
		t.Errorf("tar lists %d entries", len(listed))
	}
}

func TestSkopeoFindsEveryRoot(t *testing.T) {
	w := exportWorld(t, "ecdsa-p256")
	for _, root := range w.fixture.Roots() {
		if mediaType := w.fixture.Manifest(t, w.fixture.Digest(t, root.Repository, root.Tag)).MediaType; strings.Contains(mediaType, "docker") {
			continue // skopeo passes over everything in a layout that has not an OCI media type
		}
		raw := w.run(t, "skopeo", "inspect", "--raw", "oci-archive:world.tar:"+w.images+"/"+root.Reference())
		sum := sha256.Sum256([]byte(raw))
		if got, want := "sha256:"+hex.EncodeToString(sum[:]), w.fixture.Digest(t, root.Repository, root.Tag); got != want {
			t.Errorf("skopeo finds %s under %s, want %s", got, root.Reference(), want)
		}
	}
	// The images go through skopeo under their own digests; the index does not, which skopeo 1.9 writes anew.
	target := bundletest.StartRegistry(t, true)
	for _, reference := range []string{"acme/notation:1.0", "acme/legacy:1.0"} {
		w.run(t, "skopeo", "--insecure-policy", "copy", "--all", "--dest-tls-verify=false",
			"oci-archive:world.tar:"+w.images+"/"+reference, "docker://"+target+"/"+reference)
		repository, tag, _ := strings.Cut(reference, ":")
		m := w.fixture.Manifest(t, w.fixture.Digest(t, repository, tag))
		images := m.Children
		if len(images) == 0 {
			images = []string{m.Digest}
		}
		for _, digest := range images {
			w.run(t, "crane", "manifest", "--insecure", target+"/"+repository+"@"+digest)
		}
	}
}

func TestRegctlCarriesReferrersFromTheLayout(t *testing.T) {
	w := exportWorld(t, "ecdsa-p256")
	target := bundletest.StartRegistry(t, true)
	w.plainHTTP(t, target)
	root := w.hardened(t)
	w.run(t, "regctl", "image", "copy", "--referrers", "--force-recursive",
		"ocidir://layout@"+w.fixture.Digest(t, root.Repository, root.Tag), target+"/"+root.Reference())
	w.expectClosure(t, target+"/"+root.Repository, root)
}

func TestOrasCarriesReferrersFromTheTar(t *testing.T) {
	w := exportWorld(t, "ecdsa-p256")
	source, err := oci.NewFromTar(t.Context(), filepath.Join(w.dir, "world.tar"))
	if err != nil {
		t.Fatal(err)
	}
	root := w.hardened(t)
	target, err := remote.NewRepository(bundletest.StartRegistry(t, true) + "/" + root.Repository)
	if err != nil {
		t.Fatal(err)
	}
	target.PlainHTTP = true
	// oras follows referrers from the manifest that it is given, and not from the children of an index.
	for _, digest := range append([]string{w.fixture.Digest(t, root.Repository, root.Tag)}, w.fixture.Manifest(t, w.fixture.Digest(t, root.Repository, root.Tag)).Children...) {
		desc, err := source.Resolve(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := oras.ExtendedCopyGraph(t.Context(), source, target, desc, oras.DefaultExtendedCopyGraphOptions); err != nil {
			t.Fatal(err)
		}
	}
	w.expectClosure(t, target.Reference.Registry+"/"+root.Repository, root)
}

func TestCranePushesTheLayout(t *testing.T) {
	w := exportWorld(t, "ecdsa-p256")
	target := bundletest.StartRegistry(t, true) + "/everything"
	w.run(t, "crane", "push", "--insecure", "--index", "layout", target+":1")
	for _, root := range w.fixture.Roots() {
		w.run(t, "crane", "manifest", "--insecure", target+"@"+w.fixture.Digest(t, root.Repository, root.Tag))
	}
}

func TestContainerdImports(t *testing.T) {
	w := exportWorld(t, "ecdsa-p256")
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(w.dir, "world.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	desc, err := archive.ImportIndex(t.Context(), store, f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := content.ReadBlob(t.Context(), store, desc)
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range index.Manifests {
		found[m.Annotations["io.containerd.image.name"]] = m.Digest.String()
		if _, err := store.Info(t.Context(), m.Digest); err != nil {
			t.Errorf("containerd lists %s, and does not have it: %v", m.Digest, err)
		}
	}
	for _, root := range w.fixture.Roots() {
		if got, want := found[w.images+"/"+root.Reference()], w.fixture.Digest(t, root.Repository, root.Tag); got != want {
			t.Errorf("containerd finds %q under %s, want %s", got, root.Reference(), want)
		}
	}
}

// cosign checks the signature on the file with nothing but what tar unpacks, as FORMAT.md says.
func TestCosignChecksTheSignature(t *testing.T) {
	for _, keyType := range []string{"ecdsa-p256", "ed25519", "rsa-3072"} {
		t.Run(keyType, func(t *testing.T) {
			w := exportWorld(t, keyType)
			index, artifact := w.index[0].Digest.String(), w.index[1].Digest.String()
			if err := w.cosignChecks(t, "airgap.pub", blobPath(index)); err != nil {
				t.Error(err)
			}
			if w.cosignChecks(t, "airgap.pub", blobPath(artifact)) == nil {
				t.Error("cosign accepts the signature over another file")
			}
			if w.cosignChecks(t, fixtureFile(t, "cosign.pub"), blobPath(index)) == nil {
				t.Error("cosign accepts the signature by another key")
			}
		})
	}
}

// Once the manifest index is in a registry, with or without the referrers API, cosign finds its signature there.
func TestCosignVerifiesThePushedIndex(t *testing.T) {
	w := exportWorld(t, "ecdsa-p256")
	index, artifact := w.index[0].Digest.String(), w.index[1].Digest.String()
	for _, kind := range registryKinds {
		target := kind.start(t)
		w.plainHTTP(t, target)
		reference := fmt.Sprintf("%s/record@%s", target, index)
		w.run(t, "regctl", "image", "copy", "ocidir://layout@"+index, target+"/record:1")
		w.run(t, "regctl", "image", "copy", "ocidir://layout@"+artifact, target+"/record@"+artifact)
		w.run(t, "cosign", "verify", "--key", "airgap.pub", "--insecure-ignore-tlog=true", "--allow-http-registry", reference)
		if _, err := w.try(t, "cosign", "verify", "--key", fixtureFile(t, "cosign.pub"), "--insecure-ignore-tlog=true", "--allow-http-registry", reference); err == nil {
			t.Errorf("%s: cosign accepts the signature by another key", kind.name)
		}
	}
}

// A key pair made by cosign signs and checks bundles.
func TestCosignKeys(t *testing.T) {
	w := exportWorld(t, "ecdsa-p256")
	w.run(t, "cosign", "generate-key-pair")
	w.run(t, "airgap", "export", w.images+"/acme/notation:1.0", "--key", "cosign.key", "-o", "cosign.tar")
	w.run(t, "airgap", "verify", "cosign.tar", "--key", "cosign.pub")
	if _, err := w.try(t, "airgap", "verify", "cosign.tar", "--key", "airgap.pub"); err == nil {
		t.Error("a bundle signed by another key was accepted")
	}
}
