package importer

import (
	"context"
	"errors"
	"fmt"

	"airgap/bundle"
	"airgap/export/registry"
)

// ErrSparse: the bundle brings an index of which some manifests are missing, and the target does not take such.
var ErrSparse = errors.New("the target does not take an index whose manifests are not all there")

// pushSparse pushes the indexes whose other platforms stayed behind, by their digests, before anything else. Most
// registries refuse such an index, and there is no way to find out but to push one. Nothing is there yet that a target
// which looks for the manifests of an index could find, so that the answer is the same for all of them; and it comes
// before the bulk is sent.
func (r *run) pushSparse(ctx context.Context) error {
	for _, image := range r.plan.Images {
		root := r.plan.contents.Root(image.Root)
		row := r.plan.row(root.Digest)
		repo := &r.plan.repositories[image.Repo]
		at, _ := repo.find(row)
		if !root.IsSparse() || repo.states[at].isThere() {
			continue
		}
		taken, err := r.pushManifest(ctx, row, repo.name.Digest(root.Digest.String()))
		if refused(err) {
			return fmt.Errorf("%w: %s, of which the bundle has %v: export it again with --platform-mode rewrite, which makes an index of just these platforms, or with all platforms: %s",
				ErrSparse, root.Source, root.Platforms, err.Error()) // not wrapped: that it was "not found" means something else
		}
		if err != nil {
			return err
		}
		repo.states[at] = pushed
		if taken {
			repo.states[at] = acknowledged
		}
	}
	return nil
}

// refused tells whether a registry did not want what it was given, whoever gave it.
func refused(err error) bool {
	var answer *registry.Error
	return errors.As(err, &answer) && answer.Status >= 400 && answer.Status < 500 &&
		!errors.Is(err, registry.ErrUnauthorized) && !errors.Is(err, registry.ErrForbidden) && !errors.Is(err, registry.ErrThrottled) &&
		!errors.Is(err, bundle.ErrDigest)
}

// warnOfSparse says what a dry run cannot find out.
func (r *run) warnOfSparse() {
	for _, image := range r.plan.Images {
		root := r.plan.contents.Root(image.Root)
		at, _ := r.plan.repositories[image.Repo].find(r.plan.row(root.Digest))
		if root.IsSparse() && !r.plan.repositories[image.Repo].states[at].isThere() {
			r.observer.Warn(fmt.Sprintf("%s lists manifests that stayed behind: whether the target takes such an index shows only when it is pushed, which the import does first of all", root.Source))
		}
	}
}
