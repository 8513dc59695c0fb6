package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"

	"airgap/bundle"
)

// transfer is the pushing of blobs and manifests.
type transfer struct {
	*run
	queue *queue
	order *order
	lost  lostBlobs
}

// transfer pushes every blob and manifest that the target lacks. The first failure ends it.
func (r *run) transfer(ctx context.Context) (err error) {
	t := &transfer{run: r, order: newOrder(r.plan)}
	t.queue = newQueue(r.projectLimits(), t.lackedBy)
	group, inner := errgroup.WithContext(ctx)
	stop := context.AfterFunc(inner, t.queue.stop)
	defer stop()
	t.order.first(t.push)
	for range r.options.Jobs {
		group.Go(func() error { return t.work(inner) })
	}
	group.Go(func() error {
		defer t.queue.endFeed()
		switch b := r.plan.bundle; {
		case b.Sequential() && r.piped:
			return nil // it cannot be read again
		case b.Sequential():
			r.piped = true
			return t.feedFromPipe(inner)
		case b.Removable():
			return t.feedFromMedium(inner)
		}
		t.feedFromFile()
		return nil
	})
	err = group.Wait()
	if err == nil {
		err = ctx.Err()
	}
	t.lost.note(r.plan)
	for _, left := range t.queue.left() { // where it ended early
		err = errors.Join(err, left.close())
	}
	return err
}

// feedFromFile adds the blobs that are lacking somewhere.
func (t *transfer) feedFromFile() {
	t.observer.Phase("push", t.plan.unheld())
	for blob := range t.plan.blobs() {
		if blob.lacking() {
			t.queue.add(task{row: blob.row})
		}
	}
}

func (t *transfer) push(repo, row int32) { t.queue.add(task{row: row, repo: repo, manifest: true}) }

// lackedBy returns the first repository that lacks a blob.
func (t *transfer) lackedBy(row int32) (repo int32) {
	blob := t.plan.usesOf(row)
	return blob.uses[slices.Index(blob.states, lacking)].repo
}

// work does tasks until there are no more, or one fails.
func (t *transfer) work(ctx context.Context) error {
	for {
		task, ok := t.queue.next()
		if !ok {
			return nil
		}
		if err := t.do(ctx, task); err != nil {
			return err
		}
	}
}

// do does a task, or as much of it as is to be done in one project.
func (t *transfer) do(ctx context.Context, task task) (err error) {
	if task.manifest {
		err = t.manifest(ctx, task)
	} else {
		err = t.blob(ctx, task)
		if err == nil && t.plan.usesOf(task.row).lacking() {
			t.queue.goOn(task, t.lackedBy(task.row))
			return nil
		}
	}
	err = errors.Join(err, task.close())
	t.queue.finish(task)
	return err
}

func (t task) close() error {
	if t.content == nil {
		return nil
	}
	return t.content.Close()
}

// blob brings a blob into the repositories of one project that lack it: it is uploaded once at most, and then mounted.
func (t *transfer) blob(ctx context.Context, task task) error {
	blob := t.plan.usesOf(task.row)
	from, isHeld := t.plan.mountable(blob)
	project := t.queue.limits.of[task.repo]
	for i, u := range blob.uses {
		if blob.states[i].isThere() || t.queue.limits.of[u.repo] != project {
			continue
		}
		if isHeld && t.mount(ctx, u, from) {
			blob.states[i] = mounted
		} else if err := t.upload(ctx, u, task.content, !isHeld); err != nil {
			return err
		} else {
			blob.states[i] = pushed
			from, isHeld = t.plan.Repos[u.repo], true
		}
		t.order.blobIsThere(u.repo, u.row, t.push)
	}
	return nil
}

// mount tries to take a blob from another repository. Whatever keeps the target from it, the blob can still be uploaded.
func (t *transfer) mount(ctx context.Context, u use, from name.Repository) bool {
	mounted, err := t.target.Mount(ctx, t.plan.Repos[u.repo], from, t.plan.digest(u.row))
	return err == nil && mounted
}

// upload sends a blob, from the bundle or the spool. counted is false where its bytes are no part of the total.
func (t *transfer) upload(ctx context.Context, u use, content *spooled, counted bool) error {
	b := t.plan.contents.Blobs[u.row]
	repo := t.plan.Repos[u.repo]
	t.observer.Item(b.Digest.String())
	s := source{ctx: ctx, open: func() (io.ReadCloser, error) { return t.plan.bundle.Open(int(u.row)) }}
	if content != nil {
		s.open = content.open
	}
	if counted && !t.plan.bundle.Sequential() {
		s.count = t.observer.Add
	}
	err := t.target.PushBlob(ctx, repo, bundle.Descriptor{MediaType: "application/octet-stream", Digest: b.Digest, Size: b.Size}, s.again)
	switch {
	case err == nil:
		return nil
	case s.err != nil && ctx.Err() == nil: // the bundle's fault, not the target's
		return fmt.Errorf("%s: %w", t.plan.graph.Path(int(u.row)), s.err)
	}
	return fmt.Errorf("%s: %w", t.plan.graph.Path(int(u.row)), err)
}

// manifest pushes a manifest by its digest, with the bytes that it had at the source.
func (t *transfer) manifest(ctx context.Context, task task) error {
	r := &t.plan.repositories[task.repo]
	t.observer.Item(t.plan.digest(task.row).String())
	taken, err := t.pushManifest(ctx, task.row, r.name.Digest(t.plan.digest(task.row).String()))
	if err != nil {
		return t.lostSome(ctx, task, err)
	}
	at, _ := r.find(task.row)
	r.states[at] = pushed
	if taken {
		r.states[at] = acknowledged
	}
	t.order.manifestIsThere(task.repo, task.row, t.push)
	return nil
}

// source opens the content of a blob, again and again, counts what is read of it, and remembers what was wrong with it.
type source struct {
	ctx   context.Context
	open  func() (io.ReadCloser, error)
	count func(int64) // nil: not counted

	content io.ReadCloser
	n       int64
	err     error
}

// again opens the content from its beginning. What was read before is not counted any more.
func (s *source) again() (io.ReadCloser, error) {
	if s.count != nil {
		s.count(-s.n)
	}
	s.n, s.err = 0, nil
	s.content, s.err = s.open()
	return s, s.err
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.content.Read(p)
	s.n += int64(n)
	if s.count != nil {
		s.count(int64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (s *source) Close() error { return s.content.Close() }
