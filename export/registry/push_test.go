package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

func TestPushBlob(t *testing.T) {
	errReader := errors.New("the bundle is damaged here")
	type pushTest struct {
		faults  []Fault
		content func([]byte) []byte // what is read, instead of the blob
		readErr error
		err     error
		message string
		opened  int // 0 is once
		login   bool
	}
	// Made anew for each size, as some faults count.
	tests := func() map[string]pushTest {
		return map[string]pushTest{
			"ordinary":             {},
			"with a login":         {login: true},
			"503 to POST":          {faults: []Fault{On("POST", "", Times(2, Answer(503, "")))}, opened: 3},
			"429 to POST":          {faults: []Fault{On("POST", "", Times(1, Throttle("7")))}, opened: 2},
			"503 to PATCH or PUT":  {faults: []Fault{notPost(Times(1, Answer(503, "")))}, opened: 2},
			"dropped PATCH or PUT": {faults: []Fault{notPost(Times(2, DropUpload(10_000)))}, opened: 3},
			"502 to PUT":           {faults: []Fault{On("PUT", "", Times(1, Answer(502, "")))}, opened: 2},
			"PUT whose answer is lost": {faults: []Fault{On("PUT", "", Times(1, func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				Real(r, next)
				panic(http.ErrAbortHandler)
			}))}, opened: 1},
			"503 for ever":          {faults: []Fault{On("POST", "", Answer(503, ""))}, err: registry.ErrUnavailable, opened: 6},
			"upload lost":           {faults: []Fault{notPost(Times(1, Code(404, "BLOB_UPLOAD_INVALID", "stale")))}, opened: 2},
			"over quota":            {faults: []Fault{On("PUT", "", Code(403, "DENIED", "adding 1 GiB would exceed the limit"))}, err: registry.ErrForbidden, message: "would exceed"},
			"not allowed":           {faults: []Fault{On("POST", "", Code(403, "DENIED", ""))}, err: registry.ErrForbidden},
			"project missing":       {faults: []Fault{On("POST", "", harborMissing)}, err: registry.ErrUnauthorized, message: "create the project"},
			"digest refused":        {faults: []Fault{On("PUT", "", Code(400, "DIGEST_INVALID", "no"))}, err: errAny, message: "DIGEST_INVALID"},
			"token expires at POST": {login: true, faults: []Fault{On("POST", "/blobs/", Times(1, expired))}},
			"token expires later":   {login: true, faults: []Fault{notPost(Times(1, expired))}, opened: -1},
			"token expires at PUT":  {login: true, faults: []Fault{On("PUT", "", Times(1, expired))}},
			"no Location":           {faults: []Fault{On("POST", "", Answer(202, ""))}, err: errAny, message: "where to upload"},
			"odd Location":          {faults: []Fault{On("POST", "", Answer(202, "", "Location", "ftp://x/"))}, err: errAny, message: "scheme"},
			"redirected":            {faults: []Fault{On("POST", "", Answer(307, "", "Location", "/elsewhere"))}, err: errAny, message: "307"},
			"committed as another":  {faults: []Fault{On("PUT", "", Header("Docker-Content-Digest", bundle.EmptyJSON.String()))}, err: bundle.ErrDigest},
			"reader fails at end":   {readErr: errReader, err: errReader, message: "damaged here"},
			"reader fails early":    {readErr: errReader, content: func(b []byte) []byte { return b[:len(b)/2] }, err: errReader},
			"content too short":     {content: func(b []byte) []byte { return b[:len(b)-1] }, err: bundle.ErrDigest},
			"content too long":      {content: func(b []byte) []byte { return append(bytes.Clone(b), 1) }, err: bundle.ErrDigest},
		}
	}
	for _, size := range []int{0, 1000, 3_000_000} {
		for title, test := range tests() {
			t.Run(fmt.Sprintf("%s/%d", title, size), func(t *testing.T) {
				if size == 0 && test.content != nil && title != "content too long" {
					t.Skip("nothing to take away")
				}
				t.Parallel()
				data := content(size)
				desc := bundle.Descriptor{Digest: bundle.DigestOf(data), Size: int64(size)}
				options := []Option{}
				if test.login {
					options = append(options, Wrap((&Login{User: user, Password: password}).Guard))
				}
				server := New(t, options...)
				var faults []Fault
				for _, fault := range test.faults {
					faults = append(faults, On("", "/blobs/", fault))
				}
				server.Inject(faults...)
				o := &opener{content: data, err: test.readErr}
				if test.content != nil {
					o.content = test.content(data)
				}
				c := newClient(t, withKeychain(ada))
				err := c.PushBlob(t.Context(), server.Repo("acme/app"), desc, o.open)
				if o.closed != o.opened {
					t.Errorf("opened %d times, closed %d", o.opened, o.closed)
				}
				if test.err != nil {
					if test.err == errAny {
						test.err = nil
					}
					wantError(t, err, test.err, "push blob", "acme/app@sha256:", test.message)
					if server.StoredBlob("acme/app", desc.Digest) != nil && title != "committed as another" {
						t.Error("committed")
					}
					if test.readErr != nil || test.content != nil {
						if n := server.Count("PUT", ""); n > 0 {
							t.Errorf("%d commits of what is damaged", n)
						}
						if size > 200_000 && server.Count("DELETE", "/uploads/") != 1 {
							t.Error("the upload was not given up")
						}
					}
					return
				}
				ok(t, err)
				if got := server.StoredBlob("acme/app", desc.Digest); !bytes.Equal(got, data) {
					t.Errorf("%d bytes are stored", len(got))
				}
				want := max(test.opened, 1)
				if test.opened == -1 && size > 200_000 { // a stream cannot be sent again
					want = 2
				}
				if o.opened != want {
					t.Errorf("opened %d times, want %d", o.opened, want)
				}
			})
		}
	}
}

