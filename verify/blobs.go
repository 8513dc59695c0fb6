package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
)

// Open begins to read a blob, through a reader that gives io.EOF only when length and digest have proved right.
// Bundles that come through a pipe have only their manifests here; see Next.
func (b *Bundle) Open(row int) (io.ReadCloser, error) { return b.reader.Open(row) }

// Next returns the next blob of a bundle that comes through a pipe, with the same promise as Open; io.EOF after the
// last one, when the end of the file has been checked.
func (b *Bundle) Next() (row int, blob io.Reader, err error) { return b.reader.Next() }

// readBuffer is large enough that hashing, and not the number of reads, takes the time.
const readBuffer = 1 << 20

// CheckBlobs reads every blob in the file and checks its length and digest, on all cores. All problems are reported
// together, each with the image and platform that it concerns. Cancelling gives ctx.Err(), never nil.
func (b *Bundle) CheckBlobs(ctx context.Context, o bundle.Observer) error {
	o = bundle.Observe(o)
	o.Phase("verify", b.Contents().Header.Counts.StoredBytes)
	c := blobCheck{bundle: b, observer: o}
	var err error
	if b.Sequential() {
		err = c.sequential(ctx)
	} else {
		err = c.parallel(ctx)
	}
	return errors.Join(ctx.Err(), err, c.problems.Err())
}

type blobCheck struct {
	bundle   *Bundle
	observer bundle.Observer
	mu       sync.Mutex
	problems bundle.Problems
}

func (c *blobCheck) parallel(ctx context.Context) error {
	var group errgroup.Group
	rows := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			buffer := make([]byte, readBuffer)
			for row := range rows {
				blob, err := c.bundle.Open(row)
				if err == nil {
					err = errors.Join(c.read(ctx, row, blob, buffer), blob.Close())
				}
				c.note(ctx, row, err)
			}
			return nil
		})
	}
	for row, blob := range c.bundle.Contents().Blobs {
		if blob.Stored == bundle.StoredFull && ctx.Err() == nil {
			rows <- row
		}
	}
	close(rows)
	return group.Wait()
}

// sequential reads a pipe. The first problem ends it: where one entry is wrong, the place of the next is not sure.
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
			return nil
		}
	}
}

// read reads a blob to its end. It is not io.Copy, so that cancelling takes effect within one buffer.
func (c *blobCheck) read(ctx context.Context, row int, blob io.Reader, buffer []byte) error {
	c.observer.Item(c.bundle.Contents().Blobs[row].Digest.String())
	for ctx.Err() == nil {
		n, err := blob.Read(buffer)
		c.observer.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (c *blobCheck) note(ctx context.Context, row int, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems.Add(fmt.Errorf("%s: %w", c.bundle.graph.Path(row), err))
}
