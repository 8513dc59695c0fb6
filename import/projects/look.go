package projects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"airgap/export/registry/harbor"
	"airgap/import/finding"
	"airgap/import/inventory"
	"airgap/import/target"
)

// look is the first look at projects: what they are, and let the account do.
type look struct {
	projects *Projects
	inv      *inventory.Inventory
	target   Target
	harbor   *harbor.Client
	options  Options
	findings *finding.List
}

func (p *Projects) look(findings *finding.List) look {
	return look{projects: p, inv: p.inv, target: p.target, harbor: p.harbor, options: p.options, findings: findings}
}

func canBeProject(name string) bool { return harbor.CheckProjectName(name) == nil }

func (l look) project(ctx context.Context, p *project) error {
	if !canBeProject(p.name) {
		l.projects.leave(p)
		l.findings.Block(finding.CheckProject, p.subject(), "Harbor gives such a name to no project: small letters and digits, with one of . _ - between them",
			"choose another PREFIX, or other paths with --map")
		return nil
	}
	exists, err := l.exists(ctx, p)
	if err != nil {
		return l.findings.Unchecked(ctx, finding.CheckProject, p.subject(), "whether the project exists", "", err)
	}
	if !exists {
		p.missing = true
		l.projects.leave(p)
		return nil
	}
	return l.existing(ctx, p)
}

