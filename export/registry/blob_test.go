package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
)

func TestBlob(t *testing.T) {
	data := content(300_000)
	d := bundle.DigestOf(data)
	size := int64(len(data))
	tests := map[string]struct {
		faults  []Fault
		size    int64 // asked for; 0 is the true one
		err     error
		message string
		naps    int  // pauses; -1 where net/http may have tried again itself
		same    bool // differing bytes are for the caller to find
	}{
		"whole":                 {},
		"broken once":           {faults: []Fault{Times(1, DropAfter(100_000))}, naps: 1},
		"broken before bytes":   {faults: []Fault{Times(2, DropAfter(0))}, naps: 2},
		"refused connection":    {faults: []Fault{Times(2, Drop())}, naps: -1},
		"broken at every 70 kB": {faults: []Fault{Between(0, 4, DropAfter(70_000))}, naps: 4},
		"broken for good":       {faults: []Fault{DropAfter(0)}, err: registry.ErrUnavailable, naps: 5},
		"always 1000 bytes":     {faults: []Fault{DropAfter(1000)}, err: registry.ErrUnavailable, message: "of 300000 bytes", naps: 5},
		"no ranges":             {faults: []Fault{IgnoreRange(), Times(1, DropAfter(100_000))}, naps: 1},
		"no ranges, broken while skipping": {
			faults: []Fault{IgnoreRange(), Times(1, DropAfter(100_000)), Times(1, DropAfter(50_000))}, naps: 2,
		},
		"416 to ranges": {faults: []Fault{
			func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				return r.Header.Get("Range") != "" && Answer(416, "")(w, r, next)
			}, Times(1, DropAfter(100_000)),
		}, naps: 1},
		"500 in the middle":    {faults: []Fault{Times(1, DropAfter(100_000)), Times(2, Answer(500, ""))}, naps: 3},
		"500 at first":         {faults: []Fault{Times(3, Answer(500, ""))}, naps: 3},
		"500 for ever":         {faults: []Fault{Answer(500, "")}, err: registry.ErrUnavailable, naps: 5},
		"gone in the middle":   {faults: []Fault{Times(1, DropAfter(100_000)), Code(404, "BLOB_UNKNOWN", "gone")}, err: registry.ErrNotFound, naps: 1},
		"not there":            {faults: []Fault{Code(404, "BLOB_UNKNOWN", "no")}, err: registry.ErrNotFound},
		"longer":               {faults: []Fault{Extend(1)}, err: bundle.ErrDigest},
		"shorter":              {faults: []Fault{Cut(1000)}, err: bundle.ErrDigest},
		"longer, undeclared":   {faults: []Fault{chunked(append(bytes.Clone(data), 1))}, err: bundle.ErrDigest},
		"undeclared":           {faults: []Fault{chunked(data)}},
		"shorter, undeclared":  {faults: []Fault{IgnoreRange(), chunked(data[:1000])}, err: registry.ErrUnavailable, naps: 5},
		"expected to be less":  {size: size - 1, err: bundle.ErrDigest},
		"expected to be more":  {size: size + 1, err: bundle.ErrDigest},
		"negative":             {size: -1, err: bundle.ErrFormat},
		"another part":         {faults: []Fault{Times(1, DropAfter(100_000)), Change(rewriteRange("bytes 0-199999/300000"))}, err: errAny, message: "was sent", naps: 1},
		"part of another size": {faults: []Fault{Times(1, DropAfter(100_000)), Change(rewriteRange("bytes 100000-299999/300001"))}, err: bundle.ErrDigest, naps: 1},
		"unknown total":        {faults: []Fault{Times(1, DropAfter(100_000)), Change(rewriteRange("bytes 100000-299999/*"))}, naps: 1},
		"part without range":   {faults: []Fault{Times(1, DropAfter(100_000)), Change(rewriteRange(""))}, err: errAny, naps: 1},
		"unasked part":         {faults: []Fault{Answer(206, "abc", "Content-Range", "bytes 0-2/300000")}, err: errAny, message: "a part"},
		"smaller parts": {faults: []Fault{Times(1, DropAfter(100_000)), Times(1, Change(func(a *RealAnswer) {
			a.Body = a.Body[:70_000]
			a.Header.Set("Content-Range", "bytes 100000-169999/300000")
		}))}, naps: 2},
		"wrong bytes":           {faults: []Fault{Spoil()}, same: true},
		"wrong bytes on resume": {faults: []Fault{Times(1, DropAfter(100_000)), Spoil()}, same: true, naps: 1},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			server := New(t)
			server.AddBlob("acme/app", "", data)
			server.Inject(On("GET", "/blobs/", First(test.faults...)))
			c := newClient(t, nil)
			ref := server.Repo("acme/app").Digest(d.String())
			if test.size == 0 {
				test.size = size
			}
			got, err := readBlob(c, ref, test.size)
			if n := len(c.naps.taken()); test.naps >= 0 && n != test.naps {
				t.Errorf("%d pauses, want %d", n, test.naps)
			}
			if test.err != nil {
				if test.err == errAny {
					test.err = nil
				}
				wantError(t, err, test.err, "fetch blob", test.message)
				return
			}
			ok(t, err)
			if bytes.Equal(got, data) == test.same || len(got) != len(data) {
				t.Errorf("%d bytes, equal: %t", len(got), bytes.Equal(got, data))
			}
		})
	}
}

