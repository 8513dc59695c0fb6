// Package difference says how what one bundle lists differs from what another one lists. Start with Between.
package difference

import (
	"bytes"
	"cmp"
	"slices"

	"airgap/bundle"
)

// Difference is how a bundle differs from an earlier one. Images are the same where their destinations are.
type Difference struct {
	Added     []Image     `json:"added"`
	Moved     []Moved     `json:"moved"`
	Gone      []Image     `json:"gone"`
	Referrers []Referrers `json:"referrers"` // of images that are as they were
	Unchanged int         `json:"unchanged"` // images with all that refers to them
	New       Blobs       `json:"new"`       // listed by the later one alone, whichever bundle stores them
	Old       Blobs       `json:"old"`       // listed by the earlier one alone
}

// Image is a root.
type Image struct {
	Destination string        `json:"destination"` // PATH:TAG, or PATH@DIGEST without a tag
	Source      string        `json:"source"`
	Digest      bundle.Digest `json:"digest"`
}

// Moved is a root whose tag names something else.
type Moved struct {
	Destination string        `json:"destination"`
	Source      string        `json:"source"`
	Old         bundle.Digest `json:"old"`
	New         bundle.Digest `json:"new"`
}

// Referrers are what came to refer to an image, or does not any more, at any depth.
type Referrers struct {
	Image

	Came []Referrer `json:"came"`
	Went []Referrer `json:"went"`
}

// Referrer is a manifest that refers to another one.
type Referrer struct {
	Subject      bundle.Digest `json:"subject"`
	Digest       bundle.Digest `json:"digest"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Tag          string        `json:"tag,omitempty"` // of cosign
}

// Blobs counts blobs, manifests among them.
type Blobs struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
}

// Between compares two bundles, the earlier of which is a. Lists are in the order of the tables.
func Between(a, b *bundle.Contents) *Difference {
	d := &Difference{Added: []Image{}, Moved: []Moved{}, Gone: []Image{}, Referrers: []Referrers{}, New: alone(b, a), Old: alone(a, b)}
	before := map[string]int{}
	for row, root := range a.Roots() {
		before[root.Destination()] = row
	}
	for row, root := range b.Roots() {
		old, isOld := before[root.Destination()]
		delete(before, root.Destination())
		switch was := a.Root; {
		case !isOld:
			d.Added = append(d.Added, imageOf(&root))
		case was(old).Digest != root.Digest:
			d.Moved = append(d.Moved, Moved{root.Destination(), root.Source, was(old).Digest, root.Digest})
		default:
			d.compare(imageOf(&root), referrers(a, old), referrers(b, row))
		}
	}
	for row, root := range a.Roots() {
		if gone, is := before[root.Destination()]; is && gone == row {
			d.Gone = append(d.Gone, imageOf(&root))
		}
	}
	return d
}

func imageOf(root *bundle.Root) Image { return Image{root.Destination(), root.Source, root.Digest} }

// alone counts what one bundle lists, and the other does not.
func alone(c, other *bundle.Contents) (blobs Blobs) {
	for i := range c.Blobs {
		if _, both := other.Find(c.Blobs[i].Digest); !both {
			blobs.Count++
			blobs.Bytes += c.Blobs[i].Size
		}
	}
	return blobs
}

// compare notes what differs in what refers to an image.
func (d *Difference) compare(image Image, before, after []Referrer) {
	r := Referrers{Image: image, Came: without(after, before), Went: without(before, after)}
	if len(r.Came)+len(r.Went) == 0 {
		d.Unchanged++
		return
	}
	d.Referrers = append(d.Referrers, r)
}

// without returns those of all that are not among the others; both are sorted.
func without(all, others []Referrer) []Referrer {
	left := []Referrer{}
	for _, r := range all {
		if _, found := slices.BinarySearchFunc(others, r, compareReferrers); !found {
			left = append(left, r)
		}
	}
	return left
}

// referrers returns what refers to a root, or to what hangs from it, each once and sorted.
func referrers(c *bundle.Contents, root int) (all []Referrer) {
	for _, m := range c.RootManifests(root) {
		if !m.Subject.IsZero() {
			all = append(all, Referrer{m.Subject, m.Digest, m.ArtifactType, m.Tag})
		}
	}
	slices.SortFunc(all, compareReferrers)
	return slices.Compact(all)
}

func compareReferrers(a, b Referrer) int {
	return cmp.Or(bytes.Compare(a.Subject[:], b.Subject[:]), bytes.Compare(a.Digest[:], b.Digest[:]), cmp.Compare(a.Tag, b.Tag))
}
