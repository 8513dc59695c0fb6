package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry/wire"
)

// Blob returns the content of the blob ref, which yields exactly size bytes and then io.EOF, or an error. A connection
// that breaks is continued where it broke. The digest is not checked: that is the caller's to do, over the whole.
//
// ctx governs all reading. Blob itself returns once the registry has begun to answer. More or fewer bytes than size at the
// registry are an error that wraps bundle.ErrDigest.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-blobs
func (c *Client) Blob(ctx context.Context, ref name.Digest, size int64) (io.ReadCloser, error) {
	if mirrored := c.mirrors.blob(ctx, ref, size); mirrored != nil {
		return mirrored, nil
	}
	return asReader(c.core.openBlob(ctx, blobRequest(c.core.session(ref.Context(), pull), ref), size))
}

// asReader makes sure that no blob is no reader.
func asReader(b *blob, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// HasBlob tells whether repo has the blob d, by a HEAD request, and its size in bytes, or -1 where the registry does not
// say that. A repository that does not exist has none.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#checking-if-content-exists-in-the-registry
func (c *Client) HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error) {
	s := c.core.session(repo, pull)
	r := &request{
		op: "look for blob", ref: DisplayName(repo.Name()) + "@" + d.String(), home: s.home, session: s, method: http.MethodHead,
		url: s.home.url(repo.RepositoryStr() + "/blobs/" + d.String()),
	}
	resp, _, err := c.core.fetch(ctx, r, 0)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrRepositoryUnknown):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	if header := resp.Header.Get("Docker-Content-Digest"); header != "" && header != d.String() {
		return 0, false, r.failf("%w: the registry answers with %.80q", bundle.ErrDigest, header)
	}
	return resp.ContentLength, true, nil
}

// ForeignBlob returns the content at an address that a descriptor gives for a layer that registries do not hold
// ("foreign" layers), as Blob does. No credentials are sent, whatever the host. Manifests decide what is asked here, so
// call it only where a person wants that. Addresses other than http and https, or with a user in them, are errors that
// wrap bundle.ErrUnsupported.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#properties (urls)
func (c *Client) ForeignBlob(ctx context.Context, address string, size int64) (io.ReadCloser, error) {
	const op = "fetch foreign layer"
	u, err := url.Parse(address)
	if err == nil {
		err = wire.CheckURL(u)
	}
	if err != nil {
		// The address may have a credential in it and is not repeated.
		return nil, &Error{Op: op, Ref: "from its URL", Err: fmt.Errorf("%w: %w", bundle.ErrUnsupported, wire.URLError(err))}
	}
	u.Fragment = ""
	r := &request{
		op: op, home: c.core.host(u.Host), method: http.MethodGet, url: u, accept: []int{http.StatusOK, http.StatusPartialContent},
	}
	r.ref = r.safeURL(u)
	return asReader(c.core.openBlob(ctx, r, size))
}
