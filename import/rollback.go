package importer

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
)

// RollbackTarget is what Rollback needs of a registry. *registry.Client is the real one; see Target.
type RollbackTarget interface {
	Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error)
	Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error)
	PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (subjectAcknowledged bool, err error)
	// Tags lists the tags of a repository.
	Tags(ctx context.Context, repo name.Repository) ([]string, error)
	// DeleteTag deletes a tag; registry.ErrNoDeletion where the registry does not.
	DeleteTag(ctx context.Context, tag name.Tag) error
	Path(repo name.Repository) string
}

var _ RollbackTarget = (*registry.Client)(nil)

// ErrNotRolledBack: a tag that the import moved, and nobody since, could not be put back.
var ErrNotRolledBack = errors.New("not put back")

// RollbackOptions are the settings of Rollback. The zero value is valid.
type RollbackOptions struct {
	// Harbor is the API of the target where that is Harbor, which deletes tags in no other way; nil for other registries.
	Harbor *harbor.Client
	// DryRun looks at the tags and writes nothing.
	DryRun bool
	// Planned is called, if it is not nil, with what is to be done, when all tags have been looked at and none was written.
	Planned func([]RollbackRow)

	Jobs     int              // 0: DefaultJobs
	Observer bundle.Observer  // nil: silence
	Now      func() time.Time // the clock of the report; nil: time.Now
}

// RollbackStatus says what became, or is to become, of a tag.
type RollbackStatus string

// The values of RollbackStatus.
const (
	RollbackUnknown RollbackStatus = "unknown" // not looked at
	RollbackRestore RollbackStatus = "restore" // to be put back to Old
	RollbackRemove  RollbackStatus = "remove"  // to be removed, since the import made it

	RollbackRestored  RollbackStatus = "restored"
	RollbackRemoved   RollbackStatus = "removed"
	RollbackUnchanged RollbackStatus = "unchanged" // it was as before the import already
	RollbackChanged   RollbackStatus = "changed"   // by somebody else since the import: left alone
	RollbackGone      RollbackStatus = "gone"      // left alone, as the target does not have Old any more
	RollbackFailed    RollbackStatus = "failed"    // see RollbackRow.Reason
)

// RollbackRow is a tag that the import has moved.
type RollbackRow struct {
	Repository string         `json:"repository"` // with its registry
	Tag        string         `json:"tag"`
	Old        bundle.Digest  `json:"old,omitzero"` // before the import; zero: there was no such tag
	New        bundle.Digest  `json:"new"`          // what the import made of it
	Found      bundle.Digest  `json:"found,omitzero"`
	Cosign     bool           `json:"cosign,omitempty"`
	Status     RollbackStatus `json:"status"`
	Reason     string         `json:"reason,omitempty"` // why it failed, or what else happened

	name       name.Tag
	oldUnknown bool // Old is not known, though there was such a tag
	err        error
}

// RollbackReport is what Rollback did, or with RollbackOptions.DryRun would do.
type RollbackReport struct {
	Bundle   bundle.Digest `json:"bundle"`   // that was imported: its manifest index
	Target   string        `json:"target"`   // REGISTRY[/PREFIX] of the import
	Imported time.Time     `json:"imported"` // when the import began
	Started  time.Time     `json:"started"`
	Seconds  float64       `json:"seconds"`
	DryRun   bool          `json:"dryRun"`
	Complete bool          `json:"complete"` // every tag is as before the import, or was changed by somebody else since
	Changed  bool          `json:"changed"`  // something was written

	Tags []RollbackRow `json:"tags"` // those that the import moved, in the order of its report
}