// chunked answers with data, without saying how long it is.
func chunked(data []byte) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(data)
		return true
	}
}

// rewriteRange changes the Content-Range; empty removes it.
func rewriteRange(value string) func(*RealAnswer) {
	return func(a *RealAnswer) {
		a.Header.Set("Content-Range", value)
		if value == "" {
			a.Header.Del("Content-Range")
		}
	}
}

func TestBlobEmpty(t *testing.T) {
	server := New(t)
	d := server.AddBlob("acme/app", "", nil)
	c := newClient(t, nil)
	got, err := readBlob(c, server.Repo("acme/app").Digest(d.Digest.String()), 0)
	ok(t, err)
	if len(got) != 0 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestBlobRangeRequests(t *testing.T) {
	data := content(200_000)
	server := New(t)
	d := server.AddBlob("acme/app", "", data)
	server.Inject(On("GET", "/blobs/", Times(1, DropAfter(100_000))))
	c := newClient(t, nil)
	_, err := readBlob(c, server.Repo("acme/app").Digest(d.Digest.String()), d.Size)
	ok(t, err)
	requests := server.Requests()
	if got := requests[len(requests)-1].Header.Get("Range"); got != "bytes=100000-199999" {
		t.Errorf("Range %q", got)
	}
}

// A connection on which nothing comes is broken; one that is slow is not.
func TestStall(t *testing.T) {
	data := content(200_000)
	slow := func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		for i := 0; i < len(data); i += 20_000 {
			_, _ = w.Write(data[i : i+20_000])
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
		return true
	}
	tests := map[string]struct {
		fault Fault
		naps  int
	}{
		"in the body":   {Times(1, HangAfter(100_000)), 1},
		"before it":     {Times(1, Hang()), 1},
		"only slow":     {slow, 0},
		"in every body": {Times(2, HangAfter(70_000)), 2},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			server := New(t)
			d := server.AddBlob("acme/app", "", data)
			server.Inject(On("GET", "/blobs/", test.fault))
			c := newClient(t, func(cfg *registry.Config) { cfg.StallTimeout = 300 * time.Millisecond })
			got, err := readBlob(c, server.Repo("acme/app").Digest(d.Digest.String()), d.Size)
			ok(t, err)
			if !bytes.Equal(got, data) {
				t.Error("other bytes")
			}
			if n := len(c.naps.taken()); n != test.naps {
				t.Errorf("%d pauses, want %d", n, test.naps)
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		server := New(t)
		d := server.AddBlob("acme/app", "", data)
		server.Inject(On("GET", "/blobs/", HangAfter(1000)))
		c := newClient(t, func(cfg *registry.Config) {
			cfg.StallTimeout = 50 * time.Millisecond
			cfg.Retry.Attempts = 2
		})
		_, err := readBlob(c, server.Repo("acme/app").Digest(d.Digest.String()), d.Size)
		wantError(t, err, registry.ErrUnavailable, "stalled")
	})
}

// Content at an address that a manifest names gets no credentials, not even the registry's own.
func TestForeignBlob(t *testing.T) {
	data := content(200_000)
	server := New(t)
	d := server.AddBlob("acme/app", "", data)
	address := server.URL + "/v2/acme/app/blobs/" + d.Digest.String()
	server.Inject(On("GET", "/blobs/", First(Times(1, DropAfter(100_000)), Times(1, RedirectTo(server.URL)))))
	c := newClient(t, withKeychain(ada))
	r, err := c.ForeignBlob(t.Context(), address+"?X-Signature="+SignedQuery, d.Size)
	ok(t, err)
	defer r.Close()
	got, err := io.ReadAll(r)
	ok(t, err)
	if !bytes.Equal(got, data) {
		t.Error("other bytes")
	}
	for _, request := range server.Requests() {
		if request.Header.Get("Authorization") != "" {
			t.Error("brought credentials")
		}
	}
	server.Inject(challenge(`Basic realm="give"`))
	_, err = c.ForeignBlob(t.Context(), address+"?X-Signature="+SignedQuery, d.Size)
	wantError(t, err, registry.ErrUnauthorized, "fetch foreign layer http://127.0.0.1")
	for _, bad := range []string{"ftp://x/", "/x", "http://a:b@x/", "http://[", ""} {
		_, err = c.ForeignBlob(t.Context(), bad, 1)
		wantError(t, err, bundle.ErrUnsupported, "fetch foreign layer")
	}
}

func TestBlobCancelled(t *testing.T) {
	data := content(200_000)
	server := New(t)
	d := server.AddBlob("acme/app", "", data)
	server.Inject(On("GET", "/blobs/", HangAfter(100_000)))
	c := newClient(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := c.Blob(ctx, server.Repo("acme/app").Digest(d.Digest.String()), d.Size)
	ok(t, err)
	defer r.Close()
	_, err = io.ReadFull(r, make([]byte, 100_000))
	ok(t, err)
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := r.Read(make([]byte, 1)); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if _, err := r.Read(make([]byte, 1)); err != context.Canceled {
		t.Errorf("and then %v", err)
	}
}

func TestHasBlob(t *testing.T) {
	server := New(t)
	d := server.AddBlob("acme/app", "", content(1000))
	c := newClient(t, nil)
	repo := server.Repo("acme/app")
	size, found, err := c.HasBlob(t.Context(), repo, d.Digest)
	ok(t, err)
	if !found || size != 1000 {
		t.Errorf("%d, %t", size, found)
	}
	_, found, err = c.HasBlob(t.Context(), repo, bundle.DigestOf([]byte("x")))
	ok(t, err)
	if found {
		t.Error("found what is not there")
	}
	server.Inject(On("HEAD", "/blobs/", Header("Docker-Content-Digest", bundle.EmptyJSON.String())))
	_, _, err = c.HasBlob(t.Context(), repo, d.Digest)
	wantError(t, err, bundle.ErrDigest)
	server.Inject(On("HEAD", "/blobs/", Answer(403, "")))
	_, _, err = c.HasBlob(t.Context(), repo, d.Digest)
	wantError(t, err, registry.ErrForbidden)
}

// Credentials stay at the registry when a blob is elsewhere, and so does the address of the elsewhere.
func TestBlobRedirect(t *testing.T) {
	data := content(200_000)
	login := &Login{User: user, Password: password}
	server, cdn := New(t, Wrap(login.Guard)), New(t)
	d := server.AddBlob("acme/app", "", data)
	cdn.AddBlob("acme/app", "", data)
	server.Inject(On("GET", "/blobs/", RedirectTo(cdn.URL)))
	cdn.Inject(On("GET", "/blobs/", Times(1, DropAfter(100_000))))
	c := newClient(t, withKeychain(ada))
	ref := server.Repo("acme/app").Digest(d.Digest.String())
	got, err := readBlob(c, ref, d.Size)
	ok(t, err)
	if !bytes.Equal(got, data) {
		t.Error("other bytes")
	}
	cdn.Inject(On("GET", "/blobs/", Answer(403, "<Error>"+SignedQuery+"</Error>", "Content-Type", "application/xml")))
	_, err = readBlob(c, ref, d.Size)
	wantError(t, err, registry.ErrForbidden, cdn.Host())
	cdn.Inject(On("GET", "/blobs/", Answer(401, "", "Www-Authenticate", `Basic realm="give"`)))
	_, err = readBlob(c, ref, d.Size)
	wantError(t, err, registry.ErrUnauthorized)
	cdn.Inject(On("GET", "/blobs/", Answer(307, "", "Location", server.URL+"/v2/acme/app/blobs/x")))
	_, err = readBlob(c, ref, d.Size)
	wantError(t, err, nil) // and it did not get the token again
	for _, r := range cdn.Requests() {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("%s brought credentials", r)
		}
	}
	for _, r := range server.Requests() {
		if strings.HasSuffix(r.Path, "/blobs/x") && r.Header.Get("Authorization") != "" {
			t.Error("credentials came back with a redirect from elsewhere")
		}
	}
}

func TestNoDowngrade(t *testing.T) {
	data := content(1000)
	secure, plain := New(t, TLS()), New(t)
	d := secure.AddBlob("acme/app", "", data)
	plain.AddBlob("acme/app", "", data)
	secure.Inject(On("", "/blobs/", RedirectTo(plain.URL)))
	c := newClient(t, nil, secure)
	_, err := readBlob(c, secure.Repo("acme/app").Digest(d.Digest.String()), d.Size)
	wantError(t, err, nil, "from https to http")
	if n := len(plain.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestTLS(t *testing.T) {
	secure := New(t, TLS())
	data := content(200_000)
	d := secure.AddBlob("acme/app", "", data)
	ref := secure.Repo("acme/app").Digest(d.Digest.String())
	_, err := readBlob(newClient(t, nil, secure), ref, d.Size)
	ok(t, err)

	c := newClient(t, func(cfg *registry.Config) { cfg.Host = nil })
	_, err = readBlob(c, ref, d.Size)
	wantError(t, err, registry.ErrUnavailable, "certificate", "--ca-file")
	if len(c.naps.taken()) > 0 {
		t.Error("retried a certificate error")
	}

	plain := New(t)
	c = newClient(t, func(cfg *registry.Config) { cfg.Host = nil })
	_, err = readBlob(c, plain.Repo("acme/app").Digest(d.Digest.String()), d.Size)
	wantError(t, err, nil, "--plain-http")
}

func BenchmarkBlob(b *testing.B) {
	data := content(64 << 20)
	server := New(b)
	d := server.AddBlob("acme/app", "", data)
	c := newClient(b, nil)
	ref := server.Repo("acme/app").Digest(d.Digest.String())
	b.SetBytes(d.Size)
	buf := make([]byte, 256<<10)
	for b.Loop() {
		r, err := c.Blob(b.Context(), ref, d.Size)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
}

func ExampleIsLoopback() {
	for _, host := range []string{"localhost:5000", "127.0.0.1", "[::1]:5000", "::1", "127.8.8.8:1", "a.localhost", "10.0.0.1:5000", "registry.example.com", "localhost.example.com"} {
		fmt.Println(host, registry.IsLoopback(host))
	}
	// Output:
	// localhost:5000 true
	// 127.0.0.1 true
	// [::1]:5000 true
	// ::1 true
	// 127.8.8.8:1 true
	// a.localhost true
	// 10.0.0.1:5000 false
	// registry.example.com false
	// localhost.example.com false
}
