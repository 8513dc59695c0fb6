package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
)

// WalkOptions say where to look besides the images' own repositories.
type WalkOptions struct {
	Attestations     Attestations
	AllowNoReferrers bool // an attestation repository may hold nothing for an image, or not exist
}

// Walked is what a walk found: everything that hangs from the requested images. Close it when done.
type Walked struct {
	Images   []bundle.Image // one for each request, in their order
	store    *manifestStore
	graph    *graph
	warnings []string
}

// Manifest returns a manifest that was found. It is what bundle.Plan asks for.
func (w *Walked) Manifest(d bundle.Digest) (*bundle.Manifest, error) {
	mediaType, content, err := w.store.bytes(d)
	if err != nil {
		return nil, err
	}
	return bundle.ParseManifest(mediaType, content)
}

// Close removes the temporary file in which the manifests were kept.
func (w *Walked) Close() error { return w.store.Close() }

// Walk resolves the requests and finds everything that hangs from them, at any depth (DESIGN.md, "What is carried
// for each image"). Images are walked side by side, jobs requests at a time, and what they share is looked up once.
// One image that fails does not end the walk: the problems of all are in one error.
func Walk(ctx context.Context, source Source, requests []Request, jobs int, o WalkOptions, observer bundle.Observer) (*Walked, error) {
	store, err := newManifestStore()
	if err != nil {
		return nil, err
	}
	observer.Phase("find", 0)
	g := &graph{source: source, store: store, observer: observer, options: o, nodes: map[nodeKey]*node{}, private: map[string]*privacy{}}
	roots := make([]rootState, len(requests))
	g.work = newWorkQueue(jobs)
	for i, request := range requests {
		g.work.add(func() { roots[i] = g.resolve(ctx, request) })
	}
	g.work.wait()
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, store.Close())
	}

	w := &Walked{store: store, graph: g}
	var problems bundle.Problems
	for i := range roots {
		image, err := g.assemble(requests[i], &roots[i])
		if err != nil {
			problems.Add(fmt.Errorf("%s: %w", requests[i].Source, err))
		}
		w.Images = append(w.Images, image)
		w.warnings = append(w.warnings, roots[i].warnings...)
	}
	if err := problems.Err(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	for _, warning := range w.warnings {
		observer.Warn(warning)
	}
	return w, nil
}

// graph is what the walk finds, by lookup and digest, so that images that share manifests share the requests too.
type graph struct {
	source   Source
	store    *manifestStore
	observer bundle.Observer
	options  WalkOptions
	work     *workQueue

	mu      sync.Mutex
	nodes   map[nodeKey]*node
	private map[string]*privacy
}

// lookup is the set of repositories in which an image's referrers are looked for.
type lookup struct {
	key          string
	own          name.Repository
	attestations []name.Repository
}

func (l *lookup) all() []name.Repository {
	return append([]name.Repository{l.own}, l.attestations...)
}

func newLookup(own name.Repository, attestations []name.Repository) *lookup {
	l := &lookup{own: own, attestations: attestations}
	var names []string
	for _, r := range l.all() {
		names = append(names, r.Name())
	}
	l.key = strings.Join(names, " ")
	return l
}

type nodeKey struct {
	lookup string
	digest bundle.Digest
}

// node is a manifest as seen from one lookup.
type node struct {
	digest       bundle.Digest
	mediaType    string
	size         int64
	artifactType string
	subject      bundle.Digest
	from         name.Repository
	edges        []edge
	missing      []name.Repository // attestation repositories that do not exist
	err          error
}

// edge leads to a manifest that hangs from a node.
type edge struct {
	to   *node
	via  bundle.Via
	tag  string // of cosign tags
	from name.Repository
}

type rootState struct {
	lookup   *lookup
	node     *node
	private  bool
	warnings []string
	err      error
}

// resolve fetches a root's manifest and starts the walk from it.
func (g *graph) resolve(ctx context.Context, request Request) rootState {
	g.observer.Item(request.Source)
	attestations, err := g.options.Attestations.For(request.Ref.Context())
	if err != nil {
		return rootState{err: err}
	}
	state := rootState{lookup: newLookup(request.Ref.Context(), attestations)}
	desc, content, err := g.source.Manifest(ctx, request.Ref)
	if err != nil {
		state.err = err
		return state
	}
	if state.private, state.err = g.isPrivate(ctx, request.Ref.Context().Digest(desc.Digest.String())); state.err != nil {
		return state
	}
	state.node, state.err = g.visit(ctx, state.lookup, desc, request.Ref.Context(), content)
	return state
}

