package importer

import (
	"cmp"
	"slices"
	"sync"

	"airgap/bundle"
)

// order says when a manifest can be pushed into a repository: when its blobs and children are there, and its subject if
// that goes there, too; and referrers of one subject one at a time, since registries update one list for all of them.
// Digests make sure that there are no cycles.
type order struct {
	plan          *plan
	blobUsers     []edge
	manifestUsers []edge // parents and referrers

	mu    sync.Mutex
	waits [][]int32           // by repository and place in it: how much is missing
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

func newOrder(p *plan) *order {
	o := &order{plan: p, busy: map[listKey][]int32{}}
	for row := range int32(p.graph.Manifests()) {
		node := p.graph.Node(int(row))
		for _, blob := range node.Blobs {
			o.blobUsers = append(o.blobUsers, edge{blob, row})
		}
		for _, child := range node.Children {
			o.manifestUsers = append(o.manifestUsers, edge{child, row})
		}
		if subject, inBundle := p.contents.Find(node.Subject); inBundle {
			o.manifestUsers = append(o.manifestUsers, edge{int32(subject), row})
		}
	}
	o.blobUsers, o.manifestUsers = sortEdges(o.blobUsers), sortEdges(o.manifestUsers)
	for i := range p.repositories {
		o.waits = append(o.waits, make([]int32, len(p.repositories[i].manifests)))
	}
	o.count()
	return o
}

// count sets waits to what is missing now.
func (o *order) count() {
	for i, u := range o.plan.uses {
		if !o.plan.useStates[i].isThere() {
			o.adjust(u.repo, users(o.blobUsers, u.row), 1)
		}
	}
	for i := range o.plan.repositories {
		r := &o.plan.repositories[i]
		for at, row := range r.manifests {
			if !r.states[at].isThere() {
				o.adjust(int32(i), users(o.manifestUsers, row), 1)
			}
		}
	}
}

// adjust changes the counts of what needs something in a repository, and returns the rows that need nothing any more
// and are not there.
func (o *order) adjust(repo int32, users []edge, by int32) (ready []int32) {
	r := &o.plan.repositories[repo]
	for _, e := range users {
		at, found := r.find(e.manifest)
		if !found {
			continue
		}
		o.waits[repo][at] += by
		if o.waits[repo][at] == 0 && r.states[at] == lacking {
			ready = append(ready, e.manifest)
		}
	}
	return ready
}

// first calls push for all manifests that can be pushed at once.
func (o *order) first(push func(repo, row int32)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.plan.repositories {
		r := &o.plan.repositories[i]
		for at, row := range r.manifests {
			if r.states[at] == lacking && o.waits[i][at] == 0 {
				o.start(int32(i), row, push)
			}
		}
	}
}

// start calls push unless another referrer of the same subject is under way.
func (o *order) start(repo, row int32, push func(repo, row int32)) {
	if subject := o.plan.subject(row); !subject.IsZero() {
		key := listKey{repo, subject}
		if waiting, busy := o.busy[key]; busy {
			o.busy[key] = append(waiting, row)
			return
		}
		o.busy[key] = nil
	}
	push(repo, row)
}

// blobIsThere calls push for the manifests that had only been waiting for this blob.
func (o *order) blobIsThere(repo, row int32, push func(repo, row int32)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ready := range o.adjust(repo, users(o.blobUsers, row), -1) {
		o.start(repo, ready, push)
	}
}

// manifestIsThere calls push for the manifests that had only been waiting for this one.
func (o *order) manifestIsThere(repo, row int32, push func(repo, row int32)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.passOn(repo, row, push)
	for _, ready := range o.adjust(repo, users(o.manifestUsers, row), -1) {
		o.start(repo, ready, push)
	}
}

// manifestIsLeft calls push for the next referrer of the same subject, if this one cannot be pushed for now.
func (o *order) manifestIsLeft(repo, row int32, push func(repo, row int32)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.passOn(repo, row, push)
}

// passOn calls push for the next referrer of the same subject.
func (o *order) passOn(repo, row int32, push func(repo, row int32)) {
	subject := o.plan.subject(row)
	if subject.IsZero() {
		return
	}
	key := listKey{repo, subject}
	if waiting := o.busy[key]; len(waiting) > 0 {
		o.busy[key] = waiting[1:]
		push(repo, waiting[0])
	} else {
		delete(o.busy, key)
	}
}
