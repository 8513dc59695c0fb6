// Package readback compares what the target shows at the end with what was written: Run compares what clients see, and
// Accessories what Harbor shows in its own pages.
package readback

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/referrers"
	"airgap/import/target"
)

// ErrUnchecked: everything was written, and some of it could not be read back: a pull policy hides it.
var ErrUnchecked = errors.New("written, but not read back")

// Target is what is read back.
type Target interface {
	target.Resolver

	// Referrers lists what refers to a manifest, whole, from the API or else from the fallback tag, or fails.
	Referrers(ctx context.Context, subject name.Digest) (registry.Referrers, error)
}

// Run reads every tag, and everything that is listed for each subject, jobs at a time. A target may list more. All differences
// are in one error, which wraps target.ErrDiffers. Tags that were hidden are returned; without differences they are an error
// that wraps ErrUnchecked.
func Run(ctx context.Context, inv *inventory.Inventory, t Target, jobs int, o bundle.Observer) (unchecked []string, err error) {
	differences := make([]error, len(inv.Tags)+len(inv.Lists)) // or what could not be compared
	err = parallel.EachIndex(ctx, jobs, len(differences), func(ctx context.Context, i int) (err error) {
		defer o.Add(1)
		if i < len(inv.Tags) {
			differences[i], err = compareTag(ctx, inv, t, &inv.Tags[i])
		} else {
			differences[i], err = compareList(ctx, inv, t, inv.Lists[i-len(inv.Tags)])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var problems bundle.Problems
	var hidden error
	for i, difference := range differences {
		if errors.Is(difference, target.ErrHidden) {
			unchecked, hidden = append(unchecked, inv.TagName(&inv.Tags[i])), difference
			continue
		}
		problems.Add(difference)
	}
	if err := problems.Err(); err != nil || hidden == nil {
		return unchecked, err
	}
	return unchecked, fmt.Errorf("%d of %d tags: %w: %w", len(unchecked), len(inv.Tags), ErrUnchecked, hidden)
}

func compareTag(ctx context.Context, inv *inventory.Inventory, t Target, tag *inventory.Tag) (difference, err error) {
	found, err := target.Tagged(ctx, t, inv.Repos[tag.Repo].Tag(tag.Name))
	if errors.Is(err, target.ErrHidden) {
		return err, nil
	}
	if want := inv.Digest(tag.Row); err == nil && found != want {
		difference = fmt.Errorf("%w: %s is %s; expected: %s", target.ErrDiffers, inv.TagName(tag), target.Shown(found), want)
	}
	return difference, err
}

func compareList(ctx context.Context, inv *inventory.Inventory, t Target, l inventory.List) (difference, err error) {
	listed, err := t.Referrers(ctx, inv.SubjectName(l))
	if err != nil {
		return nil, err
	}
	if lost := referrers.Missing(inv, l, listed.Descriptors); len(lost) > 0 {
		difference = fmt.Errorf("%w: %d of the %d referrers of %s are not listed, %s among them", target.ErrDiffers, len(lost), len(l.Rows), inv.SubjectName(l), lost[0])
	}
	return difference, nil
}
