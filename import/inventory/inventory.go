// Package inventory is what has to be at the target, and how much of it is there.
//
// New works it out from a bundle and from where its images go; the survey then marks what is there, and later stages what they
// push. Everything is named by rows of the bundle's blobs table, in which manifests come first, and by places in
// Placements.Repos. It holds some tens of bytes for each manifest and blob of each repository.
package inventory

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/placing"
	"airgap/verify"
)

// Inventory is what has to be at the target. What is exported of it stays as New makes it, but for the states of tags.
type Inventory struct {
	placing.Placements

	Bundle   *verify.Bundle
	Contents *bundle.Contents
	Graph    *bundle.Graph

	Tags  []Tag  // by repository and name
	Lists []List // by repository and subject

	manifests  []shelf // by repository
	blobs      []Need  // by row, then repository
	blobStates []State

	mu        sync.Mutex
	elsewhere map[int32]name.Repository // by row of a blob: see NoteElsewhere
}

// Need is a blob or a manifest, and a repository that needs it.
type Need struct{ Row, Repo int32 }

// CompareNeeds orders by row, then repository.
func CompareNeeds(a, b Need) int {
	return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Repo, b.Repo))
}

// shelf is the manifests of one repository.
type shelf struct {
	rows   []int32 // ascending
	states []State
}

// List is everything in one repository that refers to one subject, which need not be in the bundle.
type List struct {
	Repo    int32
	Subject bundle.Digest
	Rows    []int32

	IsListed bool // all of them were before this run: the survey says so
}

// New works out what has to be at the target. Tags that would point to two things are in one error, which wraps
// placing.ErrCollision.
func New(b *verify.Bundle, placed *placing.Placements) (*Inventory, error) {
	inv := &Inventory{
		Placements: *placed, Bundle: b, Contents: b.Contents(), Graph: b.Graph(),
		manifests: make([]shelf, len(placed.Repos)), elsewhere: map[int32]name.Repository{},
	}
	inv.collectManifests()
	inv.collectBlobs()
	inv.collectLists()
	return inv, inv.collectTags()
}

func (inv *Inventory) collectManifests() {
	for _, image := range inv.Images {
		for _, m := range inv.Members(image) {
			s := &inv.manifests[m.Repo]
			s.rows = append(s.rows, m.Row)
		}
	}
	for i := range inv.manifests {
		s := &inv.manifests[i]
		slices.Sort(s.rows)
		s.rows = slices.Clip(slices.Compact(s.rows))
		s.states = make([]State, len(s.rows))
	}
}

// collectBlobs finds the blobs that the repositories need. What was left out of the bundle because it may not be
// distributed is nobody's need: registries accept manifests without it.
func (inv *Inventory) collectBlobs() {
	for manifest := range inv.Manifests() {
		for _, row := range inv.Graph.Node(int(manifest.Row)).Blobs {
			if inv.Contents.Blobs[row].IsStored() {
				inv.blobs = append(inv.blobs, Need{Row: row, Repo: manifest.Repo})
			}
		}
	}
	slices.SortFunc(inv.blobs, CompareNeeds)
	inv.blobs = slices.Clip(slices.Compact(inv.blobs))
	inv.blobStates = make([]State, len(inv.blobs))
}

func (inv *Inventory) collectLists() {
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
		inv.Lists = append(inv.Lists, list)
	}
}

