package bundle

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// ErrNoSpace: the disk has less room than the bundle needs.
var ErrNoSpace = errors.New("not enough free disk space")

// ErrBusy: another process is writing the same file.
var ErrBusy = errors.New("another export is writing this file")

// PartialSuffix ends the name of a bundle that is not complete.
const PartialSuffix = ".partial"

// Writer writes a bundle blob by blob. Blobs may be written in any order and side by side to a file (Create), and
// in file order to a stream (NewStream). Commit ends it, Abort gives up; either must be called.
type Writer struct {
	layout *Layout
	open   func(offset int64) (io.Writer, error) // where an entry goes that begins at offset
	commit func() error
	abort  func() error
	sync   func() error
	leave  func() error

	mu      sync.Mutex
	written []bool // by row: content complete and its digest right
}

// Create begins a bundle that will have the given name once it is complete. Until then it is PATH.partial, readable
// by its owner only; an older .partial is overwritten, symbolic links are not followed. The disk must have room for
// all of it (ErrNoSpace). The head is written at once.
func Create(path string, l *Layout) (*Writer, error) {
	f, err := createSingle(path)
	if err != nil {
		return nil, err
	}
	return CreateOn(f, l)
}

// CreateOn is Create on any File, which must be empty. An error removes it.
func CreateOn(f File, l *Layout) (*Writer, error) {
	w := newFileWriter(f, l)
	if err := w.begin(f); err != nil {
		return nil, errors.Join(err, f.Remove())
	}
	return w, nil
}

func newFileWriter(f File, l *Layout) *Writer {
	return &Writer{
		layout:  l,
		written: make([]bool, len(l.offsets)),
		open: func(offset int64) (io.Writer, error) {
			return &placeWriter{file: f, at: offset, begun: offset}, nil
		},
		commit: func() error { return commitFile(f, l.size) },
		abort:  f.Remove,
		sync:   f.Sync,
		leave:  f.Close,
	}
}

// writebackStep is how much is written before the system is told to bring it to the disk, in bytes. Left to itself, it waits
// until much has gathered, and then the disk, which was idle while the network was at work, keeps Sync waiting at the end.
const writebackStep = 1 << 20

// placeWriter writes an entry to its place.
type placeWriter struct {
	file      File
	at, begun int64 // where the next byte goes, and up to where the system has been told to write
}

func (w *placeWriter) Write(p []byte) (int, error) {
	n, err := w.file.WriteAt(p, w.at)
	w.at += int64(n)
	if w.at-w.begun >= writebackStep {
		w.file.StartWriteback(w.begun, w.at-w.begun)
		w.begun = w.at
	}
	return n, err
}

// begin makes room for all, whose end is zeros as an archive's has to be, and writes the head.
func (w *Writer) begin(f File) error {
	if err := f.Reserve(w.layout.size); err != nil {
		return err
	}
	head := bufio.NewWriterSize(io.NewOffsetWriter(f, 0), writeBuffer)
	if err := w.layout.writeHead(head); err != nil {
		return err
	}
	return head.Flush()
}

func commitFile(f File, size int64) error {
	err := readAgain(f, size)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Remove())
	}
	return f.Complete()
}

// readAgain reads the head and the manifests as every reader will: what would be refused on the other side must not
// leave this one.
func readAgain(f io.ReaderAt, size int64) error {
	sealed, err := Open(f, size)
	if err != nil {
		return fmt.Errorf("the written file: %w", err)
	}
	reader, err := sealed.Reader(context.Background())
	if err != nil {
		return fmt.Errorf("the written file: %w", err)
	}
	if _, err := reader.Walk(context.Background()); err != nil {
		return fmt.Errorf("the written file: %w", err)
	}
	return nil
}

