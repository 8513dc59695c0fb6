// Package parallel does work on many things at once, within bounds: so many at a time, and so many in each lane, which is what
// a project of Harbor is to requests that write.
package parallel

import (
	"context"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// DefaultJobs is how many requests are under way at once. In front of the registry, in its network, its disks are what
// takes the time, and Harbor takes a lock for each upload into a project: more requests would only wait there.
const DefaultJobs = 4

// MostJobs is how many requests are under way at once at most, where that follows from what a registry takes.
const MostJobs = 32

// Each calls work for every item, jobs at a time, until one fails. Cancelling ctx is a failure.
func Each[T any](ctx context.Context, jobs int, items iter.Seq[T], work func(context.Context, T) error) error {
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

// EachIndex is Each for the numbers from 0 to n-1.
func EachIndex(ctx context.Context, jobs, n int, work func(context.Context, int) error) error {
	indexes := func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
	return Each(ctx, jobs, indexes, work)
}

// Limits bound what is under way at once.
type Limits struct {
	Jobs    int     // in all lanes together
	PerLane int     // in each of them
	Lanes   int     // how many there are
	Lane    []int32 // by repository: its lane, from 0
}

// EachIn is Each within limits; repo tells which repository an item is about.
func EachIn[T any](ctx context.Context, limits Limits, items iter.Seq[T], repo func(T) int32, work func(context.Context, T) error) error {
	lanes := make([][]T, limits.Lanes)
	for item := range items {
		lane := limits.Lane[repo(item)]
		lanes[lane] = append(lanes[lane], item)
	}
	jobs := semaphore.NewWeighted(int64(limits.Jobs))
	group, inner := errgroup.WithContext(ctx)
	for _, lane := range lanes {
		group.Go(func() error {
			return Each(inner, limits.PerLane, slices.Values(lane), func(ctx context.Context, item T) error {
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
