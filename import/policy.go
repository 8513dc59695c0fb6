package importer

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
)

// ErrUnchecked: everything was written, and some of it could not be read back: a pull policy hides it.
var ErrUnchecked = errors.New("written, but not read back")

// pastPolicies is a target in Harbor. What a pull policy hides there, such as content trust what is not signed, is taken from
// Harbor's own API, to which policies do not apply. (observed at Harbor 2.14.4)
type pastPolicies struct {
	Target
	harbor *harbor.Client
}

// seeThrough returns t as this import sees it; h is nil where it is not Harbor.
func seeThrough(t Target, h *harbor.Client) Target {
	if h == nil {
		return t
	}
	return pastPolicies{t, h}
}

// Resolve is that of Target. The size is -1, for not known, where it is hidden: Harbor's API has that of all content. What the
// account may not see there either is an error that wraps ErrUnchecked: there is something, and nobody knows what.
func (p pastPolicies) Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error) {
	found, err := resolvePast(ctx, p.Target, p.harbor, ref)
	if errors.Is(err, errHidden) {
		err = fmt.Errorf("%w: %w", ErrUnchecked, err)
	}
	return found, err
}

// errHidden: there is something, and this account may see what it is neither in the registry nor in Harbor's API.
var errHidden = errors.New("a pull policy hides it")

// resolver is what resolvePast needs of a target.
type resolver interface {
	pather
	Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error)
}

// resolvePast is Resolve of a target in Harbor, past its pull policies.
func resolvePast(ctx context.Context, t resolver, h *harbor.Client, ref name.Reference) (bundle.Descriptor, error) {
	found, err := t.Resolve(ctx, ref)
	if !isHidden(err) {
		return found, err
	}
	project, repository := inHarbor(t, ref.Context())
	artifact, err := h.Artifact(ctx, project, repository, ref.Identifier())
	if errors.Is(err, harbor.ErrNotAllowed) {
		return bundle.Descriptor{}, fmt.Errorf("%s: %w in the project %s, and this account may not look past that: it needs the permission artifact:read there",
			ref, errHidden, project)
	}
	if err != nil {
		return bundle.Descriptor{}, err
	}
	return bundle.Descriptor{MediaType: artifact.MediaType, Digest: artifact.Digest, Size: -1}, nil
}

// isHidden tells whether a pull policy of Harbor keeps a manifest from being read. What does not exist is 404 all the same.
// Immutable tags are refused with the same status, but only to who writes.
func isHidden(err error) bool {
	var answer *registry.Error
	return errors.As(err, &answer) && answer.Status == http.StatusPreconditionFailed
}

// unseenTag notes that a tag exists and leads to something unknown. One that somebody's signatures may be under is not
// overwritten unasked.
func (r *run) unseenTag(t *tagMove, err error) error {
	t.old, t.unseen = bundle.Digest{}, true
	if t.cosign && !r.options.OverwriteCosignTags {
		return fmt.Errorf("%w: %s exists, and signatures of others may be in it: give the account the permission artifact:read, or allow to overwrite such tags: %s",
			ErrConflict, r.plan.tagName(t), err.Error()) // not wrapped: nothing was written
	}
	return nil
}

// explainTag adds to the refusal of a tag what may be behind it: an immutable tag is refused also where it is right already.
func (r *run) explainTag(t *tagMove, err error) error {
	if t.unseen && isHidden(err) {
		return fmt.Errorf("%w; a pull policy hides whether %s is right already: with the permission artifact:read this account could see it", err, r.plan.tagName(t))
	}
	return err
}

// writeAgain pushes manifests again that cannot be seen: a registry that takes one has everything that it names.
// It returns those for which it lacks something.
func (r *run) writeAgain(ctx context.Context, manifests []use) (gone []use, err error) {
	refused := make([]bool, len(manifests))
	err = eachIn(ctx, r, indexes(len(manifests)), func(i int) int32 { return manifests[i].repo }, func(ctx context.Context, i int) error {
		repo := &r.plan.repositories[manifests[i].repo]
		_, err := r.pushManifest(ctx, manifests[i].row, repo.name.Digest(r.plan.digest(manifests[i].row).String()))
		if refused[i] = lacksContent(err); refused[i] {
			return nil
		}
		return err
	})
	for i, w := range manifests {
		if refused[i] {
			gone = append(gone, w)
		}
	}
	return gone, err
}

// uncheckedError returns the error of an import that did all that it could, or nil.
func (r *run) uncheckedError(example error) error {
	if len(r.unchecked) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d tags: %w", len(r.unchecked), len(r.plan.tags), example)
}
