// Package wire exchanges one request for one answer with one host. A Transport is an http.RoundTripper that keeps to the
// host's limits and fails when nothing moves any more; it knows nothing of registries, credentials, redirects or retries.
//
// The timeouts of net/http are for whole phases, and a layer may take hours as long as it gets on.
package wire

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Config is how to reach a host.
type Config struct {
	TLS *tls.Config // nil means Go's defaults; it is cloned
	// ReqPerSec is how many requests may begin in a second, and ReqConcurrent how many may be under way at once, for which
	// the body of an answer counts until it is closed; 0 is any number.
	ReqPerSec     float64
	ReqConcurrent int
	// Stall is how long a connection may carry no byte, in either direction, before it counts as broken.
	Stall time.Duration
	// Now and Sleep are the clock by which requests wait for their turn.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Timeouts and buffers of a connection.
const (
	dialTimeout = 30 * time.Second
	tlsTimeout  = 15 * time.Second
	// answerTimeout is how long a registry may think once it has the whole request. Committing an upload of many
	// gigabytes, which some storage backends do by copying it, takes minutes.
	answerTimeout = 10 * time.Minute
	// maxIdlePerHost keeps the connections of as many workers as anybody configures.
	maxIdlePerHost = 64
	// bufferSize is that of a connection's read and write buffers, in bytes: layers are large, and copying them in
	// net/http's own 4 KiB steps costs a system call for each.
	bufferSize = 64 << 10
	// maxHeaderBytes bounds a response's header. Harbor's upload Locations are the longest honest ones, at some 1 KiB.
	maxHeaderBytes = 128 << 10
)

// Transport reaches one host. It is safe for concurrent use.
type Transport struct {
	cfg     Config
	limiter *limiter
	inner   *http.Transport
}

var _ http.RoundTripper = (*Transport)(nil)

// New returns a Transport. It speaks HTTP/1.1 only: HTTP/2 would put all layers that are fetched at once on one TCP
// connection and buffer up to 4 MiB of each in memory. Proxies are taken from the environment
// (http.ProxyFromEnvironment: HTTPS_PROXY, HTTP_PROXY, NO_PROXY). Compression is off, as it would change sizes.
func New(cfg Config) *Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.TLS != nil {
		tlsConfig = cfg.TLS.Clone()
	}
	return &Transport{cfg: cfg, limiter: newLimiter(cfg), inner: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    tlsTimeout,
		Protocols:              &protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        bufferSize,
		ReadBufferSize:         bufferSize,
	}}
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() { t.inner.CloseIdleConnections() }

// RoundTrip implements http.RoundTripper. The body of the answer must be closed: until then the request is under way.
// Errors are those of net/http, or ErrStalled.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	leave, err := t.limiter.enter(ctx, !isUncounted(ctx), &t.cfg)
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	watched, w := newWatch(ctx)
	w.within(allowed(ctx))
	req = req.WithContext(watched)
	if req.Method == http.MethodPut {
		w.expect(answerTimeout)
	} else {
		w.expect(t.cfg.Stall)
	}
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil { // a stream
		req.Body = &watchedUpload{ReadCloser: req.Body, watch: w, stall: t.cfg.Stall}
	}
	resp, err := t.inner.RoundTrip(req)
	if err != nil {
		leave()
		err = w.translate(err)
		w.end()
		return nil, err
	}
	w.rest()
	resp.Body = &watchedBody{inner: resp.Body, watch: w, stall: t.cfg.Stall, closed: leave}
	return resp, nil
}

type (
	withinKey    struct{}
	uncountedKey struct{}
)

// Within returns a context in which one exchange may take d, to the end of the answer's body; without it, it may take as long
// as it gets on. Waiting for a turn is no part of it.
func Within(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, withinKey{}, d)
}

func allowed(ctx context.Context) time.Duration {
	d, _ := ctx.Value(withinKey{}).(time.Duration)
	return d
}

// Uncounted returns a context in which requests are not counted by Config.ReqConcurrent: for what others wait for that are
// counted.
func Uncounted(ctx context.Context) context.Context {
	return context.WithValue(ctx, uncountedKey{}, true)
}

func isUncounted(ctx context.Context) bool {
	is, _ := ctx.Value(uncountedKey{}).(bool)
	return is
}
