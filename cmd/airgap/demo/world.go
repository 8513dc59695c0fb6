// Package demo makes what "airgap demo" carries: two registries on this machine and, in the first of them, an image
// with the attestations that a supplier of hardened images would publish.
package demo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/platform"
	"airgap/export/registry"
	"airgap/verify/signature"
)

// Names in the source registry. As with Docker Hardened Images, attestations are in a repository of their own, which
// does not hold the images that they are about.
const (
	ImageRepository       = "acme/dhi-demo"
	AttestationRepository = "attestations/acme/dhi-demo"
	Tag                   = "1.0"
)

// supplier publishes the image: it has a key of its own, which is not the one that signs bundles.
type supplier struct {
	client       *registry.Client
	key          *signature.PrivateKey
	image        name.Repository
	attestations name.Repository
}

// Publish fills the registry at host: an image for two platforms, one layer of which holds the running executable; an
// SBOM on each platform; a signature on the index; signed attestations, each of them signed again, in the attestation
// repository.
func Publish(ctx context.Context, client *registry.Client, host string) error {
	image, err := name.NewRepository(host + "/" + ImageRepository)
	if err != nil {
		return err
	}
	attestations, err := name.NewRepository(host + "/" + AttestationRepository)
	if err != nil {
		return err
	}
	key, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		return err
	}
	s := supplier{client, key, image, attestations}
	platforms, err := s.pushPlatforms(ctx)
	if err != nil {
		return err
	}
	index, err := s.pushManifest(ctx, s.image, Tag, bundle.MediaTypeOCIIndex, bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIIndex, Manifests: platforms})
	if err != nil {
		return err
	}
	if _, err := s.attest(ctx, s.image, index, signature.PredicateType, `{}`); err != nil {
		return err
	}
	for _, platform := range platforms {
		if err := s.publishProofs(ctx, platform); err != nil {
			return err
		}
	}
	return nil
}

// predicates are what is attested for each platform, by predicate type.
var predicates = []struct{ predicateType, predicate string }{
	{"https://slsa.dev/provenance/v0.2", `{"builder":{"id":"https://example.com/demo"},"buildType":"https://example.com/demo/v1"}`},
	{"https://openvex.dev/ns/v0.2.0", `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://example.com/vex/demo","author":"acme","version":1,"statements":[]}`},
	{"https://cyclonedx.org/bom/v1.6", `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[]}`},
}

func (s *supplier) publishProofs(ctx context.Context, platform bundle.Descriptor) error {
	sbom := fmt.Sprintf(`{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"%s","packages":[]}`, platform.Digest)
	if _, err := s.pushReferrer(ctx, s.image, platform, "application/spdx+json", []byte(sbom), nil); err != nil {
		return err
	}
	for _, p := range predicates {
		attestation, err := s.attest(ctx, s.attestations, platform, p.predicateType, p.predicate)
		if err != nil {
			return err
		}
		if _, err := s.attest(ctx, s.attestations, attestation, signature.PredicateType, `{}`); err != nil {
			return err
		}
	}
	return nil
}

// attest pushes a signed statement about subject, in the form that cosign 3 gives it.
func (s *supplier) attest(ctx context.Context, to name.Repository, subject bundle.Descriptor, predicateType, predicate string) (bundle.Descriptor, error) {
	signed, err := signature.Attest(s.key, subject.Digest, predicateType, json.RawMessage(predicate))
	if err != nil {
		return bundle.Descriptor{}, err
	}
	return s.pushReferrer(ctx, to, subject, signature.MediaType, signed, map[string]string{
		"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicateType,
	})
}

func (s *supplier) pushReferrer(ctx context.Context, to name.Repository, subject bundle.Descriptor, artifactType string, content []byte, annotations map[string]string) (bundle.Descriptor, error) {
	config, err := s.pushBlob(ctx, to, bundle.MediaTypeEmptyJSON, []byte("{}"))
	if err != nil {
		return bundle.Descriptor{}, err
	}
	layer, err := s.pushBlob(ctx, to, artifactType, content)
	if err != nil {
		return bundle.Descriptor{}, err
	}
	return s.pushManifest(ctx, to, "", bundle.MediaTypeOCIManifest, bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, ArtifactType: artifactType, Config: &config,
		Layers: []bundle.Descriptor{layer}, Annotations: annotations,
		Subject: &bundle.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	})
}

