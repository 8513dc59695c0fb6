// Package transfer brings blobs and manifests to the target: blobs in the order of the file, uploaded once and mounted from
// then on, and each manifest as soon as what it needs is there.
//
// Start with New. Sparse and Samples push what a registry may refuse for what it is, before the bulk; All pushes whatever is
// lacking, from a file, a pipe or media that are changed. No tag is written here.
package transfer

import (
	"context"
	"errors"
	"maps"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/push"
	"airgap/import/target"
)

// Target is where blobs and manifests go.
type Target interface {
	push.Target
	target.Resolver
	uploads

	// HasBlob tells whether repo has a blob, and how large it is in bytes.
	HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error)
}

// Options are the settings of a Transfer.
type Options struct {
	Limits     parallel.Limits
	SpoolBytes int64  // what a bundle from a pipe may take in TempDir while it waits; one blob is always let in
	TempDir    string // "": the system's
	Observer   bundle.Observer
}

// Transfer pushes the content of one bundle. Its methods must not be called at once.
type Transfer struct {
	inv      *inventory.Inventory
	target   Target
	options  Options
	uploader uploader
	gone     bool // the bundle came through a pipe, and has gone by but for what is kept
}

// New returns a Transfer of what inv says is lacking at t.
func New(inv *inventory.Inventory, t Target, o Options) *Transfer {
	return &Transfer{inv: inv, target: t, options: o, uploader: uploader{inv: inv, target: t, observer: o.Observer}}
}

// All pushes every blob and manifest that the target lacks. The first failure ends it. It may be called again: what is lacking
// then is pushed, but for blobs that came through a pipe and are not kept.
func (t *Transfer) All(ctx context.Context) (err error) {
	p := &pass{
		inv: t.inv, target: t.target, uploader: &t.uploader, limits: t.options.Limits, order: newOrder(t.inv),
		queue: newQueue(t.options.Limits),
	}
	p.countsManifests = t.announce()
	group, inner := errgroup.WithContext(ctx)
	stop := context.AfterFunc(inner, p.queue.stop)
	defer stop()
	p.order.first(p.push)
	for range t.options.Limits.Jobs {
		group.Go(func() error { return p.work(inner) })
	}
	group.Go(func() error {
		defer p.queue.endFeed()
		return t.feed(inner, p)
	})
	err = group.Wait()
	if err == nil {
		err = ctx.Err()
	}
	p.markGone()
	for _, left := range p.queue.left() { // where it ended early
		err = errors.Join(err, left.close())
	}
	return err
}

// First pushes blobs before any other, each as All would.
func (t *Transfer) First(ctx context.Context, blobs []inventory.Need) error {
	if len(blobs) == 0 {
		return nil
	}
	byRow, size := map[int32][]inventory.Need{}, int64(0)
	for _, need := range blobs {
		if byRow[need.Row] = append(byRow[need.Row], need); len(byRow[need.Row]) == 1 {
			size += t.inv.Size(need.Row)
		}
	}
	t.uploader.countsBytes = true
	t.options.Observer.Phase("push first blobs", size)
	return parallel.Each(ctx, t.options.Limits.Jobs, maps.Values(byRow), func(ctx context.Context, alike []inventory.Need) error {
		for _, need := range alike { // one after the other, so that it is uploaded once and mounted from then on
			if err := t.uploader.deliver(ctx, t.inv.Blob(need.Row), need, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// fewBytes is how many bytes for each manifest are so few that it is not they that take the time.
const fewBytes = 8 << 10

// announce says how much there is to do. countsManifests tells whether it is manifests that count as done, and not bytes.
func (t *Transfer) announce() (countsManifests bool) {
	if t.inv.Bundle.Sequential() {
		t.uploader.countsBytes = false // but by who reads the pipe
		if !t.gone {
			t.options.Observer.Phase("push", storedBytes(t.inv.Contents))
		}
		return false
	}
	bytes, manifests := t.inv.Unheld(), t.inv.LackingManifests()
	countsManifests = bytes < int64(manifests)*fewBytes
	t.uploader.countsBytes = !countsManifests
	if countsManifests {
		t.options.Observer.Count("push", "manifest", int64(manifests))
	} else {
		t.options.Observer.Phase("push", bytes)
	}
	return countsManifests
}

// feed adds the blobs that are lacking somewhere.
func (t *Transfer) feed(ctx context.Context, p *pass) error {
	f := feeder{inv: t.inv, queue: p.queue, observer: t.options.Observer, spooler: newSpooler(t.options.TempDir, t.options.SpoolBytes)}
	switch b := t.inv.Bundle; {
	case b.Sequential() && !t.gone:
		t.gone = true
		return f.fromPipe(ctx)
	case b.Removable():
		return f.fromMedium(ctx)
	}
	f.fromKept()
	return nil
}

// feeder adds blobs to a queue.
type feeder struct {
	inv      *inventory.Inventory
	queue    *queue
	observer bundle.Observer
	spooler  *spooler
}

// fromKept adds what can be read at any time: of a file everything, of a pipe that has gone by what is kept of it.
func (f *feeder) fromKept() {
	for blob := range f.inv.Blobs() {
		if f.inv.Bundle.IsKept(int(blob.Row)) {
			f.add(blob, nil)
		}
	}
}

// fromElsewhere adds what the bundle leaves out.
func (f *feeder) fromElsewhere() {
	for blob := range f.inv.Blobs() {
		if inventory.IsLeftOut(f.inv, blob.Row) {
			f.add(blob, nil)
		}
	}
}

// add adds a blob that is lacking somewhere. content is nil where it did not come through a pipe.
func (f *feeder) add(blob inventory.Blob, content *spooled) {
	if repo, lacks := blob.Lacks(); lacks {
		f.queue.add(task{row: blob.Row, repo: repo, content: content})
	}
}
