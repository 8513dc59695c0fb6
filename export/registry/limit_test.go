package registry_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
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
	for range 5 {
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

// While few pulls are left, all that want to fetch wait together, and asking whether there are more costs none.
func TestWaitsForPulls(t *testing.T) {
	var mu sync.Mutex
	left := 2
	server := New(t, Faults(On("", "/manifests/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodHead {
			left += 50
		} else {
			left--
		}
		w.Header().Set("Ratelimit-Remaining", strings.Repeat("1", left/10)+"0;w=60") // 0, 10, 110, ...
		return false
	})))
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, hosted(server.Host(), registry.HostConfig{RateLimitMin: 5, RateLimitRetry: time.Hour}))
	ref := server.Repo("acme/app").Tag("1.0")
	_, _, err := c.Manifest(t.Context(), ref)
	ok(t, err)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, _, err := c.Manifest(t.Context(), ref); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if naps := c.naps.taken(); len(naps) != 1 || naps[0] != time.Hour {
		t.Errorf("waited %v, want an hour, once", naps)
	}
	if heads := server.Count("HEAD", "/manifests/"); heads != 1 {
		t.Errorf("asked %d times", heads)
	}
	if pulls := c.Pulls(server.Repo("acme/app").Registry); pulls != 9 {
		t.Errorf("%d pulls are counted, want 9", pulls)
	}
}
