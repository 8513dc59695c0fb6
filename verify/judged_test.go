package verify_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/registrytest"
	"airgap/verify"
	"airgap/verify/judge"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// An image is judged before any layer of it has come through a pipe, and proofs are read that lie before the layers.
func TestJudgedBeforeLayers(t *testing.T) {
	const size = 8 << 20
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	s := registrytest.New(t)
	layer := s.AddBlob("acme/app", "application/vnd.oci.image.layer.v1.tar", content)
	config := s.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json", []byte(`{"rootfs":{"type":"layers","diff_ids":["`+layer.Digest.String()+`"]}}`))
	image := manifest(t, bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config, Layers: []bundle.Descriptor{layer}})
	subject := s.AddManifest("acme/app", "1", bundle.MediaTypeOCIManifest, image)
	maker, packer := generate(t), generate(t)
	signed, err := signature.Sign(maker, subject.Digest)
	if err != nil {
		t.Fatal(err)
	}
	empty := s.AddBlob("acme/app", bundle.MediaTypeEmptyJSON, []byte("{}"))
	proof := s.AddBlob("acme/app", bundle.MediaTypeSigstore, signed)
	s.AddManifest("acme/app", "", bundle.MediaTypeOCIManifest, manifest(t, bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, ArtifactType: bundle.MediaTypeSigstore, Config: &empty, Layers: []bundle.Descriptor{proof}, Subject: &subject,
	}))
	file := exported(t, s, signWith(packer), "1")
	for by, want := range map[*signature.PrivateKey]error{maker: nil, packer: judge.ErrPolicy} {
		p, err := policy.Parse("p.yaml", []byte("version: 1\nimages: {match: '**', signatures: {keys: by.pub}}\n"), oneFile{by.Public()})
		if err != nil {
			t.Fatal(err)
		}
		p.Bundle = policy.OfKeys([]signature.PublicKey{packer.Public()}).Bundle
		in := &counted{r: bytes.NewReader(file)}
		sealed, err := bundle.Open(bundle.FromReader(in))
		if err != nil {
			t.Fatal(err)
		}
		b, err := verify.Open(t.Context(), sealed, verify.Trust{Policy: p})
		if !errors.Is(err, want) || (want == nil) != (b != nil) {
			t.Errorf("%v, want %v", err, want)
		}
		if in.n > size/2 {
			t.Errorf("%d bytes were read", in.n)
		}
		if err := sealed.Close(); err != nil {
			t.Error(err)
		}
	}
}

func manifest(t *testing.T, m bundle.Manifest) []byte {
	t.Helper()
	content, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// oneFile is all that a policy can name.
type oneFile struct{ key signature.PublicKey }

func (f oneFile) ReadFile(string) ([]byte, error) { return f.key.MarshalPEM(), nil }
func (oneFile) ReadDir(string) ([]string, error)  { return nil, errors.New("not a directory") }

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
