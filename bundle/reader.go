package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"airgap/bundle/archive"
)

// Sealed is a bundle of which nothing but the signed object and its signature has been looked at. Check the
// signature over ManifestIndex, then call Reader. Close it when done, whether or not a Reader was made.
type Sealed struct {
	Head

	medium Medium
	access Access
	source io.ReaderAt // of the head and the manifests: the medium, or what is spooled of it
	spool  *spool      // nil for random access
	size   int64       // of the bundle; -1 where it is not known
}

// Close closes the medium, and removes what was spooled of it.
func (s *Sealed) Close() error {
	err := s.medium.Close()
	if s.spool != nil {
		err = errors.Join(err, s.spool.Close())
	}
	return err
}

// Open reads the head of a bundle, and nothing else. Where access is not random, head and manifests are read once, in order,
// and kept in a temporary file, so that no byte is needed twice. An error closes the medium; it wraps ErrFormat, ErrDigest or
// ErrLimit, or is that of the medium.
func Open(m Medium) (*Sealed, error) {
	s := &Sealed{medium: m, access: m.Access(), size: m.Size()}
	err := s.spoolHead()
	if err == nil {
		err = s.readHead()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// spoolHead chooses what head and manifests are read from.
func (s *Sealed) spoolHead() (err error) {
	in := s.access.Sequential
	switch {
	case s.access.Random != nil:
		s.source = s.access.Random
		return nil
	case s.access.Removable != nil:
		in = &partReader{parts: s.access.Removable, size: s.size}
	}
	if s.spool, err = newSpool(in); err == nil {
		s.source = s.spool
	}
	return err
}

func (s *Sealed) readHead() error {
	h := headReader{source: s.source}
	name, content := h.entry(int64(len(layoutContent)))
	switch {
	case h.err != nil:
	case name != layoutName:
		h.err = fmt.Errorf("%w: the first entry is %.100q, not %s", ErrFormat, name, layoutName)
	case string(content) != layoutContent:
		h.err = fmt.Errorf("%w: %s says %.100q, and not %q", ErrFormat, layoutName, content, layoutContent)
	}
	if h.err != nil {
		return fmt.Errorf("this does not begin like an airgap bundle: %w", h.err)
	}
	s.index = h.blob(MaxManifestIndexSize)
	if h.err != nil {
		return h.err
	}
	s.manifestIndex = DigestOf(s.index)
	var err error
	if s.header, s.tables, err = parseManifestIndex(s.index); err != nil {
		return err
	}
	headerAt := h.skip(s.header.size)
	s.headerBytes = func(context.Context) ([]byte, error) { return readSmall(s.source, headerAt, s.header) }
	source := tableSource{ReaderAt: s.source, close: func() error { return nil }}
	for _, table := range s.tables {
		source.at = append(source.at, h.skip(table.size))
	}
	s.openTables = func(context.Context) (tableSource, error) { return source, nil }
	h.blob(MaxManifestIndexSize) // the signature's manifest, which Reader derives and compares
	h.blob(int64(len("{}")))
	s.signatures = [][]byte{h.blob(MaxSignatureSize)}
	return h.err
}

// headReader reads the entries of the head one after the other; the first error stays.
type headReader struct {
	source   io.ReaderAt
	position int64
	err      error
}

func (h *headReader) read(n int64) []byte {
	if h.err != nil {
		return nil
	}
	b := make([]byte, n)
	if _, err := h.source.ReadAt(b, h.position); err != nil {
		h.err = readError(err, h.position, n)
		return nil
	}
	h.position += n
	return b
}

// entry reads an entry of at most limit bytes.
func (h *headReader) entry(limit int64) (name string, content []byte) {
	block := h.read(archive.BlockSize)
	if h.err != nil {
		return "", nil
	}
	name, size, _, err := archive.ReadHeader(block)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrFormat, err)
	case size > limit:
		err = fmt.Errorf("%w: %.100q has %d bytes, at most %d are allowed here", ErrLimit, name, size, limit)
	}
	if err != nil {
		h.err = fmt.Errorf("at byte %d: %w", h.position-archive.BlockSize, err)
		return "", nil
	}
	content = h.read(size)
	if pad := h.read(archive.Padding(size)); h.err == nil && !isZero(pad) {
		h.err = fmt.Errorf("%w: the padding after %s is not zero", ErrFormat, name)
	}
	return name, content
}

