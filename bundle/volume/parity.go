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
func (t *Table) writeParity(ctx context.Context, r io.ReaderAt, name func(int) string, made *[]string, o bundle.Observer) (err error) {
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

func newChunkWriter(name string, chunkSize int64, made *[]string) (*chunkWriter, error) {
	f, err := createNew(name)
	if err != nil {
		return nil, err
	}
	*made = append(*made, name)
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
// returns their paths. What it rebuilds is checked against the table. Nothing is changed where it lies; what fails leaves
// nothing.
func (s *Set) Repair(ctx context.Context, dir string, o bundle.Observer) (repaired []string, err error) {
	observer := bundle.Observe(o)
	damaged, err := s.damaged(ctx, observer)
	if err != nil {
		return nil, err
	}
	if err := s.Repairable(s.ranges(damaged)); err != nil {
		return nil, err
	}
	rebuilt := int64(0)
	for i, chunks := range damaged {
		if slices.Contains(chunks, true) {
			rebuilt += s.table.volumeSize(i)
		}
	}
	if err := bundle.CheckFree(dir, rebuilt); err != nil {
		return nil, err
	}
	var made []string
	defer func() {
		if err != nil {
			for _, name := range made {
				err = errors.Join(err, os.Remove(name))
			}
		}
	}()
	out := make([]*chunkWriter, len(s.files))
	for i, chunks := range damaged {
		for _, is := range chunks {
			if !is || out[i] != nil {
				continue
			}
			name := filepath.Join(dir, s.table.memberName(s.path, i))
			if out[i], err = newChunkWriter(name, s.table.ChunkSize, &made); err != nil {
				return nil, errors.Join(err, closeAll(out))
			}
			repaired = append(repaired, name)
		}
	}
	if len(repaired) == 0 {
		return nil, nil
	}
	err = s.rebuild(ctx, damaged, out, observer)
	if err = errors.Join(err, closeAll(out)); err != nil {
		return nil, err
	}
	for i, w := range out {
		if w == nil {
			continue
		}
		for j, got := range w.digests {
			if got != s.table.chunkDigest(i, int64(j)) {
				return nil, fmt.Errorf("%w: what was rebuilt of %s is not what the table says", bundle.ErrDigest, s.fileName(i))
			}
		}
		if err := writeNew(filepath.Join(dir, filepath.Base(tableName(s.path, i))), &made, func(w io.Writer) error {
			_, err := w.Write(s.table.encode())
			return err
		}); err != nil {
			return nil, err
		}
	}
	return repaired, bundle.SyncDir(dir)
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
