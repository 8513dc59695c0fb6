// Package bundle is the file that crosses the gap: its format, its plan, its writer and its reader. FORMAT.md beside
// this file says what every byte is. The package knows OCI layouts, tar and digests, and no registry.
//
// To write one: [Plan] makes the tables from what a walk found, [NewLayout] signs them and fixes every offset, [Create]
// begins the bundle on a [Target], [Writer.Blob] takes the content, [Writer.Commit] completes it.
//
// To read one: [Open] takes a [Medium] and looks at nothing but the signed object and its signature; check that signature
// (package verify does, and is what most callers want); [Sealed.Reader] then reads the tables and compares the head with
// them, [Reader.Walk] checks how the manifests hang together, [Reader.Open] and [Reader.Next] give blobs, each through a
// check of its digest.
//
// What hangs from an image is worked out in one place: [Graph.Closure] says it of a root, [Traverse] goes through it, and
// package tree shows it.
package bundle

// formatVersion is the version of FORMAT.md that this package writes, and the only one that it reads.
const formatVersion = 1

// Media types of a bundle's own objects (FORMAT.md, "The signed object").
const (
	ArtifactTypeBundle     = "application/vnd.airgap.bundle.v1"
	MediaTypeHeader        = "application/vnd.airgap.header.v1+json"
	MediaTypeRoots         = "application/vnd.airgap.roots.v1+jsonl"
	MediaTypeManifests     = "application/vnd.airgap.manifests.v1+jsonl"
	MediaTypeBlobs         = "application/vnd.airgap.blobs.v1+jsonl"
	MediaTypeMissing       = "application/vnd.airgap.missing.v1+jsonl"
	MediaTypeTrustedRoot   = "application/vnd.airgap.trusted-root.v1+json"
	MediaTypeSigstore      = "application/vnd.dev.sigstore.bundle.v0.3+json"
	annotationTitle        = "org.opencontainers.image.title"
	annotationCreated      = "org.opencontainers.image.created"
	annotationRefName      = "org.opencontainers.image.ref.name"
	annotationImageName    = "io.containerd.image.name"
	annotationContent      = "dev.sigstore.bundle.content"
	annotationPredicate    = "dev.sigstore.bundle.predicateType"
	signaturePredicateType = "https://sigstore.dev/cosign/sign/v1"
)

// Limits of the format (FORMAT.md, "Limits"), in bytes unless the name says rows or depth. A writer keeps them and a reader
// refuses what exceeds them before it reads on, so that nothing in a stranger's file decides how much memory or
// time is spent on it.
const (
	MaxManifestIndexSize = 64 << 10
	MaxHeaderSize        = 1 << 20
	MaxSignatureSize     = 256 << 10
	MaxTableSize         = 2 << 30
	MaxTrustedRootSize   = 1 << 20
	MaxLineSize          = 16 << 10
	MaxRootRows          = 1 << 20
	MaxManifestRows      = 8 << 20
	MaxBlobRows          = 4 << 20
	MaxStringSize        = 1 << 10 // any one string in a table
	MaxBlobSize          = 1 << 44
	MaxFileSize          = 1 << 56
	// MaxDepth is how many steps (to a child, a referrer or a cosign tag) lead from a root to what hangs from it.
	MaxDepth = 32
	// MaxManifestSize bounds every carried manifest: what registries commonly accept.
	// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests
	MaxManifestSize = 4 << 20
)

// Names of the entries of a bundle that are not blobs.
const (
	layoutName  = "oci-layout"
	indexName   = "index.json"
	blobsPrefix = "blobs/sha256/"
)

// layoutContent is the file that marks an OCI image layout.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md#oci-layout-file
const layoutContent = `{"imageLayoutVersion":"1.0.0"}`

func blobName(d Digest) string { return blobsPrefix + d.Hex() }
