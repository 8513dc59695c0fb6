package bundle

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"airgap/bundle/archive"
)

// Layout is where everything lies in the one file that is valid for a signed index: a function of the contents, the
// signature and nothing else. Offsets and sizes are in bytes.
type Layout struct {
	contents      *Contents
	manifestIndex sized
	mtime         int64
	head          []headEntry
	headSize      int64
	artifact      Artifact
	offsets       []int64 // of what is stored of each row of the blobs table; -1 where it is not stored
	size          int64
}

// headEntry is an entry before the blobs. write gives its content, which may be too large to keep.
type headEntry struct {
	name  string
	size  int64
	write func(io.Writer) error
}

// Signer makes the signature over a manifest index: a Sigstore bundle (package verify/signature).
type Signer func(manifestIndex Digest) (sigstoreBundle []byte, err error)

// NewLayout signs contents and plans the file for them. The tables must be as Plan made them.
func NewLayout(c *Contents, sign Signer) (*Layout, error) {
	if err := c.Header.check(); err != nil {
		return nil, err
	}
	header := compact(c.Header)
	index, err := indexOf(c, header)
	if err != nil {
		return nil, err
	}
	sigstore, err := sign(DigestOf(index))
	if err != nil {
		return nil, fmt.Errorf("signing the manifest index: %w", err)
	}
	return newLayout(c, index, header, sigstore)
}

// indexOf returns the manifest index for c, whose tables are counted and hashed but not kept.
func indexOf(c *Contents, header []byte) ([]byte, error) {
	var tables []table
	for _, w := range tableWriters(c) {
		measured, err := measure(w.write)
		if err != nil {
			return nil, err
		}
		if measured.size > tableNames[w.name].limit {
			return nil, fmt.Errorf("%w: a %s table of %d bytes; export fewer images at a time", ErrLimit, tableNames[w.name].title, measured.size)
		}
		tables = append(tables, table{measured, w.name})
	}
	return manifestIndex(sized{DigestOf(header), int64(len(header))}, tables), nil
}

// tableWriter writes a table.
type tableWriter struct {
	name  int // place in tableNames
	write func(io.Writer) error
}

// tableWriters returns what writes the tables that there are, in the order of tableNames.
func tableWriters(c *Contents) []tableWriter {
	writers := []tableWriter{
		{tableRoots, func(w io.Writer) error { return writeLines(w, c.Roots()) }},
		{tableManifests, func(w io.Writer) error { return writeLines(w, c.ManifestRows()) }},
		{tableBlobs, func(w io.Writer) error { return writeLines(w, blobLines(c.Blobs)) }},
	}
	if len(c.Missing) > 0 {
		writers = append(writers, tableWriter{tableMissing, func(w io.Writer) error { return writeLines(w, slices.All(c.Missing)) }})
	}
	if c.TrustedRoot != nil {
		writers = append(writers, tableWriter{tableTrustedRoot, writeBytes(c.TrustedRoot)})
	}
	return writers
}

// measure runs write and returns digest and size of what it wrote.
func measure(write func(io.Writer) error) (sized, error) {
	hash := sha256.New()
	var n countingWriter
	if err := write(io.MultiWriter(hash, &n)); err != nil {
		return sized{}, err
	}
	return sized{Digest(hash.Sum(nil)), int64(n)}, nil
}

type countingWriter int64

func (n *countingWriter) Write(p []byte) (int, error) {
	*n += countingWriter(len(p))
	return len(p), nil
}

