package importer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
)

// complete is the permission to move tags. Only confirm makes one that leads to any tags: everything in the plan has
// been verified, is at the target, and was looked for there.
type complete struct{ tags []*tagMove }

// confirm looks for every manifest once more. Blobs are implied: a registry has accepted, or has had before, the
// manifests that name them, and each blob was found or pushed before that. What is gone is pushed again.
func (r *run) confirm(ctx context.Context) (complete, error) {
	for round := 0; ; round++ {
		lost, err := r.lookAgain(ctx)
		if err != nil {
			return complete{}, err
		}
		if lost == nil {
			break
		}
		if round == lostRounds || !r.canPushAgain() {
			return complete{}, lost
		}
		if err := r.pushAgain(ctx, lost); err != nil {
			return complete{}, err
		}
	}
	var done complete
	for i := range r.plan.tags {
		if !r.plan.tags[i].cosign {
			done.tags = append(done.tags, &r.plan.tags[i])
		}
	}
	return done, nil
}

// moveTags moves the tags that people use. The first failure ends it, since a tag that stays is better than one more
// half of something new; what was moved is in the report.
func (r *run) moveTags(ctx context.Context, done complete) error {
	err := eachIn(ctx, r, slices.Values(done.tags), repoOfTag, r.moveTag)
	if err == nil {
		return nil
	}
	moved := 0
	for _, t := range done.tags {
		if t.moved {
			moved++
		}
	}
	return fmt.Errorf("%d of %d tags were moved, and the report says which; everything they need is there: %w", moved, len(done.tags), err)
}

func repoOfTag(t *tagMove) int32 { return t.repo }

// tagTimeout is how long a tag may take that was begun before the import was cancelled.
const tagTimeout = 30 * time.Second

// moveTag writes a tag unless it is right. The tag is looked at once more, so that the report knows what it replaced,
// and because some registries refuse to write a tag that is right already (immutable tags in Harbor). A write that has
// begun is ended even when ctx is done: then it is known whether the tag was moved.
func (r *run) moveTag(ctx context.Context, t *tagMove) error {
	if done, err := r.lookAtTag(ctx, t); done || err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), tagTimeout)
	defer stop()
	r.observer.Item(r.plan.tagName(t))
	if _, err := r.pushManifest(ctx, t.row, r.plan.Repos[t.repo].Tag(t.tag)); err != nil {
		return r.refusedTag(ctx, t, err)
	}
	t.isThere, t.moved, t.inDoubt = true, true, false
	return nil
}

// refusedTag looks whether a tag was written for all that the target has answered, which may have been lost on the way: a rule
// that makes the tag immutable then refuses the second try. Where that cannot be found out either, the tag is in doubt.
func (r *run) refusedTag(ctx context.Context, t *tagMove, refusal error) error {
	found, err := r.tagged(ctx, t)
	switch {
	case err == nil && found == r.plan.digest(t.row):
		t.isThere, t.moved, t.inDoubt = true, true, false
		return nil
	case err != nil && !t.unseen:
		t.inDoubt = true
	}
	return r.explainTag(t, refusal)
}

// lookAtTag looks what a tag that is to be moved points to. done tells whether it is right already.
func (r *run) lookAtTag(ctx context.Context, t *tagMove) (done bool, err error) {
	old, err := r.tagged(ctx, t)
	switch unseen := errors.Is(err, ErrUnchecked); {
	case unseen && t.moved:
		return true, nil // by this run
	case unseen && r.options.NoOverwrite:
		return false, r.madeByOthers(t)
	case unseen && t.cosign && !t.unseen && !r.options.OverwriteCosignTags:
		return false, r.changedByOthers(t)
	case unseen:
		return false, r.unseenTag(t, err)
	case err != nil:
		return false, err
	case t.cosign && old != t.old && old != r.plan.digest(t.row):
		return false, r.changedByOthers(t)
	case r.options.NoOverwrite && !t.cosign && !t.moved && !old.IsZero() && old != r.plan.digest(t.row):
		return false, r.madeByOthers(t)
	}
	if !t.moved { // or else old is what this run has made it
		t.old, t.unseen = old, false
	}
	t.isThere = old == r.plan.digest(t.row)
	return t.isThere, nil
}

