package registry_test

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// errAny stands for an error that is no sentinel.
var errAny = errors.New("any")

// undeclared answers with n bytes without saying how many they will be.
func undeclared(n int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.Header().Set("Content-Type", bundle.MediaTypeOCIManifest)
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(make([]byte, n))
		return true
	}
}

func TestResolveAndManifest(t *testing.T) {
	body := manifest(t, "plain", nil)
	d := bundle.DigestOf(body)
	wrong := bundle.DigestOf([]byte("other")).String()
	tests := map[string]struct {
		ref   string // identifier; empty is the tag
		fault Fault
		// what Resolve and Manifest return; nil is success
		resolve, manifest error
		message           string
	}{
		"tag":                        {},
		"digest":                     {ref: d.String()},
		"missing tag":                {ref: "absent", resolve: registry.ErrNotFound, manifest: registry.ErrNotFound, message: "MANIFEST_UNKNOWN"},
		"missing digest":             {ref: wrong, resolve: registry.ErrNotFound, manifest: registry.ErrNotFound},
		"repository unknown":         {fault: NameUnknown(), resolve: registry.ErrRepositoryUnknown, manifest: registry.ErrRepositoryUnknown},
		"HEAD without digest":        {fault: Header("Docker-Content-Digest", "")},
		"HEAD without length":        {fault: On("HEAD", "", Answer(200, "", "Content-Type", bundle.MediaTypeOCIManifest, "Docker-Content-Digest", d.String()))},
		"HEAD not allowed":           {fault: On("HEAD", "", Answer(405, ""))},
		"forbidden":                  {fault: Code(403, "DENIED", "no"), resolve: registry.ErrForbidden, manifest: registry.ErrForbidden, message: "DENIED: no"},
		"other digest in header":     {fault: Header("Docker-Content-Digest", wrong), manifest: bundle.ErrDigest, message: "calls it"},
		"other digest, by digest":    {ref: d.String(), fault: Header("Docker-Content-Digest", wrong), resolve: bundle.ErrDigest, manifest: bundle.ErrDigest},
		"sha512 in header":           {fault: Header("Docker-Content-Digest", "sha512:"+strings.Repeat("ab", 64)), resolve: bundle.ErrUnsupported, manifest: bundle.ErrUnsupported},
		"wrong bytes":                {ref: d.String(), fault: On("GET", "", Spoil()), manifest: bundle.ErrDigest},
		"wrong bytes, tag":           {fault: On("GET", "", Spoil()), manifest: bundle.ErrDigest},
		"cut":                        {ref: d.String(), fault: On("GET", "", Cut(20)), manifest: bundle.ErrDigest},
		"no media type":              {fault: Header("Content-Type", ";"), manifest: errAny, resolve: errAny, message: "media type"},
		"over the limit":             {fault: Extend(bundle.MaxManifestSize), resolve: bundle.ErrLimit, manifest: bundle.ErrLimit},
		"over the limit, undeclared": {fault: On("GET", "", undeclared(bundle.MaxManifestSize+1)), manifest: bundle.ErrLimit},
		"over the limit, HEAD":       {fault: Header("Content-Length", "4194305"), resolve: bundle.ErrLimit},
		"redirect with user":         {fault: Answer(307, "", "Location", "http://u:p@127.0.0.1/"), resolve: errAny, manifest: errAny, message: "user name"},
		"redirect to file":           {fault: Answer(307, "", "Location", "file:///etc/passwd"), resolve: errAny, manifest: errAny, message: "scheme"},
		"redirect in a circle":       {fault: Answer(302, "", "Location", "?again"), resolve: errAny, manifest: errAny, message: "redirects"},
		"redirect to nowhere":        {fault: Answer(302, ""), resolve: errAny, manifest: errAny, message: "302 Found"},
		"unexpected status":          {fault: Answer(204, ""), resolve: errAny, manifest: errAny, message: "204"},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			server := New(t)
			server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, body)
			if test.fault != nil {
				server.Inject(On("", "/manifests/", test.fault))
			}
			c := newClient(t, nil)
			repo := server.Repo("acme/app")
			want := bundle.Descriptor{MediaType: bundle.MediaTypeOCIManifest, Digest: d, Size: int64(len(body))}
			check := func(got bundle.Descriptor, err, wantErr error) {
				t.Helper()
				if wantErr != nil {
					if wantErr == errAny {
						wantErr = nil
					}
					wantError(t, err, wantErr, "acme/app", test.message)
					return
				}
				ok(t, err)
				if test.fault == nil && (got.MediaType != want.MediaType || got.Digest != want.Digest || got.Size != want.Size) {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
			var ref name.Reference = repo.Tag(cmp.Or(test.ref, "1.0"))
			if strings.Contains(test.ref, ":") {
				ref = repo.Digest(test.ref)
			}
			got, err := c.Resolve(t.Context(), ref)
			check(got, err, test.resolve)
			got, _, err = c.Manifest(t.Context(), ref)
			check(got, err, test.manifest)
		})
	}
}

func TestManifestAccept(t *testing.T) {
	server := New(t)
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, nil)
	_, err := c.Resolve(t.Context(), server.Repo("acme/app").Tag("1.0"))
	ok(t, err)
	requests := server.Requests()
	accept := requests[len(requests)-1].Header.Get("Accept")
	for _, mediaType := range bundle.ManifestMediaTypes {
		if !strings.Contains(accept, mediaType) {
			t.Errorf("Accept %q lacks %s", accept, mediaType)
		}
	}
}

