package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/platform"
	"airgap/export/registry"
)

// graph is what the walk finds, by view and digest, so that images that share manifests share the requests too.
type graph struct {
	source   Source
	store    *contentStore
	observer bundle.Observer
	options  WalkOptions
	work     *workQueue
	lists    *tagLists

	mu      sync.Mutex
	nodes   map[nodeKey]*node
	views   map[string]*view
	private map[string]*privacy
	names   map[string]string // one copy of each string that many nodes have
}

type nodeKey struct {
	view      *view
	digest    bundle.Digest
	selection string // Settings.selectionKey
}

// node is a manifest in one view.
type node struct {
	digest       bundle.Digest
	mediaType    string
	size         int64
	artifactType string
	kinds        string // what it says as a referrer: see kinds
	subject      bundle.Digest
	from         name.Repository
	edges        []edge
	left         []LeftOutReferrer
	missing      []name.Repository // attestation repositories that do not exist
	platforms    []string          // of an index of which only these are carried
	original     *node             // of a rewritten index: the source's
	believed     bool              // the list of tags was, that there is nothing more
	err          error

	depth   int    // steps from the nearest root, as far as is known
	explore func() // finds what hangs from it; nil once that has begun
}

// edge leads to a manifest that hangs from a node.
type edge struct {
	to   *node
	via  bundle.Via
	tag  string // of cosign tags
	from name.Repository
}

// one returns s, always the same copy of it.
func (g *graph) one(s string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.oneLocked(s)
}

func (g *graph) oneLocked(s string) string {
	if known, ok := g.names[s]; ok {
		return known
	}
	g.names[s] = s
	return s
}

// unreached is the depth of a node before anything leads to it.
const unreached = math.MaxInt

// visit returns the node for a root. content is nil where it has still to be fetched.
func (g *graph) visit(ctx context.Context, v *view, desc bundle.Descriptor, from name.Repository, content []byte) (*node, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, err := g.nodeOf(ctx, v, desc, from, content)
	if err != nil {
		return nil, err
	}
	g.reach(n, 0)
	return n, nil
}

// reach notes that a node is depth steps away from a root, and has it explored the first time that this is within the limit
// of a bundle: registries could make up referrers of referrers for ever. g.mu is held.
func (g *graph) reach(n *node, depth int) {
	if depth >= n.depth || depth > bundle.MaxDepth {
		return
	}
	n.depth = depth
	if n.explore != nil {
		g.work.add(n.explore)
		n.explore = nil
	}
	for _, e := range n.edges {
		g.reach(e.to, depth+1)
	}
}

// nodeOf returns the node for a manifest. All descriptors of a manifest must agree. g.mu is held.
func (g *graph) nodeOf(ctx context.Context, v *view, desc bundle.Descriptor, from name.Repository, content []byte) (*node, error) {
	key := nodeKey{view: v, digest: desc.Digest}
	if n, ok := g.nodes[key]; ok {
		if n.size != desc.Size || n.mediaType != desc.MediaType {
			return nil, fmt.Errorf("%w: manifest %s is listed as %.100s of %d bytes and as %.100s of %d bytes",
				bundle.ErrDigest, desc.Digest, n.mediaType, n.size, desc.MediaType, desc.Size)
		}
		return n, nil
	}
	n := &node{digest: desc.Digest, mediaType: g.oneLocked(desc.MediaType), size: desc.Size, from: from, depth: unreached}
	g.nodes[key] = n
	n.explore = func() {
		n.err = g.explore(ctx, v, n, content)
		g.settle(ctx, unasked{v, n, n})
	}
	return n, nil
}

// visitSelection is visit for an index of which only some entries are carried.
func (g *graph) visitSelection(ctx context.Context, v *view, desc bundle.Descriptor, from name.Repository, content []byte, chosen *selection, s *Settings) (*node, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := nodeKey{v, desc.Digest, s.selectionKey()}
	if n, ok := g.nodes[key]; ok {
		return n, nil
	}
	n := &node{digest: desc.Digest, mediaType: g.oneLocked(desc.MediaType), size: desc.Size, from: from, depth: unreached}
	for _, p := range s.Platforms {
		n.platforms = append(n.platforms, cmp.Or(p.String(), platform.None))
	}
	if s.Mode != PlatformsSparse {
		n.original = &node{digest: n.digest, mediaType: n.mediaType, size: n.size, from: from}
		var err error
		if content, err = rewriteIndex(content, chosen.kept); err != nil {
			return nil, err
		}
		n.digest, n.size = bundle.DigestOf(content), int64(len(content))
	}
	g.nodes[key] = n
	n.explore = func() {
		n.err = g.exploreSelection(ctx, v, n, content, chosen, s.OriginalReferrers)
		subject := n
		if n.original != nil {
			subject = n.original
		}
		if subject == n || s.OriginalReferrers {
			g.settle(ctx, unasked{v, subject, n})
		}
	}
	g.reach(n, 0)
	return n, nil
}

