package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"airgap/bundle/strictjson"
	"airgap/export/registry/flight"
	"airgap/export/registry/retry"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// The credentials of a request, by https://distribution.github.io/distribution/spec/auth/token/ and
// .../spec/auth/oauth/. go-containerregistry's transport package is not used for it, as the package comment says.

// Bounds on tokens.
const (
	maxTokenBody = 64 << 10 // bytes
	maxScope     = 1 << 10  // bytes, of a scope that a challenge asks for
	// defaultLifetime is that of a token whose service does not say, by the specification.
	defaultLifetime = time.Minute
	// renewAhead is how long before its end a token is renewed, or a quarter of its lifetime where that is shorter.
	renewAhead = 30 * time.Second
	clientID   = "airgap"
)

// Actions of a session, as scopes name them.
const (
	pull     = "pull"
	pullPush = "pull,push"
	// catalogActions is of sessions without a repository: to list all of them.
	catalogActions = "catalog"
)

// sessionKey is what a session may be shared for.
type sessionKey struct {
	registry, repository string
	actions              string
	from                 string // another repository, to be pulled from
	anonymous            bool
	basic                bool // no token, but the password itself, as Harbor's API takes it
	once                 bool // nothing is tried twice
}

// session is the right to do something in one repository: it holds the token for it, or the password. Each has its own,
// as keychains may have other credentials for each repository, and services other tokens.
type session struct {
	client   *Client
	home     *host
	resource authn.Resource
	key      sessionKey
	works    atomic.Bool // a request has been answered well
	known    atomic.Bool // there are manifests in the repository
	fixed    bool        // there is no other credential than cred

	mu     sync.Mutex
	cred   *credential
	extra  string // a scope that a challenge asked for
	flight flight.Flight[credential]
}

// credential is an Authorization header; the zero value sends none.
type credential struct {
	header  string
	secrets []string  // what is never to be shown
	account bool      // it is somebody's, not anybody's
	renewAt time.Time // zero: when it is refused
}

type anonymousKeychain struct{}

func (anonymousKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.Anonymous, nil
}

// session returns the one session for actions in repo.
func (c *Client) session(repo name.Repository, actions string) *session {
	return c.sessionFor(repo, sessionKey{registry: repo.RegistryStr(), repository: repo.RepositoryStr(), actions: actions})
}

func (c *Client) sessionFor(resource authn.Resource, key sessionKey) *session {
	home := c.host(key.registry)
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sessions[key]
	if !ok {
		s = &session{client: c, home: home, resource: resource, key: key}
		c.sessions[key] = s
	}
	return s
}

// ForgetTokens drops all tokens for a registry, so that the next requests fetch new ones: Harbor 2.14.4 and later may refuse
// those that are older than the project that they are used in.
func (c *Client) ForgetTokens(reg name.Registry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.sessions, func(key sessionKey, _ *session) bool { return key.registry == reg.RegistryStr() })
}

