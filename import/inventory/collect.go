package inventory

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/placing"
	"airgap/verify"
)

// New works out what has to be at the target. Tags that would point to two things are in one error, which wraps
// placing.ErrCollision.
func New(b *verify.Bundle, placed *placing.Placements) (*Inventory, error) {
	inv := &Inventory{Placements: *placed, Bundle: b, Contents: b.Contents(), Graph: b.Graph(), elsewhere: map[int32]name.Repository{}}
	inv.manifests = manifests(inv)
	inv.blobs = blobs(inv)
	inv.blobStates = make([]State, len(inv.blobs))
	inv.Untagged = make([]bool, len(inv.Repos))
	inv.Lists = lists(inv)
	var err error
	inv.Tags, err = tags(inv)
	return inv, err
}

func manifests(inv *Inventory) []shelf {
	shelves := make([]shelf, len(inv.Repos))
	for _, image := range inv.Images {
		for _, m := range inv.Members(image) {
			s := &shelves[m.Repo]
			s.rows = append(s.rows, m.Row)
		}
	}
	for i := range shelves {
		s := &shelves[i]
		slices.Sort(s.rows)
		s.rows = slices.Clip(slices.Compact(s.rows))
		s.states = make([]State, len(s.rows))
	}
	return shelves
}

// blobs returns the blobs that the repositories need. What was left out of the bundle because it may not be distributed is
// nobody's need: registries accept manifests without it.
func blobs(inv *Inventory) (needs []Need) {
	for manifest := range inv.Manifests() {
		for _, row := range inv.Graph.Node(int(manifest.Row)).Blobs {
			if inv.Contents.Blobs[row].IsNeeded() {
				needs = append(needs, Need{Row: row, Repo: manifest.Repo})
			}
		}
	}
	slices.SortFunc(needs, CompareNeeds)
	return slices.Clip(slices.Compact(needs))
}

func lists(inv *Inventory) (all []List) {
	var referrers []Need
	for manifest := range inv.Manifests() {
		if !inv.Subject(manifest.Row).IsZero() {
			referrers = append(referrers, manifest)
		}
	}
	compare := func(a, b Need) int {
		subjectA, subjectB := inv.Subject(a.Row), inv.Subject(b.Row)
		return cmp.Or(cmp.Compare(a.Repo, b.Repo), slices.Compare(subjectA[:], subjectB[:]))
	}
	slices.SortStableFunc(referrers, compare)
	for alike := range runs(referrers, func(a, b Need) bool { return compare(a, b) == 0 }) {
		list := List{Repo: alike[0].Repo, Subject: inv.Subject(alike[0].Row)}
		for _, referrer := range alike {
			list.Rows = append(list.Rows, referrer.Row)
		}
		all = append(all, list)
	}
	return all
}

// tags returns what people and cosign look for by tag. Two images may bring one tag only with one digest.
func tags(inv *Inventory) (all []Tag, err error) {
	for _, image := range inv.Images {
		if image.Tag != "" {
			row := inv.Row(inv.Contents.Root(image.Root).Digest)
			all = append(all, Tag{Repo: image.Repo, Name: image.Tag, Row: row})
		}
		for _, m := range inv.Members(image) {
			if m.Via == bundle.ViaCosignTag {
				all = append(all, Tag{Repo: m.Repo, Name: m.Tag, Row: m.Row, Cosign: true})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Tag) int { return cmp.Or(compareTags(a, b), cmp.Compare(a.Row, b.Row)) })
	same := func(a, b Tag) bool { return compareTags(a, b) == 0 }
	var problems bundle.Problems
	for alike := range runs(all, same) {
		if last := alike[len(alike)-1]; last.Row != alike[0].Row {
			problems.Add(fmt.Errorf("%w: %s would point to %s and to %s; keep the images that bring it apart with --map",
				placing.ErrCollision, inv.TagName(&last), inv.Digest(alike[0].Row), inv.Digest(last.Row)))
		}
	}
	all = slices.CompactFunc(all, same)
	for i := range all {
		all[i].Guarded = isCosignName(all[i].Name)
	}
	return all, problems.Err()
}

// isCosignName tells whether cosign keeps something under such a tag.
func isCosignName(tag string) bool {
	return slices.ContainsFunc(bundle.CosignSuffixes, func(suffix string) bool {
		digest, ok := strings.CutSuffix(tag, suffix)
		return ok && bundle.IsFallbackTag(digest)
	})
}

func compareTags(a, b Tag) int {
	return cmp.Or(cmp.Compare(a.Repo, b.Repo), cmp.Compare(a.Name, b.Name))
}

// runs yields the runs of s that are alike.
func runs[T any](s []T, alike func(a, b T) bool) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for start := 0; start < len(s); {
			end := start + 1
			for end < len(s) && alike(s[start], s[end]) {
				end++
			}
			if !yield(s[start:end]) {
				return
			}
			start = end
		}
	}
}
