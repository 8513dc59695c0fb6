package registrytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
)

// Catalog has the registry answer as distribution does when it is asked for its repositories: sorted, n at a time whatever
// is asked for, with links to the next. (go-containerregistry's own catalog has no order and no pages.) With a Login it
// has to be behind the guard.
func Catalog(n int) Fault {
	return On("GET", "/v2/_catalog", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		all := repositories(next)
		from, _ := slices.BinarySearch(all, r.URL.Query().Get("last")+"\x00")
		to := min(len(all), from+n)
		if to < len(all) {
			w.Header().Set("Link", fmt.Sprintf(`</v2/_catalog?last=%s&n=%d>; rel="next"`, strings.ReplaceAll(all[to-1], "/", "%2F"), n))
		}
		writeJSON(w, map[string]any{"repositories": all[from:to]})
		return true
	})
}

// repositories are the names of all repositories, sorted.
func repositories(registry http.Handler) []string {
	answer := Real(httptest.NewRequest(http.MethodGet, "/v2/_catalog?n=1000000", nil), registry)
	var catalog struct {
		Repositories []string `json:"repositories"`
	}
	if err := json.Unmarshal(answer.Body, &catalog); err != nil {
		panic(err)
	}
	slices.Sort(catalog.Repositories)
	return catalog.Repositories
}

// Harbor makes of a registry what Harbor 2.14 was seen to be to somebody who wants to list its repositories
// (shared/harbor, exchanges 06-t5 and 07-t6): the catalog is closed, and its own API shows to each what they may see.
//
//	harbor := &registrytest.Harbor{User: "ada", Password: "s3cret-pa55"}
//	server := registrytest.New(t, harbor.Before(nil))
type Harbor struct {
	User, Password string
	// Public tells which projects anybody may see; nil for none.
	Public func(project string) bool
	// Total changes what the header X-Total-Count says; nil leaves it.
	Total func(page, total int) int
}

// Before puts h before a registry and its guard, such as Login.Guard; nil is none. The guard wants tokens, the API
// passwords.
func (h *Harbor) Before(guard func(http.Handler) http.Handler) Option {
	return Wrap(func(registry http.Handler) http.Handler {
		guarded := registry
		if guard != nil {
			guarded = guard(registry)
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !h.api(w, r, registry) {
				guarded.ServeHTTP(w, r)
			}
		})
	})
}

// api answers what is not the registry's.
func (h *Harbor) api(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	switch path := r.URL.Path; {
	case path == "/v2/_catalog":
		w.Header().Set("Www-Authenticate", `Basic realm="harbor"`)
		return Code(http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized to list catalog: unauthorized to list catalog")(w, r, next)
	case path == "/api/v2.0/ping":
		return Answer(http.StatusOK, "Pong", "Content-Type", "text/plain; charset=utf-8")(w, r, next)
	case path == "/api/v2.0/repositories":
		return h.list(w, r, next, "")
	case strings.HasPrefix(path, "/api/v2.0/projects/") && strings.HasSuffix(path, "/repositories"):
		return h.list(w, r, next, strings.Split(path, "/")[4])
	}
	return false
}

// list answers with the repositories of a project, or with all, as far as they may be seen.
func (h *Harbor) list(w http.ResponseWriter, r *http.Request, next http.Handler, project string) bool {
	user, password, ok := r.BasicAuth()
	member := ok && user == h.User && password == h.Password
	if ok && !member {
		return Code(http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized")(w, r, next)
	}
	var visible []map[string]any
	for i, repository := range repositories(next) {
		of, _, _ := strings.Cut(repository, "/")
		if (project == "" || of == project) && (member || h.Public != nil && h.Public(of)) {
			visible = append(visible, map[string]any{"id": i, "name": repository, "project_id": 2, "artifact_count": 1, "pull_count": 0})
		}
	}
	if project != "" && len(visible) == 0 { // absent and invisible are the same
		if !member {
			return Code(http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized")(w, r, next)
		}
		return Code(http.StatusForbidden, "FORBIDDEN", "forbidden")(w, r, next)
	}
	page, size := paging(r)
	if size > 100 {
		return Code(http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY",
			"validation failure list:\npage_size in query should be less than or equal to 100")(w, r, next)
	}
	total := len(visible)
	if h.Total != nil {
		total = h.Total(page, total)
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(total))
	if page*size < len(visible) {
		w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d&page_size=%d>; rel="next"`, r.URL.Path, page+1, size))
	}
	writeJSON(w, cut(visible, page, size))
	return true
}

// paging returns the page that is asked for, from 1, and its size, for which 10 is the default of Harbor and Docker Hub.
func paging(r *http.Request) (page, size int) {
	page, size = 1, 10
	if n, err := strconv.Atoi(r.URL.Query().Get("page")); err == nil && n > 0 {
		page = n
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("page_size")); err == nil && n > 0 {
		size = n
	}
	return page, size
}

// cut returns one page of list, which may be empty but is never null.
func cut[T any](list []T, page, size int) []T {
	from := min(len(list), (page-1)*size)
	return append([]T{}, list[from:min(len(list), from+size)]...)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v)
}
