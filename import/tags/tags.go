// Package tags looks where tags point at the target, and moves them: cosign's tags, which only add to digests, when what they
// name is there, and those that people use with the permission of package confirm, when everything is.
package tags

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/import/confirm"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/push"
	"airgap/import/target"
)

// Target is where tags are.
type Target interface {
	push.Target
	target.Resolver

	// HasTags tells whether the listing of a repository's tags has any.
	HasTags(ctx context.Context, repo name.Repository) (bool, error)
}

// Options are the settings of a Mover.
type Options struct {
	Limits          parallel.Limits
	NoOverwrite     bool // refuse to move tags that exist with other content
	OverwriteCosign bool // move tags of cosign that exist with other content
	Observer        bundle.Observer
}

// Timeout is how long a tag may take that was begun before the work was cancelled.
const Timeout = 30 * time.Second

// Mover moves the tags of one inventory.
type Mover struct {
	inv     *inventory.Inventory
	target  Target
	options Options
}

// New returns a Mover.
func New(inv *inventory.Inventory, t Target, o Options) *Mover {
	return &Mover{inv: inv, target: t, options: o}
}

// Look finds out where a tag points, before anything is written. One under which cosign keeps signatures, and that has other
// content, is an error that wraps target.ErrConflict unless it may be overwritten: signatures of others may be in it.
func (m *Mover) Look(ctx context.Context, t *inventory.Tag) error {
	old, err := m.tagged(ctx, t)
	if errors.Is(err, target.ErrHidden) {
		return m.hid(t, err)
	}
	if err != nil {
		return err
	}
	m.inv.Saw(t, old)
	if t.Guarded && t.Moves() && !m.options.OverwriteCosign {
		return fmt.Errorf("%w: %s is %s, and the bundle brings %s: signatures of others may be in it; look at it with cosign, then delete it or allow to overwrite such tags",
			target.ErrConflict, m.inv.TagName(t), old, m.inv.Digest(t.Row))
	}
	return nil
}

// MoveCosign moves the tags that cosign looks for. One whose manifest has lost what it names is left, for package confirm to
// find.
func (m *Mover) MoveCosign(ctx context.Context) error {
	var tags iter.Seq[*inventory.Tag] = func(yield func(*inventory.Tag) bool) {
		for i := range m.inv.Tags {
			if t := &m.inv.Tags[i]; t.Cosign && !yield(t) {
				return
			}
		}
	}
	return parallel.EachIn(ctx, m.options.Limits, tags, repoOf, func(ctx context.Context, t *inventory.Tag) error {
		err := m.move(ctx, t, m.lookAgain)
		if target.LacksContent(err) {
			return nil
		}
		return err
	})
}

// Move moves the tags that people use. The first failure ends it, since a tag that stays is better than one more half of
// something new.
func (m *Mover) Move(ctx context.Context, done confirm.Complete) error {
	tags := done.Tags()
	look := m.newLook(ctx)
	err := parallel.EachIn(ctx, m.options.Limits, slices.Values(tags), repoOf, func(ctx context.Context, t *inventory.Tag) error { return m.move(ctx, t, look) })
	if err == nil {
		return nil
	}
	moved := 0
	for _, t := range tags {
		if t.IsMoved() {
			moved++
		}
	}
	return fmt.Errorf("%d of %d tags were moved, and the report says which; everything they need is there: %w", moved, len(tags), err)
}

func repoOf(t *inventory.Tag) int32 { return t.Repo }

// looker looks where a tag points that is to be moved; done tells whether it is right already.
type looker func(ctx context.Context, t *inventory.Tag) (done bool, err error)

// move writes a tag unless it is right. The tag is looked at once more, so that it is known what was replaced, and because some
// registries refuse to write a tag that is right already (immutable tags in Harbor). A write that has begun is ended even when
// ctx is done: then it is known whether the tag was moved.
func (m *Mover) move(ctx context.Context, t *inventory.Tag, look looker) error {
	defer m.options.Observer.Add(1)
	if done, err := look(ctx, t); done || err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), Timeout)
	defer stop()
	m.options.Observer.Item(m.inv.TagName(t))
	if _, err := push.Manifest(ctx, m.target, m.inv, t.Row, m.inv.Repos[t.Repo].Tag(t.Name)); err != nil {
		return m.refused(ctx, t, err)
	}
	t.Moved()
	return nil
}

