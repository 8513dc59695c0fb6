package proof_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/root"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/verify/party"
	"airgap/verify/proof"
	"airgap/verify/proof/prooftest"
)

// The annotations that cosign writes, in the order of the fuzz targets' arguments.
var cosignAnnotations = []string{
	"dev.cosignproject.cosign/signature", "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/chain", "dev.sigstore.cosign/bundle",
	"dev.sigstore.cosign/rfc3161timestamp",
}

const (
	simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseEnvelope  = "application/vnd.dsse.envelope.v1+json"
	bundle03      = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// fuzzed judges what one layer holds: as something of the fixture's key, and of somebody that a trusted root vouches for.
type fuzzed struct {
	about   bundle.Digest
	parties []*party.Party
	foreign *party.Party // whose key signed nothing
}

func newFuzzed(f *testing.F, w *prooftest.World) *fuzzed {
	f.Helper()
	trusted, err := root.NewTrustedRootFromJSON(w.TrustedRoot(false))
	if err != nil {
		f.Fatal(err)
	}
	return &fuzzed{
		about: digest(f, bundletest.LoadFixture(f).Digest(f, "acme/legacy", "1.0")),
		parties: []*party.Party{
			{Name: "acme", Keys: keysOf(f, "../../testdata/fixtures/acme/cosign.pub"), Root: trusted},
			{Name: "builder", Identities: []party.Identity{{Issuer: prooftest.Issuer, Subject: prooftest.Subject}}, Root: trusted},
		},
		foreign: &party.Party{Name: "foreign", Keys: keysOf(f, "../signature/testdata/p256.pub"), Root: trusted},
	}
}

// read reads one layer, as about the given manifest.
func (z *fuzzed) read(t *testing.T, about bundle.Digest, mediaType string, content []byte, annotations map[string]string) *proof.Proof {
	t.Helper()
	m := &bundle.Manifest{Layers: []bundle.Descriptor{{MediaType: mediaType, Digest: bundle.DigestOf(content), Size: int64(len(content)), Annotations: annotations}}}
	proofs, err := proof.Read(context.Background(), proof.Carrier{Manifest: m, About: about, AboutBytes: func() ([]byte, error) { return nil, nil }},
		func(context.Context, bundle.Descriptor) ([]byte, error) { return content, nil })
	if err != nil || len(proofs) != 1 {
		t.Fatalf("%d proofs, %v", len(proofs), err)
	}
	return proofs[0]
}

// judge expects one of the states, and nothing good by who signed nothing or about something else.
func (z *fuzzed) judge(t *testing.T, mediaType string, content []byte, annotations map[string]string) {
	t.Helper()
	p := z.read(t, z.about, mediaType, content, annotations)
	if _, err := p.By(z.foreign); err == nil {
		t.Fatal("good by a key that signed nothing")
	}
	for _, whose := range z.parties {
		signer, err := p.By(whose)
		if err != nil {
			for _, state := range []error{proof.ErrUntrusted, proof.ErrBroken, proof.ErrSubject, proof.ErrRevoked, proof.ErrExpired, proof.ErrUnsigned} {
				if errors.Is(err, state) {
					err = nil
				}
			}
			if err != nil {
				t.Fatalf("%v is no state", err)
			}
			continue
		}
		if signer.Key.IsZero() || signer.Party != whose.Name {
			t.Fatalf("good by %+v", signer)
		}
		if _, err := z.read(t, bundle.DigestOf([]byte("other")), mediaType, content, annotations).By(whose); err == nil {
			t.Fatal("good about something else as well")
		}
	}
	if _, err := p.Statement(); err != nil && p.Kind == proof.Attestation && p.Problem == nil {
		t.Fatalf("no statement: %v", err)
	}
}

// seeds adds layers of a media type: what the fixture and the World have.
func seeds(f *testing.F, w *prooftest.World, mediaType string, add func(content []byte, annotations map[string]string)) {
	f.Helper()
	fixture := bundletest.LoadFixture(f)
	n := 0
	for _, r := range fixture.Repositories {
		for _, m := range r.Manifests {
			if parsed, err := bundle.ParseManifest(m.MediaType, m.Bytes); err == nil {
				for _, layer := range parsed.Layers {
					if layer.MediaType == mediaType {
						add(fixture.Blob(f, layer.Digest.String()), layer.Annotations)
						n++
					}
				}
			}
		}
	}
	for _, c := range w.Cases() {
		for _, carrier := range c.Carriers {
			for _, layer := range carrier.Layers {
				if layer.MediaType == mediaType {
					add(layer.Content, layer.Annotations)
				}
			}
		}
	}
	if n == 0 {
		f.Fatalf("the fixture has no %s", mediaType)
	}
}

func FuzzBundle(f *testing.F) {
	w := prooftest.NewWorld(f)
	seeds(f, w, bundle03, func(content []byte, _ map[string]string) { f.Add(content) })
	z := newFuzzed(f, w)
	f.Fuzz(func(t *testing.T, content []byte) {
		z.judge(t, bundle03, content, nil)
		if _, err := proof.ReadBundle(content, z.about).By(z.foreign); err == nil {
			t.Fatal("good by a key that signed nothing")
		}
	})
}

func FuzzEnvelope(f *testing.F) { fuzzAnnotated(f, dsseEnvelope) }

func FuzzSimpleSigning(f *testing.F) { fuzzAnnotated(f, simpleSigning) }

// fuzzAnnotated is for the forms of cosign 2: a layer and its annotations.
func fuzzAnnotated(f *testing.F, mediaType string) {
	f.Helper()
	w := prooftest.NewWorld(f)
	seeds(f, w, mediaType, func(content []byte, annotations map[string]string) {
		var values [5]string
		for i, key := range cosignAnnotations {
			values[i] = annotations[key]
		}
		f.Add(content, values[0], values[1], values[2], values[3], values[4])
	})
	z := newFuzzed(f, w)
	f.Fuzz(func(t *testing.T, content []byte, signature, certificate, chain, entry, timestamp string) {
		annotations := map[string]string{}
		for i, value := range []string{signature, certificate, chain, entry, timestamp} {
			if value != "" {
				annotations[cosignAnnotations[i]] = value
			}
		}
		z.judge(t, mediaType, content, annotations)
	})
}
