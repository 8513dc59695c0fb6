// Package rollback puts the tags that an import moved back to where they were before it, by the import's report. Start with Run.
package rollback

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/parallel"
	"airgap/import/report"
	"airgap/import/tags"
	"airgap/import/target"
)

// Target is what Run needs of a registry. *registry.Client is the real one.
type Target interface {
	Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error)
	Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error)
	PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (subjectAcknowledged bool, err error)
	// Tags lists the tags of a repository.
	Tags(ctx context.Context, repo name.Repository) ([]string, error)
	// DeleteTag deletes a tag; registry.ErrNoDeletion where the registry does not.
	DeleteTag(ctx context.Context, tag name.Tag) error
	Path(repo name.Repository) string
}

var _ Target = (*registry.Client)(nil)

// ErrNotRolledBack: a tag that the import moved, and nobody since, could not be put back.
var ErrNotRolledBack = errors.New("not put back")

// Options are the settings of Run. The zero value is valid.
type Options struct {
	// Harbor is the API of the target where that is Harbor, which deletes tags in no other way; nil for other registries.
	Harbor *harbor.Client
	// DryRun looks at the tags and writes nothing.
	DryRun bool
	// Planned is called, if it is not nil, with what is to be done, when all tags have been looked at and none was written.
	Planned func([]Row)

	Jobs     int              // 0: parallel.DefaultJobs
	Observer bundle.Observer  // nil: silence
	Now      func() time.Time // the clock of the report; nil: time.Now
}

// Status says what became, or is to become, of a tag.
type Status string

// The values of Status.
const (
	Unknown Status = "unknown" // not looked at
	Restore Status = "restore" // to be put back to Old
	Remove  Status = "remove"  // to be removed, since the import made it

	Restored  Status = "restored"
	Removed   Status = "removed"
	Unchanged Status = "unchanged" // it was as before the import already
	Changed   Status = "changed"   // by somebody else since the import: left alone
	Gone      Status = "gone"      // left alone, as the target does not have Old any more
	Failed    Status = "failed"    // see Row.Reason
)

// Row is a tag that the import has moved.
type Row struct {
	Repository string        `json:"repository"` // with its registry
	Tag        string        `json:"tag"`
	Old        bundle.Digest `json:"old,omitzero"` // before the import; zero: there was no such tag
	New        bundle.Digest `json:"new"`          // what the import made of it
	Found      bundle.Digest `json:"found,omitzero"`
	Cosign     bool          `json:"cosign,omitempty"`
	Status     Status        `json:"status"`
	Reason     string        `json:"reason,omitempty"` // why it failed, or what else happened

	name       name.Tag
	oldUnknown bool // Old is not known, though there was such a tag
	err        error
}

// Report is what Run did, or with Options.DryRun would do.
type Report struct {
	Bundle   bundle.Digest `json:"bundle"`   // that was imported: its manifest index
	Target   string        `json:"target"`   // REGISTRY[/PREFIX] of the import
	Imported time.Time     `json:"imported"` // when the import began
	Started  time.Time     `json:"started"`
	Seconds  float64       `json:"seconds"`
	DryRun   bool          `json:"dryRun"`
	Complete bool          `json:"complete"` // every tag is as before the import, or was changed by somebody else since
	Changed  bool          `json:"changed"`  // something was written

	Tags []Row `json:"tags"` // those that the import moved, in the order of its report
}

