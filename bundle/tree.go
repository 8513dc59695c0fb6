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
	Omitted        int      `json:"omitted,omitempty"`   // further branches, beyond the first maxBranches
}

// maxBranches is how many branches of a manifest are in a Tree.
const maxBranches = 1000

// Tree returns what hangs from a root, as the Graph was checked. What is reached in several ways has its own branches
// where it is nearest to the root; elsewhere it is marked as Repeated.
func (g *Graph) Tree(root int) *Tree {
	c := g.Closure(root)
	start, _ := c.Start()
	tree := g.branch(start)
	trees := map[int32]*Tree{start.Node: tree}
	// The depth was checked with the Graph.
	_ = Traverse(start.Node, func(node int32) (below []int32, err error) {
		parent := trees[node]
		for e := range c.From(node) {
			if len(parent.Children)+len(parent.Referrers) == maxBranches {
				parent.Omitted++
				continue
			}
			branch := g.branch(e)
			if e.Row.Via == ViaChild {
				parent.Children = append(parent.Children, branch)
			} else {
				parent.Referrers = append(parent.Referrers, branch)
			}
			if _, branch.Repeated = trees[e.Node]; !branch.Repeated {
				trees[e.Node] = branch
				below = append(below, e.Node)
			}
		}
		return below, nil
	})
	return tree
}

// branch returns the tree of one manifest, alone.
func (g *Graph) branch(e Edge) *Tree {
	node := g.Node(int(e.Node))
	t := &Tree{
		Digest: e.Row.Digest, MediaType: e.Row.MediaType, ArtifactType: e.Row.ArtifactType, PredicateTypes: node.PredicateTypes,
		Size: e.Row.Size, Via: e.Row.Via, Tag: e.Row.Tag, From: e.Row.From,
	}
	if e.Platform != nil {
		t.Platform = e.Platform.String()
	}
	for _, blob := range node.Blobs {
		t.Size += g.contents.Blobs[blob].Size
	}
	return t
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

// FindPlatform returns the first manifest for a platform in t or below it, or nil.
func (t *Tree) FindPlatform(platform PlatformMatcher) *Tree {
	for _, child := range t.Children {
		if platform.Matches(child.platform()) {
			return child
		}
		if found := child.FindPlatform(platform); found != nil {
			return found
		}
	}
	return nil
}

// platform is Platform taken apart; nil where there is none.
func (t *Tree) platform() *Platform {
	if t.Platform == "" {
		return nil
	}
	parts := append(strings.SplitN(t.Platform, "/", 3), "", "")
	return &Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
}

// ParseManifest reads and parses a manifest of the bundle.
func (r *Reader) ParseManifest(d Digest) (*Manifest, error) {
	content, err := r.ReadManifest(d)
	if err != nil {
		return nil, err
	}
	return ParseManifest(r.Contents().mediaTypeOf(d), content)
}
