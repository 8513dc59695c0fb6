package bundle

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
)

// Role says what a blob is for. Blobs lie in the file in the order of their roles, so that what proves comes
// before what is proved.
type Role uint8

// The roles, in file order.
const (
	RoleManifest Role = iota + 1
	RoleConfig
	RoleAttestation // content of referrers, of cosign tags and of BuildKit attestation manifests
	RoleLayer
)

// roles are their names, from RoleManifest on.
var roles = []string{"manifest", "config", "attestation", "layer"}

// String returns the name of the role.
func (r Role) String() string {
	if r < 1 || int(r) > len(roles) {
		return fmt.Sprintf("role %d", uint8(r))
	}
	return roles[r-1]
}

// MarshalText implements encoding.TextMarshaler.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; a role that FORMAT.md does not have is ErrUnsupported.
func (r *Role) UnmarshalText(b []byte) error {
	at := slices.Index(roles, string(b))
	if at < 0 {
		return fmt.Errorf("%w: role %.40q", ErrUnsupported, b)
	}
	*r = Role(at + 1)
	return nil
}

// Blob is a row of the blobs table. The rows stand in the order of the file.
type Blob struct {
	Digest Digest
	Size   int64
	Role   Role
	Stored Stored
	Base   int32 // of StoredBase: place in Header.Bases; or else 0
}

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

// blobLine is a Blob as the table spells it.
type blobLine struct {
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
	Role   Role   `json:"role"`
	Stored Stored `json:"stored"`
	Base   *int32 `json:"base,omitempty"`
}

// blobLines yields the rows of the blobs table as it spells them. A line must not be kept.
func blobLines(blobs []Blob) iter.Seq2[int, *blobLine] {
	return func(yield func(int, *blobLine) bool) {
		var line blobLine
		for i := range blobs {
			b := &blobs[i]
			line = blobLine{Digest: b.Digest, Size: b.Size, Role: b.Role, Stored: b.Stored}
			if b.Stored == StoredBase {
				line.Base = &b.Base
			}
			if !yield(i, &line) {
				return
			}
		}
	}
}

// blob returns the row, which names a base if, and only if, one stores it.
func (l *blobLine) blob() (Blob, error) {
	b := Blob{Digest: l.Digest, Size: l.Size, Role: l.Role, Stored: l.Stored}
	if (l.Base != nil) != (l.Stored == StoredBase) {
		return b, fmt.Errorf("%s is stored as %.40q, and a base belongs to %q only", l.Digest, l.Stored, StoredBase)
	}
	if l.Base != nil {
		b.Base = *l.Base
	}
	return b, nil
}

func (b *Blob) check() error {
	_, known := codecs[b.Stored]
	switch {
	case b.Digest.IsZero():
		return errors.New("no digest")
	case b.Size < 0 || b.Size > MaxBlobSize:
		return fmt.Errorf("%w: a blob of %d bytes", ErrLimit, b.Size)
	case b.Role == 0:
		return errors.New("no role")
	case b.Role == RoleManifest && b.Size > MaxManifestSize:
		return fmt.Errorf("%w: a manifest of %d bytes", ErrLimit, b.Size)
	case !known:
		return fmt.Errorf("%w: stored as %.40q: use a newer version of airgap", ErrUnsupported, b.Stored)
	case b.Stored == StoredNondistributable && b.Role != RoleLayer:
		return fmt.Errorf("a %s left out as nondistributable", b.Role)
	case b.Stored == StoredBase && !b.mayLean():
		return fmt.Errorf("a %s left out as something that a base stores", b.Role)
	}
	return nil
}

// blobRole decides what a blob is for from where it is listed.
func blobRole(d Descriptor, proof, config bool) Role {
	switch {
	case config:
		return RoleConfig
	// The layers of the attestation manifests that BuildKit puts into an index have this type.
	// https://github.com/moby/buildkit/blob/v0.20.0/docs/attestations/attestation-storage.md
	case proof || d.MediaType == "application/vnd.in-toto+json":
		return RoleAttestation
	}
	return RoleLayer
}
