package bundle

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Contents is everything that the signed object says. Roots and manifests are kept packed, in some 40 and 30 bytes a
// row and one copy of their text, since a bundle may have millions of them; they are given out as the Root and the
// ManifestRow that they were.
type Contents struct {
	Header  Header
	Blobs   []Blob
	Missing []Missing
	// TrustedRoot is Sigstore's trusted_root.json for the other side's convenience, as it was given, and nil for none. Nobody trusts it because
	// it came in a bundle.
	TrustedRoot []byte

	byDigest  []int32 // rows of Blobs, sorted by digest: half the memory of a map
	kinds     []kind  // by row of Blobs: manifests come first there
	roots     []packedRoot
	more      []rootColumns
	manifests []packedManifest
	texts     texts
}

// kind is what roots and manifests tables say of a manifest, wherever they name it.
type kind struct {
	mediaType    int8 // place in ManifestMediaTypes, from 1; 0 is not known
	artifactType text
}

type packedRoot struct {
	source, path, tag text
	blob              int32 // row of Blobs
	more              int32 // place in Contents.more, or -1
	private           bool
}

// rootColumns are the columns that few roots have.
type rootColumns struct {
	platforms    []string
	original     Digest
	referrerPath string
	usedBy       []string
}

type packedManifest struct {
	root, blob int32
	subject    int32 // row of Blobs, noSubject or subjectIsOriginal
	from       text
	via        int8 // place in vias
	suffix     int8 // of a cosign tag, place in CosignSuffixes
}

const (
	noSubject         = -1
	subjectIsOriginal = -2 // the root's, which is not in the bundle
)

// Find returns the row of the blobs table that holds d, and false where there is none.
func (c *Contents) Find(d Digest) (row int, found bool) {
	at, found := slices.BinarySearchFunc(c.byDigest, d, func(row int32, d Digest) int {
		return bytes.Compare(c.Blobs[row].Digest[:], d[:])
	})
	if !found {
		return 0, false
	}
	return int(c.byDigest[at]), true
}

// mediaTypeOf returns the media type of the manifest with the given digest; "" where there is no such manifest.
func (c *Contents) mediaTypeOf(d Digest) string {
	row, found := c.Find(d)
	if !found {
		return ""
	}
	return c.mediaType(int32(row))
}

// mediaType returns that of a manifest; "" for what is none.
func (c *Contents) mediaType(row int32) (mediaType string) {
	if int(row) < len(c.kinds) {
		mediaType, _ = c.kindOf(row)
	}
	return mediaType
}

func (c *Contents) kindOf(row int32) (mediaType, artifactType string) {
	k := c.kinds[row]
	if k.mediaType == 0 {
		return "", ""
	}
	return ManifestMediaTypes[k.mediaType-1], c.texts.get(k.artifactType)
}

// Root returns the given row of the roots table, counted from 0; Header.Counts says how many there are.
func (c *Contents) Root(i int) Root {
	packed := &c.roots[i]
	root := Root{
		Source: c.texts.get(packed.source), Path: c.texts.get(packed.path), Tag: c.texts.get(packed.tag),
		Digest: c.Blobs[packed.blob].Digest, Size: c.Blobs[packed.blob].Size, Private: packed.private,
	}
	root.MediaType, root.ArtifactType = c.kindOf(packed.blob)
	if packed.more >= 0 {
		more := &c.more[packed.more]
		root.Platforms, root.Original, root.ReferrerPath, root.UsedBy = more.platforms, more.original, more.referrerPath, more.usedBy
	}
	return root
}

// Roots yields the rows of the roots table.
func (c *Contents) Roots() iter.Seq2[int, Root] {
	return func(yield func(int, Root) bool) {
		for i := range c.roots {
			if !yield(i, c.Root(i)) {
				return
			}
		}
	}
}

// manifestRow returns the given row of the manifests table, counted from 0; Header.Counts says how many there are.
func (c *Contents) manifestRow(i int) ManifestRow {
	packed := &c.manifests[i]
	row := ManifestRow{
		Root: int(packed.root), Digest: c.Blobs[packed.blob].Digest, Size: c.Blobs[packed.blob].Size,
		Via: vias[packed.via], Subject: c.subject(packed), From: c.texts.get(packed.from),
	}
	row.MediaType, row.ArtifactType = c.kindOf(packed.blob)
	if row.Via == ViaCosignTag {
		row.Tag = row.Subject.FallbackTag() + CosignSuffixes[packed.suffix]
	}
	return row
}

