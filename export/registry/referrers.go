package registry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"airgap/bundle"

	"github.com/google/go-containerregistry/pkg/name"
)

// Bounds on the referrers of one subject. More is an error that wraps bundle.ErrLimit.
const (
	maxReferrers     = 10_000
	maxReferrersSize = 16 << 20 // bytes of all pages together
)

// Referrers is the complete list of what refers to a subject, as the registry describes it: who uses it reads the
// manifests, as registries and clients are known to list wrong artifact types.
type Referrers struct {
	// Descriptors has each digest once, in the registry's order; empty where there are none.
	Descriptors []bundle.Descriptor
	// API tells whether the referrers API answered. Otherwise the registry has none, and the list is that of the index
	// under the fallback tag.
	API bool
	// Elsewhere is set where the registry has sent a request for a manifest or a listing to another host. It is a front of
	// others then, and what one of them lists another may not have.
	Elsewhere bool
}

var errBothWays = errors.New("the registry answers both ways, with a referrers API and without; so no listing of it can be believed")

// Referrers lists the referrers of subject, or fails: that there are none is never concluded from a failure.
//
// Only a registry that has no referrers API is asked for the fallback tag instead. It has none if it answers 404 without
// saying that the repository is unknown, or 405, or an error with the code UNSUPPORTED. That the repository is unknown is an
// error that wraps ErrRepositoryUnknown, from either. A registry that has answered the API lately, for anything,
// and now has none, or the other way round, is an error too. One that has never known the path of the API, for so many subjects
// that it is no accident, is not asked for it again for a while.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
func (c *Client) Referrers(ctx context.Context, subject name.Digest) (Referrers, error) {
	return c.referrers(ctx, subject, nil, enoughWithoutPath)
}

// ReferrersAmong is Referrers where the tags of the repository have just been listed: without the API, a fallback tag that
// is not among them, by hasTag, is not asked for. nil is not known, and the API is asked for always.
func (c *Client) ReferrersAmong(ctx context.Context, subject name.Digest, hasTag func(tag string) bool) (Referrers, error) {
	if hasTag == nil {
		return c.referrers(ctx, subject, nil, math.MaxInt)
	}
	return c.referrers(ctx, subject, hasTag, enoughWithoutPath)
}

// enoughWithoutPath is for how many subjects a registry has to be without the path of the API before it is believed.
const enoughWithoutPath = 20

// referrers lists the referrers of a subject. The API is not asked for once it had no path for the given number of subjects.
func (c *Client) referrers(ctx context.Context, subject name.Digest, hasTag func(tag string) bool, enough int) (Referrers, error) {
	s := c.core.session(subject.Context(), pull)
	r := &request{
		op: "list referrers of", ref: DisplayName(subject.Name()), home: s.home, session: s, method: http.MethodGet,
		url:    s.home.url(subject.Context().RepositoryStr() + "/referrers/" + subject.DigestStr()),
		header: http.Header{"Accept": {bundle.MediaTypeOCIIndex}}, front: true,
	}
	digest, err := bundle.ParseDigest(subject.DigestStr())
	if err != nil {
		return Referrers{}, r.fail(err)
	}
	if s.home.withoutReferrersPath(c.core.cfg.Now()) < enough {
		if referrers, err := c.apiReferrers(ctx, s, r); err != nil || referrers.API {
			return referrers, err
		}
	}
	if hasTag != nil && !hasTag(digest.FallbackTag()) {
		return Referrers{Elsewhere: s.home.elsewhere.Load()}, nil
	}
	descriptors, err := c.fallbackReferrers(ctx, s, r, subject.Context().Tag(digest.FallbackTag()))
	return Referrers{Descriptors: descriptors, Elsewhere: s.home.elsewhere.Load()}, err
}

