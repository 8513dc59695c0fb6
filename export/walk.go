package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/platform"
	"airgap/export/registry"
)

// WalkOptions say where to look besides the images' own repositories, and what to do without.
type WalkOptions struct {
	Attestations     Attestations
	AllowNoReferrers bool // an attestation repository may hold nothing for an image, or not exist
	// Tags are the digest tags (sha256-...) of repositories whose tags have been listed, by name.Repository.Name: what is
	// not among them need not be asked for one by one.
	Tags  map[string]DigestTags
	Facts Facts // nil: nothing is known from earlier plans, nor kept for later ones
}

// hasTag returns whether a digest tag is in the list of a repository; nil where that has not been listed.
func (o *WalkOptions) hasTag(repository name.Repository) func(tag string) bool {
	tags, isListed := o.Tags[repository.Name()]
	if !isListed {
		return nil
	}
	return func(tag string) bool {
		_, ok := tags[tag]
		return ok
	}
}

// DigestTags are the tags of a repository that begin with sha256-.
type DigestTags map[string]struct{}

// walked is what a walk found: everything that hangs from the requested images. Close it when done.
type walked struct {
	Images   []bundle.Image // one for each request that was found, in their order
	Failures []Failure      // the others
	Excluded []Excluded     // what the user's own settings leave out
	Warnings []string

	store *contentStore
	graph *graph
	notes map[rootKey]rootNotes
}

// Failure is something that was asked for and could not be had.
type Failure struct {
	Source string // full reference, or a repository or registry that could not be listed
	Path   string // destination
	Tag    string
	Err    error
}

// Excluded is something that was found and that the user's own settings leave out.
type Excluded struct {
	Source string `json:"source"` // reference
	Rule   string `json:"rule"`   // which setting
	Entry  string `json:"entry,omitempty"`
	// Repository is set where it is a repository, with all that is in it, and not an image.
	Repository bool `json:"repository,omitempty"`
	// Waiting is set where it is not left out for good, but too young.
	Waiting bool `json:"waiting,omitempty"`
}

// rootKey tells roots apart as a bundle does.
type rootKey struct {
	path, tag string
	digest    bundle.Digest
}

// rootNotes are for the report.
type rootNotes struct {
	entry string
	left  []LeftOutReferrer
}

// Manifest returns a manifest that was found. It is what bundle.Plan asks for.
func (w *walked) Manifest(d bundle.Digest) (*bundle.Manifest, error) { return w.store.manifest(d) }

// Close removes the temporary file in which the manifests were kept.
func (w *walked) Close() error { return w.store.Close() }

// Err returns all failures as one error, or nil.
func (w *walked) Err() error {
	var problems bundle.Problems
	for _, f := range w.Failures {
		problems.Add(fmt.Errorf("%s: %w", f.Source, f.Err))
	}
	return problems.Err()
}

// maxWarningsShown bounds the warnings that an observer gets: a catalogue may have thousands of images without proofs.
const maxWarningsShown = 20

// walk resolves the requests and finds everything that hangs from them, at any depth (DESIGN.md, "What is carried
// for each image"). Images are walked side by side, o.Lookups requests at a time, and what they share is looked up once.
// One image that fails does not end the walk: see walked.Failures. The error is about the walk itself.
func walk(ctx context.Context, source Source, requests []Request, o Options) (*walked, error) {
	store, err := newContentStore()
	if err != nil {
		return nil, err
	}
	observer := o.Observer
	observer.Count("find", "manifest", 0)
	g := &graph{
		source: source, store: store, observer: observer, options: o.Walk, lists: newTagLists(o.Walk.Facts, o.Now),
		nodes: map[nodeKey]*node{}, views: map[string]*view{}, private: map[string]*privacy{}, names: map[string]string{},
	}
	roots := make([]rootState, len(requests))
	g.work = newWorkQueue(o.Lookups)
	for i := range requests {
		g.work.add(func() { roots[i] = g.resolve(ctx, &requests[i]) })
	}
	g.work.wait()
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	g.lists.note()
	w := &walked{store: store, graph: g, notes: map[rootKey]rootNotes{}}
	for i := range roots {
		w.assemble(&requests[i], &roots[i])
	}
	slices.SortStableFunc(w.Failures, func(a, b Failure) int { return compareStrings(a.Source, b.Source) })
	for i, warning := range w.Warnings {
		if i == maxWarningsShown {
			observer.Warn(fmt.Sprintf("and %d more warnings like these (--json has all)", len(w.Warnings)-i))
			break
		}
		observer.Warn(warning)
	}
	return w, nil
}