// notPost has the requests that bring content.
func notPost(f Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return (r.Method == "PATCH" || r.Method == "PUT") && f(w, r, next)
	}
}

// expired answers as a registry does to a token of yesterday.
func expired(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	return Answer(401, "", "Www-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="x",error="invalid_token"`)(w, r, next)
}

// harborMissing answers as Harbor does for a project that does not exist.
func harborMissing(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	w.Header()["Www-Authenticate"] = []string{""}
	return Code(401, "UNAUTHORIZED", "project acme not found: project acme not found")(w, r, next)
}

func TestPushBlobOpenFails(t *testing.T) {
	server := New(t)
	c := newClient(t, nil)
	want := errors.New("no such file")
	err := c.PushBlob(t.Context(), server.Repo("acme/app"), bundle.Descriptor{Size: 5}, func() (io.ReadCloser, error) { return nil, want })
	wantError(t, err, want)
	if server.Count("POST", "") > 0 {
		t.Error("began an upload")
	}
}

func TestPushBlobContentLength(t *testing.T) {
	server := New(t)
	c := newClient(t, nil)
	data := content(1_500_000)
	o := &opener{content: data}
	ok(t, c.PushBlob(t.Context(), server.Repo("acme/app"), bundle.Descriptor{Digest: bundle.DigestOf(data), Size: 1_500_000}, o.open))
	var methods []string
	for _, r := range server.Requests() {
		methods = append(methods, r.Method)
		if r.Header.Get("Transfer-Encoding") != "" || r.Method == "PATCH" && r.Header.Get("Content-Length") != "1500000" {
			t.Errorf("%s: %v", r, r.Header)
		}
	}
	if got := strings.Join(methods, " "); got != "GET POST PATCH PUT" {
		t.Errorf("requests %s", got)
	}
}

// What fits in one body takes two requests, the second of which brings it along.
func TestSmallBlobsTakeTwoRequests(t *testing.T) {
	for size, want := range map[int]string{0: "POST PUT", 1000: "POST PUT", 1 << 20: "POST PUT", 1<<20 + 1: "POST PATCH PUT"} {
		server := New(t)
		c := newClient(t, nil)
		ok(t, c.Ping(t.Context(), server.Repo("acme/app").Registry))
		server.Forget()
		o := &opener{content: content(size)}
		desc := bundle.Descriptor{Digest: bundle.DigestOf(o.content), Size: int64(size)}
		ok(t, c.PushBlob(t.Context(), server.Repo("acme/app"), desc, o.open))
		var methods []string
		for _, r := range server.Requests() {
			methods = append(methods, r.Method)
		}
		if got := strings.Join(methods, " "); got != want || !bytes.Equal(server.StoredBlob("acme/app", desc.Digest), o.content) {
			t.Errorf("%d bytes: %s", size, got)
		}
	}
}

// An upload at another host gets the content and no credentials.
func TestPushBlobElsewhere(t *testing.T) {
	for _, size := range []int{1000, 1_500_000} {
		login := &Login{User: user, Password: password}
		server, storage := New(t, Wrap(login.Guard)), New(t)
		server.Inject(On("POST", "/uploads/", Answer(202, "", "Location", storage.URL+"/v2/x/blobs/uploads/1?X-Signature="+SignedQuery)))
		data := content(size)
		desc := bundle.Descriptor{Digest: bundle.DigestOf(data), Size: int64(size)}
		c := newClient(t, withKeychain(ada))
		o := &opener{content: data}
		ok(t, c.PushBlob(t.Context(), server.Repo("acme/app"), desc, o.open))
		if storage.StoredBlob("x", desc.Digest) == nil {
			t.Error("not stored")
		}
		for _, r := range storage.Requests() {
			if r.Header.Get("Authorization") != "" {
				t.Errorf("%s brought credentials", r)
			}
			if r.Method == "PUT" && size == 1000 && r.Query != "X-Signature="+SignedQuery+"&digest=sha256%3A"+desc.Digest.Hex() {
				t.Errorf("query %s", r.Query)
			}
		}
		storage.Inject(Answer(403, SignedQuery, "Content-Type", "text/html"))
		wantError(t, c.PushBlob(t.Context(), server.Repo("acme/app"), desc, o.open), registry.ErrForbidden, storage.Host())
	}
}

func TestPushBlobLocationScheme(t *testing.T) {
	data := content(1000)
	desc := bundle.Descriptor{Digest: bundle.DigestOf(data), Size: 1000}
	plain := New(t)
	secure := New(t, TLS())
	c := newClient(t, nil, secure)
	// The registry itself, with the wrong idea of its own scheme.
	secure.Inject(On("POST", "/uploads/", Answer(202, "", "Location", "http://"+secure.Host()+"/v2/x/blobs/uploads/1")))
	ok(t, c.PushBlob(t.Context(), secure.Repo("acme/app"), desc, (&opener{content: data}).open))
	plain.Inject(On("POST", "/uploads/", Answer(202, "", "Location", "https://"+plain.Host()+"/v2/x/blobs/uploads/1")))
	ok(t, c.PushBlob(t.Context(), plain.Repo("acme/app"), desc, (&opener{content: data}).open))
	plain.Forget()
	secure.Inject(On("POST", "/uploads/", Answer(202, "", "Location", plain.URL+"/v2/x/blobs/uploads/1")))
	err := c.PushBlob(t.Context(), secure.Repo("acme/app"), desc, (&opener{content: data}).open)
	wantError(t, err, nil, "from https to http")
	if len(plain.Requests()) > 0 {
		t.Error("went to http")
	}
}

func TestPushBlobCancelled(t *testing.T) {
	server := New(t, Faults(On("PATCH", "", Hang())))
	c := newClient(t, nil)
	data := content(5_000_000)
	o := &opener{content: data}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- c.PushBlob(ctx, server.Repo("acme/app"), bundle.Descriptor{Digest: bundle.DigestOf(data), Size: int64(len(data))}, o.open)
	}()
	for server.Count("PATCH", "") == 0 {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("after %s", d)
	}
	if o.closed != 1 || server.Count("DELETE", "/uploads/") != 1 || server.Count("PUT", "") != 0 {
		t.Errorf("closed %d, requests %v", o.closed, server.Requests())
	}
}

