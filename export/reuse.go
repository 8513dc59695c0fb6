package export

import (
	"context"
	"errors"
	"io"

	"airgap/bundle"
	"airgap/bundle/disk"
)

// createReusing makes the writer, with the blobs that an earlier run has left. What is reused is copied, and so takes twice
// its size on the disk for a while; where there is no room for that, nothing is reused.
func (o Output) createReusing(ctx context.Context, l *bundle.Layout, observer bundle.Observer) (*bundle.Writer, error) {
	partial, err := o.reopen()
	if errors.Is(err, bundle.ErrNoPartial) {
		return o.create(l)
	}
	if err != nil {
		return nil, err
	}
	old, err := partial.Reader(ctx)
	if err == nil {
		err = partial.StepAside()
	}
	if err != nil { // it has nothing to give, or cannot make room
		return o.createInstead(ctx, partial, l)
	}
	writer, err := o.create(l)
	if errors.Is(err, disk.ErrNoSpace) {
		return o.createInstead(ctx, partial, l)
	}
	if err != nil {
		return nil, errors.Join(err, partial.Close())
	}
	if err := copyBlobs(ctx, old, writer, l, observer); err != nil {
		return nil, errors.Join(err, writer.Leave(), partial.Close())
	}
	return writer, partial.Remove()
}

// createInstead gives up on what an earlier run has left.
func (o Output) createInstead(ctx context.Context, partial *bundle.Partial, l *bundle.Layout) (*bundle.Writer, error) {
	if err := errors.Join(ctx.Err(), partial.Remove()); err != nil {
		return nil, err
	}
	return o.create(l)
}

// copyBlobs writes those blobs that old has whole.
func copyBlobs(ctx context.Context, old *bundle.Reader, w *bundle.Writer, l *bundle.Layout, observer bundle.Observer) error {
	observer.Phase("reuse", 0)
	buffer := make([]byte, chunkSize)
	for row, b := range l.Contents().Blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, found := old.Contents().Find(b.Digest)
		if w.Has(row) || !found || b.Role == bundle.RoleManifest || !old.Contents().Blobs[from].IsStored() {
			continue
		}
		content, err := old.Open(from)
		if err != nil {
			return err
		}
		out, err := w.Blob(row)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{content}, buffer)
		if err == nil {
			err = out.Close()
		}
		switch {
		case err == nil:
			observer.Item(b.Digest.String())
		case errors.Is(err, bundle.ErrFormat), errors.Is(err, bundle.ErrDigest): // it was never fetched, or is spoilt
		default:
			return err
		}
	}
	return nil
}
