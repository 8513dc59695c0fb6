// Package importer is the disconnected side: it takes a bundle that has been checked into a registry that has never seen the
// internet.
//
// Start with [Run], which goes through stages, each a package: names become places at the target (placing), from which follows
// what has to be there (inventory). The target is asked what it is and lets the account do (preflight, projects), what was imported
// before (record), and what it has (survey, elsewhere); what can be had nowhere ends the import there (stranded). Then everything is
// pushed (transfer), is made findable (tags of cosign, referrers) and is looked for once more (confirm), which alone gives the
// permission to move the tags that people use (tags). At the end what the target shows is compared with what was sent (readback),
// and all of it is told (report), to the target as well (record).
//
// Nothing is written before all mappings, conflicts and findings are known and the bundle is approved as the policy asks, and no tag
// that a person uses moves before everything is there. Package rollback undoes what an import did to tags, by its report.
package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/export/registry/harbor"
	"airgap/import/confirm"
	"airgap/import/finding"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/placing"
	"airgap/import/preflight"
	"airgap/import/projects"
	"airgap/import/readback"
	"airgap/import/referrers"
	"airgap/import/report"
	"airgap/import/stranded"
	"airgap/import/survey"
	"airgap/import/tags"
	"airgap/import/target"
	"airgap/import/transfer"
	"airgap/verify"
)

// Options are the settings of Run. The zero value of all but the destination is valid.
type Options struct {
	placing.Rules // where images go

	// DryRun asks the target what it has and writes nothing.
	DryRun bool
	// OverwriteCosignTags moves .sig, .att and .sbom tags that exist with other content, which is otherwise a conflict.
	OverwriteCosignTags bool
	// NoOverwrite refuses to move tags that exist with other content.
	NoOverwrite bool

	// Harbor is the target's own API; nil: the target is no Harbor.
	Harbor *harbor.Client
	// CreateProjects creates projects that Harbor does not have.
	CreateProjects bool
	ProjectPublic  bool  // so that anybody can pull from what is created
	ProjectQuota   int64 // bytes; 0: what Harbor gives to all; harbor.Unlimited
	// AllowPublic brings images that are private at their source into public projects, too.
	AllowPublic bool
	// Thorough asks the target for every manifest and every blob, also for those that it must have by what else it has.
	Thorough bool

	// Pace bounds what is under way at once to what the registry turns out to take, up to parallel.MostJobs, if it is no Harbor and
	// Jobs does not say how much; nil: Jobs alone counts.
	Pace *Pace
	Jobs int // 0: parallel.DefaultJobs
	// JobsPerProject bounds the blob uploads and manifest pushes that are under way at once into one project of Harbor. Other
	// registries have no projects, and Jobs is their only bound. 0: parallel.DefaultJobs.
	JobsPerProject int
	// SpoolBytes bounds what a bundle from a pipe may take in TempDir while it waits to be uploaded, though one blob is
	// always let in. 0: transfer.DefaultSpoolBytes.
	SpoolBytes int64
	TempDir    string // "": the system's

	Recording Recording

	Observer bundle.Observer  // nil: silence
	Now      func() time.Time // the clock of the report; nil: time.Now
}

