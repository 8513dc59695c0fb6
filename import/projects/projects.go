// Package projects is about the projects of Harbor that images go to: what each is and lets the account do, what is left of
// its quota, which of its other repositories have what is brought already, and the creation of those that are missing.
//
// New sorts repositories into projects. Look asks what the target is, before it is known what it has; Weigh compares what it
// has with what would be added; Create makes what is missing.
package projects

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry/harbor"
	"airgap/import/finding"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/target"
)

// Target is the registry of the Harbor.
type Target interface {
	target.Resolver
	target.Pather

	// HasBlob tells whether repo has a blob, and how large it is in bytes.
	HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error)
	// Granted returns what the account may do in repo, such as "pull" and "push", or known as false.
	Granted(ctx context.Context, repo name.Repository) (granted []string, known bool, err error)
	// ForgetTokens drops what the account was granted, so that it is asked for anew.
	ForgetTokens(reg name.Registry)
	// AnonymousRefused tells whether ref is kept from those without an account; an error where nobody finds it.
	AnonymousRefused(ctx context.Context, ref name.Reference) (bool, error)
}

// Options are the settings of Projects.
type Options struct {
	Create      bool  // projects that are missing
	Public      bool  // so that anybody can pull from what is created
	Quota       int64 // bytes, of what is created; 0: what Harbor gives to all; harbor.Unlimited
	AllowPublic bool  // bring images that are private at their source into public projects, too
	Jobs        int
}

// Projects are those that images go to.
type Projects struct {
	inv     *inventory.Inventory
	target  Target
	harbor  *harbor.Client
	options Options
	isRobot bool

	list    []*project
	of      []int32 // by repository; -1 for none
	unasked []bool  // by repository
	planned []Row
}

// project is one of them, and what was found out about it.
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

// New sorts the repositories into projects, of which the name is the first element of the path. Paths are sorted, so that those
// of a project lie side by side.
func New(inv *inventory.Inventory, t Target, h *harbor.Client, o Options, findings *finding.List) *Projects {
	p := &Projects{inv: inv, target: t, harbor: h, options: o, of: make([]int32, len(inv.Repos)), unasked: make([]bool, len(inv.Repos))}
	for i := range inv.Repos {
		repo := int32(i)
		project, _, found := strings.Cut(t.Path(inv.Repos[i]), "/")
		if !found {
			p.of[i], p.unasked[i] = -1, true
			findings.Block(finding.CheckRepository, inv.Repos[i].Name(), "Harbor keeps repositories in projects, and this one would be in none",
				fmt.Sprintf("give the destination as %s/PROJECT, or the image a path of PROJECT/NAME with --map", inv.Repos[i].Registry.Name()))
			continue
		}
		p.add(project, repo)
	}
	for _, image := range inv.Images {
		root := inv.Contents.Root(image.Root)
		for _, repo := range []int32{image.Repo, image.ReferrerRepo} {
			if at := p.of[repo]; at >= 0 && root.Private {
				p.list[at].addPrivate(root.Source)
			}
		}
	}
	return p
}

func (p *Projects) add(name string, repo int32) {
	last := len(p.list) - 1
	if last < 0 || p.list[last].name != name {
		p.list = append(p.list, &project{name: name, first: repo})
		last++
	}
	p.list[last].end = repo + 1
	p.of[repo] = int32(last)
}

// Unasked tells by repository what the target is not to be asked about: Harbor would answer with 401 to everything.
func (p *Projects) Unasked() []bool { return p.unasked }

func (p *Projects) leave(one *project) {
	for repo := one.first; repo < one.end; repo++ {
		p.unasked[repo] = true
	}
}

// Look asks what the projects are and let the account do, and decides what becomes of those that are missing.
func (p *Projects) Look(ctx context.Context, account harbor.Account, findings *finding.List) error {
	p.isRobot = account.Robot
	l := p.look(findings)
	if err := parallel.Each(ctx, p.options.Jobs, slices.Values(p.list), l.project); err != nil {
		return err
	}
	return l.missing(ctx)
}

