package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"airgap/bundle/disk"
	"airgap/bundle/strictjson"
)

// Head is the signed object of a bundle with its signatures, and where header and tables can be had: in the bundle, or in a
// repository that keeps them (FORMAT.md, "The ledger and the record"). Nothing of it is to be believed before a signature over
// ManifestIndex has been checked, which is package verify's to do.
type Head struct {
	index         []byte
	manifestIndex Digest
	header        sized
	tables        []table
	signatures    [][]byte
	headerBytes   func(context.Context) ([]byte, error) // its digest checked
	openTables    func(context.Context) (tableSource, error)
}

// tableSource is where the tables of a head lie.
type tableSource struct {
	io.ReaderAt

	at    []int64
	close func() error
}

// ReadHead makes a head of a manifest index and of what may be signatures over it (Sigstore bundles of at most MaxSignatureSize
// bytes). blob gives header and tables, when they are asked for; what it gives is bounded and checked. ErrFormat where index is no
// manifest index, ErrLimit.
func ReadHead(index []byte, signatures [][]byte, blob func(context.Context, Descriptor) (io.ReadCloser, error)) (*Head, error) {
	if len(index) > MaxManifestIndexSize {
		return nil, fmt.Errorf("%w: a manifest index of %d bytes", ErrLimit, len(index))
	}
	h := &Head{index: index, manifestIndex: DigestOf(index), signatures: signatures}
	var err error
	if h.header, h.tables, err = parseManifestIndex(index); err != nil {
		return nil, err
	}
	h.headerBytes = func(ctx context.Context) ([]byte, error) {
		f, err := download(ctx, []sized{h.header}, blob)
		if err != nil {
			return nil, err
		}
		b, err := readSmall(f, 0, h.header)
		return b, errors.Join(err, f.close())
	}
	h.openTables = func(ctx context.Context) (tableSource, error) {
		all := make([]sized, len(h.tables))
		for i, t := range h.tables {
			all[i] = t.sized
		}
		return download(ctx, all, blob)
	}
	return h, nil
}

// download brings content into a temporary file. Digests are checked when it is read.
func download(ctx context.Context, all []sized, blob func(context.Context, Descriptor) (io.ReadCloser, error)) (tableSource, error) {
	f, err := disk.NewTemporary("")
	if err != nil {
		return tableSource{}, err
	}
	source := tableSource{ReaderAt: f, close: f.Close}
	end := int64(0)
	for _, d := range all {
		content, err := blob(ctx, Descriptor{Digest: d.digest, Size: d.size})
		if err == nil {
			_, err = io.Copy(io.NewOffsetWriter(f, end), &contextReader{ctx, io.LimitReader(content, d.size)})
			err = errors.Join(err, content.Close())
		}
		if err != nil {
			return tableSource{}, errors.Join(err, f.Close())
		}
		source.at = append(source.at, end)
		end += d.size
	}
	return source, nil
}

// ManifestIndex returns the digest of the signed object, over which a signature must be.
func (h *Head) ManifestIndex() Digest { return h.manifestIndex }

// Signatures returns the Sigstore bundles that may be signatures; each at most MaxSignatureSize bytes, none checked.
func (h *Head) Signatures() [][]byte { return h.signatures }

// Header reads the header alone, and checks every rule of FORMAT.md for it. Call it when a signature has been checked.
func (h *Head) Header(ctx context.Context) (*Header, error) {
	b, err := h.headerBytes(ctx)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	header, err := parseHeader(b)
	return &header, err
}

// Contents reads header and tables, and checks every rule of FORMAT.md but those about manifests. Everything is bounded before it is
// read. Call it when a signature has been checked.
func (h *Head) Contents(ctx context.Context) (c *Contents, err error) {
	header, err := h.Header(ctx)
	if err != nil {
		return nil, err
	}
	source, err := h.openTables(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	var tables tableReaders
	for i, t := range h.tables {
		if err := checkDigest(ctx, source, source.at[i], t.sized); err != nil {
			return nil, fmt.Errorf("%s: %w", tableNames[t.name].title, err)
		}
		tables[t.name] = io.NewSectionReader(source, source.at[i], t.size)
	}
	if c, err = readTables(*header, tables); err != nil {
		return nil, err
	}
	// Writing the tables again must give the signed bytes: then there is one spelling, and what was parsed is what
	// was hashed even if the file changed in between.
	if index, err := indexOf(c, compact(*header)); err != nil || !bytes.Equal(index, h.index) {
		return nil, errors.Join(fmt.Errorf("%w: the tables are not spelled as FORMAT.md says", ErrFormat), err)
	}
	return c, nil
}

// parseHeader reads a header in its one spelling.
func parseHeader(b []byte) (header Header, err error) {
	if err := strictjson.Unmarshal(b, &header); err != nil {
		return header, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	if err := header.check(); err != nil {
		return header, err
	}
	if header.Requires == nil || header.Bases == nil || !bytes.Equal(compact(header), b) {
		return header, fmt.Errorf("%w: the header is not spelled as FORMAT.md says", ErrFormat)
	}
	return header, nil
}

func readSmall(source io.ReaderAt, at int64, want sized) ([]byte, error) {
	b := make([]byte, want.size)
	if _, err := source.ReadAt(b, at); err != nil {
		return nil, readError(err, at, want.size)
	}
	if got := DigestOf(b); got != want.digest {
		return nil, fmt.Errorf("%w: expected %s, got %s", ErrDigest, want.digest, got)
	}
	return b, nil
}

func checkDigest(ctx context.Context, source io.ReaderAt, at int64, want sized) error {
	h := sha256.New()
	n, err := io.Copy(h, &contextReader{ctx, io.NewSectionReader(source, at, want.size)})
	if err != nil {
		return err
	}
	if n != want.size {
		return readError(io.EOF, at, want.size)
	}
	if got := Digest(h.Sum(nil)); got != want.digest {
		return fmt.Errorf("%w: expected %s, got %s", ErrDigest, want.digest, got)
	}
	return nil
}

func readError(err error, at, n int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends before byte %d: the file is cut short, or no bundle", ErrFormat, at+n)
	}
	return fmt.Errorf("reading %d bytes at byte %d: %w", n, at, err)
}

// contextReader ends a long read when its context does.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
