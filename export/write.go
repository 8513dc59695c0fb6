package export

import (
	"context"
	"errors"
	"fmt"
	"os"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/export/mirror"
)

// run is one run for one output.
type run struct {
	Output

	source  Source
	signer  Signer
	command string // see fingerprint
	options Options
	next    *mirror.Next // nil: the bundle is of no mirror
}

// run finishes what an earlier run has left, or else writes what is planned now.
func (r *run) run(ctx context.Context, plan func() (*Plan, error)) (result *Result, err error) {
	if result, err = r.resume(ctx); !errors.Is(err, bundle.ErrNoPartial) {
		return result, err
	}
	p, err := plan()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return r.write(ctx, p)
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
		err = r.complete(ctx, f)
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

// complete takes the number of the bundle, and then gives it its name, or the stream its end: a number is taken by what is whole, and
// nothing that looks whole is without one.
func (r *run) complete(ctx context.Context, f *fetcher) error {
	if r.next == nil {
		return f.writer.Commit(ctx, f.observer)
	}
	if err := f.writer.Ready(ctx); err != nil {
		return err
	}
	switch err := r.options.Mirror.Put(ctx, f.layout); {
	case errors.Is(err, ledger.ErrTaken):
		return fmt.Errorf("%w: another export was faster; the same command run again takes the next number", err)
	case err != nil:
		return err
	}
	err := f.writer.Commit(ctx, f.observer)
	if err != nil && r.stream != nil {
		header := &f.layout.Contents().Header
		err = fmt.Errorf("%w; the ledger has it as %s@%d all the same: build the next one on what was before (--since)", err, header.Mirror, header.Sequence)
	}
	return err
}
