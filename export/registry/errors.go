package registry

import (
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"airgap/bundle/strictjson"
	"airgap/export/registry/retry"
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

// isTemporary tells whether another try may go well.
func isTemporary(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.temporary
}
