package bundle

import (
	"errors"
	"fmt"
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
}

// ErrCollision: two roots, or two manifests under a cosign tag, have the same destination.
var ErrCollision = errors.New("two things have the same destination")

// Plan makes the tables of a bundle that carries images. manifest returns a manifest that a walk found; Plan asks
// for each once. It checks what FORMAT.md demands of the tables, so that every problem is found before a byte is
// written; all collisions of destinations are in one error that wraps ErrCollision, a digest with two sizes wraps
// ErrDigest.
func Plan(images []Image, manifest func(Digest) (*Manifest, error), options PlanOptions) (*Contents, error) {
	images = slices.Clone(images)
	slices.SortStableFunc(images, func(a, b Image) int { return compareRoots(a.Root, b.Root) })
	if err := checkCollisions(images); err != nil {
		return nil, err
	}
	images = mergeImages(images)

	c := &Contents{Missing: slices.Clone(options.Missing)}
	slices.SortFunc(c.Missing, compareMissing)
	c.Missing = slices.CompactFunc(c.Missing, func(a, b Missing) bool { return compareMissing(a, b) == 0 })
	p := planner{rows: map[Digest]int{}, manifest: manifest, planned: map[Digest]plannedAs{}}
	for i, image := range images {
		c.Roots = append(c.Roots, image.Root)
		rows := slices.Clone(image.Manifests)
		for j := range rows {
			rows[j].Root = i
		}
		slices.SortStableFunc(rows, compareManifests)
		rows = slices.CompactFunc(rows, func(a, b ManifestRow) bool { return compareManifests(a, b) == 0 })
		c.Manifests = append(c.Manifests, rows...)
		for _, row := range rows {
			if err := p.add(row, image.IncludeNondistributable); err != nil {
				return nil, fmt.Errorf("%s: %w", image.Root.Source, err)
			}
		}
	}
	c.Blobs = p.inFileOrder()
	c.Header = Header{
		FormatVersion: FormatVersion, Requires: c.features(), Bases: []Digest{},
		Created: options.Created.UTC().Truncate(time.Second).Format(time.RFC3339),
	}
	c.Header.Counts = c.count()
	return c, c.checkAll()
}

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
	return errors.Join(append(problems, checkCosignTags(sorted)...)...)
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

// checkCosignTags finds cosign tags that would have to point at two things in one repository: found with other content
// in an attestation repository, or in the repositories of two images that have one destination.
func checkCosignTags(images []Image) (problems []error) {
	found := map[string]ManifestRow{}
	for _, image := range images {
		for _, row := range image.Manifests {
			if row.Tag == "" {
				continue
			}
			// Which of the two it goes to depends on what it hangs from; that it is the same in both can be demanded.
			for _, path := range []string{image.Root.Path, image.Root.ReferrerPath} {
				destination := path + ":" + row.Tag
				first, ok := found[destination]
				if ok && first.Digest != row.Digest && path != "" {
					problems = append(problems, fmt.Errorf("%w: %s is %s in %s and %s in %s: give one of the images another destination",
						ErrCollision, destination, first.Digest, first.From, row.Digest, row.From))
				}
				found[destination] = row
			}
		}
	}
	return problems
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
	as := plannedAs{proof: row.Via.IsReferrer() || row.Via == ViaCosignTag, everything: everything}
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
	if role.rank() < b.Role.rank() {
		b.Role = role
	}
	if stored == StoredFull {
		b.Stored = StoredFull
	}
	return nil
}

// inFileOrder returns the blobs by role and, within a role, in the order in which they were first needed.
func (p *planner) inFileOrder() []Blob {
	slices.SortStableFunc(p.blobs, func(a, b Blob) int { return a.Role.rank() - b.Role.rank() })
	return p.blobs
}

func (c *Contents) count() Counts {
	counts := Counts{Roots: len(c.Roots), Manifests: len(c.Manifests), Blobs: len(c.Blobs), Missing: len(c.Missing)}
	for i := range c.Blobs {
		if b := &c.Blobs[i]; b.IsStored() {
			counts.Stored++
			counts.StoredBytes += b.StoredSize()
		}
	}
	return counts
}

// checkAll holds tables that were just made against everything that a reader will demand of them.
func (c *Contents) checkAll() error {
	if err := c.Header.check(); err != nil {
		return err
	}
	for i := range c.Roots {
		if err := c.Roots[i].check(); err != nil {
			return fmt.Errorf("%s: %w", c.Roots[i].Source, err)
		}
	}
	for i := range c.Manifests {
		if err := c.Manifests[i].check(len(c.Roots)); err != nil {
			return fmt.Errorf("%s: manifest %s: %w", c.Roots[c.Manifests[i].Root].Source, c.Manifests[i].Digest, err)
		}
	}
	for i := range c.Missing {
		if err := c.Missing[i].check(); err != nil {
			return fmt.Errorf("%s: %w", c.Missing[i].Source, err)
		}
	}
	for i := range c.Blobs {
		if err := c.Blobs[i].check(); err != nil {
			return fmt.Errorf("blob %s: %w", c.Blobs[i].Digest, err)
		}
	}
	return c.check()
}
