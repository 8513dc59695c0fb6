package volume

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/reedsolomon"

	"airgap/bundle"
	"airgap/bundle/disk"
)

// Parity volumes hold, byte for byte, Reed-Solomon codes over the bytes of all volumes at the same place, where a volume
// that ends earlier counts as zeros from there on. Any of them can stand in for any volume that is lost at that place. Work
// goes through all volumes together, in blocks, so that memory does not grow with them.

// parityBlock is how much of each volume is in memory at once, in bytes.
const parityBlock = 64 << 10

// blocks are one block of each volume.
type blocks struct {
	code   reedsolomon.Encoder
	memory [][]byte
}

func (t *Table) newBlocks() (*blocks, error) {
	code, err := reedsolomon.New(t.Volumes(), t.Parity)
	if err != nil {
		return nil, err
	}
	b := &blocks{code: code}
	for range t.members() {
		b.memory = append(b.memory, make([]byte, parityBlock))
	}
	return b, nil
}

// read fills a block from a volume that has so many bytes left; zeros follow its end.
func (b *blocks) read(i, n int, r io.ReaderAt, at, left int64) error {
	block := b.memory[i][:n]
	have := max(0, min(int64(n), left))
	if have > 0 {
		if m, err := r.ReadAt(block[:have], at); int64(m) < have {
			return err
		}
	}
	clear(block[have:])
	return nil
}

// writeParity makes the parity volumes of the bundle in r, and adds the digests of their chunks to the table.
func (t *Table) writeParity(ctx context.Context, r io.ReaderAt, name func(int) string, made *newFiles, o bundle.Observer) (err error) {
	if t.Parity == 0 {
		return nil
	}
	b, err := t.newBlocks()
	if err != nil {
		return err
	}
	out := make([]*chunkWriter, t.Parity)
	for i := range out {
		if out[i], err = newChunkWriter(name(i), t.ChunkSize, made); err != nil {
			return errors.Join(err, closeAll(out))
		}
	}
	size := t.volumeSize(0)
	o.Phase("parity", size*int64(t.Volumes()))
	for at := int64(0); at < size && err == nil; at += parityBlock {
		n := int(min(parityBlock, size-at))
		err = errors.Join(ctx.Err(), t.encodeBlock(r, b, n, at, out))
		o.Add(int64(n) * int64(t.Volumes()))
	}
	if err = errors.Join(err, closeAll(out)); err != nil {
		return err
	}
	for _, w := range out {
		t.Chunks = append(t.Chunks, w.digests...)
	}
	return nil
}

func (t *Table) encodeBlock(r io.ReaderAt, b *blocks, n int, at int64, out []*chunkWriter) error {
	shards := make([][]byte, t.members())
	for i := range shards {
		shards[i] = b.memory[i][:n]
		if i < t.Volumes() {
			if err := b.read(i, n, r, int64(i)*t.VolumeSize+at, t.volumeSize(i)-at); err != nil {
				return err
			}
		}
	}
	if err := b.code.Encode(shards); err != nil {
		return err
	}
	for i, w := range out {
		if err := w.write(shards[t.Volumes()+i]); err != nil {
			return err
		}
	}
	return nil
}

// chunkWriter writes a volume and hashes its chunks.
type chunkWriter struct {
	file    *os.File
	out     *bufio.Writer
	size    int64 // of a chunk
	left    int64 // of this chunk
	hash    hash.Hash
	digests []bundle.Digest
}

func newChunkWriter(name string, chunkSize int64, made *newFiles) (*chunkWriter, error) {
	f, err := made.create(name)
	if err != nil {
		return nil, err
	}
	return &chunkWriter{file: f, out: bufio.NewWriterSize(f, copyBuffer), size: chunkSize, left: chunkSize, hash: sha256.New()}, nil
}

func (w *chunkWriter) write(p []byte) error {
	if _, err := w.out.Write(p); err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(int64(len(p)), w.left)
		w.hash.Write(p[:n])
		p, w.left = p[n:], w.left-n
		if w.left == 0 {
			w.endChunk()
		}
	}
	return nil
}

func (w *chunkWriter) endChunk() {
	w.digests = append(w.digests, bundle.Digest(w.hash.Sum(nil)))
	w.hash.Reset()
	w.left = w.size
}

func (w *chunkWriter) close() error {
	if w.left < w.size {
		w.endChunk()
	}
	return errors.Join(w.out.Flush(), w.file.Sync(), w.file.Close())
}

func closeAll(writers []*chunkWriter) error {
	var errs []error
	for _, w := range writers {
		if w != nil {
			errs = append(errs, w.close())
		}
	}
	return errors.Join(errs...)
}

// Repairable tells whether everything that is damaged can be rebuilt, and if not, where too much is lost.
func (s *Set) Repairable(damage []Damage) error {
	lost := make([]int, s.table.chunks(0))
	for _, d := range damage {
		if d.TooLong {
			continue
		}
		for at := d.From; at < d.To; at += s.table.ChunkSize {
			lost[at/s.table.ChunkSize]++
		}
	}
	for j, n := range lost {
		if n > s.table.Parity {
			return fmt.Errorf("%w: of bytes %d to %d, %d volumes are lost, and there is parity for %d",
				ErrVolumes, int64(j)*s.table.ChunkSize, min(int64(j+1)*s.table.ChunkSize, s.table.volumeSize(0))-1, n, s.table.Parity)
		}
	}
	return nil
}

