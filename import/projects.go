package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/finding"
)

// project is a project of Harbor that images go to.
type project struct {
	name       string
	first, end int32    // its repositories
	private    []string // sources of private images that go to it, or what refers to them
	missing    bool     // and is to be created
	hidden     bool     // it may be there, and this account has no rights in it
	rules      []harbor.ImmutableRule
	rulesErr   error         // why the rules are not known
	quota      *harbor.Quota // nil: not known
}

// addPrivate notes a source, of which both repositories may be in the project.
func (p *project) addPrivate(source string) {
	if n := len(p.private); n == 0 || p.private[n-1] != source {
		p.private = append(p.private, source)
	}
}

// subject names the project in findings.
func (p *project) subject() string { return "project " + p.name }

// ProjectRow is a project of Harbor that was not there, and that the import creates.
type ProjectRow struct {
	Project string `json:"project"`
	Public  bool   `json:"public"`
	Quota   int64  `json:"quota,omitempty"` // bytes that were asked for; 0: what Harbor gives to all
	Status  Status `json:"status"`          // StatusPlanned, StatusCreated, StatusInDoubt, or StatusPresent where somebody else was faster
}

// path returns the path that a repository has at Harbor.
func (c *preflight) path(repo int32) string { return c.target.Path(c.plan.Repos[repo]) }

// collectProjects sorts the repositories into projects, of which the name is the first element of the path. Paths are
// sorted, so that those of a project lie side by side.
func (c *preflight) collectProjects() {
	c.projectOf = make([]int32, len(c.plan.Repos))
	for i := range c.plan.Repos {
		c.projectOf[i] = -1
		repo := int32(i)
		path := c.path(repo)
		project, _, found := strings.Cut(path, "/")
		if !found {
			c.unasked[i] = true
			c.block(finding.CheckRepository, c.plan.Repos[i].Name(), "Harbor keeps repositories in projects, and this one would be in none",
				fmt.Sprintf("give the destination as %s/PROJECT, or the image a path of PROJECT/NAME with --map", c.host()))
			continue
		}
		c.addToProject(project, repo)
	}
	for _, image := range c.plan.Images {
		root := c.plan.contents.Root(image.Root)
		for _, repo := range []int32{image.Repo, image.ReferrerRepo} {
			if at := c.projectOf[repo]; at >= 0 && root.Private {
				c.projects[at].addPrivate(root.Source)
			}
		}
	}
}

func (c *preflight) addToProject(name string, repo int32) {
	last := len(c.projects) - 1
	if last < 0 || c.projects[last].name != name {
		c.projects = append(c.projects, &project{name: name, first: repo})
		last++
	}
	c.projects[last].end = repo + 1
	c.projectOf[repo] = int32(last)
}

// leave keeps the survey away from a project: Harbor answers with 401 to everything in it.
func (c *preflight) leave(p *project) {
	for repo := p.first; repo < p.end; repo++ {
		c.unasked[repo] = true
	}
}

func canBeProject(name string) bool { return harbor.CheckProjectName(name) == nil }

// checkProject is the first stage for one project.
func (c *preflight) checkProject(ctx context.Context, p *project) error {
	if !canBeProject(p.name) {
		c.leave(p)
		c.block(finding.CheckProject, p.subject(), "Harbor gives such a name to no project: small letters and digits, with one of . _ - between them",
			"choose another PREFIX, or other paths with --map")
		return nil
	}
	exists, err := c.exists(ctx, p)
	if err != nil {
		return c.unchecked(ctx, finding.CheckProject, p.subject(), "whether the project exists", "", err)
	}
	if !exists {
		p.missing = true
		c.leave(p)
		return nil
	}
	return c.checkExisting(ctx, p)
}

