package registry_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"

	"github.com/google/go-containerregistry/pkg/authn"
)

// loginServer is a registry with a login, which holds one image.
func loginServer(t *testing.T, login *Login, options ...Option) *Server {
	login.User, login.Password = user, password
	server := New(t, append(options, Wrap(login.Guard))...)
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	return server
}

func TestToken(t *testing.T) {
	login := &Login{Lifetime: 300}
	server := loginServer(t, login)
	c := newClient(t, withKeychain(ada))
	resolve := func() {
		t.Helper()
		_, err := c.Resolve(t.Context(), server.Repo("acme/app").Tag("1.0"))
		ok(t, err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(resolve)
	}
	wg.Wait()
	if n := login.Issued(); n != 1 {
		t.Errorf("%d tokens for 20 requests at once", n)
	}
	if n := server.Count("", "/v2/"); n != 21 {
		t.Errorf("%d requests, want one more than was asked", n)
	}
	c.clock.advance(260 * time.Second)
	resolve()
	if n := login.Issued(); n != 1 {
		t.Errorf("%d tokens before the first was old", n)
	}
	c.clock.advance(20 * time.Second) // 280 of 300: it may run out on the way
	resolve()
	if n := login.Issued(); n != 2 {
		t.Errorf("%d tokens after renewal ahead of time", n)
	}
	login.Expire()
	for range 20 {
		wg.Go(resolve)
	}
	wg.Wait()
	if n := login.Issued(); n < 3 || n > 22 {
		t.Errorf("%d tokens", n)
	}
	before := login.Issued()
	resolve()
	if n := login.Issued(); n != before {
		t.Error("the renewed token was not kept")
	}
	for _, r := range server.Requests() {
		if r.Path == "/token" && !strings.Contains(r.Query, "scope=repository%3Aacme%2Fapp%3Apull&") {
			t.Errorf("token for %s", r.Query)
		}
	}
	if n := len(c.naps.taken()); n > 0 {
		t.Errorf("%d pauses", n)
	}
}

// Harbor challenges an expired token with Basic; the password must go to the token service still.
func TestTokenExpiryWithBasicChallenge(t *testing.T) {
	login := &Login{BasicAfterToken: true}
	server := loginServer(t, login)
	c := newClient(t, withKeychain(ada))
	for range 3 {
		_, err := c.Resolve(t.Context(), server.Repo("acme/app").Tag("1.0"))
		ok(t, err)
		login.Expire()
	}
	for _, r := range server.Requests() {
		if strings.HasPrefix(r.Path, "/v2/") && strings.HasPrefix(r.Header.Get("Authorization"), "Basic") {
			t.Errorf("%s brought the password", r)
		}
	}
}

func TestTokenServiceElsewhere(t *testing.T) {
	login := &Login{}
	service := login.Service(t)
	server := loginServer(t, login)
	c := newClient(t, withKeychain(ada))
	_, err := c.Resolve(t.Context(), server.Repo("acme/app").Tag("1.0"))
	ok(t, err)
	service.Close()
	login.Expire()
	_, err = c.Resolve(t.Context(), server.Repo("acme/app").Tag("1.0"))
	wantError(t, err, registry.ErrUnavailable, "resolve", "acme/app", "token service 127.0.0.1", "refused")
}

func TestTokenFailures(t *testing.T) {
	wrong := keychain{authn.AuthConfig{Username: user, Password: "wrong-" + password}}
	elsewhere := New(t)
	tests := map[string]struct {
		keychain authn.Keychain
		fault    Fault
		err      error
		message  string
		secure   bool
	}{
		"no credentials":       {err: registry.ErrUnauthorized, message: `run "airgap login 127.0.0.1:`},
		"wrong password":       {keychain: wrong, err: registry.ErrUnauthorized, message: "token service"},
		"failing keychain":     {keychain: failingKeychain{}, err: errKeychain, message: "credentials: the helper"},
		"throttled":            {fault: On("", "/token", Throttle("400")), err: registry.ErrThrottled, message: "6m40s"},
		"no token":             {fault: On("", "/token", Answer(200, `{"token":""}`)), err: errAny, message: "no token"},
		"an evil token":        {fault: On("", "/token", Answer(200, `{"token":"a\r\nHost: b"}`)), err: errAny, message: "no token"},
		"no JSON":              {fault: On("", "/token", Answer(200, `<html>`)), err: errAny, message: "not a token"},
		"a key twice":          {fault: On("", "/token", Answer(200, `{"token":"a","token":"b"}`)), err: errAny, message: "not a token"},
		"large":                {fault: On("", "/token", Answer(200, `{"token":"`+strings.Repeat("x", 1<<20)+`"}`)), err: bundle.ErrLimit},
		"redirected":           {fault: On("", "/token", RedirectTo(elsewhere.URL)), err: errAny, message: "307"},
		"redirected at home":   {fault: On("", "/token", Answer(302, "", "Location", "/token2")), err: errAny, message: "302"},
		"realm of no scheme":   {fault: challenge(`Bearer realm="token"`), err: errAny, message: "scheme"},
		"realm of odd scheme":  {fault: challenge(`Bearer realm="gopher://x/"`), err: errAny, message: "scheme"},
		"realm with a user":    {fault: challenge(`Bearer realm="http://a:b@x/"`), err: errAny, message: "user name"},
		"no realm":             {fault: challenge(`Bearer service="x"`), err: errAny, message: "does not say where"},
		"unreadable realm":     {fault: challenge(`Bearer realm="http://[x"`), err: errAny, message: "not an address"},
		"no challenge":         {fault: challenge(``), err: registry.ErrUnauthorized},
		"a challenge unknown":  {fault: challenge(`Negotiate`), err: registry.ErrUnauthorized},
		"http realm for https": {fault: challenge(`Bearer realm="` + elsewhere.URL + `/token"`), secure: true, err: errAny, message: "from https to http"},
		"the token is no good": {fault: On("", "/token", Answer(200, `{"token":"none"}`)), err: registry.ErrUnauthorized},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			options := []Option{}
			if test.secure {
				options = append(options, TLS())
			}
			server := loginServer(t, &Login{}, options...)
			if test.fault != nil {
				server.Inject(test.fault)
				if test.keychain == nil {
					test.keychain = ada
				}
			}
			c := newClient(t, withKeychain(test.keychain))
			if test.secure {
				c = newClient(t, withKeychain(test.keychain), server)
			}
			_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
			if test.err == errAny {
				test.err = nil
			}
			wantError(t, err, test.err, "fetch manifest", "acme/app:1.0", test.message)
			if title == "no credentials" {
				return // anybody may get a token that proves nothing
			}
			err = c.Ping(t.Context(), server.Repo("acme/app").Registry)
			wantError(t, err, test.err, "reach", test.message)
		})
	}
	if n := len(elsewhere.Requests()); n > 0 {
		t.Errorf("%d requests elsewhere", n)
	}
}