// Run puts the tags that an import moved back to where they were before it. Only tags count that are still where the
// import put them: what somebody else has moved, removed or put back since stays. All tags are looked at before the first
// is written. A tag that the import made is removed, see untag. Manifests and blobs stay, without a tag, as do lists of
// referrers: they only add to digests.
//
// What one tag meets, such as a rule that makes it immutable, does not keep the others from being put back; all of that is
// in one error, which wraps ErrNotRolledBack. A registry that cannot be reached ends it. The report is there with an error,
// too. Run can be repeated, and then changes only what was left.
func Run(ctx context.Context, imported *report.Imported, t Target, o Options) (*Report, error) {
	o = o.withDefaults()
	started := o.Now()
	r := &rollback{target: t, options: o, rows: rowsOf(imported)}
	err := r.all(ctx)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	done := &Report{
		Bundle: imported.Bundle(), Target: imported.Target(), Imported: imported.Started(), Started: started, DryRun: o.DryRun,
		Complete: err == nil && !o.DryRun, Tags: r.rows,
	}
	done.Changed = slices.ContainsFunc(r.rows, func(row Row) bool {
		return row.Status == Restored || row.Status == Removed
	})
	done.Seconds = o.Now().Sub(started).Seconds()
	return done, err
}

// Made is the row of a tag that was not there before, and was made for a digest.
func Made(tag name.Tag, d bundle.Digest) Row {
	return Row{Repository: tag.Context().Name(), Tag: tag.TagStr(), New: d, Status: Unknown, name: tag}
}

// Untag removes tags, given as Made makes them, that are still where they were put, as Run does. Its error is that of a registry that cannot be
// reached, or of ctx: what else went wrong with a tag is in its row.
func Untag(ctx context.Context, rows []Row, t Target, o Options) error {
	r := &rollback{target: t, options: o.withDefaults(), rows: rows}
	r.options.Observer.Phase("look at tags", 0)
	if err := r.forAll(ctx, r.options.Jobs, Unknown, r.look); err != nil || o.DryRun {
		return err
	}
	r.options.Observer.Phase("remove tags", 0)
	return r.write(ctx)
}

func (o Options) withDefaults() Options {
	if o.Jobs <= 0 {
		o.Jobs = parallel.DefaultJobs
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Observer = bundle.Observe(o.Observer)
	return o
}

func rowsOf(imported *report.Imported) []Row {
	rows := []Row{}
	for _, m := range imported.Moved() {
		rows = append(rows, Row{
			Repository: m.Repository, Tag: m.Tag, Old: m.Old, New: m.New, Cosign: m.Cosign, Status: Unknown, name: m.Name, oldUnknown: m.OldUnknown,
		})
	}
	return rows
}

// rollback is one call of Run.
type rollback struct {
	target   Target
	options  Options
	rows     []Row
	deletion atomic.Int32 // one of deletionUnknown, ...
}

func (r *rollback) all(ctx context.Context) error {
	r.options.Observer.Phase("look at tags", 0)
	if err := r.forAll(ctx, r.options.Jobs, Unknown, r.look); err != nil {
		return fmt.Errorf("no tag was put back: %w", err)
	}
	if r.options.Planned != nil {
		r.options.Planned(slices.Clone(r.rows))
	}
	if !r.options.DryRun {
		r.options.Observer.Phase("put tags back", 0)
		if err := r.write(ctx); err != nil {
			return fmt.Errorf("not all tags are back, and the command can be run again: %w", err)
		}
	}
	var problems bundle.Problems
	for i := range r.rows {
		problems.Add(r.rows[i].problem())
	}
	return problems.Err()
}

// write restores before it removes, so that what is removed has no names left that are to go elsewhere.
func (r *rollback) write(ctx context.Context) error {
	if err := r.forAll(ctx, r.options.Jobs, Restore, r.restore); err != nil {
		return err
	}
	if r.options.Harbor != nil {
		return r.forAll(ctx, r.options.Jobs, Remove, r.untagAtHarbor)
	}
	return r.untagAll(ctx)
}

// forAll calls work for all rows with a status, of which it may make another, and keeps what went wrong with each. It fails
// where the rest would fare no better.
func (r *rollback) forAll(ctx context.Context, jobs int, status Status, work func(context.Context, *Row) error) error {
	rows := func(yield func(*Row) bool) {
		for i := range r.rows {
			// Each row is looked at before it is anybody's work, and is nobody else's afterwards.
			if row := &r.rows[i]; row.Status == status && !yield(row) {
				return
			}
		}
	}
	return parallel.Each(ctx, jobs, rows, func(ctx context.Context, row *Row) error {
		r.options.Observer.Item(row.name.Name())
		err := work(ctx, row)
		if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return err
		}
		row.fail(err)
		if errors.Is(err, registry.ErrUnavailable) || errors.Is(err, registry.ErrThrottled) {
			return err
		}
		return nil
	})
}

