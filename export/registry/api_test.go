package registry_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
)

// apiOf answers requests for an API and keeps what was sent.
type apiOf struct {
	status int
	body   string
	got    []*http.Request
	bodies []string
}

func (a *apiOf) fault(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	body, _ := io.ReadAll(r.Body)
	a.got, a.bodies = append(a.got, r), append(a.bodies, string(body))
	w.Header().Set("Set-Cookie", "sid=0123456789; Path=/; HttpOnly")
	return Answer(a.status, a.body, "Content-Type", "application/json; charset=utf-8")(w, r, nil)
}

func TestAPI(t *testing.T) {
	api := &apiOf{status: 201, body: `{"a":1}`}
	login := &Login{User: user, Password: password}
	server := New(t, Faults(On("", "/api/", api.fault)), Wrap(login.Guard))
	c := newClient(t, withKeychain(ada))
	reg := server.Repo("x/y").Registry
	call := registry.APICall{
		Op: "make project x at", Method: "POST", Path: "/api/v2.0/projects/a%2Fb", Query: url.Values{"page": {"1"}},
		Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"b":2}`), Limit: 100, Accept: []int{201, 409},
	}
	answer, err := c.API(t.Context(), reg, call)
	ok(t, err)
	if answer.Status != 201 || string(answer.Body) != api.body || answer.Header.Get("Content-Type") == "" {
		t.Errorf("%+v", answer)
	}
	if got := api.got[0]; got.Method != "POST" || got.RequestURI != "/api/v2.0/projects/a%252Fb?page=1" || api.bodies[0] != `{"b":2}` {
		t.Errorf("%s %s %s", got.Method, got.RequestURI, api.bodies[0])
	}
	api.status = 409
	answer, err = c.API(t.Context(), reg, call)
	ok(t, err)
	if answer.Status != 409 {
		t.Errorf("status %d", answer.Status)
	}
	call.Anonymous = true
	_, err = c.API(t.Context(), reg, call)
	ok(t, err)
	for i, want := range []bool{true, true, false} {
		name, word, sent := api.got[i].BasicAuth()
		if sent != want || sent && (name != user || word != password) || api.got[i].Header.Get("Cookie") != "" {
			t.Errorf("request %d: Basic %t, cookie %q", i, sent, api.got[i].Header.Get("Cookie"))
		}
	}
	if login.Issued() != 0 {
		t.Error("tokens were asked for")
	}
}

func TestAPIFailures(t *testing.T) {
	for label, test := range map[string]struct {
		status  int
		body    string
		want    error
		message string
	}{
		"forbidden":    {403, `{"errors":[{"code":"FORBIDDEN","message":"forbidden"}]}`, registry.ErrForbidden, "403 Forbidden: FORBIDDEN: forbidden"},
		"unauthorized": {401, `{"errors":[{"code":"UNAUTHORIZED","message":"not ` + password + `"}]}`, registry.ErrUnauthorized, "not ***"},
		"not found":    {404, `{"errors":[{"code":"NOT_FOUND","message":"project x not found"}]}`, registry.ErrNotFound, "project x not found"},
		"precondition": {412, `{"errors":[{"code":"PRECONDITION","message":"not for robots"}]}`, nil, "412 Precondition Failed: PRECONDITION: not for robots"},
		"unaccepted":   {201, `{}`, nil, "201"},
		"too long":     {200, strings.Repeat("x", 101), bundle.ErrLimit, "100 bytes"},
		"out of order": {502, `<html>`, registry.ErrUnavailable, "502"},
	} {
		t.Run(label, func(t *testing.T) {
			api := &apiOf{status: test.status, body: test.body}
			server := New(t, Faults(On("", "/api/", api.fault)))
			c := newClient(t, withKeychain(ada))
			_, err := c.API(t.Context(), server.Repo("x/y").Registry, registry.APICall{Op: "read project x at", Path: "/api/p", Limit: 100})
			wantError(t, err, test.want, "read project x at "+server.Host(), test.message)
			if tries := len(api.got); test.status == 502 && tries != 6 || test.status != 502 && test.status != 401 && tries != 1 {
				t.Errorf("tried %d times", tries)
			}
		})
	}
}

// Whatever the API answers, the password stays at the registry.
func TestAPIRedirects(t *testing.T) {
	var got []http.Header
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header) }))
	defer thief.Close()
	server := New(t, Faults(On("GET", "/api/", RedirectTo(thief.URL))))
	c := newClient(t, withKeychain(ada))
	_, _ = c.API(t.Context(), server.Repo("x/y").Registry, registry.APICall{Path: "/api/p", Limit: 100})
	if len(got) != 1 || got[0].Get("Authorization") != "" {
		t.Errorf("the other host got %v", got)
	}
	for _, header := range []string{"Authorization", "Cookie"} {
		_, err := c.API(t.Context(), server.Repo("x/y").Registry, registry.APICall{Path: "/api/p", Header: http.Header{header: {password}}})
		wantError(t, err, nil, "credentials")
	}
	if len(got) != 1 {
		t.Error("sent credentials that were given as headers")
	}
}

// harborToken makes a token service that gives tokens with this payload, whoever asks.
func harborToken(payload string) Fault {
	token := "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2lnbmF0dXJl"
	return On("GET", "/token", Answer(200, `{"token":"`+token+`","access_token":"","expires_in":1800}`, "Content-Type", "application/json"))
}

func TestGranted(t *testing.T) {
	const other = `{"type":"repository","name":"lab/other","actions":["pull"]},{"type":"registry","name":"lab/app","actions":["*"]}`
	for label, test := range map[string]struct {
		payload string
		known   bool
		want    []string
	}{
		"all":            {`{"access":[` + other + `,{"type":"repository","name":"lab/app","actions":["pull","push","delete"]}]}`, true, []string{"pull", "push", "delete"}},
		"wrong password": {`{"sub":"","access":[{"type":"repository","name":"lab/app","actions":[]}]}`, true, nil},
		"null":           {`{"access":[{"type":"repository","name":"lab/app","actions":null}]}`, true, nil},
		"not mentioned":  {`{"access":[` + other + `]}`, true, nil},
		"none":           {`{"access":[]}`, true, nil},
		"twice":          {`{"access":[{"type":"repository","name":"lab/app","actions":["pull"]},{"type":"repository","name":"lab/app","actions":["pull","*"]}]}`, true, []string{"pull", "*"}},
		"hostile":        {`{"access":[{"type":"repository","name":"lab/app","actions":["pu\nll","` + strings.Repeat("a", 65) + `","push"]}]}`, true, []string{"push"}},
		"no claim":       {`{"sub":"ada"}`, false, nil},
		"not an array":   {`{"access":{}}`, false, nil},
		"keys twice":     {`{"access":[],"access":[]}`, false, nil},
		"not JSON":       {`x`, false, nil},
		"too many":       {`{"access":[` + strings.TrimSuffix(strings.Repeat(`{"type":"repository","name":"x"},`, 257), ",") + `]}`, false, nil},
	} {
		t.Run(label, func(t *testing.T) {
			login := &Login{User: user, Password: password}
			server := New(t, Faults(harborToken(test.payload)), Wrap(login.Guard))
			granted, known, err := newClient(t, withKeychain(ada)).Granted(t.Context(), server.Repo("lab/app"))
			ok(t, err)
			if known != test.known || !slices.Equal(granted, test.want) {
				t.Errorf("granted %q, known %t", granted, known)
			}
			if query := server.Requests()[1].Query; !strings.Contains(query, "scope=repository%3Alab%2Fapp%3Apull%2Cpush") {
				t.Errorf("asked with %s", query)
			}
		})
	}
}

func TestGrantedIsNotKnown(t *testing.T) {
	open := New(t)
	_, known, err := newClient(t, withKeychain(ada)).Granted(t.Context(), open.Repo("lab/app"))
	ok(t, err)
	if known {
		t.Error("known at a registry that asks for nothing")
	}
	login := &Login{User: user, Password: password}
	opaque := New(t, Wrap(login.Guard))
	_, known, err = newClient(t, withKeychain(ada)).Granted(t.Context(), opaque.Repo("lab/app"))
	ok(t, err)
	if known {
		t.Error("known of an opaque token")
	}
	_, _, err = newClient(t, func(c *registry.Config) { c.Keychain = keychain{} }).Granted(t.Context(), opaque.Repo("lab/app"))
	ok(t, err)
	wrong := New(t, Wrap(login.Guard), Faults(On("GET", "/token", Code(401, "UNAUTHORIZED", "wrong "+password))))
	_, _, err = newClient(t, withKeychain(ada)).Granted(t.Context(), wrong.Repo("lab/app"))
	wantError(t, err, registry.ErrUnauthorized, "ask for the rights in "+wrong.Host()+"/lab/app", "token service")
}
