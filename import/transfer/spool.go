package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/semaphore"

	"airgap/bundle/disk"
)

// DefaultSpoolBytes is what blobs from a pipe take on disk while they wait: several ordinary layers, so that they are
// uploaded side by side.
const DefaultSpoolBytes = 1 << 30

const (
	// memoryBlob is the largest blob that is kept in memory; most configs and attestations are much smaller.
	memoryBlob = 1 << 20
	// memoryBudget is what all of them together may take.
	memoryBudget = 8 << 20
)

// spooler keeps blobs that came through a pipe until they are uploaded.
type spooler struct {
	dir          string
	disk, memory *semaphore.Weighted
	diskBudget   int64
}

func newSpooler(dir string, budget int64) *spooler {
	return &spooler{
		dir:        dir,
		disk:       semaphore.NewWeighted(budget),
		memory:     semaphore.NewWeighted(memoryBudget),
		diskBudget: budget,
	}
}

// take reads a blob of the given size to its end, at which its digest proves right or wrong. It waits until there is
// room. The caller must close what it gets.
func (s *spooler) take(ctx context.Context, blob io.Reader, size int64) (*spooled, error) {
	if size <= memoryBlob {
		if err := s.memory.Acquire(ctx, size); err != nil {
			return nil, err
		}
		kept := &spooled{free: func() { s.memory.Release(size) }}
		var err error
		if kept.memory, err = io.ReadAll(blob); err != nil {
			return nil, errors.Join(err, kept.Close())
		}
		return kept, nil
	}
	weight := min(size, s.diskBudget) // one blob is always let in
	if err := s.disk.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	kept := &spooled{size: size, free: func() { s.disk.Release(weight) }}
	if err := kept.fill(s.dir, blob); err != nil {
		return nil, errors.Join(err, kept.Close())
	}
	return kept, nil
}

// spooled is a blob whose length and digest were right when it was read. It can be opened any number of times.
type spooled struct {
	memory []byte
	file   *disk.Temporary // nil: in memory
	size   int64
	free   func()
}

func (s *spooled) fill(dir string, blob io.Reader) (err error) {
	if s.file, err = disk.NewTemporary(dir); err != nil {
		return err
	}
	n, err := io.Copy(s.file, blob)
	if err == nil && n != s.size {
		err = fmt.Errorf("%d of %d bytes spooled", n, s.size)
	}
	return err
}

func (s *spooled) open() (io.ReadCloser, error) {
	if s.file == nil {
		return io.NopCloser(bytes.NewReader(s.memory)), nil
	}
	return io.NopCloser(io.NewSectionReader(s.file, 0, s.size)), nil
}

// Close gives back the room. Nobody may be reading any more.
func (s *spooled) Close() error {
	defer s.free()
	if s.file == nil {
		s.memory = nil
		return nil
	}
	return s.file.Close()
}
