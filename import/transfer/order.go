package transfer

import (
	"cmp"
	"slices"
	"sync"

	"airgap/bundle"
	"airgap/import/inventory"
)

// order says when a manifest can be pushed into a repository: when its blobs and children are there, and its subject if
// that goes there, too; and referrers of one subject one at a time, since registries update one list for all of them.
// Digests make sure that there are no cycles.
type order struct {
	inv           *inventory.Inventory
	blobUsers     []edge
	manifestUsers []edge // parents and referrers

	mu    sync.Mutex
	waits [][]int32           // by repository and place in ManifestsIn: how much is missing
	busy  map[listKey][]int32 // subjects of which a referrer is being pushed: the rows that wait for it
}

// edge: a manifest needs a blob or another manifest. Edges are sorted by what is needed.
type edge struct{ needed, manifest int32 }

func compareEdges(a, b edge) int {
	return cmp.Or(cmp.Compare(a.needed, b.needed), cmp.Compare(a.manifest, b.manifest))
}

func sortEdges(edges []edge) []edge {
	slices.SortFunc(edges, compareEdges)
	return slices.Clip(slices.Compact(edges))
}

// users returns the edges from what needs the given row.
func users(edges []edge, row int32) []edge {
	first, _ := slices.BinarySearchFunc(edges, edge{needed: row}, compareEdges)
	last, _ := slices.BinarySearchFunc(edges, edge{needed: row + 1}, compareEdges)
	return edges[first:last]
}

// listKey names a list of referrers.
type listKey struct {
	repo    int32
	subject bundle.Digest
}

func newOrder(inv *inventory.Inventory) *order {
	o := &order{inv: inv, busy: map[listKey][]int32{}}
	for row := range int32(inv.Graph.Manifests()) {
		node := inv.Graph.Node(int(row))
		for _, blob := range node.Blobs {
			o.blobUsers = append(o.blobUsers, edge{blob, row})
		}
		for _, child := range node.Children {
			o.manifestUsers = append(o.manifestUsers, edge{child, row})
		}
		if subject, inBundle := inv.Contents.Find(node.Subject); inBundle {
			o.manifestUsers = append(o.manifestUsers, edge{int32(subject), row})
		}
	}
	o.blobUsers, o.manifestUsers = sortEdges(o.blobUsers), sortEdges(o.manifestUsers)
	for repo := range inv.Repos {
		o.waits = append(o.waits, make([]int32, len(inv.ManifestsIn(int32(repo)))))
	}
	o.count()
	return o
}

// count sets waits to what is missing now.
func (o *order) count() {
	for blob := range o.inv.BlobNeeds() {
		if !o.inv.State(blob).IsThere() {
			o.adjust(blob.Repo, users(o.blobUsers, blob.Row), 1)
		}
	}
	for manifest := range o.inv.Manifests() {
		if !o.inv.State(manifest).IsThere() {
			o.adjust(manifest.Repo, users(o.manifestUsers, manifest.Row), 1)
		}
	}
}

// adjust changes the counts of what needs something in a repository, and returns the manifests that need nothing any more
// and are not there.
func (o *order) adjust(repo int32, users []edge, by int32) (ready []inventory.Need) {
	for _, e := range users {
		at, found := slices.BinarySearch(o.inv.ManifestsIn(repo), e.manifest)
		if !found {
			continue
		}
		o.waits[repo][at] += by
		if n := (inventory.Need{Row: e.manifest, Repo: repo}); o.waits[repo][at] == 0 && !o.inv.State(n).IsThere() {
			ready = append(ready, n)
		}
	}
	return ready
}

// first calls push for all manifests that can be pushed at once.
func (o *order) first(push func(inventory.Need)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for repo := range o.waits {
		for at, row := range o.inv.ManifestsIn(int32(repo)) {
			if n := (inventory.Need{Row: row, Repo: int32(repo)}); o.waits[repo][at] == 0 && !o.inv.State(n).IsThere() {
				o.start(n, push)
			}
		}
	}
}

// start calls push unless another referrer of the same subject is under way.
func (o *order) start(n inventory.Need, push func(inventory.Need)) {
	if subject := o.inv.Subject(n.Row); !subject.IsZero() {
		key := listKey{n.Repo, subject}
		if waiting, busy := o.busy[key]; busy {
			o.busy[key] = append(waiting, n.Row)
			return
		}
		o.busy[key] = nil
	}
	push(n)
}

// blobIsThere calls push for the manifests that had only been waiting for this blob.
func (o *order) blobIsThere(n inventory.Need, push func(inventory.Need)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ready := range o.adjust(n.Repo, users(o.blobUsers, n.Row), -1) {
		o.start(ready, push)
	}
}

// manifestIsThere calls push for the manifests that had only been waiting for this one.
func (o *order) manifestIsThere(n inventory.Need, push func(inventory.Need)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.passOn(n, push)
	for _, ready := range o.adjust(n.Repo, users(o.manifestUsers, n.Row), -1) {
		o.start(ready, push)
	}
}

// manifestIsLeft calls push for the next referrer of the same subject, if this one cannot be pushed for now.
func (o *order) manifestIsLeft(n inventory.Need, push func(inventory.Need)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.passOn(n, push)
}

// passOn calls push for the next referrer of the same subject.
func (o *order) passOn(n inventory.Need, push func(inventory.Need)) {
	subject := o.inv.Subject(n.Row)
	if subject.IsZero() {
		return
	}
	key := listKey{n.Repo, subject}
	if waiting := o.busy[key]; len(waiting) > 0 {
		o.busy[key] = waiting[1:]
		push(inventory.Need{Row: waiting[0], Repo: n.Repo})
	} else {
		delete(o.busy, key)
	}
}
