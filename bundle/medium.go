package bundle

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// ErrNotInserted: nobody inserted the part of a Medium that was needed next. What was read before is not in question.
var ErrNotInserted = errors.New("not inserted")

// Medium is a bundle in parts of which one at a time can be read, as from disks that share a drive. Reading from another
// part than before has that one inserted first, and so waits for a person; readers of one part may work side by side.
type Medium interface {
	io.ReaderAt
	// Size returns the size of the bundle, in bytes.
	Size() int64
	// Insert returns when a part is there to be read.
	Insert(part int) error
	// Part returns the number of the part in which an offset lies, and the offset at which that part ends.
	Part(offset int64) (part int, end int64)
}

// OpenRemovable reads the head of a bundle on a Medium. Head and manifests are read once, in order, and kept in a private
// temporary file in dir ("" for the system's), so that no part is needed twice; see Batches for the rest.
func OpenRemovable(m Medium, dir string) (*Sealed, error) {
	s, err := openSpooled(&partReader{medium: m}, m.Size(), dir)
	if err != nil {
		return nil, err
	}
	s.medium = m
	return s, nil
}

// partReader reads a Medium from its beginning. What it reads at once never lies in two parts, so that one who reads ahead
// does not ask for the next part before it is needed.
type partReader struct {
	medium Medium
	at     int64
}

func (r *partReader) Read(p []byte) (int, error) {
	if r.at >= r.medium.Size() {
		return 0, io.EOF
	}
	_, end := r.medium.Part(r.at)
	n, err := r.medium.ReadAt(p[:min(int64(len(p)), end-r.at)], r.at)
	r.at += int64(n)
	return n, err
}

// Batch is some blobs, given by their rows, that are read before any that come later.
type Batch struct {
	Rows []int
	// Crossing: it is one blob that goes on in the next part, or the next ones.
	Crossing bool

	part int // in which they begin; -1 for none
}

// Prepare returns when the part of a Medium is inserted in which a batch begins. ErrNotInserted when that will not be.
func (r *Reader) Prepare(b Batch) error {
	if b.part < 0 {
		return nil
	}
	return r.medium.Insert(b.part)
}

// Batches yields the blobs that are wanted, of those that are stored and no manifests, in file order. Who reads them batch
// by batch, and one batch in any order, needs no part of a Medium twice. What is not on a Medium is all in one batch.
func (r *Reader) Batches(wanted func(row int) bool) iter.Seq[Batch] {
	return func(yield func(Batch) bool) {
		batch := Batch{part: -1}
		for row := range r.Contents().Blobs {
			if b := &r.Contents().Blobs[row]; b.Role == RoleManifest || !b.IsStored() || !wanted(row) {
				continue
			}
			first, last := r.parts(row)
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

// parts returns the parts in which the entry of a blob begins and ends; -1 for one that does not lie on a Medium.
func (r *Reader) parts(row int) (first, last int) {
	if !r.isRemovable(row) {
		return -1, -1
	}
	start, end := r.layout.entry(row)
	first, _ = r.medium.Part(start)
	last, _ = r.medium.Part(end - 1)
	return first, last
}

// isRemovable tells whether a stored blob has to be read from the Medium.
func (r *Reader) isRemovable(row int) bool {
	return r.medium != nil && r.Contents().Blobs[row].Role != RoleManifest && r.layout.HasEntry(row)
}

// placedReader says of what is wrong with a blob in which parts of a Medium that is, so that the right one can be brought again.
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

// CheckEnd checks the end of the archive, which for a bundle on a Medium Reader leaves out: it lies in the last part.
func (r *Reader) CheckEnd() error {
	if r.medium == nil {
		return nil
	}
	return r.checkEnd(io.NewSectionReader(r.medium, r.size-trailerSize, trailerSize))
}
