package harbor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"airgap/bundle"
	"airgap/bundle/strictjson"
	"airgap/export/registry"
)

// maxProjectName is the longest name that a project can have, in bytes: above it Harbor answers 422.
const maxProjectName = 255

var projectName = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

// CheckProjectName returns an error that wraps bundle.ErrFormat for a name that Harbor gives to no project: it answers 400
// to upper case, a slash, two separators in a row and one at either end.
func CheckProjectName(project string) error {
	if len(project) > maxProjectName || !projectName.MatchString(project) {
		return fmt.Errorf("%w: no project of Harbor can be called %.80q", bundle.ErrFormat, project)
	}
	return nil
}

// projectCall is a request for what a project has under that part of its path.
func projectCall(op, project, part string) (call, error) {
	if err := CheckProjectName(project); err != nil {
		return call{}, err
	}
	return call{op: fmt.Sprintf("%s project %s at", op, project), path: "/projects/" + project + part, limit: maxDocument}, nil
}

// ProjectExists tells whether there is a project of that name, also one that the account may not see. Without an account
// the error wraps ErrNotAllowed; so it does, with versions whose source is later than 2.14, for projects that the account
// may not see, existing or not. (headProject)
func (c *Client) ProjectExists(ctx context.Context, project string) (bool, error) {
	k, err := projectCall("look for", project, "")
	if err != nil {
		return false, err
	}
	k.method, k.path, k.query = http.MethodHead, "/projects", url.Values{"project_name": {project}}
	k.accept = []int{http.StatusOK, http.StatusNotFound}
	answer, err := c.do(ctx, k)
	if err != nil {
		return false, err
	}
	return answer.Status == http.StatusOK, nil
}

// Project is what matters here of a project.
type Project struct {
	ID         int64
	Name       string
	Public     bool // anybody can pull from it, without an account
	ProxyCache bool // it stands for another registry; nobody can push to it
	// ContentTrust and ContentTrustNotary make pulls of what is not signed, with cosign or with Notary, an error 412, and
	// with it HEAD and GET of what was just pushed.
	ContentTrust       bool
	ContentTrustNotary bool
	// PreventVulnerable makes pulls an error 412 of what was scanned and has vulnerabilities of at least this severity.
	PreventVulnerable bool
	Severity          string
	AutoScan          bool // what is pushed is scanned
	AutoSBOM          bool // what is pushed gets an SBOM made by Harbor, as one more accessory
}

// Project returns the project. It is an error that wraps ErrNotAllowed for who may not see it, whether it exists or not,
// and registry.ErrNotFound for administrators if it does not. (getProject)
func (c *Client) Project(ctx context.Context, project string) (Project, error) {
	k, err := projectCall("read", project, "")
	if err != nil {
		return Project{}, err
	}
	answer, err := c.do(ctx, k)
	if err != nil {
		return Project{}, err
	}
	found, err := parseProject(answer.Body)
	if err == nil && found.Name != project {
		err = fmt.Errorf("%w: it is about project %.80q", bundle.ErrFormat, found.Name)
	}
	if err != nil {
		return Project{}, c.malformed(k, err)
	}
	return found, nil
}

// flag is a boolean as project metadata has it: a string.
type flag bool

// UnmarshalText implements encoding.TextUnmarshaler. Harbor itself takes "1" and "TRUE" for true as well.
func (f *flag) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "true", "1":
		*f = true
	case "false", "0", "":
	default:
		return fmt.Errorf("%w: neither true nor false: %.40q", bundle.ErrFormat, text)
	}
	return nil
}

func parseProject(body []byte) (Project, error) {
	var doc struct {
		ID       int64  `json:"project_id"`
		Name     string `json:"name"`
		Registry int64  `json:"registry_id"` // what it is a proxy for; 0 for nothing
		Metadata *struct {
			Public       *flag  `json:"public"`
			Cosign       flag   `json:"enable_content_trust_cosign"`
			Notary       flag   `json:"enable_content_trust"`
			PreventVul   flag   `json:"prevent_vul"`
			Severity     string `json:"severity"`
			AutoScan     flag   `json:"auto_scan"`
			AutoGenerate flag   `json:"auto_sbom_generation"`
		} `json:"metadata"`
	}
	if err := strictjson.Unmarshal(body, &doc); err != nil {
		return Project{}, err
	}
	if doc.Metadata == nil || doc.Metadata.Public == nil {
		// Private is no safe guess, and neither is public.
		return Project{}, fmt.Errorf("%w: it does not say whether the project is public", bundle.ErrFormat)
	}
	return Project{
		ID: doc.ID, Name: doc.Name, Public: bool(*doc.Metadata.Public), ProxyCache: doc.Registry != 0,
		ContentTrust: bool(doc.Metadata.Cosign), ContentTrustNotary: bool(doc.Metadata.Notary),
		PreventVulnerable: bool(doc.Metadata.PreventVul), Severity: doc.Metadata.Severity,
		AutoScan: bool(doc.Metadata.AutoScan), AutoSBOM: bool(doc.Metadata.AutoGenerate),
	}, nil
}

