package verify

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"airgap/bundle"
)

// ErrBase: a bundle was given as one that another stands on, and is none of these.
var ErrBase = errors.New("the bundle does not stand on this one")

// Over returns the bundle together with some of those that it stands on, so that what is left to them can be read as well. Each of
// them must be one of the header's bases (ErrBase), readable at any place, and store what is left to it (bundle.ErrFormat; all such
// problems are in one error).
func (b *Bundle) Over(bases ...*Bundle) (*Bundle, error) {
	over := *b
	over.bases = make([]*Bundle, len(b.Contents().Header.Bases))
	for _, base := range bases {
		place, err := b.placeOf(base)
		if err != nil {
			return nil, err
		}
		over.bases[place] = base
	}
	var problems bundle.Problems
	for row := range b.Contents().Blobs {
		if err := over.checkBase(row); err != nil {
			problems.Add(fmt.Errorf("%s: %w", b.graph.Path(row), err))
		}
	}
	return &over, problems.Err()
}

// placeOf returns which of the header's bases a bundle is.
func (b *Bundle) placeOf(base *Bundle) (int, error) {
	listed, name := b.Contents().Header.Bases, nameOf(base)
	place := slices.IndexFunc(listed, func(l bundle.Base) bool { return l.ManifestIndex == name.ManifestIndex })
	switch {
	case len(listed) == 0:
		return 0, fmt.Errorf("%w: it leaves nothing out, and stands on none", ErrBase)
	case place < 0:
		return 0, fmt.Errorf("%w: %s; it stands on %s", ErrBase, name, joinNames(listed))
	case listed[place] != name:
		return 0, fmt.Errorf("%w: the header calls a bundle %s that calls itself %s", bundle.ErrFormat, listed[place], name)
	case base.isRead():
		return 0, fmt.Errorf("%w: %s cannot be read at any place, as a pipe cannot", bundle.ErrUnsupported, name)
	}
	return place, nil
}

func nameOf(b *Bundle) bundle.Base { return b.Contents().Header.Base(b.ManifestIndex()) }

// namesShown bounds how many bundles an error lists.
const namesShown = 10

func joinNames(bases []bundle.Base) string {
	text := ""
	for i, base := range bases {
		switch {
		case i == namesShown:
			return fmt.Sprintf("%s and %d more", text, len(bases)-i)
		case i > 0:
			text += "; "
		}
		text += base.String()
	}
	return text
}

// checkBase holds a blob that is left to a base against the tables of that base, where it was given.
func (b *Bundle) checkBase(row int) error {
	base := b.base(row)
	if base == nil {
		return nil
	}
	blob := &b.Contents().Blobs[row]
	at, listed := base.Contents().Find(blob.Digest)
	if !listed {
		return fmt.Errorf("%w: it is said to be stored by %s, which does not list it", bundle.ErrFormat, nameOf(base))
	}
	switch stored := &base.Contents().Blobs[at]; {
	case !stored.IsStored():
		return fmt.Errorf("%w: it is said to be stored by %s, which has it as %q", bundle.ErrFormat, nameOf(base), stored.Stored)
	case stored.Size != blob.Size:
		return fmt.Errorf("%w: it has %d bytes, and %d in %s, which is said to store it", bundle.ErrFormat, blob.Size, stored.Size, nameOf(base))
	}
	return nil
}

// base returns the bundle to which a blob is left; nil where it is left to none, or to one that was not given.
func (b *Bundle) base(row int) *Bundle {
	blob := &b.Contents().Blobs[row]
	if blob.Stored != bundle.StoredBase || b.bases == nil {
		return nil
	}
	return b.bases[blob.Base]
}

// Has tells whether the content of a blob can be had from the bundle, or from those that it was laid over.
func (b *Bundle) Has(row int) bool { return b.Contents().Blobs[row].IsStored() || b.base(row) != nil }

// HasBase tells whether the bundle was laid over one of the header's bases, given its place there.
func (b *Bundle) HasBase(place int) bool { return b.bases != nil && b.bases[place] != nil }

// Where says for people where the blob in the given row belongs, and in which bundle it is where that is another one. It is slow, for
// use in error messages.
func (b *Bundle) Where(row int) string {
	path := b.graph.Path(row)
	if base := b.base(row); base != nil {
		path += ", in " + nameOf(base).String()
	}
	return path
}

// Open begins to read a blob, through a reader that gives io.EOF only when length and digest have proved right.
func (b *Bundle) Open(row int) (io.ReadCloser, error) {
	if base := b.base(row); base != nil {
		at, _ := base.Contents().Find(b.Contents().Blobs[row].Digest)
		return base.reader.Open(at)
	}
	return b.reader.Open(row)
}
