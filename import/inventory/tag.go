package inventory

import (
	"iter"
	"slices"

	"airgap/bundle"
)

// Tag is a tag that has to be there at the end.
type Tag struct {
	Repo   int32
	Name   string
	Row    int32
	Cosign bool // it is one that cosign looks for, and no person

	// Guarded: cosign keeps signatures and attestations under such a name, and those of others may be there, whoever brings the tag.
	Guarded bool

	old     bundle.Digest // zero: no such tag
	hidden  bool          // it exists, and what it points to cannot be seen; old is zero
	right   bool
	moved   bool
	inDoubt bool
}

// Old returns what the tag pointed to before this run, as far as that was seen; zero: there was no such tag.
func (t *Tag) Old() bundle.Digest { return t.old }

// IsHidden tells whether the tag was there before this run, and what it pointed to cannot be seen.
func (t *Tag) IsHidden() bool { return t.hidden }

// IsRight tells whether the tag points to what it is to point to.
func (t *Tag) IsRight() bool { return t.right }

// IsMoved tells whether this run has written the tag.
func (t *Tag) IsMoved() bool { return t.moved }

// IsInDoubt tells whether this run has tried to write the tag, and nobody answered.
func (t *Tag) IsInDoubt() bool { return t.inDoubt }

// Moves tells whether the tag exists and is to point elsewhere.
func (t *Tag) Moves() bool { return !t.old.IsZero() && !t.right }

// FindTag returns the tag of that name in a repository; nil where none goes there.
func FindTag(inv *Inventory, repo int32, name string) *Tag {
	at, found := slices.BinarySearchFunc(inv.Tags, Tag{Repo: repo, Name: name}, compareTags)
	if !found {
		return nil
	}
	return &inv.Tags[at]
}

// CosignTags returns how many of the tags are such that cosign looks for, and no person.
func (inv *Inventory) CosignTags() (n int) {
	for i := range inv.Tags {
		if inv.Tags[i].Cosign {
			n++
		}
	}
	return n
}

// ByRepo yields the tags of each repository, of tags that are sorted.
func ByRepo(tags []Tag) iter.Seq[[]Tag] {
	return runs(tags, func(a, b Tag) bool { return a.Repo == b.Repo })
}

// Saw keeps what the tag points to; zero: there is no such tag. What this run has made it is not what it was before.
func (inv *Inventory) Saw(t *Tag, found bundle.Digest) {
	if !t.moved {
		t.old, t.hidden = found, false
	}
	t.right = found == inv.Digest(t.Row)
}

// Hid keeps that the tag exists and leads to something that cannot be seen.
func (t *Tag) Hid() { t.old, t.hidden = bundle.Digest{}, true }

// Moved keeps that this run has written the tag.
func (t *Tag) Moved() { t.right, t.moved, t.inDoubt = true, true, false }

// Doubted keeps that this run has tried to write the tag, and that nobody knows whether it was written.
func (t *Tag) Doubted() { t.inDoubt = true }
