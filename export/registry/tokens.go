package registry

import (
	"context"
	"errors"
	"net/http"

	"airgap/export/registry/auth"
	"airgap/export/registry/retry"
)

// tokenSender sends what the credentials for a host need (auth.Sender).
type tokenSender struct {
	core *core
	home *host
}

// Probe implements auth.Sender.
func (s tokenSender) Probe(ctx context.Context, once bool) (status int, header http.Header, err error) {
	h := s.home
	r := &request{op: "reach", ref: DisplayName(h.name), home: h, method: http.MethodGet, url: h.url(""), document: true}
	err = s.core.retrying(ctx, once, func() error {
		resp, err := s.core.hop(ctx, r, r.url, "")
		if err != nil {
			return err
		}
		if retry.Status(resp.StatusCode) {
			return r.failure(resp, s.core.cfg.Now())
		}
		r.discard(resp)
		status, header = resp.StatusCode, resp.Header
		return nil
	})
	return status, header, err
}

// Token implements auth.Sender.
func (s tokenSender) Token(ctx context.Context, t *auth.TokenRequest, read func([]byte) error) (status int, err error) {
	r := &request{
		op: "get a token for", ref: DisplayName(s.home.name), home: s.home, realm: t.URL, method: t.Method, url: t.URL,
		header: t.Header, body: t.Body, once: t.Once, secrets: t.Secrets, account: len(t.Secrets) > 0,
	}
	resp, body, err := s.core.fetch(ctx, r, auth.MaxToken)
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Status, err
	case err != nil:
		return 0, err
	}
	if err := read(body); err != nil {
		return resp.StatusCode, r.fail(err)
	}
	return resp.StatusCode, nil
}
