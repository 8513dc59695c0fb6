package bundle

import "io"

// Stored says whether the file holds a blob's content, and how.
type Stored string

// The values of the stored column. A reader refuses any other.
const (
	StoredFull             Stored = "full"             // the content as it is
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
	StoredNondistributable: nil,
}

type fullCodec struct{}

func (fullCodec) storedSize(b *Blob) int64                             { return b.Size }
func (fullCodec) content(_ *Blob, stored io.Reader) (io.Reader, error) { return stored, nil }

// IsStored tells whether the content can be had from the file.
func (b *Blob) IsStored() bool { return codecs[b.Stored] != nil }

// StoredSize returns how many bytes of the file the content takes, without header and padding; 0 where it is not stored.
func (b *Blob) StoredSize() int64 {
	if c := codecs[b.Stored]; c != nil {
		return c.storedSize(b)
	}
	return 0
}