// Weigh compares what would be added to the projects, and moved in them, with what they let happen. Then it looks for what can
// be mounted from their other repositories, but in repositories that are unasked.
//
// To the place record in the inventory's repositories, recordBytes are added as well; -1: there is no such place.
func (p *Projects) Weigh(ctx context.Context, unasked []bool, record int32, recordBytes int64, findings *finding.List) error {
	needs := p.needs()
	if record >= 0 && p.of[record] >= 0 {
		needs[p.of[record]] += recordBytes
	}
	for i, one := range p.list {
		if err := p.weighQuota(ctx, one, needs[i], findings); err != nil {
			return err
		}
	}
	if err := p.weighTags(ctx, findings); err != nil {
		return err
	}
	return p.lookForMounts(ctx, unasked)
}

// weighTags finds the tags that a rule keeps where they are. Harbor takes the first push of a tag, and what is right is not
// pushed again.
func (p *Projects) weighTags(ctx context.Context, findings *finding.List) error {
	for i := range p.inv.Tags {
		t := &p.inv.Tags[i]
		at := p.of[t.Repo]
		if at < 0 || !t.Moves() && !t.IsHidden() {
			continue
		}
		one := p.list[at]
		if one.rulesErr != nil {
			err := findings.Unchecked(ctx, finding.CheckImmutable, one.subject(), "whether the tags that would move are immutable",
				"for a robot account, ask for the permission Tag Immutability: List in this project", one.rulesErr)
			if err != nil {
				return err
			}
			continue
		}
		_, repository := target.InHarbor(p.target, p.inv.Repos[t.Repo])
		rule := slices.IndexFunc(one.rules, func(r harbor.ImmutableRule) bool { return r.Matches(repository, t.Name) })
		switch {
		case rule >= 0 && t.IsHidden(): // Harbor refuses it also if it is right
			findings.Block(finding.CheckImmutable, p.inv.TagName(t), fmt.Sprintf("it is immutable (%s), and a pull policy hides whether it is right already", one.rules[rule]),
				"ask for the permission artifact:read in this project, or give the image another tag with --map")
		case rule >= 0:
			findings.Block(finding.CheckImmutable, p.inv.TagName(t), fmt.Sprintf("it is immutable (%s), is %s, and would move to %s", one.rules[rule], t.Old(), p.inv.Digest(t.Row)),
				"give the image another tag with --map, or let an administrator of the project change the rule: Policy, Tag Immutability")
		}
	}
	return nil
}

// grants tells whether an action is among those that were granted.
func grants(granted []string, action string) bool {
	return slices.Contains(granted, action) || slices.Contains(granted, "*")
}

// errTooMany: not all of a project's repositories were asked.
var errTooMany = fmt.Errorf("%w: too many repositories to ask for what they have", bundle.ErrLimit)

// others returns the repositories of a project to which nothing goes.
func (p *Projects) others(ctx context.Context, one *project) ([]name.Repository, error) {
	first := p.inv.Repos[one.first]
	if p.target.Path(first) != first.RepositoryStr() {
		return nil, errTooMany // the listing knows nothing outside of the prefix
	}
	paths, err := p.harbor.Repositories(ctx, one.name)
	if err != nil {
		return nil, err
	}
	var others []name.Repository
	for _, path := range paths {
		_, ours := slices.BinarySearchFunc(p.inv.Repos, path, func(r name.Repository, path string) int { return strings.Compare(r.RepositoryStr(), path) })
		if !ours && strings.HasPrefix(path, one.name+"/") {
			others = append(others, first.Registry.Repo(path))
		}
	}
	return others, nil
}

// has tells whether a repository to which nothing goes has a blob or a manifest.
func (p *Projects) has(ctx context.Context, repo name.Repository, row int32) (found bool, err error) {
	digest := p.inv.Digest(row)
	if p.inv.IsManifest(row) {
		return target.HasManifest(ctx, p.target, repo.Digest(digest.String()), p.inv.Size(row))
	}
	_, found, err = p.target.HasBlob(ctx, repo, digest)
	return found, err
}