// assemble makes the rows of one root from the graph, once all of it has been explored.
func (w *walked) assemble(request *Request, state *rootState) {
	if state.excluded != "" {
		w.Excluded = append(w.Excluded, Excluded{Source: request.Source, Rule: state.excluded, Entry: request.Entry})
		return
	}
	a := newAssembly(w.graph, state)
	image, err := a.image(request)
	if err != nil {
		w.Failures = append(w.Failures, Failure{Source: request.Source, Path: request.Path, Tag: request.Tag, Err: err})
		return
	}
	w.Images = append(w.Images, image)
	w.Warnings = append(w.Warnings, append(state.warnings, a.warnings...)...)
	key := keyOf(&image.Root)
	w.notes[key] = rootNotes{entry: request.Entry, left: append(w.notes[key].left, a.left...)}
}

type rootState struct {
	view     *view
	node     *node
	private  bool
	excluded string // by which rule
	warnings []string
	err      error
}

// resolve fetches a root's manifest and starts the walk from it.
func (g *graph) resolve(ctx context.Context, request *Request) (state rootState) {
	g.observer.Item(request.Source)
	if bundle.IsFallbackTag(request.Tag) {
		return rootState{err: fmt.Errorf("%w: registries keep the tag %s for a list of referrers: give the image another destination, as in %s=PATH:TAG",
			ErrReference, request.Tag, request.Source)}
	}
	repository, settings := request.Ref.Context(), &request.Settings
	attestations, err := g.options.Attestations.For(repository)
	if err != nil {
		return rootState{err: err}
	}
	for _, more := range settings.ReferrersFrom {
		if more != repository && !slices.Contains(attestations, more) {
			attestations = append(attestations, more)
		}
	}
	state.view = g.view(repository, attestations, settings)
	desc, content, err := g.source.Manifest(ctx, request.Ref)
	if err != nil {
		state.err = err
		return state
	}
	if len(settings.MediaTypes) > 0 && !slices.Contains(settings.MediaTypes, desc.MediaType) {
		state.excluded = fmt.Sprintf("its media type %.100s is not among mediaTypes", desc.MediaType)
		return state
	}
	var unknown string
	if state.private, unknown, state.err = g.isPrivate(ctx, repository.Digest(desc.Digest.String())); state.err != nil {
		return state
	}
	if unknown != "" {
		state.warnings = append(state.warnings, unknown)
	}
	if settings.selectionKey() != "" && bundle.IsIndex(desc.MediaType) {
		state.err = g.selectFrom(ctx, &state, request, desc, content)
		return state
	}
	state.node, state.err = g.visit(ctx, state.view, desc, repository, content)
	return state
}

// selectFrom starts the walk from an index of which only some platforms are carried.
func (g *graph) selectFrom(ctx context.Context, state *rootState, request *Request, desc bundle.Descriptor, content []byte) error {
	index, err := bundle.ParseManifest(desc.MediaType, content)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	chosen, err := selectPlatforms(index, request.Settings.Platforms)
	if err != nil {
		return err
	}
	if len(chosen.absent) > 0 {
		state.warnings = append(state.warnings, fmt.Sprintf("%s: there is nothing for %s", request.Source, platformNames(chosen.absent)))
	}
	repository := request.Ref.Context()
	if chosen.everything() {
		state.node, err = g.visit(ctx, state.view, desc, repository, content)
		return err
	}
	if _, pinned := request.Ref.(name.Digest); pinned && request.Settings.Mode != PlatformsSparse {
		return fmt.Errorf("%w: %s is asked for by its digest, which an index of fewer platforms does not have: use the platform mode sparse, or ask by tag alone",
			platform.ErrPlatform, desc.Digest)
	}
	state.node, err = g.visitSelection(ctx, state.view, desc, repository, content, chosen, &request.Settings)
	return err
}

type privacy struct {
	once    sync.Once
	refused bool
	err     error
}

// isPrivate asks once per repository whether a stranger would be refused. Where strangers are not answered at all, for now, it
// is taken for private, as the safer guess, and the first to ask gets a warning.
func (g *graph) isPrivate(ctx context.Context, ref name.Digest) (private bool, unknown string, err error) {
	g.mu.Lock()
	p, ok := g.private[ref.Context().Name()]
	if !ok {
		p = &privacy{}
		g.private[ref.Context().Name()] = p
	}
	g.mu.Unlock()
	p.once.Do(func() {
		p.refused, p.err = g.source.AnonymousRefused(ctx, ref)
		if errors.Is(p.err, registry.ErrThrottled) || errors.Is(p.err, registry.ErrUnavailable) {
			unknown = fmt.Sprintf("%s is recorded as private, as it could not be asked without credentials: %s", registry.DisplayName(ref.Context().Name()), bundle.OneLine(p.err))
			p.refused, p.err = true, nil
		}
	})
	return p.refused, unknown, p.err
}
