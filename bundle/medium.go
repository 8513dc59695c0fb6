package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"airgap/bundle/archive"
	"airgap/bundle/disk"
)

// Medium is what a bundle is read from: a file (OpenFile), a pipe (FromReader), volumes or disks that are changed (package
// volume), or whatever else can say how its bytes can be had.
type Medium interface {
	// Size returns the size of the bundle in bytes; -1 where that shows only at its end.
	Size() int64
	// Access says how the bytes can be had.
	Access() Access
	io.Closer
}

// Access is how the bytes of a Medium can be had. At most one of the fields is set.
type Access struct {
	Random     io.ReaderAt // at any place, by several readers side by side
	Sequential io.Reader   // once, from the first to the last
	Removable  Parts       // at any place of the part that is inserted
}

// Parts is a bundle in parts of which one at a time can be read, as from disks that share a drive. Reading from another
// part than before has that one inserted first, and so waits for a person; readers of one part may work side by side.
type Parts interface {
	io.ReaderAt
	// Insert returns when a part is there to be read, or ctx is done.
	Insert(ctx context.Context, part int) error
	// Part returns the number of the part in which an offset lies, and the offset at which that part ends.
	Part(offset int64) (part int, end int64)
}

// Target is what a bundle is written to: one file (CreateFile), volumes (package volume), or a stream (NewStream).
type Target interface {
	// WriteAt takes every byte once. Where Access is not Random they come in order, from the first to the last.
	io.WriterAt
	// Access says how what has been written can be read again: Random, or not at all.
	Access() Access
	// Reserve makes room for a bundle of the given size, which is then zeros where nothing else is written; disk.ErrNoSpace
	// where there is not enough.
	Reserve(size int64) error
	// StartWriteback tells the system to bring a range to the disk, and does not wait for it. It is a hint.
	StartWriteback(offset, size int64)
	// Sync makes what has been written survive the loss of power.
	Sync() error
	// Complete gives what has been synced its name, and closes it. After an error Remove or Close is still to be called.
	Complete(ctx context.Context, o Observer) error
	// Remove closes it, and removes it.
	Remove() error
	// Close closes it, and leaves it as it is.
	Close() error
}

// File is a Target that a later run finds again, to read what is there and to go on (OpenPartial).
type File interface {
	Target
	Medium
	// StepAside renames what is there, so that another one can be begun in its place while this one is read.
	StepAside() error
}

// OpenFile opens the bundle at path. The file stays open until Close, so that what was checked is what is read.
func OpenFile(path string) (Medium, error) {
	f, info, err := disk.OpenRegular(path)
	if errors.Is(err, disk.ErrNotRegular) {
		err = fmt.Errorf("%w; give it on standard input with -", err)
	}
	if err != nil {
		return nil, err
	}
	return &randomMedium{f, info.Size(), f}, nil
}

// FromReaderAt is a Medium of what r has, of the given size in bytes. Close does nothing.
func FromReaderAt(r io.ReaderAt, size int64) Medium { return &randomMedium{r, size, io.NopCloser(nil)} }

// randomMedium is a Medium with Random access.
type randomMedium struct {
	content io.ReaderAt
	size    int64
	io.Closer
}

func (m *randomMedium) Size() int64    { return m.size }
func (m *randomMedium) Access() Access { return Access{Random: m.content} }

// FromReader is a Medium of what comes out of a pipe. Close does nothing.
func FromReader(r io.Reader) Medium { return pipe{r} }

type pipe struct{ in io.Reader }

func (pipe) Size() int64      { return -1 }
func (p pipe) Access() Access { return Access{Sequential: p.in} }
func (pipe) Close() error     { return nil }

// ErrNotInserted: nobody inserted the part of a Removable Medium that was needed next. What was read before is not in question.
var ErrNotInserted = errors.New("not inserted")

// partReader reads all parts from the beginning. What it reads at once never lies in two of them, so that one who reads ahead
// does not ask for the next part before it is needed.
type partReader struct {
	parts    Parts
	at, size int64
}

func (r *partReader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	_, end := r.parts.Part(r.at)
	n, err := r.parts.ReadAt(p[:min(int64(len(p)), end-r.at)], r.at)
	r.at += int64(n)
	return n, err
}

// Batch is some blobs, given by their rows, that are read before any that come later.
type Batch struct {
	Rows []int
	// Crossing: it is one blob that goes on in the next part, or the next ones.
	Crossing bool

	part int // in which they begin; -1 for what is kept
}

// Prepare returns when the part of a Removable Medium is inserted in which a batch begins, or when what is kept has been read of
// its parts; ErrNotInserted when that will not be.
func (r *Reader) Prepare(ctx context.Context, b Batch) error {
	switch {
	case !r.Removable():
		return nil
	case b.part < 0:
		return r.keep(b.Rows[len(b.Rows)-1] + 1)
	}
	return r.access.Removable.Insert(ctx, b.part)
}

// Batches yields the blobs that are wanted, of those that are stored and no manifests, in file order. Who reads them batch
// by batch, and one batch in any order, needs no part of a Removable Medium twice: what is kept comes first. Of any other all is
// in one batch.
func (r *Reader) Batches(wanted func(row int) bool) iter.Seq[Batch] {
	return func(yield func(Batch) bool) {
		batch := Batch{part: -1}
		for row := range r.Contents().Blobs {
			if b := &r.Contents().Blobs[row]; b.Role == RoleManifest || !b.IsStored() || !wanted(row) {
				continue
			}
			first, last := -1, -1
			if !r.IsKept(row) {
				first, last = r.parts(row)
			}
			if first >= 0 && first != batch.part || first != last {
				if len(batch.Rows) > 0 && !yield(batch) {
					return
				}
				batch = Batch{part: first}
			}
			if first == last {
				batch.Rows = append(batch.Rows, row)
				continue
			}
			if !yield(Batch{Rows: []int{row}, Crossing: true, part: first}) {
				return
			}
			batch.part = last
		}
		if len(batch.Rows) > 0 {
			yield(batch)
		}
	}
}

// parts returns the parts in which the entry of a blob begins and ends; -1 for one that does not lie in parts.
func (r *Reader) parts(row int) (first, last int) {
	if !r.Removable() || row < len(r.Contents().kinds) || !r.layout.HasEntry(row) {
		return -1, -1
	}
	start, end := r.layout.entry(row)
	first, _ = r.access.Removable.Part(start)
	last, _ = r.access.Removable.Part(end - 1)
	return first, last
}

// placedReader says of what is wrong with a blob in which parts that is, so that the right one can be brought again.
type placedReader struct {
	io.ReadCloser

	first, last int
}

func (r *placedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return n, err
	case r.first == r.last:
		return n, fmt.Errorf("on volume %d: %w", r.first+1, err)
	}
	return n, fmt.Errorf("on volumes %d to %d: %w", r.first+1, r.last+1, err)
}

// CheckEnd checks the end of the archive, which Reader leaves out of a Removable Medium: it lies in the last part.
func (r *Reader) CheckEnd() error {
	if !r.Removable() {
		return nil
	}
	return r.checkEnd(io.NewSectionReader(r.access.Removable, r.size-archive.TrailerSize, archive.TrailerSize))
}
