package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// fromMedium reads what is lacking from media that are changed, each of them once: no other is asked for before
// everything of this one is at the target. A blob that goes on on the next medium is kept until it is whole, so that at most
// one is kept. Media that have nothing that is lacking are not asked for. The end of the archive, which holds nothing, is left
// to verify.
func (f *feeder) fromMedium(ctx context.Context) error {
	isLacking := func(row int) bool {
		_, lacks := f.inv.Blob(int32(row)).Lacks()
		return lacks
	}
	f.fromElsewhere()
	for batch := range f.inv.Bundle.Batches(isLacking) {
		if !f.queue.drain() {
			return ctx.Err()
		}
		// Before there is a connection that would break while a person looks for the next disk.
		if err := f.inv.Bundle.Prepare(ctx, batch); err != nil {
			return err
		}
		for _, row := range batch.Rows {
			var content *spooled
			if batch.Crossing {
				var err error
				if content, err = f.spool(ctx, row); err != nil {
					return err
				}
			}
			f.add(f.inv.Blob(int32(row)), content)
		}
	}
	return nil
}

// spool reads a blob to its end.
func (f *feeder) spool(ctx context.Context, row int) (content *spooled, err error) {
	blob, err := f.inv.Bundle.Open(row)
	if err == nil {
		content, err = f.spooler.take(ctx, &source{ctx: ctx, content: io.NopCloser(blob)}, f.inv.Size(int32(row)))
		err = errors.Join(err, blob.Close())
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%s: %w", f.inv.Path(int32(row)), err)
	}
	return content, err
}
