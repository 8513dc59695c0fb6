package preflight

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
	"airgap/import/projects"
	"airgap/import/target"
)

// lookAtHarbor is Look at Harbor. Without a login Harbor tells so little that nothing else is asked.
func (p *Preflight) lookAtHarbor(ctx context.Context) (goOn bool, err error) {
	if len(p.inv.Repos) == 0 {
		return false, nil // nothing goes anywhere
	}
	p.projects = projects.New(p.inv, p.target, p.options.Harbor, p.options.Projects, &p.findings)
	p.unasked = p.projects.Unasked()
	account, goOn, err := p.checkLogin(ctx)
	if err != nil || !goOn {
		return false, err
	}
	if err := p.checkSystem(ctx); err != nil {
		return false, err
	}
	if err := p.checkGC(ctx); err != nil {
		return false, err
	}
	return true, p.projects.Look(ctx, account, &p.findings)
}

// checkLogin asks who the account is. Some accounts are good for the registry and not for the API; they may push.
func (p *Preflight) checkLogin(ctx context.Context) (account harbor.Account, goOn bool, err error) {
	account, err = p.options.Harbor.Account(ctx)
	switch {
	case err == nil:
		return account, true, nil
	case !errors.Is(err, harbor.ErrNotAllowed):
		return account, true, p.findings.Unchecked(ctx, finding.CheckLogin, p.host(), "who the account is for Harbor", "", err)
	}
	push, _, rightsErr := p.mayPush(ctx, p.inv.Repos[0])
	if target.IsFinal(ctx, rightsErr) {
		return account, false, rightsErr
	}
	if push {
		return account, true, p.findings.Unchecked(ctx, finding.CheckLogin, p.host(), "who the account is for Harbor", "", err)
	}
	p.findings.Block(finding.CheckLogin, p.host(), "Harbor does not take the user name and the password, or none were given",
		fmt.Sprintf("log in with airgap login %s; the secret of a robot account is shown once, when it is made, and an administrator can refresh it; robots expire", p.host()))
	return account, false, nil
}

func (p *Preflight) checkSystem(ctx context.Context) error {
	system, err := p.options.Harbor.System(ctx)
	if err != nil {
		return p.findings.Unchecked(ctx, finding.CheckTarget, p.host(), "the version and the state of Harbor", "", err)
	}
	p.system = system
	if system.Version == "" {
		p.findings.Note(finding.CheckTarget, p.host(), "Harbor, which does not show its version")
	} else {
		p.findings.Note(finding.CheckTarget, p.host(), "Harbor "+system.Version)
	}
	switch {
	case system.ReadOnly:
		p.findings.Block(finding.CheckReadOnly, p.host(), "Harbor is in read-only mode, in which nobody can push",
			"let a system administrator end it: Administration, Configuration, System Settings, Repository Read Only")
	case !system.Known:
		err = p.findings.Unchecked(ctx, finding.CheckReadOnly, p.host(), "whether Harbor is in read-only mode", "", nil)
	}
	p.checkClock(system.Clock)
	p.checkVersion()
	return err
}

// checkVersion says what older versions make of signatures.
func (p *Preflight) checkVersion() {
	if is, known := p.system.AtLeast(2, 8); known && !is {
		p.findings.Warn(finding.CheckVersion, p.host(), "Harbor before 2.8 has no referrers API: signatures and SBOMs are listed under fallback tags, and Harbor shows them beside the image, not under it",
			"tools find them all the same; to see them in Harbor, upgrade it")
		return
	}
	if is, known := p.system.AtLeast(2, 15); known && !is && p.bringsSigstore() {
		p.findings.Note(finding.CheckVersion, p.host(), "Harbor before 2.15 lists a signature that is a Sigstore bundle as a plain accessory: it is there, cosign finds it, and Harbor does not mark the image as signed")
	}
}

// bringsSigstore tells whether a signature of the kind that Harbor came to know late is among what is brought.
func (p *Preflight) bringsSigstore() bool {
	for manifest := range p.inv.Manifests() {
		if node := p.inv.Graph.Node(int(manifest.Row)); node.ArtifactType == bundle.MediaTypeSigstore && !node.Subject.IsZero() {
			return true
		}
	}
	return false
}

// saysReferrers says how this version of Harbor lists referrers; false where the version is not known. (FIELD: the API
// came with 2.8, the acknowledgement with 2.9.)
func (p *Preflight) saysReferrers() bool {
	api, known := p.system.AtLeast(2, 8)
	subject, _ := p.system.AtLeast(2, 9)
	switch {
	case !known:
		return false
	case !api:
		p.findings.Note(finding.CheckReferrers, p.host(), "it has no referrers API")
	case !subject:
		p.findings.Note(finding.CheckReferrers, p.host(), "it has the referrers API, and does not acknowledge subjects (OCI-Subject)")
	default:
		p.findings.Note(finding.CheckReferrers, p.host(), "it has the referrers API, and acknowledges subjects (OCI-Subject)")
	}
	return true
}

// checkGC looks at what may be deleted while the import is under way. What is less than two hours old is spared.
func (p *Preflight) checkGC(ctx context.Context) error {
	schedule, err := p.options.Harbor.GarbageCollection(ctx)
	if err != nil {
		return p.findings.Unchecked(ctx, finding.CheckGC, p.host(), "whether garbage is collected during a long import, and untagged artifacts with it",
			"for a robot account, ask a system administrator for the system permission Garbage Collection: Read", err)
	}
	if schedule.Type == harbor.ScheduleNone {
		p.findings.Note(finding.CheckGC, p.host(), "no garbage collection is scheduled")
		return nil
	}
	when := fmt.Sprintf("garbage collection is scheduled (%s)", strings.TrimSpace(schedule.Type+" "+schedule.Cron))
	if !schedule.Next.IsZero() {
		when += ", next at " + schedule.Next.UTC().Format(time.RFC3339)
	}
	if !schedule.DeleteUntagged {
		p.findings.Note(finding.CheckGC, p.host(), when+"; it deletes blobs that no manifest names yet once they are two hours old")
		return nil
	}
	p.findings.Warn(finding.CheckGC, p.host(), when+", and deletes untagged artifacts: before its tags are moved, all that an import has pushed is untagged, and two hours later it is garbage",
		"import at another time if it takes longer than that, or let a system administrator switch the option off meanwhile: Administration, Clean Up")
	return nil
}

// checkManifests finds what Harbor refuses for good: an index that lists one digest twice is answered with 404. (What is
// over 4 MiB, which it refuses as well, is in no bundle.)
func (p *Preflight) checkManifests() {
	found := map[int32]bool{}
	for manifest := range p.inv.Manifests() {
		if p.inv.State(manifest).IsThere() || found[manifest.Row] || !listsTwice(p.inv.Graph.Node(int(manifest.Row)).Children) {
			continue
		}
		found[manifest.Row] = true
		p.findings.Block(finding.CheckManifest, p.inv.Path(manifest.Row), "this index lists a manifest twice, which Harbor refuses",
			"leave the image out with --only, or export it with --platform and --platform-mode rewrite, which makes an index of just those platforms")
	}
}

func listsTwice(children []int32) bool {
	sorted := slices.Sorted(slices.Values(children))
	return len(slices.Compact(sorted)) < len(children)
}
