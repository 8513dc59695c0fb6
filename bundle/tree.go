package bundle

import (
	"slices"
	"strings"
)

// Tree is a manifest with what hangs from it, for people to look at.
type Tree struct {
	Digest         Digest   `json:"digest"`
	MediaType      string   `json:"mediaType"`
	ArtifactType   string   `json:"artifactType,omitempty"`
	PredicateTypes []string `json:"predicateTypes,omitempty"` // of attestations, where annotations tell
	Platform       string   `json:"platform,omitempty"`
	Size           int64    `json:"size"` // of the manifest and of the blobs that it lists, in bytes
	Via            Via      `json:"via"`
	Tag            string   `json:"tag,omitempty"` // of cosign tags
	From           string   `json:"from"`          // repository in which it was found
	Repeated       bool     `json:"repeated,omitempty"`
	Children       []*Tree  `json:"children,omitempty"`
	Referrers      []*Tree  `json:"referrers,omitempty"` // cosign tags included
}

// NewTree makes the tree of one image. manifest returns a manifest that the rows name, given
// its media type. What is reached in several
// ways has its own branches only the first time; elsewhere it is marked as Repeated.
func NewTree(image Image, manifest func(Digest, string) (*Manifest, error)) (*Tree, error) {
	t := treeMaker{rows: map[Digest][]ManifestRow{}, attached: map[Digest][]ManifestRow{}, seen: map[Digest]bool{}, manifest: manifest}
	for _, row := range image.Manifests {
		t.rows[row.Digest] = append(t.rows[row.Digest], row)
		if !row.Subject.IsZero() {
			t.attached[row.Subject] = append(t.attached[row.Subject], row)
		}
	}
	root := image.Root
	start := ManifestRow{Digest: root.Digest, MediaType: root.MediaType, Size: root.Size, ArtifactType: root.ArtifactType, Via: ViaRoot}
	if i := slices.IndexFunc(t.rows[root.Digest], func(r ManifestRow) bool { return r.Via == ViaRoot }); i >= 0 {
		start = t.rows[root.Digest][i]
	}
	tree, err := t.branch(start, "")
	if err != nil || root.Original.IsZero() {
		return tree, err
	}
	for _, referrer := range t.attached[root.Original] { // of the index of which the root is a part
		branch, err := t.branch(referrer, "")
		if err != nil {
			return nil, err
		}
		tree.Referrers = append(tree.Referrers, branch)
	}
	return tree, nil
}

type treeMaker struct {
	rows     map[Digest][]ManifestRow
	attached map[Digest][]ManifestRow // by subject
	seen     map[Digest]bool
	manifest func(Digest, string) (*Manifest, error)
}

func (t *treeMaker) branch(row ManifestRow, platform string) (*Tree, error) {
	m, err := t.manifest(row.Digest, row.MediaType)
	if err != nil {
		return nil, err
	}
	tree := &Tree{
		Digest: row.Digest, MediaType: row.MediaType, ArtifactType: row.ArtifactType, PredicateTypes: PredicateTypes(m),
		Platform: platform, Size: row.Size, Via: row.Via, Tag: row.Tag, From: row.From,
	}
	for _, b := range m.Blobs() {
		tree.Size += b.Size
	}
	if tree.Repeated = t.seen[row.Digest]; tree.Repeated {
		return tree, nil
	}
	t.seen[row.Digest] = true
	for _, child := range m.Children() {
		i := slices.IndexFunc(t.rows[child.Digest], func(r ManifestRow) bool { return r.Via == ViaChild })
		if i < 0 {
			continue
		}
		name := ""
		if child.Platform != nil {
			name = child.Platform.String()
		}
		branch, err := t.branch(t.rows[child.Digest][i], name)
		if err != nil {
			return nil, err
		}
		tree.Children = append(tree.Children, branch)
	}
	for _, referrer := range t.attached[row.Digest] {
		branch, err := t.branch(referrer, "")
		if err != nil {
			return nil, err
		}
		tree.Referrers = append(tree.Referrers, branch)
	}
	return tree, nil
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

// IsIndex tells whether the tree's manifest is an index.
func (t *Tree) IsIndex() bool { return IsIndex(t.MediaType) }

// FindPlatform returns the manifest for a platform, such as "linux/amd64", in t or below it, or nil. Without a variant
// any variant fits, the first one listed.
func (t *Tree) FindPlatform(platform string) *Tree {
	for _, child := range t.Children {
		if child.Platform == platform || strings.HasPrefix(child.Platform, platform+"/") {
			return child
		}
		if found := child.FindPlatform(platform); found != nil {
			return found
		}
	}
	return nil
}

// Image returns the given root with its rows of the manifests table.
func (c *Contents) Image(root int) Image {
	return Image{Root: c.Roots[root], Manifests: c.RootManifests(root)}
}

// ParseManifest reads and parses a manifest of the bundle.
func (r *Reader) ParseManifest(d Digest, mediaType string) (*Manifest, error) {
	content, err := r.ReadManifest(d)
	if err != nil {
		return nil, err
	}
	return ParseManifest(mediaType, content)
}