func TestAnonymousRefused(t *testing.T) {
	body := manifest(t, "x", nil)
	tests := map[string]struct {
		login  *Login
		faults func(*Login) Fault
		tag    string
		want   bool
		err    error
	}{
		"public":                  {login: &Login{Public: func(string) bool { return true }}, want: false},
		"private":                 {want: true},
		"private, Harbor":         {login: &Login{BasicAfterToken: true}, want: true},
		"token service refuses":   {faults: func(*Login) Fault { return On("", "/token", refuseAnonymous) }, want: true},
		"hidden by 404":           {login: &Login{Public: func(string) bool { return true }}, faults: hidden404, want: true},
		"not there":               {login: &Login{Public: func(string) bool { return true }}, tag: "absent", err: registry.ErrNotFound},
		"unavailable":             {faults: func(*Login) Fault { return On("", "/manifests/", Answer(503, "")) }, err: registry.ErrUnavailable},
		"throttled token service": {faults: func(*Login) Fault { return On("", "/token", Throttle("99999")) }, err: registry.ErrThrottled},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			login := cmp.Or(test.login, &Login{})
			login.User, login.Password = user, password
			server := New(t, Wrap(login.Guard))
			server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, body)
			if test.faults != nil {
				server.Inject(test.faults(login))
			}
			if test.tag == "" {
				test.tag = "1.0"
			}
			c := newClient(t, withKeychain(ada))
			got, err := c.AnonymousRefused(t.Context(), server.Repo("acme/app").Tag(test.tag))
			if test.err != nil {
				wantError(t, err, test.err)
				return
			}
			ok(t, err)
			if got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

// Who has no account, and has seen a manifest, needs not ask whether others may. Who has one asks, though it was not asked for
// until the registry refused.
func TestAnonymousRefusedIsSeenWithoutAnAccount(t *testing.T) {
	body := manifest(t, "x", nil)
	for title, test := range map[string]struct {
		public   bool
		keychain authn.Keychain
		fault    Fault
		asks     bool
		want     bool
	}{
		"no account":             {public: true},
		"an account":             {public: true, keychain: ada, asks: true},
		"an account that is due": {keychain: ada, fault: onlyPing, asks: true, want: true},
	} {
		t.Run(title, func(t *testing.T) {
			login := &Login{User: user, Password: password, Public: func(string) bool { return test.public }}
			server := New(t, Wrap(login.Guard))
			server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, body)
			if test.fault != nil {
				server.Inject(test.fault)
			}
			c := newClient(t, func(c *registry.Config) { c.Keychain = test.keychain })
			ref := server.Repo("acme/app").Tag("1.0")
			_, err := c.Resolve(t.Context(), ref)
			ok(t, err)
			server.Forget()
			got, err := c.AnonymousRefused(t.Context(), ref)
			ok(t, err)
			if asked := server.Count("HEAD", "/manifests/"); got != test.want || (asked > 0) != test.asks {
				t.Errorf("private: %t, asked %d times", got, asked)
			}
		})
	}
}

// onlyPing answers /v2/ itself without asking for an account.
func onlyPing(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	return r.URL.Path == "/v2/" && Answer(200, "{}")(w, r, next)
}

func refuseAnonymous(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	return r.Header.Get("Authorization") == "" && Code(403, "DENIED", "requested access to the resource is denied")(w, r, next)
}

// hidden404 hides what anonymous tokens ask for, which it tells by there having been only one so far.
func hidden404(login *Login) Fault {
	return On("", "/manifests/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return login.Issued() < 2 && Code(404, "NAME_UNKNOWN", "what repository?")(w, r, next)
	})
}

func TestContextDone(t *testing.T) {
	server := New(t, Faults(On("", "/manifests/", Hang())))
	c := newClient(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.Resolve(ctx, server.Repo("acme/app").Tag("1"))
		done <- err
	}()
	for server.Count("HEAD", "/manifests/") == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if n := len(c.naps.taken()); n > 0 {
		t.Errorf("%d retries", n)
	}
}

// Where it makes no difference whether it is the repository that is unknown, or where that is known not to be so, what HEAD
// does not find is not asked for with GET: some registries count that as a pull.
func TestNotFoundIsAskedOnce(t *testing.T) {
	server := New(t)
	server.AddManifest("acme/app", "1", bundle.MediaTypeOCIManifest, manifest(t, "1", nil))
	gets := func() int {
		n := 0
		for _, r := range server.Requests() {
			if r.Method == http.MethodGet && strings.Contains(r.Path, "/manifests/absent") {
				n++
			}
		}
		return n
	}
	absent, present := server.Repo("acme/app").Tag("absent"), server.Repo("acme/app").Tag("1")
	resolve := func(c *setup, ref name.Reference, want error) {
		t.Helper()
		if _, err := c.Resolve(t.Context(), ref); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", ref, err, want)
		}
	}
	c := newClient(t, nil)
	resolve(c, absent, registry.ErrNotFound)
	if n := gets(); n != 1 {
		t.Errorf("%d GETs while nothing is known of the repository, want 1", n)
	}
	resolve(c, present, nil)
	resolve(c, absent, registry.ErrNotFound)
	resolve(newClient(t, func(cfg *registry.Config) { cfg.NotFoundIsEnough = true }), absent, registry.ErrNotFound)
	if n := gets(); n != 1 {
		t.Errorf("%d GETs, want only the first", n)
	}
}