// existing looks at what a project allows.
func (l look) existing(ctx context.Context, p *project) error {
	for _, step := range []func(context.Context, *project) error{l.push, l.settings, l.quota, l.rules} {
		if err := step(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// exists tells whether there is a project. Harbor after 2.14 tells only who may see it; then it is the right to push that
// shows it.
func (l look) exists(ctx context.Context, p *project) (bool, error) {
	exists, err := l.harbor.ProjectExists(ctx, p.name)
	if !errors.Is(err, harbor.ErrNotAllowed) {
		return exists, err
	}
	granted, known, err := l.target.Granted(ctx, l.inv.Repos[p.first])
	if err != nil || !known {
		return true, err
	}
	p.hidden = len(granted) == 0
	return !p.hidden, nil
}

func (l look) push(ctx context.Context, p *project) error {
	granted, known, err := l.target.Granted(ctx, l.inv.Repos[p.first])
	if err != nil || !known {
		return l.findings.Unchecked(ctx, finding.CheckPush, p.subject(), "whether this account may push", "", err)
	}
	if !grants(granted, "pull") {
		l.projects.leave(p)
	}
	remedy := "ask an administrator of the project for the role Developer or higher in it: Members, User"
	if l.projects.isRobot {
		remedy = "ask an administrator for the permissions Repository: Push and Repository: Pull in this project for the robot account (a robot of another project cannot have them)"
	}
	switch {
	case !grants(granted, "push"):
		l.findings.Block(finding.CheckPush, p.subject(), "this account may not push to it", remedy)
	case !grants(granted, "pull"):
		l.findings.Block(finding.CheckPush, p.subject(), "this account may push to it, and may not pull, without which nothing can be looked for or read back", remedy)
	}
	return nil
}

// settings looks at what the project does with what is pushed. Who may not see the settings can still find out whether
// strangers are let in.
func (l look) settings(ctx context.Context, p *project) error {
	settings, err := l.harbor.Project(ctx, p.name)
	if err != nil {
		err = l.findings.Unchecked(ctx, finding.CheckSettings, p.subject(), "whether it is a proxy cache, or hides what is not signed or is vulnerable",
			"for a robot account, ask for the permission Project: Read in this project", err)
		if err != nil || len(p.private) == 0 {
			return err
		}
		return l.strangers(ctx, p)
	}
	if settings.ProxyCache {
		l.findings.Block(finding.CheckProxyCache, p.subject(), "it is a proxy cache, to which nobody can push", "choose another project with PREFIX or --map")
	}
	if settings.Public {
		l.refusePublic(p)
	}
	l.policies(p, settings)
	return nil
}

func (l look) policies(p *project, settings harbor.Project) {
	if settings.ContentTrust {
		l.findings.Warn(finding.CheckPullPolicy, p.subject(), "it requires signatures of cosign: whatever has none that Harbor knows is answered with 412 when it is pulled, also to this import when it reads back what it wrote",
			"sign the images, or let an administrator of the project switch this off: Configuration, Deployment Security")
	}
	if settings.ContentTrustNotary {
		l.findings.Warn(finding.CheckPullPolicy, p.subject(), "it requires signatures of Notary: whatever has none is answered with 412 when it is pulled, also to this import when it reads back what it wrote",
			"let an administrator of the project switch this off: Configuration, Deployment Security")
	}
	if settings.PreventVulnerable {
		l.findings.Warn(finding.CheckPullPolicy, p.subject(), fmt.Sprintf("it keeps images with vulnerabilities (%s and above) from being pulled: whatever is scanned and has such is answered with 412", settings.Severity),
			"expect it, or let an administrator of the project change it: Configuration, Deployment Security")
	}
}

// refusePublic refuses to show private images to everybody.
func (l look) refusePublic(p *project) {
	if l.options.AllowPublic || len(p.private) == 0 {
		return
	}
	shown := strings.Join(p.private[:min(len(p.private), finding.MaxSubjects)], ", ")
	if more := len(p.private) - finding.MaxSubjects; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	l.findings.Block(finding.CheckVisibility, p.subject(), "it is public, and these images are private where they come from: "+shown,
		"choose a private project, let an administrator make this one private, or show them to everybody with --allow-public")
}

// strangers asks without credentials whether anybody may pull from a project. Harbor refuses that with 401 in private
// projects, and answers in public ones that nothing of that name is there.
func (l look) strangers(ctx context.Context, p *project) error {
	manifests := l.inv.ManifestsIn(p.first)
	if l.options.AllowPublic || len(manifests) == 0 {
		return nil
	}
	refused, err := l.target.AnonymousRefused(ctx, l.inv.Repos[p.first].Digest(l.inv.Digest(manifests[0]).String()))
	switch {
	case target.Absent(err), err == nil && !refused:
		l.refusePublic(p)
	case err != nil:
		return l.findings.Unchecked(ctx, finding.CheckVisibility, p.subject(), "whether it is public, while private images go to it", "for a robot account, ask for the permission Project: Read in this project", err)
	}
	return nil
}

func (l look) quota(ctx context.Context, p *project) error {
	quota, err := l.harbor.Quota(ctx, p.name)
	if err != nil {
		return l.findings.Unchecked(ctx, finding.CheckQuota, p.subject(), "what is left of its quota",
			"for a robot account, ask for the permissions Project: Read and Quota: Read in this project", err)
	}
	p.quota = &quota
	return nil
}

// rules keeps an error for when it is known whether any tag moves.
func (l look) rules(ctx context.Context, p *project) (err error) {
	p.rules, p.rulesErr = l.harbor.ImmutableRules(ctx, p.name)
	if target.IsFinal(ctx, p.rulesErr) {
		err = p.rulesErr
	}
	return err
}

// missing decides what becomes of projects that are missing.
func (l look) missing(ctx context.Context) error {
	missing := slices.DeleteFunc(slices.Clone(l.projects.list), func(p *project) bool { return !p.missing })
	if len(missing) == 0 {
		return nil
	}
	may, err := false, error(nil)
	if l.options.Create {
		may, err = l.harbor.MayCreateProject(ctx)
	}
	if errors.Is(err, harbor.ErrReadOnly) {
		may, err = true, nil // which is in the list already
	}
	if err != nil {
		host := l.harbor.Registry().Name()
		if err := l.findings.Unchecked(ctx, finding.CheckProject, host, "whether this account may create projects", "", err); err != nil {
			return err
		}
	}
	for _, p := range missing {
		what := "there is no such project"
		if p.hidden {
			what += ", or this account has no rights in it"
		}
		switch {
		case !l.options.Create:
			l.findings.Block(finding.CheckProject, p.subject(), what, "create it in Harbor (Projects, New Project), or let the import do it with --create-projects")
		case !may && err == nil:
			l.findings.Block(finding.CheckProject, p.subject(), what+", and this account may not create projects", l.creationRemedy())
		default:
			l.plan(p)
		}
	}
	return nil
}

func (l look) creationRemedy() string {
	if l.projects.isRobot {
		return "let an administrator create it, or ask a system administrator for a system robot account with the system permission Project: Create"
	}
	return "let a system administrator create it, or allow everybody to create projects: Administration, Configuration, System Settings, Project Creation"
}

// plan takes a project among those that Create makes.
func (l look) plan(p *project) {
	row := Row{Project: p.name, Public: l.options.Public, Quota: l.options.Quota, Status: Planned}
	l.projects.planned = append(l.projects.planned, row)
	l.findings.Note(finding.CheckProject, p.subject(), "will be created, "+row.describe())
	if row.Public {
		l.refusePublic(p)
	}
	if l.projects.isRobot {
		l.findings.Warn(finding.CheckPush, p.subject(), "this account is a robot, which becomes no member of a project that it creates: whether it may push to it shows when it is there, and if not, the import stops there",
			"let the robot account have Repository: Push and Repository: Pull in all projects, or create the project beforehand")
	}
}
