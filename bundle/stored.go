package bundle

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Stored says whether the file holds a blob's content, and how.
type Stored string

// The values of the stored column. A reader refuses any other.
const (
	StoredFull             Stored = "full"             // the content as it is
	StoredBase             Stored = "base"             // a config or layer that an earlier bundle stores, left out
	StoredNondistributable Stored = "nondistributable" // a layer that may not be distributed, left out
)

// codec is how the file holds the content of a row of the blobs table: what lies there has a size of its own, and digest
// and size of the row are those of the content.
type codec interface {
	// storedSize returns how many bytes of the file the content takes.
	storedSize(*Blob) int64
	// content gives the content from what is stored. Whether it is the right one is checked behind it.
	content(b *Blob, stored io.Reader) (io.Reader, error)
}

// codecs are the known values of the stored column. Those without a codec have no entry in the file.
var codecs = map[Stored]codec{
	StoredFull:             fullCodec{},
	StoredBase:             nil,
	StoredNondistributable: nil,
}

type fullCodec struct{}

func (fullCodec) storedSize(b *Blob) int64                             { return b.Size }
func (fullCodec) content(_ *Blob, stored io.Reader) (io.Reader, error) { return stored, nil }

// IsStored tells whether the content can be had from the file.
func (b *Blob) IsStored() bool { return codecs[b.Stored] != nil }

// mayLean tells whether a base may store the content in this bundle's stead. What proves what an image is always travels.
func (b *Blob) mayLean() bool { return b.Role == RoleConfig || b.Role == RoleLayer }

// IsNeeded tells whether registries want the content before they take a manifest that lists it.
func (b *Blob) IsNeeded() bool { return b.Stored != StoredNondistributable }

// StoredSize returns how many bytes of the file the content takes, without header and padding; 0 where it is not stored.
func (b *Blob) StoredSize() int64 {
	if c := codecs[b.Stored]; c != nil {
		return c.storedSize(b)
	}
	return 0
}

// Base names a bundle that another one builds on (FORMAT.md, "Deltas"): its digest, and what its header says of it.
type Base struct {
	ManifestIndex Digest `json:"manifestIndex"`
	Mirror        string `json:"mirror"`   // "" for none
	Sequence      uint64 `json:"sequence"` // 0 for none
	Created       string `json:"created"`  // RFC 3339, whole seconds, UTC
}

// MaxBases is how many bundles one may build on.
const MaxBases = 4096

// Name says for people which bundle it is: "dhi@12", or its digest where it has no number.
func (b Base) Name() string {
	if b.Sequence == 0 {
		return b.ManifestIndex.String()
	}
	return fmt.Sprintf("%s@%d", b.Mirror, b.Sequence)
}

// String is the name with the day and the digest.
func (b Base) String() string {
	day, _, _ := strings.Cut(b.Created, "T")
	if b.Sequence == 0 {
		return b.Name() + " of " + day
	}
	return fmt.Sprintf("%s of %s, %s", b.Name(), day, b.ManifestIndex)
}

// compareBases is the order of the header's bases.
func compareBases(a, b Base) int {
	return cmp.Or(cmp.Compare(a.Mirror, b.Mirror), cmp.Compare(a.Sequence, b.Sequence),
		bytes.Compare(a.ManifestIndex[:], b.ManifestIndex[:]), cmp.Compare(a.Created, b.Created))
}

// maxMirrorSize leaves room in a tag for the sequence and the beginning of a digest.
const maxMirrorSize = 100

var mirrorPattern = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)

// CheckMirror returns an error that wraps ErrFormat where s is not the name of a mirror.
func CheckMirror(s string) error {
	if len(s) > maxMirrorSize || !mirrorPattern.MatchString(s) {
		return fmt.Errorf("%w: %.150q is not the name of a mirror: lower-case letters, digits and, in between, . _ and - are allowed, %d characters at most", ErrFormat, s, maxMirrorSize)
	}
	return nil
}

// checkNumber checks what a header, or a base, says of the series that a bundle belongs to.
func checkNumber(mirror string, sequence uint64, isSupplement bool) error {
	if mirror != "" {
		if err := CheckMirror(mirror); err != nil {
			return err
		}
	}
	switch {
	case isSupplement && (mirror == "" || sequence != 0):
		return errors.New("a supplement has the mirror of the bundle that it completes, and no sequence")
	case !isSupplement && (mirror == "") != (sequence == 0):
		return fmt.Errorf("mirror %q with sequence %d: one without the other", mirror, sequence)
	}
	return nil
}