func (o Options) withDefaults() Options {
	if o.Jobs > 0 || o.Harbor != nil {
		o.Pace = nil
	}
	if o.Jobs <= 0 {
		o.Jobs = parallel.DefaultJobs
		if o.Pace != nil {
			o.Jobs = parallel.MostJobs
		}
	}
	if o.JobsPerProject <= 0 {
		o.JobsPerProject = parallel.DefaultJobs
	}
	if o.SpoolBytes <= 0 {
		o.SpoolBytes = transfer.DefaultSpoolBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Observer = bundle.Observe(o.Observer)
	return o
}

// Run imports b, if it has the approvals that the policy asks for (approval.ErrMissing). The report says how far it got, and is there with an error, too, once the mappings make sense. A run
// that failed can be repeated, and continues; a run after success changes nothing. Cancelling gives ctx.Err(): what was
// pushed stays, without a tag, unless tags were being moved already (the report says which were). After an error that wraps
// readback.ErrUnchecked, everything was written.
func Run(ctx context.Context, b *verify.Bundle, t Target, o Options) (*report.Report, error) {
	if err := b.Approved().Err(); err != nil {
		return nil, fmt.Errorf("nothing was written to %s: %w", o.Destination, err)
	}
	o = o.withDefaults()
	started := o.Now()
	o.Fails = b.Fails
	placed, err := placing.Place(b.Contents(), o.Rules)
	if err != nil {
		return nil, err
	}
	if len(placed.Images) == 0 && len(placed.Failing) > 0 {
		return nil, fmt.Errorf("nothing is left to be imported: %w", b.Judgement().Err())
	}
	record, noPlace := o.Recording.place(&b.Contents().Header, o.Destination, placed)
	inv, err := inventory.New(b, placed)
	if err != nil {
		return nil, err
	}
	if o.Pace != nil {
		t = paced{t, o.Pace}
	}
	done := outcome{memory: newMemory(inv, t, record, noPlace, o, started)}
	err = run(ctx, inv, pastPolicies{Target: t, resolver: target.PastPolicies{Registry: t, Harbor: o.Harbor}}, o, started, &done)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	r := done.report(inv, o)
	r.Complete = err == nil && !o.DryRun
	if isWritten := r.Complete || errors.Is(err, readback.ErrUnchecked); isWritten {
		if notTold := done.memory.tell(ctx, r.Changed, r.Complete); notTold != nil {
			err = errors.Join(err, fmt.Errorf("everything was written to %s but the record of it, which running the command again makes good: %w", o.Destination, notTold))
		}
		r.Complete, r.Changed = err == nil, r.Changed || done.memory.changed
	}
	r.Started, r.Seconds = started, o.Now().Sub(started).Seconds()
	return r, err
}

// run goes through the stages. Each says in its error what it was about; here is said what that means for the target.
func run(ctx context.Context, inv *inventory.Inventory, t Target, o Options, started time.Time, done *outcome) error {
	limits := limitsOf(inv, t, o)
	mover := tags.New(inv, t, tags.Options{Limits: limits, NoOverwrite: o.NoOverwrite, OverwriteCosign: o.OverwriteCosignTags, Observer: o.Observer})
	content := transfer.New(inv, t, transfer.Options{Limits: limits, SpoolBytes: o.SpoolBytes, TempDir: o.TempDir, Observer: o.Observer})

	o.Observer.Count("check target", "answer", 0)
	surveyed, err := check(ctx, inv, t, mover, o, started, done)
	if err != nil {
		return fmt.Errorf("nothing was written to %s: %w", o.Destination, err)
	}
	if o.DryRun {
		content.WarnOfSparse()
		return nil
	}
	if inv.IsComplete() && !inv.Bundle.Sequential() { // or else it is read to its end, whatever of it is needed
		return compareAccessories(ctx, inv, t, surveyed.Listed, o, done) // the survey has just seen all that would be read back
	}
	if err := createProjects(ctx, o, done); err != nil {
		return fmt.Errorf("%s: %w", o.Destination, err)
	}
	if err := content.Sparse(ctx); err != nil {
		return fmt.Errorf("nothing was pushed to %s but, perhaps, an index without a tag: %w", o.Destination, err)
	}
	if err := content.First(ctx, surveyed.First); err != nil {
		return fmt.Errorf("no tag was moved, and nothing was pushed to %s but single blobs, which will be used when the command is run again: %w", o.Destination, err)
	}
	if o.Harbor == nil { // which takes all kinds (observed at 2.14.4)
		if err := content.Samples(ctx); err != nil {
			return fmt.Errorf("no tag was moved, and nothing was pushed to %s but, at most, small samples, which will be used when the command is run again: %w", o.Destination, err)
		}
	}
	done.lists = referrers.New(inv, t, limits, surveyed.API, o.Observer)
	complete, err := push(ctx, inv, t, content, mover, done.lists, limits, o.Observer)
	if err != nil {
		return fmt.Errorf("no tag was moved; what has arrived at %s will be used when the command is run again: %w", o.Destination, err)
	}
	if err := done.memory.plan(ctx); err != nil {
		return fmt.Errorf("no tag was moved; what has arrived at %s will be used when the command is run again (--no-record keeps no record): %w", o.Destination, err)
	}
	o.Observer.Count("tag", "tag", int64(len(complete.Tags())))
	if err := mover.Move(ctx, complete); err != nil {
		return err
	}
	o.Observer.Count("read back", "answer", int64(len(inv.Tags)+len(inv.Lists)))
	return compare(ctx, inv, t, o, done)
}

// check finds out what would make the import fail, and what the target has. Of what blocks, and of what the survey runs into,
// everything is in one error.
func check(ctx context.Context, inv *inventory.Inventory, t Target, mover *tags.Mover, o Options, started time.Time, done *outcome) (surveyed survey.Result, err error) {
	ground := preflight.New(inv, t, preflight.Options{
		Registry: o.Destination.Registry, Harbor: o.Harbor, NoOverwrite: o.NoOverwrite, OverwriteCosign: o.OverwriteCosignTags, Jobs: o.Jobs, Now: started,
		Record:   done.memory.at,
		Projects: projects.Options{Create: o.CreateProjects, Public: o.ProjectPublic, Quota: o.ProjectQuota, AllowPublic: o.AllowPublic, Jobs: o.Jobs},
	})
	done.findings = ground.Findings()
	goOn, err := ground.Look(ctx)
	done.projects = ground.Projects()
	if err != nil {
		return surveyed, err
	}
	if goOn {
		if err := done.memory.admit(ctx, ground.Unasked(), done.findings); err != nil {
			found := done.findings.All()
			warn(o.Observer, found)
			return surveyed, errors.Join(err, finding.Blocking(found))
		}
		surveyed, err = survey.Run(ctx, inv, t, mover, survey.Options{
			Jobs: o.Jobs, Observer: o.Observer, Unasked: ground.Unasked(), Harbor: o.Harbor, Thorough: o.Thorough, Earlier: done.memory.earlier,
		})
		if !target.IsFinal(ctx, err) {
			err = errors.Join(err, ground.Weigh(ctx, surveyed, done.memory.bytes()), done.memory.weigh(ctx, done.findings))
		}
		done.planned = report.Planned(inv)
	}
	found := done.findings.All()
	warn(o.Observer, found)
	err = errors.Join(finding.Blocking(found), err)
	if goOn {
		unasked := surveyed.Unasked
		if err == nil { // they are in projects that are created
			unasked = make([]bool, len(inv.Repos))
		}
		done.want = stranded.Want(inv, unasked)
		err = errors.Join(err, stranded.Err(done.want))
	}
	return surveyed, err
}

// warn tells the person about what does not keep the import from beginning.
func warn(o bundle.Observer, list []finding.Finding) {
	for _, text := range finding.Lines(finding.OfLevel(list, finding.Warning, finding.Unchecked)) {
		o.Warn(text)
	}
}

// createProjects creates the projects of Harbor that are missing.
func createProjects(ctx context.Context, o Options, done *outcome) error {
	if done.projects == nil || len(done.projects.Rows()) == 0 {
		return nil
	}
	o.Observer.Phase("create projects", 0)
	var found finding.List
	err := done.projects.Create(ctx, &found)
	warn(o.Observer, found.All())
	for _, f := range found.All() {
		done.findings.Add(f)
	}
	return err
}

// push makes everything arrive that the tags will lead to, and be listed for what it refers to.
func push(ctx context.Context, inv *inventory.Inventory, t Target, content *transfer.Transfer, mover *tags.Mover, lists *referrers.Lister, limits parallel.Limits, o bundle.Observer) (confirm.Complete, error) {
	everything := func(ctx context.Context) error {
		if err := content.All(ctx); err != nil {
			return err
		}
		o.Count("list referrers", "name", int64(inv.CosignTags()+len(inv.Lists)))
		if err := mover.MoveCosign(ctx); err != nil {
			return err
		}
		return lists.List(ctx)
	}
	if err := everything(ctx); err != nil {
		return confirm.Complete{}, err
	}
	return confirm.Everything(ctx, inv, t, limits, o, func(ctx context.Context, lost error) error {
		o.Warn(fmt.Sprintf("what is gone is pushed again, perhaps garbage was collected: %s", bundle.OneLine(lost)))
		return everything(ctx)
	})
}

// compare reads back what was written.
func compare(ctx context.Context, inv *inventory.Inventory, t Target, o Options, done *outcome) (err error) {
	done.unchecked, err = readback.Run(ctx, inv, t, o.Jobs, o.Observer)
	if err != nil && !errors.Is(err, readback.ErrUnchecked) {
		return err
	}
	return cmp.Or(compareAccessories(ctx, inv, t, nil, o, done), err)
}

// compareAccessories finds out what Harbor shows otherwise than it was sent; listed is what it is known to show.
func compareAccessories(ctx context.Context, inv *inventory.Inventory, t Target, listed target.Accessories, o Options, done *outcome) (err error) {
	if o.Harbor != nil {
		done.notes, err = readback.Accessories(ctx, inv, t, o.Harbor, listed, o.Jobs)
	}
	return err
}

// outcome is what the stages returned.
type outcome struct {
	findings  *finding.List
	planned   report.Work
	projects  *projects.Projects // nil: another registry than Harbor
	lists     *referrers.Lister  // nil: not reached
	unchecked []string
	notes     []string
	want      *ledger.Want // nil: nothing
	memory    *memory
}

// report says how far the import has got.
func (done outcome) report(inv *inventory.Inventory, o Options) *report.Report {
	r := report.New(inv)
	r.Target, r.DryRun = o.Destination.String(), o.DryRun
	r.Findings = append(r.Findings, done.findings.All()...)
	r.Planned, r.Unchecked, r.Notes, r.Want = done.planned, done.unchecked, done.notes, done.want
	if done.projects != nil {
		r.Projects = done.projects.Rows()
	}
	if done.memory.repo != nil {
		r.Record, r.AllowedOlder = done.memory.repo.Name().Name(), done.memory.overruled
	}
	if done.lists != nil {
		r.Done.FallbackTags = done.lists.Written()
	}
	r.Changed = r.Done.Changes() || slices.ContainsFunc(r.Projects, func(row projects.Row) bool { return row.Status == projects.Created })
	return r
}

// limitsOf returns how much may be under way at once. The projects of Harbor, which are the first elements of paths, have bounds
// of their own: Harbor takes a lock on a project's quota for each upload into it, and answers with errors where many wait for it.
func limitsOf(inv *inventory.Inventory, t target.Pather, o Options) parallel.Limits {
	limits := parallel.Limits{Jobs: o.Jobs, PerLane: o.Jobs, Lanes: 1, Lane: make([]int32, len(inv.Repos))}
	if o.Harbor == nil {
		return limits
	}
	limits.PerLane = o.JobsPerProject
	for i := 1; i < len(inv.Repos); i++ { // they are sorted
		before, _ := target.InHarbor(t, inv.Repos[i-1])
		if project, _ := target.InHarbor(t, inv.Repos[i]); project != before {
			limits.Lanes++
		}
		limits.Lane[i] = int32(limits.Lanes - 1)
	}
	return limits
}
