package importer

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// projectLimits tells which repositories share what only a few requests may have at once: Harbor takes a lock on a project's
// quota for each upload into it, and answers with errors where many wait for it.
type projectLimits struct {
	of    []int32 // by repository
	count int
	limit int // of what is under way at once in each
}

// projectLimits returns those of Harbor, whose projects are the first elements of paths; another registry counts as one,
// without a limit of its own.
func (r *run) projectLimits() projectLimits {
	p := projectLimits{of: make([]int32, len(r.plan.Repos)), count: 1, limit: r.options.Jobs}
	if r.options.Harbor == nil {
		return p
	}
	p.limit = r.options.JobsPerProject
	for i := 1; i < len(r.plan.Repos); i++ { // they are sorted
		before, _ := inHarbor(r.target, r.plan.Repos[i-1])
		if project, _ := inHarbor(r.target, r.plan.Repos[i]); project != before {
			p.count++
		}
		p.of[i] = int32(p.count - 1)
	}
	return p
}

// pather is the part of a target that knows where repositories are, which may be below a prefix.
type pather interface {
	Path(repo name.Repository) string
}

// inHarbor returns the project of a repository, and its name in there.
func inHarbor(t pather, repo name.Repository) (project, rest string) {
	project, rest, _ = strings.Cut(t.Path(repo), "/")
	return project, rest
}

// eachIn is each for what is written: also in each project, no more than its limit are under way at once.
func eachIn[T any](ctx context.Context, r *run, items iter.Seq[T], repo func(T) int32, work func(context.Context, T) error) error {
	limits := r.projectLimits()
	lanes := make([][]T, limits.count)
	for item := range items {
		project := limits.of[repo(item)]
		lanes[project] = append(lanes[project], item)
	}
	jobs := semaphore.NewWeighted(int64(r.options.Jobs))
	group, inner := errgroup.WithContext(ctx)
	for _, lane := range lanes {
		group.Go(func() error {
			return each(inner, limits.limit, slices.Values(lane), func(ctx context.Context, item T) error {
				if err := jobs.Acquire(ctx, 1); err != nil {
					return err
				}
				defer jobs.Release(1)
				return work(ctx, item)
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}
