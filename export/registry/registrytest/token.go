package registrytest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Login is a token service and the guard before a registry that honours its tokens, by
// https://distribution.github.io/distribution/spec/auth/token/. Set its fields before its first use:
//
//	login := &registrytest.Login{User: "ada", Password: "s3cret-pa55"}
//	server := registrytest.New(t, registrytest.Wrap(login.Guard))
//
// The service is at /token of the same server, or of another (Realm, with Service).
type Login struct {
	User, Password string
	// Public tells which repositories anybody may pull from; nil for none.
	Public func(repository string) bool
	// Realm is the address of the token service; empty for /token at the registry.
	Realm string
	// BasicAfterToken answers a token that does not suffice with a Basic challenge, as Harbor does.
	BasicAfterToken bool
	// Lifetime is what the service says that its tokens last, in seconds; 0 says nothing. They last until Expire.
	Lifetime int

	mu     sync.Mutex
	issued map[string][]string // token to scopes, "repository:name:action"
	count  int
}

// Expire makes all tokens so far worthless.
func (l *Login) Expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.issued = nil
}

// Issued returns how many tokens there were.
func (l *Login) Issued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// Service starts the token service on a server of its own, whose address becomes Realm.
func (l *Login) Service(t testing.TB) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(server.Close)
	l.Realm = server.URL + "/token"
	return server
}

// Guard lets only those requests pass to next that have a token for them.
func (l *Login) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			l.serve(w, r)
		case l.allowed(r):
			next.ServeHTTP(w, r)
		default:
			l.refuse(w, r)
		}
	})
}

// need returns the scopes that a request needs; none for /v2/, which any token opens.
func need(r *http.Request) []string {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	if path == "_catalog" {
		return []string{"registry:catalog:*"}
	}
	for _, part := range []string{"/manifests/", "/blobs/", "/referrers/", "/tags/"} {
		if repo, _, ok := strings.Cut(path, part); ok {
			if r.Method == "DELETE" && part == "/manifests/" {
				return []string{"repository:" + repo + ":delete"} // as distribution has it
			}
			scopes := []string{"repository:" + repo + ":pull"}
			if r.Method != "GET" && r.Method != "HEAD" {
				scopes = append(scopes, "repository:"+repo+":push")
				if from := r.URL.Query().Get("from"); from != "" {
					scopes = append(scopes, "repository:"+from+":pull")
				}
			}
			return scopes
		}
	}
	return nil
}

func (l *Login) allowed(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	granted, ok := l.issued[token]
	if !ok {
		return false
	}
	for _, scope := range need(r) {
		if !slices.Contains(granted, scope) {
			return false
		}
	}
	return true
}

func (l *Login) refuse(w http.ResponseWriter, r *http.Request) {
	realm := l.Realm
	if realm == "" {
		realm = "http://" + r.Host + "/token"
	}
	challenge := fmt.Sprintf(`Bearer realm="%s",service="registry, \"test\""`, realm)
	if l.BasicAfterToken && r.Header.Get("Authorization") != "" {
		challenge = `Basic realm="harbor"`
	}
	w.Header().Set("Www-Authenticate", challenge)
	// What is sent back here must not come up in an error.
	Code(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required, not "+r.Header.Get("Authorization"))(w, r, nil)
}

func (l *Login) serve(w http.ResponseWriter, r *http.Request) {
	user, password, ok := r.BasicAuth()
	known := ok && user == l.User && password == l.Password
	if ok && !known {
		Code(http.StatusUnauthorized, "UNAUTHORIZED", "wrong password "+password)(w, r, nil)
		return
	}
	if service := r.URL.Query().Get("service"); service != `registry, "test"` {
		Answer(http.StatusBadRequest, "unknown service", "Content-Type", "text/plain")(w, r, nil)
		return
	}
	token := rand.Text()
	var granted []string
	for _, scope := range r.URL.Query()["scope"] {
		granted = append(granted, l.grant(scope, known)...)
	}
	l.mu.Lock()
	if l.issued == nil {
		l.issued = make(map[string][]string)
	}
	l.issued[token] = granted
	l.count++
	l.mu.Unlock()
	lifetime := ""
	if l.Lifetime > 0 {
		lifetime = fmt.Sprintf(`,"expires_in":%d`, l.Lifetime)
	}
	Answer(http.StatusOK, fmt.Sprintf(`{"token":%q,"access_token":""%s}`, token, lifetime), "Content-Type", "application/json")(w, r, nil)
}

// grant returns what of scope is allowed. Not granting all of it is no error, by the specification.
func (l *Login) grant(scope string, known bool) []string {
	parts := strings.Split(scope, ":")
	if len(parts) != 3 {
		return nil
	}
	var granted []string
	for action := range strings.SplitSeq(parts[2], ",") {
		if known || action == "pull" && l.Public != nil && l.Public(parts[1]) {
			granted = append(granted, parts[0]+":"+parts[1]+":"+action)
		}
	}
	return granted
}
