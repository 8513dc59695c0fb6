// Package retry decides what is tried again, and when.
package retry

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

// Policy says how often and how patiently a failed request is repeated. Repeated are the answers 408, 425, 429,
// 500, 502, 503 and 504 and connections that fail, stall or break off; not certificate errors, other answers, or
// anything once the context is done. Zero fields mean the defaults.
type Policy struct {
	// Attempts is how often a request is made in all; default 6, 1 never repeats. A blob that breaks off counts afresh
	// whenever it got on notably.
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

// WithDefaults fills in what is not set.
func (p Policy) WithDefaults() Policy {
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
		p.Sleep = Sleep
	}
	return p
}

// Sleep waits, or returns the context's error as soon as that is done.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pacer counts the failures of one operation.
type Pacer struct {
	Policy   Policy // with its defaults
	Once     bool   // there is no second try
	failures int
	waited   time.Duration
}

// Progress forgets earlier failures, but not the time that was spent waiting.
func (p *Pacer) Progress() { p.failures = 0 }

// Next returns how long to wait after a failure before the next try, which is asked at least; ok is false where enough has
// been tried.
func (p *Pacer) Next(asked time.Duration) (pause time.Duration, ok bool) {
	p.failures++
	pause = p.Policy.delay(p.failures, asked)
	if p.Once || p.failures >= p.Policy.Attempts || p.waited+pause > p.Policy.Patience {
		return 0, false
	}
	p.waited += pause
	return pause, true
}

// delay returns the pause after the given number of failures in a row, 1 or more.
func (p Policy) delay(failures int, asked time.Duration) time.Duration {
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

// After reads a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3). What cannot be read
// is 0. Absurd times are kept, below a bound that keeps sums of them from overflowing: they are for Pacer to refuse.
func After(value string, now time.Time) time.Duration {
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

// Status tells whether a request that was answered so may be answered otherwise when it is repeated.
func Status(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Overload tells whether a host that answers so cannot take so much.
func Overload(status int) bool {
	return Status(status) && status != http.StatusRequestTimeout && status != http.StatusTooEarly
}

// Network tells whether err, from a connection, is one that passes.
func Network(err error) bool {
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
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
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
