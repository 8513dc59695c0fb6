package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
)

// pullLimit counts pulls down, and is refilled whenever it is asked with HEAD for something that is there.
type pullLimit struct {
	mu           sync.Mutex
	left, refill int
	limit        int
}

func (l *pullLimit) serve(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	answer := Real(r, next)
	l.mu.Lock()
	switch {
	case answer.Status != http.StatusOK: // says nothing of pulls
	case r.Method == http.MethodHead:
		l.left += l.refill
	default:
		l.left--
	}
	left := l.left
	l.mu.Unlock()
	if answer.Status == http.StatusOK {
		answer.Header.Set("Ratelimit-Limit", fmt.Sprintf("%d;w=60", l.limit))
		answer.Header.Set("Ratelimit-Remaining", fmt.Sprintf("%d;w=60", left))
	}
	answer.Send(w)
	return true
}

func TestRateLimit(t *testing.T) {
	limit := &pullLimit{left: 77, limit: 100}
	server := New(t, Faults(On("", "/manifests/", limit.serve)))
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, nil)
	repo := server.Repo("acme/app")
	if _, known := c.RateLimit(repo.Registry); known {
		t.Error("known before the first answer")
	}
	_, _, err := c.Manifest(t.Context(), repo.Tag("1.0"))
	ok(t, err)
	if limit, known := c.RateLimit(repo.Registry); !known || limit != (registry.RateLimit{Remaining: 76, Limit: 100, Window: time.Minute}) {
		t.Errorf("got %+v, %t", limit, known)
	}
}

// What is asked for with HEAD, or refused, is no pull; what is asked for twice is two.
func TestPulls(t *testing.T) {
	login := &Login{User: user, Password: password}
	server := New(t, Wrap(login.Guard), Faults(On("GET", "/manifests/", Times(1, Answer(503, "")))))
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, withKeychain(ada))
	repo := server.Repo("acme/app")
	_, err := c.Resolve(t.Context(), repo.Tag("1.0"))
	ok(t, err)
	login.Expire()
	_, _, err = c.Manifest(t.Context(), repo.Tag("1.0"))
	ok(t, err)
	if n := c.Pulls(repo.Registry); n != 2 {
		t.Errorf("%d pulls, want one that failed and one that did not", n)
	}
}

// While few pulls are left, all that want to fetch wait together, and asking whether there are more costs none.
func TestWaitsForPulls(t *testing.T) {
	limit := &pullLimit{left: 5, refill: 100, limit: 200}
	server := New(t, Faults(On("", "/manifests/", limit.serve)))
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
	if !strings.Contains(c.log.String(), "few pulls are left") {
		t.Error("nothing is said of the wait")
	}
}

// That one reference is not there says nothing of the others that wait with it: they must be found, and not read as absent.
func TestWaitingTogetherIsNotFailingTogether(t *testing.T) {
	limit := &pullLimit{left: 1, refill: 1, limit: 200}
	server := New(t, Faults(On("", "/manifests/", limit.serve)))
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, hosted(server.Host(), registry.HostConfig{RateLimitMin: 1}))
	repo := server.Repo("acme/app")
	_, _, err := c.Manifest(t.Context(), repo.Tag("1.0"))
	ok(t, err)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			if i%2 == 0 {
				if _, _, err := c.Manifest(t.Context(), repo.Tag("absent")); !errors.Is(err, registry.ErrNotFound) {
					t.Errorf("what is not there: %v", err)
				}
			} else if _, _, err := c.Manifest(t.Context(), repo.Tag("1.0")); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, nap := range c.naps.taken() {
		if nap != 5*time.Minute {
			t.Errorf("waited %v where nothing else is configured", nap)
		}
	}
}

// More than the registry ever allows would be waited for in vain.
func TestPullsThatNeverCome(t *testing.T) {
	limit := &pullLimit{left: 10, limit: 10}
	server := New(t, Faults(On("", "/manifests/", limit.serve)))
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, hosted(server.Host(), registry.HostConfig{RateLimitMin: 100}))
	ref := server.Repo("acme/app").Tag("1.0")
	_, _, err := c.Manifest(t.Context(), ref)
	ok(t, err)
	_, _, err = c.Manifest(t.Context(), ref)
	wantError(t, err, registry.ErrThrottled, "100 pulls are to be left, of the 10")
}
