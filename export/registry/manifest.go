package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"airgap/bundle"
	"airgap/export/registry/auth"

	"github.com/google/go-containerregistry/pkg/name"
)

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
			s.saw(r.account, c.core.cfg.Now())
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

// PushManifest puts body under ref, a tag or a digest, as it is. subjectAcknowledged tells whether the registry has said
// that it lists the manifest as a referrer of its subject (header OCI-Subject); where it has not, and has no referrers
// API, the fallback tag is the caller's to keep. A ref whose digest is not that of body, or a registry that calls it
// otherwise, is an error that wraps bundle.ErrDigest; more than bundle.MaxManifestSize bytes wrap bundle.ErrLimit.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests
func (c *Client) PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (subjectAcknowledged bool, err error) {
	s := c.core.session(ref.Context(), pullPush)
	r := manifestRequest("push manifest", http.MethodPut, s, ref)
	r.header, r.body, r.accept, r.patient = http.Header{"Content-Type": {mediaType}}, body, []int{http.StatusCreated}, true
	digest := bundle.DigestOf(body)
	switch promised, err := promisedDigest(ref); {
	case err != nil:
		return false, r.fail(err)
	case promised != nil && *promised != digest:
		return false, r.failf("%w: it has %s", bundle.ErrDigest, digest)
	case len(body) > bundle.MaxManifestSize:
		return false, r.failf("%w: a manifest of %d bytes; registries take at most %d", bundle.ErrLimit, len(body), bundle.MaxManifestSize)
	}
	resp, _, err := c.core.fetch(ctx, r, maxAnswer)
	if err != nil {
		return false, err
	}
	if header := resp.Header.Get("Docker-Content-Digest"); header != "" && header != digest.String() {
		return false, r.fail(fmt.Errorf("%w: pushed %s, and the registry calls it %.80q", bundle.ErrDigest, digest, header))
	}
	return resp.Header.Get("OCI-Subject") != "", nil
}

// remove is the action of a session that deletes, as scopes of distribution's token services name it.
const remove = "delete"

// ErrNoDeletion: the registry does not delete tags.
var ErrNoDeletion = errors.New("the registry does not delete tags")

// DeleteTag deletes a tag. By the specification the manifest, and its other tags, stay; some registries delete a manifest
// with its last tag, or with any, so who needs it has to look for it afterwards. "If tag deletion is disabled, the registry
// MUST respond with either a 400 Bad Request or a 405 Method Not Allowed", which is ErrNoDeletion. A tag that is not there
// is ErrNotFound; some who do not delete tags answer so, too.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#deleting-tags
func (c *Client) DeleteTag(ctx context.Context, tag name.Tag) error {
	r := manifestRequest("delete tag", http.MethodDelete, c.core.session(tag.Context(), remove), tag)
	// 202 is what the specification wants.
	r.accept = []int{http.StatusAccepted, http.StatusOK, http.StatusNoContent}
	_, _, err := c.core.fetch(ctx, r, maxAnswer)
	var e *Error
	if errors.As(err, &e) && (e.Status == http.StatusBadRequest || e.Status == http.StatusMethodNotAllowed || e.HasCode(codeUnsupported)) {
		e.Err = ErrNoDeletion
	}
	return err
}
