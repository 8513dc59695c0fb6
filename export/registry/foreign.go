package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"airgap/bundle"
	"airgap/export/registry/wire"
)

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
