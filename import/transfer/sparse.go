package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"airgap/bundle"
	"airgap/import/inventory"
	"airgap/import/push"
	"airgap/import/target"
)

// ErrSparse: the bundle brings an index of which some manifests are missing, and the target does not take such.
var ErrSparse = errors.New("the target does not take an index whose manifests are not all there")

// Sparse pushes the indexes whose other platforms stayed behind, by their digests, before anything else. Most
// registries refuse such an index, and there is no way to find out but to push one. Nothing is there yet that a target
// which looks for the manifests of an index could find, so that the answer is the same for all of them; and it comes
// before the bulk is sent.
func (t *Transfer) Sparse(ctx context.Context) error {
	for image, root := range t.sparse() {
		err := push.ByDigest(ctx, t.target, t.inv, image)
		if target.Refused(err) {
			return fmt.Errorf("%w: %s, of which the bundle has %v: export it again with --platform-mode rewrite, which makes an index of just these platforms, or with all platforms: %s",
				ErrSparse, root.Source, root.Platforms, err.Error()) // not wrapped: that it was "not found" means something else
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// WarnOfSparse says what a dry run cannot find out.
func (t *Transfer) WarnOfSparse() {
	for _, root := range t.sparse() {
		t.options.Observer.Warn(fmt.Sprintf("%s lists manifests that stayed behind: whether the target takes such an index shows only when it is pushed, which the import does first of all", root.Source))
	}
}

// sparse yields the indexes that the target lacks and whose other platforms stayed behind.
func (t *Transfer) sparse() iter.Seq2[inventory.Need, bundle.Root] {
	return func(yield func(inventory.Need, bundle.Root) bool) {
		for _, image := range t.inv.Images {
			root := t.inv.Contents.Root(image.Root)
			n := inventory.Need{Row: t.inv.Row(root.Digest), Repo: image.Repo}
			if root.IsSparse() && !t.inv.State(n).IsThere() && !yield(n, root) {
				return
			}
		}
	}
}
