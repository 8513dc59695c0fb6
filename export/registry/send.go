package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/export/registry/auth"
	"airgap/export/registry/retry"
	"airgap/export/registry/wire"
)

// Bounds of one exchange.
const (
	// maxRedirects are followed from one request.
	maxRedirects = 5
	// documentTimeout bounds the exchange for one document (a manifest, a listing, a token), which is a few MiB at most.
	// Without it a server could send a byte a minute for years. Waiting for a turn is no part of it.
	documentTimeout = 5 * time.Minute
)

var errRedirects = fmt.Errorf("more than %d redirects", maxRedirects)

// fetch sends r until it is answered with an accepted status, with pauses as retry.Policy says, and reads the whole body,
// which may have limit bytes.
func (c *core) fetch(ctx context.Context, r *request, limit int64) (*http.Response, []byte, error) {
	var (
		resp *http.Response
		body []byte
	)
	r.document = true
	err := c.retrying(ctx, r.once, func() (err error) {
		resp, err = c.send(ctx, r)
		if err != nil {
			return err
		}
		body, err = readBounded(resp, limit)
		if err != nil {
			return c.broken(ctx, r, resp.Request.URL, err)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return resp, body, nil
}

// readBounded reads and closes the body of resp; more than limit bytes are an error that wraps bundle.ErrLimit.
func readBounded(resp *http.Response, limit int64) ([]byte, error) {
	defer resp.Body.Close()
	if resp.Request.Method != http.MethodHead && resp.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		return nil, tooLarge(limit)
	}
	return body, err
}

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: an answer of more than %d bytes", bundle.ErrLimit, limit)
}

// send sends r once: with the session's credentials, once more with new ones where those have expired, and on along
// redirects. It returns an answer whose status r accepts, with a body to be closed, or an error.
func (c *core) send(ctx context.Context, r *request) (*http.Response, error) {
	resp, err := c.authorized(ctx, r)
	if err != nil {
		return nil, err
	}
	if resp, err = c.follow(ctx, r, resp); err != nil {
		return nil, err
	}
	if r.pull && resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusTooManyRequests {
		r.home.fetched.Add(1)
	}
	if resp.StatusCode == http.StatusOK && len(r.accept) == 0 || slices.Contains(r.accept, resp.StatusCode) {
		if r.session != nil {
			r.session.works.Store(true)
		}
		return resp, nil
	}
	e := r.failure(resp, c.cfg.Now())
	if resp.StatusCode == http.StatusUnauthorized && r.patient && (r.session.works.Load() || r.session.MayPush()) {
		e.temporary = true
	}
	return nil, e
}

// authorized sends r to its own URL. A 401 makes it renew the session's credentials and, where the body can be sent
// again, repeat the request, once.
func (c *core) authorized(ctx context.Context, r *request) (*http.Response, error) {
	if r.session == nil {
		return c.hop(ctx, r, r.url, "")
	}
	if !sameOrigin(r.url, &r.home.base) { // an upload Location elsewhere
		r.secrets = nil
		return c.hop(ctx, r, r.url, "")
	}
	cred, err := r.session.Credential(ctx)
	if err != nil {
		return nil, c.relabel(ctx, r, err)
	}
	r.secrets, r.account = cred.Secrets, cred.Account
	resp, err := c.hop(ctx, r, r.url, cred.Header)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	renewed, err := r.session.Renew(ctx, cred, resp.Header)
	if err != nil {
		r.discard(resp)
		return nil, c.relabel(ctx, r, err)
	}
	if renewed.Header == cred.Header {
		return resp, nil
	}
	r.secrets, r.account = append(slices.Clone(cred.Secrets), renewed.Secrets...), renewed.Account
	if r.stream != nil {
		e := r.failure(resp, c.cfg.Now())
		e.temporary = true // for who can open the content again
		return nil, e
	}
	r.discard(resp)
	return c.hop(ctx, r, r.url, renewed.Header)
}

// follow goes where resp redirects to. Credentials go along only while every step stays at the registry itself.
func (c *core) follow(ctx context.Context, r *request, resp *http.Response) (*http.Response, error) {
	home := sameOrigin(r.url, &r.home.base)
	for n := 0; isRedirect(resp.StatusCode); n++ {
		from := resp.Request.URL
		location := resp.Header.Get("Location")
		if r.realm != nil || r.method != http.MethodGet && r.method != http.MethodHead || location == "" {
			return resp, nil // for the caller, to whom this is a status like any other
		}
		header := resp.Request.Header.Get("Authorization")
		r.discard(resp)
		if n == maxRedirects {
			return nil, r.fail(errRedirects)
		}
		to, err := from.Parse(location)
		if err == nil {
			err = wire.CheckURL(to)
		}
		if err == nil && from.Scheme == "https" && to.Scheme != "https" {
			err = wire.ErrDowngrade
		}
		if err != nil {
			return nil, r.failf("redirect from %s: %w", r.safeURL(from), wire.URLError(err))
		}
		if home = home && sameOrigin(to, &r.home.base); !home {
			header = ""
			if r.front {
				r.home.elsewhere.Store(true)
			}
		}
		if resp, err = c.hop(ctx, r, to, header); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// hop is one exchange of r, with u. It knows nothing of redirects, and sends authorization as it is told.
func (c *core) hop(ctx context.Context, r *request, u *url.URL, authorization string) (*http.Response, error) {
	exchange := ctx
	if r.document {
		exchange = wire.Within(exchange, documentTimeout)
	}
	if r.realm != nil { // what gets a token must not wait for the request that waits for the token
		exchange = wire.Uncounted(exchange)
	}
	req, err := http.NewRequestWithContext(exchange, r.method, u.String(), nil)
	if err != nil {
		return nil, r.fail(wire.URLError(err))
	}
	for key, values := range r.header {
		req.Header[key] = values
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	switch {
	case r.stream != nil:
		r.stream.begin()
		req.Body, req.ContentLength = r.stream, r.stream.size
	case r.body != nil:
		setBody(req, r.body)
	}
	start := time.Now()
	resp, err := c.host(u.Host).transport.RoundTrip(req)
	if r.stream != nil && (err != nil || success(resp.StatusCode)) {
		if cause := r.stream.wait(); cause != nil {
			if err == nil {
				_ = resp.Body.Close()
			}
			return nil, r.fail(cause)
		}
	}
	if err != nil {
		c.cfg.Logger.DebugContext(ctx, "request", "method", r.method, "url", r.safeURL(u), "error", sanitize(err.Error(), maxCause))
		return nil, c.broken(ctx, r, u, err)
	}
	c.cfg.Logger.DebugContext(ctx, "request", "method", r.method, "url", r.safeURL(u), "status", resp.StatusCode, "after", time.Since(start))
	if retry.Overload(resp.StatusCode) {
		c.cfg.Overloaded(u.Host)
	}
	return resp, nil
}

func setBody(req *http.Request, body []byte) {
	if len(body) == 0 {
		req.Body = http.NoBody
		return
	}
	req.ContentLength = int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(body))), nil }
	req.Body, _ = req.GetBody()
}

// broken returns err, of the exchange with u, as the error of r: the context's own where that is done.
func (c *core) broken(ctx context.Context, r *request, u *url.URL, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := r.fail(err)
	e.URL, e.At = r.safeURL(u), r.at(u)
	e.network = !errors.Is(err, bundle.ErrLimit)
	e.temporary = retry.Network(err)
	e.Hint = networkHint(err, u.Host)
	return e
}

// relabel returns an error that authorization ended in as one of r, so that it names what the user asked for.
func (c *core) relabel(ctx context.Context, r *request, err error) error {
	var e *Error
	var failed *auth.Error
	switch {
	case ctx.Err() == nil && errors.As(err, &failed):
		return &Error{Op: r.op, Ref: r.ref, At: failed.At, Err: failed.Err}
	case ctx.Err() != nil || !errors.As(err, &e):
		return c.broken(ctx, r, r.url, err)
	}
	relabeled := *e // others may wait for the same credentials
	relabeled.Op, relabeled.Ref = r.op, r.ref
	return &relabeled
}

func success(status int) bool { return status >= 200 && status <= 299 }

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}