func (b *Base) check() error {
	if b.ManifestIndex.IsZero() {
		return errors.New("a base without a digest")
	}
	if err := checkNumber(b.Mirror, b.Sequence, false); err != nil {
		return err
	}
	_, err := parseCreated(b.Created)
	return err
}

// checkSeries checks which series the bundle belongs to, and what it builds on.
func (h *Header) checkSeries() error {
	if err := checkNumber(h.Mirror, h.Sequence, h.Completes != nil); err != nil {
		return err
	}
	if _, err := h.CreatedTime(); err != nil {
		return err
	}
	if h.Completes != nil {
		if err := h.Completes.check(); err != nil {
			return fmt.Errorf("completes: %w", err)
		}
		if h.Completes.Mirror != h.Mirror {
			return fmt.Errorf("a supplement of %s is of that mirror, and not of %q", h.Completes.Name(), h.Mirror)
		}
	}
	if !h.Joined.IsZero() && (h.Sequence == 0 || len(h.Bases) > 0) {
		return errors.New("only a whole bundle of a mirror can be a delta that was joined")
	}
	return h.checkBases()
}

func (h *Header) checkBases() error {
	if len(h.Bases) > MaxBases {
		return fmt.Errorf("%w: %d bases", ErrLimit, len(h.Bases))
	}
	seen := map[Digest]bool{}
	for i, base := range h.Bases {
		if err := base.check(); err != nil {
			return fmt.Errorf("base %d: %w", i, err)
		}
		switch {
		case i > 0 && compareBases(h.Bases[i-1], base) >= 0:
			return fmt.Errorf("the bases are out of order at %s", base)
		case seen[base.ManifestIndex]:
			return fmt.Errorf("the base %s is listed twice", base.ManifestIndex)
		case h.Sequence > 0 && base.Mirror == h.Mirror && base.Sequence >= h.Sequence:
			return fmt.Errorf("%s@%d cannot build on %s", h.Mirror, h.Sequence, base.Name())
		}
		seen[base.ManifestIndex] = true
	}
	return nil
}

// Base names the bundle with this header, given the digest of its manifest index.
func (h *Header) Base(manifestIndex Digest) Base {
	return Base{ManifestIndex: manifestIndex, Mirror: h.Mirror, Sequence: h.Sequence, Created: h.Created}
}

// Identity returns the digest by which the bundle with this header is known among those of its mirror and sequence, given that of
// its manifest index: a delta that was joined brings the same as the delta.
func (h *Header) Identity(manifestIndex Digest) Digest {
	if !h.Joined.IsZero() {
		return h.Joined
	}
	return manifestIndex
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

// EntryTag returns the tag under which a ledger or a record keeps the bundle with this header, given the digest of its manifest
// index: MIRROR-SEQUENCE, or one with the beginning of the digest where the bundle has no number of its own (FORMAT.md, "The ledger
// and the record").
func (h *Header) EntryTag(manifestIndex Digest) string {
	switch {
	case h.Mirror == "":
		return "bundle-" + manifestIndex.Hex()[:entryHex]
	case h.Sequence == 0:
		return SequenceTag(h.Mirror, h.Completes.Sequence) + "-" + manifestIndex.Hex()[:entryHex]
	}
	return SequenceTag(h.Mirror, h.Sequence)
}

// entryHex is how many hexadecimal characters of a digest keep entries apart.
const entryHex = 12

// SequenceTag returns the tag of the bundle of a mirror that has the given number.
func SequenceTag(mirror string, sequence uint64) string {
	return fmt.Sprintf("%s-%06d", mirror, sequence)
}

var entryPattern = regexp.MustCompile(`^(.+)-([0-9]{6,20})$`)

// ParseSequenceTag reads what SequenceTag writes; ok is false for all other tags.
func ParseSequenceTag(tag string) (mirror string, sequence uint64, ok bool) {
	parts := entryPattern.FindStringSubmatch(tag)
	if parts == nil || CheckMirror(parts[1]) != nil {
		return "", 0, false
	}
	sequence, err := strconv.ParseUint(parts[2], 10, 64)
	return parts[1], sequence, err == nil && sequence > 0 && SequenceTag(parts[1], sequence) == tag
}
