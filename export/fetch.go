package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/export/registry"
)

// fetcher brings the planned blobs from the source into the writer.
type fetcher struct {
	source   Source
	manifest func(bundle.Digest) (*bundle.Manifest, error)
	open     func(bundle.Digest) (io.ReadCloser, error) // what was found or judged already, or bundle.ErrNotFound; nil: nothing was
	layout   *bundle.Layout
	writer   *bundle.Writer
	jobs     int
	observer bundle.Observer
	origins  []origin // by row of the blobs table
}

// origin is where a blob can be had.
type origin struct {
	repository name.Repository
	urls       []string // of foreign layers, should the registry not have it
}

func (f *fetcher) fetch(ctx context.Context, parallel bool) (err error) {
	if f.origins, err = findOrigins(f.layout.Contents(), f.manifest); err != nil {
		return err
	}
	f.observer.Phase("fetch", f.total())
	if parallel {
		return f.toFile(ctx)
	}
	return f.toStream(ctx)
}

// findOrigins returns for each blob a repository with a manifest that lists it. The tables say where manifests were found.
func findOrigins(contents *bundle.Contents, manifest func(bundle.Digest) (*bundle.Manifest, error)) ([]origin, error) {
	origins := make([]origin, len(contents.Blobs))
	repositories, seen := map[string]name.Repository{}, make([]bool, len(contents.Blobs))
	for _, m := range contents.ManifestRows() {
		row, _ := contents.Find(m.Digest)
		if seen[row] {
			continue
		}
		seen[row] = true
		repository, known := repositories[m.From]
		if !known {
			var err error
			if repository, err = name.NewRepository(m.From); err != nil {
				return nil, err
			}
			repositories[m.From] = repository
		}
		listing, err := manifest(m.Digest)
		if err != nil {
			return nil, err
		}
		for _, d := range append(listing.Blobs(), bundle.Descriptor{Digest: m.Digest}) {
			if row, ok := contents.Find(d.Digest); ok {
				origins[row].repository = repository
				origins[row].urls = append(origins[row].urls, d.URLs...)
			}
		}
	}
	return origins, nil
}

// rows returns the rows that have to be written, in file order.
func (f *fetcher) rows() []int {
	var rows []int
	for row := range f.layout.Contents().Blobs {
		if !f.writer.Has(row) {
			rows = append(rows, row)
		}
	}
	return rows
}

// total is how many bytes of content have to be written.
func (f *fetcher) total() int64 {
	var total int64
	for _, row := range f.rows() {
		total += f.layout.Contents().Blobs[row].Size
	}
	return total
}

// toFile writes the manifests, so that from then on the file says by itself what it lacks. It fetches the rest side by
// side, the largest first, so that no large one is left over at the end.
func (f *fetcher) toFile(ctx context.Context) error {
	blobs := f.layout.Contents().Blobs
	rows := f.rows()
	manifests := slices.IndexFunc(rows, func(row int) bool { return blobs[row].Role != bundle.RoleManifest })
	if manifests < 0 {
		manifests = len(rows)
	}
	for _, row := range rows[:manifests] {
		if err := f.attempt(ctx, row); err != nil {
			return err
		}
	}
	if manifests > 0 {
		if err := f.writer.Sync(); err != nil {
			return err
		}
	}
	rows = rows[manifests:]
	slices.SortStableFunc(rows, func(a, b int) int { return int(blobs[b].Size - blobs[a].Size) })
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(f.jobs)
	for _, row := range rows {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error { return f.toPlace(groupCtx, row) })
	}
	return errors.Join(ctx.Err(), group.Wait())
}

// wrongContentTries is how often a blob is fetched whose content turns out to be wrong, before the source is given
// up on: a broken cache in between may answer better a second time.
const wrongContentTries = 3

func (f *fetcher) toPlace(ctx context.Context, row int) error {
	var err error
	for range wrongContentTries {
		if err = f.attempt(ctx, row); !errors.Is(err, bundle.ErrDigest) {
			return err
		}
		f.observer.Add(-f.layout.Contents().Blobs[row].Size)
	}
	return err
}

