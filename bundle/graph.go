package bundle

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Graph is how the manifests of a bundle hang together, read from the manifests themselves and found to agree with
// the tables.
type Graph struct {
	contents *Contents
	nodes    []Node // by row of the blobs table; manifests come first there
}

// Node is a manifest in a Graph. Rows are rows of the blobs table.
type Node struct {
	MediaType    string
	ArtifactType string
	Children     []int32  // manifests that this index lists and the bundle holds, in its order
	Platforms    []string // of the children, as in "linux/arm64/v8"; "" where none is given
	Sparse       bool     // it lists manifests that the bundle does not hold
	Blobs        []int32  // config and layers, in the order of the manifest
	Subject      Digest   // zero for none; it may be one that is not in the bundle
}

// Manifests returns how many rows of the blobs table are manifests: rows 0 to n-1.
func (g *Graph) Manifests() int { return len(g.nodes) }

// Node returns the manifest in the given row, which must be less than Manifests.
func (g *Graph) Node(row int) *Node { return &g.nodes[row] }

// maxProblems bounds how many problems are collected before a check gives up.
const maxProblems = 100

// Problems collects errors, so that they can be reported together.
type Problems struct {
	errs    []error
	omitted int
}

// Add records err; nil is ignored.
func (p *Problems) Add(err error) {
	switch {
	case err == nil:
	case len(p.errs) < maxProblems:
		p.errs = append(p.errs, err)
	default:
		p.omitted++
	}
}

// Err returns all problems as one error, or nil.
func (p *Problems) Err() error {
	if p.omitted > 0 {
		return errors.Join(append(slices.Clip(p.errs), fmt.Errorf("and %d more problems", p.omitted))...)
	}
	return errors.Join(p.errs...)
}

// Walk reads every manifest and checks it against the tables: what a manifest lists is in the blobs table with the
// same size, each root's rows are what can be reached from it and nothing else, subjects are what the rows say, and
// no blob is in the bundle without a manifest that lists it. All problems are in one error; most wrap ErrFormat.
func (r *Reader) Walk(ctx context.Context) (*Graph, error) {
	w := walker{reader: r, contents: r.Contents(), graph: &Graph{contents: r.Contents()}, sparse: map[Digest]bool{}, names: interner{}}
	w.used = make([]bool, len(w.contents.Blobs))
	for i := range w.contents.Roots {
		if root := &w.contents.Roots[i]; root.IsSparse() {
			w.sparse[root.Digest] = true
		}
	}
	w.readManifests(ctx)
	if err := errors.Join(ctx.Err(), w.problems.Err()); err != nil {
		return nil, err // the checks below lean on complete nodes
	}
	for root := range w.contents.Roots {
		w.checkRoot(root)
	}
	for row, used := range w.used {
		if !used {
			w.bad("blob %s is listed by no manifest", w.contents.Blobs[row].Digest)
		}
	}
	return w.graph, w.problems.Err()
}

type walker struct {
	reader   *Reader
	contents *Contents
	graph    *Graph
	used     []bool          // blobs that some manifest lists
	sparse   map[Digest]bool // indexes that are sparse under some root
	names    interner
	problems Problems
}

func (w *walker) bad(format string, args ...any) {
	w.problems.Add(fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...))
}

// readManifests makes the nodes.
func (w *walker) readManifests(ctx context.Context) {
	rows, ok := w.mediaTypes()
	if !ok {
		return
	}
	w.graph.nodes = make([]Node, len(rows))
	for row, example := range rows {
		if ctx.Err() != nil {
			return
		}
		if example == nil {
			w.bad("manifest %s is reached from no root", w.contents.Blobs[row].Digest)
			continue
		}
		content, err := w.reader.ReadManifest(example.Digest)
		if err != nil {
			w.problems.Add(err)
			continue
		}
		m, err := ParseManifest(example.MediaType, content)
		if err != nil {
			w.problems.Add(fmt.Errorf("%s: %w", example.Digest, err))
			continue
		}
		w.graph.nodes[row] = w.node(example, m)
	}
}

// mediaTypes finds for each manifest a row of the manifests table that describes it; all must describe it alike.
func (w *walker) mediaTypes() (rows []*ManifestRow, ok bool) {
	count := 0
	for count < len(w.contents.Blobs) && w.contents.Blobs[count].Role == RoleManifest {
		count++
	}
	rows = make([]*ManifestRow, count)
	for i := range w.contents.Manifests {
		m := &w.contents.Manifests[i]
		row, found := w.contents.Find(m.Digest)
		if !found || row >= count || w.contents.Blobs[row].Size != m.Size {
			w.bad("the manifests table and the blobs table disagree about %s", m.Digest)
			return nil, false
		}
		if rows[row] == nil {
			rows[row] = m
		}
		if known := rows[row]; known.MediaType != m.MediaType || known.ArtifactType != m.ArtifactType {
			w.bad("the manifests table describes %s in two ways", m.Digest)
			return nil, false
		}
	}
	return rows, true
}

func (w *walker) node(row *ManifestRow, m *Manifest) Node {
	n := Node{MediaType: row.MediaType, ArtifactType: m.RecordedArtifactType()}
	if n.ArtifactType != row.ArtifactType {
		w.bad("%s has the artifact type %.100q, its row says %.100q", row.Digest, n.ArtifactType, row.ArtifactType)
	}
	for _, d := range m.Children() {
		if _, found := w.contents.Find(d.Digest); !found && w.sparse[row.Digest] {
			n.Sparse = true
			continue
		}
		if child := w.find(row.Digest, d); child >= 0 {
			n.Children = append(n.Children, child)
			n.Platforms = append(n.Platforms, w.platform(d))
			if int(child) >= len(w.graph.nodes) {
				w.bad("%s lists the manifest %s, which is in the bundle as a %s", row.Digest, d.Digest, w.contents.Blobs[child].Role)
			}
		}
	}
	for _, d := range m.Blobs() {
		blob := w.find(row.Digest, d)
		if blob < 0 {
			continue
		}
		n.Blobs = append(n.Blobs, blob)
		if w.contents.Blobs[blob].Stored == StoredNondistributable && !IsNondistributable(d.MediaType) {
			w.bad("%s needs the layer %s, which was left out", row.Digest, d.Digest)
		}
	}
	if m.Subject != nil {
		n.Subject = m.Subject.Digest
	}
	return n
}