// newLayout plans the file. It is the one place that knows the order of the entries.
func newLayout(c *Contents, index, header, sigstore []byte) (*Layout, error) {
	created, err := c.Header.CreatedTime()
	if err != nil {
		return nil, err
	}
	if len(sigstore) > MaxSignatureSize {
		return nil, fmt.Errorf("%w: a signature of %d bytes", ErrLimit, len(sigstore))
	}
	_, tables, err := parseManifestIndex(index)
	if err != nil {
		return nil, err
	}
	l := &Layout{contents: c, mtime: created.Unix(), manifestIndex: sized{DigestOf(index), int64(len(index))}}
	h := headPlan{layout: l, placed: map[Digest]int64{}}
	h.add(layoutName, int64(len(layoutContent)), writeBytes([]byte(layoutContent)))
	a := &l.artifact
	a.Index = h.blob(index)
	a.Blobs = append(a.Blobs, h.blob(header))
	for i, w := range tableWriters(c) {
		a.Blobs = append(a.Blobs, h.sized(tables[i].sized, w.write))
	}
	a.Signature = h.blob(sigstoreManifest(l.manifestIndex, sized{DigestOf(sigstore), int64(len(sigstore))}, signaturePredicateType, c.Header.Created))
	a.Blobs = append(a.Blobs, h.blob([]byte("{}")), h.blob(sigstore))
	a.Index.MediaType, a.Index.ArtifactType = MediaTypeOCIManifest, ArtifactTypeBundle
	a.Signature.MediaType, a.Signature.ArtifactType = MediaTypeOCIManifest, MediaTypeSigstore
	if err := h.index(); err != nil {
		return nil, err
	}
	return l, l.placeBlobs(h.placed)
}

// headPlan appends entries to the head of a layout.
type headPlan struct {
	layout *Layout
	placed map[Digest]int64 // where content lies that the head already holds: nothing is stored twice
}

func (h *headPlan) add(name string, size int64, write func(io.Writer) error) (at int64) {
	l := h.layout
	at = l.headSize + archive.HeaderSize(size)
	l.head = append(l.head, headEntry{name, size, write})
	l.headSize += archive.EntrySize(size)
	return at
}

// sized adds a blob whose content write gives, unless it is there.
func (h *headPlan) sized(d sized, write func(io.Writer) error) Object {
	if _, ok := h.placed[d.digest]; !ok {
		h.placed[d.digest] = h.add(blobName(d.digest), d.size, write)
	}
	return Object{Descriptor{Digest: d.digest, Size: d.size}, write}
}

// blob adds a small blob, unless it is there.
func (h *headPlan) blob(content []byte) Object {
	return h.sized(sized{DigestOf(content), int64(len(content))}, writeBytes(content))
}

// index adds index.json and the fallback indexes.
func (h *headPlan) index() error {
	c, artifact := h.layout.contents, &h.layout.artifact
	fallbacks, repeated := c.fallbackIndexes(), c.repeatedNames()
	write := func(w io.Writer) error {
		return writeIndexJSON(w, c, artifact.Index.Descriptor, artifact.Signature.Descriptor, fallbacks, repeated)
	}
	measured, err := measure(write)
	if err != nil {
		return err
	}
	h.add(indexName, measured.size, write)
	for _, f := range fallbacks {
		h.sized(f.sized, func(w io.Writer) error {
			_, err := w.Write(f.content(c))
			return err
		})
	}
	return nil
}

func (l *Layout) placeBlobs(placed map[Digest]int64) error {
	l.offsets = make([]int64, len(l.contents.Blobs))
	at := l.headSize
	for i := range l.contents.Blobs {
		b := &l.contents.Blobs[i]
		switch inHead, ok := placed[b.Digest]; {
		case !b.IsStored():
			l.offsets[i] = -1
		case ok:
			l.offsets[i] = inHead
		default:
			l.offsets[i] = at + archive.HeaderSize(b.StoredSize())
			at += archive.EntrySize(b.StoredSize())
		}
		if at > MaxFileSize {
			return fmt.Errorf("%w: the bundle would be larger than %d bytes", ErrLimit, int64(MaxFileSize))
		}
	}
	l.size = at + archive.TrailerSize
	return nil
}

