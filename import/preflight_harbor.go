package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/export/registry/harbor"
	"airgap/import/finding"
)

// beforeHarbor is the first stage at Harbor. Without a login Harbor tells so little that nothing else is asked.
func (c *preflight) beforeHarbor(ctx context.Context) (goOn bool, err error) {
	if len(c.plan.Repos) == 0 {
		return false, nil // nothing goes anywhere
	}
	c.collectProjects()
	if goOn, err = c.checkLogin(ctx); err != nil || !goOn {
		return false, err
	}
	if err := c.checkSystem(ctx); err != nil {
		return false, err
	}
	if err := c.checkGC(ctx); err != nil {
		return false, err
	}
	if err := each(ctx, c.options.Jobs, slices.Values(c.projects), c.checkProject); err != nil {
		return false, err
	}
	return true, c.checkCreation(ctx)
}

// checkLogin asks who the account is. Some accounts are good for the registry and not for the API; they may push.
func (c *preflight) checkLogin(ctx context.Context) (goOn bool, err error) {
	c.account, err = c.harbor.Account(ctx)
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, harbor.ErrNotAllowed):
		return true, c.unchecked(ctx, finding.CheckLogin, c.host(), "who the account is for Harbor", "", err)
	}
	push, _, rightsErr := c.mayPush(ctx, c.plan.Repos[0])
	if final(ctx, rightsErr) {
		return false, rightsErr
	}
	if push {
		return true, c.unchecked(ctx, finding.CheckLogin, c.host(), "who the account is for Harbor", "", err)
	}
	c.block(finding.CheckLogin, c.host(), "Harbor does not take the user name and the password, or none were given",
		fmt.Sprintf("log in with airgap login %s; the secret of a robot account is shown once, when it is made, and an administrator can refresh it; robots expire", c.host()))
	return false, nil
}

func (c *preflight) checkSystem(ctx context.Context) error {
	system, err := c.harbor.System(ctx)
	if err != nil {
		return c.unchecked(ctx, finding.CheckTarget, c.host(), "the version and the state of Harbor", "", err)
	}
	c.system = system
	if system.Version == "" {
		c.note(finding.CheckTarget, c.host(), "Harbor, which does not show its version")
	} else {
		c.note(finding.CheckTarget, c.host(), "Harbor "+system.Version)
	}
	switch {
	case system.ReadOnly:
		c.block(finding.CheckReadOnly, c.host(), "Harbor is in read-only mode, in which nobody can push",
			"let a system administrator end it: Administration, Configuration, System Settings, Repository Read Only")
	case !system.Known:
		err = c.unchecked(ctx, finding.CheckReadOnly, c.host(), "whether Harbor is in read-only mode", "", nil)
	}
	c.checkClock(system.Clock)
	c.checkVersion()
	return err
}

// checkVersion says what older versions make of signatures.
func (c *preflight) checkVersion() {
	if is, known := c.system.AtLeast(2, 8); known && !is {
		c.warning(finding.CheckVersion, c.host(), "Harbor before 2.8 has no referrers API: signatures and SBOMs are listed under fallback tags, and Harbor shows them beside the image, not under it",
			"tools find them all the same; to see them in Harbor, upgrade it")
		return
	}
	if is, known := c.system.AtLeast(2, 15); known && !is && c.bringsSigstore() {
		c.note(finding.CheckVersion, c.host(), "Harbor before 2.15 lists a signature that is a Sigstore bundle as a plain accessory: it is there, cosign finds it, and Harbor does not mark the image as signed")
	}
}

// bringsSigstore tells whether a signature of the kind that Harbor came to know late is among what is brought.
func (c *preflight) bringsSigstore() bool {
	for i := range c.plan.repositories {
		for _, row := range c.plan.repositories[i].manifests {
			if node := c.plan.graph.Node(int(row)); node.ArtifactType == bundle.MediaTypeSigstore && !node.Subject.IsZero() {
				return true
			}
		}
	}
	return false
}

// saysReferrers says how this version of Harbor lists referrers; false where the version is not known. (FIELD: the API
// came with 2.8, the acknowledgement with 2.9.)
func (c *preflight) saysReferrers() bool {
	api, known := c.system.AtLeast(2, 8)
	subject, _ := c.system.AtLeast(2, 9)
	switch {
	case !known:
		return false
	case !api:
		c.note(finding.CheckReferrers, c.host(), "it has no referrers API")
	case !subject:
		c.note(finding.CheckReferrers, c.host(), "it has the referrers API, and does not acknowledge subjects (OCI-Subject)")
	default:
		c.note(finding.CheckReferrers, c.host(), "it has the referrers API, and acknowledges subjects (OCI-Subject)")
	}
	return true
}

