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