// checkExisting looks at what a project allows.
func (c *preflight) checkExisting(ctx context.Context, p *project) error {
	for _, check := range []func(context.Context, *project) error{c.checkPush, c.checkSettings, c.readQuota, c.readRules} {
		if err := check(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// exists tells whether there is a project. Harbor after 2.14 tells only who may see it; then it is the right to push that
// shows it. That is asked for in another way than later, so that the token is not kept.
func (c *preflight) exists(ctx context.Context, p *project) (bool, error) {
	exists, err := c.harbor.ProjectExists(ctx, p.name)
	if !errors.Is(err, harbor.ErrNotAllowed) {
		return exists, err
	}
	granted, known, err := c.target.Granted(ctx, c.plan.Repos[p.first], "push")
	if err != nil || !known {
		return true, err
	}
	p.hidden = len(granted) == 0
	return !p.hidden, nil
}

func (c *preflight) checkPush(ctx context.Context, p *project) error {
	granted, known, err := c.target.Granted(ctx, c.plan.Repos[p.first])
	if err != nil || !known {
		return c.unchecked(ctx, finding.CheckPush, p.subject(), "whether this account may push", "", err)
	}
	if !grants(granted, "pull") {
		c.leave(p)
	}
	switch {
	case !grants(granted, "push"):
		c.block(finding.CheckPush, p.subject(), "this account may not push to it", c.pushRemedy())
	case !grants(granted, "pull"):
		c.block(finding.CheckPush, p.subject(), "this account may push to it, and may not pull, without which nothing can be looked for or read back", c.pushRemedy())
	}
	return nil
}

func (c *preflight) pushRemedy() string {
	if c.account.Robot {
		return "ask an administrator for the permissions Repository: Push and Repository: Pull in this project for the robot account (a robot of another project cannot have them)"
	}
	return "ask an administrator of the project for the role Developer or higher in it: Members, User"
}

// checkSettings looks at what the project does with what is pushed. Who may not see the settings can still find out whether
// strangers are let in.
func (c *preflight) checkSettings(ctx context.Context, p *project) error {
	settings, err := c.harbor.Project(ctx, p.name)
	if err != nil {
		err = c.unchecked(ctx, finding.CheckSettings, p.subject(), "whether it is a proxy cache, or hides what is not signed or is vulnerable",
			"for a robot account, ask for the permission Project: Read in this project", err)
		if err != nil || len(p.private) == 0 {
			return err
		}
		return c.checkStrangers(ctx, p)
	}
	if settings.ProxyCache {
		c.block(finding.CheckProxyCache, p.subject(), "it is a proxy cache, to which nobody can push", "choose another project with PREFIX or --map")
	}
	if settings.Public {
		c.refusePublic(p)
	}
	c.checkPolicies(p, settings)
	return nil
}

func (c *preflight) checkPolicies(p *project, settings harbor.Project) {
	if settings.ContentTrust {
		c.warning(finding.CheckPullPolicy, p.subject(), "it requires signatures of cosign: whatever has none that Harbor knows is answered with 412 when it is pulled, also to this import when it reads back what it wrote",
			"sign the images, or let an administrator of the project switch this off: Configuration, Deployment Security")
	}
	if settings.ContentTrustNotary {
		c.warning(finding.CheckPullPolicy, p.subject(), "it requires signatures of Notary: whatever has none is answered with 412 when it is pulled, also to this import when it reads back what it wrote",
			"let an administrator of the project switch this off: Configuration, Deployment Security")
	}
	if settings.PreventVulnerable {
		c.warning(finding.CheckPullPolicy, p.subject(), fmt.Sprintf("it keeps images with vulnerabilities (%s and above) from being pulled: whatever is scanned and has such is answered with 412", settings.Severity),
			"expect it, or let an administrator of the project change it: Configuration, Deployment Security")
	}
}

// refusePublic refuses to show private images to everybody.
func (c *preflight) refusePublic(p *project) {
	if c.options.AllowPublic || len(p.private) == 0 {
		return
	}
	shown := strings.Join(p.private[:min(len(p.private), finding.MaxSubjects)], ", ")
	if more := len(p.private) - finding.MaxSubjects; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	c.block(finding.CheckVisibility, p.subject(), "it is public, and these images are private where they come from: "+shown,
		"choose a private project, let an administrator make this one private, or show them to everybody with --allow-public")
}

// checkStrangers asks without credentials whether anybody may pull from a project. Harbor refuses that with 401 in private
// projects, and answers in public ones that nothing of that name is there.
func (c *preflight) checkStrangers(ctx context.Context, p *project) error {
	repo := &c.plan.repositories[p.first]
	if c.options.AllowPublic || len(repo.manifests) == 0 {
		return nil
	}
	refused, err := c.target.AnonymousRefused(ctx, repo.name.Digest(c.plan.digest(repo.manifests[0]).String()))
	switch {
	case absent(err), err == nil && !refused:
		c.refusePublic(p)
	case err != nil:
		return c.unchecked(ctx, finding.CheckVisibility, p.subject(), "whether it is public, while private images go to it", "for a robot account, ask for the permission Project: Read in this project", err)
	}
	return nil
}

// readRules keeps an error for when it is known whether any tag moves.
func (c *preflight) readRules(ctx context.Context, p *project) (err error) {
	p.rules, p.rulesErr = c.harbor.ImmutableRules(ctx, p.name)
	if final(ctx, p.rulesErr) {
		err = p.rulesErr
	}
	return err
}

// checkCreation decides what becomes of projects that are missing.
func (c *preflight) checkCreation(ctx context.Context) error {
	missing := slices.DeleteFunc(slices.Clone(c.projects), func(p *project) bool { return !p.missing })
	if len(missing) == 0 {
		return nil
	}
	may, err := false, error(nil)
	if c.options.CreateProjects {
		may, err = c.harbor.MayCreateProject(ctx)
	}
	if errors.Is(err, harbor.ErrReadOnly) {
		may, err = true, nil // which is in the list already
	}
	if err != nil {
		if err := c.unchecked(ctx, finding.CheckProject, c.host(), "whether this account may create projects", "", err); err != nil {
			return err
		}
	}
	for _, p := range missing {
		what := "there is no such project"
		if p.hidden {
			what += ", or this account has no rights in it"
		}
		switch {
		case !c.options.CreateProjects:
			c.block(finding.CheckProject, p.subject(), what, "create it in Harbor (Projects, New Project), or let the import do it with --create-projects")
		case !may && err == nil:
			c.block(finding.CheckProject, p.subject(), what+", and this account may not create projects", c.creationRemedy())
		default:
			c.planProject(p)
		}
	}
	return nil
}

func (c *preflight) creationRemedy() string {
	if c.account.Robot {
		return "let an administrator create it, or ask a system administrator for a system robot account with the system permission Project: Create"
	}
	return "let a system administrator create it, or allow everybody to create projects: Administration, Configuration, System Settings, Project Creation"
}

func (c *preflight) planProject(p *project) {
	row := ProjectRow{Project: p.name, Public: c.options.ProjectPublic, Quota: c.options.ProjectQuota, Status: StatusPlanned}
	c.created = append(c.created, row)
	c.note(finding.CheckProject, p.subject(), "will be created, "+row.describe())
	if row.Public {
		c.refusePublic(p)
	}
	if c.account.Robot {
		c.warning(finding.CheckPush, p.subject(), "this account is a robot, which becomes no member of a project that it creates: whether it may push to it shows when it is there, and if not, the import stops there",
			"let the robot account have Repository: Push and Repository: Pull in all projects, or create the project beforehand")
	}
}

func (r ProjectRow) describe() string {
	text := "private"
	if r.Public {
		text = "public"
	}
	if r.Quota > 0 {
		return text + ", with a quota of " + bytesText(r.Quota)
	}
	if r.Quota == harbor.Unlimited {
		return text + ", without a quota"
	}
	return text + ", with the quota that Harbor gives to all"
}

// createProjects creates the projects that are missing, and makes sure that the account can push to them.
func (r *run) createProjects(ctx context.Context) error {
	if len(r.created) == 0 {
		return nil
	}
	r.observer.Phase("create projects", 0)
	for i := range r.created {
		row := &r.created[i]
		created, err := r.options.Harbor.CreateProject(ctx, harbor.NewProject{Name: row.Project, Public: row.Public, StorageLimit: row.Quota})
		if err != nil {
			if !errors.Is(err, harbor.ErrNotAllowed) && !errors.Is(err, harbor.ErrReadOnly) {
				row.Status = StatusInDoubt
			}
			return r.stopAfterCreation(err)
		}
		row.Status = StatusPresent // somebody else was faster, or an answer was lost
		if created {
			row.Status = StatusCreated
		}
	}
	return r.checkCreated(ctx)
}

// checkCreated repeats for the new projects what could not be known before. One that somebody else has made is looked at
// like any other.
func (r *run) checkCreated(ctx context.Context) error {
	c := &preflight{run: r, harbor: r.options.Harbor, account: r.checks.account, projects: r.checks.projects, projectOf: r.checks.projectOf}
	needs := c.needs()
	for i, p := range c.projects {
		at := slices.IndexFunc(r.created, func(row ProjectRow) bool { return row.Project == p.name })
		if at < 0 {
			continue
		}
		p.missing = false
		check := c.checkExisting
		if r.created[at].Status == StatusCreated {
			check = c.checkNew
		}
		if err := check(ctx, p); err != nil {
			return r.stopAfterCreation(err)
		}
		if err := c.checkQuota(ctx, p, needs[i]); err != nil {
			return r.stopAfterCreation(err)
		}
	}
	list := c.findings.All()
	c.warn(list)
	for _, found := range list {
		r.checks.findings.Add(found)
	}
	if problems := finding.Problems(finding.OfLevel(list, finding.Blocks)); problems != nil {
		return r.stopAfterCreation(fmt.Errorf("%w: %w", registry.ErrForbidden, problems))
	}
	return nil
}

// checkNew looks at a project that this run has created: it has no rules, and is as public as was asked for. A quota
// that Harbor did not set is no failure: only system administrators may set one.
func (c *preflight) checkNew(ctx context.Context, p *project) error {
	if err := c.checkPush(ctx, p); err != nil {
		return err
	}
	if err := c.readQuota(ctx, p); err != nil {
		return err
	}
	if want := c.options.ProjectQuota; want != 0 && p.quota != nil && p.quota.Hard != want {
		c.warning(finding.CheckQuota, p.subject(), "Harbor has not given it the quota that was asked for, as this account is not a system administrator's",
			"let a system administrator set it: Administration, Project Quotas")
	}
	return nil
}

// stopAfterCreation says what is left behind.
func (r *run) stopAfterCreation(err error) error {
	var made []string
	for _, row := range r.created {
		switch row.Status {
		case StatusCreated:
			made = append(made, row.Project)
		case StatusInDoubt:
			made = append(made, row.Project+" (perhaps)")
		}
	}
	if len(made) == 0 {
		return fmt.Errorf("nothing was written to %s: %w", r.options.Destination, err)
	}
	return fmt.Errorf("nothing was pushed to %s, where these projects were created and are empty: %s: %w", r.options.Destination, strings.Join(made, ", "), err)
}
