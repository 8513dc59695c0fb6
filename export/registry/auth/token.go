package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"airgap/bundle/strictjson"

	"github.com/google/go-containerregistry/pkg/authn"
)

const (
	// MaxToken bounds the answer of a token service, in bytes.
	MaxToken = 64 << 10
	maxScope = 1 << 10 // bytes, of a scope that a challenge asks for
	// defaultLifetime is that of a token whose service does not say, by the specification.
	defaultLifetime = time.Minute
	// renewAhead is how long before its end a token is renewed, or a quarter of its lifetime where that is shorter.
	renewAhead = 30 * time.Second
	clientID   = "airgap"
)

// token gets a token from the registry's token service.
func (s *Session) token(ctx context.Context, c challenge, account *authn.AuthConfig) (Credential, error) {
	if account.IdentityToken != "" {
		cred, status, err := s.exchange(ctx, oauthRequest(c, s.scopes(), account.IdentityToken), account.IdentityToken)
		if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
			return cred, err
		}
		// Not every service has the newer protocol; a password, if there is one, serves in the older.
	}
	password := basicCredential(account)
	cred, _, err := s.exchange(ctx, tokenRequest(c, s.scopes(), account.Username, password.Header), password.Secrets...)
	return cred, err
}

// tokenRequest asks by https://distribution.github.io/distribution/spec/auth/token/.
func tokenRequest(c challenge, scopes []string, user, authorization string) *TokenRequest {
	u := *c.realm
	query := u.Query()
	if c.service != "" {
		query.Set("service", c.service)
	}
	for _, scope := range scopes {
		query.Add("scope", scope)
	}
	if user != "" && authorization != "" {
		query.Set("account", user)
	}
	u.RawQuery = query.Encode()
	header := http.Header{}
	if authorization != "" {
		header.Set("Authorization", authorization)
	}
	return &TokenRequest{Method: http.MethodGet, URL: &u, Header: header}
}

// oauthRequest asks by https://distribution.github.io/distribution/spec/auth/oauth/.
func oauthRequest(c challenge, scopes []string, identityToken string) *TokenRequest {
	form := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {identityToken}, "client_id": {clientID},
		"service": {c.service}, "scope": {strings.Join(scopes, " ")},
	}
	return &TokenRequest{
		Method: http.MethodPost, URL: c.realm, Body: []byte(form.Encode()),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	}
}

// exchange sends t, and reads the token in the answer. status is that of the answer, or 0.
func (s *Session) exchange(ctx context.Context, t *TokenRequest, secrets ...string) (cred Credential, status int, err error) {
	t.Secrets, t.Once = secrets, s.scope.Once
	status, err = s.registry.sender.Token(ctx, t, func(body []byte) error {
		var answer struct {
			Token       string  `json:"token"`
			AccessToken string  `json:"access_token"`
			ExpiresIn   seconds `json:"expires_in"`
		}
		if err := strictjson.Unmarshal(body, &answer); err != nil {
			return fmt.Errorf("its answer is not a token: %w", err)
		}
		token := cmp.Or(answer.Token, answer.AccessToken)
		if !validToken(token) {
			return errors.New("its answer holds no token")
		}
		lifetime := time.Duration(answer.ExpiresIn) * time.Second
		if lifetime <= 0 {
			lifetime = defaultLifetime
		}
		cred = Credential{
			Header:  "Bearer " + token,
			Secrets: append(slices.Clone(secrets), token),
			Account: len(secrets) > 0,
			renewAt: s.registry.now().Add(lifetime - min(renewAhead, lifetime/4)),
		}
		return nil
	})
	return cred, status, err
}

// seconds is a number that some services send as a string, or as a float.
type seconds int64

// UnmarshalJSON implements json.Unmarshaler. A lifetime that cannot be read is none: that only costs a renewal.
func (s *seconds) UnmarshalJSON(b []byte) error {
	if f, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64); err == nil && f > 0 {
		*s = seconds(min(f, 365*24*3600))
	}
	return nil
}