// Rollback puts the tags that an import moved back to where they were before it. Only tags count that are still where the
// import put them: what somebody else has moved, removed or put back since stays. All tags are looked at before the first
// is written. A tag that the import made is removed, see untag. Manifests and blobs stay, without a tag, as do lists of
// referrers: they only add to digests.
//
// What one tag meets, such as a rule that makes it immutable, does not keep the others from being put back; all of that is
// in one error, which wraps ErrNotRolledBack. A registry that cannot be reached ends it. The report is there with an error,
// too. Rollback can be repeated, and then changes only what was left.
func Rollback(ctx context.Context, imported *Imported, t RollbackTarget, o RollbackOptions) (*RollbackReport, error) {
	if o.Jobs <= 0 {
		o.Jobs = DefaultJobs
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Observer = bundle.Observe(o.Observer)
	started := o.Now()
	r := &rollback{target: t, options: o, rows: imported.rows()}
	err := r.all(ctx)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	report := &RollbackReport{
		Bundle: imported.report.Bundle, Target: imported.Target(), Imported: imported.report.Started, Started: started, DryRun: o.DryRun,
		Complete: err == nil && !o.DryRun, Tags: r.rows,
	}
	report.Changed = slices.ContainsFunc(r.rows, func(row RollbackRow) bool {
		return row.Status == RollbackRestored || row.Status == RollbackRemoved
	})
	report.Seconds = o.Now().Sub(started).Seconds()
	return report, err
}

func (i *Imported) rows() []RollbackRow {
	rows := []RollbackRow{}
	for _, m := range i.moved {
		rows = append(rows, RollbackRow{
			Repository: m.Repository, Tag: m.Tag, Old: m.Old, New: m.New, Cosign: m.Cosign, Status: RollbackUnknown, name: m.tag, oldUnknown: m.OldUnknown,
		})
	}
	return rows
}

// rollback is one call of Rollback.
type rollback struct {
	target   RollbackTarget
	options  RollbackOptions
	rows     []RollbackRow
	deletion atomic.Int32 // one of deletionUnknown, ...
}

func (r *rollback) all(ctx context.Context) error {
	r.options.Observer.Phase("look at tags", 0)
	if err := r.forAll(ctx, r.options.Jobs, RollbackUnknown, r.look); err != nil {
		return fmt.Errorf("no tag was put back: %w", err)
	}
	if r.options.Planned != nil {
		r.options.Planned(slices.Clone(r.rows))
	}
	if !r.options.DryRun {
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
	r.options.Observer.Phase("put tags back", 0)
	if err := r.forAll(ctx, r.options.Jobs, RollbackRestore, r.restore); err != nil {
		return err
	}
	if r.options.Harbor != nil {
		return r.forAll(ctx, r.options.Jobs, RollbackRemove, r.untagAtHarbor)
	}
	return r.untagAll(ctx)
}

// forAll calls work for all rows with a status, of which it may make another, and keeps what went wrong with each. It fails
// where the rest would fare no better.
func (r *rollback) forAll(ctx context.Context, jobs int, status RollbackStatus, work func(context.Context, *RollbackRow) error) error {
	rows := func(yield func(*RollbackRow) bool) {
		for i := range r.rows {
			// Each row is looked at before it is anybody's work, and is nobody else's afterwards.
			if row := &r.rows[i]; row.Status == status && !yield(row) {
				return
			}
		}
	}
	return each(ctx, jobs, rows, func(ctx context.Context, row *RollbackRow) error {
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

func (row *RollbackRow) fail(err error) {
	row.Status, row.Reason, row.err = RollbackFailed, err.Error(), err
}

// problem is the row's part of the error; nil where all is well with it.
func (row *RollbackRow) problem() error {
	switch row.Status {
	case RollbackGone:
		return fmt.Errorf("%w: %s: the registry does not have %s any more, where it was before the import", ErrNotRolledBack, row.name, row.Old)
	case RollbackFailed:
		return fmt.Errorf("%w: %s: %w", ErrNotRolledBack, row.name, row.err)
	}
	return nil
}

var errOldUnknown = errors.New("a pull policy hid from the import where the tag was before")

// look finds out what is to become of a tag.
func (r *rollback) look(ctx context.Context, row *RollbackRow) error {
	if ours, err := r.isOurs(ctx, row); !ours || err != nil {
		return err
	}
	switch {
	case row.oldUnknown:
		return errOldUnknown
	case row.Old.IsZero():
		row.Status = RollbackRemove
		return nil
	}
	_, err := r.resolve(ctx, row.oldName())
	switch {
	case absent(err):
		row.Status = RollbackGone
	case err != nil:
		return err
	default:
		row.Status = RollbackRestore
	}
	return nil
}

func (row *RollbackRow) oldName() name.Digest { return row.name.Context().Digest(row.Old.String()) }
func (row *RollbackRow) newName() name.Digest { return row.name.Context().Digest(row.New.String()) }

// isOurs tells whether a tag is where the import put it. The row says so where it is not.
func (r *rollback) isOurs(ctx context.Context, row *RollbackRow) (bool, error) {
	found, err := r.tagged(ctx, row.name)
	if err != nil {
		return false, err
	}
	row.Found = found
	switch found {
	case row.New:
		return true, nil
	case row.Old:
		row.Status = RollbackUnchanged
		if row.oldUnknown { // so that there is no such tag, and once was
			row.Status = RollbackChanged
		}
	default:
		row.Status = RollbackChanged
	}
	return false, nil
}

// tagged returns what a tag points to; zero where there is no such tag.
func (r *rollback) tagged(ctx context.Context, tag name.Tag) (bundle.Digest, error) {
	found, err := r.resolve(ctx, tag)
	if absent(err) {
		return bundle.Digest{}, nil
	}
	return found, err
}

// resolve returns the digest that the target has under ref, past the pull policies of Harbor.
func (r *rollback) resolve(ctx context.Context, ref name.Reference) (bundle.Digest, error) {
	if r.options.Harbor == nil {
		found, err := r.target.Resolve(ctx, ref)
		return found.Digest, err
	}
	found, err := resolvePast(ctx, r.target, r.options.Harbor, ref)
	return found.Digest, err
}

// restore puts a tag back. It is looked at once more, as looking at all of them may have taken a while; between that and
// writing nobody can be kept from changing it, as registries have no way of comparing. A write that has begun is ended even
// when ctx is done.
func (r *rollback) restore(ctx context.Context, row *RollbackRow) error {
	if ours, err := r.isOurs(ctx, row); !ours || err != nil {
		return err
	}
	old, content, err := r.target.Manifest(ctx, row.oldName())
	if absent(err) {
		row.Status = RollbackGone
		return nil
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), tagTimeout)
	defer stop()
	if _, err := r.target.PushManifest(ctx, row.name, old.MediaType, content); err != nil {
		return err
	}
	if err := r.expect(ctx, row, row.Old); err != nil {
		return err
	}
	row.Status = RollbackRestored
	return nil
}

// expect reads a tag back.
func (r *rollback) expect(ctx context.Context, row *RollbackRow, want bundle.Digest) error {
	found, err := r.tagged(ctx, row.name)
	if err == nil && found != want {
		err = fmt.Errorf("%w: %s is %s now; expected: %s", ErrDiffers, row.name, shown(found), shown(want))
	}
	return err
}
