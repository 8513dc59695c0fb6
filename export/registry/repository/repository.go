// Package repository is a repository of a registry as package ledger wants it: what keeps the heads of bundles.
package repository

import (
	"context"
	"errors"
	"fmt"
	"io"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/export/registry"
	"airgap/export/registry/fallback"

	"github.com/google/go-containerregistry/pkg/name"
)

// Client talks to the registry. *registry.Client is the real one.
type Client interface {
	fallback.Target

	Tags(ctx context.Context, repo name.Repository) ([]string, error)
	Blob(ctx context.Context, ref name.Digest, size int64) (io.ReadCloser, error)
	HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error)
	PushBlob(ctx context.Context, repo name.Repository, desc bundle.Descriptor, open func() (io.ReadCloser, error)) error
	Referrers(ctx context.Context, subject name.Digest) (registry.Referrers, error)
}

var _ Client = (*registry.Client)(nil)

// Repository is a repository of a registry. Errors are those of the client; what is not there is bundle.ErrNotFound as well.
type Repository struct {
	client Client
	name   name.Repository
}

var _ ledger.Repository = (*Repository)(nil)

// New returns a repository, which need not exist before it is written to.
func New(c Client, repo name.Repository) *Repository { return &Repository{c, repo} }

// Name returns where it is.
func (r *Repository) Name() name.Repository { return r.name }

// String implements ledger.Repository.
func (r *Repository) String() string { return registry.DisplayName(r.name.Name()) }

// Tags implements ledger.Repository.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	tags, err := r.client.Tags(ctx, r.name)
	if errors.Is(notFound(err), bundle.ErrNotFound) {
		return nil, nil
	}
	return tags, err
}

// notFound makes what a registry has not got bundle.ErrNotFound.
func notFound(err error) error {
	if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrRepositoryUnknown) {
		return fmt.Errorf("%w: %w", bundle.ErrNotFound, err)
	}
	return err
}

// Manifest implements ledger.Repository.
func (r *Repository) Manifest(ctx context.Context, reference string) (bundle.Descriptor, []byte, error) {
	desc, content, err := r.client.Manifest(ctx, r.reference(reference))
	return desc, content, notFound(err)
}

// reference is a digest, or else a tag, in the repository.
func (r *Repository) reference(reference string) name.Reference {
	if _, err := bundle.ParseDigest(reference); err == nil {
		return r.name.Digest(reference)
	}
	return r.name.Tag(reference)
}

// Blob implements ledger.Repository.
func (r *Repository) Blob(ctx context.Context, d bundle.Descriptor) (io.ReadCloser, error) {
	content, err := r.client.Blob(ctx, r.name.Digest(d.Digest.String()), d.Size)
	if err != nil {
		return nil, notFound(err)
	}
	return content, nil
}

// Referrers implements ledger.Repository.
func (r *Repository) Referrers(ctx context.Context, subject bundle.Digest) ([]bundle.Descriptor, error) {
	listed, err := r.client.Referrers(ctx, r.name.Digest(subject.String()))
	if errors.Is(notFound(err), bundle.ErrNotFound) {
		return nil, nil
	}
	return listed.Descriptors, err
}

// PutBlob implements ledger.Repository.
func (r *Repository) PutBlob(ctx context.Context, o bundle.Object) error {
	size, found, err := r.client.HasBlob(ctx, r.name, o.Digest)
	if err != nil || found && (size == o.Size || size < 0) {
		return err
	}
	return r.client.PushBlob(ctx, r.name, o.Descriptor, func() (io.ReadCloser, error) { return contentOf(o), nil })
}

// contentOf reads what an object writes.
func contentOf(o bundle.Object) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(o.Write(writer)) }() // closing the reader ends it
	return reader
}

// PutManifest implements ledger.Repository.
func (r *Repository) PutManifest(ctx context.Context, o bundle.Object, tag string) error {
	content, m, err := o.Manifest()
	if err != nil {
		return err
	}
	var under name.Reference = r.name.Digest(o.Digest.String())
	if tag != "" {
		under = r.name.Tag(tag)
	}
	acknowledged, err := r.client.PushManifest(ctx, under, o.MediaType, content)
	if err != nil || m.Subject == nil || acknowledged {
		return err
	}
	subject := m.Subject.Digest
	listed, err := r.client.Referrers(ctx, r.name.Digest(subject.String()))
	if err != nil || listed.API {
		return err
	}
	_, err = fallback.Add(ctx, r.client, r.name.Tag(subject.FallbackTag()), []bundle.Descriptor{m.AsReferrer(o.Descriptor)})
	return err
}
