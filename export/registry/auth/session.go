// Package auth gets the credentials with which requests to a registry are sent: it reads what the registry asks for, asks the
// keychain for the account, and trades that for tokens, which it keeps as long as they are good. It sends nothing by itself,
// see Sender, and decides nothing about where credentials go besides the token service.
//
// go-containerregistry's transport package is not used for it: it refuses token services on private addresses, which is where
// air-gapped networks have them, and falls back from https to http.
package auth

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"airgap/export/registry/flight"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Scope is what a session is for. The repository is named as it is at its host.
type Scope struct {
	Repository string // "" for none
	Actions    string // as scopes of the token service name them: "pull", "pull,push"; Catalog without a repository
	From       string // another repository, to be pulled from
	Anonymous  bool   // without the account
	Basic      bool   // no token, but the password itself, as Harbor's API takes it
	Once       bool   // nothing is tried twice
}

// Catalog is the action of sessions that list all repositories.
const Catalog = "catalog"

// Sender sends what this package has to ask. Its errors go through to whoever wants a credential.
type Sender interface {
	// Probe asks the registry for nothing (GET /v2/), without credentials, and returns the answer's status and header,
	// whatever they are; what may be answered otherwise another time is tried again, but for once.
	Probe(ctx context.Context, once bool) (status int, header http.Header, err error)
	// Token sends a request to the registry's token service, and has the body of the answer read, of MaxToken bytes at
	// most. Whatever goes wrong, read's own error too, is an error about the token service. status is that of the answer,
	// or 0.
	Token(ctx context.Context, t *TokenRequest, read func(body []byte) error) (status int, err error)
}

// TokenRequest is a request to a token service.
type TokenRequest struct {
	Method  string
	URL     *url.URL
	Header  http.Header
	Body    []byte
	Secrets []string // the account's, never to be shown; none where it is a stranger's
	Once    bool     // it is not tried again
}

// Error is a failure to get credentials that no request has ended in.
type Error struct {
	At  string // "credentials" for the keychain, or "token service"
	Err error
}

// Error implements error.
func (e *Error) Error() string { return e.At + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Registry is how one registry wants requests to be authorized. It is safe for concurrent use.
type Registry struct {
	base     url.URL
	keychain authn.Keychain
	sender   Sender
	now      func() time.Time
	believed time.Duration

	mu        sync.Mutex
	challenge challenge
	learned   time.Time
	probe     flight.Flight[challenge]
	probeOnce flight.Flight[challenge] // for mirrors
}

// NewRegistry returns the Registry at base, with the accounts that keychain has. How it wants requests to be authorized is
// believed for some time, and asked again then: it may move its token service while somebody waits for images for weeks.
func NewRegistry(base url.URL, keychain authn.Keychain, sender Sender, now func() time.Time, believed time.Duration) *Registry {
	return &Registry{base: base, keychain: keychain, sender: sender, now: now, believed: believed}
}

// Session is the right to do something in one repository: it holds the token for it, or the password. Each has its own,
// as keychains may have other credentials for each repository, and services other tokens. It is safe for concurrent use.
type Session struct {
	registry *Registry // nil: there is no other credential than cred
	resource authn.Resource
	scope    Scope

	mu     sync.Mutex
	cred   *Credential
	extra  string // a scope that a challenge asked for
	flight flight.Flight[Credential]
}

// Session returns a new session, for which the keychain is asked with resource.
func (r *Registry) Session(resource authn.Resource, scope Scope) *Session {
	return &Session{registry: r, resource: resource, scope: scope}
}

// Fixed returns a session that has this token and will never have another.
func Fixed(token string, secrets ...string) *Session {
	return &Session{cred: &Credential{Header: "Bearer " + token, Secrets: append(slices.Clone(secrets), token), Account: true}}
}

// Credential is an Authorization header; the zero value sends none.
type Credential struct {
	Header  string
	Secrets []string  // what is never to be shown
	Account bool      // it is somebody's, not anybody's
	renewAt time.Time // zero: when it is refused
}

// scopes returns what a token must allow. Without a repository there is none: such a token only proves the account.
func (s *Session) scopes() []string {
	var scopes []string
	switch {
	case s.scope.Repository != "":
		scopes = append(scopes, "repository:"+s.scope.Repository+":"+s.scope.Actions)
	case s.scope.Actions == Catalog:
		scopes = append(scopes, "registry:catalog:*")
	}
	if s.scope.From != "" {
		scopes = append(scopes, "repository:"+s.scope.From+":pull")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra != "" && !slices.Contains(scopes, s.extra) {
		scopes = append(scopes, s.extra)
	}
	return scopes
}

// Credential returns a credential that is good by its time, and fetches one if there is none.
func (s *Session) Credential(ctx context.Context) (Credential, error) {
	s.mu.Lock()
	cred := s.cred
	s.mu.Unlock()
	if cred != nil && (cred.renewAt.IsZero() || s.registry.now().Before(cred.renewAt)) {
		return *cred, nil
	}
	return s.flight.Do(ctx, func(ctx context.Context) (Credential, error) {
		cred, err := s.obtain(ctx)
		if err == nil {
			s.mu.Lock()
			s.cred = &cred
			s.mu.Unlock()
		}
		return cred, err
	})
}

// Renew returns a credential in place of refused, which was answered with 401 and the given header: the one that
// somebody else has got meanwhile, or a new one, which may be the same again.
//
// The challenge does not decide how to go on once the registry's way is known. Harbor answers an expired token with a
// Basic challenge, and anything in a missing project with an empty one.
func (s *Session) Renew(ctx context.Context, refused Credential, answer http.Header) (Credential, error) {
	if s.registry == nil {
		return refused, nil
	}
	c := parseChallenge(answer)
	if err := s.registry.learn(c); err != nil {
		return Credential{}, err
	}
	s.mu.Lock()
	if c.scheme == bearer && validScope(c.scope) {
		s.extra = c.scope
	}
	if s.cred != nil && s.cred.Header == refused.Header {
		s.cred = nil
	}
	s.mu.Unlock()
	return s.Credential(ctx)
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
func (s *Session) obtain(ctx context.Context) (Credential, error) {
	c, err := s.registry.ask(ctx, s.scope.Once)
	if err != nil {
		return Credential{}, err
	}
	if c.scheme == "" && !s.scope.Basic {
		return Credential{}, nil
	}
	account := &authn.AuthConfig{}
	if !s.scope.Anonymous { // not kept: passwords of some credential helpers expire
		account, err = s.registry.Account(ctx, s.resource)
	}
	if err != nil {
		return Credential{}, &Error{At: "credentials", Err: err}
	}
	switch {
	case s.scope.Basic:
		return basicCredential(account), nil
	case account.RegistryToken != "":
		return Credential{Header: "Bearer " + account.RegistryToken, Secrets: []string{account.RegistryToken}, Account: true}, nil
	case c.scheme == bearer:
		return s.token(ctx, c, account)
	}
	return basicCredential(account), nil
}

// Account asks the keychain for what it has for resource, which may be nothing.
func (r *Registry) Account(ctx context.Context, resource authn.Resource) (*authn.AuthConfig, error) {
	authenticator, err := authn.Resolve(ctx, r.keychain, resource)
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

func basicCredential(account *authn.AuthConfig) Credential {
	encoded := account.Auth
	if account.Username != "" || account.Password != "" {
		encoded = base64.StdEncoding.EncodeToString([]byte(account.Username + ":" + account.Password))
	}
	if encoded == "" {
		return Credential{}
	}
	return Credential{Header: "Basic " + encoded, Secrets: []string{encoded, account.Password}, Account: true}
}