// collectTags collects what people and cosign look for by tag. Two images may bring one tag only with one digest.
func (inv *Inventory) collectTags() error {
	for _, image := range inv.Images {
		if image.Tag != "" {
			row := inv.Row(inv.Contents.Root(image.Root).Digest)
			inv.Tags = append(inv.Tags, Tag{Repo: image.Repo, Name: image.Tag, Row: row})
		}
		for _, m := range inv.Members(image) {
			if m.Via == bundle.ViaCosignTag {
				inv.Tags = append(inv.Tags, Tag{Repo: m.Repo, Name: m.Tag, Row: m.Row, Cosign: true})
			}
		}
	}
	slices.SortStableFunc(inv.Tags, func(a, b Tag) int { return cmp.Or(compareTags(a, b), cmp.Compare(a.Row, b.Row)) })
	same := func(a, b Tag) bool { return compareTags(a, b) == 0 }
	var problems bundle.Problems
	for alike := range runs(inv.Tags, same) {
		if last := alike[len(alike)-1]; last.Row != alike[0].Row {
			problems.Add(fmt.Errorf("%w: %s would point to %s and to %s; keep the images that bring it apart with --map",
				placing.ErrCollision, inv.TagName(&last), inv.Digest(alike[0].Row), inv.Digest(last.Row)))
		}
	}
	inv.Tags = slices.CompactFunc(inv.Tags, same)
	for i := range inv.Tags {
		inv.Tags[i].Guarded = isCosignName(inv.Tags[i].Name)
	}
	return problems.Err()
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

// Row returns the row of content that is known to be in the bundle.
func (inv *Inventory) Row(d bundle.Digest) int32 {
	row, _ := inv.Contents.Find(d)
	return int32(row)
}

// Digest returns the digest of the blob or manifest in the given row.
func (inv *Inventory) Digest(row int32) bundle.Digest { return inv.Contents.Blobs[row].Digest }

// Size returns how many bytes the blob or manifest in the given row has.
func (inv *Inventory) Size(row int32) int64 { return inv.Contents.Blobs[row].Size }

// IsManifest tells whether the given row is one of a manifest.
func (inv *Inventory) IsManifest(row int32) bool { return int(row) < inv.Graph.Manifests() }

// Subject returns what the manifest in the given row refers to, which need not be in the bundle; zero for nothing.
func (inv *Inventory) Subject(row int32) bundle.Digest { return inv.Graph.Node(int(row)).Subject }

// Path says for people where the blob or manifest in the given row is, from the image on.
func (inv *Inventory) Path(row int32) string { return inv.Graph.Path(int(row)) }

// Name returns what a manifest is called at the target.
func (inv *Inventory) Name(n Need) name.Digest {
	return inv.Repos[n.Repo].Digest(inv.Digest(n.Row).String())
}

// TagName returns what a tag is called at the target.
func (inv *Inventory) TagName(t *Tag) string { return inv.Repos[t.Repo].Tag(t.Name).Name() }

// SubjectName returns what the subject of a list is called at the target.
func (inv *Inventory) SubjectName(l List) name.Digest {
	return inv.Repos[l.Repo].Digest(l.Subject.String())
}

// Manifest reads a manifest from the bundle again: keeping all of them would take too much memory.
func (inv *Inventory) Manifest(row int32) (*bundle.Manifest, error) {
	content, err := inv.Bundle.Manifest(inv.Digest(row))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", inv.Path(row), err)
	}
	return bundle.ParseManifest(inv.Graph.Node(int(row)).MediaType, content)
}

// Manifests yields the manifests that are needed, by repository and row.
func (inv *Inventory) Manifests() iter.Seq[Need] {
	return func(yield func(Need) bool) {
		for repo := range inv.manifests {
			for _, row := range inv.manifests[repo].rows {
				if !yield(Need{Row: row, Repo: int32(repo)}) {
					return
				}
			}
		}
	}
}

// ManifestsIn returns the rows of the manifests that a repository needs, ascending.
func (inv *Inventory) ManifestsIn(repo int32) []int32 { return inv.manifests[repo].rows }

// BlobNeeds yields the blobs that are needed, by row and repository.
func (inv *Inventory) BlobNeeds() iter.Seq[Need] { return slices.Values(inv.blobs) }

// BlobsOf returns the blobs that a manifest needs in its repository, each once, but for what the bundle leaves out.
func (inv *Inventory) BlobsOf(manifest Need) []Need {
	var needs []Need
	for _, row := range inv.Graph.Node(int(manifest.Row)).Blobs {
		blob := Need{Row: row, Repo: manifest.Repo}
		if _, found := slices.BinarySearchFunc(inv.blobs, blob, CompareNeeds); found && !slices.Contains(needs, blob) {
			needs = append(needs, blob)
		}
	}
	return needs
}

// Blobs yields each blob that is needed, in file order.
func (inv *Inventory) Blobs() iter.Seq[Blob] {
	return func(yield func(Blob) bool) {
		start := 0
		for alike := range runs(inv.blobs, func(a, b Need) bool { return a.Row == b.Row }) {
			end := start + len(alike)
			if !yield(Blob{Row: alike[0].Row, Needs: alike, states: inv.blobStates[start:end]}) {
				return
			}
			start = end
		}
	}
}

// Blob returns the blob in the given row.
func (inv *Inventory) Blob(row int32) Blob {
	first, _ := slices.BinarySearchFunc(inv.blobs, Need{Row: row}, CompareNeeds)
	last, _ := slices.BinarySearchFunc(inv.blobs, Need{Row: row + 1}, CompareNeeds)
	return Blob{Row: row, Needs: inv.blobs[first:last], states: inv.blobStates[first:last]}
}
