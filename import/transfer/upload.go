package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/inventory"
)

// uploads is the part of a target that takes blobs.
type uploads interface {
	// Mount makes a blob of the repository from one of repo as well; false where the registry would rather not.
	Mount(ctx context.Context, repo, from name.Repository, d bundle.Digest) (mounted bool, err error)
	// PushBlob uploads a blob. It commits only once open's reader has given io.EOF, and opens again to try again.
	PushBlob(ctx context.Context, repo name.Repository, d bundle.Descriptor, open func() (io.ReadCloser, error)) error
	// Blob streams a blob of so many bytes. Whether they are the right ones is for the caller to check.
	Blob(ctx context.Context, ref name.Digest, size int64) (io.ReadCloser, error)
}

// uploader brings single blobs to the target.
type uploader struct {
	inv      *inventory.Inventory
	target   uploads
	observer bundle.Observer

	countsBytes bool // as done; or else who reads the bundle does, or manifests are counted
}

// deliver makes a blob be in a repository, and marks it: it is mounted from another repository if one has it. Whatever keeps the
// target from that, the blob can still be uploaded: from the bundle, or where that leaves it out, from the other repository. content
// is nil where it did not come through a pipe.
func (u *uploader) deliver(ctx context.Context, blob inventory.Blob, need inventory.Need, content *spooled) error {
	from, isHeld := u.inv.Mountable(blob)
	if isHeld {
		mounted, err := u.target.Mount(ctx, u.inv.Repos[need.Repo], from, u.inv.Digest(need.Row))
		if err == nil && mounted {
			u.inv.Mark(need, inventory.Mounted)
			return nil
		}
	}
	if err := u.upload(ctx, need, content, !isHeld); err != nil {
		return err
	}
	u.inv.Mark(need, inventory.Pushed)
	return nil
}

// openElsewhere reads a blob that the bundle leaves out from another repository of the target.
func (u *uploader) openElsewhere(ctx context.Context, row int32) (io.ReadCloser, error) {
	if err := inventory.CheckReadable(u.inv, row); err != nil {
		return nil, err
	}
	from, _ := u.inv.Mountable(u.inv.Blob(row))
	d := u.inv.Digest(row)
	content, err := u.target.Blob(ctx, from.Digest(d.String()), u.inv.Size(row))
	if err != nil {
		return nil, err
	}
	return &hashed{ReadCloser: content, want: d, hash: sha256.New()}, nil
}

// hashed gives io.EOF only where all that was read has the right digest.
type hashed struct {
	io.ReadCloser

	want bundle.Digest
	hash hash.Hash
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	_, _ = h.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := bundle.Digest(h.hash.Sum(nil)); got != h.want {
			return n, fmt.Errorf("%w: the target has %s under the name of %s", bundle.ErrDigest, got, h.want)
		}
	}
	return n, err
}

// upload sends a blob, from the bundle, the spool or another repository. counted is false where its bytes are no part of the total.
func (u *uploader) upload(ctx context.Context, need inventory.Need, content *spooled, counted bool) error {
	digest := u.inv.Digest(need.Row)
	u.observer.Item(digest.String())
	s := source{ctx: ctx, open: func() (io.ReadCloser, error) { return u.inv.Bundle.Open(int(need.Row)) }}
	switch {
	case content != nil:
		s.open = content.open
	case inventory.IsLeftOut(u.inv, need.Row):
		s.open = func() (io.ReadCloser, error) { return u.openElsewhere(ctx, need.Row) }
	}
	if counted && u.countsBytes {
		s.count = u.observer.Add
	}
	described := bundle.Descriptor{MediaType: "application/octet-stream", Digest: digest, Size: u.inv.Size(need.Row)}
	err := u.target.PushBlob(ctx, u.inv.Repos[need.Repo], described, s.again)
	switch {
	case err == nil:
		return nil
	case s.err != nil && ctx.Err() == nil: // the bundle's fault, not the target's
		return fmt.Errorf("%s: %w", u.inv.Path(need.Row), s.err)
	}
	return fmt.Errorf("%s: %w", u.inv.Path(need.Row), err)
}

// source opens the content of a blob, again and again, counts what is read of it, and remembers what was wrong with it.
type source struct {
	ctx   context.Context
	open  func() (io.ReadCloser, error)
	count func(int64) // nil: not counted

	content io.ReadCloser
	n       int64
	err     error
}

// again opens the content from its beginning. What was read before is not counted any more.
func (s *source) again() (io.ReadCloser, error) {
	if s.count != nil {
		s.count(-s.n)
	}
	s.n, s.err = 0, nil
	s.content, s.err = s.open()
	return s, s.err
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.content.Read(p)
	s.n += int64(n)
	if s.count != nil {
		s.count(int64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (s *source) Close() error { return s.content.Close() }
