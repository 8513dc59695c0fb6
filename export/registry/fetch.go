package registry

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
)

// manifest is Manifest without mirrors; with once there is neither another try nor waiting for pulls.
func (c *core) manifest(ctx context.Context, s *session, op string, ref name.Reference, once bool) (bundle.Descriptor, []byte, error) {
	r := manifestRequest(op, http.MethodGet, s, ref)
	r.pull, r.once = true, once
	promised, err := promisedDigest(ref)
	if err != nil {
		return bundle.Descriptor{}, nil, r.fail(err)
	}
	if !once {
		if err := c.awaitPulls(ctx, s, ref); err != nil {
			return bundle.Descriptor{}, nil, err
		}
	}
	resp, body, err := c.fetch(ctx, r, bundle.MaxManifestSize)
	if err != nil {
		return bundle.Descriptor{}, nil, err
	}
	s.home.noteRateLimit(resp.Header, c.cfg.Now())
	s.saw(r.account, c.cfg.Now())
	desc := bundle.Descriptor{MediaType: mediaType(resp.Header), Digest: bundle.DigestOf(body), Size: int64(len(body))}
	if desc.MediaType == "" {
		return bundle.Descriptor{}, nil, r.failf("the answer has no media type (Content-Type %.100q)", resp.Header.Get("Content-Type"))
	}
	if promised != nil && *promised != desc.Digest {
		return bundle.Descriptor{}, nil, r.failf("%w: the registry sent %s", bundle.ErrDigest, desc.Digest)
	}
	if header := resp.Header.Get("Docker-Content-Digest"); header != "" && header != desc.Digest.String() {
		if err := otherAlgorithm(header); err != nil {
			return bundle.Descriptor{}, nil, r.fail(err)
		}
		return bundle.Descriptor{}, nil, r.failf("%w: the registry calls it %.80q and sent %s", bundle.ErrDigest, header, desc.Digest)
	}
	return desc, body, nil
}

// promisedDigest returns the digest in ref, or nil where ref is a tag.
func promisedDigest(ref name.Reference) (*bundle.Digest, error) {
	digest, ok := ref.(name.Digest)
	if !ok {
		return nil, nil
	}
	d, err := bundle.ParseDigest(digest.DigestStr())
	return &d, err
}

// otherAlgorithm returns an error for a digest that is well-formed but not sha256.
func otherAlgorithm(header string) error {
	if _, err := bundle.ParseDigest(header); errors.Is(err, bundle.ErrUnsupported) {
		return fmt.Errorf("Docker-Content-Digest: %w", err)
	}
	return nil
}

// mediaType returns the Content-Type without its parameters, in lower case; empty where it is missing or malformed.
func mediaType(header http.Header) string {
	t, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}
