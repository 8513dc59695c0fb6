package registry

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"airgap/export/registry/auth"

	"github.com/google/go-containerregistry/pkg/name"
)

// APICall is one request to an API that a registry's host has besides that of registries, such as Harbor's.
type APICall struct {
	Op     string // what is tried, for errors, to be followed by the registry's name: "read the quota of project x at"
	Method string // empty means GET
	Path   string // as in url.URL.Path: it is escaped when it is sent, so what has to arrive escaped is given escaped
	Query  url.Values
	Header http.Header // without Authorization and Cookie
	Body   []byte      // nil for none
	Limit  int64       // bytes that the answer's body may have; more wrap bundle.ErrLimit. 0 allows none
	Accept []int       // statuses that are no failure; empty means 200 alone
	// Anonymous sends no credentials, and does not ask for any: for what needs none, or brings them in its body.
	Anonymous bool
	// Token is sent as a Bearer token, instead of the account's password.
	Token string
	// Account is the registry whose account Token and Secrets are of, where it is not this one: for errors.
	Account string
	// Secrets are what is in Body that is never to be shown.
	Secrets []string
}

// APIAnswer is the answer to an APICall, with a status that it accepts.
type APIAnswer struct {
	Status int
	Header http.Header
	Body   []byte
}

// API sends call to the registry's host, with the account's user name and password: Harbor's API takes no tokens of its
// own registry. It is repeated as anything else is, also where it is a POST: an answer that says that something is there
// already may be about this very call. Cookies are not kept, and never sent: Harbor takes a password that comes with its
// cookie for a forged request, and answers 403.
func (c *Client) API(ctx context.Context, reg name.Registry, call APICall) (*APIAnswer, error) {
	home := c.core.host(reg.RegistryStr())
	u := home.base
	u.Path, u.RawQuery = call.Path, call.Query.Encode()
	r := &request{
		op: call.Op, ref: DisplayName(home.name), home: home, method: call.Method, url: &u, header: call.Header, body: call.Body,
		accept: call.Accept, login: call.Account, secrets: call.Secrets, account: len(call.Secrets) > 0 && call.Secrets[0] != "",
	}
	if r.method == "" {
		r.method = http.MethodGet
	}
	if r.op == "" {
		r.op = r.method + " " + sanitize(call.Path, maxCause) + " at"
	}
	if call.Header.Get("Authorization") != "" || call.Header.Get("Cookie") != "" {
		// They would go wherever the answer leads.
		return nil, r.failf("credentials are not to be given as headers")
	}
	switch {
	case call.Token != "":
		r.session = &session{Session: auth.Fixed(call.Token, call.Secrets...), home: home}
	case !call.Anonymous:
		r.session = c.core.sessionFor(reg, auth.Scope{Basic: true})
	}
	resp, body, err := c.core.fetch(ctx, r, call.Limit)
	if err != nil {
		return nil, err
	}
	return &APIAnswer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// Clock returns the registry's time, to the second, from the Date of an answer that needs no credentials; the zero time
// where it does not say. https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1
func (c *Client) Clock(ctx context.Context, reg name.Registry) (time.Time, error) {
	answer, err := c.API(ctx, reg, APICall{
		Op: "ask for the time at", Path: "/v2/", Limit: maxAnswer, Anonymous: true,
		Accept: []int{http.StatusOK, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound},
	})
	if err != nil {
		return time.Time{}, err
	}
	if clock, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		return clock, nil
	}
	return time.Time{}, nil
}