// apiReferrers asks the API; where there is none, the result does not have API set, and that is no error.
func (c *Client) apiReferrers(ctx context.Context, s *session, r *request) (Referrers, error) {
	list := referrersList{seen: make(map[bundle.Digest]int64)}
	err := c.core.pages(ctx, r, bundle.MaxManifestSize, func(resp *http.Response, body []byte) error {
		if err := list.add(mediaType(resp.Header), body); err != nil {
			return err
		}
		return s.home.noteReferrers(apiPresent, false, c.core.cfg.Now())
	})
	switch {
	case err == nil:
		return Referrers{Descriptors: list.descriptors, API: true, Elsewhere: s.home.elsewhere.Load()}, nil
	case len(list.seen) > 0 || list.size > 0 || !saysNoAPI(err):
		return Referrers{}, err
	}
	if err := s.home.noteReferrers(apiAbsent, isNoPath(err), c.core.cfg.Now()); err != nil {
		return Referrers{}, r.fail(err)
	}
	return Referrers{}, nil
}

// saysNoAPI tells whether err means that the registry does not have the referrers API at all.
func saysNoAPI(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.token {
		return false
	}
	switch e.Status {
	case http.StatusNotFound:
		return !e.HasCode(codeNameUnknown)
	case http.StatusMethodNotAllowed:
		return true
	case http.StatusBadRequest, http.StatusNotAcceptable, http.StatusNotImplemented:
		return e.HasCode(codeUnsupported)
	}
	return false
}

// isNoPath tells whether err is a web server's own 404, which is about the path whatever the digest in it: a registry's has
// an error code.
func isNoPath(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound && len(e.Codes) == 0
}

// noteReferrers remembers whether h has a referrers API, and whether it was the web server that said so; an error if it was
// the other way lately. A registry that has been given the API, or has lost it, is believed once the last answer of the other
// kind is old.
func (h *host) noteReferrers(state apiState, noPath bool, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := now.Sub(h.toldAt) >= believedFor
	if h.referrers != apiUnknown && h.referrers != state && !old {
		return errBothWays
	}
	if old {
		h.withoutPath, h.referrersPath = 0, false
	}
	if noPath {
		h.withoutPath++
	} else {
		h.referrersPath = true
	}
	h.referrers, h.toldAt = state, now
	return nil
}

// withoutReferrersPath returns for how many subjects h has not had the path of the referrers API; 0 where it has not been asked
// lately, or has ever given another answer than its web server's 404.
func (h *host) withoutReferrersPath(now time.Time) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.toldAt) >= believedFor || h.referrersPath {
		return 0
	}
	return h.withoutPath
}

// fallbackReferrers reads the index that clients keep where there is no API; where there is no such tag, nobody has
// pushed a referrer.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
func (c *Client) fallbackReferrers(ctx context.Context, s *session, r *request, tag name.Tag) ([]bundle.Descriptor, error) {
	desc, body, err := c.core.manifest(ctx, s, r.op, tag, false)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := referrersList{seen: make(map[bundle.Digest]int64)}
	if err := list.add(desc.MediaType, body); err != nil {
		return nil, r.failf("fallback tag %s: %w", tag.TagStr(), err)
	}
	return list.descriptors, nil
}

// referrersList gathers the pages of a listing.
type referrersList struct {
	descriptors []bundle.Descriptor
	seen        map[bundle.Digest]int64 // and its size
	size        int                     // bytes of JSON
}

// add reads one page, which must be an OCI image index.
func (l *referrersList) add(mediaType string, body []byte) error {
	if mediaType != bundle.MediaTypeOCIIndex {
		return fmt.Errorf("%w: a listing of media type %.100q, not %s", bundle.ErrFormat, mediaType, bundle.MediaTypeOCIIndex)
	}
	index, err := bundle.ParseManifest(mediaType, body)
	if err != nil {
		return err
	}
	l.size += len(body)
	for _, d := range index.Manifests {
		size, again := l.seen[d.Digest]
		switch {
		case again && size != d.Size:
			return fmt.Errorf("%w: %s is listed with %d bytes and with %d", bundle.ErrFormat, d.Digest, size, d.Size)
		case !again:
			l.seen[d.Digest] = d.Size
			l.descriptors = append(l.descriptors, d)
		}
	}
	if len(l.descriptors) > maxReferrers || l.size > maxReferrersSize {
		return fmt.Errorf("%w: more than %d referrers or %d bytes of them", bundle.ErrLimit, maxReferrers, maxReferrersSize)
	}
	l.descriptors = slices.Clip(l.descriptors)
	return nil
}
