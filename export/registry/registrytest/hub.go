package registrytest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Hub answers as Docker Hub's API does, as far as it lists repositories.
// https://docs.docker.com/reference/api/hub/latest/operations/listNamespaceRepositories/
type Hub struct {
	*httptest.Server
	User, Password string

	mu      sync.Mutex
	faults  []Fault
	private map[string]bool // by repository
	token   string
	blind   bool
}

// NewHub starts a Hub, which is closed at the end of the test. Its repositories are such as "acme/app", and are private or
// not.
func NewHub(t testing.TB, user, password string, private map[string]bool) *Hub {
	h := &Hub{User: user, Password: password, private: private, token: rand.Text()}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.Close)
	return h
}

// Host returns the server's "host:port".
func (h *Hub) Host() string { return h.Listener.Addr().String() }

// HidePrivate has it show public repositories only, to all, as to an organization access token without the scope to list.
func (h *Hub) HidePrivate() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blind = true
}

// Inject replaces the faults.
func (h *Hub) Inject(faults ...Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = faults
}

func (h *Hub) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	fault := First(h.faults...)
	h.mu.Unlock()
	Then(fault, http.HandlerFunc(h.answer)).ServeHTTP(w, r)
}

func (h *Hub) answer(w http.ResponseWriter, r *http.Request) {
	owner, ok := strings.CutPrefix(r.URL.Path, "/v2/namespaces/")
	owner, isList := strings.CutSuffix(owner, "/repositories")
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/v2/auth/token":
		h.login(w, r)
	case r.Method == http.MethodGet && ok && isList:
		h.list(w, r, owner)
	default:
		Answer(http.StatusNotFound, `{"message":"object not found","errinfo":{}}`, "Content-Type", "application/json")(w, r, nil)
	}
}

func (h *Hub) login(w http.ResponseWriter, r *http.Request) {
	var account struct {
		Identifier string `json:"identifier"`
		Secret     string `json:"secret"`
	}
	if err := json.NewDecoder(r.Body).Decode(&account); err != nil || account.Identifier != h.User || account.Secret != h.Password {
		// What is sent back here must not come up in an error.
		Answer(http.StatusUnauthorized, "not "+account.Secret, "Content-Type", "text/plain")(w, r, nil)
		return
	}
	writeJSON(w, map[string]string{"access_token": h.token})
}

func (h *Hub) list(w http.ResponseWriter, r *http.Request, owner string) {
	authorization := r.Header.Get("Authorization")
	if authorization != "" && authorization != "Bearer "+h.token {
		Answer(http.StatusUnauthorized, `{"message":"unauthorized"}`, "Content-Type", "application/json")(w, r, nil)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var visible []map[string]any
	for repository, private := range h.private {
		of, name, _ := strings.Cut(repository, "/")
		if of == owner && (!private || authorization != "" && !h.blind) {
			visible = append(visible, map[string]any{"name": name, "namespace": of, "is_private": private, "pull_count": 7})
		}
	}
	slices.SortFunc(visible, func(a, b map[string]any) int { return strings.Compare(a["name"].(string), b["name"].(string)) })
	page, size := paging(r)
	size = min(size, 100)
	answer := map[string]any{"count": len(visible), "next": nil, "previous": nil, "results": cut(visible, page, size)}
	if page*size < len(visible) {
		answer["next"] = fmt.Sprintf("https://hub.docker.com%s?page=%d&page_size=%d", r.URL.Path, page+1, size)
	}
	writeJSON(w, answer)
}
