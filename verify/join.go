package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/verify/signature"
)

// ErrLacking: the bundle stands on others besides those that were given.
var ErrLacking = errors.New("the bundle stands on others as well")

// Joined is a bundle that was joined.
type Joined struct {
	ManifestIndex bundle.Digest
	Size          int64 // in bytes
}

// Join writes the whole of a bundle, which has been laid over all that it stands on (Over; or else ErrLacking), to a new file: the same roots, manifests, mirror, sequence and time, with a header that names the delta, signed anew with key. The same delta and
// signature give the same bytes. What fails, or is killed, leaves path with bundle.PartialSuffix, with which the next run goes on.
// bundle.ErrUnsupported where nothing is left out.
func (b *Bundle) Join(ctx context.Context, key *signature.PrivateKey, path string, o bundle.Observer) (*Joined, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s: %w", path, os.ErrExist)
	}
	j := joiner{delta: b, observer: bundle.Observe(o)}
	if err := j.plan(key, path); err != nil {
		return nil, err
	}
	if err := j.begin(ctx, path); err != nil {
		return nil, err
	}
	err := j.copy(ctx)
	if err == nil {
		err = j.writer.Commit(ctx, j.observer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is not complete; run the same command again to continue: %w", path, err), j.writer.Leave())
	}
	return &Joined{j.layout.ManifestIndex(), j.layout.Size()}, nil
}

// joiner copies blobs. They have the same rows in the delta as in the whole.
type joiner struct {
	delta     *Bundle
	layout    *bundle.Layout
	signature []byte
	writer    *bundle.Writer
	observer  bundle.Observer
}

// plan makes the tables of the whole, and signs them, or takes the signature that an earlier run has left at path.
func (j *joiner) plan(key *signature.PrivateKey, path string) error {
	contents, err := j.delta.Contents().Joined(j.delta.ManifestIndex())
	if err != nil {
		return err
	}
	var lacking error
	for place, base := range j.delta.Contents().Header.Bases {
		if !j.delta.HasBase(place) {
			lacking = errors.Join(lacking, fmt.Errorf("%w: %s", ErrLacking, base))
		}
	}
	if lacking != nil {
		return lacking
	}
	j.layout, err = bundle.NewLayout(contents, func(index bundle.Digest) (_ []byte, err error) {
		if j.signature, err = earlierSignature(path, index, key.Public()); j.signature == nil && err == nil {
			j.signature, err = signature.Sign(key, index)
		}
		return j.signature, err
	})
	return err
}

// earlierSignature returns the signature by a key over a manifest index in what an earlier run has left at path; nil where there is none.
func earlierSignature(path string, index bundle.Digest, by signature.PublicKey) ([]byte, error) {
	file, err := bundle.ReopenFile(path)
	if errors.Is(err, bundle.ErrNoPartial) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	partial, err := bundle.OpenPartial(file)
	if err != nil {
		return nil, nil //nolint:nilerr // what cannot be read is written anew
	}
	left := partial.Signatures()[0]
	if _, err := signature.Verify(left, index, []signature.PublicKey{by}); err != nil {
		left = nil
	}
	return left, partial.Close()
}

// begin goes on with what an earlier run has left, if that was to be the same, or else starts over.
func (j *joiner) begin(ctx context.Context, path string) error {
	err := j.resume(ctx, path)
	if !errors.Is(err, bundle.ErrNoPartial) {
		return err
	}
	file, err := bundle.CreateFile(path)
	if err != nil {
		return err
	}
	j.writer, err = bundle.Create(file, j.layout)
	return err
}

func (j *joiner) resume(ctx context.Context, path string) error {
	file, err := bundle.ReopenFile(path)
	if err != nil {
		return err
	}
	partial, err := bundle.OpenPartial(file)
	if err != nil {
		return err
	}
	if partial.ManifestIndex() != j.layout.ManifestIndex() || !bytes.Equal(partial.Signatures()[0], j.signature) {
		return errors.Join(bundle.ErrNoPartial, partial.Close())
	}
	if j.writer, _, err = partial.Continue(ctx, j.observer); err != nil {
		return errors.Join(err, partial.Close())
	}
	return nil
}

// copy brings what is not there, the manifests first, so that the file can be continued from then on.
func (j *joiner) copy(ctx context.Context) error {
	var manifests, others []int
	var total int64
	for row := range j.layout.Contents().Blobs {
		if j.writer.Has(row) {
			continue
		}
		b := &j.layout.Contents().Blobs[row]
		total += b.Size
		if b.Role == bundle.RoleManifest {
			manifests = append(manifests, row)
		} else {
			others = append(others, row)
		}
	}
	j.observer.Phase("join", total)
	for _, row := range manifests {
		if err := j.blob(ctx, row); err != nil {
			return err
		}
	}
	if err := j.writer.Sync(); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, row := range others {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error { return j.blob(groupCtx, row) })
	}
	return errors.Join(ctx.Err(), group.Wait())
}

// blob copies one blob, which is checked on either side.
func (j *joiner) blob(ctx context.Context, row int) error {
	digest := j.layout.Contents().Blobs[row].Digest
	j.observer.Item(digest.String())
	from, err := j.delta.Open(row)
	if err != nil {
		return err
	}
	to, err := j.writer.Blob(row)
	if err == nil {
		_, err = io.CopyBuffer(to, &watchedReader{ctx, from, j.observer}, make([]byte, min(readBuffer, j.layout.Contents().Blobs[row].Size+1)))
	}
	if err == nil {
		err = to.Close()
	}
	if err = errors.Join(err, from.Close()); err != nil {
		return fmt.Errorf("%s: %w", j.delta.Where(row), err)
	}
	return nil
}
