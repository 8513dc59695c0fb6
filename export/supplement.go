package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/export/mirror"
	"airgap/export/registry"
)

// BlobSource is a Source that can be asked for blobs before they are fetched.
type BlobSource interface {
	Source
	// HasBlob tells whether a repository has a blob.
	HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error)
}

// ErrGone: the source no longer has what is wanted.
var ErrGone = errors.New("the source no longer has what is wanted")

// Supplement is a bundle with what the receiver of another one turned out to lack (FORMAT.md, "Deltas").
type Supplement struct {
	completes *mirror.Known
	want      *ledger.Want
	wanted    map[bundle.Digest]bool // blobs
	roots     map[supplied]bundle.Root
	from      map[bundle.Digest]name.Repository // of the manifests that list them
}

// supplied tells the roots of a supplement apart.
type supplied struct {
	path   string
	digest bundle.Digest
}

// NewSupplement makes a supplement of what is wanted of a bundle, and of nothing that this does not list: ledger.ErrWant.
func NewSupplement(completes *mirror.Known, want *ledger.Want) (*Supplement, error) {
	s := &Supplement{completes: completes, want: want, wanted: map[bundle.Digest]bool{}, roots: map[supplied]bundle.Root{}, from: map[bundle.Digest]name.Repository{}}
	listing := map[bundle.Digest]bool{}
	for _, w := range want.Blobs {
		if _, found := completes.StoredBy(w.Digest, w.Size); !found {
			return nil, fmt.Errorf("%w of %s: the bundle does not list %s of %d bytes", ledger.ErrWant, completes.Name(), w.Digest, w.Size)
		}
		s.wanted[w.Digest] = true
		for _, m := range w.Manifests {
			listing[m] = true
		}
	}
	for _, row := range completes.Contents.ManifestRows() {
		if !listing[row.Digest] {
			continue
		}
		if err := s.addRoot(row); err != nil {
			return nil, err
		}
	}
	for m := range listing {
		if _, found := s.from[m]; !found {
			return nil, fmt.Errorf("%w of %s: the bundle does not list the manifest %s", ledger.ErrWant, completes.Name(), m)
		}
	}
	return s, nil
}

// addRoot brings a manifest to where the completed bundle has it.
func (s *Supplement) addRoot(row bundle.ManifestRow) error {
	repository, err := name.NewRepository(row.From)
	if err != nil {
		return err
	}
	if _, known := s.from[row.Digest]; !known {
		s.from[row.Digest] = repository
	}
	of := s.completes.Contents.Root(row.Root)
	for _, path := range s.paths(&of, &row) {
		key := supplied{path, row.Digest}
		if _, known := s.roots[key]; !known {
			root := bundle.Root{
				Source: row.From + "@" + row.Digest.String(), Path: path, Private: of.Private,
				Digest: row.Digest, MediaType: row.MediaType, Size: row.Size, ArtifactType: row.ArtifactType,
			}
			if of.IsSparse() && row.Via == bundle.ViaRoot {
				root.Platforms = of.Platforms
			}
			s.roots[key] = root
		}
	}
	return nil
}

// paths returns where a manifest goes. Without the indexes that list it, it cannot be told whether a child hangs from the root or
// from a referrer: where these go to different repositories, it is brought to both.
func (s *Supplement) paths(of *bundle.Root, row *bundle.ManifestRow) []string {
	switch {
	case of.ReferrerPath == "" || row.Via == bundle.ViaRoot:
		return []string{of.Path}
	case row.Via.IsReferrer():
		return []string{of.ReferrerPath}
	}
	return []string{of.Path, of.ReferrerPath}
}

// Registries returns the registries that have what is wanted, as package name spells them.
func (s *Supplement) Registries() []string {
	hosts := map[string]bool{}
	for _, repository := range s.from {
		hosts[repository.RegistryStr()] = true
	}
	return slices.Sorted(maps.Keys(hosts))
}

