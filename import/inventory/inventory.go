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
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/placing"
	"airgap/verify"
)

// Inventory is what has to be at the target. What is exported of it stays as New makes it, but for what is known of
// the target.
type Inventory struct {
	placing.Placements

	Bundle   *verify.Bundle
	Contents *bundle.Contents
	Graph    *bundle.Graph

	Tags     []Tag  // by repository and name
	Lists    []List // by repository and subject
	Untagged []bool // by repository: it had no tags before this run, as far as the survey says so

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

// Row returns the row of content that is known to be in the bundle.
func (inv *Inventory) Row(d bundle.Digest) int32 {
	row, _ := inv.Contents.Find(d)
	return int32(row)
}

// Digest returns the digest of the blob or manifest in the given row.
func (inv *Inventory) Digest(row int32) bundle.Digest { return inv.Contents.Blobs[row].Digest }

// Size returns how many bytes the blob or manifest in the given row has.
func (inv *Inventory) Size(row int32) int64 { return inv.Contents.Blobs[row].Size }

// IsLeftOut tells whether the blob in the given row is in another bundle, and not in that of inv.
func IsLeftOut(inv *Inventory, row int32) bool {
	b := &inv.Contents.Blobs[row]
	return b.IsNeeded() && !b.IsStored()
}

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

// CheckReadable returns an error for a blob that was at the target, or was pushed, and is gone, where it cannot be read again: it
// came through a pipe and was not kept, or the bundle leaves it out and no repository has it any more.
func CheckReadable(inv *Inventory, row int32) error {
	if IsLeftOut(inv, row) {
		if _, found := inv.Mountable(inv.Blob(row)); found {
			return nil
		}
		return fmt.Errorf("%s: the target does not have %s any more, and the bundle leaves it out: run the command once more, which says what to bring",
			inv.Path(row), inv.Digest(row))
	}
	if !inv.Bundle.Sequential() || inv.Bundle.IsKept(int(row)) {
		return nil
	}
	return fmt.Errorf("%s: the target does not have %s any more, and it cannot be read from the pipe again: run the command once more, with the bundle from its beginning, and what is there will not be sent again",
		inv.Path(row), inv.Digest(row))
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