// scopes returns what a token must allow. Without a repository there is none: such a token only proves the account.
func (s *session) scopes() []string {
	var scopes []string
	switch {
	case s.key.repository != "":
		scopes = append(scopes, "repository:"+s.home.prefixed(s.key.repository)+":"+s.key.actions)
	case s.key.actions == catalogActions:
		scopes = append(scopes, "registry:catalog:*")
	}
	if s.key.from != "" {
		scopes = append(scopes, "repository:"+s.home.prefixed(s.key.from)+":"+pull)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra != "" && !slices.Contains(scopes, s.extra) {
		scopes = append(scopes, s.extra)
	}
	return scopes
}

// credential returns a credential that is good by its time, and fetches one if there is none.
func (s *session) credential(ctx context.Context) (credential, error) {
	s.mu.Lock()
	cred := s.cred
	s.mu.Unlock()
	if cred != nil && (cred.renewAt.IsZero() || s.client.cfg.Now().Before(cred.renewAt)) {
		return *cred, nil
	}
	return s.flight.Do(ctx, func(ctx context.Context) (credential, error) {
		cred, err := s.obtain(ctx)
		if err == nil {
			s.mu.Lock()
			s.cred = &cred
			s.mu.Unlock()
		}
		return cred, err
	})
}

// renew returns a credential in place of refused, which was answered with 401 and the given header: the one that
// somebody else has got meanwhile, or a new one, which may be the same again.
//
// The challenge does not decide how to go on once the registry's way is known. Harbor answers an expired token with a
// Basic challenge, and anything in a missing project with an empty one.
func (s *session) renew(ctx context.Context, refused credential, answer http.Header) (credential, error) {
	if s.fixed {
		return refused, nil
	}
	c := parseChallenge(answer)
	if err := s.home.learn(c); err != nil {
		return credential{}, err
	}
	s.mu.Lock()
	if c.scheme == bearer && validScope(c.scope) {
		s.extra = c.scope
	}
	if s.cred != nil && s.cred.header == refused.header {
		s.cred = nil
	}
	s.mu.Unlock()
	return s.credential(ctx)
}

// validScope tells whether a scope that a challenge asks for is one to pass on to the token service.
func validScope(scope string) bool {
	return scope != "" && len(scope) <= maxScope && printable(scope)
}

// printable tells whether s has only visible ASCII characters and spaces.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

// validToken tells whether token can be sent in a header.
func validToken(token string) bool {
	return token != "" && printable(token) && !strings.Contains(token, " ")
}

// obtain turns what the keychain has into what the registry asks for.
func (s *session) obtain(ctx context.Context) (credential, error) {
	c, err := s.client.challenge(ctx, s.home, s.key.once)
	if err != nil {
		return credential{}, err
	}
	if c.scheme == "" && !s.key.basic {
		return credential{}, nil
	}
	account, err := s.account(ctx)
	if err != nil {
		return credential{}, &Error{Op: "read the credentials for", Ref: DisplayName(s.home.name), At: "credentials", Err: err}
	}
	switch {
	case s.key.basic:
		return basicCredential(account), nil
	case account.RegistryToken != "":
		return credential{header: "Bearer " + account.RegistryToken, secrets: []string{account.RegistryToken}, account: true}, nil
	case c.scheme == bearer:
		return s.token(ctx, c, account)
	}
	return basicCredential(account), nil
}

// Credentials returns what the keychain has for a registry, which may be nothing.
func (c *Client) Credentials(ctx context.Context, reg name.Registry) (*authn.AuthConfig, error) {
	account, err := c.sessionFor(reg, sessionKey{registry: reg.RegistryStr()}).account(ctx)
	if err != nil {
		return nil, &Error{Op: "read the credentials for", Ref: DisplayName(reg.RegistryStr()), At: "credentials", Err: err}
	}
	return account, nil
}

// account asks the keychain. Not for longer than it takes: passwords of some credential helpers expire.
func (s *session) account(ctx context.Context) (*authn.AuthConfig, error) {
	if s.key.anonymous {
		return &authn.AuthConfig{}, nil
	}
	authenticator, err := authn.Resolve(ctx, s.client.cfg.Keychain, s.resource)
	if err != nil {
		return nil, err
	}
	account, err := authn.Authorization(ctx, authenticator)
	if err != nil {
		return nil, err
	}
	if account == nil {
		account = &authn.AuthConfig{}
	}
	return account, nil
}

func basicCredential(account *authn.AuthConfig) credential {
	encoded := account.Auth
	if account.Username != "" || account.Password != "" {
		encoded = base64.StdEncoding.EncodeToString([]byte(account.Username + ":" + account.Password))
	}
	if encoded == "" {
		return credential{}
	}
	return credential{header: "Basic " + encoded, secrets: []string{encoded, account.Password}, account: true}
}

// token gets a token from the registry's token service.
func (s *session) token(ctx context.Context, c challenge, account *authn.AuthConfig) (credential, error) {
	r := &request{op: "get a token for", ref: DisplayName(s.home.name), home: s.home, realm: c.realm, once: s.key.once}
	if account.IdentityToken != "" {
		cred, err := s.exchange(ctx, r, oauthRequest(c, s.scopes(), account.IdentityToken), account.IdentityToken)
		var e *Error
		if !errors.As(err, &e) || e.Status != http.StatusNotFound && e.Status != http.StatusMethodNotAllowed {
			return cred, err
		}
		// Not every service has the newer protocol; a password, if there is one, serves in the older.
	}
	password := basicCredential(account)
	return s.exchange(ctx, r, tokenRequest(c, s.scopes(), account.Username, password.header), password.secrets...)
}

// tokenRequest asks by https://distribution.github.io/distribution/spec/auth/token/.
func tokenRequest(c challenge, scopes []string, user, authorization string) request {
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
	return request{method: http.MethodGet, url: &u, header: header}
}

// oauthRequest asks by https://distribution.github.io/distribution/spec/auth/oauth/.
func oauthRequest(c challenge, scopes []string, identityToken string) request {
	form := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {identityToken}, "client_id": {clientID},
		"service": {c.service}, "scope": {strings.Join(scopes, " ")},
	}
	return request{
		method: http.MethodPost, url: c.realm, body: []byte(form.Encode()),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	}
}

