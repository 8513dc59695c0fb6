package judge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"airgap/bundle"
	"airgap/bundle/platform"
	"airgap/verify/proof"
)

// Subject is a manifest of an image that proofs are about: the index, an index below it, or a platform.
type Subject struct {
	Digest   bundle.Digest
	Platform string // what the index says of it; "" for indexes, and where it says nothing
	IsIndex  bool
	// NotSigned: no maker can have signed this index, since airgap made it of some platforms of another one at export.
	NotSigned bool
	// Original: the index of which the image's own is a part. It is not in the bundle, and proofs of it are shown and count for nothing.
	Original bool
	Lists    []int // of an index: the platforms that it lists at any depth, as places among the subjects
	Carriers []Carrier
}

// Carrier is a manifest with proofs about another one, such as a referrer.
type Carrier struct {
	About bundle.Digest
	Over  []Carrier // with proofs about the carrier: the second level

	node int32 // row of the blobs table
}

// nodes returns the rows of all manifests in which there are proofs of s.
func (s *Subject) nodes() (rows []int32) {
	for _, c := range s.Carriers {
		rows = append(rows, c.node)
		for _, over := range c.Over {
			rows = append(rows, over.node)
		}
		rows = append(rows, -1)
	}
	return rows
}

// Gather returns the subjects of the image in the given row of the roots table: its index or single manifest first. Without
// an index, or without platforms, that one stands for the image alone. An error is one in reading.
func Gather(e Evidence, root int) ([]Subject, error) {
	g := gathering{evidence: e, graph: e.Graph(), closure: e.Graph().Closure(root), places: map[int32]int{}, statements: map[int32][]Carrier{}}
	start, found := g.closure.Start()
	if !found {
		return nil, fmt.Errorf("%w: nothing is the root %s", bundle.ErrFormat, g.closure.Root.Source)
	}
	g.add(start)
	err := bundle.Traverse(start.Node, g.below)
	if err != nil {
		return nil, err
	}
	g.finish()
	return g.subjects, nil
}

type gathering struct {
	evidence   Evidence
	graph      *bundle.Graph
	closure    *bundle.Closure
	subjects   []Subject
	nodes      []int32             // of the subjects
	places     map[int32]int       // of nodes among the subjects
	statements map[int32][]Carrier // BuildKit's, by the node that they are about
}

// add notes a subject, once.
func (g *gathering) add(e bundle.Edge) {
	if _, known := g.places[e.Node]; known {
		return
	}
	s := Subject{Digest: e.Row.Digest, IsIndex: bundle.IsIndex(e.Row.MediaType)}
	if e.Platform != nil && !s.IsIndex {
		s.Platform = e.Platform.String()
	}
	g.places[e.Node] = len(g.subjects)
	g.subjects, g.nodes = append(g.subjects, s), append(g.nodes, e.Node)
}

// below adds what an index lists, and returns it.
func (g *gathering) below(node int32) (below []int32, err error) {
	if !bundle.IsIndex(g.graph.Node(int(node)).MediaType) {
		return nil, nil
	}
	index, err := g.parse(node)
	if err != nil {
		return nil, err
	}
	for e := range g.closure.From(node) {
		if e.Row.Via != bundle.ViaChild {
			continue
		}
		about, err := g.isStatement(index, e)
		if err != nil {
			return nil, err
		}
		if about >= 0 {
			c := g.carrier(e, g.graph.Contents().Blobs[about].Digest)
			if !slices.ContainsFunc(g.statements[about], func(known Carrier) bool { return known.node == c.node }) {
				g.statements[about] = append(g.statements[about], c)
			}
			continue
		}
		g.add(e)
		below = append(below, e.Node)
	}
	return below, nil
}

func (g *gathering) parse(node int32) (*bundle.Manifest, error) {
	return parse(g.evidence, node)
}

func parse(e Evidence, node int32) (*bundle.Manifest, error) {
	content, err := e.Manifest(e.Graph().Contents().Blobs[node].Digest)
	if err != nil {
		return nil, err
	}
	return bundle.ParseManifest(e.Graph().Node(int(node)).MediaType, content)
}

// How BuildKit lists its attestation manifests in an index.
// https://github.com/moby/buildkit/blob/v0.20.0/docs/attestations/attestation-storage.md
const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	attestationManifest       = "attestation-manifest"
	mediaTypeInToto           = "application/vnd.in-toto+json"
)