// blob reads an entry that is named after the digest of its content.
func (h *headReader) blob(limit int64) []byte {
	name, content := h.entry(limit)
	if h.err == nil && name != blobName(DigestOf(content)) {
		h.err = fmt.Errorf("%w: %.100q has the digest %s", ErrDigest, name, DigestOf(content))
	}
	return content
}

// skip passes over an entry whose size is known, and returns where its content begins.
func (h *headReader) skip(size int64) (contentAt int64) {
	contentAt = h.position + archive.HeaderSize(size)
	h.position += archive.EntrySize(size)
	return contentAt
}

// Reader gives the contents of a bundle whose head is what the signed object demands. Whether the signature is
// anybody's whom the user trusts is package verify's to say.
type Reader struct {
	*Sealed
	layout *Layout
	kept   int         // the row before which everything is kept; all rows where access is random
	next   int         // of a stream: the row that Next looks at
	last   *blobReader // of a stream: what Next gave out last
}

// Reader reads header and tables, derives from them what the file must be, and compares: size, head and end.
// Everything is bounded by FORMAT.md's limits before it is read. Call it when the signature has been checked.
func (s *Sealed) Reader(ctx context.Context) (*Reader, error) {
	contents, err := s.Contents(ctx)
	if err != nil {
		return nil, err
	}
	layout, err := newLayout(contents, s.index, compact(contents.Header), s.signatures[0])
	if err != nil {
		return nil, err
	}
	r := &Reader{Sealed: s, layout: layout, kept: len(contents.Blobs)}
	if s.access.Random == nil {
		r.kept = layout.proofs(maxKept)
	}
	return r, r.compare(ctx)
}

// Artifact returns what a ledger or a record keeps of the bundle.
func (r *Reader) Artifact() Artifact { return r.layout.artifact }

