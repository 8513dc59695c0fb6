package export

import (
	"context"
	"errors"
	"slices"

	"airgap/bundle"
)

// Plan is what an export would carry. Nothing but manifests has been fetched for it. Close it when done.
type Plan struct {
	Contents *bundle.Contents // nil where no image was found

	chosen  *Selection
	walk    *Walked
	options Options
}

// MakePlan chooses, and finds everything that was chosen. The error is about the planning itself: what could not be had is
// in the plan (see Plan.Err), so that it can be shown together with the rest.
func MakePlan(ctx context.Context, source Source, choice Choice, o Options) (*Plan, error) {
	o = o.withDefaults()
	chosen, err := choice.Choose(ctx, o.Observer)
	if err != nil {
		return nil, err
	}
	for _, warning := range chosen.Warnings {
		o.Observer.Warn(warning)
	}
	o.Walk.Tags = chosen.Tags
	walk, err := Walk(ctx, source, chosen.Requests, o.Jobs, o.Walk, o.Observer)
	if err != nil {
		return nil, err
	}
	walk.Failures = slices.Concat(chosen.Failures, walk.Failures)
	walk.Excluded = slices.Concat(chosen.Excluded, walk.Excluded)
	p := &Plan{chosen: chosen, walk: walk, options: o}
	if p.options.Created.IsZero() {
		p.options.Created = o.Now()
	}
	if len(walk.Images) == 0 {
		return p, nil
	}
	p.Contents, err = bundle.Plan(walk.Images, walk.Manifest, bundle.PlanOptions{Created: p.options.Created, Missing: walk.missing()})
	if err != nil {
		return nil, errors.Join(err, walk.Close())
	}
	walk.Images = nil // the tables have all of it
	return p, nil
}

// Err returns what stands against writing the bundle: images that could not be had, unless Options.KeepGoing, or that
// there are none at all.
func (p *Plan) Err() error {
	switch err := p.walk.Err(); {
	case p.Contents == nil && err == nil:
		return ErrNothing
	case p.Contents == nil, !p.options.KeepGoing:
		return err
	}
	return nil
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
