package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/finding"
)

// maxSkew is how far the clocks of both sides may be apart: tokens and certificates are good for minutes and days.
const maxSkew = 5 * time.Minute

// preflight finds out what would make the import fail, before anything is written. It has two stages: what the target is
// and lets the account do, and then, when it is known what the target has, what would be added and moved.
type preflight struct {
	*run
	findings finding.List
	harbor   *harbor.Client // nil: another registry
	account  harbor.Account
	system   harbor.System

	projects  []*project // of Harbor
	projectOf []int32    // by repository; -1 for none
}

// preflight goes through both stages, with the survey of the target between them. Of what blocks, and of what the survey
// runs into, everything is in one error.
func (r *run) preflight(ctx context.Context) error {
	r.unasked = make([]bool, len(r.plan.repositories))
	c := &preflight{run: r, harbor: r.options.Harbor}
	r.checks = c
	goOn, err := c.before(ctx)
	if err != nil {
		return err
	}
	if goOn {
		if err = r.inspect(ctx); !final(ctx, err) {
			err = errors.Join(err, c.after(ctx))
		}
		r.planned = r.plan.work()
	}
	list := c.findings.All()
	c.warn(list)
	return errors.Join(finding.Blocking(list), err)
}

// warn tells the person about what does not keep the import from beginning.
func (c *preflight) warn(list []finding.Finding) {
	for _, text := range finding.Lines(finding.OfLevel(list, finding.Warning, finding.Unchecked)) {
		c.observer.Warn(text)
	}
}

// final tells whether an error ends the preflight: nothing else would be answered either.
func final(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, registry.ErrUnavailable) || errors.Is(err, registry.ErrThrottled))
}

// before is the first stage. It is about the target, the account and the places where images go. goOn is false where
// nothing more can be found out.
func (c *preflight) before(ctx context.Context) (goOn bool, err error) {
	if c.harbor != nil {
		return c.beforeHarbor(ctx)
	}
	c.note(finding.CheckTarget, c.host(), "a registry other than Harbor")
	clock, err := c.target.Clock(ctx, c.options.Destination.Registry)
	if final(ctx, err) {
		return false, err
	}
	if err == nil {
		c.checkClock(clock)
	}
	return true, c.checkHosted(ctx)
}

// after is the second stage. It is about what would be added to what the target has.
func (c *preflight) after(ctx context.Context) error {
	c.checkOverwrites()
	if c.harbor != nil {
		if err := c.afterHarbor(ctx); err != nil || c.saysReferrers() {
			return err
		}
	} else if err := c.checkRights(ctx); err != nil {
		return err
	}
	return c.checkReferrers(ctx)
}

// checkRights finds repositories that would be written to, in a registry other than Harbor, and into which the account may not
// push by what the token service grants. Where no token tells, the push will.
// https://distribution.github.io/distribution/spec/auth/jwt/#getting-a-bearer-token
func (c *preflight) checkRights(ctx context.Context) error {
	writes := c.plan.writes()
	return each(ctx, c.options.Jobs, indexes(len(writes)), func(ctx context.Context, at int) error {
		if !writes[at] || c.unasked[at] {
			return nil
		}
		repo := c.plan.Repos[at]
		push, known, err := c.mayPush(ctx, repo)
		if final(ctx, err) {
			return err
		}
		if err == nil && known && !push {
			c.block(finding.CheckPush, repo.Name(), "this account may not push to it", fmt.Sprintf("log in with an account that may, with airgap login %s, or ask an administrator of the registry for the right to pull from it and push to it", c.host()))
		}
		return nil
	})
}

// mayPush tells whether the token service grants to push to repo; known is false where it does not tell.
func (c *preflight) mayPush(ctx context.Context, repo name.Repository) (push, known bool, err error) {
	granted, known, err := c.target.Granted(ctx, repo)
	return grants(granted, "push"), known, err
}

// grants tells whether an action is among those that were granted.
func grants(granted []string, action string) bool {
	return slices.Contains(granted, action) || slices.Contains(granted, "*")
}

// host names the target as a whole.
func (c *preflight) host() string { return c.options.Destination.Registry.Name() }

func (c *preflight) note(check finding.Check, subject, message string) {
	c.findings.Add(finding.Finding{Check: check, Subject: subject, Level: finding.Note, Message: message})
}

