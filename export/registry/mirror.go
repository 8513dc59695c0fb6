package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry/auth"
	"airgap/export/registry/recent"
)

// mirrors is the layer of mirrors around what is fetched by its digest.
type mirrors struct {
	core *core

	mu   sync.Mutex
	sent recent.Map[bundle.Digest, time.Time] // when a mirror has begun to send that blob
}

// mirrorRest is for how long a mirror is left alone.
const mirrorRest = 5 * time.Minute

// of returns what to ask for before the registry itself: the same repository at those of its mirrors that are worth
// a request.
func (m *mirrors) of(ref name.Digest) []name.Digest {
	var refs []name.Digest
	repository := ref.Context().RepositoryStr()
	for _, mirror := range m.core.host(ref.Context().RegistryStr()).mirrors {
		h := m.core.host(mirror.RegistryStr())
		if !h.isWorthAsking(repository, m.core.cfg.Now()) {
			continue
		}
		refs = append(refs, mirror.Repo(repository).Digest(ref.DigestStr()))
	}
	return refs
}

// isWorthAsking tells whether a mirror may have something of the repository, and give it.
func (h *host) isWorthAsking(repository string, now time.Time) bool {
	h.mu.Lock()
	fewLeft := h.pulls.Remaining < h.cfg.RateLimitMin && now.Sub(h.pullsAt) < h.cfg.RateLimitRetry
	h.mu.Unlock()
	h.asMirror.mu.Lock()
	refusedAt, refused := h.asMirror.refused.Get(repository)
	h.asMirror.mu.Unlock()
	return !fewLeft && now.UnixNano() >= h.asMirror.restsUntil.Load() && !(refused && now.Sub(refusedAt) < believedFor)
}

// session is a session in which nothing is tried twice.
func (m *mirrors) session(repo name.Repository) *session {
	return m.core.sessionIn(repo, auth.Scope{Actions: pull, Once: true})
}

// passOver draws conclusions from the failure of a mirror.
func (m *mirrors) passOver(ctx context.Context, h *host, repository string, err error) {
	var e *Error
	switch {
	case errors.Is(err, ErrNotFound):
		m.core.cfg.Logger.DebugContext(ctx, "a mirror does not have it", "mirror", DisplayName(h.name), "error", err)
		return
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrThrottled):
		rest := mirrorRest
		if errors.As(err, &e) {
			rest = max(rest, e.RetryAfter)
		}
		h.asMirror.restsUntil.Store(m.core.cfg.Now().Add(rest).UnixNano())
	case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrForbidden), errors.Is(err, ErrRepositoryUnknown):
		h.asMirror.mu.Lock()
		h.asMirror.refused.Put(repository, m.core.cfg.Now())
		h.asMirror.mu.Unlock()
	}
	m.core.cfg.Logger.WarnContext(ctx, "a mirror is passed over", "mirror", DisplayName(h.name), "error", err)
}

// manifest returns a manifest from the first mirror that has it; ok is false where none has. A digest says
// nothing of the media type that comes with the content, so that this has to fit what the content itself says.
func (m *mirrors) manifest(ctx context.Context, ref name.Digest) (desc bundle.Descriptor, content []byte, ok bool) {
	for _, mirror := range m.of(ref) {
		s := m.session(mirror.Context())
		desc, content, err := m.core.manifest(ctx, s, "fetch manifest", mirror, true)
		if err == nil {
			_, err = bundle.ParseManifest(desc.MediaType, content)
		}
		if err == nil {
			return desc, content, true
		}
		if ctx.Err() != nil {
			break
		}
		m.passOver(ctx, s.home, mirror.Context().RepositoryStr(), err)
	}
	return bundle.Descriptor{}, nil, false
}

// blob begins to read a blob at the first mirror that has it, to go on at the registry itself should that break
// off; nil where none has. What is asked for a second time, as its content was wrong, is not asked of a mirror again.
func (m *mirrors) blob(ctx context.Context, ref name.Digest, size int64) *blob {
	mirrors := m.of(ref)
	digest, err := bundle.ParseDigest(ref.DigestStr())
	if len(mirrors) == 0 || err != nil {
		return nil
	}
	if m.isSent(digest) {
		return nil
	}
	for _, mirror := range mirrors {
		r := blobRequest(m.session(mirror.Context()), mirror)
		r.once = true
		b, err := m.core.openBlob(ctx, r, size)
		if err == nil {
			m.noteSent(digest)
			b.origin = blobRequest(m.core.session(ref.Context(), pull), ref)
			b.giveUp = func(err error) { m.passOver(ctx, r.home, mirror.Context().RepositoryStr(), err) }
			return b
		}
		if ctx.Err() != nil {
			break
		}
		m.passOver(ctx, r.home, mirror.Context().RepositoryStr(), err)
	}
	return nil
}

// isSent tells whether a mirror has begun to send that blob lately.
func (m *mirrors) isSent(d bundle.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.sent.Get(d)
	return ok && m.core.cfg.Now().Sub(at) < believedFor
}

func (m *mirrors) noteSent(d bundle.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent.Put(d, m.core.cfg.Now())
}