// explore fetches a manifest and finds what hangs from it.
func (g *graph) explore(ctx context.Context, v *view, n *node, content []byte) error {
	manifest, err := g.fetch(ctx, n, content)
	if err != nil {
		return err
	}
	for _, child := range manifest.Children() {
		if err := g.connect(ctx, v, n, child, edge{via: bundle.ViaChild, from: n.from}, nil); err != nil {
			return err
		}
	}
	return g.findReferrers(ctx, v, n)
}

// exploreSelection finds what hangs from an index of which only some entries are carried. content is that of the
// rewritten index, or of the whole one where it is to be sparse.
func (g *graph) exploreSelection(ctx context.Context, v *view, n *node, content []byte, chosen *selection, originalReferrers bool) error {
	manifest, err := g.fetch(ctx, n, content)
	if err != nil {
		return err
	}
	kept := manifest.Manifests
	if n.original == nil {
		kept = keep(kept, chosen.kept)
	}
	for _, child := range kept {
		if !bundle.IsManifest(child.MediaType) {
			continue
		}
		if err := g.connect(ctx, v, n, child, edge{via: bundle.ViaChild, from: n.from}, nil); err != nil {
			return err
		}
	}
	if n.original == nil {
		return g.findReferrers(ctx, v, n)
	}
	if originalReferrers {
		return g.findReferrers(ctx, v, n.original)
	}
	nothing := g.view(v.own, v.attestations, &Settings{NoReferrers: true, NoCosignTags: true})
	if err := g.findReferrers(ctx, nothing, n.original); err != nil {
		return err
	}
	for i := range n.original.left {
		n.original.left[i].Rule = "it refers to the index with all platforms"
	}
	n.left = n.original.left
	return nil
}

func keep[T any](all []T, kept []bool) []T {
	var rest []T
	for i, one := range all {
		if kept[i] {
			rest = append(rest, one)
		}
	}
	return rest
}

// connect adds an edge from n to the manifest that desc describes.
func (g *graph) connect(ctx context.Context, v *view, n *node, desc bundle.Descriptor, e edge, content []byte) (err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.to, err = g.nodeOf(ctx, v, desc, e.from, content); err != nil {
		return err
	}
	n.edges = append(n.edges, e)
	g.reach(e.to, n.depth+1)
	return nil
}

// fetch completes n from the manifest itself, which must be what the descriptor that led here says.
func (g *graph) fetch(ctx context.Context, n *node, content []byte) (*bundle.Manifest, error) {
	if content == nil {
		var err error
		if content, err = g.fetchDescribed(ctx, bundle.Descriptor{MediaType: n.mediaType, Digest: n.digest, Size: n.size}, n.from); err != nil {
			return nil, err
		}
	}
	manifest, err := bundle.ParseManifest(n.mediaType, content)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", n.digest, err)
	}
	n.artifactType = g.one(manifest.RecordedArtifactType())
	if manifest.Subject != nil {
		n.subject = manifest.Subject.Digest
	}
	n.kinds = g.one(kinds(manifest))
	g.observer.Add(1)
	return manifest, g.store.put(n.digest, n.mediaType, content, manifest)
}

// fetchDescribed returns the bytes of a manifest, which must have the size and the type that led to it.
func (g *graph) fetchDescribed(ctx context.Context, desc bundle.Descriptor, from name.Repository) ([]byte, error) {
	served, content, err := g.source.Manifest(ctx, from.Digest(desc.Digest.String()))
	if err != nil {
		return nil, err
	}
	return content, checkServed(desc, served)
}

// checkServed returns an error where what was fetched is not what the descriptor says that led to it.
func checkServed(desc, served bundle.Descriptor) error {
	switch {
	case served.Digest != desc.Digest:
		return fmt.Errorf("%w: manifest %s is listed, and %s was served", bundle.ErrDigest, desc.Digest, served.Digest)
	case served.Size != desc.Size:
		return fmt.Errorf("%w: manifest %s is listed with %d bytes, but has %d", bundle.ErrDigest, desc.Digest, desc.Size, served.Size)
	case bundle.IsManifest(served.MediaType) && served.MediaType != desc.MediaType: // some say application/json of everything
		return fmt.Errorf("%w: manifest %s is listed as %.100s, but served as %.100s", bundle.ErrFormat, desc.Digest, desc.MediaType, served.MediaType)
	}
	return nil
}