// A registry that takes nothing any more is given up and asked again. It is held until the content is opened again, and
// not for some time: machines are slow.
func TestPushBlobStalls(t *testing.T) {
	t.Parallel()
	again := make(chan struct{})
	server := New(t, Faults(On("PATCH", "", Times(1, func(http.ResponseWriter, *http.Request, http.Handler) bool {
		<-again
		panic(http.ErrAbortHandler)
	}))))
	c := newClient(t, func(cfg *registry.Config) { cfg.StallTimeout = 1500 * time.Millisecond })
	data := content(20 << 20) // more than the sockets hold
	o := &opener{content: data}
	release := sync.OnceFunc(func() { close(again) })
	t.Cleanup(release) // before the server waits for its requests
	open := func() (io.ReadCloser, error) {
		if o.opened > 0 {
			release()
		}
		return o.open()
	}
	ok(t, c.PushBlob(t.Context(), server.Repo("acme/app"), bundle.Descriptor{Digest: bundle.DigestOf(data), Size: int64(len(data))}, open))
	if o.opened < 2 {
		t.Errorf("opened %d times", o.opened)
	}
}

func TestMount(t *testing.T) {
	blob := content(1000)
	d := bundle.DigestOf(blob)
	tests := map[string]struct {
		faults []Fault
		want   bool
		err    error
		cancel bool // an upload had been opened
	}{
		"mounted":            {faults: []Fault{Mounts()}, want: true},
		"ignored":            {cancel: true},
		"unknown there":      {faults: []Fault{BlobsPerRepository()}, cancel: true},
		"known there":        {faults: []Fault{BlobsPerRepository("acme/other@" + d.String())}, want: true},
		"401":                {faults: []Fault{On("POST", "", Code(401, "UNAUTHORIZED", "action: pull"))}},
		"403":                {faults: []Fault{On("POST", "", Code(403, "DENIED", ""))}},
		"404":                {faults: []Fault{On("POST", "", NotFoundText())}},
		"500":                {faults: []Fault{On("POST", "/blobs/", Answer(500, ""))}, err: registry.ErrUnavailable},
		"429, then mounted":  {faults: []Fault{On("POST", "/blobs/", Times(1, Throttle("1"))), Mounts()}, want: true},
		"mounted as another": {faults: []Fault{On("POST", "/blobs/", Answer(201, "", "Docker-Content-Digest", bundle.EmptyJSON.String()))}, err: bundle.ErrDigest},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			login := &Login{User: user, Password: password}
			server := New(t, Wrap(login.Guard), Faults(test.faults...))
			server.AddBlob("acme/other", "", blob)
			c := newClient(t, withKeychain(ada))
			got, err := c.Mount(t.Context(), server.Repo("acme/app"), server.Repo("acme/other"), d)
			if test.err != nil {
				wantError(t, err, test.err, "mount blob")
				return
			}
			ok(t, err)
			if got != test.want {
				t.Errorf("mounted %t", got)
			}
			if n := server.Count("DELETE", "/uploads/"); (n == 1) != test.cancel {
				t.Errorf("%d uploads given up", n)
			}
			if len(c.naps.taken()) > 1 {
				t.Error("retried a refusal")
			}
			for _, r := range server.Requests() {
				if r.Path == "/token" && !strings.Contains(r.Query, "scope=repository%3Aacme%2Fapp%3Apull%2Cpush&scope=repository%3Aacme%2Fother%3Apull") {
					t.Errorf("token for %s", r.Query)
				}
			}
		})
	}
	a, b := New(t), New(t)
	_, err := newClient(t, nil).Mount(t.Context(), a.Repo("x"), b.Repo("y"), d)
	wantError(t, err, nil, "another registry")
}

