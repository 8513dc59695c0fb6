package harbortest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (s *Server) projectsByName() []*project {
	var list []*project
	for _, name := range slices.Sorted(maps.Keys(s.projects)) {
		list = append(list, s.projects[name])
	}
	return list
}

// headProject tells everybody who is logged in the truth, or only those who may see the project.
func (x *exchange) headProject([]string) answer {
	name := x.r.URL.Query().Get("project_name")
	if x.set.HeadForMembers {
		if _, refusal := x.project(name, ReadProject); refusal != nil {
			return *refusal
		}
	}
	switch {
	case x.who.account == nil:
		return refuse(http.StatusUnauthorized, unauth)
	case name == "":
		return unprocessable("project_name in query is required")
	case x.projects[name] == nil:
		return notFound(fmt.Sprintf("project %s not found", name))
	}
	return status(http.StatusOK)
}

// listProjects shows those that the account may pull from.
func (x *exchange) listProjects([]string) answer {
	list := []any{}
	wanted := x.r.URL.Query().Get("name")
	for _, p := range x.projectsByName() {
		if x.who.account.can(Pull, p) && (wanted == "" || wanted == p.Name) {
			list = append(list, x.projectDocument(p))
		}
	}
	return paged(x, list)
}

func (x *exchange) getProject(segments []string) answer {
	p, refusal := x.project(segments[0], ReadProject)
	if refusal != nil {
		return *refusal
	}
	return show(x.projectDocument(p))
}

func (x *exchange) metadatas(segments []string) answer {
	p, refusal := x.project(segments[0], ReadProject)
	if refusal != nil {
		return *refusal
	}
	return show(p.metadata())
}

// metadata has strings for everything.
func (p *project) metadata() map[string]string {
	m := map[string]string{"public": strconv.FormatBool(p.Public)}
	for key, on := range map[string]bool{
		"enable_content_trust_cosign": p.ContentTrust, "enable_content_trust": p.ContentTrustNotary,
		"prevent_vul": p.PreventVulnerable, "auto_scan": p.AutoScan,
	} {
		if on {
			m[key] = "true"
		}
	}
	if p.Severity != "" {
		m["severity"] = p.Severity
	}
	return m
}

func (x *exchange) projectDocument(p *project) map[string]any {
	const never = "0001-01-01T00:00:00.000Z"
	doc := map[string]any{
		"creation_time": timestamp(p.made), "update_time": timestamp(p.made), "current_user_role_ids": nil,
		"cve_allowlist": map[string]any{"creation_time": never, "update_time": never, "id": p.id, "items": []any{}, "project_id": p.id},
		"metadata":      p.metadata(), "name": p.Name, "owner_id": p.owner.id, "owner_name": p.owner.Name, "project_id": p.id, "repo_count": len(p.repos),
	}
	if who := x.who.account; who != nil && !who.robot && who.can(Push, p) {
		doc["current_user_role_id"], doc["current_user_role_ids"] = 1, []int{1}
	}
	if p.ProxyCache {
		doc["registry_id"] = 1
	}
	return doc
}

// summary leaves the quota out for who may see the project and not that.
func (x *exchange) summary(segments []string) answer {
	p, refusal := x.project(segments[0], ReadProject)
	if refusal != nil {
		return *refusal
	}
	doc := map[string]any{"project_admin_count": 1, "repo_count": len(p.repos)}
	if x.who.account != nil && slices.ContainsFunc([]string{p.Name, AllProjects}, func(project string) bool {
		return slices.Contains(x.who.account.rights[project], ReadQuota)
	}) || x.who.account != nil && x.who.account.admin {
		doc["quota"] = map[string]any{"hard": map[string]int64{"storage": p.limit()}, "used": map[string]int64{"storage": p.used()}}
	}
	return show(doc)
}

func (x *exchange) immutableRules(segments []string) answer {
	p, refusal := x.project(segments[0], ListImmutableRules)
	if refusal != nil {
		return *refusal
	}
	selector := func(pattern, decoration, excluded string, excludes bool) []any {
		if excludes {
			decoration = excluded
		}
		return []any{map[string]any{"kind": "doublestar", "decoration": decoration, "pattern": pattern}}
	}
	list := []any{}
	for i, r := range p.Rules {
		list = append(list, map[string]any{
			"id": i + 1, "disabled": r.Disabled, "action": "immutable", "template": "immutable_template", "params": map[string]any{},
			"tag_selectors":   selector(r.Tag, "matches", "excludes", r.TagExcludes),
			"scope_selectors": map[string]any{"repository": selector(r.Repository, "repoMatches", "repoExcludes", r.RepositoryExcludes)},
		})
	}
	return paged(x, list)
}

var projectName = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

// createProject is POST. What is said of the quota counts only from who could create projects if not everybody could.
func (x *exchange) createProject([]string) answer {
	who := x.who.account
	if refusal := x.mayCreate(); refusal != nil {
		return *refusal
	}
	var request struct {
		Name         string            `json:"project_name"`
		Public       *bool             `json:"public"`
		Metadata     map[string]string `json:"metadata"`
		StorageLimit int64             `json:"storage_limit"`
	}
	err := json.Unmarshal(x.body, &request)
	switch {
	case err != nil: // Harbor's own words, for the one mistake that was recorded
		return unprocessable("parsing project body from \"\" failed, because " +
			"json: cannot unmarshal bool into Go struct field ProjectMetadata.metadata.public of type string")
	case len(request.Name) > 255:
		return unprocessable("validation failure list:\nproject_name in body should be at most 255 chars long")
	case !projectName.MatchString(request.Name):
		return refuse(http.StatusBadRequest, problem{Code: "BAD_REQUEST", Message: "project name is not in lower case or contains illegal characters"})
	case x.projects[request.Name] != nil:
		return refuse(http.StatusConflict, problem{Code: "CONFLICT", Message: fmt.Sprintf("The project named %s already exists", request.Name)})
	}
	settings := Project{Name: request.Name, Public: request.Metadata["public"] == "true" || request.Public != nil && *request.Public}
	if who.canInSystem(CreateProject) && request.StorageLimit > 0 {
		settings.Quota = request.StorageLimit
	}
	owner := who
	if who.robot {
		owner = x.accounts[Admin.Name] // a robot becomes no member of what it makes
	} else if !who.admin {
		who.rights[request.Name] = append(who.rights[request.Name], ProjectAdmin...)
	}
	p := x.newProject(settings, owner)
	return status(http.StatusCreated, "Location", apiPrefix+"projects/"+itoa(p.id))
}

// mayCreate returns why not. Where everybody may, so may robots of the system without a permission for it
// (src/server/v2.0/handler/project.go).
func (x *exchange) mayCreate() *answer {
	who := x.who.account
	var a answer
	refused := func(message string) answer {
		return refuse(http.StatusForbidden, problem{Code: "FORBIDDEN", Message: message})
	}
	switch {
	case who == nil:
		a = refuse(http.StatusUnauthorized, unauth)
	case who.robot && who.project != "":
		a = refused("Only system level robot can create project")
	case x.set.ProjectCreation == "adminonly" && !who.canInSystem(CreateProject):
		a = refused("Only system admin can create project")
	default:
		return nil
	}
	return &a
}
