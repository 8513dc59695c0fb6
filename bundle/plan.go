package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Image is what a walk found for one root: the root and every manifest that it reaches, in any order and with
// ManifestRow.Root unset.
type Image struct {
	Root      Root
	Manifests []ManifestRow
	// IncludeNondistributable stores layers that are marked as not to be distributed. Only Plan looks at it.
	IncludeNondistributable bool
}

// PlanOptions are the settings of Plan.
type PlanOptions struct {
	Created time.Time // recorded to the second; the only clock in a bundle
	Missing []Missing // what was asked for and could not be had, in any order
	// TrustedRoot is a trusted_root.json that travels with the bundle; nil for none.
	TrustedRoot []byte

	Mirror    string // the series of bundles; "" for none
	Sequence  uint64 // place in it; 0 for none
	Completes *Base  // of a supplement
	Joined    Digest // of a delta that was joined
	// StoredBy returns the bundle that stores a config or layer which the receiver has, so that it is left out; nil: none is.
	StoredBy func(d Digest, size int64) (base Base, found bool)
}

// Plan makes the tables of a bundle that carries images. manifest returns a manifest that a walk found; Plan asks
// for each once. It checks what FORMAT.md demands of the tables, so that every problem is found before a byte is
// written; all collisions of images are in one error that wraps ErrCollision, and all those of cosign tags; a digest with
// two sizes wraps ErrDigest.
func Plan(images []Image, manifest func(Digest) (*Manifest, error), options PlanOptions) (*Contents, error) {
	images = slices.Clone(images)
	slices.SortStableFunc(images, func(a, b Image) int { return compareRoots(a.Root, b.Root) })
	if err := checkCollisions(images); err != nil {
		return nil, err
	}
	images = mergeImages(images)
	p := planner{rows: map[Digest]int{}, manifest: manifest, planned: map[Digest]plannedAs{}}
	for i := range images {
		image := &images[i]
		image.Manifests = inTableOrder(image.Manifests, i)
		for _, row := range image.Manifests {
			if err := p.add(row, image.IncludeNondistributable); err != nil {
				return nil, fmt.Errorf("%s: %w", image.Root.Source, err)
			}
		}
	}
	p.inFileOrder()
	return packTables(images, p.blobs, p.leaveOut(options.StoredBy), options)
}

// inTableOrder returns the rows of one root as the manifests table has them.
func inTableOrder(rows []ManifestRow, root int) []ManifestRow {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Root = root
	}
	slices.SortStableFunc(rows, compareManifests)
	return slices.CompactFunc(rows, func(a, b ManifestRow) bool { return compareManifests(a, b) == 0 })
}

// packTables makes the tables, which must be what a reader will demand of them.
func packTables(images []Image, blobs []Blob, bases []Base, options PlanOptions) (*Contents, error) {
	b := newContentsBuilder(Header{
		FormatVersion: formatVersion, Created: options.Created.UTC().Truncate(time.Second).Format(time.RFC3339),
		Mirror: options.Mirror, Sequence: options.Sequence, Bases: bases, Completes: options.Completes, Joined: options.Joined,
	})
	for i := range blobs {
		if err := b.addBlob(&blobs[i]); err != nil {
			return nil, fmt.Errorf("blob %s: %w", blobs[i].Digest, err)
		}
	}
	if err := b.indexBlobs(); err != nil {
		return nil, err
	}
	for i := range images {
		if err := b.addRoot(&images[i].Root); err != nil {
			return nil, fmt.Errorf("%s: %w", images[i].Root.Source, err)
		}
	}
	for i := range images {
		for j := range images[i].Manifests {
			if err := b.addManifest(&images[i].Manifests[j]); err != nil {
				return nil, fmt.Errorf("%s: manifest %s: %w", images[i].Root.Source, images[i].Manifests[j].Digest, err)
			}
		}
	}
	if err := b.contents.checkCosignTags(); err != nil {
		return nil, err
	}
	missing := slices.SortedFunc(slices.Values(options.Missing), compareMissing)
	for _, m := range slices.CompactFunc(missing, func(a, b Missing) bool { return compareMissing(a, b) == 0 }) {
		if err := b.addMissing(&m); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Source, err)
		}
	}
	c := b.contents
	if err := b.checkHeader(); err != nil {
		return nil, err
	}
	if len(options.TrustedRoot) > MaxTrustedRootSize {
		return nil, fmt.Errorf("%w: a trusted root of %d bytes", ErrLimit, len(options.TrustedRoot))
	}
	if len(options.TrustedRoot) > 0 {
		c.TrustedRoot = options.TrustedRoot
	}
	c.Header.Requires, c.Header.Counts = b.features(), b.counts
	return c, c.Header.check()
}

// checkCollisions finds destinations that two images have. The images are in the order of the roots table.
func checkCollisions(sorted []Image) error {
	var problems []error
	for i := 1; i < len(sorted); i++ {
		a, b := sorted[i-1].Root, sorted[i].Root
		if a.Destination() != b.Destination() {
			continue
		}
		if a.Digest == b.Digest && a.Source == b.Source {
			if !slices.Equal(a.Platforms, b.Platforms) || a.Original != b.Original || a.ReferrerPath != b.ReferrerPath {
				problems = append(problems, fmt.Errorf("%w: %s is asked for twice, with different platforms or another repository for its referrers",
					ErrCollision, a.Source))
			}
			continue
		}
		problems = append(problems, fmt.Errorf("%w: %s and %s would both become %s: give one of them another destination, as in %s=PATH:TAG",
			ErrCollision, a.Source, b.Source, a.Destination(), b.Source))
	}
	return errors.Join(problems...)
}

