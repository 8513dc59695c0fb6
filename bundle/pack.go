package bundle

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// contentsBuilder packs tables, whose rows must be added in their order: blobs, roots, manifests, missing. It refuses what
// FORMAT.md does not allow, for a reader and a writer alike.
type contentsBuilder struct {
	contents *Contents
	counts   Counts
	root     Root        // added last
	manifest ManifestRow // added last
	leansOn  []bool      // by place in Header.Bases
	repeated map[string]text
}

// maxRepeated bounds contentsBuilder.repeated: a table of ever new strings must not pay for a map of them.
const maxRepeated = 10_000

// newContentsBuilder begins with a header, of which only what the tables cannot say is looked at.
func newContentsBuilder(h Header) *contentsBuilder {
	return &contentsBuilder{contents: &Contents{Header: h}, leansOn: make([]bool, len(h.Bases)), repeated: map[string]text{}}
}

// repeat keeps s, which many rows share.
func (b *contentsBuilder) repeat(s string) (kept text, err error) {
	kept, known := b.repeated[s]
	if known {
		return kept, nil
	}
	if kept, err = b.contents.texts.add(s); len(b.repeated) < maxRepeated {
		b.repeated[s] = kept
	}
	return kept, err
}

func (b *contentsBuilder) addBlobLine(line *blobLine) error {
	blob, err := line.blob()
	if err != nil {
		return err
	}
	return b.addBlob(&blob)
}

func (b *contentsBuilder) addBlob(blob *Blob) error {
	c := b.contents
	if err := blob.check(); err != nil {
		return err
	}
	kept := *blob
	if last := len(c.Blobs) - 1; last >= 0 {
		if c.Blobs[last].Role > blob.Role {
			return fmt.Errorf("the %s %s after a %s", blob.Role, blob.Digest, c.Blobs[last].Role)
		}
		if c.Blobs[last].Stored == blob.Stored {
			kept.Stored = c.Blobs[last].Stored // one copy of the word
		}
	}
	if blob.IsStored() {
		b.counts.Stored++
		if b.counts.StoredBytes += blob.StoredSize(); b.counts.StoredBytes > MaxFileSize {
			return fmt.Errorf("%w: the blobs table adds up to more than %d bytes", ErrLimit, int64(MaxFileSize))
		}
	}
	if blob.Stored == StoredBase {
		if err := b.lean(blob); err != nil {
			return err
		}
	}
	b.counts.Blobs++
	c.Blobs = append(c.Blobs, kept)
	return nil
}

// lean counts a blob that a base stores.
func (b *contentsBuilder) lean(blob *Blob) error {
	if blob.Base < 0 || int(blob.Base) >= len(b.contents.Header.Bases) {
		return fmt.Errorf("base %d of %d", blob.Base, len(b.contents.Header.Bases))
	}
	b.leansOn[blob.Base] = true
	b.counts.Based++
	if b.counts.BasedBytes += blob.Size; b.counts.BasedBytes > MaxFileSize {
		return fmt.Errorf("%w: what bases store adds up to more than %d bytes", ErrLimit, int64(MaxFileSize))
	}
	return nil
}

// indexBlobs is called between the blobs and the roots. A digest that occurs twice is ErrFormat.
func (b *contentsBuilder) indexBlobs() error {
	c := b.contents
	manifests := 0
	c.byDigest = make([]int32, len(c.Blobs))
	for i := range c.Blobs {
		c.byDigest[i] = int32(i)
		if c.Blobs[i].Role == RoleManifest {
			manifests++
		}
	}
	c.kinds = make([]kind, manifests)
	compare := func(a, b int32) int { return bytes.Compare(c.Blobs[a].Digest[:], c.Blobs[b].Digest[:]) }
	slices.SortFunc(c.byDigest, compare)
	for i := 1; i < len(c.byDigest); i++ {
		if compare(c.byDigest[i-1], c.byDigest[i]) == 0 {
			return fmt.Errorf("%w: the blobs table lists %s twice", ErrFormat, c.Blobs[c.byDigest[i]].Digest)
		}
	}
	return nil
}

// describe finds the row of the blobs table for a manifest, which every row of every table must describe alike.
func (b *contentsBuilder) describe(d Digest, size int64, mediaType, artifactType string) (int32, error) {
	c := b.contents
	row, found := c.Find(d)
	switch {
	case !found || row >= len(c.kinds):
		return 0, fmt.Errorf("the blobs table has no manifest %s", d)
	case c.Blobs[row].Size != size:
		return 0, fmt.Errorf("%s has %d bytes here, and %d in the blobs table", d, size, c.Blobs[row].Size)
	}
	if known, artifact := c.kindOf(int32(row)); known != "" {
		if known != mediaType || artifact != artifactType {
			return 0, fmt.Errorf("%s is described in two ways: %.100q %.100q and %.100q %.100q", d, known, artifact, mediaType, artifactType)
		}
		return int32(row), nil
	}
	kept, err := b.repeat(artifactType)
	c.kinds[row] = kind{int8(slices.Index(ManifestMediaTypes, mediaType) + 1), kept}
	return int32(row), err
}

