package export

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
)

// Whether a digest tag (sha256-...) is absent that a repository's list of tags lacks.
//
// Some registries are fronts of several stores, which have not all of the same tags: registry.k8s.io serves the tags of
// signatures from one place, and everything else, lists among it, from the nearest. A list proves something only where the
// registry is known to list completely. That is believed as long as it answers by itself, instead of sending on to other
// hosts, and has not been seen to have a digest tag that its list lacks: for the first digests that are reached, all tags
// are asked for in any case. Should one come up later, what was not asked before is asked after all. That a registry lists
// completely is believed for a day by later plans, which ask for the first digests of new repositories only.

// Facts are what plans have found out about registries, for those after them. *cache.Source is the real one.
type Facts interface {
	// Noted returns as of when a fact was last noted; the zero time is never.
	Noted(fact string) time.Time
	// Note notes a fact as of then.
	Note(fact string, at time.Time)
}

// believedFor is how long later plans believe that a registry lists its tags completely.
const believedFor = 24 * time.Hour

// completeTags is the fact that some digests of a registry, or of a repository, have no digest tags that are not listed.
func completeTags(of string) string { return "the tags are listed completely of " + of }

// incompleteTags is the fact that a registry has one that is not. What was noted before counts no more.
func incompleteTags(host string) string { return "the tags are not listed completely of " + host }

// sampled is how many digests of each registry are asked for whatever its lists say, besides the first of each repository.
// With three tags each that is 300 requests, where a walk that takes longer than a moment makes thousands.
const sampled = 100

// tagLists is what is known of the lists of tags.
type tagLists struct {
	facts Facts // nil for none
	now   func() time.Time
	began time.Time

	mu      sync.Mutex
	asked   map[string]int          // digests, by registry and by repository
	proved  map[name.Repository]int // of those, the ones that have no more tags than are listed
	doubted map[string]bool         // registries whose lists prove nothing
	unasked map[string][]unasked    // by registry
}

// unasked is a manifest of whose own repository the list was believed that nothing more belongs to it.
type unasked struct {
	view    *view
	subject *node
	node    *node // where an error belongs: the subject, or the index that was made of it
}

func newTagLists(facts Facts, now func() time.Time) *tagLists {
	return &tagLists{
		facts: facts, now: now, began: now(),
		asked: map[string]int{}, proved: map[name.Repository]int{}, doubted: map[string]bool{}, unasked: map[string][]unasked{},
	}
}

// hasTag tells which digest tags an image's own repository has, as far as its list is believed for one more digest; nil is
// not known. isSample is set where it would be known, and is to be proved.
func (g *graph) hasTag(v *view, repository name.Repository) (hasTag func(tag string) bool, isSample bool) {
	hasTag = g.options.hasTag(repository)
	if hasTag == nil || repository != v.own {
		return nil, false
	}
	t, host := g.lists, repository.RegistryStr()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.doubted[host]:
		return nil, false
	case t.askedOf(host, host, sampled) < sampled, t.askedOf(host, repository.Name(), 1) < 1:
		t.asked[host]++
		t.asked[repository.Name()]++
		return nil, true
	}
	return hasTag, false
}

// askedOf returns how many digests have been asked for of a registry or of a repository there: enough, where an earlier plan
// has found that it lists completely, and none has found the contrary since. t.mu is held.
func (t *tagLists) askedOf(host, of string, enough int) int {
	n, ok := t.asked[of]
	if ok || t.facts == nil {
		return n
	}
	at := t.facts.Noted(completeTags(of))
	if at.After(t.facts.Noted(incompleteTags(host))) && !at.After(t.began) && t.began.Sub(at) < believedFor {
		n = enough
	}
	t.asked[of] = n
	return n
}

// prove is for when all digest tags of a sample have been asked for.
func (t *tagLists) prove(repository name.Repository) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proved[repository]++
}

// note notes for later plans what has been found to be listed completely, as of the beginning of this one: so it counts for
// nothing where another plan has found the contrary meanwhile.
func (t *tagLists) note() {
	if t.facts == nil {
		return
	}
	hosts := map[string]int{}
	for repository, n := range t.proved {
		if host := repository.RegistryStr(); !t.doubted[host] {
			t.facts.Note(completeTags(repository.Name()), t.began)
			hosts[host] += n
		}
	}
	for host, n := range hosts {
		if n >= sampled {
			t.facts.Note(completeTags(host), t.began)
		}
	}
}

// isUnlisted tells whether the tags of a repository have been listed, and that one was not among them.
func (g *graph) isUnlisted(repository name.Repository, tag string) bool {
	hasTag := g.options.hasTag(repository)
	return hasTag != nil && !hasTag(tag)
}

// doubt remembers that a registry's lists prove nothing, and has everything asked that was not asked for their sake.
func (g *graph) doubt(ctx context.Context, host string) {
	t := g.lists
	t.mu.Lock()
	rest, isKnown := t.unasked[host], t.doubted[host]
	t.doubted[host] = true
	delete(t.unasked, host)
	t.mu.Unlock()
	if t.facts != nil && !isKnown {
		t.facts.Note(incompleteTags(host), t.now())
	}
	for _, u := range rest {
		g.work.add(func() { u.node.err = g.askAgain(ctx, u) })
	}
}

// settle is for when a node has been explored, and is nobody else's any more: what was not asked for it may still have to be.
func (g *graph) settle(ctx context.Context, u unasked) {
	if u.node.err != nil || !u.subject.believed {
		return
	}
	t, host := g.lists, u.view.own.RegistryStr()
	t.mu.Lock()
	doubted := t.doubted[host]
	if !doubted {
		t.unasked[host] = append(t.unasked[host], u)
	}
	t.mu.Unlock()
	if doubted {
		u.node.err = g.askAgain(ctx, u)
	}
}

// askAgain asks for the digest tags of a node that the list lacks, as far as they have not been found.
func (g *graph) askAgain(ctx context.Context, u unasked) error {
	n, own := u.subject, u.view.own
	found := func(via bundle.Via, tag string) bool {
		return slices.ContainsFunc(n.edges, func(e edge) bool { return e.via == via && e.tag == tag && e.from == own })
	}
	if g.isUnlisted(own, n.digest.FallbackTag()) && !found(bundle.ViaReferrersAPI, "") && !found(bundle.ViaReferrersTag, "") {
		if err := g.listReferrers(ctx, u.view, n, own, nil); err != nil {
			return err
		}
	}
	return g.findCosignTags(ctx, u.view, n, own, func(tag string) bool { return g.isUnlisted(own, tag) && !found(bundle.ViaCosignTag, tag) })
}

// fetchTagged fetches what was found under a tag. A front of several stores may have it under its tag alone.
func (g *graph) fetchTagged(ctx context.Context, tag name.Tag, desc bundle.Descriptor) ([]byte, error) {
	content, err := g.fetchDescribed(ctx, desc, tag.Context())
	if !errors.Is(err, registry.ErrNotFound) && !errors.Is(err, registry.ErrRepositoryUnknown) {
		return content, err
	}
	served, content, tagErr := g.source.Manifest(ctx, tag)
	if tagErr != nil {
		return nil, errors.Join(err, tagErr)
	}
	return content, checkServed(desc, served)
}
