package harbortest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What is under /v2/. https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints
var (
	v2Path     = regexp.MustCompile(`^/v2/(.+)/(?:(manifests|referrers)/([^/]+)|(blobs)/([^/]+)|(blobs/uploads)/([^/]*)|(tags/list))$`)
	pathName   = regexp.MustCompile(`^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$`)
	tagName    = regexp.MustCompile(`^[\w][\w.-]{0,127}$`)
	sha256Name = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// target is what a request under /v2/ is about.
type target struct {
	full, project, repo string // a repository, its project and its name in that
	kind, reference     string
}

func parseTarget(path string) (target, bool) {
	parts := v2Path.FindStringSubmatch(path)
	if parts == nil || !pathName.MatchString(parts[1]) {
		return target{}, false
	}
	t := target{full: parts[1]}
	for i := 2; i < len(parts); i += 2 {
		if parts[i] != "" {
			t.kind = parts[i]
			if i+1 < len(parts) {
				t.reference = parts[i+1]
			}
		}
	}
	t.project, t.repo, _ = strings.Cut(t.full, "/")
	return t, true
}

// need is a right in a repository.
type need struct {
	repository string // empty for being logged in
	right      Right
}

// scope is that of a challenge, which asks for what comes with a right as well.
func (n need) scope() string {
	return map[Right]string{Pull: "pull", Push: "pull,push", Delete: "delete"}[n.right]
}

func (n need) action() string {
	_, action, _ := strings.Cut(string(n.right), ":")
	return action
}

// v2 answers a request for the registry.
func (x *exchange) v2() answer {
	if x.r.URL.Path == "/v2/" {
		if x.who.account == nil && x.who.token == nil {
			return x.unauthorized("unauthorized", x.challenge(nil))
		}
		a := status(http.StatusOK, "Content-Type", typeJSON).distribution()
		a.body = []byte("{}")
		return a
	}
	if x.r.URL.Path == "/v2/_catalog" {
		return x.catalog()
	}
	t, ok := parseTarget(x.r.URL.Path)
	switch {
	case !ok:
		return x.unauthorized(fmt.Sprintf("un-recognized request: %s %s", x.r.Method, x.r.URL.Path), "")
	case t.repo == "":
		return refuse(http.StatusBadRequest, problem{Code: "BAD_REQUEST", Message: "bad request: invalid repository name: " + t.full})
	case x.set.ReadOnly && x.right() != Pull:
		return refuse(http.StatusForbidden, readOnly)
	}
	if a := x.denied(x.needs(t)); a != nil {
		return *a
	}
	return x.repositoryRequest(x.projects[t.project], t)
}

// unauthorized is the 401 of the registry's guard, which says everything twice.
func (x *exchange) unauthorized(message, challenge string) answer {
	a := refuse(http.StatusUnauthorized, problem{Code: "UNAUTHORIZED", Message: message + ": " + message}).distribution()
	a.header["Www-Authenticate"] = []string{challenge}
	return a
}

// right is what the request's method asks for.
func (x *exchange) right() Right {
	switch x.r.Method {
	case http.MethodGet, http.MethodHead:
		return Pull
	case http.MethodDelete:
		return Delete
	}
	return Push
}

func (x *exchange) needs(t target) []need {
	right := x.right()
	if t.kind == "blobs/uploads" {
		right = Push // to give an upload up, and to look at it (of the latter, assumed)
	}
	wanted := []need{{t.full, right}}
	if query := x.r.URL.Query(); x.r.Method == http.MethodPost && query.Get("mount") != "" && query.Get("from") != "" {
		wanted = append(wanted, need{query.Get("from"), Pull})
	}
	return wanted
}

// denied returns why the request may not do what it needs to, or nil. Reading without an Authorization header is refused
// everywhere, in public projects too, so that clients get themselves a token.
func (x *exchange) denied(wanted []need) *answer {
	refusal := func(message, challenge string) *answer {
		a := x.unauthorized(message, challenge)
		return &a
	}
	for _, n := range wanted {
		if !x.who.sent && (x.r.Method == http.MethodGet || x.r.Method == http.MethodHead) {
			return refusal("authorize header needed to send HEAD to repository", x.challenge(wanted))
		}
		name, _, _ := strings.Cut(n.repository, "/")
		p := x.projects[name]
		if p == nil {
			return refusal(fmt.Sprintf("project %s not found", name), "") // an empty challenge, which no login satisfies
		}
		if !x.who.can(n.right, p) {
			return refusal(fmt.Sprintf("unauthorized to access repository: %s, action: %s", n.repository, n.action()), x.challenge(wanted))
		}
	}
	return nil
}

// repositoryRequest answers a request that may be made.
func (x *exchange) repositoryRequest(p *project, t target) answer {
	if p.ProxyCache && x.right() == Push {
		return refuse(http.StatusForbidden, problem{Code: "DENIED", Message: "denied: can not push artifact to a proxy project: " + p.Name})
	}
	switch t.kind {
	case "manifests":
		return x.manifests(p, t)
	case "blobs":
		return x.blob(p, t)
	case "blobs/uploads":
		return x.upload(p, t)
	case "referrers":
		return x.referrers(p, t)
	}
	return x.tagsList(p, t)
}

// catalog is for administrators who come with their password.
func (x *exchange) catalog() answer {
	if x.who.account == nil || !x.who.account.admin {
		return x.unauthorized("unauthorized to list catalog", `Basic realm="harbor"`)
	}
	var names []string
	for _, p := range x.projects {
		for repo := range p.repos {
			names = append(names, p.Name+"/"+repo)
		}
	}
	slices.Sort(names)
	page, link := x.cut(names)
	a := show(map[string]any{"repositories": page}).distribution()
	a.header.Set("Content-Type", typeJSON)
	a.header.Del("Docker-Distribution-Api-Version")
	setLink(a, link)
	return a
}

func (x *exchange) tagsList(p *project, t target) answer {
	r := p.repos[t.repo]
	if r == nil {
		return notFound("repository " + t.full + " not found")
	}
	page, link := x.cut(slices.Sorted(maps.Keys(r.tags)))
	a := show(map[string]any{"name": t.full, "tags": page})
	a.header.Set("Content-Type", typeJSON)
	setLink(a, link)
	return a
}

func setLink(a answer, link string) {
	if link != "" {
		a.header.Set("Link", link)
	}
}

// cut returns the part of a sorted list that n and last ask for, never nil, and a link to the next.
func (x *exchange) cut(list []string) (page []string, link string) {
	query := x.r.URL.Query()
	start, found := slices.BinarySearch(list, query.Get("last"))
	if found {
		start++
	}
	page = append([]string{}, list[start:]...)
	n, err := strconv.Atoi(query.Get("n"))
	if err != nil || n <= 0 || n >= len(page) {
		return page, ""
	}
	page = page[:n]
	next := url.Values{"last": {page[n-1]}, "n": {strconv.Itoa(n)}}
	return page, fmt.Sprintf(`<%s?%s>; rel="next"`, x.r.URL.Path, next.Encode())
}