// checkGC looks at what may be deleted while the import is under way. What is less than two hours old is spared.
func (c *preflight) checkGC(ctx context.Context) error {
	schedule, err := c.harbor.GarbageCollection(ctx)
	if err != nil {
		return c.unchecked(ctx, finding.CheckGC, c.host(), "whether garbage is collected during a long import, and untagged artifacts with it",
			"for a robot account, ask a system administrator for the system permission Garbage Collection: Read", err)
	}
	if schedule.Type == harbor.ScheduleNone {
		c.note(finding.CheckGC, c.host(), "no garbage collection is scheduled")
		return nil
	}
	when := fmt.Sprintf("garbage collection is scheduled (%s)", strings.TrimSpace(schedule.Type+" "+schedule.Cron))
	if !schedule.Next.IsZero() {
		when += ", next at " + schedule.Next.UTC().Format(time.RFC3339)
	}
	if !schedule.DeleteUntagged {
		c.note(finding.CheckGC, c.host(), when+"; it deletes blobs that no manifest names yet once they are two hours old")
		return nil
	}
	c.warning(finding.CheckGC, c.host(), when+", and deletes untagged artifacts: before its tags are moved, all that an import has pushed is untagged, and two hours later it is garbage",
		"import at another time if it takes longer than that, or let a system administrator switch the option off meanwhile: Administration, Clean Up")
	return nil
}

// afterHarbor is the second stage at Harbor.
func (c *preflight) afterHarbor(ctx context.Context) error {
	needs := c.needs()
	for i, p := range c.projects {
		if err := c.checkQuota(ctx, p, needs[i]); err != nil {
			return err
		}
	}
	c.checkManifests()
	if err := c.checkTags(ctx); err != nil {
		return err
	}
	return c.lookElsewhere(ctx)
}

// checkTags finds the tags that a rule keeps where they are. Harbor takes the first push of a tag, and what is right is
// not pushed again.
func (c *preflight) checkTags(ctx context.Context) error {
	for i := range c.plan.tags {
		t := &c.plan.tags[i]
		at := c.projectOf[t.repo]
		if at < 0 || !t.moves() && !t.unseen {
			continue
		}
		p := c.projects[at]
		if p.rulesErr != nil {
			err := c.unchecked(ctx, finding.CheckImmutable, p.subject(), "whether the tags that would move are immutable",
				"for a robot account, ask for the permission Tag Immutability: List in this project", p.rulesErr)
			if err != nil {
				return err
			}
			continue
		}
		_, repository := inHarbor(c.target, c.plan.Repos[t.repo])
		rule := slices.IndexFunc(p.rules, func(r harbor.ImmutableRule) bool { return r.Matches(repository, t.tag) })
		switch {
		case rule >= 0 && t.unseen: // Harbor refuses it also if it is right
			c.block(finding.CheckImmutable, c.plan.tagName(t), fmt.Sprintf("it is immutable (%s), and a pull policy hides whether it is right already", p.rules[rule]),
				"ask for the permission artifact:read in this project, or give the image another tag with --map")
		case rule >= 0:
			c.block(finding.CheckImmutable, c.plan.tagName(t), fmt.Sprintf("it is immutable (%s), is %s, and would move to %s", p.rules[rule], t.old, c.plan.digest(t.row)),
				"give the image another tag with --map, or let an administrator of the project change the rule: Policy, Tag Immutability")
		}
	}
	return nil
}

// checkManifests finds what Harbor refuses for good: an index that lists one digest twice is answered with 404. (What is
// over 4 MiB, which it refuses as well, is in no bundle.)
func (c *preflight) checkManifests() {
	found := map[int32]bool{}
	for i := range c.plan.repositories {
		repo := &c.plan.repositories[i]
		for at, row := range repo.manifests {
			if repo.states[at].isThere() || found[row] || !listsTwice(c.plan.graph.Node(int(row)).Children) {
				continue
			}
			found[row] = true
			c.block(finding.CheckManifest, c.plan.graph.Path(int(row)), "this index lists a manifest twice, which Harbor refuses",
				"leave the image out with --only, or export it with --platform and --platform-mode rewrite, which makes an index of just those platforms")
		}
	}
}

func listsTwice(children []int32) bool {
	sorted := slices.Sorted(slices.Values(children))
	return len(slices.Compact(sorted)) < len(children)
}
