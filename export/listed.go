package export

import (
	"context"
	"errors"
	"slices"
	"sync"

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
// are asked for in any case. Should one come up later, what was not asked before is asked after all.

// sampled is how many digests of each registry are asked for whatever its lists say, besides the first of each repository.
// With three tags each that is 300 requests, where a walk that takes longer than a moment makes thousands.
const sampled = 100

// tagLists is what is known of the lists of tags.
type tagLists struct {
	mu      sync.Mutex
	asked   map[string]int       // digests, by registry and by repository
	doubted map[string]bool      // registries whose lists prove nothing
	unasked map[string][]unasked // by registry
}

// unasked is a manifest of whose own repository the list was believed that nothing more belongs to it.
type unasked struct {
	view    *view
	subject *node
	node    *node // where an error belongs: the subject, or the index that was made of it
}

func newTagLists() *tagLists {
	return &tagLists{asked: map[string]int{}, doubted: map[string]bool{}, unasked: map[string][]unasked{}}
}

// hasTag tells which digest tags an image's own repository has, as far as its list is believed for one more digest; nil is
// not known.
func (g *graph) hasTag(v *view, repository name.Repository) func(tag string) bool {
	hasTag := g.options.hasTag(repository)
	if hasTag == nil || repository != v.own {
		return nil
	}
	t, host := g.lists, repository.RegistryStr()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.doubted[host]:
		return nil
	case t.asked[host] < sampled || t.asked[repository.Name()] == 0:
		t.asked[host]++
		t.asked[repository.Name()]++
		return nil
	}
	return hasTag
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
	rest := t.unasked[host]
	t.doubted[host] = true
	delete(t.unasked, host)
	t.mu.Unlock()
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
