package bundle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"airgap/bundle/platform"
)

// Walk reads every manifest and checks it against the tables: see NewGraph.
func (r *Reader) Walk(ctx context.Context) (*Graph, error) {
	return NewGraph(ctx, r.Contents(), r.ParseManifest)
}

// ParseManifest reads and parses a manifest of the bundle.
func (r *Reader) ParseManifest(d Digest) (*Manifest, error) {
	content, err := r.ReadManifest(d)
	if err != nil {
		return nil, err
	}
	return ParseManifest(r.Contents().mediaTypeOf(d), content)
}

// NewGraph reads every manifest in contents, each once and in the order of the blobs table, and checks it against the
// tables: what a manifest lists is in the blobs table with the same size, each root's rows are what can be reached from it
// and nothing else, subjects are what the rows say, and each blob is
// listed by a manifest and has the role that this gives it. All
// problems are in one error; most wrap ErrFormat.
func NewGraph(ctx context.Context, contents *Contents, manifest func(Digest) (*Manifest, error)) (*Graph, error) {
	w := walker{
		contents: contents, graph: &Graph{contents: contents}, roles: make([]Role, len(contents.Blobs)), proofs: make([]bool, len(contents.kinds)),
		sparse: map[Digest]bool{}, platforms: map[[3]string]int32{}, predicates: map[string]int32{},
	}
	for _, root := range contents.Roots() {
		if root.IsSparse() {
			w.sparse[root.Digest] = true
		}
	}
	for i := range contents.manifests {
		if m := &contents.manifests[i]; vias[m.via].provesSomething() {
			w.proofs[m.blob] = true
		}
	}
	w.readManifests(ctx, manifest)
	if err := errors.Join(ctx.Err(), w.problems.Err()); err != nil {
		return nil, err // the checks below lean on complete nodes
	}
	for root := range contents.roots {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		w.checkRoot(root)
	}
	w.checkRoles()
	return w.graph, w.problems.Err()
}

type walker struct {
	contents   *Contents
	graph      *Graph
	proofs     []bool          // manifests that are a referrer or a cosign tag under some root
	roles      []Role          // what each blob is for, as the manifests say; 0 where none lists it
	sparse     map[Digest]bool // indexes that are sparse under some root
	platforms  map[[3]string]int32
	predicates map[string]int32
	problems   Problems
}

func (w *walker) bad(format string, args ...any) {
	w.problems.Add(fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...))
}

// readManifests makes the nodes.
func (w *walker) readManifests(ctx context.Context, manifest func(Digest) (*Manifest, error)) {
	g := w.graph
	g.nodes = make([]packedNode, 0, g.Manifests()+1)
	for row := range g.Manifests() {
		if ctx.Err() != nil {
			return
		}
		digest := w.contents.Blobs[row].Digest
		g.nodes = append(g.nodes, g.end())
		if mediaType, _ := w.contents.kindOf(int32(row)); mediaType == "" {
			w.bad("manifest %s is reached from no root", digest)
			continue
		}
		m, err := manifest(digest)
		if err != nil {
			w.problems.Add(fmt.Errorf("%s: %w", digest, err))
			continue
		}
		w.complete(&g.nodes[row], row, m)
	}
	g.nodes = append(g.nodes, g.end())
}

// complete adds to a node what its manifest says.
func (w *walker) complete(n *packedNode, row int, m *Manifest) {
	g := w.graph
	digest := w.contents.Blobs[row].Digest
	if _, recorded := w.contents.kindOf(int32(row)); recorded != m.RecordedArtifactType() {
		w.bad("%s has the artifact type %.100q, its row says %.100q", digest, m.RecordedArtifactType(), recorded)
	}
	for _, d := range m.Children() {
		if _, found := w.contents.Find(d.Digest); !found && w.sparse[digest] {
			n.sparse = true
			continue
		}
		if child := w.find(digest, d); child >= 0 {
			if mediaType := w.contents.mediaType(child); mediaType != d.MediaType {
				w.bad("%s lists %s with the media type %s; it is of %.100q", digest, d.Digest, d.MediaType, mediaType)
			}
			g.children = append(g.children, child)
			g.platforms = append(g.platforms, w.platform(d.Platform))
		}
	}
	for i, d := range m.Blobs() {
		blob := w.find(digest, d)
		if blob < 0 {
			continue
		}
		g.blobs = append(g.blobs, blob)
		if role := blobRole(d, w.proofs[row], m.Config != nil && i == 0); w.roles[blob] == 0 || role < w.roles[blob] {
			w.roles[blob] = role
		}
		if w.contents.Blobs[blob].Stored == StoredNondistributable && !IsNondistributable(d.MediaType) {
			w.bad("%s needs the layer %s, which was left out", digest, d.Digest)
		}
	}
	if m.Subject != nil {
		n.subject = w.subject(m.Subject.Digest)
	}
	n.predicates = w.predicateTypes(PredicateTypes(m))
}

