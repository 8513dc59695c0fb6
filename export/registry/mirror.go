package registry

import (
	"context"
	"errors"
	"io"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
)

// Mirrors are asked for what is named by its digest, and for nothing else: such content cannot be old, or wrong without
// being noticed. Tags, listings and referrers are always the registry's own to tell. A mirror that fails in any way is
// passed over without another try, and one that could not be reached or refused the account is not asked again.

// mirrors returns what to ask for before the registry itself: the same repository at its mirrors.
func (c *Client) mirrors(ref name.Digest) []name.Digest {
	var refs []name.Digest
	for _, mirror := range c.host(ref.Context().RegistryStr()).cfg.Mirrors {
		registry, err := name.NewRegistry(mirror)
		if err != nil || c.host(registry.RegistryStr()).useless.Load() {
			continue
		}
		refs = append(refs, registry.Repo(ref.Context().RepositoryStr()).Digest(ref.DigestStr()))
	}
	return refs
}

// noteMirror remembers that a mirror is not worth another request.
func (c *Client) noteMirror(ctx context.Context, ref name.Digest, err error) {
	host := ref.Context().RegistryStr()
	c.log.WarnContext(ctx, "a mirror is passed over", "mirror", displayHost(host), "error", err)
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrThrottled) || errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrForbidden) {
		c.host(host).useless.Store(true)
	}
}

// mirroredManifest returns a manifest from the first mirror that has it; ok is false where none has.
func (c *Client) mirroredManifest(ctx context.Context, ref name.Digest) (desc bundle.Descriptor, content []byte, ok bool) {
	for _, mirror := range c.mirrors(ref) {
		desc, content, err := c.manifest(ctx, c.session(mirror.Context(), pull), "fetch manifest", mirror, true)
		if err == nil {
			return desc, content, true
		}
		if ctx.Err() != nil {
			break
		}
		c.noteMirror(ctx, mirror, err)
	}
	return bundle.Descriptor{}, nil, false
}

// mirroredBlob begins to read a blob at the first mirror that has it, to go on at the registry itself should that break
// off; nil where none has. What is asked for a second time, as its content was wrong, is not asked of a mirror again.
func (c *Client) mirroredBlob(ctx context.Context, ref name.Digest, size int64) io.ReadCloser {
	mirrors := c.mirrors(ref)
	if len(mirrors) == 0 {
		return nil
	}
	if _, again := c.mirrored.LoadOrStore(ref.DigestStr(), struct{}{}); again {
		return nil
	}
	for _, mirror := range mirrors {
		r := c.blobRequest(mirror)
		r.once = true
		b, err := c.openBlob(ctx, r, size)
		if err == nil {
			b.origin = c.blobRequest(ref)
			return b
		}
		if ctx.Err() != nil {
			break
		}
		c.noteMirror(ctx, mirror, err)
	}
	return nil
}