// kinds names what a referrer says of its subject: its predicate types where annotations tell, or else its artifact
// type.
func kinds(m *bundle.Manifest) string {
	if types := bundle.PredicateTypes(m); len(types) > 0 {
		return strings.Join(types, " ")
	}
	return m.EffectiveArtifactType()
}

// findReferrers looks everywhere for what refers to n.
func (g *graph) findReferrers(ctx context.Context, v *view, n *node) error {
	for _, repository := range v.all() {
		hasTag, isSample := g.hasTag(v, repository)
		n.believed = n.believed || hasTag != nil
		err := g.listReferrers(ctx, v, n, repository, hasTag)
		if err == nil {
			err = g.findCosignTags(ctx, v, n, repository, hasTag)
		}
		switch {
		case err == nil && isSample:
			g.lists.prove(repository)
		case err == nil:
		case repository != v.own && errors.Is(err, registry.ErrRepositoryUnknown):
			n.missing = append(n.missing, repository) // checkAttestations decides what that means
		default:
			return err
		}
	}
	return nil
}

// listReferrers lists the referrers of n in one repository, which has no other fallback tags than hasTag says; nil is not known.
func (g *graph) listReferrers(ctx context.Context, v *view, n *node, repository name.Repository, hasTag func(string) bool) error {
	referrers, err := g.source.ReferrersAmong(ctx, repository.Digest(n.digest.String()), hasTag)
	if err != nil {
		return err
	}
	unlisted := !referrers.API && len(referrers.Descriptors) > 0 && g.isUnlisted(repository, n.digest.FallbackTag())
	if unlisted || referrers.Elsewhere {
		g.doubt(ctx, repository.RegistryStr())
	}
	via := bundle.ViaReferrersTag
	if referrers.API {
		via = bundle.ViaReferrersAPI
	}
	for _, desc := range referrers.Descriptors {
		content, rule, err := g.isCarried(ctx, v, desc, repository)
		if err != nil {
			return err
		}
		if rule != "" {
			n.leave(desc, repository, g.one(desc.ArtifactType), rule)
			continue
		}
		if err := g.connect(ctx, v.below, n, desc, edge{via: via, from: repository}, content); err != nil {
			return err
		}
	}
	return nil
}

// isCarried tells by which rule a referrer is left out; "" where it is carried. To decide that, filters need the
// manifest itself, since listings are known to describe referrers wrongly; it is returned where it was fetched.
func (g *graph) isCarried(ctx context.Context, v *view, desc bundle.Descriptor, from name.Repository) (content []byte, rule string, err error) {
	switch {
	case v.noReferrers:
		return nil, "referrers: false", nil
	case len(v.filters) == 0:
		return nil, "", nil
	}
	if content, err = g.fetchDescribed(ctx, desc, from); err != nil {
		return nil, "", err
	}
	m, err := bundle.ParseManifest(desc.MediaType, content)
	if err != nil {
		return nil, "", fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	for i := range v.filters {
		if v.filters[i].fits(m) {
			return content, "", nil
		}
	}
	return nil, "referrerFilters", nil
}

func (n *node) leave(desc bundle.Descriptor, from name.Repository, artifactType, rule string) {
	n.left = append(n.left, LeftOutReferrer{Digest: desc.Digest, ArtifactType: artifactType, Subject: n.digest, From: registry.DisplayName(from.Name()), Rule: rule})
}

// findCosignTags looks for the tags under which cosign 2 keeps what belongs to n. There may be those that hasTag names; nil is
// all.
func (g *graph) findCosignTags(ctx context.Context, v *view, n *node, repository name.Repository, hasTag func(string) bool) error {
	for _, suffix := range bundle.CosignSuffixes {
		tag := n.digest.FallbackTag() + suffix
		if hasTag != nil && !hasTag(tag) {
			continue
		}
		desc, err := g.source.Resolve(ctx, repository.Tag(tag))
		if err == nil && g.isUnlisted(repository, tag) {
			g.doubt(ctx, repository.RegistryStr())
		}
		switch {
		case errors.Is(err, registry.ErrNotFound):
			continue
		case err != nil:
			return err
		case v.noCosignTags:
			n.leave(desc, repository, "cosign tag "+tag, "digestTags: false")
			continue
		}
		content, err := g.fetchTagged(ctx, repository.Tag(tag), desc)
		if err != nil {
			return err
		}
		if err := g.connect(ctx, v.below, n, desc, edge{via: bundle.ViaCosignTag, tag: tag, from: repository}, content); err != nil {
			return err
		}
	}
	return nil
}