// pushPlatforms pushes an image for each platform. They share a layer; the executable is in its own.
func (s *supplier) pushPlatforms(ctx context.Context) ([]bundle.Descriptor, error) {
	base, err := s.pushLayer(ctx, "etc/os-release", []byte("NAME=\"airgap demo\"\nVERSION_ID=1.0\n"))
	if err != nil {
		return nil, err
	}
	executable, err := runningExecutable()
	if err != nil {
		return nil, err
	}
	program, err := s.pushLayer(ctx, "usr/bin/airgap", executable)
	if err != nil {
		return nil, err
	}
	var platforms []bundle.Descriptor
	for _, architecture := range []string{"amd64", "arm64"} {
		platform, err := s.pushImage(ctx, architecture, []layer{base, program})
		if err != nil {
			return nil, err
		}
		platforms = append(platforms, platform)
	}
	return platforms, nil
}

func runningExecutable() ([]byte, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// layer is a pushed layer and the digest of what is in it when unpacked.
type layer struct {
	bundle.Descriptor
	diffID bundle.Digest
}

func (s *supplier) pushLayer(ctx context.Context, path string, content []byte) (layer, error) {
	var unpacked, packed bytes.Buffer
	w := tar.NewWriter(&unpacked)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o755, Size: int64(len(content))}); err != nil {
		return layer{}, err
	}
	if _, err := w.Write(content); err != nil {
		return layer{}, err
	}
	if err := w.Close(); err != nil {
		return layer{}, err
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(unpacked.Bytes()); err != nil {
		return layer{}, err
	}
	if err := z.Close(); err != nil {
		return layer{}, err
	}
	d, err := s.pushBlob(ctx, s.image, "application/vnd.oci.image.layer.v1.tar+gzip", packed.Bytes())
	return layer{d, bundle.DigestOf(unpacked.Bytes())}, err
}

func (s *supplier) pushImage(ctx context.Context, architecture string, layers []layer) (bundle.Descriptor, error) {
	manifest := bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest}
	diffIDs := []bundle.Digest{}
	for _, l := range layers {
		manifest.Layers = append(manifest.Layers, l.Descriptor)
		diffIDs = append(diffIDs, l.diffID)
	}
	content, err := json.Marshal(map[string]any{
		"architecture": architecture, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/usr/bin/airgap"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	if err != nil {
		return bundle.Descriptor{}, err
	}
	config, err := s.pushBlob(ctx, s.image, "application/vnd.oci.image.config.v1+json", content)
	if err != nil {
		return bundle.Descriptor{}, err
	}
	manifest.Config = &config
	d, err := s.pushManifest(ctx, s.image, "", bundle.MediaTypeOCIManifest, manifest)
	d.Platform = &platform.Platform{OS: "linux", Architecture: architecture}
	return d, err
}

func (s *supplier) pushBlob(ctx context.Context, to name.Repository, mediaType string, content []byte) (bundle.Descriptor, error) {
	d := bundle.Descriptor{MediaType: mediaType, Digest: bundle.DigestOf(content), Size: int64(len(content))}
	return d, s.client.PushBlob(ctx, to, d, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
}

// pushManifest pushes by tag, or by digest where tag is "".
func (s *supplier) pushManifest(ctx context.Context, to name.Repository, tag, mediaType string, m bundle.Manifest) (bundle.Descriptor, error) {
	content, err := json.Marshal(m)
	if err != nil {
		return bundle.Descriptor{}, err
	}
	d := bundle.Descriptor{MediaType: mediaType, Digest: bundle.DigestOf(content), Size: int64(len(content))}
	var ref name.Reference = to.Digest(d.Digest.String())
	if tag != "" {
		ref = to.Tag(tag)
	}
	_, err = s.client.PushManifest(ctx, ref, mediaType, content)
	return d, err
}
