package registry

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"airgap/bundle/strictjson"
	"airgap/export/registry/retry"
	"airgap/export/registry/wire"
)

// What a failure means, for errors.Is. Failures that mean none of these (an answer that is not what it should be, a
// status that nobody expects) wrap their cause alone; content that is not what it was promised to be wraps
// bundle.ErrDigest.
var (
	// ErrNotFound: the registry says that it does not have this manifest or blob (404). It does not match a 404 that says
	// that the whole repository is unknown: who takes ErrNotFound for "none" must not take that for it.
	ErrNotFound = errors.New("not found at the registry")
	// ErrRepositoryUnknown: a 404 with the code NAME_UNKNOWN.
	ErrRepositoryUnknown = errors.New("the registry knows no such repository")
	// ErrUnauthorized: no or insufficient credentials (401), at the registry or at its token service.
	ErrUnauthorized = errors.New("the registry wants other credentials")
	// ErrForbidden: the account may not do this, or nobody may at present: rights, quota, read-only mode (403).
	ErrForbidden = errors.New("the registry refuses")
	// ErrThrottled: too many requests (429), also after waiting as long as retry.Policy allows.
	ErrThrottled = errors.New("the registry limits the rate of requests")
	// ErrUnavailable: the registry cannot be reached, breaks off or answers 5xx, also after retries.
	ErrUnavailable = errors.New("the registry is not available")
	// ErrNoCatalog: the registry does not have the listing of all of its repositories.
	ErrNoCatalog = errors.New("the registry has no catalog")
)

// Error codes of the specification that decide something here.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
const (
	codeNameUnknown   = "NAME_UNKNOWN"
	codeUnsupported   = "UNSUPPORTED"
	codeUploadUnknown = "BLOB_UPLOAD_UNKNOWN"
	codeUploadInvalid = "BLOB_UPLOAD_INVALID"
	codeDigestInvalid = "DIGEST_INVALID"
)

// Error is a failure of one operation. Its text holds no credential and no query of a URL, but text from the registry,
// which is bounded and without control characters, though still to be escaped for a terminal.
type Error struct {
	Op         string        // what was tried, such as "fetch manifest"
	Ref        string        // on what: a reference, repository or registry
	Method     string        // of the request that failed; empty where it did not come to one
	URL        string        // of that request, without user and query; of a host that is not the registry, without path
	At         string        // where it failed if not at the registry itself, such as "token service HOST"
	Status     int           // of the answer; 0 where there was none
	Codes      []string      // error codes in the answer, at most maxErrors
	Message    string        // the registry's own words, at most maxMessage bytes
	RetryAfter time.Duration // how long the registry asks to wait; 0 where it does not
	Hint       string        // what to do about it; empty where that is not known
	Err        error         // the cause where it is not the status: of the network, of the content; or nil

	temporary bool // another try may succeed
	final     bool // enough has been tried
	network   bool // there was no answer, or none to its end
	token     bool // it is the token service that said so
}

// Bounds on what is read and kept of an error body.
const (
	maxErrorBody = 16 << 10 // bytes
	maxErrors    = 5
	maxMessage   = 400 // bytes
	maxCause     = 400 // bytes

	errorBodyTimeout = 10 * time.Second
)

// Error says what was tried, on what, what happened and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Op, e.Ref)
	if e.At != "" {
		b.WriteString(e.At + ": ")
	}
	switch {
	case e.Status != 0:
		b.WriteString(strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))))
		if e.Message != "" {
			b.WriteString(": " + e.Message)
		}
		if e.Err != nil {
			b.WriteString(": " + sanitize(e.Err.Error(), maxCause))
		}
	case e.Err != nil:
		b.WriteString(sanitize(e.Err.Error(), maxCause))
	default:
		b.WriteString(e.Message)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "; the registry asks to wait %s", e.RetryAfter.Round(time.Second))
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the sentinel for the status and the cause, as far as there are any.
func (e *Error) Unwrap() []error {
	var errs []error
	if kind := e.kind(); kind != nil {
		errs = append(errs, kind)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

// HasCode tells whether the registry's answer had this error code.
func (e *Error) HasCode(code string) bool { return slices.Contains(e.Codes, code) }

func (e *Error) kind() error {
	switch {
	case e.network:
		return ErrUnavailable
	case e.Status == http.StatusUnauthorized:
		return ErrUnauthorized
	case e.Status == http.StatusForbidden:
		return ErrForbidden
	case e.Status == http.StatusNotFound && e.token:
		return nil // which says nothing of the registry
	case e.Status == http.StatusNotFound && e.HasCode(codeNameUnknown):
		return ErrRepositoryUnknown
	case e.Status == http.StatusNotFound:
		return ErrNotFound
	case e.Status == http.StatusTooManyRequests:
		return ErrThrottled
	case e.Status >= 500, retry.Status(e.Status):
		return ErrUnavailable
	}
	return nil
}

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

// readBody fills in Codes and Message.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
func (e *Error) readBody(contentType string, body []byte) {
	var doc struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Detail  any    `json:"detail"`
		} `json:"errors"`
	}
	if err := strictjson.Unmarshal(body, &doc); err != nil {
		if mediaType, _, _ := mime.ParseMediaType(contentType); mediaType == "text/plain" {
			e.Message = string(body)
		}
		return
	}
	var messages []string
	for _, one := range doc.Errors[:min(len(doc.Errors), maxErrors)] {
		e.Codes = append(e.Codes, one.Code)
		text := one.Code + ": " + one.Message
		if detail, ok := one.Detail.(string); ok && detail != "" {
			text += " (" + detail + ")"
		} else if fields, ok := one.Detail.(map[string]any); ok && fields["digest"] != nil {
			text += fmt.Sprintf(" (%v)", fields["digest"])
		}
		messages = append(messages, text)
	}
	e.Message = strings.Join(messages, "; ")
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

// networkHint says what a person may do about err.
func networkHint(err error, hostname string) string {
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		dns         *net.DNSError
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "check the name of the registry"
	case errors.As(err, &certificate):
		return "if the certificate is from a private authority, pass it with --ca-file"
	case errors.As(err, &record): // it answers, but not with TLS
		return "if " + DisplayName(hostname) + " really speaks plain http, pass --plain-http"
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

// sanitize makes text from outside fit for one line: control characters, line ends and what is not UTF-8 become
// spaces, runs of them one, and it is cut at limit bytes.
func sanitize(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == unicode.ReplacementChar
	}), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

// redact removes secrets from s: a hostile or careless server may send back what it was sent.
func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) > 3 { // shorter ones would only cripple the text
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}
