package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
)

// IsKept tells whether a stored blob can be given to Open any number of times. From a pipe (see Next) and changed disks layers are
// not kept, and what proves what an image is can be read before any of its layers has arrived.
func (b *Bundle) IsKept(row int) bool { return b.reader.IsKept(row) }

// Batches yields the blobs that are wanted, manifests never, in an order in which no part of a medium is needed twice; see
// bundle.Reader.
func (b *Bundle) Batches(wanted func(row int) bool) iter.Seq[bundle.Batch] {
	return b.reader.Batches(wanted)
}

// Prepare waits until a batch can be read.
func (b *Bundle) Prepare(ctx context.Context, batch bundle.Batch) error {
	return b.reader.Prepare(ctx, batch)
}

// Next returns the next blob of a bundle that comes through a pipe, with the same promise as Open; io.EOF after the
// last one, when the end of the file has been checked.
func (b *Bundle) Next() (row int, blob io.Reader, err error) { return b.reader.Next() }

// readBuffer is large enough that hashing, and not the number of reads, takes the time, and small enough that what was read is
// hashed while it is in the processor's own cache.
const readBuffer = 128 << 10

// CheckBlobs reads every blob in the file, and every one that is left to a bundle which was given (Over), and checks its length
// and digest, on all cores. All problems are reported together, each with the image and platform that it concerns. Cancelling
// gives ctx.Err(), never nil.
func (b *Bundle) CheckBlobs(ctx context.Context, o bundle.Observer) error {
	return b.checkBlobs(ctx, bundle.Observe(o), nil)
}

// CheckBlobsDeep is CheckBlobs that in the same pass unpacks every layer of an image (gzip, zstd or plain) and compares
// it with the diff_ids in the image's config: what a container runtime would do when it starts the image. Differences,
// and layers that unpack to an absurd size, wrap ErrLayer. Layers whose config was left out, and is not to be had from a bundle
// that was given, are unpacked and not compared: o is warned of these.
func (b *Bundle) CheckBlobsDeep(ctx context.Context, o bundle.Observer) error {
	layers, err := newLayerCheck(b)
	if err != nil {
		return err
	}
	if n := layers.withoutConfig(); n > 0 {
		bundle.Observe(o).Warn(fmt.Sprintf("%d layers cannot be compared with the config of their image, which was left out of this bundle: give the one that stores it as well", n))
	}
	return b.checkBlobs(ctx, bundle.Observe(o), layers)
}

func (b *Bundle) checkBlobs(ctx context.Context, o bundle.Observer, layers *layerCheck) error {
	c := blobCheck{bundle: b, observer: o, layers: layers}
	o.Phase("verify", c.total())
	var err error
	switch {
	case b.Sequential():
		err = c.sequential(ctx)
	case b.Removable():
		err = c.batches(ctx)
	}
	if err == nil && ctx.Err() == nil {
		err = c.parallel(ctx, largestFirst(b.Contents().Blobs, c.isAnywhere))
	}
	return errors.Join(ctx.Err(), err, c.problems.Err())
}

type blobCheck struct {
	bundle   *Bundle
	observer bundle.Observer
	layers   *layerCheck // nil: only digests are checked
	mu       sync.Mutex
	problems bundle.Problems
	gone     error // the part of the medium that was needed next was not inserted
}

// total is how many bytes will be read. From a pipe or a medium the manifests have been read already.
func (c *blobCheck) total() int64 {
	var total int64
	for row, b := range c.bundle.Contents().Blobs {
		if c.isAnywhere(row) || b.Role != bundle.RoleManifest && c.bundle.comesBy(row) {
			total += b.Size
		}
	}
	return total
}

// isAnywhere tells whether a blob can be read whenever that is best: in a file, or in one that the bundle stands on.
func (c *blobCheck) isAnywhere(row int) bool {
	if c.bundle.isRead() {
		return c.bundle.base(row) != nil
	}
	return c.bundle.Has(row)
}

// largeBlob is from where on the turn of a blob matters, in bytes: when all others have been read, none should be left that
// keeps one processor busy for long. It is also enough for a disk to find its way to it.
const largeBlob = 16 << 20