// challenge answers 401 with that challenge to everything.
func challenge(header string) Fault {
	return Answer(401, "", "Www-Authenticate", header)
}

var errKeychain = errors.New("the helper says no")

type failingKeychain struct{}

func (failingKeychain) Resolve(authn.Resource) (authn.Authenticator, error) { return nil, errKeychain }

func TestPing(t *testing.T) {
	login := &Login{}
	server := loginServer(t, login)
	c := newClient(t, withKeychain(ada))
	ok(t, c.Ping(t.Context(), server.Repo("acme/app").Registry))
	open := New(t)
	ok(t, c.Ping(t.Context(), open.Repo("acme/app").Registry))
	nothing := New(t, Faults(NotFoundText()))
	wantError(t, c.Ping(t.Context(), nothing.Repo("acme/app").Registry), registry.ErrNotFound)
	nobody := New(t)
	nobody.Close()
	wantError(t, c.Ping(t.Context(), nobody.Repo("acme/app").Registry), registry.ErrUnavailable, "reach 127.0.0.1")
	if n := len(c.naps.taken()); n != 5 {
		t.Errorf("%d pauses", n)
	}
}

// basicGuard lets pass who brings a password.
func basicGuard(realm string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, _ := r.BasicAuth(); u == user && p == password {
				next.ServeHTTP(w, r)
				return
			}
			challenge(realm)(w, r, next)
		})
	}
}

func TestBasic(t *testing.T) {
	server := New(t, Wrap(basicGuard(`Negotiate, Basic realm="x"`)))
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, withKeychain(ada))
	_, err := c.Resolve(t.Context(), server.Repo("acme/app").Tag("1.0"))
	ok(t, err)
	encoded := newClient(t, withKeychain(keychain{authn.AuthConfig{Auth: "YWRhOnMzY3JldC1wYTU1"}}))
	ok(t, encoded.Ping(t.Context(), server.Repo("acme/app").Registry))
	c = newClient(t, withKeychain(keychain{authn.AuthConfig{Username: user, Password: "no"}}))
	_, err = c.Resolve(t.Context(), server.Repo("acme/app").Tag("1.0"))
	wantError(t, err, registry.ErrUnauthorized, "do not suffice")
}

