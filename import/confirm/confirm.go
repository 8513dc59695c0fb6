// Package confirm makes sure that everything is at the target, and alone can say so: Complete is the permission to move the
// tags that people use.
package confirm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/push"
	"airgap/import/target"
)

// Complete is the permission to move tags. Only Everything makes one that leads to any: all that the inventory names has been
// verified, is at the target, and was looked for there.
type Complete struct{ tags []*inventory.Tag }

// Tags returns the tags that may move.
func (c Complete) Tags() []*inventory.Tag { return slices.Clone(c.tags) }

// Target is what is asked once more.
type Target interface {
	push.Target
	target.Resolver

	// HasBlob tells whether repo has a blob, and how large it is in bytes.
	HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error)
}

// rounds is how often what is gone is pushed again. More often, something other than one collection of garbage takes it.
const rounds = 3

// Everything looks for every manifest once more. Blobs are implied: a registry has accepted, or has had before, the manifests
// that name them, and each blob was found or pushed before that.
//
// What was at the target, or was pushed, may be gone all the same: registries collect garbage, and Harbor spares what has no tag
// for two hours only, which is less than a large import takes. What is gone is marked as lacking, and pushAgain is called. It is
// an error that wraps target.ErrDiffers where that does not help, or the bundle cannot be read again.
func Everything(ctx context.Context, inv *inventory.Inventory, t Target, limits parallel.Limits, o bundle.Observer, pushAgain func(ctx context.Context, lost error) error) (Complete, error) {
	c := check{inv: inv, target: t, limits: limits, observer: o}
	manifests := 0
	for range inv.Manifests() {
		manifests++
	}
	for round := 0; ; round++ {
		o.Count("check everything", "manifest", int64(manifests))
		lost, err := c.look(ctx)
		if err != nil {
			return Complete{}, err
		}
		if lost == nil {
			break
		}
		if round == rounds {
			return Complete{}, lost
		}
		if err := c.checkReadable(); err != nil {
			return Complete{}, fmt.Errorf("%w: %w", target.ErrDiffers, err)
		}
		if err := pushAgain(ctx, lost); err != nil {
			return Complete{}, err
		}
	}
	var done Complete
	for i := range inv.Tags {
		if !inv.Tags[i].Cosign {
			done.tags = append(done.tags, &inv.Tags[i])
		}
	}
	return done, nil
}

type check struct {
	inv      *inventory.Inventory
	target   Target
	limits   parallel.Limits
	observer bundle.Observer
}

// checkReadable returns an error where the bundle cannot be read again for a blob that is lacking.
func (c check) checkReadable() error {
	for blob := range c.inv.Blobs() {
		if _, lacks := blob.Lacks(); lacks {
			if err := inventory.CheckReadable(c.inv, blob.Row); err != nil {
				return err
			}
		}
	}
	return nil
}

// look looks for every manifest, and for the blobs of those that are gone. What is gone is lacking from then on; lost tells of
// one of them.
func (c check) look(ctx context.Context) (lost, err error) {
	if c.inv.LacksBlobs() {
		lost = fmt.Errorf("%w: the target had a blob and does not have it any more", target.ErrDiffers)
	}
	for i := range c.inv.Tags {
		if t := &c.inv.Tags[i]; t.Cosign && !t.IsRight() {
			lost = fmt.Errorf("%w: what %s is for was at the target, and is not there any more", target.ErrDiffers, c.inv.TagName(t))
		}
	}
	gone, err := c.goneManifests(ctx)
	if err != nil {
		return nil, err
	}
	for i, manifest := range gone {
		c.inv.Mark(manifest, inventory.Lacking)
		if i == 0 {
			lost = fmt.Errorf("%w: %s: the target had %s and does not have it any more", target.ErrDiffers, c.inv.Path(manifest.Row), c.inv.Name(manifest))
		}
	}
	return lost, c.lookForBlobsOf(ctx, gone)
}

// goneManifests returns the manifests that are not at the target, in the order of the inventory.
func (c check) goneManifests(ctx context.Context) ([]inventory.Need, error) {
	var mu sync.Mutex
	var gone, hidden []inventory.Need
	err := parallel.Each(ctx, c.limits.Jobs, c.inv.Manifests(), func(ctx context.Context, manifest inventory.Need) error {
		defer c.observer.Add(1)
		found, isHidden := false, false
		if c.inv.State(manifest).IsThere() {
			var err error
			found, err = target.HasManifest(ctx, c.target, c.inv.Name(manifest), c.inv.Size(manifest.Row))
			if isHidden = errors.Is(err, target.ErrHidden); err != nil && !isHidden {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case isHidden:
			hidden = append(hidden, manifest)
		case !found:
			gone = append(gone, manifest)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	refused, err := c.writeAgain(ctx, hidden)
	gone = append(gone, refused...)
	slices.SortFunc(gone, inventory.CompareNeeds)
	return gone, err
}

// writeAgain pushes manifests again that cannot be seen: a registry that takes one has everything that it names.
// It returns those for which it lacks something.
func (c check) writeAgain(ctx context.Context, manifests []inventory.Need) (refused []inventory.Need, err error) {
	var mu sync.Mutex
	repo := func(n inventory.Need) int32 { return n.Repo }
	err = parallel.EachIn(ctx, c.limits, slices.Values(manifests), repo, func(ctx context.Context, manifest inventory.Need) error {
		_, err := push.Manifest(ctx, c.target, c.inv, manifest.Row, c.inv.Name(manifest))
		if !target.LacksContent(err) {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		refused = append(refused, manifest)
		return nil
	})
	return refused, err
}

// lookForBlobsOf looks for the blobs that manifests need which have to be pushed again.
func (c check) lookForBlobsOf(ctx context.Context, manifests []inventory.Need) error {
	var needed []inventory.Need
	for _, manifest := range manifests {
		needed = append(needed, c.inv.BlobsOf(manifest)...)
	}
	slices.SortFunc(needed, inventory.CompareNeeds)
	return parallel.Each(ctx, c.limits.Jobs, slices.Values(slices.Compact(needed)), func(ctx context.Context, blob inventory.Need) error {
		_, found, err := c.target.HasBlob(ctx, c.inv.Repos[blob.Repo], c.inv.Digest(blob.Row))
		if err == nil && !found {
			c.inv.Mark(blob, inventory.Lacking)
		}
		return err
	})
}
