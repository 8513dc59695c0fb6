package bundle

import (
	"fmt"
	"slices"

	"airgap/bundle/platform"
)

// Graph is how the manifests of a bundle hang together, read from the manifests themselves and found to agree with
// the tables. Nodes are packed, in some 20 bytes and 4 for each blob that they list.
type Graph struct {
	contents *Contents
	nodes    []packedNode // by row of the blobs table; manifests come first there, and one more says where the last ends

	children   []int32 // of all nodes
	platforms  []int32 // of the children: places in named, or -1
	named      []platform.Platform
	blobs      []int32    // of all nodes
	subjects   []Digest   // that are not in the bundle
	predicates [][]string // distinct lists of predicate types
}

type packedNode struct {
	children, blobs uint32 // where they begin
	subject         int32  // row of the blobs table; noSubject; or -2-i for subjects[i]
	predicates      int32  // place in Graph.predicates, or -1
	sparse          bool
}

// Node is a manifest in a Graph. Rows are rows of the blobs table.
type Node struct {
	MediaType      string
	ArtifactType   string
	Children       []int32  // manifests that this index lists and the bundle holds, in its order
	Sparse         bool     // it lists manifests that the bundle does not hold
	Blobs          []int32  // config and layers, in the order of the manifest
	Subject        Digest   // zero for none; it may be one that is not in the bundle
	PredicateTypes []string // what an attestation states, where annotations tell

	graph *Graph
	first uint32 // of Children, in Graph.platforms
}

// Platform returns what the index says of the platform of its i-th child; nil for nothing.
func (n *Node) Platform(i int) *platform.Platform {
	at := n.graph.platforms[int(n.first)+i]
	if at < 0 {
		return nil
	}
	return &n.graph.named[at]
}

// Contents returns the tables that the Graph is of.
func (g *Graph) Contents() *Contents { return g.contents }

// Manifests returns how many rows of the blobs table are manifests: rows 0 to n-1.
func (g *Graph) Manifests() int { return len(g.contents.kinds) }

// Node returns the manifest in the given row, which must be less than Manifests.
func (g *Graph) Node(row int) Node {
	packed, next := &g.nodes[row], &g.nodes[row+1]
	n := Node{
		Children: g.children[packed.children:next.children], Blobs: g.blobs[packed.blobs:next.blobs], Sparse: packed.sparse,
		Subject: g.subject(row), graph: g, first: packed.children,
	}
	n.MediaType, n.ArtifactType = g.contents.kindOf(int32(row))
	if packed.predicates >= 0 {
		n.PredicateTypes = g.predicates[packed.predicates]
	}
	return n
}

func (g *Graph) subject(row int) Digest {
	switch at := g.nodes[row].subject; {
	case at == noSubject:
		return Digest{}
	case at < 0:
		return g.subjects[-2-at]
	default:
		return g.contents.Blobs[at].Digest
	}
}

// end returns a node that lists nothing, at the end of the lists.
func (g *Graph) end() packedNode {
	return packedNode{children: uint32(len(g.children)), blobs: uint32(len(g.blobs)), subject: noSubject, predicates: -1}
}

// Path says for people where the blob in the given row belongs: root, platform or referrer, role and digest. It is
// slow, for use in error messages.
func (g *Graph) Path(row int) string {
	blob := g.contents.Blobs[row]
	own := fmt.Sprintf("%s %s", blob.Role, blob.Digest)
	for i := range g.contents.manifests {
		packed := &g.contents.manifests[i]
		if at := int(packed.blob); at == row || slices.Contains(g.Node(at).Blobs, int32(row)) {
			m := g.contents.manifestRow(i)
			return g.contents.Root(m.Root).Source + ", " + g.place(&m, packed.blob) + own
		}
	}
	return own
}

// place names a manifest within its root: its platform, or what it is attached to.
func (g *Graph) place(m *ManifestRow, at int32) string {
	switch m.Via {
	case ViaRoot:
		return ""
	case ViaCosignTag:
		return "tag " + m.Tag + ", "
	case ViaReferrersAPI, ViaReferrersTag:
		return fmt.Sprintf("referrer %s (%s) of %s, ", m.Digest, m.ArtifactType, m.Subject)
	}
	for _, parent := range g.contents.RootManifests(m.Root) {
		row, _ := g.contents.Find(parent.Digest)
		node := g.Node(row)
		if i := slices.Index(node.Children, at); i >= 0 && node.Platform(i) != nil {
			return node.Platform(i).String() + ", "
		}
	}
	return fmt.Sprintf("manifest %s, ", m.Digest)
}
