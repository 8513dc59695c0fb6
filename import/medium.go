package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// feedFromMedium reads what is lacking from media that are changed, each of them once: no other is asked for before
// everything of this one is at the target. A blob that goes on on the next medium is kept until it is whole, so that at most
// one is kept. Media that have nothing that is lacking are not asked for. The end of the archive, which holds nothing, is left
// to verify.
func (t *transfer) feedFromMedium(ctx context.Context) error {
	t.observer.Phase("push", t.plan.unheld())
	spooler := newSpooler(t.options.TempDir, t.options.SpoolBytes)
	lacking := func(row int) bool { return t.plan.usesOf(int32(row)).lacking() }
	for batch := range t.plan.bundle.Batches(lacking) {
		if !t.queue.drain() {
			return ctx.Err()
		}
		// Before there is a connection that would break while a person looks for the next disk.
		if err := t.plan.bundle.Prepare(batch); err != nil {
			return err
		}
		for _, row := range batch.Rows {
			next := task{row: int32(row)}
			if batch.Crossing {
				var err error
				if next.content, err = t.spool(ctx, spooler, row); err != nil {
					return err
				}
			}
			t.queue.add(next)
		}
	}
	return nil
}

// spool reads a blob to its end.
func (t *transfer) spool(ctx context.Context, spooler *spooler, row int) (content *spooled, err error) {
	blob, err := t.plan.bundle.Open(row)
	if err == nil {
		content, err = spooler.take(ctx, &source{ctx: ctx, content: io.NopCloser(blob)}, t.plan.contents.Blobs[row].Size)
		err = errors.Join(err, blob.Close())
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%s: %w", t.plan.graph.Path(row), err)
	}
	return content, err
}
