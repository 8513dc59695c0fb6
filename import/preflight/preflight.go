// Package preflight finds out what would make an import fail, before anything is written: Look asks what the target is and lets
// the account do; then, when the survey has found what the target has, Weigh compares that with what would be added and moved.
// Both add to Findings.
package preflight

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/finding"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/projects"
	"airgap/import/survey"
	"airgap/import/target"
)

// Target is what is asked.
type Target interface {
	projects.Target

	// Manifest returns the manifest that ref names.
	Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error)
	// Referrers lists what refers to a manifest, whole, from the API or else from the fallback tag, or fails.
	Referrers(ctx context.Context, subject name.Digest) (registry.Referrers, error)
	// Clock returns the time at the registry; zero where it does not say.
	Clock(ctx context.Context, reg name.Registry) (time.Time, error)
}

// Options are the settings of a Preflight.
type Options struct {
	Registry        name.Registry
	Harbor          *harbor.Client // nil: another registry
	Projects        projects.Options
	NoOverwrite     bool  // tags that exist with other content must not move
	OverwriteCosign bool  // such tags of cosign are no conflicts by themselves
	Record          int32 // place of the record in the inventory's repositories; -1: none is kept
	Jobs            int
	Now             time.Time // on this side
}

// Preflight is one look at a target.
type Preflight struct {
	inv      *inventory.Inventory
	target   Target
	options  Options
	findings finding.List
	unasked  []bool // by repository

	projects *projects.Projects // nil: another registry than Harbor
	system   harbor.System
}

// New returns a Preflight that has asked nothing yet.
func New(inv *inventory.Inventory, t Target, o Options) *Preflight {
	return &Preflight{inv: inv, target: t, options: o, unasked: make([]bool, len(inv.Repos))}
}

// Findings returns the list that grows while the target is looked at.
func (p *Preflight) Findings() *finding.List { return &p.findings }

// Unasked tells by repository what the survey is not to ask about.
func (p *Preflight) Unasked() []bool { return p.unasked }

// Projects returns the projects of Harbor; nil where the target is another registry, or nothing goes anywhere.
func (p *Preflight) Projects() *projects.Projects { return p.projects }

// Look is about the target, the account and the places where images go. goOn is false where nothing more can be found out.
func (p *Preflight) Look(ctx context.Context) (goOn bool, err error) {
	if p.options.Harbor != nil {
		return p.lookAtHarbor(ctx)
	}
	p.findings.Note(finding.CheckTarget, p.host(), "a registry other than Harbor")
	clock, err := p.target.Clock(ctx, p.options.Registry)
	if target.IsFinal(ctx, err) {
		return false, err
	}
	if err == nil {
		p.checkClock(clock)
	}
	return true, p.checkHosted(ctx)
}

// Weigh is about what would be added to what the target has; recordBytes go to the record.
func (p *Preflight) Weigh(ctx context.Context, surveyed survey.Result, recordBytes int64) error {
	p.checkOverwrites()
	if p.options.Harbor != nil {
		p.checkManifests()
		if err := p.projects.Weigh(ctx, surveyed.Unasked, p.options.Record, recordBytes, &p.findings); err != nil || p.saysReferrers() {
			return err
		}
	} else if err := p.checkRights(ctx, surveyed.Unasked); err != nil {
		return err
	}
	return p.checkReferrers(ctx, surveyed.API)
}

// host names the target as a whole.
func (p *Preflight) host() string { return p.options.Registry.Name() }