func (f *fetcher) attempt(ctx context.Context, row int) error {
	w, err := f.writer.Blob(row)
	if err != nil {
		return err
	}
	if err := f.copyBlob(ctx, row, w); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("from %s: %w", registry.DisplayName(f.origins[row].repository.Name()), err)
	}
	return nil
}

// copyBuffers are large enough that system calls are cheap next to what they move.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

const chunkSize = 256 << 10 // bytes

func (f *fetcher) copyBlob(ctx context.Context, row int, w io.Writer) error {
	blob := f.layout.Contents().Blobs[row]
	f.observer.Item(blob.Digest.String())
	body, err := f.openBlob(ctx, row)
	if err != nil {
		return err
	}
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	_, err = io.CopyBuffer(struct{ io.Writer }{&countedWriter{w, f.observer}}, struct{ io.Reader }{body}, *buffer)
	return errors.Join(err, body.Close())
}

type countedWriter struct {
	io.Writer
	observer bundle.Observer
}

func (c *countedWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.observer.Add(int64(n))
	return n, err
}

// openBlob begins to read a blob, or what is there already.
func (f *fetcher) openBlob(ctx context.Context, row int) (io.ReadCloser, error) {
	blob, from := f.layout.Contents().Blobs[row], f.origins[row]
	if f.open != nil {
		if found, err := f.open(blob.Digest); !errors.Is(err, bundle.ErrNotFound) {
			return found, err
		}
	}
	body, err := f.source.Blob(ctx, from.repository.Digest(blob.Digest.String()), blob.Size)
	if !errors.Is(err, registry.ErrNotFound) {
		return body, err
	}
	for _, url := range from.urls {
		foreign, foreignErr := f.source.ForeignBlob(ctx, url, blob.Size)
		if foreignErr == nil {
			return foreign, nil
		}
		err = errors.Join(err, foreignErr)
	}
	return nil, err
}

// toStream fetches ahead of the writer, which takes the blobs in file order. Each blob under way has a queue of a
// few chunks, so that memory is bounded by jobs and not by what lies ahead.
func (f *fetcher) toStream(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	ahead := make(chan chan []byte, f.jobs-1)
	group.Go(func() error {
		defer close(ahead)
		for _, row := range f.rows() {
			chunks := make(chan []byte, chunksAhead)
			select {
			case ahead <- chunks:
			case <-groupCtx.Done():
				return groupCtx.Err()
			}
			group.Go(func() error {
				defer close(chunks)
				return f.copyBlob(groupCtx, row, &chunkWriter{groupCtx, chunks})
			})
		}
		return nil
	})
	group.Go(func() error {
		for _, row := range f.rows() {
			chunks, ok := <-ahead
			if !ok {
				return groupCtx.Err()
			}
			if err := f.drain(groupCtx, row, chunks); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(ctx.Err(), group.Wait())
}

const chunksAhead = 4

func (f *fetcher) drain(ctx context.Context, row int, chunks <-chan []byte) error {
	w, err := f.writer.Blob(row)
	if err != nil {
		return err
	}
	for chunk := range chunks {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
		putChunk(chunk)
	}
	if err := ctx.Err(); err != nil {
		return err // the blob may have ended early for that reason
	}
	return w.Close()
}

// chunkWriter passes on copies of what is written to it.
type chunkWriter struct {
	ctx    context.Context
	chunks chan<- []byte
}

func (w *chunkWriter) Write(p []byte) (int, error) {
	buffer := copyBuffers.Get().(*[]byte)
	chunk := (*buffer)[:copy(*buffer, p)]
	select {
	case w.chunks <- chunk:
		return len(chunk), nil
	case <-w.ctx.Done():
		return 0, w.ctx.Err()
	}
}

func putChunk(chunk []byte) {
	chunk = chunk[:cap(chunk)]
	copyBuffers.Put(&chunk)
}
