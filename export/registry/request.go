package registry

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry/retry"
	"airgap/export/registry/wire"
)

// request is what one operation asks of a registry, or of its token service.
type request struct {
	op, ref string // for errors, see Error
	home    *host  // the registry: the one host that may see the session's credentials
	session *session
	method  string
	url     *url.URL
	header  http.Header
	body    []byte   // nil for none
	stream  *upload  // sent instead of body, once
	accept  []int    // statuses that are no failure; empty means 200 alone
	realm   *url.URL // set for requests to the token service
	once    bool     // do not try again
	pull    bool     // counts against a limit of pulls
	front   bool     // for a manifest or a listing: a registry that redirects it is a front of others

	// document bounds how long one exchange may take to the end of the answer's body; what is no document may take as long as
	// it gets on.
	document bool

	// patient repeats what is refused with 401 although this session has worked before, or has a token for it: Harbor
	// answers so when many uploads contend for one project.
	patient bool

	secrets []string // what was sent as credentials, to be kept out of errors
	account bool     // it was somebody's
	login   string   // the registry whose account it is, if not home
}

const (
	// drainSize and drainTimeout bound what is read of an answer that nobody wants, so that its connection can be used
	// again.
	drainSize    = 64 << 10
	drainTimeout = time.Second
	// maxAnswer bounds the body of an answer to a write, in bytes: there is nothing in it to be read.
	maxAnswer = 64 << 10
)

// fail returns a failure of r that no other try would change.
func (r *request) fail(err error) *Error {
	return &Error{Op: r.op, Ref: r.ref, Method: r.method, URL: r.safeURL(r.url), At: r.at(r.url), Err: err}
}

// failf is fail with a formatted cause.
func (r *request) failf(format string, args ...any) *Error {
	return r.fail(fmt.Errorf(format, args...))
}

// failure reads an answer that is not the one hoped for, closes it, and returns it as an error.
func (r *request) failure(resp *http.Response, now time.Time) *Error {
	e := &Error{
		Op: r.op, Ref: r.ref, Method: r.method, URL: r.safeURL(resp.Request.URL), At: r.at(resp.Request.URL), Status: resp.StatusCode,
		temporary: retry.Status(resp.StatusCode), token: r.realm != nil,
	}
	// A body that breaks off says less, not something else: the status stands.
	wire.Hurry(resp, errorBodyTimeout)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	r.close(resp)
	e.readBody(resp.Header.Get("Content-Type"), body)
	e.Message = sanitize(redact(e.Message, r.secrets), maxMessage)
	for i, code := range e.Codes {
		e.Codes[i] = sanitize(redact(code, r.secrets), 64)
	}
	if e.temporary {
		e.RetryAfter = retry.After(resp.Header.Get("Retry-After"), now)
	}
	e.Hint = r.hint(e, resp)
	return e
}

// hint says what a person may do about e.
func (r *request) hint(e *Error, resp *http.Response) string {
	if r.session == nil && r.realm == nil && r.login == "" {
		return "" // no credentials could have helped
	}
	registry := DisplayName(cmp.Or(r.login, r.home.name))
	switch e.Status {
	case http.StatusUnauthorized:
		switch {
		case strings.Contains(e.Message, "project") && strings.Contains(e.Message, "not found"):
			// Harbor, for anything in a project that does not exist (or that this account may not see).
			return "create the project, or check its name"
		case !sameOrigin(resp.Request.URL, &r.home.base) && r.realm == nil:
			return ""
		case r.account:
			return fmt.Sprintf("the credentials for %s do not suffice; run \"airgap login %s\"", registry, registry)
		}
		return fmt.Sprintf("run \"airgap login %s\"", registry)
	case http.StatusForbidden:
		if r.account && e.Message == "" {
			return "the account lacks the rights for it"
		} else if !r.account {
			return fmt.Sprintf("run \"airgap login %s\" if this needs an account", registry)
		}
	case http.StatusTooManyRequests:
		if !r.account {
			return fmt.Sprintf("registries allow more to those who \"airgap login %s\"", registry)
		}
	}
	return ""
}

// safeURL is what of a URL may be seen: the query and, on hosts other than the registry, the path may be a credential
// (signed addresses of storage services).
func (r *request) safeURL(u *url.URL) string {
	if strings.EqualFold(u.Host, r.home.name) || r.realm != nil {
		return sanitize((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), 512)
	}
	return sanitize(u.Scheme+"://"+u.Host+"/...", 300)
}

// at says where u is, if that is not at the registry itself.
func (r *request) at(u *url.URL) string {
	switch {
	case r.realm != nil:
		return sanitize("token service "+u.Host, 300)
	case !strings.EqualFold(u.Host, r.home.name):
		return sanitize("on "+u.Host, 300)
	}
	return ""
}

// discard reads the little that is left of an answer that nobody wants, for the sake of its connection, and closes it.
// What r is still sending breaks off.
func (r *request) discard(resp *http.Response) {
	wire.Hurry(resp, drainTimeout)
	_, _ = io.CopyN(io.Discard, resp.Body, drainSize)
	r.close(resp)
}

// close closes resp and waits until what r sends is no longer read, as its owner will close it.
func (r *request) close(resp *http.Response) {
	_ = resp.Body.Close()
	if r.stream != nil {
		_ = r.stream.wait()
	}
}

// sameOrigin tells whether a and b are the same scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

// acceptManifests is the Accept header for manifests.
var acceptManifests = http.Header{"Accept": {strings.Join(bundle.ManifestMediaTypes, ", ")}}

// manifestRequest asks for the manifest that ref names.
func manifestRequest(op, method string, s *session, ref name.Reference) *request {
	return &request{
		op: op, ref: DisplayName(ref.Name()), home: s.home, session: s, method: method, header: acceptManifests, front: true,
		url: s.home.url(ref.Context().RepositoryStr() + "/manifests/" + ref.Identifier()),
	}
}

func blobRequest(s *session, ref name.Digest) *request {
	return &request{
		op: "fetch blob", ref: DisplayName(ref.Name()), home: s.home, session: s, method: http.MethodGet,
		url:    s.home.url(ref.Context().RepositoryStr() + "/blobs/" + ref.DigestStr()),
		accept: []int{http.StatusOK, http.StatusPartialContent},
	}
}