// Repair writes every volume that is damaged or missing anew into a directory, with a table, under its own name, and
// returns their paths. What it rebuilds is checked against the table, and what is there already, from an earlier run, is
// checked as well. Nothing is changed where it lies; what fails leaves nothing under these names.
func (s *Set) Repair(ctx context.Context, dir string, o bundle.Observer) (repaired []string, err error) {
	observer := bundle.Observe(o)
	damaged, err := s.damaged(ctx, observer)
	if err != nil {
		return nil, err
	}
	if err := s.Repairable(s.ranges(damaged)); err != nil {
		return nil, err
	}
	r := repair{set: s, dir: dir, out: make([]*chunkWriter, len(s.files))}
	for i, chunks := range damaged {
		if !slices.Contains(chunks, true) && !s.tooLong(i) {
			continue
		}
		name := filepath.Join(dir, s.table.memberName(s.path, i))
		repaired = append(repaired, name)
		there, err := r.isThere(i, name)
		if err != nil {
			return nil, err
		}
		if !there {
			r.wanted = append(r.wanted, i)
		}
	}
	if err := r.write(ctx, damaged, observer); err != nil {
		return nil, errors.Join(err, r.made.remove())
	}
	return repaired, nil
}

// repair writes volumes anew.
type repair struct {
	set    *Set
	dir    string
	wanted []int          // volumes
	out    []*chunkWriter // by volume; nil for those that are not wanted
	made   newFiles
}

// isThere tells whether an earlier run has written volume i. What else there is of its name is not overwritten.
func (r *repair) isThere(i int, name string) (bool, error) {
	file, closer, err := openMember(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fine := file.size == r.set.table.volumeSize(i)
	for j := range r.set.table.chunks(i) {
		fine = fine && r.set.table.isChunk(file, i, j)
	}
	if !fine {
		err = somethingElse(name)
	}
	return true, errors.Join(err, closer.Close())
}

// writeTable writes the copy of the table that lies beside volume i, unless an earlier run has.
func (r *repair) writeTable(i int) error {
	name := filepath.Join(r.dir, tableName(r.set.path, i))
	switch t, err := readTable(name); {
	case errors.Is(err, os.ErrNotExist):
		return r.made.write(name, r.set.table.encode())
	case err != nil || t.Root != r.set.table.Root:
		return somethingElse(name)
	}
	return nil
}

func somethingElse(name string) error {
	return fmt.Errorf("%s: %w, and is something else: write elsewhere, or remove it", name, os.ErrExist)
}

// write writes what is wanted.
func (r *repair) write(ctx context.Context, damaged [][]bool, o bundle.Observer) (err error) {
	if len(r.wanted) == 0 {
		return nil
	}
	size := int64(0)
	for _, i := range r.wanted {
		size += r.set.table.volumeSize(i)
	}
	if err := disk.CheckFree(r.dir, size); err != nil {
		return err
	}
	for _, i := range r.wanted {
		if err := r.writeTable(i); err != nil {
			return err
		}
	}
	for _, i := range r.wanted {
		name := filepath.Join(r.dir, r.set.table.memberName(r.set.path, i))
		if r.out[i], err = newChunkWriter(name, r.set.table.ChunkSize, &r.made); err != nil {
			return errors.Join(err, closeAll(r.out))
		}
	}
	err = r.set.rebuild(ctx, damaged, r.out, o)
	if err = errors.Join(err, closeAll(r.out)); err != nil {
		return err
	}
	for _, i := range r.wanted {
		for j, got := range r.out[i].digests {
			if got != r.set.table.chunkDigest(i, int64(j)) {
				return fmt.Errorf("%w: what was rebuilt of %s is not what the table says", bundle.ErrDigest, r.set.fileName(i))
			}
		}
	}
	if err := r.made.giveNames(); err != nil {
		return err
	}
	return disk.SyncDir(r.dir)
}

// rebuild goes through all volumes, block by block, and writes those that are wanted.
func (s *Set) rebuild(ctx context.Context, damaged [][]bool, out []*chunkWriter, o bundle.Observer) error {
	t := s.table
	b, err := t.newBlocks()
	if err != nil {
		return err
	}
	size := t.volumeSize(0)
	o.Phase("repair", size)
	for at := int64(0); at < size; at += parityBlock {
		if err := ctx.Err(); err != nil {
			return err
		}
		// A block lies in one chunk, as these are multiples of it.
		n := int(min(parityBlock, size-at))
		shards := make([][]byte, t.members())
		lost := false
		for i := range shards {
			chunk := at / t.ChunkSize
			if chunk < t.chunks(i) && damaged[i][chunk] {
				shards[i], lost = b.memory[i][:0], true
				continue
			}
			shards[i] = b.memory[i][:n]
			if s.files[i] == nil { // beyond its end
				clear(shards[i])
				continue
			}
			// What cannot be read any more, and could a moment ago, is lost like the rest.
			if err := b.read(i, n, s.files[i], at, t.volumeSize(i)-at); err != nil {
				shards[i], lost = b.memory[i][:0], true
			}
		}
		if lost {
			if err := b.code.Reconstruct(shards); err != nil {
				return fmt.Errorf("%w: bytes %d to %d of the volumes cannot be rebuilt: %w", ErrVolumes, at, at+int64(n)-1, err)
			}
		}
		for i, w := range out {
			if have := min(int64(n), t.volumeSize(i)-at); w != nil && have > 0 {
				if err := w.write(shards[i][:have]); err != nil {
					return err
				}
			}
		}
		o.Add(int64(n))
	}
	return nil
}