// isStatement returns the node of what a child of an index is a BuildKit attestation manifest about, or -1. It is strict: what a
// container runtime could run is a platform, whatever the index says of it.
func (g *gathering) isStatement(index *bundle.Manifest, e bundle.Edge) (about int32, err error) {
	about = -1
	for i := range index.Manifests {
		d := &index.Manifests[i]
		if d.Digest != e.Row.Digest {
			continue
		}
		// The same manifest may be listed twice, and has to be a statement each time.
		if about = g.referenced(index, d); about < 0 {
			return -1, nil
		}
	}
	if about < 0 {
		return -1, nil
	}
	m, err := g.parse(e.Node)
	if err != nil {
		return -1, err
	}
	if len(m.Layers) == 0 || slices.ContainsFunc(m.Layers, func(l bundle.Descriptor) bool { return l.MediaType != mediaTypeInToto }) {
		return -1, nil
	}
	return about, nil
}

// referenced returns the node that a descriptor says to be an attestation of, if it and its index say so in full; or else -1.
func (g *gathering) referenced(index *bundle.Manifest, d *bundle.Descriptor) int32 {
	nowhere := platform.Platform{OS: "unknown", Architecture: "unknown"}
	if d.Annotations[annotationReferenceType] != attestationManifest || d.Platform == nil || d.Platform.String() != nowhere.String() {
		return -1
	}
	about, err := bundle.ParseDigest(d.Annotations[annotationReferenceDigest])
	if err != nil || !slices.ContainsFunc(index.Manifests, func(other bundle.Descriptor) bool { return other.Digest == about && about != d.Digest }) {
		return -1
	}
	node, found := g.graph.Contents().Find(about)
	if !found { // of a platform that was not asked for
		return -1
	}
	return int32(node)
}

// carrier returns a carrier with what hangs from it.
func (g *gathering) carrier(e bundle.Edge, about bundle.Digest) Carrier {
	c := Carrier{About: about, node: e.Node}
	for over := range g.closure.From(e.Node) {
		if over.Row.Via != bundle.ViaChild {
			c.Over = append(c.Over, Carrier{About: over.Row.Subject, node: over.Node})
		}
	}
	return c
}

// finish adds to the subjects what hangs from them, and what they list.
func (g *gathering) finish() {
	root := &g.closure.Root
	original := Subject{Digest: root.Original, IsIndex: true, Original: true}
	for place, node := range g.nodes {
		s := &g.subjects[place]
		for e := range g.closure.From(node) {
			switch {
			case e.Row.Via == bundle.ViaChild:
			case e.Row.Subject == s.Digest:
				s.Carriers = append(s.Carriers, g.carrier(e, s.Digest))
			default:
				original.Carriers = append(original.Carriers, g.carrier(e, e.Row.Subject))
			}
		}
		s.Carriers = append(s.Carriers, g.statements[node]...)
		if s.IsIndex {
			s.Lists = g.platforms(node, nil)
		}
	}
	g.subjects[0].NotSigned = !root.Original.IsZero()
	if len(original.Carriers) > 0 {
		g.subjects = append(g.subjects, original)
	}
}

// platforms adds the places of the platforms below a node.
func (g *gathering) platforms(node int32, places []int) []int {
	// The depth was checked with the graph.
	_ = bundle.Traverse(node, func(node int32) (below []int32, err error) {
		for e := range g.closure.From(node) {
			place, isSubject := g.places[e.Node]
			if e.Row.Via != bundle.ViaChild || !isSubject {
				continue
			}
			below = append(below, e.Node)
			if !g.subjects[place].IsIndex && !slices.Contains(places, place) {
				places = append(places, place)
			}
		}
		return below, nil
	})
	return places
}

// Read takes the carrier apart. An error is one in reading; what is wrong with a proof is in its Claim.
func (c *Carrier) Read(ctx context.Context, e Evidence) ([]*proof.Proof, error) {
	manifest, err := parse(e, c.node)
	if err != nil {
		return nil, err
	}
	contents := e.Graph().Contents()
	return proof.Read(ctx, proof.Carrier{
		Digest: contents.Blobs[c.node].Digest, Manifest: manifest, About: c.About,
		AboutBytes: func() ([]byte, error) { return e.Manifest(c.About) },
	}, func(ctx context.Context, d bundle.Descriptor) ([]byte, error) {
		row, found := contents.Find(d.Digest)
		if !found {
			return nil, fmt.Errorf("%s: %w", d.Digest, bundle.ErrNotFound)
		}
		blob, err := e.Proof(ctx, row)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Graph().Path(row), err)
		}
		content, err := io.ReadAll(blob)
		if err = errors.Join(err, blob.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Graph().Path(row), err)
		}
		return content, nil
	})
}

// Signatures reads the signatures over the carrier, which are the second level of the attestations in it.
func (c *Carrier) Signatures(ctx context.Context, e Evidence) (all []*proof.Proof, err error) {
	for i := range c.Over {
		proofs, err := c.Over[i].Read(ctx, e)
		if err != nil {
			return nil, err
		}
		all = append(all, slices.DeleteFunc(proofs, func(p *proof.Proof) bool { return p.Kind != proof.Signature })...)
	}
	return all, nil
}