func (w *walker) subject(d Digest) int32 {
	if row, found := w.contents.Find(d); found {
		return int32(row)
	}
	w.graph.subjects = append(w.graph.subjects, d)
	return int32(-1 - len(w.graph.subjects))
}

func (w *walker) platform(p *platform.Platform) int32 {
	if p == nil {
		return -1
	}
	key := [3]string{p.OS, p.Architecture, p.Variant}
	at, known := w.platforms[key]
	if !known {
		at = int32(len(w.graph.named))
		w.platforms[key] = at
		w.graph.named = append(w.graph.named, platform.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
	}
	return at
}

func (w *walker) predicateTypes(types []string) int32 {
	if len(types) == 0 {
		return -1
	}
	key := strings.Join(types, "\x00")
	at, known := w.predicates[key]
	if !known {
		at = int32(len(w.graph.predicates))
		w.predicates[key] = at
		w.graph.predicates = append(w.graph.predicates, types)
	}
	return at
}

// find returns the row of a blob that a manifest lists, or -1 after noting the problem.
func (w *walker) find(parent Digest, d Descriptor) int32 {
	row, found := w.contents.Find(d.Digest)
	if !found {
		w.bad("%s lists %s, which is not in the bundle", parent, d.Digest)
		return -1
	}
	if size := w.contents.Blobs[row].Size; size != d.Size {
		w.bad("%s lists %s with %d bytes; it has %d", parent, d.Digest, d.Size, size)
	}
	return int32(row)
}

// checkRoles holds what the manifests say of blobs against their rows.
func (w *walker) checkRoles() {
	for row := w.graph.Manifests(); row < len(w.roles); row++ {
		switch blob := &w.contents.Blobs[row]; w.roles[row] {
		case blob.Role:
		case 0:
			w.bad("blob %s is listed by no manifest", blob.Digest)
		default:
			w.bad("blob %s has the role %s, and is used as %s", blob.Digest, blob.Role, w.roles[row])
		}
	}
}

// checkRoot goes over what hangs from a root and holds it against the root's rows.
func (w *walker) checkRoot(root int) {
	c := w.graph.Closure(root)
	start, found := c.Start()
	if !found {
		w.bad("%s: no row of the manifests table is the root", c.Root.Source)
		return
	}
	reached := make([]bool, len(c.rows))
	reached[start.at] = true
	err := Traverse(start.Node, func(node int32) (below []int32, err error) {
		w.checkChildren(c, node)
		for e := range c.From(node) {
			if e.Row.Via.IsReferrer() && w.graph.subject(int(e.Node)) != e.Row.Subject {
				w.bad("%s: %s is listed as a referrer of %s, but is none", c.Root.Source, e.Row.Digest, e.Row.Subject)
				continue
			}
			reached[e.at] = true
			below = append(below, e.Node)
		}
		return below, nil
	})
	if err != nil {
		w.problems.Add(fmt.Errorf("%s: %w", c.Root.Source, err))
		return
	}
	for i, m := range c.rows {
		if !reached[i] {
			w.bad("%s: %s is listed as reached via %s, but is not", c.Root.Source, m.Digest, m.Via)
		}
	}
}

// checkChildren demands a row for every child of an index, except below a root that is sparse.
func (w *walker) checkChildren(c *Closure, node int32) {
	digest := w.contents.Blobs[node].Digest
	if c.Root.IsSparse() && digest == c.Root.Digest {
		return
	}
	if w.graph.nodes[node].sparse {
		w.bad("%s: %s lists manifests that are not in the bundle", c.Root.Source, digest)
	}
	for _, e := range c.children(node) {
		if e.Row == nil {
			w.bad("%s: the manifests table lacks %s, which %s lists", c.Root.Source, w.contents.Blobs[e.Node].Digest, digest)
		}
	}
}