func (w *walker) platform(d Descriptor) string {
	if d.Platform == nil {
		return ""
	}
	name := d.Platform.String()
	w.names.one(&name)
	return name
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
	w.used[row] = true
	return int32(row)
}

// checkRoot walks from a root and holds what it reaches against the root's rows.
func (w *walker) checkRoot(root int) {
	c := newRootCheck(w, root)
	r := &w.contents.Roots[root]
	start, found := w.contents.Find(r.Digest)
	if !found || !c.reach(int32(start), func(m *ManifestRow) bool {
		return m.Via == ViaRoot && m.MediaType == r.MediaType && m.Size == r.Size && m.ArtifactType == r.ArtifactType
	}) {
		w.bad("%s: no row of the manifests table is the root", r.Source)
		return
	}
	if !r.Original.IsZero() {
		c.followReferrers(r.Original)
	}
	for len(c.queue) > 0 {
		row := c.queue[0]
		c.queue = c.queue[1:]
		c.follow(row)
	}
	for _, rows := range c.expected {
		for _, m := range rows {
			if !c.reached[m] {
				w.bad("%s: %s is listed as reached via %s, but is not", r.Source, m.Digest, m.Via)
			}
		}
	}
}

// rootCheck is the walk from one root.
type rootCheck struct {
	*walker
	root     *Root
	expected map[int32][]*ManifestRow  // the root's rows, by row of the blobs table
	attached map[Digest][]*ManifestRow // those of referrers and cosign tags, by subject
	reached  map[*ManifestRow]bool
	queue    []int32
}

func newRootCheck(w *walker, root int) *rootCheck {
	c := &rootCheck{
		walker: w, root: &w.contents.Roots[root],
		expected: map[int32][]*ManifestRow{}, attached: map[Digest][]*ManifestRow{}, reached: map[*ManifestRow]bool{},
	}
	rows := w.contents.RootManifests(root)
	for i := range rows {
		at, _ := w.contents.Find(rows[i].Digest)
		w.used[at] = true
		c.expected[int32(at)] = append(c.expected[int32(at)], &rows[i])
		if !rows[i].Subject.IsZero() {
			c.attached[rows[i].Subject] = append(c.attached[rows[i].Subject], &rows[i])
		}
	}
	return c
}

// reach marks the first row for the given manifest that fits as reached, and tells whether there is one.
func (c *rootCheck) reach(row int32, fits func(*ManifestRow) bool) bool {
	i := slices.IndexFunc(c.expected[row], fits)
	if i < 0 {
		return false
	}
	if m := c.expected[row][i]; !c.reached[m] {
		c.reached[m] = true
		c.queue = append(c.queue, row)
	}
	return true
}

// follow reaches what hangs from a manifest: children, referrers, cosign tags.
func (c *rootCheck) follow(row int32) {
	digest := c.contents.Blobs[row].Digest
	sparse := c.root.IsSparse() && digest == c.root.Digest
	if c.graph.nodes[row].Sparse && !sparse {
		c.bad("%s: %s lists manifests that are not in the bundle", c.root.Source, digest)
	}
	for _, child := range c.graph.nodes[row].Children {
		if !c.reach(child, func(m *ManifestRow) bool { return m.Via == ViaChild }) && !sparse {
			c.bad("%s: the manifests table lacks %s, which %s lists", c.root.Source, c.contents.Blobs[child].Digest, digest)
		}
	}
	c.followReferrers(digest)
}

// followReferrers reaches the referrers and cosign tags of a manifest, or of the original of the root.
func (c *rootCheck) followReferrers(subject Digest) {
	for _, m := range c.attached[subject] {
		at, _ := c.contents.Find(m.Digest)
		if m.Via.IsReferrer() && c.graph.nodes[at].Subject != subject {
			c.bad("%s: %s is listed as a referrer of %s, but is none", c.root.Source, m.Digest, m.Subject)
			continue
		}
		c.reach(int32(at), func(other *ManifestRow) bool { return other == m })
	}
}

// Path says for people where the blob in the given row belongs: root, platform or referrer, role and digest. It is
// slow, for use in error messages.
func (g *Graph) Path(row int) string {
	blob := g.contents.Blobs[row]
	own := fmt.Sprintf("%s %s", blob.Role, blob.Digest)
	for i := range g.contents.Manifests {
		m := &g.contents.Manifests[i]
		at, found := g.contents.Find(m.Digest)
		if !found || at >= len(g.nodes) || at != row && !slices.Contains(g.nodes[at].Blobs, int32(row)) {
			continue
		}
		return g.contents.Roots[m.Root].Source + ", " + g.place(m, at) + own
	}
	return own
}

// place names a manifest within its root: its platform, or what it is attached to.
func (g *Graph) place(m *ManifestRow, at int) string {
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
		if i := slices.Index(g.nodes[row].Children, int32(at)); i >= 0 && g.nodes[row].Platforms[i] != "" {
			return g.nodes[row].Platforms[i] + ", "
		}
	}
	return fmt.Sprintf("manifest %s, ", m.Digest)
}
