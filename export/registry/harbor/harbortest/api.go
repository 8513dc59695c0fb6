package harbortest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const apiPrefix = "/api/v2.0/"

// route is an operation of the API: a method, and a path below apiPrefix in which {} stands for one segment. Segments are
// escaped once more than others have them: a repository's name has its slashes as %2F.
type route struct {
	method, path string
	handle       func(x *exchange, segments []string) answer
}

var routes = []route{
	{"GET", "ping", (*exchange).ping},
	{"GET", "health", (*exchange).health},
	{"GET", "systeminfo", (*exchange).systemInfo},
	{"GET", "users/current", (*exchange).currentUser},
	{"GET", "system/gc/schedule", (*exchange).gcSchedule},
	{"GET", "quotas", (*exchange).quotas},
	{"GET", "repositories", (*exchange).allRepositories},
	{"GET", "projects", (*exchange).listProjects},
	{"HEAD", "projects", (*exchange).headProject},
	{"POST", "projects", (*exchange).createProject},
	{"GET", "projects/{}", (*exchange).getProject},
	{"DELETE", "projects/{}", (*exchange).deleteProject},
	{"GET", "projects/{}/summary", (*exchange).summary},
	{"GET", "projects/{}/metadatas", (*exchange).metadatas},
	{"GET", "projects/{}/immutabletagrules", (*exchange).immutableRules},
	{"GET", "projects/{}/repositories", (*exchange).listRepositories},
	{"DELETE", "projects/{}/repositories/{}", (*exchange).deleteRepository},
	{"GET", "projects/{}/repositories/{}/artifacts", (*exchange).listArtifacts},
	{"GET", "projects/{}/repositories/{}/artifacts/{}", (*exchange).getArtifact},
	{"DELETE", "projects/{}/repositories/{}/artifacts/{}", (*exchange).removeArtifact},
	{"GET", "projects/{}/repositories/{}/artifacts/{}/accessories", (*exchange).listAccessories},
	{"POST", "projects/{}/repositories/{}/artifacts/{}/tags", (*exchange).createTag},
	{"DELETE", "projects/{}/repositories/{}/artifacts/{}/tags/{}", (*exchange).deleteTag},
}

// match returns the segments that stand for {}.
func (r route) match(method, path string) (segments []string, ok bool) {
	have, want := strings.Split(path, "/"), strings.Split(r.path, "/")
	if method != r.method || len(have) != len(want) {
		return nil, false
	}
	for i := range want {
		if want[i] == "{}" {
			segments = append(segments, have[i])
		} else if have[i] != want[i] {
			return nil, false
		}
	}
	return segments, true
}

// api answers a request for Harbor's API, and gives out a session with it.
func (x *exchange) api() answer {
	a := x.apiAnswer()
	a.header.Set("Set-Cookie", "sid="+strings.ToLower(newUUID())+"; Path=/; HttpOnly")
	return a
}

func (x *exchange) apiAnswer() answer {
	if x.forged() {
		a := refuse(http.StatusForbidden, problem{Code: "FORBIDDEN", Message: "CSRF token not found in request"})
		a.header.Set("X-Harbor-Csrf-Token", randomBase64())
		return a
	}
	if x.set.ReadOnly && x.right() != Pull {
		return refuse(http.StatusForbidden, readOnly)
	}
	for _, r := range routes {
		if segments, ok := r.match(x.r.Method, strings.TrimPrefix(x.r.URL.Path, apiPrefix)); ok {
			return r.handle(x, segments)
		}
	}
	return notFound(fmt.Sprintf("path %s was not found", x.r.URL.Path))
}

// forbidden is for who may not do something: 401 for nobody, 403 for anybody.
func (x *exchange) forbidden() answer {
	if x.who.account == nil {
		return refuse(http.StatusUnauthorized, unauth)
	}
	return refuse(http.StatusForbidden, forbid)
}

// project returns the project with that name, or number, if the account has a right in it. Who is no administrator cannot
// tell one that does not exist from one that is not theirs.
func (x *exchange) project(nameOrID string, right Right) (*project, *answer) {
	p := x.projects[nameOrID]
	if id, err := strconv.Atoi(nameOrID); err == nil && x.r.Header.Get("X-Is-Resource-Name") != "true" {
		p = nil
		for _, one := range x.projects {
			if one.id == id {
				p = one
			}
		}
	}
	var a answer
	switch {
	case p != nil && x.who.account.can(right, p):
		return p, nil
	case p == nil && x.who.account != nil && x.who.account.admin:
		a = notFound(fmt.Sprintf("project %s not found", nameOrID))
	default:
		a = x.forbidden()
	}
	return nil, &a
}

// paged cuts a list to the page that is asked for.
func paged[T any](x *exchange, list []T) answer {
	query := x.r.URL.Query()
	page, _ := strconv.Atoi(cmp.Or(query.Get("page"), "1"))
	size, _ := strconv.Atoi(cmp.Or(query.Get("page_size"), "10"))
	if size > 100 {
		return unprocessable("page_size in query should be less than or equal to 100")
	}
	size, page = max(size, 1), max(page, 1)
	from, to := min((page-1)*size, len(list)), min(page*size, len(list))
	a := show(append([]T{}, list[from:to]...), "X-Total-Count", strconv.Itoa(len(list)))
	var links []string
	link := func(number int, rel string) {
		next := x.r.URL.Query()
		next.Set("page", strconv.Itoa(number))
		next.Set("page_size", strconv.Itoa(size))
		links = append(links, fmt.Sprintf(`<%s?%s>; rel="%s"`, x.r.URL.EscapedPath(), next.Encode(), rel))
	}
	if page > 1 {
		link(page-1, "prev")
	}
	if to < len(list) {
		link(page+1, "next")
	}
	setLink(a, strings.Join(links, " , "))
	return a
}

func unprocessable(message string) answer {
	return refuse(http.StatusUnprocessableEntity, problem{Code: "UNPROCESSABLE_ENTITY", Message: "validation failure list:\n" + message})
}

// timestamp is a time as the API writes it.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// unescape undoes the second escaping of a segment.
func unescape(segment string) string {
	name, err := url.PathUnescape(segment)
	if err != nil {
		return segment
	}
	return name
}
