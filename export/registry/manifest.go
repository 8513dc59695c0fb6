package registry

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"airgap/bundle"
	"airgap/export/registry/auth"

	"github.com/google/go-containerregistry/pkg/name"
)

// acceptManifests is the Accept header for manifests.
var acceptManifests = http.Header{"Accept": {strings.Join(bundle.ManifestMediaTypes, ", ")}}

// manifestRequest asks for the manifest that ref names.
func manifestRequest(op, method string, s *session, ref name.Reference) *request {
	return &request{
		op: op, ref: DisplayName(ref.Name()), home: s.home, session: s, method: method, header: acceptManifests, front: true,
		url: s.home.url(ref.Context().RepositoryStr() + "/manifests/" + ref.Identifier()),
	}
}

// Resolve returns the media type, digest and size of the manifest that ref names. It asks with HEAD, which registries
// that limit the number of pulls do not count, and fetches the manifest only where that does not say enough; so a digest
// that ref does not have is the registry's word, until the manifest is fetched by it. Errors are those of Manifest, but see
// Config.NotFoundIsEnough.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#checking-if-content-exists-in-the-registry
func (c *Client) Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error) {
	s := c.core.session(ref.Context(), pull)
	r := manifestRequest("resolve", http.MethodHead, s, ref)
	if _, err := promisedDigest(ref); err != nil {
		return bundle.Descriptor{}, r.fail(err)
	}
	resp, _, err := c.core.fetch(ctx, r, 0)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Status == http.StatusNotFound && (c.core.cfg.NotFoundIsEnough || s.isKnown(c.core.cfg.Now())):
		return bundle.Descriptor{}, err
	case errors.As(err, &e) && e.Status >= 400 && e.Status <= 499 && e.Status != http.StatusTooManyRequests:
		// Answers to HEAD have no body. Only GET can say why, for example that the repository is unknown.
	case err != nil:
		return bundle.Descriptor{}, err
	default:
		s.home.noteRateLimit(resp.Header, c.core.cfg.Now())
		desc, ok, err := describe(r, ref, resp)
		if ok || err != nil {
			s.saw(r, c.core.cfg.Now())
			return desc, err
		}
	}
	desc, _, err := c.core.manifest(ctx, s, "resolve", ref, false)
	return desc, err
}

// describe reads a descriptor from the answer to a HEAD request; ok is false where it is not complete.
func describe(r *request, ref name.Reference, resp *http.Response) (desc bundle.Descriptor, ok bool, err error) {
	desc.MediaType = mediaType(resp.Header)
	desc.Size = resp.ContentLength
	header := resp.Header.Get("Docker-Content-Digest")
	if header == "" || desc.MediaType == "" || desc.Size <= 0 {
		return bundle.Descriptor{}, false, nil
	}
	if desc.Digest, err = bundle.ParseDigest(header); err != nil {
		return bundle.Descriptor{}, false, r.failf("Docker-Content-Digest: %w", err)
	}
	if want, byDigest := ref.(name.Digest); byDigest && want.DigestStr() != header {
		return bundle.Descriptor{}, false, r.failf("%w: the registry answers with %s", bundle.ErrDigest, desc.Digest)
	}
	if desc.Size > bundle.MaxManifestSize {
		return bundle.Descriptor{}, false, r.failf("%w: a manifest of %d bytes; at most %d are carried", bundle.ErrLimit, desc.Size, bundle.MaxManifestSize)
	}
	return desc, true, nil
}

// Manifest fetches the manifest that ref names: its bytes as the registry sent them, bundle.MaxManifestSize at most, and
// their digest, size and media type (the Content-Type without parameters, which may be any). The digest is computed. It
// is an error that wraps bundle.ErrDigest if it is not the one in ref or in the header Docker-Content-Digest. Other
// errors: bundle.ErrUnsupported for a ref with a digest other than sha256, bundle.ErrLimit, and the sentinels of this
// package.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
func (c *Client) Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error) {
	if pinned, ok := ref.(name.Digest); ok {
		if desc, content, ok := c.mirrors.manifest(ctx, pinned); ok {
			return desc, content, nil
		}
	}
	return c.core.manifest(ctx, c.core.session(ref.Context(), pull), "fetch manifest", ref, false)
}

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
	s.saw(r, c.cfg.Now())
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

// AnonymousRefused tells whether ref is private: true where a HEAD request without credentials is refused (401 or 403, at
// the registry or at its token service), or is answered with 404 although the same request with credentials succeeds.
// Where neither finds it, the error wraps ErrNotFound. Where manifests of the repository have lately been seen without an
// account, because there is none, it is not asked again.
func (c *Client) AnonymousRefused(ctx context.Context, ref name.Reference) (bool, error) {
	repo := ref.Context()
	if c.core.session(repo, pull).isPublic(c.core.cfg.Now()) {
		return false, nil
	}
	s := c.core.sessionIn(repo, auth.Scope{Actions: pull, Anonymous: true})
	_, _, err := c.core.fetch(ctx, manifestRequest("look without credentials for", http.MethodHead, s, ref), 0)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrForbidden):
		return true, nil
	case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrRepositoryUnknown):
		return false, err
	}
	if _, err := c.Resolve(ctx, ref); err != nil {
		return false, err
	}
	return true, nil
}