func (r *run) madeByOthers(t *tagMove) error {
	return fmt.Errorf("%w: %s was made by somebody else just now, and no tag is to be overwritten", ErrConflict, r.plan.tagName(t))
}

func (r *run) changedByOthers(t *tagMove) error {
	return fmt.Errorf("%w: %s was changed by somebody else just now; run the command again", ErrConflict, r.plan.tagName(t))
}

// pushManifest writes a manifest under a reference, with the bytes that it had at the source.
func (r *run) pushManifest(ctx context.Context, row int32, ref name.Reference) (acknowledged bool, err error) {
	content, err := r.plan.bundle.Manifest(r.plan.digest(row))
	if err == nil {
		acknowledged, err = r.target.PushManifest(ctx, ref, r.plan.graph.Node(int(row)).MediaType, content)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w%s", r.plan.graph.Path(int(row)), err, r.plan.leftOut(row))
	}
	return acknowledged, nil
}

// leftOut says for an error why a target may refuse a manifest whose layers are not all in the bundle. Distribution does
// so unless its validation.manifests.urls allow the layers' URLs.
func (p *plan) leftOut(row int32) string {
	for _, blob := range p.graph.Node(int(row)).Blobs {
		if b := p.contents.Blobs[blob]; b.Stored == bundle.StoredNondistributable {
			return fmt.Sprintf("; its layer %s may not be distributed and was left out of the bundle: let the registry accept the URLs of such layers, or export with --include-nondistributable", b.Digest)
		}
	}
	return ""
}

// readBack compares what the target shows with what was written: every tag, and everything that is listed for each
// subject. A target may list more. All differences are in one error, which wraps ErrDiffers.
func (r *run) readBack(ctx context.Context) error {
	differences := make([]error, len(r.plan.tags)+len(r.plan.lists)) // or what could not be compared
	err := each(ctx, r.options.Jobs, indexes(len(differences)), func(ctx context.Context, i int) (err error) {
		if i < len(r.plan.tags) {
			differences[i], err = r.compareTag(ctx, &r.plan.tags[i])
		} else {
			differences[i], err = r.compareList(ctx, r.plan.lists[i-len(r.plan.tags)])
		}
		return err
	})
	if err != nil {
		return err
	}
	var problems bundle.Problems
	var unchecked error
	for i, difference := range differences {
		if errors.Is(difference, ErrUnchecked) {
			r.unchecked, unchecked = append(r.unchecked, r.plan.tagName(&r.plan.tags[i])), difference
			continue
		}
		problems.Add(difference)
	}
	if err := problems.Err(); err != nil {
		return err
	}
	if err := r.compareAccessories(ctx); err != nil {
		return err
	}
	return r.uncheckedError(unchecked)
}

func indexes(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func (r *run) compareTag(ctx context.Context, t *tagMove) (difference, err error) {
	found, err := r.tagged(ctx, t)
	if errors.Is(err, ErrUnchecked) {
		return err, nil
	}
	if want := r.plan.digest(t.row); err == nil && found != want {
		difference = fmt.Errorf("%w: %s is %s; expected: %s", ErrDiffers, r.plan.tagName(t), shown(found), want)
	}
	return difference, err
}

func shown(d bundle.Digest) string {
	if d.IsZero() {
		return "not there"
	}
	return d.String()
}

func (r *run) compareList(ctx context.Context, l referrersList) (difference, err error) {
	subject := r.plan.Repos[l.repo].Digest(l.subject.String())
	listed, err := r.target.Referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	if lost := missing(listed.Descriptors, r.digests(l)); len(lost) > 0 {
		difference = fmt.Errorf("%w: %d of the %d referrers of %s are not listed, %s among them", ErrDiffers, len(lost), len(l.rows), subject, lost[0])
	}
	return difference, nil
}
