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

	"airgap/bundle/archive"
)

// Writer writes a bundle blob by blob: in any order and side by side where the Target can be read again, otherwise in file
// order. Commit ends it, Abort and Leave give up; one of them must be called, and Abort or Leave after a Commit that failed.
type Writer struct {
	layout *Layout
	target Target

	mu      sync.Mutex
	written []bool // by row: content complete and its digest right
	isEnded bool   // nothing is left to be written
}

// Create begins a bundle on a Target that is empty, and writes its head. The Target must have room for all of it
// (disk.ErrNoSpace). An error removes it.
func Create(t Target, l *Layout) (*Writer, error) {
	w := newWriter(t, l)
	if err := w.begin(); err != nil {
		return nil, errors.Join(err, t.Remove())
	}
	return w, nil
}

func newWriter(t Target, l *Layout) *Writer {
	return &Writer{layout: l, target: t, written: make([]bool, len(l.offsets))}
}

// begin makes room for all, and writes the head.
func (w *Writer) begin() error {
	if err := w.target.Reserve(w.layout.size); err != nil {
		return err
	}
	head := bufio.NewWriterSize(io.NewOffsetWriter(w.target, 0), writeBuffer)
	if err := w.layout.writeHead(head); err != nil {
		return err
	}
	return head.Flush()
}

// writebackStep is how much is written before the system is told to bring it to the disk, in bytes. Left to itself, it waits
// until much has gathered, and then the disk, which was idle while the network was at work, keeps Sync waiting at the end.
const writebackStep = 1 << 20

// placeWriter writes an entry to its place.
type placeWriter struct {
	target    Target
	at, begun int64 // where the next byte goes, and up to where the system has been told to write
}

func (w *placeWriter) Write(p []byte) (int, error) {
	n, err := w.target.WriteAt(p, w.at)
	w.at += int64(n)
	if w.at-w.begun >= writebackStep {
		w.target.StartWriteback(w.begun, w.at-w.begun)
		w.begun = w.at
	}
	return n, err
}

// NewStream is a Target that writes to w, a pipe or a tape. What has been written cannot be taken back: after Remove the
// stream simply ends too early, which every reader notices.
func NewStream(w io.Writer) Target { return &stream{out: bufio.NewWriterSize(w, writeBuffer)} }

type stream struct {
	out *bufio.Writer
	at  int64
}

// WriteAt implements Target.
func (s *stream) WriteAt(p []byte, offset int64) (int, error) {
	if offset != s.at {
		return 0, fmt.Errorf("a stream at byte %d cannot take what belongs at byte %d", s.at, offset)
	}
	n, err := s.out.Write(p)
	s.at += int64(n)
	return n, err
}

// Complete implements Target.
func (s *stream) Complete(context.Context, Observer) error { return s.out.Flush() }

func (s *stream) Access() Access              { return Access{} }
func (s *stream) Reserve(int64) error         { return nil }
func (s *stream) StartWriteback(int64, int64) {}
func (s *stream) Sync() error                 { return nil }
func (s *stream) Remove() error               { return nil }
func (s *stream) Close() error                { return nil }

// writeBuffer is large enough to make a system call cheap next to what it moves.
const writeBuffer = 256 << 10

// directWrite is what is worth a system call of its own, in bytes: copying it to a buffer first costs more.
const directWrite = 32 << 10

var writeBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }}

// Blob begins the content of a row of the blobs table. Its Close says whether the content was right: ErrDigest where
// length or digest is not what was signed, and then the row can be begun again (a stream is spoilt then).
func (w *Writer) Blob(row int) (io.WriteCloser, error) {
	if !w.layout.HasEntry(row) {
		return nil, fmt.Errorf("row %d of the blobs table has no entry of its own", row)
	}
	start, _ := w.layout.entry(row)
	place := &placeWriter{target: w.target, at: start, begun: start}
	b := &blobWriter{writer: w, row: row, blob: &w.layout.contents.Blobs[row], hash: sha256.New(), place: place, out: writeBuffers.Get().(*bufio.Writer)}
	b.out.Reset(place)
	_, err := b.out.Write(w.layout.rowHeader(row))
	return b, err
}

type blobWriter struct {
	writer *Writer
	row    int
	blob   *Blob
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
	if _, err := b.out.Write(zeros[:archive.Padding(b.blob.StoredSize())]); err != nil {
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

// Ready does what Commit does before a bundle gets its name, or a stream its end. It fails where a blob is missing; what can be read
// again is read as every reader will, and is synced.
func (w *Writer) Ready(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for row, done := range w.written {
		if !done && w.layout.HasEntry(row) {
			return fmt.Errorf("%s was never written", w.layout.contents.Blobs[row].Digest)
		}
	}
	if w.isEnded || w.target.Access().Random == nil {
		return nil
	}
	if err := w.end(); err != nil {
		return err
	}
	if err := w.readAgain(ctx); err != nil {
		return err
	}
	if err := w.target.Sync(); err != nil {
		return err
	}
	w.isEnded = true
	return nil
}

// Commit completes the bundle: once it is Ready it gets its name, or a stream its end. After an error what was written is still
// there, for Abort or Leave.
func (w *Writer) Commit(ctx context.Context, o Observer) error {
	if err := w.Ready(ctx); err != nil {
		return err
	}
	if !w.isEnded {
		if err := w.end(); err != nil {
			return err
		}
	}
	return w.target.Complete(ctx, Observe(o))
}

// end writes the end of the archive.
func (w *Writer) end() error {
	_, err := w.target.WriteAt(zeros[:archive.TrailerSize], w.layout.size-archive.TrailerSize)
	return err
}

// readAgain reads the head and the manifests: what would be refused on the other side must not leave this one.
func (w *Writer) readAgain(ctx context.Context) error {
	written := w.target.Access().Random
	if written == nil {
		return nil
	}
	sealed, err := Open(FromReaderAt(written, w.layout.size))
	if err != nil {
		return fmt.Errorf("the written file: %w", err)
	}
	reader, err := sealed.Reader(ctx)
	if err == nil {
		_, err = reader.Walk(ctx)
	}
	if err != nil {
		return fmt.Errorf("the written file: %w", err)
	}
	return nil
}

// Abort gives up, and removes what was written.
func (w *Writer) Abort() error { return w.target.Remove() }

// Leave gives up for now: what was written to a File stays, to be continued (see OpenPartial).
func (w *Writer) Leave() error { return w.target.Close() }

// Sync makes what has been written survive the loss of power.
func (w *Writer) Sync() error { return w.target.Sync() }

// Has tells whether a row of the blobs table is complete, or needs no entry of its own.
func (w *Writer) Has(row int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written[row] || !w.layout.HasEntry(row)
}
