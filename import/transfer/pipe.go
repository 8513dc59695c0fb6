package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"airgap/bundle"
)

// fromPipe reads the bundle once, from the first blob to the end of the archive. What is lacking at the target is kept until it
// is uploaded; everything else is read all the same, since the digests must hold.
func (f *feeder) fromPipe(ctx context.Context) error {
	seen := int32(f.inv.Graph.Manifests())
	for {
		row, blob, err := f.inv.Bundle.Next()
		if errors.Is(err, io.EOF) {
			f.addFromHead(seen, int32(len(f.inv.Contents.Blobs)))
			return nil
		}
		if err != nil {
			return err
		}
		f.addFromHead(seen, int32(row))
		if err := f.take(ctx, int32(row), blob); err != nil {
			return err
		}
		seen = int32(row) + 1
	}
}

// storedBytes returns how many bytes a bundle holds besides manifests.
func storedBytes(c *bundle.Contents) (total int64) {
	for _, b := range c.Blobs {
		if b.Role != bundle.RoleManifest && b.IsStored() {
			total += b.Size
		}
	}
	return total
}

// addFromHead adds the blobs of rows that Next passes over: they lie in the head, which was kept.
func (f *feeder) addFromHead(from, before int32) {
	for row := from; row < before; row++ {
		if f.inv.Contents.Blobs[row].IsStored() {
			f.observer.Add(f.inv.Size(row))
		}
		f.add(f.inv.Blob(row), nil)
	}
}

// take reads a blob to its end, and keeps it where it is lacking and the bundle does not keep it.
func (f *feeder) take(ctx context.Context, row int32, content io.Reader) error {
	blob := f.inv.Blob(row)
	s := source{ctx: ctx, content: io.NopCloser(content), count: f.observer.Add}
	var kept *spooled
	var err error
	if _, lacks := blob.Lacks(); lacks && !f.inv.Bundle.IsKept(int(row)) {
		kept, err = f.spooler.take(ctx, &s, f.inv.Size(row))
	} else {
		_, err = io.Copy(io.Discard, &s)
	}
	switch {
	case err == nil:
		f.add(blob, kept)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("%s: %w", f.inv.Path(row), err)
}