// compare holds the head and, in a file, the size and the end against the layout.
func (r *Reader) compare(ctx context.Context) error {
	if r.size >= 0 && r.size != r.layout.size {
		return fmt.Errorf("%w: the file has %d bytes; the signed tables make it %d: it was cut short or added to", ErrFormat, r.size, r.layout.size)
	}
	at := int64(0)
	for _, e := range r.layout.head {
		size := archive.EntrySize(e.size)
		c := comparer{expected: io.NewSectionReader(r.source, at, size), buffer: make([]byte, 32<<10)}
		if err := r.layout.writeHeadEntry(&c, e); err != nil {
			return fmt.Errorf("%s at byte %d: %w", e.name, at, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		at += size
	}
	if r.access.Random == nil {
		return nil
	}
	return r.checkEnd(io.NewSectionReader(r.source, r.size-archive.TrailerSize, archive.TrailerSize))
}

func (r *Reader) checkEnd(end io.Reader) error {
	b := make([]byte, archive.TrailerSize)
	if _, err := io.ReadFull(end, b); err != nil {
		return readError(err, r.layout.size-archive.TrailerSize, archive.TrailerSize)
	}
	if !isZero(b) {
		return fmt.Errorf("%w: the end of the archive is not zeros", ErrFormat)
	}
	return nil
}

// comparer is a writer that fails where what is written to it is not what expected has.
type comparer struct {
	expected io.Reader
	buffer   []byte
}

func (c *comparer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		b := c.buffer[:min(len(rest), len(c.buffer))]
		if _, err := io.ReadFull(c.expected, b); err != nil {
			return 0, readError(err, 0, int64(len(p)))
		}
		if !bytes.Equal(b, rest[:len(b)]) {
			return 0, fmt.Errorf("%w: not what the signed tables make it", ErrFormat)
		}
		rest = rest[len(b):]
	}
	return len(p), nil
}

// Contents returns the tables.
func (r *Reader) Contents() *Contents { return r.layout.contents }

// Layout returns where everything lies.
func (r *Reader) Layout() *Layout { return r.layout }

// Sequential tells whether the bundle comes through a pipe, where most blobs can be had only once and in order (Next).
func (r *Reader) Sequential() bool { return r.access.Sequential != nil }

// Removable tells whether the bundle lies on parts that have to be changed, so that its blobs should be read as Batches says.
func (r *Reader) Removable() bool { return r.access.Removable != nil }

// maxKept bounds what is kept besides head and manifests where access is not random, in bytes.
const maxKept = 1 << 30

// IsKept tells whether a stored row can be given to Open any number of times, whatever of the bundle has gone by or been taken
// out. Where access is not random layers are not kept, nor what comes after the first GiB of configs and attestations; the
// others are, so that what an image is can be judged before its layers.
func (r *Reader) IsKept(row int) bool { return row < r.kept || !r.layout.HasEntry(row) }

// ReadManifest returns a stored blob of at most MaxManifestSize bytes whose digest has been checked.
func (r *Reader) ReadManifest(d Digest) ([]byte, error) {
	row, ok := r.Contents().Find(d)
	if !ok {
		return nil, fmt.Errorf("%s: %w", d, ErrNotFound)
	}
	if r.Contents().Blobs[row].Size > MaxManifestSize {
		return nil, fmt.Errorf("%s: %w of %d bytes", d, ErrLimit, MaxManifestSize)
	}
	blob, err := r.Open(row)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(blob)
	return b, errors.Join(err, blob.Close())
}

// Open begins to read the blob in the given row. The reader is the one door through which blobs leave a bundle: it
// gives io.EOF only after tar header, length, digest and padding have proved right (ErrFormat, ErrDigest). Several
// may be open at once. What is kept is read as far as it is needed; of a stream anything else is ErrPassedBy, and of a Removable
// Medium it is read from its part.
func (r *Reader) Open(row int) (io.ReadCloser, error) {
	b := &r.Contents().Blobs[row]
	if !b.IsStored() {
		return nil, fmt.Errorf("%s: %w: it is recorded as %s", b.Digest, ErrNotFound, b.Stored)
	}
	if !r.layout.HasEntry(row) { // in the head, whose frame has been compared already
		return newBlobReader(b, nil, io.NewSectionReader(r.source, r.layout.offsets[row], b.StoredSize()), 0), nil
	}
	source := r.source
	switch {
	case r.IsKept(row):
	case r.Sequential():
		return nil, fmt.Errorf("%s: %w", b.Digest, ErrPassedBy)
	default:
		source = r.access.Removable
	}
	start, end := r.layout.entry(row)
	blob := newBlobReader(b, r.layout.rowHeader(row), io.NewSectionReader(source, start, end-start), archive.Padding(b.StoredSize()))
	if first, last := r.parts(row); first >= 0 {
		return &placedReader{blob, first, last}, nil
	}
	return blob, nil
}

// Next returns the next blob of a stream, after the manifests and in file order, whether or not it has been opened. What was
// not read of the one before is read and checked first. After the last blob the end of the archive is checked, and the error is io.EOF.
func (r *Reader) Next() (row int, blob io.Reader, err error) {
	if r.last != nil {
		if _, err := io.Copy(io.Discard, r.last); err != nil {
			return 0, nil, err
		}
		r.last = nil
	}
	for ; r.next < len(r.Contents().Blobs); r.next++ {
		b := &r.Contents().Blobs[r.next]
		if b.Role == RoleManifest || !r.layout.HasEntry(r.next) {
			continue
		}
		entry, err := r.nextEntry()
		if err != nil {
			return 0, nil, err
		}
		r.last = newBlobReader(b, r.layout.rowHeader(r.next), entry, archive.Padding(b.StoredSize()))
		r.next++
		return r.next - 1, r.last, nil
	}
	if err := r.keep(r.kept); err != nil {
		return 0, nil, err
	}
	if err := r.checkEnd(r.spool.in); err != nil {
		return 0, nil, err
	}
	if _, err := r.spool.in.ReadByte(); !errors.Is(err, io.EOF) {
		return 0, nil, errors.Join(fmt.Errorf("%w: something follows the end of the archive", ErrFormat), err)
	}
	return 0, nil, io.EOF
}

// nextEntry returns what has the entry of the row that Next looks at.
func (r *Reader) nextEntry() (io.Reader, error) {
	if r.next < r.kept {
		start, end := r.layout.entry(r.next)
		return io.NewSectionReader(r.source, start, end-start), nil
	}
	return r.spool.in, r.keep(r.kept)
}

// keep spools what comes before the given row.
func (r *Reader) keep(before int) error {
	end := r.layout.endBefore(before)
	if err := r.spool.extend(end); err != nil {
		return readError(err, 0, end)
	}
	return nil
}

// blobReader reads one entry. See Reader.Open.
type blobReader struct {
	blob    *Blob
	header  []byte // still to be compared; nil when done
	entry   io.Reader
	stored  io.LimitedReader // what the entry has between header and padding
	content io.Reader        // as the codec gives it from stored; nil before the first Read
	left    int64            // of content
	padding int64
	hash    hash.Hash
	err     error // what every further Read returns
}

// newBlobReader reads a blob from its entry: the tar header, what is stored, and so much padding.
func newBlobReader(b *Blob, header []byte, entry io.Reader, padding int64) *blobReader {
	return &blobReader{
		blob: b, header: header, entry: entry, stored: io.LimitedReader{R: entry, N: b.StoredSize()},
		left: b.Size, padding: padding, hash: sha256.New(),
	}
}

func (b *blobReader) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.content == nil {
		if b.err = b.begin(); b.err != nil {
			return 0, b.err
		}
	}
	if b.left > 0 {
		n, err = b.content.Read(p[:min(int64(len(p)), b.left)])
		b.hash.Write(p[:n])
		b.left -= int64(n)
	}
	switch {
	case b.left == 0:
		if b.err = b.finish(); b.err == nil {
			b.err = io.EOF
		}
	case err != nil:
		b.err = fmt.Errorf("%s: %w", b.blob.Digest, readError(err, 0, b.blob.Size))
	}
	return n, b.err
}

func (b *blobReader) begin() (err error) {
	if err := b.expect(b.header, "tar header"); err != nil {
		return err
	}
	b.content, err = codecs[b.blob.Stored].content(b.blob, &b.stored)
	return err
}

// finish checks what can be checked once all content has been read.
func (b *blobReader) finish() error {
	if got := Digest(b.hash.Sum(nil)); got != b.blob.Digest {
		return fmt.Errorf("%w: expected %s, got %s", ErrDigest, b.blob.Digest, got)
	}
	if n, err := b.content.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) || b.stored.N > 0 {
		return fmt.Errorf("%w: more is stored of %s than its content", ErrFormat, b.blob.Digest)
	}
	return b.expect(zeros[:b.padding], "padding")
}

func (b *blobReader) expect(want []byte, what string) error {
	if len(want) == 0 {
		return nil
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b.entry, got); err != nil {
		return fmt.Errorf("%s of %s: %w", what, b.blob.Digest, readError(err, 0, int64(len(want))))
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: the %s of %s is not what the signed tables make it", ErrFormat, what, b.blob.Digest)
	}
	return nil
}

// Close implements io.Closer; the file stays open for other readers.
func (b *blobReader) Close() error { return nil }
