package importer

import (
	"context"
	"io"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/concurrency"
	"airgap/import/confirm"
	"airgap/import/preflight"
	"airgap/import/readback"
	"airgap/import/referrers"
	"airgap/import/survey"
	"airgap/import/tags"
	"airgap/import/target"
	"airgap/import/transfer"
)

// Target is a registry, as its stages see it. *registry.Client is the real one. Retrying is its part: an error from it is final.
// A manifest or blob that is not there is registry.ErrNotFound or registry.ErrRepositoryUnknown.
type Target interface {
	preflight.Target
	survey.Target
	transfer.Target
	referrers.Target
	confirm.Target
	tags.Target
	readback.Target
}

var _ Target = (*registry.Client)(nil)

// pastPolicies is a target that is seen past the pull policies of Harbor.
type pastPolicies struct {
	Target
	resolver target.Resolver
}

func (p pastPolicies) Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error) {
	return p.resolver.Resolve(ctx, ref)
}

// paced is a target that is asked for as much at once as it turns out to take.
type paced struct {
	Target
	pace *concurrency.Limit
}

// requestWork is what a request counts for, in bytes that could be sent meanwhile.
const requestWork = 32 << 10

// do asks for one thing, for which size bytes are sent.
func (p paced) do(ctx context.Context, size int64, ask func() error) error {
	if err := p.pace.Enter(ctx); err != nil {
		return err
	}
	defer p.pace.Leave(requestWork + size)
	return ask()
}

func (p paced) Resolve(ctx context.Context, ref name.Reference) (found bundle.Descriptor, err error) {
	err = p.do(ctx, 0, func() (err error) {
		found, err = p.Target.Resolve(ctx, ref)
		return err
	})
	return found, err
}

func (p paced) Manifest(ctx context.Context, ref name.Reference) (found bundle.Descriptor, content []byte, err error) {
	err = p.do(ctx, 0, func() (err error) {
		found, content, err = p.Target.Manifest(ctx, ref)
		return err
	})
	return found, content, err
}

func (p paced) Referrers(ctx context.Context, subject name.Digest) (listed registry.Referrers, err error) {
	err = p.do(ctx, 0, func() (err error) {
		listed, err = p.Target.Referrers(ctx, subject)
		return err
	})
	return listed, err
}

func (p paced) HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error) {
	err = p.do(ctx, 0, func() (err error) {
		size, found, err = p.Target.HasBlob(ctx, repo, d)
		return err
	})
	return size, found, err
}

func (p paced) Mount(ctx context.Context, repo, from name.Repository, d bundle.Digest) (mounted bool, err error) {
	err = p.do(ctx, 0, func() (err error) {
		mounted, err = p.Target.Mount(ctx, repo, from, d)
		return err
	})
	return mounted, err
}

func (p paced) PushBlob(ctx context.Context, repo name.Repository, d bundle.Descriptor, open func() (io.ReadCloser, error)) error {
	return p.do(ctx, d.Size, func() error { return p.Target.PushBlob(ctx, repo, d, open) })
}

func (p paced) PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (acknowledged bool, err error) {
	err = p.do(ctx, int64(len(body)), func() (err error) {
		acknowledged, err = p.Target.PushManifest(ctx, ref, mediaType, body)
		return err
	})
	return acknowledged, err
}

func (p paced) Granted(ctx context.Context, repo name.Repository, actions ...string) (granted []string, known bool, err error) {
	err = p.do(ctx, 0, func() (err error) {
		granted, known, err = p.Target.Granted(ctx, repo, actions...)
		return err
	})
	return granted, known, err
}
