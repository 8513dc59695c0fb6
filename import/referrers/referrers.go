// Package referrers sees to it that what was brought is listed for what it refers to. Most targets do that by themselves; without
// the referrers API there are lists under fallback tags, to which clients add.
package referrers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/fallback"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/push"
	"airgap/import/target"
)

// Target is where referrers are listed.
type Target interface {
	push.Target

	// Manifest returns the manifest that ref names.
	Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error)
	// Referrers lists what refers to a manifest, whole, from the API or else from the fallback tag, or fails.
	Referrers(ctx context.Context, subject name.Digest) (registry.Referrers, error)
}

// Lister makes referrers be listed.
type Lister struct {
	inv      *inventory.Inventory
	target   Target
	limits   parallel.Limits
	observer bundle.Observer

	api     atomic.Int32 // target.ReferrersAPI
	written atomic.Int64 // lists under fallback tags
}

// New returns a Lister; api is what is known of the target.
func New(inv *inventory.Inventory, t Target, limits parallel.Limits, api target.ReferrersAPI, o bundle.Observer) *Lister {
	l := &Lister{inv: inv, target: t, limits: limits, observer: o}
	l.api.Store(int32(api))
	return l
}

// Written returns how many lists under fallback tags were written.
func (l *Lister) Written() int { return int(l.written.Load()) }

// List makes sure that the target lists every manifest that was brought for its subject. It may be called again.
func (l *Lister) List(ctx context.Context) error {
	repo := func(list inventory.List) int32 { return list.Repo }
	return parallel.EachIn(ctx, l.limits, slices.Values(l.inv.Lists), repo, l.ensure)
}

// ensure makes sure that the target lists what refers to a subject. A target that has not said so by itself is asked for the
// list, which also shows whether it has the API at all. Where it is known to have none, there is only the list under the
// fallback tag to look at.
func (l *Lister) ensure(ctx context.Context, list inventory.List) error {
	defer l.observer.Add(1)
	if list.IsListed || !slices.ContainsFunc(list.Rows, func(row int32) bool {
		return l.inv.State(inventory.Need{Row: row, Repo: list.Repo}) != inventory.Acknowledged
	}) {
		return nil
	}
	if target.ReferrersAPI(l.api.Load()) != target.ReferrersAPIAbsent {
		listed, err := l.target.Referrers(ctx, l.inv.SubjectName(list))
		if err != nil {
			return err
		}
		l.api.Store(int32(target.APIOf(listed)))
		if listed.API || len(Missing(l.inv, list, listed.Descriptors)) == 0 {
			return nil // what the API does not list yet, reading back will tell
		}
	}
	ours, err := l.descriptors(list)
	if err != nil {
		return err
	}
	written, err := fallback.Add(ctx, l.target, l.inv.Repos[list.Repo].Tag(list.Subject.FallbackTag()), ours)
	l.written.Add(int64(written))
	switch {
	case errors.Is(err, fallback.ErrNoList):
		return fmt.Errorf("%w: %w", target.ErrConflict, err)
	case errors.Is(err, fallback.ErrOverwritten):
		return fmt.Errorf("%w: %w", target.ErrDiffers, err)
	}
	return err
}

// Missing returns what belongs to a list and is not listed.
func Missing(inv *inventory.Inventory, l inventory.List, listed []bundle.Descriptor) (missing []bundle.Digest) {
	for _, row := range l.Rows {
		if d := inv.Digest(row); !contains(listed, d) {
			missing = append(missing, d)
		}
	}
	return missing
}

func contains(listed []bundle.Descriptor, d bundle.Digest) bool {
	return slices.ContainsFunc(listed, func(l bundle.Descriptor) bool { return l.Digest == d })
}

// descriptors describes referrers as the list under a fallback tag has them.
func (l *Lister) descriptors(list inventory.List) ([]bundle.Descriptor, error) {
	var described []bundle.Descriptor
	for _, row := range list.Rows {
		m, err := l.inv.Manifest(row)
		if err != nil {
			return nil, err
		}
		described = append(described, m.AsReferrer(bundle.Descriptor{
			MediaType: l.inv.Graph.Node(int(row)).MediaType, Digest: l.inv.Digest(row), Size: l.inv.Size(row),
		}))
	}
	return described, nil
}
