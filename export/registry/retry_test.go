package registry_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
)

func TestRetriedStatuses(t *testing.T) {
	for status, retried := range map[int]bool{
		400: false, 401: false, 403: false, 404: false, 405: false, 408: true, 409: false, 412: false, 416: false, 425: true,
		429: true, 451: false, 500: true, 501: false, 502: true, 503: true, 504: true, 505: false,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			server := New(t)
			server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
			server.Inject(On("GET", "/manifests/", Times(1, Answer(status, ""))))
			c := newClient(t, nil)
			_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
			if (err == nil) != retried {
				t.Errorf("error %v", err)
			}
			if n := len(c.naps.taken()); (n == 1) != retried {
				t.Errorf("%d pauses", n)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	tests := map[string]struct {
		header          string
		atLeast, atMost time.Duration
		givesUp         bool
	}{
		"none":           {"", 250 * time.Millisecond, 500 * time.Millisecond, false},
		"seconds":        {"7", 7 * time.Second, 8 * time.Second, false},
		"zero":           {"0", 250 * time.Millisecond, 500 * time.Millisecond, false},
		"a date":         {"Fri, 20 Nov 2026 12:01:30 GMT", 90 * time.Second, 91 * time.Second, false},
		"a past date":    {"Fri, 20 Nov 2026 11:00:00 GMT", 250 * time.Millisecond, 500 * time.Millisecond, false},
		"nonsense":       {"soon", 250 * time.Millisecond, 500 * time.Millisecond, false},
		"negative":       {"-5", 250 * time.Millisecond, 500 * time.Millisecond, false},
		"six hours":      {"21600", 0, 0, true},
		"more than ever": {"99999999999999999999", 250 * time.Millisecond, 500 * time.Millisecond, false},
		"an age":         {"9223372036854775807", 0, 0, true},
		"a far date":     {"Fri, 20 Nov 9999 12:01:30 GMT", 0, 0, true},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			server := New(t)
			server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
			server.Inject(On("GET", "/manifests/", Times(1, Throttle(test.header))))
			c := newClient(t, nil)
			_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
			naps := c.naps.taken()
			if test.givesUp {
				wantError(t, err, registry.ErrThrottled, "asks to wait")
				if len(naps) > 0 {
					t.Errorf("paused %v", naps)
				}
				return
			}
			ok(t, err)
			if len(naps) != 1 || naps[0] < test.atLeast || naps[0] > test.atMost {
				t.Errorf("paused %v", naps)
			}
		})
	}
}

// A registry that asks for a little patience again and again gets no more than retry.Policy has.
func TestPatienceIsBounded(t *testing.T) {
	server := New(t, Faults(On("GET", "/manifests/", Throttle("100"))))
	c := newClient(t, nil)
	_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
	wantError(t, err, registry.ErrThrottled)
	if n := len(c.naps.taken()); n != 2 { // 300 s of 300 s are too many, as each is a little more than asked for
		t.Errorf("%d pauses", n)
	}
}

func TestBackoff(t *testing.T) {
	server := New(t, Faults(On("GET", "/manifests/", Answer(503, ""))))
	c := newClient(t, func(cfg *registry.Config) {
		cfg.Retry.Attempts, cfg.Retry.Base, cfg.Retry.Cap = 8, time.Second, 10*time.Second
	})
	_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
	wantError(t, err, registry.ErrUnavailable)
	want := []int{1, 2, 4, 8, 10, 10, 10} // seconds, at most
	naps := c.naps.taken()
	if len(naps) != len(want) {
		t.Fatalf("paused %v", naps)
	}
	for i, nap := range naps {
		if most := time.Duration(want[i]) * time.Second; nap < most/2 || nap > most {
			t.Errorf("pause %d: %s, want %s at most and half of it at least", i, nap, most)
		}
	}
}

// Cancelling ends a pause at once, with a real timer.
func TestCancelPause(t *testing.T) {
	server := New(t, Faults(On("GET", "/manifests/", Throttle("100"))))
	c := newClient(t, func(cfg *registry.Config) { cfg.Retry.Sleep = nil })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, err := c.Manifest(ctx, server.Repo("acme/app").Tag("1.0"))
	if err != context.DeadlineExceeded || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

func TestErrorText(t *testing.T) {
	server := New(t)
	c := newClient(t, nil)
	tests := map[string]struct {
		fault Fault
		want  string
	}{
		"code and message":   {Code(403, "DENIED", "quota"), "403 Forbidden: DENIED: quota; run \"airgap login HOST\" if this needs an account"},
		"many":               {Answer(400, `{"errors":[{"code":"A","message":"a"},{"code":"B","message":"b"}]}`), "400 Bad Request: A: a; B: b"},
		"control characters": {Code(400, "X", "\x1b[31mred\r\n\x00next\u202eline"), "400 Bad Request: X: [31mred next line"},
		"text":               {Answer(400, "Client sent an HTTP request to an HTTPS server.\n", "Content-Type", "text/plain"), "400 Bad Request: Client sent an HTTP request to an HTTPS server."},
		"HTML":               {Answer(400, "<html>", "Content-Type", "text/html"), "400 Bad Request"},
		"odd JSON":           {Answer(400, `{"errors":{"code":1}}`, "Content-Type", "application/json"), "400 Bad Request"},
		"unknown status":     {Answer(499, ""), "499"},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			server.Inject(On("GET", "/manifests/", test.fault))
			_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
			wantError(t, err, nil)
			want := "fetch manifest HOST/acme/app:1.0: " + test.want
			if got := replaceHost(err.Error(), server.Host()); got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestOverloadIsTold(t *testing.T) {
	server := New(t, Faults(Times(1, Throttle("")), Times(2, Answer(503, "")), Times(1, Answer(408, ""))))
	var told []string
	c := newClient(t, func(c *registry.Config) { c.Overloaded = func(host string) { told = append(told, host) } })
	ok(t, c.Ping(t.Context(), server.Repo("acme/app").Registry))
	if want := []string{server.Host(), server.Host(), server.Host()}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}