// refused looks whether a tag was written for all that the target has answered, which may have been lost on the way: a rule
// that makes the tag immutable then refuses the second try. Where that cannot be found out either, the tag is in doubt.
func (m *Mover) refused(ctx context.Context, t *inventory.Tag, refusal error) error {
	found, err := m.tagged(ctx, t)
	switch {
	case err == nil && found == m.inv.Digest(t.Row):
		t.Moved()
		return nil
	case err != nil && !t.IsHidden():
		t.Doubted()
	}
	if t.IsHidden() && target.IsHidden(refusal) { // an immutable tag is refused also where it is right already
		return fmt.Errorf("%w; a pull policy hides whether %s is right already: with the permission artifact:read this account could see it", refusal, m.inv.TagName(t))
	}
	return refusal
}

// newLook returns lookAgain, but that a repository that had no tags is asked, with the first of them, whether it has any now: if
// not, they are not looked for one by one.
func (m *Mover) newLook(ctx context.Context) looker {
	isUntagged := make([]func() bool, len(m.inv.Repos))
	for i, repo := range m.inv.Repos {
		isUntagged[i] = sync.OnceValue(func() bool {
			has, err := m.target.HasTags(ctx, repo)
			return errors.Is(err, registry.ErrRepositoryUnknown) || err == nil && !has
		})
	}
	return func(ctx context.Context, t *inventory.Tag) (done bool, err error) {
		if m.inv.Untagged[t.Repo] && !t.Guarded && !m.options.NoOverwrite && isUntagged[t.Repo]() {
			return false, nil
		}
		return m.lookAgain(ctx, t)
	}
}

// lookAgain is a looker that asks for the tag.
func (m *Mover) lookAgain(ctx context.Context, t *inventory.Tag) (done bool, err error) {
	found, err := m.tagged(ctx, t)
	want := m.inv.Digest(t.Row)
	switch isHidden := errors.Is(err, target.ErrHidden); {
	case isHidden && t.IsMoved():
		return true, nil // by this run
	case isHidden && m.options.NoOverwrite:
		return false, m.madeByOthers(t)
	case isHidden && t.Guarded && !t.IsHidden() && !m.options.OverwriteCosign:
		return false, m.changedByOthers(t)
	case isHidden:
		return false, m.hid(t, err)
	case err != nil:
		return false, err
	case t.Guarded && found != t.Old() && found != want:
		return false, m.changedByOthers(t)
	case m.options.NoOverwrite && !t.Guarded && !t.IsMoved() && !found.IsZero() && found != want:
		return false, m.madeByOthers(t)
	}
	m.inv.Saw(t, found)
	return t.IsRight(), nil
}

// hid keeps that a tag exists and leads to something unknown. One that somebody's signatures may be under is not overwritten
// unasked.
func (m *Mover) hid(t *inventory.Tag, err error) error {
	t.Hid()
	if t.Guarded && !m.options.OverwriteCosign {
		return fmt.Errorf("%w: %s exists, and signatures of others may be in it: give the account the permission artifact:read, or allow to overwrite such tags: %s",
			target.ErrConflict, m.inv.TagName(t), err.Error()) // not wrapped: nothing was written
	}
	return nil
}

func (m *Mover) madeByOthers(t *inventory.Tag) error {
	return fmt.Errorf("%w: %s was made by somebody else just now, and no tag is to be overwritten", target.ErrConflict, m.inv.TagName(t))
}

func (m *Mover) changedByOthers(t *inventory.Tag) error {
	return fmt.Errorf("%w: %s was changed by somebody else just now; run the command again", target.ErrConflict, m.inv.TagName(t))
}

func (m *Mover) tagged(ctx context.Context, t *inventory.Tag) (bundle.Digest, error) {
	return target.Tagged(ctx, m.target, m.inv.Repos[t.Repo].Tag(t.Name))
}
