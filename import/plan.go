package importer

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/placing"
	"airgap/verify"
)

// plan is what has to be at the target, and what of it is there. Rows are rows of the blobs table, in which manifests
// come first. It holds some tens of bytes for each manifest and blob of each repository.
type plan struct {
	bundle   *verify.Bundle
	contents *bundle.Contents
	graph    *bundle.Graph
	placing.Placements

	repositories []repository              // as placements.repos
	uses         []use                     // by row, then repository
	useStates    []state                   // of uses
	elsewhere    map[int32]name.Repository // by row: repositories to which nothing goes, and that have a blob
	tags         []tagMove                 // by repository and name
	lists        []referrersList           // by repository and subject
}

// state says how far a blob or manifest is in one repository.
type state uint8

const (
	lacking state = iota
	present       // was there before
	mounted       // blobs: taken from another repository
	pushed
	acknowledged // manifests: pushed, and the target has said that it lists them for their subject
)

func (s state) isThere() bool { return s != lacking }

// repository is one at the target that images go to.
type repository struct {
	name      name.Repository
	manifests []int32 // rows, ascending
	states    []state // of manifests
}

// find returns the place of a row in r.manifests.
func (r *repository) find(row int32) (at int, found bool) {
	return slices.BinarySearch(r.manifests, row)
}

// use is a blob that a repository needs.
type use struct{ row, repo int32 }

// blobUses are all uses of one blob, with their states.
type blobUses struct {
	row    int32
	uses   []use
	states []state
}

// holder returns the place of a repository that has the blob, or -1.
func (b blobUses) holder() int { return slices.IndexFunc(b.states, state.isThere) }

// lacking tells whether some repository does not have the blob.
func (b blobUses) lacking() bool { return slices.Contains(b.states, lacking) }

// tagMove is a tag that has to be there at the end.
type tagMove struct {
	repo    int32
	tag     string
	row     int32
	cosign  bool
	old     bundle.Digest // zero: no such tag
	unseen  bool          // it exists, and what it points to cannot be seen; old is zero
	isThere bool          // it is right
	moved   bool          // by this run
	inDoubt bool          // this run has tried to move it, and nobody answered
}

// referrersList is everything in one repository that refers to one subject.
type referrersList struct {
	repo    int32
	subject bundle.Digest
	rows    []int32
	listed  bool // all of them were before this run
}

// newPlan works out what has to be there. All of them are in one error, which wraps ErrCollision.
func newPlan(b *verify.Bundle, placed *placing.Placements) (*plan, error) {
	p := &plan{bundle: b, contents: b.Contents(), graph: b.Graph(), Placements: *placed, elsewhere: map[int32]name.Repository{}}
	for _, repo := range p.Repos {
		p.repositories = append(p.repositories, repository{name: repo})
	}
	p.collectManifests()
	p.collectBlobs()
	p.collectLists()
	return p, p.collectTags()
}

func (p *plan) collectManifests() {
	for _, image := range p.Images {
		for _, m := range p.members(image) {
			r := &p.repositories[m.repo]
			r.manifests = append(r.manifests, m.row)
		}
	}
	for i := range p.repositories {
		r := &p.repositories[i]
		slices.Sort(r.manifests)
		r.manifests = slices.Clip(slices.Compact(r.manifests))
		r.states = make([]state, len(r.manifests))
	}
}

// row returns the row of content that is known to be in the bundle.
func (p *plan) row(d bundle.Digest) int32 {
	row, _ := p.contents.Find(d)
	return int32(row)
}

func (p *plan) digest(row int32) bundle.Digest { return p.contents.Blobs[row].Digest }

// subject returns what the manifest in the given row refers to, which need not be in the bundle; zero for nothing.
func (p *plan) subject(row int32) bundle.Digest { return p.graph.Node(int(row)).Subject }

// collectBlobs finds the blobs that the repositories need. What was left out of the bundle because it may not be
// distributed is nobody's need: registries accept manifests without it.
func (p *plan) collectBlobs() {
	for i := range p.repositories {
		for _, manifest := range p.repositories[i].manifests {
			for _, row := range p.graph.Node(int(manifest)).Blobs {
				if p.contents.Blobs[row].IsStored() {
					p.uses = append(p.uses, use{row: row, repo: int32(i)})
				}
			}
		}
	}
	slices.SortFunc(p.uses, compareUses)
	p.uses = slices.Clip(slices.Compact(p.uses))
	p.useStates = make([]state, len(p.uses))
}

func compareUses(a, b use) int { return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.repo, b.repo)) }

// blobs yields the uses of each blob, in file order.
func (p *plan) blobs() iter.Seq[blobUses] {
	return func(yield func(blobUses) bool) {
		start := 0
		for run := range slicesBy(p.uses, func(a, b use) bool { return a.row == b.row }) {
			end := start + len(run)
			if !yield(blobUses{row: run[0].row, uses: run, states: p.useStates[start:end]}) {
				return
			}
			start = end
		}
	}
}

