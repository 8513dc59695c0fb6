package volume

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"

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