func (c *Contents) subject(m *packedManifest) Digest {
	switch m.subject {
	case noSubject:
		return Digest{}
	case subjectIsOriginal:
		return c.more[c.roots[m.root].more].original
	}
	return c.Blobs[m.subject].Digest
}

// ManifestRows yields the rows of the manifests table.
func (c *Contents) ManifestRows() iter.Seq2[int, ManifestRow] {
	return func(yield func(int, ManifestRow) bool) {
		for i := range c.manifests {
			if !yield(i, c.manifestRow(i)) {
				return
			}
		}
	}
}

// RootManifests returns the rows of the manifests table that belong to the given root.
func (c *Contents) RootManifests(root int) []ManifestRow {
	compare := func(m packedManifest, root int32) int { return cmp.Compare(m.root, root) }
	first, _ := slices.BinarySearchFunc(c.manifests, int32(root), compare)
	count, _ := slices.BinarySearchFunc(c.manifests[first:], int32(root)+1, compare)
	rows := make([]ManifestRow, count)
	for i := range rows {
		rows[i] = c.manifestRow(first + i)
	}
	return rows
}

// text is a string among texts: half the size of Go's, and nothing for the collector to follow.
type text struct {
	at   uint32
	size uint16
}

type texts struct {
	buffer strings.Builder
}

// maxTexts is how many bytes of text fit. The limits of the tables keep it.
const maxTexts = 1<<32 - 1

func (t *texts) get(s text) string { return t.buffer.String()[s.at:][:s.size] }

// add keeps s. Where it is part of another text that is kept, that is enough.
func (t *texts) add(s string, others ...text) (text, error) {
	for _, other := range others {
		if at := strings.Index(t.get(other), s); at >= 0 {
			return text{other.at + uint32(at), uint16(len(s))}, nil
		}
	}
	if t.buffer.Len()+len(s) > maxTexts {
		return text{}, fmt.Errorf("%w: %d bytes of names", ErrLimit, t.buffer.Len())
	}
	kept := text{uint32(t.buffer.Len()), uint16(len(s))}
	t.buffer.WriteString(s)
	return kept, nil
}

// StoredBy returns the bundle that stores a blob which this one lists, self being this one's name: itself or a base. found is
// false where it does not list it with that size, or nobody stores it.
func (c *Contents) StoredBy(self Base, d Digest, size int64) (base Base, found bool) {
	row, listed := c.Find(d)
	if !listed || c.Blobs[row].Size != size {
		return Base{}, false
	}
	switch b := &c.Blobs[row]; b.Stored {
	case StoredFull:
		return self, true
	case StoredBase:
		return c.Header.Bases[b.Base], true
	}
	return Base{}, false
}

// LeftOut is what a bundle leaves to one of its bases.
type LeftOut struct {
	Base
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

// LeftOut returns what is left to each base, in the order of the header's bases.
func (c *Contents) LeftOut() []LeftOut {
	left := make([]LeftOut, len(c.Header.Bases))
	for i, base := range c.Header.Bases {
		left[i].Base = base
	}
	for i := range c.Blobs {
		if b := &c.Blobs[i]; b.Stored == StoredBase {
			left[b.Base].Blobs++
			left[b.Base].Bytes += b.Size
		}
	}
	return left
}

// Joined returns the tables of the bundle that stores what the delta with these tables does, and what it leaves out besides. self
// is the delta's manifest index. ErrUnsupported where it leaves nothing out, or has no number by which the whole could be known.
func (c *Contents) Joined(self Digest) (*Contents, error) {
	if len(c.Header.Bases) == 0 || c.Header.Sequence == 0 {
		return nil, fmt.Errorf("%w: only a numbered bundle of a mirror that leaves something out can be joined with what it builds on", ErrUnsupported)
	}
	whole := *c
	whole.Blobs = slices.Clone(c.Blobs)
	for i := range whole.Blobs {
		if b := &whole.Blobs[i]; b.Stored == StoredBase {
			b.Stored, b.Base = StoredFull, 0
		}
	}
	h := &whole.Header
	h.Joined, h.Bases = self, []Base{}
	h.Counts.Stored, h.Counts.Based = h.Counts.Stored+h.Counts.Based, 0
	h.Counts.StoredBytes, h.Counts.BasedBytes = h.Counts.StoredBytes+h.Counts.BasedBytes, 0
	h.Requires = (&contentsBuilder{contents: &whole}).features()
	return &whole, h.check()
}
