package export

import (
	"context"
	"errors"
	"fmt"
	"os"

	"airgap/bundle"
)

// run is one run for one output.
type run struct {
	Output

	source  Source
	signer  Signer
	command string // see fingerprint
	options Options
}

// write signs the plan, fetches what it names, and writes it.
func (r *run) write(ctx context.Context, p *Plan) (*Result, error) {
	if err := p.Err(); err != nil {
		return nil, err
	}
	layout, err := bundle.NewLayout(p.Contents, r.signer.Sign)
	if err != nil {
		return nil, err
	}
	result, err := p.Result()
	if err != nil {
		return nil, err
	}
	result.ManifestIndex, result.Size = layout.ManifestIndex(), layout.Size()
	writer, err := r.writer(ctx, layout)
	if err != nil {
		return nil, err
	}
	if err := r.note(result); err != nil {
		return nil, errors.Join(err, writer.Abort())
	}
	f := fetcher{
		source: r.source, manifest: p.walk.Manifest, open: p.walk.store.open,
		layout: layout, writer: writer, jobs: r.options.Jobs, observer: r.options.Observer,
	}
	return result, r.finish(ctx, &f)
}

func (r *run) writer(ctx context.Context, l *bundle.Layout) (*bundle.Writer, error) {
	if r.stream == nil && r.options.Replan {
		return r.createReusing(ctx, l, r.options.Observer)
	}
	return r.create(l)
}

// finish fetches and completes the bundle. What fails can be continued, or, where it went to a stream, leaves nothing.
func (r *run) finish(ctx context.Context, f *fetcher) error {
	err := f.fetch(ctx, r.stream == nil)
	if err == nil {
		err = f.writer.Commit(ctx, f.observer)
	}
	switch {
	case err != nil && r.stream != nil:
		return errors.Join(fmt.Errorf("nothing was exported: %w", err), f.writer.Abort())
	case err != nil:
		return errors.Join(fmt.Errorf("%s is not complete; run the same command again to continue: %w", r.path, err), f.writer.Leave())
	case r.stream != nil:
		return nil
	}
	return os.Remove(r.notePath())
}