func TestPushManifest(t *testing.T) {
	for title, acknowledges := range map[string]bool{"acknowledged": true, "not acknowledged": false} {
		t.Run(title, func(t *testing.T) {
			login := &Login{User: user, Password: password, BasicAfterToken: true}
			options := []Option{Wrap(login.Guard)}
			if acknowledges {
				options = []Option{AcknowledgeSubjects(), Wrap(login.Guard)}
			}
			server := New(t, options...)
			c := newClient(t, withKeychain(ada))
			repo := server.Repo("acme/app")
			image := manifest(t, "x", nil)
			desc := bundle.Descriptor{MediaType: bundle.MediaTypeOCIManifest, Digest: bundle.DigestOf(image), Size: int64(len(image))}
			acknowledged, err := c.PushManifest(t.Context(), repo.Tag("1.0"), desc.MediaType, image)
			ok(t, err)
			if acknowledged {
				t.Error("a subject where there is none")
			}
			if got := server.StoredManifest("acme/app", desc.Digest.String()); !bytes.Equal(got, image) {
				t.Error("other bytes are stored")
			}
			login.Expire()
			server.Inject(On("PUT", "/manifests/", Times(2, Answer(500, ""))))
			referrer := manifest(t, "y", &desc)
			acknowledged, err = c.PushManifest(t.Context(), repo.Digest(bundle.DigestOf(referrer).String()), desc.MediaType, referrer)
			ok(t, err)
			if acknowledged != acknowledges {
				t.Errorf("acknowledged %t", acknowledged)
			}
		})
	}
	server := New(t)
	c := newClient(t, nil)
	repo := server.Repo("acme/app")
	body := manifest(t, "x", nil)
	push := func(identifier string, body []byte) error {
		_, err := c.PushManifest(t.Context(), repo.Tag(identifier), bundle.MediaTypeOCIManifest, body)
		return err
	}
	_, err := c.PushManifest(t.Context(), repo.Digest(bundle.EmptyJSON.String()), bundle.MediaTypeOCIManifest, body)
	wantError(t, err, bundle.ErrDigest, "push manifest")
	wantError(t, push("big", make([]byte, bundle.MaxManifestSize+1)), bundle.ErrLimit)
	if server.Count("PUT", "") > 0 {
		t.Error("sent what it must not")
	}
	server.Inject(On("PUT", "", Header("Docker-Content-Digest", bundle.EmptyJSON.String())))
	wantError(t, push("1.0", body), bundle.ErrDigest, "calls it")
	server.Inject(On("PUT", "", Code(412, "PRECONDITION", "configured as immutable")))
	wantError(t, push("1.0", body), nil, "412", "configured as immutable")
	server.Inject(On("PUT", "", Answer(400, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":"sha256:abc"}]}`)))
	wantError(t, push("1.0", body), nil, "blob unknown (sha256:abc)")
}

// Harbor refuses with 401 when uploads contend for a project, although the token is good.
func TestPatience(t *testing.T) {
	login := &Login{User: user, Password: password}
	server := New(t, Wrap(login.Guard))
	c := newClient(t, withKeychain(ada))
	body := manifest(t, "x", nil)
	push := func() error {
		_, err := c.PushManifest(t.Context(), server.Repo("acme/app").Tag("1.0"), bundle.MediaTypeOCIManifest, body)
		return err
	}
	server.Inject(On("PUT", "/manifests/", expired))
	wantError(t, push(), registry.ErrUnauthorized)
	if n := len(c.naps.taken()); n != 0 {
		t.Errorf("%d pauses before anything had gone well", n)
	}
	server.Inject()
	ok(t, push())
	server.Inject(On("PUT", "/manifests/", Times(3, expired)))
	ok(t, push())
	if n := len(c.naps.taken()); n != 1 {
		t.Errorf("%d pauses", n)
	}
}

func BenchmarkPushBlob(b *testing.B) {
	data := content(64 << 20)
	desc := bundle.Descriptor{Digest: bundle.DigestOf(data), Size: int64(len(data))}
	server := New(b, Faults(
		On("PATCH", "", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
			return true
		}),
		On("PUT", "", Answer(201, "")),
	))
	c := newClient(b, nil)
	b.SetBytes(desc.Size)
	for b.Loop() {
		o := &opener{content: data}
		if err := c.PushBlob(b.Context(), server.Repo("acme/app"), desc, o.open); err != nil {
			b.Fatal(err)
		}
	}
}
