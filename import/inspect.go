package importer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/export/registry"
)

// each calls work for every item, jobs at a time, until one fails. Cancelling ctx is a failure.
func each[T any](ctx context.Context, jobs int, items iter.Seq[T], work func(context.Context, T) error) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for item := range items {
		if inner.Err() != nil {
			break
		}
		group.Go(func() error { return work(inner, item) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// absent tells whether err means that something is not at the target, which is no failure: a repository that nobody has
// pushed to is unknown to most registries.
func absent(err error) bool {
	return errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrRepositoryUnknown)
}

// lookup is one thing to look for at the target.
type lookup struct {
	repo int32
	do   func(context.Context) error
}

// inspect asks the target what it has. It writes nothing. Problems of several repositories, and all conflicts, are in
// one error; one that concerns all of the target ends it.
func (r *run) inspect(ctx context.Context) error {
	s := survey{run: r, failed: r.unasked}
	err := s.make(ctx, r.lookups())
	if err == nil {
		err = s.make(ctx, r.lookupsOfLists())
	}
	return errors.Join(err, s.problems.Err())
}

type survey struct {
	*run
	mu       sync.Mutex
	problems bundle.Problems
	failed   []bool // by repository; run.unasked
}

func (s *survey) make(ctx context.Context, lookups iter.Seq[lookup]) error {
	return each(ctx, s.options.Jobs, lookups, func(ctx context.Context, l lookup) error {
		s.mu.Lock()
		skip := s.failed[l.repo]
		s.mu.Unlock()
		if skip {
			return nil
		}
		err := l.do(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, registry.ErrUnavailable) || errors.Is(err, registry.ErrThrottled) {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.problems.Add(err)
		// What a repository refuses once, such as an account without rights, it refuses for everything.
		s.failed[l.repo] = !errors.Is(err, ErrConflict)
		return nil
	})
}

func (r *run) lookups() iter.Seq[lookup] {
	return func(yield func(lookup) bool) {
		p := r.plan
		for i := range p.tags {
			if !yield(lookup{p.tags[i].repo, func(ctx context.Context) error { return r.lookForTag(ctx, &p.tags[i]) }}) {
				return
			}
		}
		for i := range p.repositories {
			for at := range p.repositories[i].manifests {
				if !yield(lookup{int32(i), func(ctx context.Context) error { return r.lookForManifest(ctx, &p.repositories[i], at) }}) {
					return
				}
			}
		}
		for i := range p.uses {
			if !yield(lookup{p.uses[i].repo, func(ctx context.Context) error { return r.lookForBlob(ctx, i) }}) {
				return
			}
		}
	}
}

// lookupsOfLists are about the referrers of what was found to be there. Where the subject is not, nobody has listed any.
func (r *run) lookupsOfLists() iter.Seq[lookup] {
	return func(yield func(lookup) bool) {
		for i := range r.plan.lists {
			l := &r.plan.lists[i]
			repo := &r.plan.repositories[l.repo]
			row, _ := r.plan.contents.Find(l.subject)
			at, found := repo.find(int32(row))
			if found && repo.states[at] == present && !yield(lookup{l.repo, func(ctx context.Context) error { return r.lookForList(ctx, l) }}) {
				return
			}
		}
	}
}

func (r *run) lookForList(ctx context.Context, l *referrersList) error {
	subject := r.plan.Repos[l.repo].Digest(l.subject.String())
	listed, err := r.target.Referrers(ctx, subject)
	switch {
	case absent(err):
		return nil
	case errors.Is(err, bundle.ErrFormat): // of the target's list, so that it is not wrapped
		return fmt.Errorf("%w: nothing can be added to the list of referrers of %s: %s", ErrConflict, subject, err.Error())
	case err != nil:
		return err
	}
	r.noteAPI(listed)
	l.listed = len(missing(listed.Descriptors, r.digests(*l))) == 0
	return nil
}

func (r *run) lookForTag(ctx context.Context, t *tagMove) error {
	old, err := r.tagged(ctx, t)
	if errors.Is(err, ErrUnchecked) {
		return r.unseenTag(t, err)
	}
	if err != nil {
		return err
	}
	t.old, t.isThere = old, old == r.plan.digest(t.row)
	if t.cosign && !t.isThere && !old.IsZero() && !r.options.OverwriteCosignTags {
		return fmt.Errorf("%w: %s is %s, and the bundle brings %s: signatures of others may be in it; look at it with cosign, then delete it or allow to overwrite such tags",
			ErrConflict, r.plan.tagName(t), old, r.plan.digest(t.row))
	}
	return nil
}

// tagged returns what a tag points to at the target; zero where there is no such tag.
func (r *run) tagged(ctx context.Context, t *tagMove) (bundle.Digest, error) {
	found, err := r.target.Resolve(ctx, r.plan.Repos[t.repo].Tag(t.tag))
	if absent(err) {
		return bundle.Digest{}, nil
	}
	return found.Digest, err
}

func (r *run) lookForManifest(ctx context.Context, repo *repository, at int) error {
	found, err := r.hasManifest(ctx, repo, repo.manifests[at])
	if found {
		repo.states[at] = present
	}
	if errors.Is(err, ErrUnchecked) {
		return nil // to push it again does no harm
	}
	return err
}

func (r *run) hasManifest(ctx context.Context, repo *repository, row int32) (bool, error) {
	want := r.plan.contents.Blobs[row]
	found, err := r.target.Resolve(ctx, repo.name.Digest(want.Digest.String()))
	if absent(err) {
		return false, nil
	}
	if err == nil && (found.Digest != want.Digest || found.Size >= 0 && found.Size != want.Size) {
		err = fmt.Errorf("%w: %s: the target answers with %s of %d bytes, not %d", ErrConflict, repo.name.Digest(want.Digest.String()), found.Digest, found.Size, want.Size)
	}
	return err == nil, err
}

func (r *run) lookForBlob(ctx context.Context, at int) error {
	u := r.plan.uses[at]
	want := r.plan.contents.Blobs[u.row]
	repo := r.plan.Repos[u.repo]
	size, found, err := r.target.HasBlob(ctx, repo, want.Digest)
	if err != nil || !found {
		return err
	}
	if size >= 0 && size != want.Size { // some do not say
		return fmt.Errorf("%w: %s has the blob %s with %d bytes instead of %d: it is damaged there, and only the administrator of the registry can remove it",
			ErrConflict, repo.Name(), want.Digest, size, want.Size)
	}
	r.plan.useStates[at] = present
	return nil
}