// largestFirst yields the rows that are wanted: large blobs by their size, and then the others as they lie.
func largestFirst(blobs []bundle.Blob, wanted func(row int) bool) iter.Seq[int] {
	var large []int
	for row := range blobs {
		if wanted(row) && blobs[row].Size >= largeBlob {
			large = append(large, row)
		}
	}
	slices.SortStableFunc(large, func(i, j int) int { return cmp.Compare(blobs[j].Size, blobs[i].Size) })
	return func(yield func(int) bool) {
		for _, row := range large {
			if !yield(row) {
				return
			}
		}
		for row := range blobs {
			if wanted(row) && blobs[row].Size < largeBlob && !yield(row) {
				return
			}
		}
	}
}

// isRead tells whether the manifests were read, and kept, when the bundle was opened, since nothing before them can be read
// again.
func (b *Bundle) isRead() bool { return b.Sequential() || b.Removable() }

// comesBy tells whether a blob can be read only as the bundle gets there.
func (b *Bundle) comesBy(row int) bool { return b.isRead() && b.reader.Layout().HasEntry(row) }

// batches reads what lies on a medium, one part of it after the other.
func (c *blobCheck) batches(ctx context.Context) error {
	for batch := range c.bundle.Batches(c.bundle.comesBy) {
		if err := c.bundle.Prepare(ctx, batch); err != nil {
			return err
		}
		// Configs first, since layers are compared with them.
		configs := slices.DeleteFunc(slices.Clone(batch.Rows), func(row int) bool { return !c.layers.isConfig(row) })
		others := slices.DeleteFunc(batch.Rows, c.layers.isConfig)
		for _, rows := range [][]int{configs, others} {
			if err := c.parallel(ctx, slices.Values(rows)); err != nil || ctx.Err() != nil {
				return err
			}
		}
		if c.gone != nil {
			return c.gone
		}
	}
	return c.bundle.reader.CheckEnd()
}

// parallel reads rows on all processors.
func (c *blobCheck) parallel(ctx context.Context, rows iter.Seq[int]) error {
	take, stop := iter.Pull(rows)
	defer stop()
	var mu sync.Mutex
	next := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		return take()
	}
	var group errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			buffer := make([]byte, readBuffer)
			for row, ok := next(); ok && ctx.Err() == nil; row, ok = next() {
				blob, err := c.bundle.Open(row)
				if err == nil {
					err = errors.Join(c.read(ctx, row, blob, buffer), blob.Close())
				}
				c.note(ctx, row, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// sequential reads a pipe. The first wrong entry ends it, as the place of the next is not sure then.
func (c *blobCheck) sequential(ctx context.Context) error {
	buffer := make([]byte, readBuffer)
	for {
		row, blob, err := c.bundle.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.read(ctx, row, blob, buffer); err != nil {
			c.note(ctx, row, err)
			if !errors.Is(err, ErrLayer) {
				return nil
			}
		}
	}
}

// read reads a blob to its end, as what it is.
func (c *blobCheck) read(ctx context.Context, row int, blob io.Reader, buffer []byte) error {
	c.observer.Item(c.bundle.Contents().Blobs[row].Digest.String())
	watched := &watchedReader{ctx, blob, c.observer}
	switch {
	case c.layers.isLayer(row):
		return c.layers.layer(row, watched, buffer)
	case c.layers.isConfig(row) && c.bundle.comesBy(row):
		return c.layers.config(row, watched)
	}
	for {
		_, err := watched.Read(buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// watchedReader counts what is read, and ends when its context does.
type watchedReader struct {
	ctx      context.Context // of the one reading
	blob     io.Reader
	observer bundle.Observer
}

func (r *watchedReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.blob.Read(p)
	r.observer.Add(int64(n))
	return n, err
}

func (c *blobCheck) note(ctx context.Context, row int, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, bundle.ErrNotInserted) {
		c.gone = err
		return
	}
	c.problems.Add(fmt.Errorf("%s: %w", c.bundle.Where(row), err))
}
