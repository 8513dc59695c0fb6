package transfer

import (
	"context"
	"errors"
	"fmt"
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
}

// uploader brings single blobs to the target.
type uploader struct {
	inv      *inventory.Inventory
	target   uploads
	observer bundle.Observer

	countsBytes bool // as done; or else who reads the bundle does, or manifests are counted
}

// deliver makes a blob be in a repository, and marks it: it is mounted from another repository if one has it. Whatever keeps the
// target from that, the blob can still be uploaded. content is nil where it is read from the bundle.
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

// upload sends a blob, from the bundle or the spool. counted is false where its bytes are no part of the total.
func (u *uploader) upload(ctx context.Context, need inventory.Need, content *spooled, counted bool) error {
	digest := u.inv.Digest(need.Row)
	u.observer.Item(digest.String())
	s := source{ctx: ctx, open: func() (io.ReadCloser, error) { return u.inv.Bundle.Open(int(need.Row)) }}
	if content != nil {
		s.open = content.open
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
