package bundle

import (
	"fmt"
	"slices"

	"airgap/bundle/platform"
	"airgap/bundle/strictjson"
)

// Media types of the manifests that a bundle carries.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md
// https://distribution.github.io/distribution/spec/manifest-v2-2/
const (
	MediaTypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	MediaTypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeEmptyJSON      = "application/vnd.oci.empty.v1+json"
)

// ManifestMediaTypes is what a request for a manifest accepts: always all four, since Harbor answers 404 for a
// manifest whose type the Accept header does not name.
var ManifestMediaTypes = []string{MediaTypeOCIIndex, MediaTypeOCIManifest, MediaTypeDockerList, MediaTypeDockerManifest}

// IsIndex tells whether mediaType is that of an image index or a Docker manifest list.
func IsIndex(mediaType string) bool {
	return mediaType == MediaTypeOCIIndex || mediaType == MediaTypeDockerList
}

// IsManifest tells whether mediaType is one of ManifestMediaTypes: what a registry keeps as a manifest and not as
// a blob.
func IsManifest(mediaType string) bool { return slices.Contains(ManifestMediaTypes, mediaType) }

// Descriptor points at content: media type, digest and size in bytes, and what else is needed to carry it.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
type Descriptor struct {
	MediaType    string             `json:"mediaType"`
	Digest       Digest             `json:"digest"`
	Size         int64              `json:"size"`
	ArtifactType string             `json:"artifactType,omitempty"`
	Platform     *platform.Platform `json:"platform,omitempty"`
	URLs         []string           `json:"urls,omitempty"`
	Annotations  map[string]string  `json:"annotations,omitempty"`
}