// Run makes the bundle, as Run does for a choice. Manifests are fetched by their digests, and nothing is looked for. What the source
// no longer has is in one error, which wraps ErrGone.
func (s *Supplement) Run(ctx context.Context, source BlobSource, signer Signer, output Output, o Options) (*Result, error) {
	o = o.withDefaults()
	text, err := json.Marshal(s.want)
	if err != nil {
		return nil, err
	}
	r := run{Output: output, source: source, signer: signer, command: fingerprint(string(text), signer, o), options: o}
	return r.run(ctx, func() (*Plan, error) { return s.plan(ctx, source, o) })
}

// plan fetches the manifests, and makes sure that there are the blobs.
func (s *Supplement) plan(ctx context.Context, source BlobSource, o Options) (p *Plan, err error) {
	store, err := newContentStore()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	w := &walked{store: store, graph: &graph{}}
	o.Observer.Count("find", "manifest", 0)
	found := supply{Supplement: s, source: source, walk: w, gone: map[bundle.Digest]bool{}}
	if err := found.manifests(ctx, o); err != nil {
		return nil, err
	}
	if err := found.blobs(ctx, o); err != nil {
		return nil, err
	}
	if err := found.choose(); err != nil {
		return nil, err
	}
	if o.Created.IsZero() {
		o.Created = o.Now()
	}
	for key, root := range s.roots {
		image, err := found.image(root, s.from[key.digest])
		if err != nil {
			return nil, err
		}
		w.Images = append(w.Images, image)
	}
	p = &Plan{chosen: &Selection{}, walk: w, options: o}
	p.Contents, err = bundle.Plan(w.Images, w.Manifest, bundle.PlanOptions{
		Created: o.Created, Mirror: s.completes.Mirror, Completes: &s.completes.Base, StoredBy: s.storedBy, TrustedRoot: o.TrustedRoot,
	})
	if err != nil {
		return nil, err
	}
	p.Graph, err = bundle.NewGraph(ctx, p.Contents, w.Manifest)
	return p, err
}

// storedBy leaves out what is not wanted, but for what the completed bundle stores itself: that cannot be imported before the
// supplement, or else nothing would be wanted.
func (s *Supplement) storedBy(d bundle.Digest, size int64) (bundle.Base, bool) {
	base, found := s.completes.StoredBy(d, size)
	return base, found && !s.wanted[d] && base != s.completes.Base
}

// supply finds what a supplement is made of.
type supply struct {
	*Supplement

	source BlobSource
	walk   *walked

	mu   sync.Mutex
	gone map[bundle.Digest]bool
}

// manifests fetches all of them.
func (s *supply) manifests(ctx context.Context, o Options) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(o.Lookups)
	for digest, repository := range s.from {
		group.Go(func() error { return s.fetch(groupCtx, repository, digest, o.Observer) })
	}
	if err := group.Wait(); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return s.errGone()
}

// blobs asks for all of them.
func (s *supply) blobs(ctx context.Context, o Options) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(o.Lookups)
	for i := range s.want.Blobs {
		group.Go(func() error { return s.ask(groupCtx, &s.want.Blobs[i]) })
	}
	if err := group.Wait(); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return s.errGone()
}

// fetch fetches a manifest and, of an index, what it lists and the completed bundle carries.
func (s *supply) fetch(ctx context.Context, from name.Repository, digest bundle.Digest, observer bundle.Observer) error {
	desc, content, err := s.source.Manifest(ctx, from.Digest(digest.String()))
	if isGone(err) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.gone[digest] = true
		return nil
	}
	if err != nil {
		return err
	}
	m, err := bundle.ParseManifest(desc.MediaType, content)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", digest, err)
	}
	if err := s.walk.store.put(digest, desc.MediaType, content, m); err != nil {
		return err
	}
	observer.Add(1)
	for _, child := range s.carried(m) {
		if err := s.fetch(ctx, from, child, observer); err != nil {
			return err
		}
	}
	return nil
}

// carried returns what an index lists, but for what the completed bundle does not carry either.
func (s *Supplement) carried(index *bundle.Manifest) (children []bundle.Digest) {
	for _, child := range index.Children() {
		if _, found := s.completes.Contents.Find(child.Digest); found {
			children = append(children, child.Digest)
		}
	}
	return children
}

func isGone(err error) bool {
	return errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrRepositoryUnknown)
}

