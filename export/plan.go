package export

import (
	"context"
	"errors"
	"slices"

	"airgap/bundle"
	"airgap/export/mirror"
	"airgap/verify/judge"
)

// Plan is what an export would carry. Nothing but manifests has been fetched for it. Close it when done.
type Plan struct {
	Contents  *bundle.Contents // nil where no image was found
	Graph     *bundle.Graph    // of Contents
	Judgement *judge.Judgement // of all images that were found; nil without a policy that judges any

	chosen  *Selection
	walk    *walked
	options Options
}

// MakePlan chooses, and finds everything that was chosen. The error is about the planning itself: what could not be had is
// in the plan (see Plan.Err), so that it can be shown together with the rest.
func MakePlan(ctx context.Context, source Source, choice Choice, o Options) (*Plan, error) {
	o = o.withDefaults()
	var next *mirror.Next
	if o.Mirror != nil {
		var err error
		if next, err = o.Mirror.Next(ctx, o.Wishes); err != nil {
			return nil, err
		}
	}
	return makePlan(ctx, source, choice, next, o)
}

// makePlan is MakePlan for the next bundle of a mirror, or, where next is nil, for one of none.
func makePlan(ctx context.Context, source Source, choice Choice, next *mirror.Next, o Options) (*Plan, error) {
	chosen, err := choice.Choose(ctx, o.Observer)
	if err != nil {
		return nil, err
	}
	for _, warning := range chosen.Warnings {
		o.Observer.Warn(warning)
	}
	o.Walk.Tags = chosen.Tags
	w, err := walk(ctx, source, chosen.Requests, o)
	if err != nil {
		return nil, err
	}
	w.Failures = slices.Concat(chosen.Failures, w.Failures)
	w.Excluded = slices.Concat(chosen.Excluded, w.Excluded)
	p := &Plan{chosen: chosen, walk: w, options: o}
	if p.options.Created.IsZero() {
		p.options.Created = o.Now()
	}
	if len(w.Images) == 0 {
		return p, nil
	}
	settings := bundle.PlanOptions{Created: p.options.Created, TrustedRoot: o.TrustedRoot}
	if next != nil {
		settings.Mirror, settings.Sequence, settings.StoredBy = o.Mirror.Name, next.Sequence, next.StoredBy
	}
	err = p.tabulate(ctx, settings)
	if err == nil {
		err = p.judge(ctx, source, settings)
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.Images = nil // the tables have all of it
	w.store.forget()
	return p, nil
}

// tabulate makes the tables of the images.
func (p *Plan) tabulate(ctx context.Context, settings bundle.PlanOptions) (err error) {
	settings.Missing = p.walk.missing()
	if p.Contents, err = bundle.Plan(p.walk.Images, p.walk.Manifest, settings); err == nil {
		p.Graph, err = bundle.NewGraph(ctx, p.Contents, p.walk.Manifest)
	}
	return err
}

// Err returns what stands against writing the bundle: images that could not be had or that fail the policy, unless
// Options.KeepGoing, or that there are none at all.
func (p *Plan) Err() error {
	switch err := p.walk.Err(); {
	case p.Contents == nil && err == nil:
		return ErrNothing
	case p.Contents == nil, !p.options.KeepGoing:
		return err
	}
	return nil
}

// maxDeltas bounds how many bundles of a mirror are compared as bases. The heads of all are read.
const maxDeltas = 20

// Deltas says how large the bundle would be on each of the newest bundles of its mirror; see mirror.Mirror.Deltas.
func (p *Plan) Deltas(ctx context.Context) ([]mirror.Delta, error) {
	if p.Contents == nil || p.options.Mirror == nil {
		return nil, nil
	}
	return p.options.Mirror.Deltas(ctx, p.Contents, maxDeltas)
}

// Registries returns the registries of the images that were chosen, as package name spells them.
func (p *Plan) Registries() []string {
	var all []string
	for _, r := range p.chosen.Requests {
		all = append(all, r.Ref.Context().RegistryStr())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Close removes the temporary file in which the manifests were kept.
func (p *Plan) Close() error { return p.walk.Close() }
