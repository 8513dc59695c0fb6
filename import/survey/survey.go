// Package survey asks the target what it has of an inventory. It writes nothing.
package survey

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/elsewhere"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/referrers"
	"airgap/import/tags"
	"airgap/import/target"
)

// Target is what is asked.
type Target interface {
	target.Pather
	target.Resolver

	// HasBlob tells whether repo has a blob, and how large it is in bytes.
	HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error)
	// HasTags tells whether the listing of a repository's tags has any.
	HasTags(ctx context.Context, repo name.Repository) (bool, error)
	// Referrers lists what refers to a manifest, whole, from the API or else from the fallback tag, or fails.
	Referrers(ctx context.Context, subject name.Digest) (registry.Referrers, error)
}

// Options are the settings of Run.
type Options struct {
	Jobs     int             // requests under way at once
	Observer bundle.Observer // counts answers
	Unasked  []bool          // by repository: nothing in it is asked for
	Harbor   *harbor.Client  // the target's own API, for its listings; nil: the target is no Harbor
	// Earlier returns repositories to which earlier bundles went, where blobs that the bundle leaves out may be. It is called when
	// some are lacking.
	Earlier func(context.Context) ([]name.Repository, error)
	// Thorough asks for every manifest and blob, also for those that are implied by what is there.
	Thorough bool
}

// Result is what Run found out, but for the states in the inventory.
type Result struct {
	API     target.ReferrersAPI
	Unasked []bool             // by repository: it was not asked, or not any more, what is in it
	Listed  target.Accessories // nothing where no listing was read
	// First are blobs that have to be pushed before anything else into their repositories, in which less is asked for because
	// neither they nor another sign was there: so that a later run sees that this one had begun.
	First []inventory.Need
}

// Run asks what the target has, and marks it in inv; tags are looked at by mover. A registry takes a manifest only when it has
// what that names, and keeps it: what a tag points to, the manifests that an index lists and the blobs of a manifest are there
// when that is, and are not asked for one by one. Of an index that lists more than the bundle brings this is not known, and blobs that
// the bundle leaves out are asked for where anything is pushed that needs them. In a
// repository that the target does not know, what is pushed as quickly as it is asked for counts as lacking.
//
// Problems of several repositories, and all conflicts, are in one error; one that concerns all of the target ends it.
func Run(ctx context.Context, inv *inventory.Inventory, t Target, mover *tags.Mover, o Options) (Result, error) {
	s := survey{
		inv: inv, target: t, mover: mover, harbor: o.Harbor, jobs: o.Jobs, observer: o.Observer, thorough: o.Thorough, earlier: o.Earlier,
		failed: slices.Clone(o.Unasked), unlisted: map[string]bool{}, listed: make(target.Accessories, len(inv.Repos)), empty: make([]bool, len(inv.Repos)),
	}
	err := s.all(ctx)
	return Result{API: s.api, Unasked: s.failed, Listed: s.listed, First: s.first}, errors.Join(err, s.problems.Err())
}

type survey struct {
	inv      *inventory.Inventory
	target   Target
	mover    *tags.Mover
	harbor   *harbor.Client
	jobs     int
	thorough bool
	earlier  func(context.Context) ([]name.Repository, error)
	observer bundle.Observer

	mu       sync.Mutex
	problems bundle.Problems
	failed   []bool // by repository
	api      target.ReferrersAPI
	unlisted map[string]bool // projects of Harbor that give no listings
	listed   target.Accessories
	empty    []bool           // by repository: nothing that is brought seems to be in it
	first    []inventory.Need // of those that are empty
}

// question is one thing to look for at the target.
type question struct {
	repo int32
	ask  func(context.Context) error
}