func (b *contentsBuilder) addRoot(r *Root) (err error) {
	if err := r.check(); err != nil {
		return err
	}
	c := b.contents
	if len(c.roots) > 0 && (compareRoots(b.root, *r) >= 0 || r.Tag != "" && b.root.Destination() == r.Destination()) {
		return fmt.Errorf("it is out of order or names %s twice", r.Destination())
	}
	b.root = *r
	packed := packedRoot{more: -1, private: r.Private}
	if packed.blob, err = b.describe(r.Digest, r.Size, r.MediaType, r.ArtifactType); err != nil {
		return fmt.Errorf("no row of the manifests table is the root: %w", err)
	}
	if packed.source, err = c.texts.add(r.Source); err != nil {
		return err
	}
	near := []text{packed.source}
	if last := len(c.roots) - 1; last >= 0 {
		near = append(near, c.roots[last].path)
	}
	if packed.path, err = c.texts.add(r.Path, near...); err != nil {
		return err
	}
	if packed.tag, err = c.texts.add(r.Tag, near...); err != nil {
		return err
	}
	if len(r.Platforms)+len(r.UsedBy) > 0 || r.ReferrerPath != "" {
		packed.more = int32(len(c.more))
		c.more = append(c.more, rootColumns{r.Platforms, r.Original, r.ReferrerPath, r.UsedBy})
	}
	b.counts.Roots++
	c.roots = append(c.roots, packed)
	return nil
}

func (b *contentsBuilder) addManifest(m *ManifestRow) (err error) {
	c := b.contents
	if err := m.check(len(c.roots)); err != nil {
		return err
	}
	if len(c.manifests) > 0 && compareManifests(b.manifest, *m) >= 0 {
		return fmt.Errorf("it is out of order or names %s twice", m.Digest)
	}
	b.manifest = *m
	packed := packedManifest{root: int32(m.Root), subject: noSubject, via: int8(slices.Index(vias, m.Via))}
	if packed.blob, err = b.describe(m.Digest, m.Size, m.MediaType, m.ArtifactType); err != nil {
		return err
	}
	if !m.Subject.IsZero() {
		more := c.roots[m.Root].more
		switch row, found := c.Find(m.Subject); {
		case found:
			packed.subject = int32(row)
		case more >= 0 && c.more[more].original == m.Subject:
			packed.subject = subjectIsOriginal
		default:
			return fmt.Errorf("%s is listed as reached via %s, but is not: its subject %s is not there", m.Digest, m.Via, m.Subject)
		}
	}
	if m.Via == ViaCosignTag {
		packed.suffix = int8(slices.Index(CosignSuffixes, strings.TrimPrefix(m.Tag, m.Subject.FallbackTag())))
	}
	if packed.from, err = b.repeat(m.From); err != nil {
		return err
	}
	b.counts.Manifests++
	c.manifests = append(c.manifests, packed)
	return nil
}

func (b *contentsBuilder) addMissing(m *Missing) error {
	if err := m.check(); err != nil {
		return err
	}
	c := b.contents
	if last := len(c.Missing) - 1; last >= 0 && compareMissing(c.Missing[last], *m) >= 0 {
		return fmt.Errorf("it is out of order or names %s twice", m.Source)
	}
	b.counts.Missing++
	c.Missing = append(c.Missing, *m)
	return nil
}

// checkCosignTags refuses cosign tags that would have to point at two manifests in one repository. Which of its two a
// root's tag goes to depends on what it hangs from; that it is the same in both can be demanded. Errors wrap ErrCollision.
func (c *Contents) checkCosignTags() error {
	type place struct {
		path string
		row  int32
	}
	var places []place
	for i := range c.manifests {
		m := &c.manifests[i]
		if vias[m.via] != ViaCosignTag {
			continue
		}
		root := &c.roots[m.root]
		places = append(places, place{c.texts.get(root.path), int32(i)})
		if root.more >= 0 && c.more[root.more].referrerPath != "" {
			places = append(places, place{c.more[root.more].referrerPath, int32(i)})
		}
	}
	compare := func(a, b place) int {
		m, other := &c.manifests[a.row], &c.manifests[b.row]
		of, otherOf := c.subject(m), c.subject(other)
		return cmp.Or(bytes.Compare(of[:], otherOf[:]), cmp.Compare(m.suffix, other.suffix), cmp.Compare(a.path, b.path))
	}
	slices.SortStableFunc(places, compare)
	var problems Problems
	for i := 1; i < len(places); i++ {
		if compare(places[i-1], places[i]) != 0 || c.manifests[places[i-1].row].blob == c.manifests[places[i].row].blob {
			continue
		}
		first, second := c.manifestRow(int(places[i-1].row)), c.manifestRow(int(places[i].row))
		problems.Add(fmt.Errorf("%w: %s:%s is %s in %s and %s in %s: give one of the images another destination",
			ErrCollision, places[i].path, first.Tag, first.Digest, first.From, second.Digest, second.From))
	}
	return problems.Err()
}