// Unlimited is a quota without a limit.
const Unlimited = -1

// Quota is how many bytes a project may have, and has. Each blob and each manifest counts once in a project, whatever
// number of its repositories has it, and from when it was uploaded, also where nothing refers to it.
type Quota struct {
	Hard int64 // or Unlimited
	Used int64
}

// Left returns how many bytes can be added; Unlimited for any number.
func (q Quota) Left() int64 {
	if q.Hard == Unlimited {
		return Unlimited
	}
	return max(0, q.Hard-q.Used)
}

// Quota returns the project's quota. Where it is left out of the answer, for want of the permission or because Harbor
// keeps none, the error wraps ErrNotAllowed too. (getProjectSummary)
func (c *Client) Quota(ctx context.Context, project string) (Quota, error) {
	k, err := projectCall("read the quota of", project, "/summary")
	if err != nil {
		return Quota{}, err
	}
	answer, err := c.do(ctx, k)
	if err != nil {
		return Quota{}, err
	}
	quota, shown, err := parseSummary(answer.Body)
	switch {
	case err != nil:
		return Quota{}, c.malformed(k, err)
	case !shown:
		return Quota{}, c.withheld(k, "quota")
	}
	return quota, nil
}

func parseSummary(body []byte) (quota Quota, shown bool, err error) {
	type resources struct {
		Storage *int64 `json:"storage"`
	}
	var doc struct {
		Quota *struct {
			Hard resources `json:"hard"`
			Used resources `json:"used"`
		} `json:"quota"`
	}
	if err := strictjson.Unmarshal(body, &doc); err != nil {
		return Quota{}, false, err
	}
	if doc.Quota == nil || doc.Quota.Hard.Storage == nil || doc.Quota.Used.Storage == nil {
		return Quota{}, false, nil
	}
	quota = Quota{Hard: *doc.Quota.Hard.Storage, Used: *doc.Quota.Used.Storage}
	if quota.Hard < Unlimited || quota.Used < 0 {
		return Quota{}, false, fmt.Errorf("%w: a quota of %d bytes, of which %d are used", bundle.ErrFormat, quota.Hard, quota.Used)
	}
	return quota, true, nil
}

// NewProject is a project to be made.
type NewProject struct {
	Name   string
	Public bool
	// StorageLimit is the quota in bytes; 0 leaves it to Harbor's default, Unlimited sets none. Harbor ignores it, without
	// a word, where it does not come from a system administrator (or, by its source, from a system robot with the permission
	// to create projects): Quota tells.
	StorageLimit int64
}

// CreateProject makes a project. created is false where there is one of that name already, which may be one that the
// account cannot see, or this call's own doing where an answer was lost on the way. The error wraps ErrNotAllowed where
// the account may not create projects, and ErrReadOnly. (createProject)
//
// With CreationEveryone any robot of the system may create projects, and gets no rights in them (observed at Harbor 2.14.4).
// Tokens that are older than the project may be refused in it: see registry.Client.ForgetTokens.
func (c *Client) CreateProject(ctx context.Context, project NewProject) (created bool, err error) {
	k, err := projectCall("create", project.Name, "")
	if err != nil {
		return false, err
	}
	type metadata struct {
		Public string `json:"public"` // a bool is an error 422
	}
	request := struct {
		Name         string   `json:"project_name"`
		Metadata     metadata `json:"metadata"`
		StorageLimit int64    `json:"storage_limit,omitempty"`
	}{project.Name, metadata{"false"}, project.StorageLimit}
	if project.Public {
		request.Metadata.Public = "true"
	}
	if k.body, err = json.Marshal(request); err != nil {
		return false, err
	}
	k.method, k.path, k.accept = http.MethodPost, "/projects", []int{http.StatusCreated, http.StatusConflict}
	answer, err := c.do(ctx, k)
	if err != nil {
		return false, err
	}
	return answer.Status == http.StatusCreated, nil
}

// noProject is a name that Harbor gives to no project.
const noProject = "-airgap"

// MayCreateProject tells whether the account may create projects, without creating one: it asks for one with a name that
// Harbor answers with 400, and with 403 those who may not create any. The error wraps ErrReadOnly where nobody may at
// present. (createProject; that the account is looked at first is by its source, src/server/v2.0/handler/project.go)
func (c *Client) MayCreateProject(ctx context.Context) (bool, error) {
	k := call{
		op: "ask whether projects may be created at", method: http.MethodPost, path: "/projects", limit: maxDocument,
		body: []byte(`{"project_name":"` + noProject + `","metadata":{"public":"false"}}`), accept: []int{http.StatusBadRequest},
	}
	_, err := c.do(ctx, k)
	switch {
	case errors.Is(err, ErrNotAllowed) && errors.Is(err, registry.ErrForbidden):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}
