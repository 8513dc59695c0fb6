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
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/referrers"
	"airgap/import/tags"
	"airgap/import/target"
)

// Target is what is asked.
type Target interface {
	target.Resolver

	// HasBlob tells whether repo has a blob, and how large it is in bytes.
	HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error)
	// Referrers lists what refers to a manifest, whole, from the API or else from the fallback tag, or fails.
	Referrers(ctx context.Context, subject name.Digest) (registry.Referrers, error)
}

// Options are the settings of Run.
type Options struct {
	Jobs    int    // requests under way at once
	Unasked []bool // by repository: nothing in it is asked for
}

// Result is what Run found out, but for the states in the inventory.
type Result struct {
	API     target.ReferrersAPI
	Unasked []bool // by repository: it was not asked, or not any more, what is in it
}

// Run asks what the target has, and marks it in inv; tags are looked at by mover. Problems of several repositories, and all
// conflicts, are in one error; one that concerns all of the target ends it.
func Run(ctx context.Context, inv *inventory.Inventory, t Target, mover *tags.Mover, o Options) (Result, error) {
	s := survey{inv: inv, target: t, mover: mover, jobs: o.Jobs, failed: slices.Clone(o.Unasked)}
	err := s.ask(ctx, s.questions())
	if err == nil {
		err = s.ask(ctx, s.questionsAboutLists())
	}
	return Result{API: s.api, Unasked: s.failed}, errors.Join(err, s.problems.Err())
}

type survey struct {
	inv    *inventory.Inventory
	target Target
	mover  *tags.Mover
	jobs   int

	mu       sync.Mutex
	problems bundle.Problems
	failed   []bool // by repository
	api      target.ReferrersAPI
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

func (s *survey) questions() iter.Seq[question] {
	return func(yield func(question) bool) {
		for i := range s.inv.Tags {
			t := &s.inv.Tags[i]
			if !yield(question{t.Repo, func(ctx context.Context) error { return s.mover.Look(ctx, t) }}) {
				return
			}
		}
		for n := range s.inv.Manifests() {
			if !yield(question{n.Repo, func(ctx context.Context) error { return s.manifest(ctx, n) }}) {
				return
			}
		}
		for n := range s.inv.BlobNeeds() {
			if !yield(question{n.Repo, func(ctx context.Context) error { return s.blob(ctx, n) }}) {
				return
			}
		}
	}
}

// questionsAboutLists are about the referrers of what was found to be there. Where the subject is not, nobody has listed any.
func (s *survey) questionsAboutLists() iter.Seq[question] {
	return func(yield func(question) bool) {
		for i := range s.inv.Lists {
			l := &s.inv.Lists[i]
			row, inBundle := s.inv.Contents.Find(l.Subject)
			isThere := inBundle && s.inv.State(inventory.Need{Row: int32(row), Repo: l.Repo}) == inventory.Present
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