// ask asks for a blob in the repositories of the manifests that list it.
func (s *supply) ask(ctx context.Context, b *ledger.WantedBlob) error {
	for _, m := range b.Manifests {
		listing, err := s.walk.Manifest(m)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(listing.Blobs(), func(d bundle.Descriptor) bool { return d.Digest == b.Digest })
		if at < 0 {
			return fmt.Errorf("%w of %s: the manifest %s does not list %s", ledger.ErrWant, s.completes.Name(), m, b.Digest)
		}
		if len(listing.Blobs()[at].URLs) > 0 {
			return nil // the registry need not have it
		}
		_, found, err := s.source.HasBlob(ctx, s.from[m], b.Digest)
		if err != nil || found {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[b.Digest] = true
	return nil
}

// choose keeps one manifest for each blob, that which needs the least besides: see storedBy.
func (s *supply) choose() error {
	chosen := map[bundle.Digest]bool{}
	for _, b := range s.want.Blobs {
		least := int64(-1)
		var best bundle.Digest
		for _, m := range b.Manifests {
			more, err := s.more(m)
			if err != nil {
				return err
			}
			if least < 0 || more < least {
				least, best = more, m
			}
		}
		chosen[best] = true
	}
	maps.DeleteFunc(s.roots, func(root supplied, _ bundle.Root) bool { return !chosen[root.digest] })
	return nil
}

// more returns how many bytes that nobody wants have to be carried for a manifest.
func (s *supply) more(manifest bundle.Digest) (total int64, err error) {
	m, err := s.walk.Manifest(manifest)
	if err != nil {
		return 0, err
	}
	for _, d := range m.Blobs() {
		if base, found := s.completes.StoredBy(d.Digest, d.Size); found && base == s.completes.Base && !s.wanted[d.Digest] {
			total += d.Size
		}
	}
	return total, nil
}

// maxImagesNamed bounds how many images are named for each blob that is gone.
const maxImagesNamed = 3

// errGone names everything that the source no longer has, and what for; nil where it has everything.
func (s *supply) errGone() error {
	if len(s.gone) == 0 {
		return nil
	}
	lines := []error{fmt.Errorf("%w of %s: mirror what there is now with --full, or with --since and an older bundle", ErrGone, s.completes.Name())}
	contents := s.completes.Contents
	users := map[bundle.Digest][]string{}
	for _, row := range contents.ManifestRows() {
		users[row.Digest] = append(users[row.Digest], contents.Root(row.Root).Source)
	}
	for _, b := range s.want.Blobs {
		var of []string
		for _, m := range b.Manifests {
			if s.gone[m] || s.gone[b.Digest] {
				of = append(of, users[m]...)
			}
		}
		if len(of) == 0 {
			continue
		}
		slices.Sort(of)
		of = slices.Compact(of)
		more := ""
		if n := len(of) - maxImagesNamed; n > 0 {
			of, more = of[:maxImagesNamed], fmt.Sprintf(" and %d more", n)
		}
		lines = append(lines, fmt.Errorf("  %s (%d bytes) of %s%s", b.Digest, b.Size, strings.Join(of, ", "), more))
	}
	return errors.Join(lines...)
}

// image is a root with what it lists.
func (s *supply) image(root bundle.Root, from name.Repository) (bundle.Image, error) {
	image := bundle.Image{Root: root}
	via := bundle.ViaRoot
	err := bundle.Traverse(root.Digest, func(digest bundle.Digest) ([]bundle.Digest, error) {
		mediaType, content, err := s.walk.store.bytes(digest)
		if err != nil {
			return nil, err
		}
		m, err := bundle.ParseManifest(mediaType, content)
		if err != nil {
			return nil, err
		}
		image.Manifests = append(image.Manifests, bundle.ManifestRow{
			Digest: digest, MediaType: mediaType, Size: int64(len(content)), ArtifactType: m.RecordedArtifactType(),
			Via: via, From: registry.DisplayName(from.Name()),
		})
		via = bundle.ViaChild
		for _, d := range m.Blobs() {
			if _, stored := s.completes.StoredBy(d.Digest, d.Size); stored && bundle.IsNondistributable(d.MediaType) {
				image.IncludeNondistributable = true
			}
		}
		return s.carried(m), nil
	})
	return image, err
}
