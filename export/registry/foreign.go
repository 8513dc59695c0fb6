package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"airgap/bundle"
)

// ForeignBlob returns the content at an address that a descriptor gives for a layer that registries do not hold
// ("foreign" layers), as Blob does. No credentials are sent. Addresses other than http and https, or with a user in
// them, are errors that wrap bundle.ErrUnsupported.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#properties (urls)
func (c *Client) ForeignBlob(ctx context.Context, address string, size int64) (io.ReadCloser, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w: layer address %.200q", bundle.ErrUnsupported, address)
	}
	r := &request{
		op: "fetch foreign layer", ref: u.Host + u.Path, home: c.host(u.Host), method: http.MethodGet, url: u,
		accept: []int{http.StatusOK, http.StatusPartialContent},
	}
	if size < 0 {
		return nil, r.failf("%w: a size of %d bytes", bundle.ErrFormat, size)
	}
	b := &blob{client: c, ctx: ctx, request: r, size: size, pacer: pacer{client: c}}
	if err := b.connect(); err != nil {
		return nil, err
	}
	return b, nil
}