// Manifest is the part of an image manifest or image index that airgap reads: one type for both, as one document
// is one or the other by its media type.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *Descriptor       `json:"config,omitempty"`
	Layers        []Descriptor      `json:"layers,omitempty"`
	Manifests     []Descriptor      `json:"manifests,omitempty"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// ParseManifest reads a manifest of the given media type (from the registry's answer or the descriptor that led
// here). It refuses what could be read in two ways: JSON that the gate refuses (invariant 7), a mediaType field
// that contradicts mediaType, an index with layers or an image with manifests, negative sizes. Docker schema 1 and
// unknown media types are ErrUnsupported; all else is ErrFormat.
func ParseManifest(mediaType string, b []byte) (*Manifest, error) {
	if !IsManifest(mediaType) {
		return nil, unsupportedManifest(mediaType)
	}
	if len(b) > MaxManifestSize {
		return nil, fmt.Errorf("%w: a manifest of %d bytes; registries take at most %d", ErrLimit, len(b), MaxManifestSize)
	}
	var m Manifest
	if err := strictjson.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", ErrFormat, err)
	}
	if err := m.check(mediaType); err != nil {
		return nil, err
	}
	return &m, nil
}

func unsupportedManifest(mediaType string) error {
	switch mediaType {
	case "application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws":
		return fmt.Errorf("%w: Docker schema 1 manifest; rebuild or re-push the image with a current tool", ErrUnsupported)
	case "":
		return fmt.Errorf("%w: manifest without a media type", ErrUnsupported)
	}
	return fmt.Errorf("%w: manifest of media type %.100q", ErrUnsupported, mediaType)
}

func (m *Manifest) check(mediaType string) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: manifest: "+format, append([]any{ErrFormat}, args...)...)
	}
	switch {
	case m.SchemaVersion == 1:
		return unsupportedManifest("application/vnd.docker.distribution.manifest.v1+json")
	case m.SchemaVersion != 2:
		return bad("schemaVersion is %d, not 2", m.SchemaVersion)
	case m.MediaType != "" && m.MediaType != mediaType:
		return bad("served as %s, but says of itself that it is %.100q", mediaType, m.MediaType)
	case IsIndex(mediaType) && (len(m.Layers) > 0 || m.Config != nil):
		return bad("an image index with a config or layers")
	case !IsIndex(mediaType) && len(m.Manifests) > 0:
		return bad("an image manifest with manifests")
	case !IsIndex(mediaType) && m.Config == nil:
		return bad("an image manifest without a config")
	}
	for d := range m.descriptors() {
		if d.Digest.IsZero() {
			return bad("a descriptor without a digest")
		}
		if d.Size < 0 {
			return bad("%s has the size %d", d.Digest, d.Size)
		}
		if IsManifest(d.MediaType) && d.Size > MaxManifestSize {
			return fmt.Errorf("%w: %s is a manifest of %d bytes; registries take at most %d", ErrLimit, d.Digest, d.Size, MaxManifestSize)
		}
	}
	return nil
}

// descriptors yields every descriptor in m, the subject included.
func (m *Manifest) descriptors() func(yield func(Descriptor) bool) {
	return func(yield func(Descriptor) bool) {
		for _, d := range []*Descriptor{m.Config, m.Subject} {
			if d != nil && !yield(*d) {
				return
			}
		}
		for _, d := range slices.Concat(m.Layers, m.Manifests) {
			if !yield(d) {
				return
			}
		}
	}
}

// Children returns the manifests that m lists: what must be at a registry before m itself.
func (m *Manifest) Children() []Descriptor {
	return slices.DeleteFunc(slices.Clone(m.Manifests), func(d Descriptor) bool { return !IsManifest(d.MediaType) })
}

// Blobs returns the content of m that a registry keeps as blobs: config and layers, and in an index the entries
// that are no manifests.
func (m *Manifest) Blobs() []Descriptor {
	var blobs []Descriptor
	if m.Config != nil {
		blobs = append(blobs, *m.Config)
	}
	blobs = append(blobs, m.Layers...)
	for _, d := range m.Manifests {
		if !IsManifest(d.MediaType) {
			blobs = append(blobs, d)
		}
	}
	return blobs
}

// EffectiveArtifactType is the type of m as a referrer: its artifactType or else the media type of its config.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
func (m *Manifest) EffectiveArtifactType() string {
	if m.ArtifactType == "" && m.Config != nil {
		return m.Config.MediaType
	}
	return m.ArtifactType
}

// AsReferrer describes m, of which d names the bytes, as a list of referrers has it.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests-with-subject
func (m *Manifest) AsReferrer(d Descriptor) Descriptor {
	return Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: m.EffectiveArtifactType(), Annotations: m.Annotations}
}

// RecordedArtifactType is the artifact type that a bundle's tables record for m: that of a referrer or an artifact,
// and none for an ordinary image or index.
func (m *Manifest) RecordedArtifactType() string {
	if m.Subject == nil {
		return m.ArtifactType
	}
	return m.EffectiveArtifactType()
}

// IsNondistributable tells whether a layer's media type forbids most registries to hold it ("foreign layers").
// https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#non-distributable-layers
func IsNondistributable(mediaType string) bool {
	switch mediaType {
	case "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd":
		return true
	}
	return false
}

// predicateAnnotations are where tools say what kind of statement an attestation makes: cosign 3 on the manifest,
// cosign 2 and BuildKit on each layer.
// https://github.com/sigstore/cosign/blob/v3.0.2/specs/BUNDLE_SPEC.md
// https://github.com/moby/buildkit/blob/v0.20.0/docs/attestations/attestation-storage.md
var predicateAnnotations = []string{annotationPredicate, "predicateType", "in-toto.io/predicate-type"}

// PredicateTypes returns what kinds of statement an attestation makes, where annotations of the manifest or its layers tell.
func PredicateTypes(m *Manifest) []string {
	var types []string
	note := func(annotations map[string]string) {
		for _, key := range predicateAnnotations {
			if value := annotations[key]; value != "" && !slices.Contains(types, value) {
				types = append(types, value)
			}
		}
	}
	note(m.Annotations)
	for _, layer := range m.Layers {
		note(layer.Annotations)
	}
	return types
}
