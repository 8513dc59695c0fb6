package auth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"testing"
	"time"
)

func TestParseChallenge(t *testing.T) {
	tests := []struct {
		fields         []string
		scheme         string
		realm, service string
		scope          string
	}{
		{nil, "", "", "", ""},
		{[]string{""}, "", "", "", ""},
		{[]string{`Basic`}, "basic", "", "", ""},
		{[]string{`basic realm="x, y"`}, "basic", "", "", ""},
		{[]string{`Bearer realm="https://a/token",service="s",scope="repository:a:pull,push"`}, "bearer", "https://a/token", "s", "repository:a:pull,push"},
		{[]string{`bearer Realm = https , service=s`}, "bearer", "https", "s", ""},
		{[]string{`Negotiate, Basic realm="x", Bearer realm="https://a/",service="s"`}, "bearer", "https://a/", "s", ""},
		{[]string{`Basic realm="x"`, `Bearer realm="https://a/"`}, "bearer", "https://a/", "", ""},
		{[]string{`Negotiate`, `Basic realm="x"`}, "basic", "", "", ""},
		{[]string{`Bearer realm="https://a/?x=\"y\\"`}, "bearer", `https://a/?x="y\`, "", ""},
		{[]string{`Bearer realm="https://a/",realm="https://b/"`}, "bearer", "https://a/", "", ""},
		{[]string{`Bearer realm="https://a`}, "bearer", "", "", ""},
		{[]string{`"`, `=`, `,,,`}, "", "", "", ""},
	}
	for _, test := range tests {
		c := parseChallenge(http.Header{"Www-Authenticate": test.fields})
		realm := ""
		if c.realm != nil {
			realm, _ = url.PathUnescape(c.realm.String())
		}
		if c.scheme != test.scheme || realm != test.realm || c.service != test.service || c.scope != test.scope {
			t.Errorf("%q: %+v, realm %q", test.fields, c, realm)
		}
	}
}

func FuzzParseChallenge(f *testing.F) {
	f.Add(`Bearer realm="https://a/token",service="s",scope="repository:a:pull"`)
	f.Add(`Negotiate, Basic realm="x\"", Bearer realm=y`)
	f.Fuzz(func(t *testing.T, field string) {
		c := parseChallenge(http.Header{"Www-Authenticate": {field}})
		if c.scheme == bearer && c.err == nil && c.realm == nil {
			t.Error("a Bearer challenge without a realm passes")
		}
		h := NewRegistry(url.URL{Scheme: "https", Host: "registry.example.com"}, nil, nil, time.Now, time.Hour)
		if err := h.learn(c); err == nil && c.scheme == bearer && h.challenge.realm.Scheme != "https" {
			t.Errorf("token service %s", h.challenge.realm)
		}
	})
}

// FuzzGrantedBy: whatever is in a token, what is read of it can be shown.
func FuzzGrantedBy(f *testing.F) {
	// The payload is one that Harbor 2.14.4 was seen to issue.
	payload := `{"iss":"harbor-token-issuer","sub":"admin","aud":"harbor-registry","exp":1795200198,"nbf":1795198398,"iat":1795198398,` +
		`"jti":"F4Ex2HbK1twJnCeZ","access":[{"type":"repository","name":"lab1/x","actions":["pull","push"]}]}`
	f.Add("e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".e30")
	f.Add("e30.e30.e30")
	f.Add("opaque")
	f.Fuzz(func(t *testing.T, token string) {
		granted, known := grantedBy(token, "lab1/x")
		if !known && granted != nil {
			t.Errorf("%q is not known", granted)
		}
		for _, action := range granted {
			if !printable(action) || len(action) > maxAction {
				t.Errorf("%q", action)
			}
		}
	})
}
