package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RetryPolicy says how often and how patiently a failed request is repeated. Repeated are the answers 408, 425, 429,
// 500, 502, 503 and 504 and connections that fail, stall or break off; not certificate errors, other answers, or
// anything once the context is done. Zero fields mean the defaults.
type RetryPolicy struct {
	// Attempts is how often a request is made in all; default 6, 1 never repeats. A blob that breaks off counts afresh
	// whenever it got on by resumeProgress bytes.
	Attempts int
	// Base is the first pause, which doubles each time; default 500 ms. Up to half of each pause is random, so that
	// parallel workers do not come back at once.
	Base time.Duration
	// Cap is the longest such pause; default 30 s.
	Cap time.Duration
	// Patience bounds all pauses of one operation together, those asked for by Retry-After included; default 5 min. A
	// registry that asks for more is an error at once.
	Patience time.Duration
	// Sleep waits, or returns the context's error as soon as that is done; nil means a real timer. For tests.
	Sleep func(context.Context, time.Duration) error
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.Attempts <= 0 {
		p.Attempts = 6
	}
	if p.Base <= 0 {
		p.Base = 500 * time.Millisecond
	}
	if p.Cap <= 0 {
		p.Cap = 30 * time.Second
	}
	if p.Patience <= 0 {
		p.Patience = 5 * time.Minute
	}
	if p.Sleep == nil {
		p.Sleep = sleep
	}
	return p
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retrying calls try until it succeeds, fails for good, or has failed too often, which with once is the first time. The
// error is then try's last, and not temporary for who may call this from a try of its own.
func (c *Client) retrying(ctx context.Context, once bool, try func() error) error {
	p := pacer{client: c, once: once}
	for {
		err := try()
		if err == nil {
			return nil
		}
		if err := p.pause(ctx, err); err != nil {
			return err
		}
	}
}

// pacer counts the failures of one operation.
type pacer struct {
	client   *Client
	once     bool
	failures int
	waited   time.Duration
}

// progress forgets earlier failures, but not the time that was spent waiting.
func (p *pacer) progress() { p.failures = 0 }

// pause returns nil when err is worth another try and the time for it has come, or else the error to give up with.
func (p *pacer) pause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *Error
	if !errors.As(err, &e) || !e.temporary || e.final {
		return err
	}
	policy := p.client.retry
	p.failures++
	d := policy.delay(p.failures, e.RetryAfter)
	if p.once || p.failures >= policy.Attempts || p.waited+d > policy.Patience {
		e.final = true
		return err
	}
	p.client.log.WarnContext(ctx, "trying again", "after", d, "failures", p.failures, "error", err)
	p.waited += d
	return policy.Sleep(ctx, d)
}

// delay returns the pause after the given number of failures in a row, 1 or more.
func (p RetryPolicy) delay(failures int, asked time.Duration) time.Duration {
	d := p.Cap
	if shift := failures - 1; shift < 32 && p.Base<<shift < p.Cap && p.Base<<shift > 0 {
		d = p.Base << shift
	}
	d = d/2 + rand.N(d/2+1)
	if asked > d {
		// Not all at the same moment, yet never before.
		d = asked + rand.N(p.Base)
	}
	return d
}

// retryAfter reads a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3). What cannot be read
// is 0. Absurd times are kept, below a bound that keeps sums of them from overflowing: they are for pause to refuse.
func retryAfter(value string, now time.Time) time.Duration {
	const most = 365 * 24 * time.Hour
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(most/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(0, date.Sub(now)), most)
	}
	return 0
}

// temporaryStatus tells whether a request that was answered so may be answered otherwise when it is repeated.
func temporaryStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// isOverload tells whether a host that answers so cannot take so much.
func isOverload(status int) bool {
	return temporaryStatus(status) && status != http.StatusRequestTimeout && status != http.StatusTooEarly
}

// errStalled: no byte for StallTimeout.
var errStalled = errors.New("the connection stalled")

// temporaryNetwork tells whether err, from a connection, is one that passes.
func temporaryNetwork(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
		record      tls.RecordHeaderError
		dns         *net.DNSError
		network     net.Error
	)
	switch {
	case errors.As(err, &certificate), errors.As(err, &alert), errors.As(err, &record):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	case errors.Is(err, errStalled), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNABORTED),
		errors.Is(err, syscall.EPIPE):
		return true
	case errors.As(err, &network):
		return true
	}
	// net/http has no types for these: the server closed an idle connection as the request went out, or broke off in
	// the header or in the chunks of an answer.
	text := err.Error()
	for _, part := range []string{"server closed idle connection", "connection broken", "malformed chunked encoding", "connection reset", "http: server closed"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
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