// checkRights finds repositories that would be written to, in a registry other than Harbor, and into which the account may not
// push by what the token service grants. Where no token tells, the push will.
// https://distribution.github.io/distribution/spec/auth/jwt/#getting-a-bearer-token
func (p *Preflight) checkRights(ctx context.Context, unasked []bool) error {
	writes := p.inv.Writes()
	return parallel.EachIndex(ctx, p.options.Jobs, len(writes), func(ctx context.Context, at int) error {
		isWritten := writes[at] || at == int(p.options.Record) && slices.Contains(writes, true)
		if !isWritten || unasked[at] {
			return nil
		}
		repo := p.inv.Repos[at]
		push, known, err := p.mayPush(ctx, repo)
		if target.IsFinal(ctx, err) {
			return err
		}
		if err == nil && known && !push {
			p.findings.Block(finding.CheckPush, repo.Name(), "this account may not push to it", fmt.Sprintf("log in with an account that may, with airgap login %s, or ask an administrator of the registry for the right to pull from it and push to it", p.host()))
		}
		return nil
	})
}

// mayPush tells whether the token service grants to push to repo; known is false where it does not tell.
func (p *Preflight) mayPush(ctx context.Context, repo name.Repository) (push, known bool, err error) {
	granted, known, err := p.target.Granted(ctx, repo)
	return slices.Contains(granted, "push") || slices.Contains(granted, "*"), known, err
}

// maxSkew is how far the clocks of both sides may be apart: tokens and certificates are good for minutes and days.
const maxSkew = 5 * time.Minute

// checkClock compares the target's time, which may be zero, with that of this side.
func (p *Preflight) checkClock(there time.Time) {
	if there.IsZero() {
		return
	}
	ahead := there.Sub(p.options.Now)
	if ahead.Abs() <= maxSkew {
		return
	}
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	p.findings.Warn(finding.CheckClock, p.host(), fmt.Sprintf("its clock is %s %s this machine's", roughly(ahead.Abs()), direction),
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
func (p *Preflight) checkOverwrites() {
	if !p.options.NoOverwrite {
		return
	}
	for i := range p.inv.Tags {
		t := &p.inv.Tags[i]
		if t.Guarded && !p.options.OverwriteCosign {
			continue
		}
		if t.IsHidden() {
			p.findings.Block(finding.CheckOverwrite, p.inv.TagName(t), "it exists, and a pull policy hides whether the import would move it",
				"give the account the permission artifact:read, leave out --no-overwrite, or give the image another tag with --map")
		}
		if t.Moves() {
			p.findings.Block(finding.CheckOverwrite, p.inv.TagName(t), fmt.Sprintf("it is %s, and the import would move it to %s", t.Old(), p.inv.Digest(t.Row)),
				"leave out --no-overwrite, or give the image another tag with --map")
		}
	}
}

// checkReferrers says how the target lists referrers, if something is there that can be asked about. Only what is pushed
// shows whether the target acknowledges subjects.
func (p *Preflight) checkReferrers(ctx context.Context, api target.ReferrersAPI) error {
	if api == target.ReferrersAPIUnknown {
		var err error
		if api, err = p.probeReferrers(ctx); err != nil {
			return p.findings.Unchecked(ctx, finding.CheckReferrers, p.host(), "how it lists referrers", "", err)
		}
	}
	switch api {
	case target.ReferrersAPIPresent:
		p.findings.Note(finding.CheckReferrers, p.host(), "it has the referrers API")
	case target.ReferrersAPIAbsent:
		p.findings.Note(finding.CheckReferrers, p.host(), "it has no referrers API: signatures and SBOMs are listed under fallback tags, sha256-..., where cosign, oras and regctl find them")
	default:
		p.findings.Note(finding.CheckReferrers, p.host(), "whether it has the referrers API shows when something is there; if not, signatures and SBOMs are listed under fallback tags")
	}
	return nil
}

func (p *Preflight) probeReferrers(ctx context.Context) (target.ReferrersAPI, error) {
	for manifest := range p.inv.Manifests() {
		if p.inv.State(manifest) != inventory.Present {
			continue
		}
		listed, err := p.target.Referrers(ctx, p.inv.Name(manifest))
		if err != nil {
			return target.ReferrersAPIUnknown, err
		}
		return target.APIOf(listed), nil
	}
	return target.ReferrersAPIUnknown, nil
}