func (c *preflight) warning(check finding.Check, subject, message, remedy string) {
	c.findings.Add(finding.Finding{Check: check, Subject: subject, Level: finding.Warning, Message: message, Remedy: remedy})
}

func (c *preflight) block(check finding.Check, subject, message, remedy string) {
	c.findings.Add(finding.Finding{Check: check, Subject: subject, Level: finding.Blocks, Message: message, Remedy: remedy})
}

// unchecked adds a finding for what could not be found out. It returns err where that ends the preflight.
func (c *preflight) unchecked(ctx context.Context, check finding.Check, subject, what, remedy string, err error) error {
	if final(ctx, err) {
		return err
	}
	reason := "the target does not say"
	switch {
	case errors.Is(err, harbor.ErrNotAllowed):
		reason = "this account may not see it"
	case err != nil:
		reason = err.Error()
	}
	c.findings.Add(finding.Finding{Check: check, Subject: subject, Level: finding.Unchecked, Message: what + " (" + reason + ")", Remedy: remedy})
	return nil
}

// checkClock compares the target's time, which may be zero, with that of this side.
func (c *preflight) checkClock(there time.Time) {
	if there.IsZero() {
		return
	}
	ahead := there.Sub(c.started)
	if ahead.Abs() <= maxSkew {
		return
	}
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	c.warning(finding.CheckClock, c.host(), fmt.Sprintf("its clock is %s %s this machine's", roughly(ahead.Abs()), direction),
		"set the one that is wrong: logins and certificates are good for a time only")
}

// roughly returns how long d is, for people.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d.Round(day)/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d.Round(time.Hour)/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d.Round(time.Minute)/time.Minute)
}

// checkOverwrites finds the tags that Options.NoOverwrite is to protect. Cosign's tags are conflicts by themselves unless
// they may be overwritten.
func (c *preflight) checkOverwrites() {
	if !c.options.NoOverwrite {
		return
	}
	for i := range c.plan.tags {
		t := &c.plan.tags[i]
		if t.cosign && !c.options.OverwriteCosignTags {
			continue
		}
		if t.unseen {
			c.block(finding.CheckOverwrite, c.plan.tagName(t), "it exists, and a pull policy hides whether the import would move it",
				"give the account the permission artifact:read, leave out --no-overwrite, or give the image another tag with --map")
		}
		if t.moves() {
			c.block(finding.CheckOverwrite, c.plan.tagName(t), fmt.Sprintf("it is %s, and the import would move it to %s", t.old, c.plan.digest(t.row)),
				"leave out --no-overwrite, or give the image another tag with --map")
		}
	}
}

// moves tells whether the tag exists and is to point elsewhere.
func (t *tagMove) moves() bool { return !t.old.IsZero() && !t.isThere }

// checkReferrers says how the target lists referrers, if something is there that can be asked about. Only what is pushed
// shows whether the target acknowledges subjects.
func (c *preflight) checkReferrers(ctx context.Context) error {
	if c.api.Load() == apiUnknown {
		if err := c.probeReferrers(ctx); err != nil {
			return c.unchecked(ctx, finding.CheckReferrers, c.host(), "how it lists referrers", "", err)
		}
	}
	switch c.api.Load() {
	case apiPresent:
		c.note(finding.CheckReferrers, c.host(), "it has the referrers API")
	case apiAbsent:
		c.note(finding.CheckReferrers, c.host(), "it has no referrers API: signatures and SBOMs are listed under fallback tags, sha256-..., where cosign, oras and regctl find them")
	default:
		c.note(finding.CheckReferrers, c.host(), "whether it has the referrers API shows when something is there; if not, signatures and SBOMs are listed under fallback tags")
	}
	return nil
}

// What run.api knows of the referrers API.
const (
	apiUnknown = iota
	apiPresent
	apiAbsent
)

// noteAPI keeps how referrers were listed.
func (r *run) noteAPI(listed registry.Referrers) {
	if listed.API {
		r.api.Store(apiPresent)
	} else {
		r.api.Store(apiAbsent)
	}
}

func (c *preflight) probeReferrers(ctx context.Context) error {
	for i := range c.plan.repositories {
		repo := &c.plan.repositories[i]
		at := slices.Index(repo.states, present)
		if at < 0 {
			continue
		}
		listed, err := c.target.Referrers(ctx, repo.name.Digest(c.plan.digest(repo.manifests[at]).String()))
		if err == nil {
			c.noteAPI(listed)
		}
		return err
	}
	return nil
}
