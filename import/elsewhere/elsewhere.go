// Package elsewhere looks for blobs in repositories of the target that do not need them: from there they are mounted, and need
// not be sent, or could not be.
package elsewhere

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/target"
)

// maxInVain bounds the questions of one Search that are answered with no: a few seconds.
const maxInVain = 4000

// Target is what is asked.
type Target interface {
	// HasBlob tells whether repo has a blob, and how large it is in bytes.
	HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error)
}

// Search looks for blobs, until so many questions were in vain.
type Search struct {
	inv    *inventory.Inventory
	target Target
	jobs   int

	inVain atomic.Int64
	last   atomic.Pointer[name.Repository] // that had a blob: layers come together
	failed sync.Map                        // repositories that answer with errors
}

// New returns a Search of jobs questions at once.
func New(inv *inventory.Inventory, t Target, jobs int) *Search {
	return &Search{inv: inv, target: t, jobs: jobs}
}

// Look asks repositories for the blobs in rows that no repository is known to have, and notes where they are: those first whose
// paths end as the path of who lacks the blob, since most of what moved kept its name. An error is one that nothing else would
// be answered after either.
func (s *Search) Look(ctx context.Context, rows []int32, repos []name.Repository) error {
	var lackers []int32
	byLacker := map[int32][]int32{}
	for _, row := range rows {
		if lacker, lacks := s.inv.Blob(row).Lacks(); lacks {
			if byLacker[lacker] == nil {
				lackers = append(lackers, lacker)
			}
			byLacker[lacker] = append(byLacker[lacker], row)
		}
	}
	places := newPlaces(repos)
	for _, lacker := range lackers {
		if s.isOver() {
			return nil
		}
		near := places.nearestFirst(s.inv.Repos[lacker])
		err := parallel.Each(ctx, s.jobs, slices.Values(byLacker[lacker]), func(ctx context.Context, row int32) error { return s.look(ctx, row, near) })
		if err != nil {
			return err
		}
	}
	return nil
}

// isOver tells whether too many questions were in vain.
func (s *Search) isOver() bool { return s.inVain.Load() >= maxInVain }

func (s *Search) look(ctx context.Context, row int32, repos []name.Repository) error {
	blob := s.inv.Blob(row)
	if _, found := s.inv.Mountable(blob); found {
		return nil
	}
	last := s.last.Load()
	if last != nil {
		if found, err := s.ask(ctx, blob, *last); found || err != nil {
			return err
		}
	}
	for i := range repos {
		if s.isOver() {
			return nil
		}
		if last != nil && repos[i] == *last {
			continue
		}
		if found, err := s.ask(ctx, blob, repos[i]); found || err != nil {
			return err
		}
	}
	return nil
}

// ask asks one repository, unless it was found to lack the blob before.
func (s *Search) ask(ctx context.Context, blob inventory.Blob, repo name.Repository) (found bool, err error) {
	needs := slices.ContainsFunc(blob.Needs, func(n inventory.Need) bool { return s.inv.Repos[n.Repo] == repo })
	if _, fails := s.failed.Load(repo); fails || needs {
		return false, nil
	}
	size, found, err := s.target.HasBlob(ctx, repo, s.inv.Digest(blob.Row))
	switch {
	case target.IsFinal(ctx, err):
		return false, err
	case err != nil:
		s.failed.Store(repo, true)
		return false, nil //nolint:nilerr // another repository may have it
	case !found || size >= 0 && size != s.inv.Size(blob.Row):
		s.inVain.Add(1)
		return false, nil
	}
	s.inv.NoteElsewhere(blob.Row, repo)
	s.last.Store(&repo)
	return true, nil
}

// places are repositories, with the elements of their paths from the end.
type places []struct {
	repo name.Repository
	path []string
}

func newPlaces(repos []name.Repository) places {
	p := make(places, len(repos))
	for i, repo := range repos {
		p[i].repo, p[i].path = repo, fromEnd(repo)
	}
	return p
}

func fromEnd(repo name.Repository) []string {
	path := strings.Split(repo.RepositoryStr(), "/")
	slices.Reverse(path)
	return path
}

// nearestFirst returns the repositories by how many elements their paths have in common with that of repo, from the end.
func (p places) nearestFirst(repo name.Repository) []name.Repository {
	path := fromEnd(repo)
	byCommon := make([][]name.Repository, len(path)+1)
	for _, place := range p {
		n := 0
		for n < len(path) && n < len(place.path) && path[n] == place.path[n] {
			n++
		}
		byCommon[len(path)-n] = append(byCommon[len(path)-n], place.repo)
	}
	return slices.Concat(byCommon...)
}