// NewStream begins a bundle on w, a pipe or a tape. Blobs must be written one after the other in the order of their
// rows. What has been written cannot be taken back: after Abort the stream simply ends too early, which every reader
// notices.
func NewStream(w io.Writer, l *Layout) (*Writer, error) {
	buffered := bufio.NewWriterSize(w, writeBuffer)
	nothing := func() error { return nil }
	s := &Writer{layout: l, written: make([]bool, len(l.offsets)), abort: nothing, sync: nothing, leave: nothing}
	position := l.headSize
	s.open = func(offset int64) (io.Writer, error) {
		if offset != position {
			return nil, fmt.Errorf("a stream at byte %d cannot take an entry for byte %d", position, offset)
		}
		return writerFunc(func(p []byte) (int, error) {
			n, err := buffered.Write(p)
			position += int64(n)
			return n, err
		}), nil
	}
	s.commit = func() error {
		if _, err := buffered.Write(zeros[:trailerSize]); err != nil {
			return err
		}
		return buffered.Flush()
	}
	return s, l.writeHead(buffered)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// writeBuffer is large enough to make a system call cheap next to what it moves.
const writeBuffer = 256 << 10

// directWrite is what is worth a system call of its own, in bytes: copying it to a buffer first costs more.
const directWrite = 32 << 10

var writeBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }}

// Blob begins the content of a row of the blobs table. Its Close says whether the content was right: ErrDigest where
// length or digest is not what was signed, and then the row can be begun again (in a file; a stream is spoilt).
func (w *Writer) Blob(row int) (io.WriteCloser, error) {
	if !w.layout.HasEntry(row) {
		return nil, fmt.Errorf("row %d of the blobs table has no entry of its own", row)
	}
	header := w.layout.rowHeader(row)
	out, err := w.open(w.layout.offsets[row] - int64(len(header)))
	if err != nil {
		return nil, err
	}
	b := &blobWriter{writer: w, row: row, blob: w.layout.contents.Blobs[row], hash: sha256.New(), place: out, out: writeBuffers.Get().(*bufio.Writer)}
	b.out.Reset(out)
	_, err = b.out.Write(header)
	return b, err
}

type blobWriter struct {
	writer *Writer
	row    int
	blob   Blob
	hash   hash.Hash
	place  io.Writer     // where the entry goes
	out    *bufio.Writer // in front of place, for what is small
	size   int64
}

func (b *blobWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > b.blob.Size-b.size {
		return 0, fmt.Errorf("%w: %s is longer than %d bytes", ErrDigest, b.blob.Digest, b.blob.Size)
	}
	b.size += int64(len(p))
	b.hash.Write(p)
	if len(p) < directWrite {
		return b.out.Write(p)
	}
	if err := b.out.Flush(); err != nil {
		return 0, err
	}
	return b.place.Write(p)
}

func (b *blobWriter) Close() error {
	defer writeBuffers.Put(b.out)
	if b.size != b.blob.Size {
		return fmt.Errorf("%w: %s has %d of %d bytes", ErrDigest, b.blob.Digest, b.size, b.blob.Size)
	}
	if got := Digest(b.hash.Sum(nil)); got != b.blob.Digest {
		return fmt.Errorf("%w: expected %s, got %s", ErrDigest, b.blob.Digest, got)
	}
	if _, err := b.out.Write(zeros[:padding(b.blob.StoredSize())]); err != nil {
		return err
	}
	if err := b.out.Flush(); err != nil {
		return err
	}
	b.writer.mu.Lock()
	defer b.writer.mu.Unlock()
	b.writer.written[b.row] = true
	return nil
}

// Commit completes the bundle: a file is synced and gets its name, a stream its end. It fails where a blob is missing.
func (w *Writer) Commit() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for row, done := range w.written {
		if !done && w.layout.HasEntry(row) {
			return errors.Join(fmt.Errorf("%s was never written", w.layout.contents.Blobs[row].Digest), w.abort())
		}
	}
	return w.commit()
}

// Abort gives up, and removes what was written to a file.
func (w *Writer) Abort() error { return w.abort() }

// Leave gives up for now: what was written to a file stays, to be continued (see OpenPartial).
func (w *Writer) Leave() error { return w.leave() }

// Sync makes what has been written to a file survive the loss of power.
func (w *Writer) Sync() error { return w.sync() }

// Has tells whether a row of the blobs table is complete, or needs no entry of its own.
func (w *Writer) Has(row int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written[row] || !w.layout.HasEntry(row)
}
