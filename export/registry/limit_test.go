package registry_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
)

// hosted returns a change that gives one host a configuration.
func hosted(host string, config registry.HostConfig) func(*registry.Config) {
	config.PlainHTTP = true
	return func(c *registry.Config) {
		c.Host = func(asked string) registry.HostConfig {
			if asked == host {
				return config
			}
			return registry.HostConfig{PlainHTTP: true}
		}
	}
}

// The body of an answer counts as under way until it is closed.
func TestConcurrentRequestsAreBounded(t *testing.T) {
	server := New(t)
	blob := server.AddBlob("acme/app", "application/octet-stream", content(1000))
	c := newClient(t, hosted(server.Host(), registry.HostConfig{ReqConcurrent: 2}))
	ref := server.Repo("acme/app").Digest(blob.Digest.String())
	var open []io.Closer
	for range 2 {
		body, err := c.Blob(t.Context(), ref, blob.Size)
		ok(t, err)
		open = append(open, body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Blob(ctx, ref, blob.Size); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a third request was let through: %v", err)
	}
	ok(t, open[0].Close())
	body, err := c.Blob(t.Context(), ref, blob.Size)
	ok(t, err)
	ok(t, body.Close())
	ok(t, open[1].Close())
}

// One slot is enough for a login: what gets the token does not wait for the request that waits for the token.
func TestOneRequestAtATimeCanLogIn(t *testing.T) {
	login := &Login{User: user, Password: password}
	server := New(t, Wrap(login.Guard))
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, func(cfg *registry.Config) {
		hosted(server.Host(), registry.HostConfig{ReqConcurrent: 1})(cfg)
		cfg.Keychain = ada
	})
	for range 2 {
		_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
		ok(t, err)
		login.Expire()
	}
}

func TestRequestsPerSecond(t *testing.T) {
	server := New(t)
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, hosted(server.Host(), registry.HostConfig{ReqPerSec: 4}))
	for range 4 { // and one before, that asks how to log in
		_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
		ok(t, err)
	}
	// The clock of the test stands still, so that each request waits a quarter of a second longer than the one before.
	var want []time.Duration
	for i := 1; i < 5; i++ {
		want = append(want, time.Duration(i)*250*time.Millisecond)
	}
	if got := c.naps.taken(); len(got) != len(want) || got[0] != want[0] || got[3] != want[3] {
		t.Errorf("waited %v, want %v", got, want)
	}
}

// Rates next to nothing must not overflow into none at all.
func TestHardlyAnyRequestsPerSecond(t *testing.T) {
	server := New(t)
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, hosted(server.Host(), registry.HostConfig{ReqPerSec: 1e-300}))
	_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
	ok(t, err)
	if got := c.naps.taken(); len(got) != 1 || got[0] != time.Hour {
		t.Errorf("waited %v, want an hour", got)
	}
}

// Waiting for a turn is no stall of a connection.
func TestWaitingForATurnIsNoStall(t *testing.T) {
	const stall = 250 * time.Millisecond
	server := New(t)
	blob := server.AddBlob("acme/app", "application/octet-stream", content(1000))
	c := newClient(t, func(cfg *registry.Config) {
		hosted(server.Host(), registry.HostConfig{ReqConcurrent: 1})(cfg)
		cfg.StallTimeout = stall
	})
	ref := server.Repo("acme/app").Digest(blob.Digest.String())
	first, err := c.Blob(t.Context(), ref, blob.Size)
	ok(t, err)
	time.AfterFunc(3*stall, func() { _ = first.Close() })
	second, err := c.Blob(t.Context(), ref, blob.Size)
	ok(t, err)
	ok(t, second.Close())
	if naps := c.naps.taken(); len(naps) != 0 {
		t.Errorf("tried again after %v", naps)
	}
}
