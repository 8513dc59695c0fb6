package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"airgap/export/registry"
)

// What was at the target, or was pushed, may be gone before the first tag leads to it: registries collect garbage, and Harbor
// spares what has no tag for two hours only, which is less than a large import takes. It is looked for, and pushed again.

// lostRounds is how often what is gone is pushed again. More often, something other than one collection of garbage takes it.
const lostRounds = 3

// lookAgain looks for every manifest, and for the blobs of those that are gone. What is gone is lacking from then on; lost
// tells of one of them.
func (r *run) lookAgain(ctx context.Context) (lost, err error) {
	p := r.plan
	if slices.Contains(p.useStates, lacking) {
		lost = fmt.Errorf("%w: the target had a blob and does not have it any more", ErrDiffers)
	}
	for i := range p.tags {
		if t := &p.tags[i]; t.cosign && !t.isThere {
			lost = fmt.Errorf("%w: what %s is for was at the target, and is not there any more", ErrDiffers, p.tagName(t))
		}
	}
	gone, err := r.goneManifests(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range gone {
		repo := &p.repositories[w.repo]
		at, _ := repo.find(w.row)
		repo.states[at] = lacking
		lost = fmt.Errorf("%w: %s: the target had %s and does not have it any more", ErrDiffers, p.graph.Path(int(w.row)), repo.name.Digest(p.digest(w.row).String()))
	}
	return lost, r.lookForBlobsOf(ctx, gone)
}

// goneManifests returns the manifests that are not at the target, in the order of the plan.
func (r *run) goneManifests(ctx context.Context) ([]use, error) {
	manifests := func(yield func(use) bool) {
		for i := range r.plan.repositories {
			for _, row := range r.plan.repositories[i].manifests {
				if !yield(use{row: row, repo: int32(i)}) {
					return
				}
			}
		}
	}
	var mu sync.Mutex
	var gone, unseen []use
	err := each(ctx, r.options.Jobs, manifests, func(ctx context.Context, w use) error {
		repo := &r.plan.repositories[w.repo]
		at, _ := repo.find(w.row)
		found, hidden := false, false
		if repo.states[at].isThere() {
			var err error
			found, err = r.hasManifest(ctx, repo, w.row)
			if hidden = errors.Is(err, ErrUnchecked); err != nil && !hidden {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case hidden:
			unseen = append(unseen, w)
		case !found:
			gone = append(gone, w)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	refused, err := r.writeAgain(ctx, unseen)
	gone = append(gone, refused...)
	slices.SortFunc(gone, func(a, b use) int { return -compareUses(a, b) }) // so that the first is told of
	return gone, err
}

// lookForBlobsOf looks for the blobs that manifests need which have to be pushed again.
func (r *run) lookForBlobsOf(ctx context.Context, manifests []use) error {
	var needed []int // places in plan.uses
	for _, w := range manifests {
		needed = append(needed, r.plan.usesIn(w)...)
	}
	slices.Sort(needed)
	return each(ctx, r.options.Jobs, slices.Values(slices.Compact(needed)), func(ctx context.Context, at int) error {
		u := r.plan.uses[at]
		_, found, err := r.target.HasBlob(ctx, r.plan.Repos[u.repo], r.plan.digest(u.row))
		if err == nil && !found {
			r.plan.useStates[at] = lacking
		}
		return err
	})
}

// canPushAgain tells whether the bundle can be read for everything that is lacking: blobs that came through a pipe have gone
// by, while manifests were kept.
func (r *run) canPushAgain() bool {
	return !r.plan.bundle.Sequential() || !slices.Contains(r.plan.useStates, lacking)
}

// pushAgain pushes what is lacking.
func (r *run) pushAgain(ctx context.Context, lost error) error {
	r.observer.Warn(fmt.Sprintf("what is gone is pushed again, perhaps garbage was collected: %v", lost))
	if err := r.transfer(ctx); err != nil {
		return err
	}
	if err := r.listReferrers(ctx); err != nil {
		return err
	}
	r.observer.Phase("check everything", 0)
	return nil
}

// lostBlobs are blobs that turned out to be gone while others were pushed.
type lostBlobs struct {
	mu   sync.Mutex
	uses []int // places in plan.uses
}

// note makes them lacking. Nobody may be at work any more: who brings a blob elsewhere looks at its states.
func (l *lostBlobs) note(p *plan) {
	for _, at := range l.uses {
		p.useStates[at] = lacking
	}
}

// lacksContent tells whether a target refuses a manifest for want of what it names.
func lacksContent(err error) bool {
	var answer *registry.Error
	return errors.As(err, &answer) && answer.HasCode("MANIFEST_BLOB_UNKNOWN")
}

// lostSome is called with the target's refusal of a manifest. Where it is for want of something that was there, blobs are
// noted, and the manifest is left: confirm will see that all of it is pushed again.
func (t *transfer) lostSome(ctx context.Context, manifest task, refusal error) error {
	if t.plan.bundle.Sequential() || !lacksContent(refusal) {
		return refusal
	}
	blobs, err := t.goneBlobs(ctx, manifest)
	if err != nil {
		return errors.Join(refusal, err)
	}
	children, err := t.lacksChildren(ctx, manifest)
	if err != nil {
		return errors.Join(refusal, err)
	}
	if len(blobs) == 0 && !children {
		return refusal
	}
	t.lost.mu.Lock()
	t.lost.uses = append(t.lost.uses, blobs...)
	t.lost.mu.Unlock()
	t.order.manifestIsLeft(manifest.repo, manifest.row, t.push)
	return nil
}

// goneBlobs returns where in plan.uses the blobs of a manifest are that are not at the target.
func (t *transfer) goneBlobs(ctx context.Context, manifest task) (gone []int, err error) {
	for _, at := range t.plan.usesIn(use{row: manifest.row, repo: manifest.repo}) {
		u := t.plan.uses[at]
		_, found, err := t.target.HasBlob(ctx, t.plan.Repos[u.repo], t.plan.digest(u.row))
		if err != nil {
			return nil, err
		}
		if !found {
			gone = append(gone, at)
		}
	}
	return gone, nil
}

func (t *transfer) lacksChildren(ctx context.Context, manifest task) (bool, error) {
	for _, child := range t.plan.graph.Node(int(manifest.row)).Children {
		found, err := t.hasManifest(ctx, &t.plan.repositories[manifest.repo], child)
		if errors.Is(err, ErrUnchecked) {
			continue
		}
		if err != nil || !found {
			return !found, err
		}
	}
	return false, nil
}

// moveCosignTag is moveTag, but leaves a tag for confirm whose manifest has lost what it names.
func (r *run) moveCosignTag(ctx context.Context, t *tagMove) error {
	err := r.moveTag(ctx, t)
	if lacksContent(err) {
		return nil
	}
	return err
}