type privacy struct {
	once    sync.Once
	refused bool
	err     error
}

// isPrivate asks once per repository whether a stranger would be refused.
func (g *graph) isPrivate(ctx context.Context, ref name.Digest) (bool, error) {
	g.mu.Lock()
	p, ok := g.private[ref.Context().Name()]
	if !ok {
		p = &privacy{}
		g.private[ref.Context().Name()] = p
	}
	g.mu.Unlock()
	p.once.Do(func() { p.refused, p.err = g.source.AnonymousRefused(ctx, ref) })
	return p.refused, p.err
}

// visit returns the node for a manifest, and has it explored where nobody has yet. content is nil where it has still
// to be fetched. All descriptors of a manifest must agree.
func (g *graph) visit(ctx context.Context, l *lookup, desc bundle.Descriptor, from name.Repository, content []byte) (*node, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := nodeKey{l.key, desc.Digest}
	if n, ok := g.nodes[key]; ok {
		if n.size != desc.Size || n.mediaType != desc.MediaType {
			return nil, fmt.Errorf("%w: manifest %s is listed as %.100s of %d bytes and as %.100s of %d bytes",
				bundle.ErrDigest, desc.Digest, n.mediaType, n.size, desc.MediaType, desc.Size)
		}
		return n, nil
	}
	n := &node{digest: desc.Digest, mediaType: desc.MediaType, size: desc.Size, from: from}
	g.nodes[key] = n
	g.work.add(func() { n.err = g.explore(ctx, l, n, content) })
	return n, nil
}

// explore fetches a manifest and finds what hangs from it.
func (g *graph) explore(ctx context.Context, l *lookup, n *node, content []byte) error {
	manifest, err := g.fetch(ctx, n, content)
	if err != nil {
		return err
	}
	for _, child := range manifest.Children() {
		if err := g.connect(ctx, l, n, child, edge{via: bundle.ViaChild, from: n.from}); err != nil {
			return err
		}
	}
	for _, repository := range l.all() {
		err := g.findReferrers(ctx, l, n, repository)
		if err == nil {
			err = g.findCosignTags(ctx, l, n, repository)
		}
		switch {
		case err == nil:
		case repository != l.own && errors.Is(err, registry.ErrRepositoryUnknown):
			n.missing = append(n.missing, repository) // checkAttestations decides what that means
		default:
			return err
		}
	}
	return nil
}

// connect adds an edge from n to the manifest that desc describes.
func (g *graph) connect(ctx context.Context, l *lookup, n *node, desc bundle.Descriptor, e edge) (err error) {
	e.to, err = g.visit(ctx, l, desc, e.from, nil)
	n.edges = append(n.edges, e)
	return err
}

// fetch completes n from the manifest itself, which must be what the descriptor that led here says.
func (g *graph) fetch(ctx context.Context, n *node, content []byte) (*bundle.Manifest, error) {
	if content == nil {
		served, fetched, err := g.source.Manifest(ctx, n.from.Digest(n.digest.String()))
		if err != nil {
			return nil, err
		}
		content = fetched
		if int64(len(content)) != n.size {
			return nil, fmt.Errorf("%w: manifest %s is listed with %d bytes, but has %d", bundle.ErrDigest, n.digest, n.size, len(content))
		}
		// Some registries say application/json of everything.
		if bundle.IsManifest(served.MediaType) && served.MediaType != n.mediaType {
			return nil, fmt.Errorf("%w: manifest %s is listed as %.100s, but served as %.100s", bundle.ErrFormat, n.digest, n.mediaType, served.MediaType)
		}
	}
	manifest, err := bundle.ParseManifest(n.mediaType, content)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", n.digest, err)
	}
	n.artifactType = manifest.RecordedArtifactType()
	if manifest.Subject != nil {
		n.subject = manifest.Subject.Digest
	}
	return manifest, g.store.put(n.digest, n.mediaType, content)
}

// findReferrers lists the referrers of n in one repository.
func (g *graph) findReferrers(ctx context.Context, l *lookup, n *node, repository name.Repository) error {
	referrers, err := g.source.Referrers(ctx, repository.Digest(n.digest.String()))
	if err != nil {
		return err
	}
	via := bundle.ViaReferrersTag
	if referrers.API {
		via = bundle.ViaReferrersAPI
	}
	for _, desc := range referrers.Descriptors {
		if err := g.connect(ctx, l, n, desc, edge{via: via, from: repository}); err != nil {
			return err
		}
	}
	return nil
}

