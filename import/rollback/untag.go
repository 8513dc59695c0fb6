package rollback

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/parallel"
	"airgap/import/tags"
	"airgap/import/target"
)

// What is known of a registry that is asked to delete a tag. By the specification that deletes the tag alone:
// "to delete a tag" and "to delete a manifest" are two requests, of which the second names a digest. In truth some delete
// the manifest along with its last tag (ECR, by its documentation), and others might do so along with any, which would take
// the tags of others. Observed, where deletion is configured: distribution 3.1.2 deletes the tag alone, and 2.8.2 answers 400
// DIGEST_INVALID; where it is not, both answer 405.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#deleting-tags
const (
	deletionUnknown int32 = iota // nothing was deleted yet, or the manifest had no other tag
	deletionAlone                // a manifest has outlived its tag
	deletionOfAll                // a manifest went though it had another tag: nothing more is deleted
)

var errDeletesAll = errors.New("this registry deletes a manifest, with all of its tags, when one of them is deleted: remove the tag by hand, if nothing else needs the manifest")

// untagAtHarbor removes a tag that the import made. Harbor's API deletes the tag of one artifact, and nothing else.
func (r *rollback) untagAtHarbor(ctx context.Context, row *Row) error {
	if ours, err := r.isOurs(ctx, row); !ours || err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	project, repository := target.InHarbor(r.target, row.name.Context())
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), tags.Timeout)
	defer stop()
	err := r.options.Harbor.DeleteTag(ctx, project, repository, row.New, row.name.TagStr())
	if errors.Is(err, harbor.ErrNotAllowed) && !errors.Is(err, harbor.ErrReadOnly) {
		return fmt.Errorf(`%w; ask for an account that may delete tags in project %s (of a robot, the permission "delete" of "tag")`, err, project)
	}
	return r.removed(ctx, row, err)
}

// removed takes the answer to a deletion together with what the tag is now.
func (r *rollback) removed(ctx context.Context, row *Row, err error) error {
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		return err
	}
	// Not found may be the answer to a request that had to be repeated, or of a registry that knows no such request.
	differs := r.expect(ctx, row, bundle.Digest{})
	switch {
	case differs != nil && err != nil:
		return noDeletion(err)
	case differs != nil:
		return differs
	}
	row.Status = Removed
	return nil
}

// noDeletion does not wrap err: that may be a 404, by which nothing is missing here.
func noDeletion(err error) error {
	answer := err.Error()
	var e *registry.Error
	if errors.As(err, &e) {
		answer = strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, e.Message))
	}
	return fmt.Errorf("%w (it answers %s): remove this one by the registry's own means", registry.ErrNoDeletion, answer)
}

// untagAll removes the tags that the import made from a registry that is not Harbor: one after the other until it is known
// what that does, see deletionUnknown.
func (r *rollback) untagAll(ctx context.Context) error {
	err := r.forAll(ctx, 1, Remove, func(ctx context.Context, row *Row) error {
		if r.deletion.Load() == deletionAlone {
			return nil
		}
		return r.untag(ctx, row)
	})
	if err != nil {
		return err
	}
	return r.forAll(ctx, r.options.Jobs, Remove, r.untag)
}

// untag removes a tag, and sees to it that nothing else goes: the manifest and, until it is known that those stay, its
// other tags are looked for afterwards, and put back.
func (r *rollback) untag(ctx context.Context, row *Row) error {
	if r.deletion.Load() == deletionOfAll {
		return errDeletesAll
	}
	if ours, err := r.isOurs(ctx, row); !ours || err != nil {
		return err
	}
	manifest, content, err := r.target.Manifest(ctx, row.newName())
	if err != nil {
		return err
	}
	var others []name.Tag
	if r.deletion.Load() == deletionUnknown {
		if others, err = r.otherTags(ctx, row); err != nil {
			return fmt.Errorf("it was not deleted, as some registries delete a manifest with all of its tags, and which others it has cannot be found out: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), tags.Timeout)
	defer stop()
	deleted := r.target.DeleteTag(ctx, row.name)
	if errors.Is(deleted, registry.ErrNoDeletion) {
		return noDeletion(deleted)
	}
	// Whatever the answer was, it may have been carried out.
	if err := r.putBack(ctx, row, manifest.MediaType, content, others); err != nil {
		return errors.Join(deleted, err)
	}
	return r.removed(ctx, row, deleted)
}

// otherTags returns the other tags of a manifest that the row's tag points to.
func (r *rollback) otherTags(ctx context.Context, row *Row) ([]name.Tag, error) {
	repo := row.name.Context()
	tags, err := r.target.Tags(ctx, repo)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var others []name.Tag
	err = parallel.Each(ctx, r.options.Jobs, slices.Values(tags), func(ctx context.Context, tag string) error {
		other := repo.Tag(tag)
		if tag == row.Tag {
			return nil
		}
		found, err := r.tagged(ctx, other)
		if found == row.New && err == nil {
			mu.Lock()
			defer mu.Unlock()
			others = append(others, other)
		}
		return err
	})
	return others, err
}

// putBack puts back what went along with a row's tag: the manifest, and the other tags that it had.
func (r *rollback) putBack(ctx context.Context, row *Row, mediaType string, content []byte, others []name.Tag) error {
	lost, err := r.ensure(ctx, row.newName(), mediaType, content)
	for _, other := range others {
		lostTag, tagErr := r.ensure(ctx, other, mediaType, content)
		lost, err = lost || lostTag, errors.Join(err, tagErr)
	}
	switch {
	case err != nil:
		r.deletion.Store(deletionOfAll) // or might be
		return fmt.Errorf("what the registry deleted along with it could not be put back: %w", err)
	case !lost && r.deletion.Load() == deletionUnknown:
		r.deletion.Store(deletionAlone)
	case lost && len(others) > 0:
		r.deletion.Store(deletionOfAll)
	}
	if lost {
		row.Reason = fmt.Sprintf("the registry deleted the manifest as well; it was put back, with %d other tags", len(others))
	}
	return nil
}

// ensure puts a manifest back under a name that it had, unless it is there.
func (r *rollback) ensure(ctx context.Context, ref name.Reference, mediaType string, content []byte) (lost bool, err error) {
	_, err = r.target.Resolve(ctx, ref)
	if !target.Absent(err) {
		return false, err
	}
	_, err = r.target.PushManifest(ctx, ref, mediaType, content)
	return true, err
}
