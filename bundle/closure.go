package bundle

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"airgap/bundle/platform"
)

// Traverse goes from start to everything that can be reached from it, nearest first, and to each node once. next returns
// what hangs from a node; its error ends the traversal. What is more than MaxDepth steps away is ErrLimit.
//
// It is the one traversal of what hangs from an image: export goes over what it found in registries, [Reader.Walk] over
// the tables, and package tree and import over a [Closure].
func Traverse[Node comparable](start Node, next func(Node) ([]Node, error)) error {
	seen := map[Node]struct{}{start: {}}
	for depth, level := 0, []Node{start}; len(level) > 0; depth++ {
		if depth > MaxDepth {
			return fmt.Errorf("%w: something hangs from the image over more than %d manifests, each of which hangs from the one before", ErrLimit, MaxDepth)
		}
		var below []Node
		for _, node := range level {
			hanging, err := next(node)
			if err != nil {
				return err
			}
			for _, other := range hanging {
				if _, known := seen[other]; !known {
					seen[other] = struct{}{}
					below = append(below, other)
				}
			}
		}
		level = below
	}
	return nil
}

// Closure is everything that hangs from one root, as the rows of the manifests table say. To go through it:
//
//	c := graph.Closure(root)
//	start, _ := c.Start()
//	err := bundle.Traverse(start.Node, func(node int32) (below []int32, err error) {
//		for e := range c.From(node) {
//			below = append(below, e.Node)
//		}
//		return below, nil
//	})
//
// A caller that tells more apart than manifests (import: the repository that each goes to) traverses nodes of its own.
type Closure struct {
	Root Root

	graph    *Graph
	rows     []ManifestRow // by digest
	attached []int32       // rows with a subject, by subject
}

// Edge is one way in which a manifest of a closure is reached.
type Edge struct {
	Row  *ManifestRow // of the manifests table
	Node int32        // the manifest: row of the blobs table, as for Graph.Node
	// Platform is what an index says of this child; nil where it says nothing, and for what is no child.
	Platform *platform.Platform

	at int // of Row in Closure.rows
}

// Closure returns what hangs from the given row of the roots table.
func (g *Graph) Closure(root int) *Closure {
	c := &Closure{Root: g.contents.Root(root), graph: g, rows: g.contents.RootManifests(root)}
	for i := range c.rows {
		if !c.rows[i].Subject.IsZero() {
			c.attached = append(c.attached, int32(i))
		}
	}
	slices.SortStableFunc(c.attached, func(a, b int32) int {
		return bytes.Compare(c.rows[a].Subject[:], c.rows[b].Subject[:])
	})
	return c
}

// Start returns the edge to the root itself; false where no row is the root, which Reader.Walk refuses.
func (c *Closure) Start() (Edge, bool) { return c.find(c.Root.Digest, ViaRoot) }

// From yields what hangs from a manifest: its children in the order of the index, then referrers and cosign tags in the
// order of the table. What refers to the original of the root hangs from the root.
func (c *Closure) From(node int32) iter.Seq[Edge] {
	return func(yield func(Edge) bool) {
		for _, e := range c.children(node) {
			if e.Row != nil && !yield(e) {
				return
			}
		}
		digest := c.graph.contents.Blobs[node].Digest
		if !c.follow(digest, yield) {
			return
		}
		if digest == c.Root.Digest && !c.Root.Original.IsZero() {
			c.follow(c.Root.Original, yield)
		}
	}
}

// children returns an edge for each child of an index, without a Row where the table has none.
func (c *Closure) children(node int32) []Edge {
	n := c.graph.Node(int(node))
	edges := make([]Edge, len(n.Children))
	for i, child := range n.Children {
		edges[i], _ = c.find(c.graph.contents.Blobs[child].Digest, ViaChild)
		edges[i].Node, edges[i].Platform = child, n.Platform(i)
	}
	return edges
}

// follow yields the referrers and cosign tags of a subject, and tells whether the caller wants more.
func (c *Closure) follow(subject Digest, yield func(Edge) bool) bool {
	first, _ := slices.BinarySearchFunc(c.attached, subject, func(row int32, d Digest) int {
		return bytes.Compare(c.rows[row].Subject[:], d[:])
	})
	for _, at := range c.attached[first:] {
		if c.rows[at].Subject != subject {
			break
		}
		if !yield(c.edge(int(at))) {
			return false
		}
	}
	return true
}

// find returns the edge whose row says that a manifest is reached in the given way.
func (c *Closure) find(d Digest, via Via) (Edge, bool) {
	at, found := slices.BinarySearchFunc(c.rows, d, func(m ManifestRow, d Digest) int { return bytes.Compare(m.Digest[:], d[:]) })
	for ; found && at < len(c.rows) && c.rows[at].Digest == d; at++ {
		if c.rows[at].Via == via {
			return c.edge(at), true
		}
	}
	return Edge{}, false
}

func (c *Closure) edge(at int) Edge {
	node, _ := c.graph.contents.Find(c.rows[at].Digest)
	return Edge{Row: &c.rows[at], Node: int32(node), at: at}
}
