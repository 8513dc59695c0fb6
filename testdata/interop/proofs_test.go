package interop

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	registryname "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/verify/proof/prooftest"
)

// TestProofsAsCosign: cosign says the same as airgap of every case of the table, or the case says why not; what airgap says, and that it is what the
// table has, is checked by the tests of verify/proof.
func TestProofsAsCosign(t *testing.T) {
	b, w := newBench(t), prooftest.NewWorld(t)
	host := bundletest.StartRegistry(t, true)
	agreed, differed := 0, 0
	for i, c := range w.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			err := askCosign(t, b, w, c, host+"/cases/"+strconv.Itoa(i))
			t.Log(err)
			switch good := err == nil; {
			case c.Cosign.Differs == "" && good != (c.Want == nil):
				t.Errorf("the table has %v, cosign: %v", c.Want, err)
			case c.Cosign.Differs != "" && good == (c.Want == nil):
				t.Errorf("cosign agrees (%v), though the case says: %s", err, c.Cosign.Differs)
			case c.Cosign.Differs != "":
				differed++
			default:
				agreed++
			}
		})
	}
	t.Logf("cosign agrees on %d cases and differs on %d", agreed, differed)
	if agreed < 60 {
		t.Errorf("cosign agrees on %d cases", agreed)
	}
}

// askCosign pushes the image of a case with what hangs from it, and returns cosign's verdict.
func askCosign(t *testing.T, b *bench, w *prooftest.World, c prooftest.Case, repository string) error {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := []string{"verify"}
	if c.Type != "" {
		args = []string{"verify-attestation", "--type", c.Type}
	}
	if len(c.Carriers) > 0 && c.Carriers[0].Tag != "" {
		args = append(args, "--new-bundle-format=false")
	}
	if c.Cosign.File {
		args = []string{"verify-blob-attestation", "--type", c.Type, "--bundle", file("bundle.json", c.Carriers[0].Layers[0].Content),
			"--digest", hex.EncodeToString(w.About[:]), "--digestAlg", "sha256"}
	}
	args = append(args, c.Cosign.Flags...)
	if c.Cosign.Key != nil {
		args = append(args, "--key", file("key.pub", c.Cosign.Key))
	} else {
		args = append(args, "--trusted-root", file("trusted_root.json", c.Cosign.Root))
	}
	if !c.Cosign.File {
		push(t, w, c, repository)
		args = append(args, "--allow-http-registry=true", repository+"@"+w.About.String())
	}
	_, err := b.try(t, "cosign", args...)
	return err
}

// push puts a case into a repository.
func push(t *testing.T, w *prooftest.World, c prooftest.Case, repository string) {
	t.Helper()
	repo, err := registryname.NewRepository(repository, registryname.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	blob := func(content []byte, mediaType string) {
		if err := remote.WriteLayer(repo, static.NewLayer(content, types.MediaType(mediaType))); err != nil {
			t.Fatal(err)
		}
	}
	manifest := func(raw []byte, ref registryname.Reference) {
		if err := remote.Put(ref, rawManifest(raw)); err != nil {
			t.Fatal(err)
		}
	}
	blob([]byte("{}"), bundle.MediaTypeEmptyJSON)
	manifest(w.Image, repo.Digest(w.About.String()))
	for _, carrier := range c.Carriers {
		for _, layer := range carrier.Layers {
			blob(layer.Content, layer.MediaType)
		}
		raw := carrier.Manifest(t, bundle.Descriptor{MediaType: bundle.MediaTypeOCIManifest, Digest: w.About, Size: int64(len(w.Image))})
		if carrier.Tag == "" {
			manifest(raw, repo.Digest(bundle.DigestOf(raw).String()))
		} else {
			manifest(raw, repo.Tag(w.About.FallbackTag()+carrier.Tag))
		}
	}
}

// rawManifest is an image manifest for remote.Put.
type rawManifest []byte

// RawManifest implements remote.Taggable.
func (m rawManifest) RawManifest() ([]byte, error) { return m, nil }

// MediaType tells remote.Put what it is.
func (rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
