package inventory

import (
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
)

// State says how far a blob or manifest is in one repository.
type State uint8

// The values of State.
const (
	Lacking      State = iota
	Present            // was there before
	Mounted            // blobs: taken from another repository
	Pushed             // by this run
	Acknowledged       // manifests: pushed, and the target has said that it lists them for their subject
)

// IsThere tells whether the repository has it.
func (s State) IsThere() bool { return s != Lacking }

// state returns where the state of a need is kept; nil where the repository does not need that.
func (inv *Inventory) state(n Need) *State {
	if !inv.IsManifest(n.Row) {
		if at, found := slices.BinarySearchFunc(inv.blobs, n, CompareNeeds); found {
			return &inv.blobStates[at]
		}
		return nil
	}
	s := &inv.manifests[n.Repo]
	if at, found := slices.BinarySearch(s.rows, n.Row); found {
		return &s.states[at]
	}
	return nil
}

// Needs tells whether a repository needs a blob or manifest.
func (inv *Inventory) Needs(n Need) bool { return inv.state(n) != nil }

// State returns how far a blob or manifest is; Lacking where it is not needed.
func (inv *Inventory) State(n Need) State {
	if s := inv.state(n); s != nil {
		return *s
	}
	return Lacking
}

// Mark says how far something is that is needed. It may be called for different needs at once.
func (inv *Inventory) Mark(n Need, s State) { *inv.state(n) = s }

// Blob is a blob with all repositories that need it.
type Blob struct {
	Row    int32
	Needs  []Need
	states []State
}

// State returns how far the blob is for the need of the given place in b.Needs.
func (b Blob) State(place int) State { return b.states[place] }

// States returns how far the blob is, by place in b.Needs. It must not be changed.
func (b Blob) States() []State { return b.states }

// IsHeld tells whether some repository has the blob.
func (b Blob) IsHeld() bool { return slices.ContainsFunc(b.states, State.IsThere) }

// Lacks returns the first repository that lacks the blob; false where none does.
func (b Blob) Lacks() (repo int32, lacks bool) {
	at := slices.Index(b.states, Lacking)
	if at < 0 {
		return 0, false
	}
	return b.Needs[at].Repo, true
}

// LacksBlobs tells whether any blob is lacking anywhere.
func (inv *Inventory) LacksBlobs() bool { return slices.Contains(inv.blobStates, Lacking) }

// NoteElsewhere says that a blob lies in a repository to which nothing goes, from where it can be mounted.
func (inv *Inventory) NoteElsewhere(row int32, repo name.Repository) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.elsewhere[row] = repo
}

// Mountable returns the repository that a blob can be mounted from, if there is one.
func (inv *Inventory) Mountable(b Blob) (from name.Repository, ok bool) {
	if holder := slices.IndexFunc(b.states, State.IsThere); holder >= 0 {
		return inv.Repos[b.Needs[holder].Repo], true
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	from, ok = inv.elsewhere[b.Row]
	return from, ok
}

// Unheld returns how many bytes the blobs have that are found nowhere at the target, which are uploaded.
func (inv *Inventory) Unheld() (total int64) {
	for blob := range inv.Blobs() {
		if _, found := inv.Mountable(blob); !found && !IsLeftOut(inv, blob.Row) {
			total += inv.Size(blob.Row)
		}
	}
	return total
}

// LackingManifests returns how many manifests are lacking, counted in each repository.
func (inv *Inventory) LackingManifests() (n int) {
	for _, s := range inv.manifests {
		for _, state := range s.states {
			if !state.IsThere() {
				n++
			}
		}
	}
	return n
}

// IsComplete tells whether there is nothing to do: everything is there, the tags are right and the lists are whole.
func (inv *Inventory) IsComplete() bool {
	return !slices.Contains(inv.Writes(), true) && !slices.ContainsFunc(inv.Lists, func(l List) bool { return !l.IsListed })
}

// Writes tells into which repositories something has to be written, by what is known of the target.
func (inv *Inventory) Writes() []bool {
	writes := make([]bool, len(inv.Repos))
	for repo := range inv.manifests {
		writes[repo] = slices.Contains(inv.manifests[repo].states, Lacking)
	}
	for i, blob := range inv.blobs {
		writes[blob.Repo] = writes[blob.Repo] || inv.blobStates[i] == Lacking
	}
	for i := range inv.Tags {
		t := &inv.Tags[i]
		writes[t.Repo] = writes[t.Repo] || !t.IsRight()
	}
	return writes
}
