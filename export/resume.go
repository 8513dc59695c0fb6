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
	Basis   string  `json:"basis,omitempty"` // mirror.Next.Fingerprint
	Result  *Result `json:"result"`
}

// notePath is where the note about an output to a file is.
func (o Output) notePath() string { return o.path + bundle.PartialSuffix + noteSuffix }

// note writes down what a later run needs to know.
func (r *run) note(result *Result) error {
	if r.stream != nil {
		return nil
	}
	content, err := json.Marshal(note{r.command, r.basis(), result})
	if err != nil {
		return err
	}
	return os.WriteFile(r.notePath(), content, 0o600)
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
	if len(content) > maxNote || json.Unmarshal(content, &n) != nil || n.Result == nil {
		return nil, bundle.ErrNoPartial // it is not whole
	}
	return &n, nil
}

// resume finishes the bundle that an earlier run of the same command has left unfinished: the images that were found then,
// even where tags have moved since. Where there is nothing to continue, the error wraps bundle.ErrNoPartial.
func (r *run) resume(ctx context.Context) (*Result, error) {
	if r.stream != nil {
		return nil, bundle.ErrNoPartial
	}
	n, err := r.readNote()
	if err != nil {
		return nil, err
	}
	hasNumber, err := r.hasNumber(ctx, n)
	if err != nil {
		return nil, err
	}
	if n.Command != r.command {
		return nil, r.isOfAnother(n, hasNumber)
	}
	if !hasNumber && (r.options.Replan || n.Basis != r.basis()) {
		r.options.Replan = true // what has been fetched is of use
		return nil, bundle.ErrNoPartial
	}
	partial, err := r.reopen()
	if errors.Is(err, bundle.ErrNoPartial) && r.isCompleted(ctx, n) {
		return n.Result, os.Remove(r.notePath())
	}
	if err != nil {
		return nil, err
	}
	writer, reader, err := r.continuePartial(ctx, partial, n)
	if err != nil {
		return nil, errors.Join(err, partial.Close())
	}
	n.Result.Continued = true
	f := fetcher{
		source: r.source, layout: reader.Layout(), writer: writer, jobs: r.options.Jobs, observer: r.options.Observer,
		manifest: reader.ParseManifest,
	}
	return n.Result, r.finish(ctx, &f)
}

// basis stands for the number of the bundle and for what it builds on.
func (r *run) basis() string {
	if r.next == nil {
		return ""
	}
	return r.next.Fingerprint()
}

// hasNumber tells whether the ledger has the bundle of the earlier run already, so that only its name is to come.
func (r *run) hasNumber(ctx context.Context, n *note) (bool, error) {
	if r.next == nil || n.Result.Sequence == 0 {
		return false, nil
	}
	return r.options.Mirror.Has(ctx, n.Result.Sequence, n.Result.ManifestIndex)
}

// isOfAnother says what becomes of what another command has left: it is written over, unless its bundle has a number.
func (r *run) isOfAnother(n *note, hasNumber bool) error {
	if !hasNumber {
		return bundle.ErrNoPartial
	}
	partial, err := r.reopen()
	if err != nil {
		return err
	}
	return errors.Join(fmt.Errorf("%s is %s@%d, which is in the ledger and lacks nothing but its name: run the command that began it once more, or write to another file",
		r.path+bundle.PartialSuffix, n.Result.Mirror, n.Result.Sequence), partial.Close())
}

// isCompleted tells whether the bundle has its name, and the earlier run was killed a moment later.
func (r *run) isCompleted(ctx context.Context, n *note) bool {
	medium, err := r.completed()
	if err != nil {
		return false
	}
	sealed, err := bundle.Open(medium)
	if err != nil {
		return false
	}
	_, err = sealed.Reader(ctx)
	return sealed.Close() == nil && err == nil && sealed.ManifestIndex() == n.Result.ManifestIndex
}

func (r *run) continuePartial(ctx context.Context, p *bundle.Partial, n *note) (*bundle.Writer, *bundle.Reader, error) {
	if p.ManifestIndex() != n.Result.ManifestIndex {
		return nil, nil, fmt.Errorf("%w: the file and the note about it are of different runs", bundle.ErrNoPartial)
	}
	if err := r.signer.Check(p.Signatures()[0], p.ManifestIndex()); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", bundle.ErrNoPartial, err)
	}
	r.options.Observer.Warn(fmt.Sprintf("continuing %s: what was found when it was begun, even where tags have moved since (--replan looks again)", r.path))
	return p.Continue(ctx, r.options.Observer)
}