func (row *Row) fail(err error) {
	row.Status, row.Reason, row.err = Failed, err.Error(), err
}

// problem is the row's part of the error; nil where all is well with it.
func (row *Row) problem() error {
	switch row.Status {
	case Gone:
		return fmt.Errorf("%w: %s: the registry does not have %s any more, where it was before the import", ErrNotRolledBack, row.name, row.Old)
	case Failed:
		return fmt.Errorf("%w: %s: %w", ErrNotRolledBack, row.name, row.err)
	}
	return nil
}

var errOldUnknown = errors.New("a pull policy hid from the import where the tag was before")

// look finds out what is to become of a tag.
func (r *rollback) look(ctx context.Context, row *Row) error {
	if ours, err := r.isOurs(ctx, row); !ours || err != nil {
		return err
	}
	switch {
	case row.oldUnknown:
		return errOldUnknown
	case row.Old.IsZero():
		row.Status = Remove
		return nil
	}
	_, err := r.resolve(ctx, row.oldName())
	switch {
	case target.Absent(err):
		row.Status = Gone
	case err != nil:
		return err
	default:
		row.Status = Restore
	}
	return nil
}

func (row *Row) oldName() name.Digest { return row.name.Context().Digest(row.Old.String()) }
func (row *Row) newName() name.Digest { return row.name.Context().Digest(row.New.String()) }

// isOurs tells whether a tag is where the import put it. The row says so where it is not.
func (r *rollback) isOurs(ctx context.Context, row *Row) (bool, error) {
	found, err := r.tagged(ctx, row.name)
	if err != nil {
		return false, err
	}
	row.Found = found
	switch found {
	case row.New:
		return true, nil
	case row.Old:
		row.Status = Unchanged
		if row.oldUnknown { // so that there is no such tag, and once was
			row.Status = Changed
		}
	default:
		row.Status = Changed
	}
	return false, nil
}

// tagged returns what a tag points to; zero where there is no such tag.
func (r *rollback) tagged(ctx context.Context, tag name.Tag) (bundle.Digest, error) {
	found, err := r.resolve(ctx, tag)
	if target.Absent(err) {
		return bundle.Digest{}, nil
	}
	return found, err
}

// resolve returns the digest that the target has under ref, past the pull policies of Harbor.
func (r *rollback) resolve(ctx context.Context, ref name.Reference) (bundle.Digest, error) {
	found, err := target.PastPolicies{Registry: r.target, Harbor: r.options.Harbor}.Resolve(ctx, ref)
	return found.Digest, err
}

// restore puts a tag back. It is looked at once more, as looking at all of them may have taken a while; between that and
// writing nobody can be kept from changing it, as registries have no way of comparing. A write that has begun is ended even
// when ctx is done.
func (r *rollback) restore(ctx context.Context, row *Row) error {
	if ours, err := r.isOurs(ctx, row); !ours || err != nil {
		return err
	}
	old, content, err := r.target.Manifest(ctx, row.oldName())
	if target.Absent(err) {
		row.Status = Gone
		return nil
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), tags.Timeout)
	defer stop()
	if _, err := r.target.PushManifest(ctx, row.name, old.MediaType, content); err != nil {
		return err
	}
	if err := r.expect(ctx, row, row.Old); err != nil {
		return err
	}
	row.Status = Restored
	return nil
}

// expect reads a tag back.
func (r *rollback) expect(ctx context.Context, row *Row, want bundle.Digest) error {
	found, err := r.tagged(ctx, row.name)
	if err == nil && found != want {
		err = fmt.Errorf("%w: %s is %s now; expected: %s", target.ErrDiffers, row.name, target.Shown(found), target.Shown(want))
	}
	return err
}