// findCosignTags looks for the tags under which cosign 2 keeps what belongs to n.
func (g *graph) findCosignTags(ctx context.Context, l *lookup, n *node, repository name.Repository) error {
	for _, suffix := range bundle.CosignSuffixes {
		tag := n.digest.FallbackTag() + suffix
		desc, err := g.source.Resolve(ctx, repository.Tag(tag))
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := g.connect(ctx, l, n, desc, edge{via: bundle.ViaCosignTag, tag: tag, from: repository}); err != nil {
			return err
		}
	}
	return nil
}

// assemble makes the rows of one root from the graph, once all of it has been explored.
func (g *graph) assemble(request Request, state *rootState) (bundle.Image, error) {
	if state.err != nil {
		return bundle.Image{}, state.err
	}
	a := assembly{state: state, seen: map[*node]bool{}, perRepository: map[string]int{}}
	n := state.node
	a.add(edge{to: n, via: bundle.ViaRoot, from: n.from}, bundle.Digest{})
	for len(a.queue) > 0 {
		next := a.queue[0]
		a.queue = a.queue[1:]
		a.follow(next)
	}
	a.checkAttestations(g.options.AllowNoReferrers, request.Source)
	return bundle.Image{
		Root: bundle.Root{
			Source: request.Source, Path: request.Path, Tag: request.Tag,
			MediaType: n.mediaType, Digest: n.digest, Size: n.size, ArtifactType: n.artifactType, Private: state.private,
		},
		Manifests: a.rows,
	}, a.problems.Err()
}

// assembly collects the rows of one root.
type assembly struct {
	state         *rootState
	rows          []bundle.ManifestRow
	seen          map[*node]bool
	queue         []*node
	perRepository map[string]int // referrers and cosign tags
	problems      bundle.Problems
}

func (a *assembly) add(e edge, parent bundle.Digest) {
	row := bundle.ManifestRow{
		Digest: e.to.digest, MediaType: e.to.mediaType, Size: e.to.size, ArtifactType: e.to.artifactType,
		Via: e.via, Tag: e.tag, From: Familiar(e.from),
	}
	if e.via.IsReferrer() || e.via == bundle.ViaCosignTag {
		row.Subject = parent
		a.perRepository[e.from.Name()]++
	}
	a.rows = append(a.rows, row)
	if !a.seen[e.to] {
		a.seen[e.to] = true
		a.queue = append(a.queue, e.to)
	}
}

func (a *assembly) follow(n *node) {
	if n.err != nil {
		a.problems.Add(n.err)
		return
	}
	for _, e := range n.edges {
		if e.via.IsReferrer() && e.to.err == nil && e.to.subject != n.digest {
			// Harbor lists cosign's .sig manifests, which have no subject, among the referrers; they are found by tag.
			if e.to.subject.IsZero() && slices.ContainsFunc(n.edges, func(o edge) bool { return o.to == e.to && o.via == bundle.ViaCosignTag }) {
				continue
			}
			a.problems.Add(fmt.Errorf("%w: %s lists %s as a referrer of %s, but its subject is %s", ErrSubject, Familiar(e.from), e.to.digest, n.digest, subjectName(e.to.subject)))
			continue
		}
		a.add(e, n.digest)
	}
}

func subjectName(d bundle.Digest) string {
	if d.IsZero() {
		return "missing"
	}
	return d.String()
}

// checkAttestations makes sure that every attestation repository that was configured for the root yielded something,
// and warns where nothing refers to the root at all.
func (a *assembly) checkAttestations(allowNone bool, source string) {
	total := 0
	for _, n := range a.perRepository {
		total += n
	}
	for _, repository := range a.state.lookup.attestations {
		if a.perRepository[repository.Name()] > 0 || a.problems.Err() != nil {
			continue
		}
		what := "holds nothing for it"
		if slices.Contains(a.state.node.missing, repository) {
			what = "does not exist"
		}
		if !allowNone {
			a.problems.Add(fmt.Errorf("%w: the attestation repository %s %s; check --referrers-from, or export without with --allow-no-referrers", ErrNoReferrers, Familiar(repository), what))
			continue
		}
		a.state.warnings = append(a.state.warnings, fmt.Sprintf("%s: the attestation repository %s %s", source, Familiar(repository), what))
	}
	if total == 0 {
		a.state.warnings = append(a.state.warnings, source+": no referrers found (no SBOM, attestation or signature)")
	}
}