func (s *survey) ask(ctx context.Context, questions iter.Seq[question]) error {
	return parallel.Each(ctx, s.jobs, questions, func(ctx context.Context, q question) error {
		s.mu.Lock()
		skip := s.failed[q.repo]
		s.mu.Unlock()
		if skip {
			return nil
		}
		err := q.ask(ctx)
		s.observer.Add(1)
		if err == nil || target.IsFinal(ctx, err) {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.problems.Add(err)
		// What a repository refuses once, such as an account without rights, it refuses for everything.
		s.failed[q.repo] = !errors.Is(err, target.ErrConflict)
		return nil
	})
}

// all asks for listings, then for tags, then for manifests from the top down, then for blobs and lists.
func (s *survey) all(ctx context.Context) error {
	for _, questions := range []func() iter.Seq[question]{s.listings, s.firstTags, s.otherTags, s.untagged} {
		if err := s.ask(ctx, questions()); err != nil {
			return err
		}
	}
	for i := range s.inv.Tags {
		if t := &s.inv.Tags[i]; t.IsRight() && !s.thorough {
			s.inv.Mark(inventory.Need{Row: t.Row, Repo: t.Repo}, inventory.Present)
		}
	}
	depths := depths(s.inv.Graph)
	for depth := range slices.Max(append(depths, 0)) + 1 {
		if err := s.ask(ctx, s.manifests(depths, depth)); err != nil {
			return err
		}
		s.imply(depths, depth)
	}
	s.doubt()
	if err := s.ask(ctx, s.blobs()); err != nil {
		return err
	}
	if err := s.lookElsewhere(ctx); err != nil {
		return err
	}
	return s.ask(ctx, s.lists())
}

// depths returns for each manifest below how many indexes it is at most.
func depths(g *bundle.Graph) []int {
	depths := make([]int, g.Manifests())
	for changed := true; changed; { // as often as indexes are nested, which is bounded
		changed = false
		for row, depth := range depths {
			for _, child := range g.Node(row).Children {
				if depths[child] <= depth {
					depths[child], changed = depth+1, true
				}
			}
		}
	}
	return depths
}

// imply marks what is there because a manifest is that was just asked for: the manifests that it lists, and its blobs.
func (s *survey) imply(depths []int, depth int) {
	if s.thorough {
		return
	}
	for n := range s.inv.Manifests() {
		if depths[n.Row] != depth || s.inv.State(n) != inventory.Present {
			continue
		}
		node := s.inv.Graph.Node(int(n.Row))
		for _, child := range node.Children {
			if listed := (inventory.Need{Row: child, Repo: n.Repo}); !node.Sparse && s.inv.Needs(listed) {
				s.inv.Mark(listed, inventory.Present)
			}
		}
		for _, blob := range s.inv.BlobsOf(n) {
			s.inv.Mark(blob, inventory.Present)
		}
	}
}

// doubt takes back what was implied of blobs that the bundle leaves out, where a manifest that is to be pushed needs them: should
// one be gone all the same, nothing could be done about it any more.
func (s *survey) doubt() {
	for n := range s.inv.Manifests() {
		if s.inv.State(n).IsThere() {
			continue
		}
		for _, blob := range s.inv.BlobsOf(n) {
			if inventory.IsLeftOut(s.inv, blob.Row) {
				s.inv.Mark(blob, inventory.Lacking)
			}
		}
	}
}

// lookElsewhere looks for blobs that the bundle leaves out and that no repository has which needs them, in all others that are
// known.
func (s *survey) lookElsewhere(ctx context.Context) error {
	var rows []int32
	for blob := range s.inv.Blobs() {
		if inventory.IsLeftOut(s.inv, blob.Row) && !blob.IsHeld() {
			rows = append(rows, blob.Row)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	repos, err := s.earlier(ctx)
	if err != nil {
		return err
	}
	for i, repo := range s.inv.Repos {
		if !s.failed[i] && !slices.Contains(repos, repo) {
			repos = append(repos, repo)
		}
	}
	return elsewhere.New(s.inv, s.target, s.jobs).Look(ctx, rows, repos)
}

// firstTags asks for one tag of each repository to which many go.
func (s *survey) firstTags() iter.Seq[question] {
	return func(yield func(question) bool) {
		for tags := range inventory.ByRepo(s.inv.Tags) {
			for i := range tags[:s.probes(tags)] {
				t := &tags[i]
				if !yield(question{t.Repo, func(ctx context.Context) error { return s.probe(ctx, t) }}) {
					return
				}
			}
		}
	}
}

// otherTags asks for those that are not known to be right, or not to be there.
func (s *survey) otherTags() iter.Seq[question] {
	return func(yield func(question) bool) {
		for tags := range inventory.ByRepo(s.inv.Tags) {
			for i := range tags {
				t := &tags[i]
				if i < s.probes(tags) || s.inv.Untagged[t.Repo] || t.IsRight() {
					continue
				}
				if !yield(question{t.Repo, func(ctx context.Context) error { return s.mover.Look(ctx, t) }}) {
					return
				}
			}
		}
	}
}

// manifests asks for those of one depth that are not known to be there.
func (s *survey) manifests(depths []int, depth int) iter.Seq[question] {
	return func(yield func(question) bool) {
		for n := range s.inv.Manifests() {
			if depths[n.Row] != depth || s.empty[n.Repo] || s.inv.State(n).IsThere() {
				continue
			}
			if !yield(question{n.Repo, func(ctx context.Context) error { return s.manifest(ctx, n) }}) {
				return
			}
		}
	}
}

func (s *survey) blobs() iter.Seq[question] {
	return func(yield func(question) bool) {
		for n := range s.inv.BlobNeeds() {
			isQuick := s.empty[n.Repo] && s.inv.Size(n.Row) <= quickBlob && !inventory.IsLeftOut(s.inv, n.Row)
			if !isQuick && !s.inv.State(n).IsThere() && !yield(question{n.Repo, func(ctx context.Context) error { return s.blob(ctx, n) }}) {
				return
			}
		}
	}
}

// lists asks for the referrers of what was found to be there, and for lists of which a part is. Otherwise nobody has listed any.
func (s *survey) lists() iter.Seq[question] {
	return func(yield func(question) bool) {
		for i := range s.inv.Lists {
			l := &s.inv.Lists[i]
			rows := l.Rows
			if row, inBundle := s.inv.Contents.Find(l.Subject); inBundle {
				rows = append([]int32{int32(row)}, rows...)
			}
			isThere := slices.ContainsFunc(rows, func(row int32) bool {
				return s.inv.State(inventory.Need{Row: row, Repo: l.Repo}) == inventory.Present
			})
			if isThere && !yield(question{l.Repo, func(ctx context.Context) error { return s.list(ctx, l) }}) {
				return
			}
		}
	}
}

func (s *survey) list(ctx context.Context, l *inventory.List) error {
	listed, err := s.target.Referrers(ctx, s.inv.SubjectName(*l))
	switch {
	case target.Absent(err):
		return nil
	case errors.Is(err, bundle.ErrFormat): // of the target's list, so that it is not wrapped
		return fmt.Errorf("%w: nothing can be added to the list of referrers of %s: %s", target.ErrConflict, s.inv.SubjectName(*l), err.Error())
	case err != nil:
		return err
	}
	s.mu.Lock()
	s.api = target.APIOf(listed)
	s.mu.Unlock()
	l.IsListed = len(referrers.Missing(s.inv, *l, listed.Descriptors)) == 0
	return nil
}

func (s *survey) manifest(ctx context.Context, n inventory.Need) error {
	found, err := target.HasManifest(ctx, s.target, s.inv.Name(n), s.inv.Size(n.Row))
	if found {
		s.inv.Mark(n, inventory.Present)
	}
	if errors.Is(err, target.ErrHidden) {
		return nil // to push it again does no harm
	}
	return err
}

func (s *survey) blob(ctx context.Context, n inventory.Need) error {
	want, digest := s.inv.Size(n.Row), s.inv.Digest(n.Row)
	size, found, err := s.target.HasBlob(ctx, s.inv.Repos[n.Repo], digest)
	if err != nil || !found {
		return err
	}
	if size >= 0 && size != want { // some do not say
		return fmt.Errorf("%w: %s has the blob %s with %d bytes instead of %d: it is damaged there, and only the administrator of the registry can remove it",
			target.ErrConflict, s.inv.Repos[n.Repo].Name(), digest, size, want)
	}
	s.inv.Mark(n, inventory.Present)
	return nil
}