func writeBytes(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// Contents returns the tables.
func (l *Layout) Contents() *Contents { return l.contents }

// ManifestIndex returns the digest of the signed object: the one hash that stands for the whole bundle.
func (l *Layout) ManifestIndex() Digest { return l.manifestIndex.digest }

// Size returns the size of the file.
func (l *Layout) Size() int64 { return l.size }

// HasEntry tells whether the given row of the blobs table has an entry of its own: it is stored, and not already
// part of the head.
func (l *Layout) HasEntry(row int) bool { return l.offsets[row] > l.headSize }

// rowHeader returns the tar header of a row of the blobs table, which ends where what is stored of it begins.
func (l *Layout) rowHeader(row int) []byte {
	b := &l.contents.Blobs[row]
	return archive.Header(blobName(b.Digest), b.StoredSize(), l.mtime)
}

// entry returns where the entry of a row begins and ends, header and padding included.
func (l *Layout) entry(row int) (start, end int64) {
	size := l.contents.Blobs[row].StoredSize()
	start = l.offsets[row] - archive.HeaderSize(size)
	return start, start + archive.EntrySize(size)
}

// endBefore returns where the last entry ends of the rows before the given one.
func (l *Layout) endBefore(row int) int64 {
	for row--; row >= 0; row-- {
		if l.HasEntry(row) {
			_, end := l.entry(row)
			return end
		}
	}
	return l.headSize
}

// proofs returns the row before which there is everything but layers, or as much of it as takes no more than limit bytes after
// the manifests.
func (l *Layout) proofs(limit int64) (before int) {
	end, manifestsEnd := l.headSize, l.headSize
	for row := range l.contents.Blobs {
		next := end
		if l.HasEntry(row) {
			_, next = l.entry(row)
		}
		switch role := l.contents.Blobs[row].Role; {
		case role == RoleManifest:
			manifestsEnd = next
		case role == RoleLayer, next > manifestsEnd+limit:
			return row
		}
		end = next
	}
	return len(l.contents.Blobs)
}

// writeHead writes everything before the blobs.
func (l *Layout) writeHead(w io.Writer) error {
	for _, e := range l.head {
		if err := l.writeHeadEntry(w, e); err != nil {
			return err
		}
	}
	return nil
}

func (l *Layout) writeHeadEntry(w io.Writer, e headEntry) error {
	if _, err := w.Write(archive.Header(e.name, e.size, l.mtime)); err != nil {
		return err
	}
	if err := e.write(w); err != nil {
		return err
	}
	_, err := w.Write(zeros[:archive.Padding(e.size)])
	return err
}

var zeros [archive.TrailerSize]byte

func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

// Object is one object of an artifact. Write gives its content.
type Object struct {
	Descriptor

	Write func(io.Writer) error
}

// Manifest returns the bytes of an object that is a manifest, and what they say.
func (o Object) Manifest() ([]byte, *Manifest, error) {
	var content bytes.Buffer
	if err := o.Write(&content); err != nil {
		return nil, nil, err
	}
	m, err := ParseManifest(o.MediaType, content.Bytes())
	return content.Bytes(), m, err
}

// Artifact is the signed object of a bundle as a repository keeps it: two manifests, the second of which refers to the first, and
// the blobs that they name, each once.
type Artifact struct {
	Blobs     []Object
	Index     Object // the manifest index
	Signature Object
	Beside    []Beside
}

// Beside is a Sigstore bundle about a manifest index that is not in the bundle: another signature, or an approval.
type Beside struct {
	Blob     Object
	Manifest Object // which refers to the manifest index
}

// With returns the artifact of the header's bundle together with what came beside it. Statements in content have the predicate type.
func (a Artifact) With(content []byte, predicateType string, header *Header) Artifact {
	object := func(content []byte) Object {
		return Object{Descriptor{Digest: DigestOf(content), Size: int64(len(content))}, writeBytes(content)}
	}
	b := Beside{Blob: object(content)}
	index, blob := sized{a.Index.Digest, a.Index.Size}, sized{b.Blob.Digest, b.Blob.Size}
	b.Manifest = object(sigstoreManifest(index, blob, predicateType, header.Created))
	b.Manifest.MediaType, b.Manifest.ArtifactType = MediaTypeOCIManifest, MediaTypeSigstore
	a.Beside = append(slices.Clip(a.Beside), b)
	return a
}

// Size adds up what a repository has to keep, in bytes.
func (a Artifact) Size() int64 {
	total := a.Index.Size + a.Signature.Size
	for _, o := range a.Blobs {
		total += o.Size
	}
	for _, b := range a.Beside {
		total += b.Blob.Size + b.Manifest.Size
	}
	return total
}

// Artifact returns what a ledger or a record keeps of the bundle.
func (l *Layout) Artifact() Artifact { return l.artifact }
