package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"airgap/bundle"
)

// An export to a file that is interrupted once its plan is signed can be continued: the file's head holds the plan, and its
// manifests say what else is needed. Beside it lies a note: which command it was, and what that will report. The note is
// this user's own, and nothing in it is believed about the content of the bundle.

// noteSuffix ends the name of the note, after that of the partial file.
const noteSuffix = ".json"

// maxNote bounds a note, in bytes: it has a report of every image.
const maxNote = 1 << 30

type note struct {
	Command string  `json:"command"`
	Result  *Result `json:"result"`
}

func (o Output) notePath() string { return o.path + bundle.PartialSuffix + noteSuffix }

// note writes down what a later run needs to know.
func (o Output) note(r *Result) error {
	if o.command == "" {
		return nil
	}
	content, err := json.Marshal(note{o.command, r})
	if err != nil {
		return err
	}
	return os.WriteFile(o.notePath(), content, 0o600)
}

func (o Output) readNote() (*note, error) {
	f, err := os.Open(o.notePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, bundle.ErrNoPartial
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxNote+1))
	if err != nil {
		return nil, err
	}
	var n note
	if len(content) > maxNote || json.Unmarshal(content, &n) != nil || n.Result == nil || n.Command != o.command {
		return nil, bundle.ErrNoPartial // of another command, or not whole
	}
	return &n, nil
}

// finish fetches and completes the bundle. What fails can be continued, where that was asked for, or leaves nothing.
func (o Output) finish(ctx context.Context, f *fetcher) error {
	if err := f.fetch(ctx, o.stream == nil); err != nil {
		if o.command == "" {
			return errors.Join(fmt.Errorf("nothing was exported: %w", err), f.writer.Abort())
		}
		return errors.Join(fmt.Errorf("%s is not complete; run the same command again to continue: %w", o.path, err), f.writer.Leave())
	}
	if err := f.writer.Commit(); err != nil {
		return err
	}
	if o.command == "" {
		return nil
	}
	return os.Remove(o.notePath())
}

// Continue finishes the bundle that an earlier run of the same command has left unfinished: the images that were found
// then, even where tags have moved since. trusted says whether it was signed by whoever runs the command now. Where
// there is nothing to continue, the error wraps bundle.ErrNoPartial.
func Continue(ctx context.Context, source Source, output Output, trusted func(manifestIndex bundle.Digest, sigstoreBundle []byte) error, o Options) (*Result, error) {
	n, err := output.readNote()
	if err != nil {
		return nil, err
	}
	partial, err := output.reopen()
	if err != nil {
		return nil, err
	}
	observer := bundle.Observe(o.Observer)
	writer, reader, err := continuePartial(ctx, partial, n, trusted, observer)
	if err != nil {
		return nil, errors.Join(err, partial.Close())
	}
	f := fetcher{
		source: source, layout: reader.Layout(), writer: writer, jobs: o.Jobs, observer: observer,
		manifest: manifestsOf(reader),
	}
	if f.jobs <= 0 {
		f.jobs = DefaultJobs
	}
	return n.Result, output.finish(ctx, &f)
}

func continuePartial(ctx context.Context, p *bundle.Partial, n *note, trusted func(bundle.Digest, []byte) error, o bundle.Observer) (*bundle.Writer, *bundle.Reader, error) {
	if p.ManifestIndex() != n.Result.ManifestIndex {
		return nil, nil, fmt.Errorf("%w: the file and the note about it are of different runs", bundle.ErrNoPartial)
	}
	if err := trusted(p.ManifestIndex(), p.Signature()); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", bundle.ErrNoPartial, err)
	}
	return p.Continue(ctx, o)
}

// manifestsOf returns a lookup of the manifests in a bundle, by digest alone.
func manifestsOf(r *bundle.Reader) func(bundle.Digest) (*bundle.Manifest, error) {
	mediaTypes := map[bundle.Digest]string{}
	for i := range r.Contents().Manifests {
		m := &r.Contents().Manifests[i]
		mediaTypes[m.Digest] = m.MediaType
	}
	return func(d bundle.Digest) (*bundle.Manifest, error) { return r.ParseManifest(d, mediaTypes[d]) }
}

// createReusing makes the writer, with the blobs that an earlier run has left, where that is asked for. What is reused is
// copied, and so takes twice its size on the disk for a while; where there is no room for that, nothing is reused.
func (o Output) createReusing(ctx context.Context, l *bundle.Layout, observer bundle.Observer) (*bundle.Writer, error) {
	if !o.reuse {
		return o.create(l)
	}
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
	if errors.Is(err, bundle.ErrNoSpace) {
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
