package volume

import (
	"context"
	"errors"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
)

// tooLong tells whether something follows the end of a volume.
func (s *Set) tooLong(i int) bool {
	return s.files[i] != nil && s.files[i].size > s.table.volumeSize(i)
}

// isFine tells whether a chunk is there and what the table says. A sector that cannot be read is damage like any other.
func (s *Set) isFine(i int, chunk int64) bool {
	return s.files[i] != nil && s.table.isChunk(s.files[i], i, chunk)
}

// isChunk tells whether a file has what chunk j of volume i should be.
func (t *Table) isChunk(r io.ReaderAt, i int, j int64) bool {
	at, size := t.chunk(i, j)
	got, err := digestOf(io.NewSectionReader(r, at, size), size)
	return err == nil && got == t.chunkDigest(i, j)
}

// Check compares every chunk with the table, on all processors, and returns what is damaged or missing, in order.
func (s *Set) Check(ctx context.Context, o bundle.Observer) ([]Damage, error) {
	damaged, err := s.damaged(ctx, bundle.Observe(o))
	if err != nil {
		return nil, err
	}
	return s.ranges(damaged), nil
}

// CheckParity is Check of the volumes of parity alone.
func (s *Set) CheckParity(ctx context.Context, o bundle.Observer) ([]Damage, error) {
	first := s.table.Volumes()
	damaged, err := s.damagedFrom(ctx, first, bundle.Observe(o))
	if err != nil {
		return nil, err
	}
	return s.ranges(damaged), nil
}

// Parity returns how many volumes of parity there should be.
func (s *Set) Parity() int { return s.table.Parity }

// ranges puts damaged chunks that follow one another together.
func (s *Set) ranges(damaged [][]bool) []Damage {
	var all []Damage
	for i, chunks := range damaged {
		if chunks != nil && s.tooLong(i) {
			all = append(all, Damage{Volume: i + 1, Path: s.fileName(i), From: s.table.volumeSize(i), To: s.files[i].size, TooLong: true})
		}
		for j, is := range chunks {
			if !is {
				continue
			}
			at, size := s.table.chunk(i, int64(j))
			to := at + size
			if last := len(all) - 1; last >= 0 && all[last].Volume == i+1 && all[last].To == at && !all[last].TooLong {
				all[last].To = to
			} else {
				all = append(all, Damage{Volume: i + 1, Path: s.fileName(i), From: at, To: to})
			}
		}
	}
	return all
}

// damaged tells by volume and chunk what is not as it should be.
func (s *Set) damaged(ctx context.Context, o bundle.Observer) ([][]bool, error) {
	return s.damagedFrom(ctx, 0, o)
}

// damagedFrom is damaged for the volumes from first on, those of parity included; the others count as fine.
func (s *Set) damagedFrom(ctx context.Context, first int, o bundle.Observer) ([][]bool, error) {
	total := int64(0)
	for i := first; i < len(s.files); i++ {
		total += s.table.volumeSize(i)
	}
	o.Phase("check volumes", total)
	damaged := make([][]bool, len(s.files))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i := first; i < len(s.files); i++ {
		damaged[i] = make([]bool, s.table.chunks(i))
		for j := range damaged[i] {
			group.Go(func() error {
				if err := groupCtx.Err(); err != nil {
					return err
				}
				damaged[i][j] = !s.isFine(i, int64(j))
				_, size := s.table.chunk(i, int64(j))
				o.Add(size)
				return nil
			})
		}
	}
	return damaged, errors.Join(group.Wait(), ctx.Err())
}

// fileName is the path of a volume, or its name where it is missing.
func (s *Set) fileName(i int) string {
	if s.files[i] == nil {
		return s.table.memberName(s.path, i)
	}
	return s.files[i].path
}
