package transfer

import (
	"context"
	"errors"
	"sync"

	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/push"
	"airgap/import/target"
)

// pass is one go through everything that is lacking.
type pass struct {
	inv      *inventory.Inventory
	target   Target
	uploader *uploader
	limits   parallel.Limits
	queue    *queue
	order    *order

	countsManifests bool // as done
	mu              sync.Mutex
	gone            []inventory.Need // blobs that were at the target, and are not any more
}

func (p *pass) push(n inventory.Need) {
	p.queue.add(task{row: n.Row, repo: n.Repo, manifest: true})
}

// work does tasks until there are no more, or one fails.
func (p *pass) work(ctx context.Context) error {
	for {
		task, ok := p.queue.next()
		if !ok {
			return nil
		}
		if err := p.do(ctx, task); err != nil {
			return err
		}
	}
}

// do does a task, or as much of it as is to be done in one lane.
func (p *pass) do(ctx context.Context, task task) (err error) {
	if task.manifest {
		err = p.manifest(ctx, inventory.Need{Row: task.row, Repo: task.repo})
	} else {
		err = p.blob(ctx, task)
		if repo, lacks := p.inv.Blob(task.row).Lacks(); err == nil && lacks {
			p.queue.goOn(task, repo)
			return nil
		}
	}
	err = errors.Join(err, task.close())
	p.queue.finish(task)
	return err
}

// blob brings a blob into the repositories of one lane that lack it.
func (p *pass) blob(ctx context.Context, task task) error {
	blob := p.inv.Blob(task.row)
	lane := p.limits.Lane[task.repo]
	for i, need := range blob.Needs {
		if blob.State(i).IsThere() || p.limits.Lane[need.Repo] != lane {
			continue
		}
		if err := p.uploader.deliver(ctx, blob, need, task.content); err != nil {
			return err
		}
		p.order.blobIsThere(need, p.push)
	}
	return nil
}

// manifest pushes a manifest by its digest. Where the target refuses it for want of something that was there, it is left:
// package confirm sees to it that all of it is pushed again.
func (p *pass) manifest(ctx context.Context, n inventory.Need) error {
	p.uploader.observer.Item(p.inv.Digest(n.Row).String())
	err := push.ByDigest(ctx, p.target, p.inv, n)
	switch {
	case err == nil:
		if p.countsManifests {
			p.uploader.observer.Add(1)
		}
		p.order.manifestIsThere(n, p.push)
		return nil
	case !target.LacksContent(err):
		return err
	}
	gone, lookErr := p.goneBlobs(ctx, n)
	childGone := false
	if lookErr == nil {
		childGone, lookErr = p.lacksChild(ctx, n)
	}
	if lookErr != nil || len(gone) == 0 && !childGone {
		return errors.Join(err, lookErr)
	}
	for _, blob := range gone {
		if err := inventory.CheckReadable(p.inv, blob.Row); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.gone = append(p.gone, gone...)
	p.mu.Unlock()
	p.order.manifestIsLeft(n, p.push)
	return nil
}

// goneBlobs returns the blobs of a manifest that are not at the target.
func (p *pass) goneBlobs(ctx context.Context, manifest inventory.Need) (gone []inventory.Need, err error) {
	for _, blob := range p.inv.BlobsOf(manifest) {
		_, found, err := p.target.HasBlob(ctx, p.inv.Repos[blob.Repo], p.inv.Digest(blob.Row))
		if err != nil {
			return nil, err
		}
		if !found {
			gone = append(gone, blob)
		}
	}
	return gone, nil
}

func (p *pass) lacksChild(ctx context.Context, manifest inventory.Need) (bool, error) {
	for _, child := range p.inv.Graph.Node(int(manifest.Row)).Children {
		name := p.inv.Name(inventory.Need{Row: child, Repo: manifest.Repo})
		found, err := target.HasManifest(ctx, p.target, name, p.inv.Size(child))
		if errors.Is(err, target.ErrHidden) {
			continue
		}
		if err != nil || !found {
			return !found, err
		}
	}
	return false, nil
}

// markGone makes lacking what turned out to be gone. Nobody may be at work any more: who brings a blob elsewhere looks at its
// states.
func (p *pass) markGone() {
	for _, blob := range p.gone {
		p.inv.Mark(blob, inventory.Lacking)
	}
}