// exchange sends how, completed from r, and reads the token in the answer.
func (s *session) exchange(ctx context.Context, r *request, how request, secrets ...string) (credential, error) {
	r.method, r.url, r.header, r.body = how.method, how.url, how.header, how.body
	r.secrets, r.account = secrets, len(secrets) > 0
	_, body, err := s.client.fetch(ctx, r, maxTokenBody)
	if err != nil {
		return credential{}, err
	}
	var answer struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   seconds `json:"expires_in"`
	}
	if err := strictjson.Unmarshal(body, &answer); err != nil {
		return credential{}, r.failf("its answer is not a token: %w", err)
	}
	token := answer.Token
	if token == "" {
		token = answer.AccessToken
	}
	if !validToken(token) {
		return credential{}, r.failf("its answer holds no token")
	}
	lifetime := time.Duration(answer.ExpiresIn) * time.Second
	if lifetime <= 0 {
		lifetime = defaultLifetime
	}
	return credential{
		header:  "Bearer " + token,
		secrets: append(secrets, token),
		account: len(secrets) > 0,
		renewAt: s.client.cfg.Now().Add(lifetime - min(renewAhead, lifetime/4)),
	}, nil
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

// challenge returns how h wants requests to be authorized. The first call asks it.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#determining-support
func (c *Client) challenge(ctx context.Context, h *host, once bool) (challenge, error) {
	h.mu.Lock()
	known := h.challenge
	h.mu.Unlock()
	if known.known {
		return known, nil
	}
	probe := &h.probe
	if once {
		probe = &h.hasty
	}
	return probe.Do(ctx, func(ctx context.Context) (challenge, error) {
		r := &request{op: "reach", ref: DisplayName(h.name), home: h, method: http.MethodGet, url: h.url(""), document: true}
		err := c.retrying(ctx, once, func() error {
			resp, err := c.hop(ctx, r, r.url, "")
			if err != nil {
				return err
			}
			if retry.Status(resp.StatusCode) {
				return r.failure(resp, c.cfg.Now())
			}
			// Any other answer says no more than how to log in; whether this is a registry, the request itself will show.
			answer := challenge{known: true}
			if resp.StatusCode == http.StatusUnauthorized {
				answer = parseChallenge(resp.Header)
			}
			r.discard(resp)
			return h.learn(answer)
		})
		if err != nil {
			return challenge{}, err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.challenge, nil
	})
}
