package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// feedFromPipe reads the bundle once, from the first blob to the end of the archive. What is lacking at the target is
// kept until it is uploaded; everything else is read all the same, since the digests must hold.
func (t *transfer) feedFromPipe(ctx context.Context) error {
	f := pipeFeeder{transfer: t, spooler: newSpooler(t.options.TempDir, t.options.SpoolBytes)}
	total := int64(0)
	for _, b := range t.plan.contents.Blobs[t.plan.graph.Manifests():] {
		if b.IsStored() {
			total += b.Size
		}
	}
	t.observer.Phase("push", total)
	for {
		row, blob, err := t.plan.bundle.Next()
		if errors.Is(err, io.EOF) {
			f.addFromHead(int32(len(t.plan.contents.Blobs)))
			return nil
		}
		if err != nil {
			return err
		}
		f.addFromHead(int32(row))
		if err := f.take(ctx, int32(row), blob); err != nil {
			return err
		}
	}
}

type pipeFeeder struct {
	*transfer
	spooler *spooler
	next    int32 // the first row that has been neither seen nor passed over
}

// addFromHead adds the blobs before the given row that Next passes over: they lie in the head, which was kept.
func (f *pipeFeeder) addFromHead(before int32) {
	for ; f.next < before; f.next++ {
		if f.plan.usesOf(f.next).lacking() {
			f.queue.add(task{row: f.next})
		}
	}
}

// take reads a blob to its end.
func (f *pipeFeeder) take(ctx context.Context, row int32, blob io.Reader) error {
	f.next = row + 1
	size := f.plan.contents.Blobs[row].Size
	s := source{ctx: ctx, content: io.NopCloser(blob), count: f.observer.Add}
	wrong := func(err error) error {
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w", f.plan.graph.Path(int(row)), err)
	}
	lacking, kept := f.plan.usesOf(row).lacking(), f.plan.bundle.CanOpen(int(row))
	if !lacking || kept {
		if _, err := io.Copy(io.Discard, &s); err != nil || !lacking {
			return wrong(err)
		}
		f.queue.add(task{row: row})
		return nil
	}
	content, err := f.spooler.take(ctx, &s, size)
	if err != nil {
		return wrong(err)
	}
	f.queue.add(task{row: row, content: content})
	return nil
}
