// Package tree shows people what hangs from an image, as package bundle worked it out.
package tree

import (
	"strings"

	"airgap/bundle"
	"airgap/bundle/platform"
)

// Tree is a manifest with what hangs from it, for people to look at.
type Tree struct {
	Digest         bundle.Digest `json:"digest"`
	MediaType      string        `json:"mediaType"`
	ArtifactType   string        `json:"artifactType,omitempty"`
	PredicateTypes []string      `json:"predicateTypes,omitempty"` // of attestations, where annotations tell
	Platform       string        `json:"platform,omitempty"`
	Size           int64         `json:"size"` // of the manifest and of the blobs that it lists, in bytes
	Via            bundle.Via    `json:"via"`
	Tag            string        `json:"tag,omitempty"` // of cosign tags
	From           string        `json:"from"`          // repository in which it was found
	Repeated       bool          `json:"repeated,omitempty"`
	Children       []*Tree       `json:"children,omitempty"`
	Referrers      []*Tree       `json:"referrers,omitempty"` // cosign tags included
	Omitted        int           `json:"omitted,omitempty"`   // further branches, beyond the first maxBranches
}

// maxBranches is how many branches of a manifest are in a Tree.
const maxBranches = 1000

// Of returns what hangs from a root, as the Graph was checked. What is reached in several ways has its own branches
// where it is nearest to the root; elsewhere it is marked as Repeated.
func Of(g *bundle.Graph, root int) *Tree {
	c := g.Closure(root)
	start, _ := c.Start()
	tree := newBranch(g, start)
	trees := map[int32]*Tree{start.Node: tree}
	// The depth was checked with the Graph.
	_ = bundle.Traverse(start.Node, func(node int32) (below []int32, err error) {
		parent := trees[node]
		for e := range c.From(node) {
			if len(parent.Children)+len(parent.Referrers) == maxBranches {
				parent.Omitted++
				continue
			}
			branch := newBranch(g, e)
			if e.Row.Via == bundle.ViaChild {
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

// newBranch returns the tree of one manifest, alone.
func newBranch(g *bundle.Graph, e bundle.Edge) *Tree {
	node := g.Node(int(e.Node))
	t := &Tree{
		Digest: e.Row.Digest, MediaType: e.Row.MediaType, ArtifactType: e.Row.ArtifactType, PredicateTypes: node.PredicateTypes,
		Size: e.Row.Size, Via: e.Row.Via, Tag: e.Row.Tag, From: e.Row.From,
	}
	if e.Platform != nil {
		t.Platform = e.Platform.String()
	}
	for _, blob := range node.Blobs {
		t.Size += g.Contents().Blobs[blob].Size
	}
	return t
}

// IsIndex tells whether the tree's manifest is an index.
func (t *Tree) IsIndex() bool { return bundle.IsIndex(t.MediaType) }

// FindPlatform returns the first manifest that is for what is asked, in t or below it, or nil.
func (t *Tree) FindPlatform(asked platform.Matcher) *Tree {
	for _, child := range t.Children {
		if asked.Matches(child.platform()) {
			return child
		}
		if found := child.FindPlatform(asked); found != nil {
			return found
		}
	}
	return nil
}

// platform is Platform taken apart; nil where there is none.
func (t *Tree) platform() *platform.Platform {
	if t.Platform == "" {
		return nil
	}
	parts := append(strings.SplitN(t.Platform, "/", 3), "", "")
	return &platform.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
}
