package record

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/import/parallel"
	"airgap/import/placing"
	"airgap/import/target"

	"github.com/google/go-containerregistry/pkg/name"
)

// maxOthers is how many bundles of which only some is there are in a receipt: more would not fit a page.
const maxOthers = 20

// Receipt finds out what a destination really has of a mirror: the newest bundle all of whose images are there, where its imports put
// them, and those that are newer. jobs is how many questions are under way at once.
func Receipt(ctx context.Context, h *History, t target.Resolver, d placing.Destination, mirror string, made time.Time, jobs int) (*ledger.Receipt, error) {
	var others []ledger.Received
	for _, tag := range h.tags {
		if tag.mirror != mirror {
			continue
		}
		e, err := h.entry(ctx, tag)
		if err != nil {
			return nil, err
		}
		if e == nil || e.Header.Sequence == 0 {
			continue
		}
		there, err := e.there(ctx, t, d, jobs)
		if err != nil {
			return nil, err
		}
		received := ledger.Received{
			Mirror: mirror, Sequence: e.Header.Sequence, Identity: e.Identity(), Created: e.Header.Created, Images: e.Header.Counts.Roots, There: there,
		}
		if received.There == received.Images {
			return ledger.NewReceipt(d.String(), made, &received, others), nil
		}
		if len(others) < maxOthers {
			others = append(others, received)
		}
	}
	return ledger.NewReceipt(d.String(), made, nil, others), nil
}

// there counts the roots of a bundle that are where an import put them.
func (e *Entry) there(ctx context.Context, t target.Resolver, d placing.Destination, jobs int) (int, error) {
	contents, err := e.Contents(ctx)
	if err != nil {
		return 0, err
	}
	imports, err := e.Imports(ctx)
	if err != nil {
		return 0, err
	}
	placed := make([]string, contents.Header.Counts.Roots) // repositories
	for _, i := range imports {
		if i.IsPlan() || !i.WentTo(d.Registry) {
			continue
		}
		err := i.Placed(ctx, contents, func(p Placed) error {
			if p.Outcome != LeftOut {
				placed[p.Root] = p.Repository
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	var there atomic.Int64
	err = parallel.EachIndex(ctx, jobs, len(placed), func(ctx context.Context, row int) error {
		if placed[row] == "" {
			return nil
		}
		root := contents.Root(row)
		found, err := target.HasManifest(ctx, t, d.Registry.Repo(placed[row]).Digest(root.Digest.String()), root.Size)
		if found {
			there.Add(1)
		}
		return err
	})
	return int(there.Load()), err
}

// WentTo tells whether an import was for a registry.
func (i *Import) WentTo(r name.Registry) bool {
	host, _, _ := strings.Cut(i.Destination, "/")
	return host == r.Name()
}

// Mirrors are those of which the record has bundles with numbers of their own, believed or not, sorted.
func (h *History) Mirrors() (mirrors []string) {
	for _, t := range h.tags { // which are sorted
		if t.mirror != "" && !besideTag.MatchString(t.tag) && (len(mirrors) == 0 || mirrors[len(mirrors)-1] != t.mirror) {
			mirrors = append(mirrors, t.mirror)
		}
	}
	return mirrors
}

// Named returns the repository for records that a user names: a path at the registry of the destination, which may stand before it.
func Named(d placing.Destination, s string) (name.Repository, error) {
	path := strings.TrimPrefix(s, d.Registry.Name()+"/")
	if err := bundle.CheckPath(path); err != nil {
		return name.Repository{}, fmt.Errorf("%w: the record %q is no repository at %s: %w", placing.ErrMapping, s, d.Registry.Name(), err)
	}
	return d.Registry.Repo(path), nil
}
