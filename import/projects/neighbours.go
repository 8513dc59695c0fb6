package projects

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/import/parallel"
	"airgap/import/target"
)

const (
	// worthMounting is the size, in bytes, from which on it is worth a question whether a blob lies in yet another repository.
	worthMounting = 1 << 20
	// maxMountQuestions bounds these questions for the whole import: a few seconds.
	maxMountQuestions = 4000
)

// lookForMounts looks for blobs that no repository has to which the import goes, the largest first, in the other repositories of
// the projects that need them: from there they are mounted and need not be sent. Where the account may not list repositories,
// they are sent.
func (p *Projects) lookForMounts(ctx context.Context, unasked []bool) error {
	rows := make([][]int32, len(p.list))
	for row, projects := range p.lacking() {
		if p.inv.IsManifest(row) || p.inv.Size(row) < worthMounting || p.inv.Blob(row).IsHeld() {
			continue
		}
		for _, at := range projects {
			rows[at] = append(rows[at], row)
		}
	}
	var questions atomic.Int64
	for at, one := range p.list {
		if len(rows[at]) == 0 || unasked[one.first] {
			continue
		}
		others, err := p.others(ctx, one)
		if err == nil {
			err = p.lookForMountsIn(ctx, rows[at], others, &questions)
		}
		if target.IsFinal(ctx, err) {
			return err
		}
	}
	return nil
}

// lookForMountsIn looks for blobs in repositories, until so many questions have been asked. Where one was found, the next is
// looked for first: layers come together.
func (p *Projects) lookForMountsIn(ctx context.Context, rows []int32, others []name.Repository, questions *atomic.Int64) error {
	p.largestFirst(rows)
	var last atomic.Int64 // place in others
	return parallel.Each(ctx, p.options.Jobs, slices.Values(rows), func(ctx context.Context, row int32) error {
		if _, found := p.inv.Mountable(p.inv.Blob(row)); found {
			return nil
		}
		first := int(last.Load())
		for i := range others {
			if questions.Add(1) > maxMountQuestions {
				return nil
			}
			at := (first + i) % len(others)
			found, err := p.has(ctx, others[at], row)
			if err != nil {
				return err
			}
			if found {
				p.inv.NoteElsewhere(row, others[at])
				last.Store(int64(at))
				return nil
			}
		}
		return nil
	})
}