// unheld returns how many bytes the blobs have that are found nowhere at the target, which are uploaded.
func (p *plan) unheld() (total int64) {
	for blob := range p.blobs() {
		if _, found := p.mountable(blob); !found {
			total += p.contents.Blobs[blob.row].Size
		}
	}
	return total
}

// writes tells into which repositories something has to be written, by what is known of the target.
func (p *plan) writes() []bool {
	writes := make([]bool, len(p.repositories))
	for i := range p.repositories {
		writes[i] = slices.Contains(p.repositories[i].states, lacking)
	}
	for i, u := range p.uses {
		writes[u.repo] = writes[u.repo] || p.useStates[i] == lacking
	}
	for i := range p.tags {
		writes[p.tags[i].repo] = writes[p.tags[i].repo] || !p.tags[i].isThere
	}
	return writes
}

// slicesBy yields the runs of s that are alike.
func slicesBy[T any](s []T, alike func(a, b T) bool) iter.Seq[[]T] {
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

// usesOf returns the uses of the blob in the given row.
func (p *plan) usesOf(row int32) blobUses {
	first, _ := slices.BinarySearchFunc(p.uses, use{row: row}, compareUses)
	last, _ := slices.BinarySearchFunc(p.uses, use{row: row + 1}, compareUses)
	return blobUses{row: row, uses: p.uses[first:last], states: p.useStates[first:last]}
}

// usesIn returns where in p.uses the blobs are that a manifest needs in a repository.
func (p *plan) usesIn(manifest use) (places []int) {
	for _, row := range p.graph.Node(int(manifest.row)).Blobs {
		if at, found := slices.BinarySearchFunc(p.uses, use{row: row, repo: manifest.repo}, compareUses); found {
			places = append(places, at)
		}
	}
	return places
}

// manifest reads a manifest from the bundle again: keeping all of them would take too much memory.
func (p *plan) manifest(row int32) (*bundle.Manifest, error) {
	content, err := p.bundle.Manifest(p.digest(row))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.graph.Path(int(row)), err)
	}
	return bundle.ParseManifest(p.graph.Node(int(row)).MediaType, content)
}

func (p *plan) collectLists() {
	type entry struct {
		repo, row int32
	}
	var entries []entry
	for i := range p.repositories {
		for _, row := range p.repositories[i].manifests {
			if !p.subject(row).IsZero() {
				entries = append(entries, entry{int32(i), row})
			}
		}
	}
	subject := func(e entry) bundle.Digest { return p.subject(e.row) }
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.repo, b.repo), compareDigests(subject(a), subject(b)), cmp.Compare(a.row, b.row))
	})
	for run := range slicesBy(entries, func(a, b entry) bool { return a.repo == b.repo && subject(a) == subject(b) }) {
		list := referrersList{repo: run[0].repo, subject: subject(run[0])}
		for _, e := range run {
			list.rows = append(list.rows, e.row)
		}
		p.lists = append(p.lists, list)
	}
}

func compareDigests(a, b bundle.Digest) int { return slices.Compare(a[:], b[:]) }

// collectTags collects what people and cosign look for by tag. Two images may bring one tag only with one digest.
func (p *plan) collectTags() error {
	for _, image := range p.Images {
		if image.Tag != "" {
			row := p.row(p.contents.Root(image.Root).Digest)
			p.tags = append(p.tags, tagMove{repo: image.Repo, tag: image.Tag, row: row})
		}
		for _, m := range p.members(image) {
			if m.Via == bundle.ViaCosignTag {
				p.tags = append(p.tags, tagMove{repo: m.repo, tag: m.Tag, row: m.row, cosign: true})
			}
		}
	}
	slices.SortStableFunc(p.tags, func(a, b tagMove) int { return cmp.Or(compareTags(a, b), cmp.Compare(a.row, b.row)) })
	var problems bundle.Problems
	for run := range slicesBy(p.tags, sameTag) {
		if last := run[len(run)-1]; last.row != run[0].row {
			problems.Add(fmt.Errorf("%w: %s would point to %s and to %s; keep the images that bring it apart with --map",
				placing.ErrCollision, p.tagName(&last), p.digest(run[0].row), p.digest(last.row)))
		}
	}
	p.tags = slices.CompactFunc(p.tags, sameTag)
	return problems.Err()
}

func compareTags(a, b tagMove) int {
	return cmp.Or(cmp.Compare(a.repo, b.repo), cmp.Compare(a.tag, b.tag))
}
func sameTag(a, b tagMove) bool { return compareTags(a, b) == 0 }

func (p *plan) tagName(t *tagMove) string { return p.Repos[t.repo].Tag(t.tag).Name() }

// nondistributable returns what the images name and the bundle does not hold.
func (p *plan) nondistributable() []bundle.Digest {
	wanted := make([]bool, len(p.contents.Blobs))
	for i := range p.repositories {
		for _, manifest := range p.repositories[i].manifests {
			for _, row := range p.graph.Node(int(manifest)).Blobs {
				wanted[row] = true
			}
		}
	}
	var left []bundle.Digest
	for row, b := range p.contents.Blobs {
		if wanted[row] && b.Stored == bundle.StoredNondistributable {
			left = append(left, b.Digest)
		}
	}
	return left
}