// mergeImages makes one of images that are asked for several times: what one of them carries is carried.
func mergeImages(sorted []Image) []Image {
	var merged []Image
	for _, image := range sorted {
		last := len(merged) - 1
		if last < 0 || compareRoots(merged[last].Root, image.Root) != 0 {
			merged = append(merged, image)
			continue
		}
		merged[last].Manifests = slices.Concat(merged[last].Manifests, image.Manifests)
		merged[last].IncludeNondistributable = merged[last].IncludeNondistributable || image.IncludeNondistributable
		usedBy := slices.Concat(merged[last].Root.UsedBy, image.Root.UsedBy)
		slices.Sort(usedBy)
		merged[last].Root.UsedBy = slices.Compact(usedBy)
	}
	return merged
}

// planner collects the distinct blobs of the images in the order in which they are first needed.
type planner struct {
	blobs    []Blob
	rows     map[Digest]int // place in blobs
	planned  map[Digest]plannedAs
	manifest func(Digest) (*Manifest, error)
}

// plannedAs is how a manifest's blobs have been added: for a manifest that proves something or not, with its
// nondistributable layers or not.
type plannedAs struct{ proof, everything bool }

// covers tells whether adding the manifest as other would change nothing.
func (as plannedAs) covers(other plannedAs) bool {
	return (as.proof || !other.proof) && (as.everything || !other.everything)
}

func (p *planner) add(row ManifestRow, everything bool) error {
	if err := p.addBlob(row.Digest, row.Size, RoleManifest, StoredFull); err != nil {
		return err
	}
	as := plannedAs{proof: row.Via.provesSomething(), everything: everything}
	if seen, ok := p.planned[row.Digest]; ok && seen.covers(as) {
		return nil
	}
	p.planned[row.Digest] = as
	m, err := p.manifest(row.Digest)
	if err != nil {
		return err
	}
	for i, d := range m.Blobs() {
		role := blobRole(d, as.proof, m.Config != nil && i == 0)
		stored := StoredFull
		if role == RoleLayer && IsNondistributable(d.MediaType) && !everything {
			stored = StoredNondistributable
		}
		if err := p.addBlob(d.Digest, d.Size, role, stored); err != nil {
			return fmt.Errorf("%s: %w", row.Digest, err)
		}
	}
	return nil
}

// addBlob records one use of a blob. Of several uses the role that comes first in the file counts, and it is
// stored if one of them wants it stored.
func (p *planner) addBlob(d Digest, size int64, role Role, stored Stored) error {
	at, known := p.rows[d]
	if !known {
		p.rows[d] = len(p.blobs)
		p.blobs = append(p.blobs, Blob{Digest: d, Size: size, Role: role, Stored: stored})
		return nil
	}
	b := &p.blobs[at]
	if b.Size != size {
		return fmt.Errorf("%w: %s is listed with %d bytes and with %d bytes", ErrDigest, d, b.Size, size)
	}
	if role < b.Role {
		b.Role = role
	}
	if stored == StoredFull {
		b.Stored = StoredFull
	}
	return nil
}

// inFileOrder sorts the blobs by role and, within a role, in the order in which they were first needed.
func (p *planner) inFileOrder() {
	slices.SortStableFunc(p.blobs, func(a, b Blob) int { return cmp.Compare(a.Role, b.Role) })
}

// leaveOut marks the configs and layers that bases store, and returns these bases as the header lists them: never nil, since
// it has an array.
func (p *planner) leaveOut(storedBy func(Digest, int64) (Base, bool)) []Base {
	if storedBy == nil {
		return []Base{}
	}
	places := map[Base]int32{}
	for i := range p.blobs {
		b := &p.blobs[i]
		if !b.mayLean() || b.Stored != StoredFull || b.Digest == EmptyJSON { // which every bundle has in its head
			continue
		}
		if base, found := storedBy(b.Digest, b.Size); found {
			places[base] = 0
			b.Stored = StoredBase
		}
	}
	bases := slices.SortedFunc(maps.Keys(places), CompareBases)
	for place, base := range bases {
		places[base] = int32(place)
	}
	for i := range p.blobs {
		if b := &p.blobs[i]; b.Stored == StoredBase {
			base, _ := storedBy(b.Digest, b.Size)
			b.Base = places[base]
		}
	}
	return append([]Base{}, bases...)
}

// StoredBytesOver returns how many bytes of content a bundle would store that leaves out what storedBy gives, as
// PlanOptions.StoredBy does; nil: nothing.
func (c *Contents) StoredBytesOver(storedBy func(Digest, int64) (Base, bool)) int64 {
	total := int64(0)
	for i := range c.Blobs {
		b := &c.Blobs[i]
		if !b.IsNeeded() {
			continue
		}
		if storedBy != nil && b.mayLean() && b.Digest != EmptyJSON {
			if _, found := storedBy(b.Digest, b.Size); found {
				continue
			}
		}
		total += b.Size
	}
	return total
}
