package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// ErrNoPartial: there is nothing that could be continued.
var ErrNoPartial = errors.New("nothing is there to be continued")

// Partial is what an interrupted export has left: a file whose head is complete, and of whose blobs some are there.
type Partial struct {
	*Sealed

	file File
}

// OpenPartial reads the head of what an earlier run has left. Whether it is one that the user's own key has signed is for the
// caller to check, over ManifestIndex and Signature. Close leaves it as it is. Errors wrap ErrNoPartial where there is nothing
// that could be continued, and close the file.
func OpenPartial(f File) (*Partial, error) {
	sealed, err := Open(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoPartial, err)
	}
	return &Partial{Sealed: sealed, file: f}, nil
}

// StepAside makes room for another bundle of the same name, whose blobs can be taken from this one with the Reader.
func (p *Partial) StepAside() error { return p.file.StepAside() }

// Remove closes and removes it.
func (p *Partial) Remove() error { return p.file.Remove() }

// Continue reads the head, checks every blob that is there, on all processors, and returns a Writer that knows them. The
// Partial must not be closed then; the Writer does that. All manifests must be there (ErrNoPartial).
func (p *Partial) Continue(ctx context.Context, o Observer) (*Writer, *Reader, error) {
	reader, err := p.Reader(ctx)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", ErrNoPartial, err)
		}
		return nil, nil, err
	}
	w := newWriter(p.file, reader.layout)
	if err := w.check(ctx, reader, Observe(o)); err != nil {
		return nil, nil, err
	}
	for row, b := range reader.Contents().Blobs {
		if b.Role == RoleManifest && !w.Has(row) {
			return nil, nil, fmt.Errorf("%w: the manifest %s was not written", ErrNoPartial, b.Digest)
		}
	}
	return w, reader, nil
}

// check notes which rows are right. What is wrong, or was never written, is written again.
func (w *Writer) check(ctx context.Context, r *Reader, o Observer) error {
	o.Phase("check what is there", w.layout.size)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for row := range w.written {
		if groupCtx.Err() != nil {
			break
		}
		if !w.layout.HasEntry(row) {
			continue
		}
		group.Go(func() error {
			blob, err := r.Open(row)
			if err != nil {
				return err
			}
			_, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{&contextReader{groupCtx, blob}}, make([]byte, min(w.layout.contents.Blobs[row].Size+1, writeBuffer)))
			o.Add(w.layout.contents.Blobs[row].StoredSize())
			switch {
			case err == nil:
				w.mu.Lock()
				defer w.mu.Unlock()
				w.written[row] = true
			case errors.Is(err, ErrDigest), errors.Is(err, ErrFormat):
			default:
				return err
			}
			return nil
		})
	}
	return errors.Join(ctx.Err(), group.Wait())
}