// checkHeader checks what follows for the header from the tables, but for features and counts.
func (b *contentsBuilder) checkHeader() error {
	if unused := slices.Index(b.leansOn, false); unused >= 0 {
		return fmt.Errorf("the base %s stores nothing that the bundle needs", b.contents.Header.Bases[unused])
	}
	if b.contents.Header.Completes == nil {
		return nil
	}
	for i := range b.contents.roots {
		if root := b.contents.Root(i); root.Tag != "" {
			return fmt.Errorf("a supplement moves no tags, and this one has the root %s", root.Destination())
		}
	}
	return nil
}

// features returns those that the tables use, sorted: never nil, since the header has an array.
func (b *contentsBuilder) features() []string {
	c := b.contents
	used := []string{}
	for _, feature := range []struct {
		name string
		uses bool
	}{
		{featureBases, len(c.Header.Bases) > 0},
		{featureJoined, !c.Header.Joined.IsZero()},
		{featureMissing, len(c.Missing) > 0},
		{featurePlatforms, slices.ContainsFunc(c.more, func(r rootColumns) bool { return len(r.platforms) > 0 })},
		{featureReferrerPath, slices.ContainsFunc(c.more, func(r rootColumns) bool { return r.referrerPath != "" })},
		{featureSupplement, c.Header.Completes != nil},
		{featureTrustedRoot, c.TrustedRoot != nil},
		{featureUsedBy, slices.ContainsFunc(c.more, func(r rootColumns) bool { return len(r.usedBy) > 0 })},
	} {
		if feature.uses {
			used = append(used, feature.name)
		}
	}
	return used
}

// tableReaders are the tables of a bundle by their place in tableNames; nil where there is no such table.
type tableReaders [tableTrustedRoot + 1]*io.SectionReader

// minLineSize is less than a row of any large table takes, so that no count in a header makes more room than a table of
// that size could need.
const minLineSize = 100

// rowsIn returns how many rows to make room for.
func rowsIn(table *io.SectionReader, counted int) int {
	return min(counted, int(table.Size()/minLineSize))
}

// readTables reads the tables, in which everything must be in order, within the limits and counted by the header.
func readTables(h Header, tables tableReaders) (*Contents, error) {
	b := newContentsBuilder(h)
	c := b.contents
	c.Blobs = make([]Blob, 0, rowsIn(tables[tableBlobs], h.Counts.Blobs))
	c.roots = make([]packedRoot, 0, rowsIn(tables[tableRoots], h.Counts.Roots))
	c.manifests = make([]packedManifest, 0, rowsIn(tables[tableManifests], h.Counts.Manifests))
	var missing io.Reader = strings.NewReader("")
	if tables[tableMissing] != nil {
		missing = tables[tableMissing]
	}
	for _, read := range []func() error{
		func() error { return readLines(tables[tableBlobs], "blobs", h.Counts.Blobs, b.addBlobLine) },
		b.indexBlobs,
		func() error { return readLines(tables[tableRoots], "roots", h.Counts.Roots, b.addRoot) },
		func() error { return readLines(tables[tableManifests], "manifests", h.Counts.Manifests, b.addManifest) },
		func() error { return readLines(missing, "missing", h.Counts.Missing, b.addMissing) },
		func() (err error) { c.TrustedRoot, err = readTrustedRoot(tables[tableTrustedRoot]); return err },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	if err := c.checkCosignTags(); err != nil {
		return nil, fmt.Errorf("%w: manifests table: %w", ErrFormat, err)
	}
	if err := b.checkHeader(); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	if required := b.features(); !slices.Equal(h.Requires, required) {
		return nil, fmt.Errorf("%w: the header requires %q, the tables use %q", ErrFormat, h.Requires, required)
	}
	if b.counts != h.Counts {
		return nil, fmt.Errorf("%w: the header counts %+v, the tables %+v", ErrFormat, h.Counts, b.counts)
	}
	return c, nil
}

// readTrustedRoot reads a file of at most MaxTrustedRootSize bytes; nil where there is none.
func readTrustedRoot(file *io.SectionReader) ([]byte, error) {
	if file == nil {
		return nil, nil
	}
	b := make([]byte, file.Size())
	_, err := io.ReadFull(file, b)
	return b, err
}
