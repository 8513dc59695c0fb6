package importer

import (
	"context"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/concurrency"
	"airgap/export/registry/repository"
	"airgap/import/confirm"
	"airgap/import/parallel"
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
	repository.Client
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

// Pace is how much a registry is asked for at once, by what it turns out to take. Each kind of request has a limit of its own, as
// each takes its own time: what slows down when reading ends and writing begins is no registry that has enough.
type Pace struct{ reads, blobs, manifests *concurrency.Limit }

// NewPace returns a Pace of at most parallel.MostJobs requests of each kind. now is the clock; nil is time.Now.
func NewPace(now func() time.Time) *Pace {
	limit := func() *concurrency.Limit { return concurrency.New(parallel.MostJobs, now) }
	return &Pace{reads: limit(), blobs: limit(), manifests: limit()}
}

// Overloaded is for registry.Config.Overloaded.
func (p *Pace) Overloaded(string) {
	for _, limit := range []*concurrency.Limit{p.reads, p.blobs, p.manifests} {
		limit.Overloaded()
	}
}

// paced is a target that is asked for as much at once as it turns out to take.
type paced struct {
	Target
	pace *Pace
}

// requestWork is what a request counts for, in bytes that could be sent meanwhile.
const requestWork = 32 << 10

// within asks for one thing, for which size bytes are sent.
func within(ctx context.Context, limit *concurrency.Limit, size int64, ask func() error) error {
	if err := limit.Enter(ctx); err != nil {
		return err
	}
	defer limit.Leave(requestWork + size)
	return ask()
}

func (p paced) Resolve(ctx context.Context, ref name.Reference) (found bundle.Descriptor, err error) {
	err = within(ctx, p.pace.reads, 0, func() (err error) {
		found, err = p.Target.Resolve(ctx, ref)
		return err
	})
	return found, err
}

func (p paced) Manifest(ctx context.Context, ref name.Reference) (found bundle.Descriptor, content []byte, err error) {
	err = within(ctx, p.pace.reads, 0, func() (err error) {
		found, content, err = p.Target.Manifest(ctx, ref)
		return err
	})
	return found, content, err
}

func (p paced) Referrers(ctx context.Context, subject name.Digest) (listed registry.Referrers, err error) {
	err = within(ctx, p.pace.reads, 0, func() (err error) {
		listed, err = p.Target.Referrers(ctx, subject)
		return err
	})
	return listed, err
}

func (p paced) HasTags(ctx context.Context, repo name.Repository) (has bool, err error) {
	err = within(ctx, p.pace.reads, 0, func() (err error) {
		has, err = p.Target.HasTags(ctx, repo)
		return err
	})
	return has, err
}

func (p paced) HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error) {
	err = within(ctx, p.pace.reads, 0, func() (err error) {
		size, found, err = p.Target.HasBlob(ctx, repo, d)
		return err
	})
	return size, found, err
}

func (p paced) Mount(ctx context.Context, repo, from name.Repository, d bundle.Digest) (mounted bool, err error) {
	err = within(ctx, p.pace.blobs, 0, func() (err error) {
		mounted, err = p.Target.Mount(ctx, repo, from, d)
		return err
	})
	return mounted, err
}

func (p paced) PushBlob(ctx context.Context, repo name.Repository, d bundle.Descriptor, open func() (io.ReadCloser, error)) error {
	return within(ctx, p.pace.blobs, d.Size, func() error { return p.Target.PushBlob(ctx, repo, d, open) })
}

func (p paced) PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (acknowledged bool, err error) {
	err = within(ctx, p.pace.manifests, int64(len(body)), func() (err error) {
		acknowledged, err = p.Target.PushManifest(ctx, ref, mediaType, body)
		return err
	})
	return acknowledged, err
}

func (p paced) Granted(ctx context.Context, repo name.Repository) (granted []string, known bool, err error) {
	err = within(ctx, p.pace.reads, 0, func() (err error) {
		granted, known, err = p.Target.Granted(ctx, repo)
		return err
	})
	return granted, known, err
}