// A registry may let anybody in at first and ask only for what matters.
func TestLateChallenge(t *testing.T) {
	for title, guard := range map[string]func(http.Handler) http.Handler{
		"basic":  basicGuard(`Basic realm="x"`),
		"bearer": (&Login{User: user, Password: password}).Guard,
	} {
		t.Run(title, func(t *testing.T) {
			server := New(t, Wrap(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "GET" && r.URL.Path != "/token" {
						next.ServeHTTP(w, r)
						return
					}
					guard(next).ServeHTTP(w, r)
				})
			}))
			c := newClient(t, withKeychain(ada))
			repo := server.Repo("acme/app")
			_, err := c.PushManifest(t.Context(), repo.Tag("1.0"), bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
			ok(t, err)
		})
	}
}

func TestOtherCredentials(t *testing.T) {
	t.Run("registry token", func(t *testing.T) {
		server := New(t, Wrap(func(next http.Handler) http.Handler {
			return Then(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				return r.Header.Get("Authorization") != "Bearer ready-made" && challenge(`Bearer realm="http://127.0.0.1:1/"`)(w, r, next)
			}, next)
		}))
		c := newClient(t, withKeychain(keychain{authn.AuthConfig{RegistryToken: "ready-made"}}))
		ok(t, c.Ping(t.Context(), server.Repo("acme/app").Registry))
	})
	t.Run("identity token", func(t *testing.T) {
		var form string
		login := &Login{User: user, Password: password}
		server := New(t, Wrap(login.Guard), Faults(On("POST", "/token", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			var b bytes.Buffer
			_, _ = b.ReadFrom(r.Body)
			form = b.String()
			return Answer(200, `{"access_token":"never-issued","expires_in":"300"}`)(w, r, next)
		})))
		c := newClient(t, withKeychain(keychain{authn.AuthConfig{IdentityToken: "1dentity"}}))
		err := c.Ping(t.Context(), server.Repo("acme/app").Registry)
		wantError(t, err, registry.ErrUnauthorized)
		if !strings.Contains(form, "grant_type=refresh_token&refresh_token=1dentity") {
			t.Errorf("form %q", form)
		}
		if strings.Contains(err.Error(), "never-issued") || strings.Contains(err.Error(), "1dentity") {
			t.Errorf("secret in %v", err)
		}
	})
	t.Run("identity token, older service", func(t *testing.T) {
		login := &Login{User: user, Password: password}
		server := New(t, Wrap(login.Guard), Faults(On("POST", "/token", Answer(405, ""))))
		c := newClient(t, withKeychain(keychain{authn.AuthConfig{IdentityToken: "1dentity", Username: user, Password: password}}))
		ok(t, c.Ping(t.Context(), server.Repo("acme/app").Registry))
	})
}

// Who gives up waiting for a token does not spoil it for the others.
func TestTokenWaitersAreIndependent(t *testing.T) {
	login := &Login{}
	release := make(chan struct{})
	asked := make(chan struct{}, 10)
	server := loginServer(t, login, Faults(On("", "/token", func(http.ResponseWriter, *http.Request, http.Handler) bool {
		asked <- struct{}{}
		<-release
		return false
	})))
	c := newClient(t, withKeychain(ada))
	ref := server.Repo("acme/app").Tag("1.0")
	first, cancel := context.WithCancel(t.Context())
	firstDone, secondDone := make(chan error), make(chan error)
	go func() {
		_, err := c.Resolve(first, ref)
		firstDone <- err
	}()
	<-asked
	go func() {
		_, err := c.Resolve(t.Context(), ref)
		secondDone <- err
	}()
	time.Sleep(50 * time.Millisecond) // for the second to join; it would ask for itself otherwise, which is no failure
	cancel()
	if err := <-firstDone; !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v", err)
	}
	close(release)
	ok(t, <-secondDone)
}

// A server that sets cookies never sees them again: Harbor takes a session cookie for a browser's.
func TestNoCookies(t *testing.T) {
	server := New(t, Faults(Header("Set-Cookie", "sid=1; Path=/")))
	server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, manifest(t, "x", nil))
	c := newClient(t, nil)
	for range 2 {
		_, _, err := c.Manifest(t.Context(), server.Repo("acme/app").Tag("1.0"))
		ok(t, err)
	}
	for _, r := range server.Requests() {
		if r.Header.Get("Cookie") != "" {
			t.Error("cookie")
		}
	}
}
