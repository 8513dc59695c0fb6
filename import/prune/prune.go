// Package prune removes from a target what a mirror brought there earlier and no longer lists, by the record of the target (package
// record): never what no record brought, and never by name alone. Start with Run.
package prune

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"airgap/bundle"
	"airgap/export/registry/harbor"
	"airgap/import/placing"
	"airgap/import/record"
	"airgap/import/rollback"
)

// Errors that a caller may want to tell apart.
var (
	// ErrNotPruned: something could not be removed.
	ErrNotPruned = errors.New("not removed")
	// ErrDoubtful: the record has entries that no trusted key signed, and what these list is not known.
	ErrDoubtful = errors.New("the record has bundles that no trusted key signed, and so it is not known what they need: name their keys with --key as well, or delete these tags")
	// ErrSeveral: it is not clear which of several destinations is meant.
	ErrSeveral = errors.New("the record is of imports into several destinations: name one of them")
	// ErrNothingKnown: the record has nothing of the mirror.
	ErrNothingKnown = errors.New("the record has no bundle of this mirror, signed by a trusted key")
)

// DefaultKeep is how many bundles keep their images.
const DefaultKeep = 2

// Options are the settings of Run.
type Options struct {
	Mirror      string
	Destination placing.Destination // of the imports that count, or around it; nothing outside of it is removed
	Keep        int                 // bundles, of which everything was brought, that keep their images; 0: DefaultKeep
	Delete      bool                // otherwise it is only shown
	Harbor      *harbor.Client      // the API of the target where that is Harbor; nil for other registries
	Jobs        int                 // 0: parallel.DefaultJobs
	Observer    bundle.Observer     // nil: silence
}

// Status says what became, or is to become, of a tag or an artifact.
type Status string

// The values of Status.
const (
	Remove  Status = "remove" // to be removed
	Removed Status = "removed"
	Gone    Status = "gone"   // it was not there any more
	Moved   Status = "moved"  // by somebody else since it was brought: left alone
	Failed  Status = "failed" // see Row.Reason
)

// Row is something that the mirror brought and no longer lists.
type Row struct {
	Repository string        `json:"repository"`    // with its registry
	Tag        string        `json:"tag,omitempty"` // "": the artifact itself, in Harbor
	Digest     bundle.Digest `json:"digest"`
	Source     string        `json:"source"` // of the image
	Bundle     string        `json:"bundle"` // the last one that listed it: dhi@9
	Status     Status        `json:"status"`
	Reason     string        `json:"reason,omitempty"`
}

// Report is what Run did or, without Options.Delete, would do.
type Report struct {
	Target  string   `json:"target"`
	Mirror  string   `json:"mirror"`
	Kept    []string `json:"kept"` // bundles whose images stay, the newest first
	DryRun  bool     `json:"dryRun"`
	Changed bool     `json:"changed"`
	Rows    []Row    `json:"rows"`
	// Doubts are tags of the record that are not believed.
	Doubts []string `json:"doubts,omitempty"`
}

// Run removes what the mirror brought and the bundles that keep their images do not list: the newest ones of which everything was
// brought, and all that are newer than these. h has to be of all mirrors, since nothing goes that one of them needs. Tags that
// somebody has moved since stay, as does what the newest bundle could not have, and what it needs. What one tag meets does not keep
// the others; all of that is in one error, which wraps ErrNotPruned. Run can be repeated, and then does what was left.
func Run(ctx context.Context, h *record.History, t rollback.Target, o Options) (*Report, error) {
	if o.Keep <= 0 {
		o.Keep = DefaultKeep
	}
	o.Observer = bundle.Observe(o.Observer)
	known, err := read(ctx, h, o)
	if err != nil {
		return nil, err
	}
	report := &Report{Target: o.Destination.String(), Mirror: o.Mirror, Kept: known.kept, DryRun: !o.Delete, Rows: []Row{}}
	for _, doubt := range h.Doubts() {
		report.Doubts = append(report.Doubts, doubt.Tag)
	}
	if o.Delete && len(report.Doubts) > 0 {
		return report, fmt.Errorf("record %s: %w: %s", h, ErrDoubtful, report.Doubts[0])
	}
	p := pruner{known, t, o, report}
	if err := p.tags(ctx); err != nil {
		return report, err
	}
	if o.Harbor != nil {
		if err := p.artifacts(ctx); err != nil {
			return report, err
		}
	}
	report.Changed = slices.ContainsFunc(report.Rows, func(r Row) bool { return r.Status == Removed })
	return report, p.problems()
}

// pruner is one call of Run.
type pruner struct {
	*knowledge
	target  rollback.Target
	options Options
	report  *Report
}

// tags removes tags, as rollback does those that an import made.
func (p *pruner) tags(ctx context.Context) error {
	var rows []rollback.Row
	for _, c := range p.candidates {
		repo := p.options.Destination.Registry.Repo(c.repository)
		rows = append(rows, rollback.Made(repo.Tag(c.tag), c.digest))
		p.report.Rows = append(p.report.Rows, Row{Repository: repo.Name(), Tag: c.tag, Digest: c.digest, Source: c.source, Bundle: c.bundle})
	}
	err := rollback.Untag(ctx, rows, p.target, rollback.Options{
		Harbor: p.options.Harbor, DryRun: !p.options.Delete, Jobs: p.options.Jobs, Observer: p.options.Observer,
	})
	for i, row := range rows {
		p.report.Rows[i].Status, p.report.Rows[i].Reason = statusOf(row.Status), row.Reason
	}
	return err
}

func statusOf(s rollback.Status) Status {
	switch s {
	case rollback.Remove:
		return Remove
	case rollback.Removed:
		return Removed
	case rollback.Unchanged:
		return Gone
	case rollback.Changed:
		return Moved
	}
	return Failed
}

// problems is one error of what failed.
func (p *pruner) problems() error {
	var all bundle.Problems
	for _, row := range p.report.Rows {
		if row.Status == Failed {
			all.Add(fmt.Errorf("%w: %s: %s", ErrNotPruned, row.Name(), row.Reason))
		}
	}
	return all.Err()
}

// Name is the full reference.
func (r *Row) Name() string {
	if r.Tag == "" {
		return r.Repository + "@" + r.Digest.String()
	}
	return r.Repository + ":" + r.Tag
}
