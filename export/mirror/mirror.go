// Package mirror says what the next bundle of a mirror is: which number it gets, and what it may leave out because bundles before it
// brought that. What it knows of them it has from the ledger (package bundle/ledger), and believes where somebody trusted signed it.
//
// Start with [Mirror.Next].
package mirror

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/verify/signature"
)

// Mirror is a series of bundles, and where their heads are kept.
type Mirror struct {
	Name   string
	Ledger ledger.Ledger
	// Check says whether a bundle, of which it gets the head, is by somebody whose bundles may be built on: it is for package verify to say.
	Check func(ctx context.Context, head *bundle.Head) error
	// Unchecked builds on what nobody need have signed: for a plan, which nothing follows from.
	Unchecked bool
}

// What somebody names may be wrong.
var (
	// ErrBase: the next bundle cannot build on the one that was named.
	ErrBase = errors.New("cannot build on this bundle")
	// ErrUnknown: the ledger does not have the bundle that was named.
	ErrUnknown = errors.New("not in the ledger: name the one that it is in with --ledger")
)

// Wishes say what the next bundle builds on. The zero value is the newest one in the ledger.
type Wishes struct {
	Full     bool    // nothing is left out
	Tolerate int     // so many bundles before the next may be lost in a row: what one of them brought first is not left out
	Since    []Since // these instead of the newest; what one of them lists may be left out
}

// Since is a bundle that was named to build on: one of the ledger, or one whose head was given. The zero value is the newest of the
// ledger.
type Since struct {
	Line ledger.Line
	File string // where Head comes from, for people
	Head *bundle.Head
}

// Known is a bundle whose head has been read, and was signed by somebody trusted.
type Known struct {
	bundle.Base

	Contents *bundle.Contents
}

// Next is what is known of the next bundle.
type Next struct {
	Sequence uint64

	// grounds are what it builds on. A blob may be left out where one of them has it.
	grounds []ground
}

// ground is a bundle to build on. It has a blob where those that might be all that is left at the target list that, too.
type ground struct {
	*Known

	also []*Known
}

// StoredBy returns the bundle that stores a blob which the receiver has; bundle.PlanOptions wants it.
func (n *Next) StoredBy(d bundle.Digest, size int64) (bundle.Base, bool) {
	for _, g := range n.grounds {
		if base, found := g.storedBy(d, size); found {
			return base, true
		}
	}
	return bundle.Base{}, false
}

func (g *ground) storedBy(d bundle.Digest, size int64) (bundle.Base, bool) {
	for _, other := range g.also {
		if _, found := other.StoredBy(d, size); !found {
			return bundle.Base{}, false
		}
	}
	return g.Known.StoredBy(d, size)
}

// StoredBy returns the bundle that stores a blob which this one lists.
func (k *Known) StoredBy(d bundle.Digest, size int64) (bundle.Base, bool) {
	return k.Contents.StoredBy(k.Base, d, size)
}

// Fingerprint stands for everything that StoredBy depends on, and the number.
func (n *Next) Fingerprint() string {
	parts := []string{strconv.FormatUint(n.Sequence, 10)}
	for _, g := range n.grounds {
		parts = append(parts, g.ManifestIndex.String())
		for _, other := range g.also {
			parts = append(parts, "+", other.ManifestIndex.String())
		}
	}
	return strings.Join(parts, " ")
}

// Next finds out what the next bundle is. What the ledger says is believed where a trusted key signed it and it has the right mirror
// and number; an entry of which it is needed, and that is not so, is an error: signature.ErrUntrustedKey, signature.ErrMissing,
// bundle.ErrFormat. ErrBase, where something was named to build on that does not do.
func (m *Mirror) Next(ctx context.Context, w Wishes) (*Next, error) {
	entries, err := m.Ledger.Entries(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	n := &Next{Sequence: 1}
	var newest *Known
	if len(entries) > 0 {
		last := entries[len(entries)-1]
		if newest, err = m.entry(ctx, last); err != nil {
			return nil, err
		}
		if last.Sequence == math.MaxUint64 {
			return nil, fmt.Errorf("%s: %s@%d has the last number that there is", m.Ledger, m.Name, last.Sequence)
		}
		n.Sequence = last.Sequence + 1
	}
	switch {
	case w.Full:
	case len(w.Since) > 0:
		err = m.ground(ctx, n, newest, w.Since)
	default:
		err = m.tolerate(ctx, n, newest, entries, w.Tolerate)
	}
	return n, err
}

// tolerate builds on what was known so many bundles before the newest. The far side may have pruned by any bundle since, so that what
// one of these did not list is carried again.
func (m *Mirror) tolerate(ctx context.Context, n *Next, newest *Known, entries []ledger.Entry, lost int) error {
	if len(entries) <= lost {
		return nil
	}
	since := []*Known{newest}
	for i := range lost {
		known, err := m.entry(ctx, entries[len(entries)-2-i])
		if err != nil {
			return err
		}
		since = append(since, known)
	}
	oldest := len(since) - 1
	n.grounds = []ground{{since[oldest], since[:oldest]}}
	return nil
}

// ground builds on bundles that were named.
func (m *Mirror) ground(ctx context.Context, n *Next, newest *Known, named []Since) error {
	for _, since := range named {
		known, err := newest, error(nil)
		switch {
		case since.Head != nil:
			known, err = m.given(ctx, since, n.Sequence)
		case since.Line != (ledger.Line{}):
			known, err = m.named(ctx, since.Line)
		}
		if err != nil {
			return err
		}
		isKnown := func(g ground) bool { return g.ManifestIndex == known.ManifestIndex }
		if known != nil && !slices.ContainsFunc(n.grounds, isKnown) {
			n.grounds = append(n.grounds, ground{Known: known})
		}
	}
	return nil
}

// given checks a bundle whose head was given.
func (m *Mirror) given(ctx context.Context, since Since, next uint64) (*Known, error) {
	known, err := m.check(ctx, since.Head)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", since.File, err)
	}
	switch header := &known.Contents.Header; {
	case header.Completes != nil:
		return nil, fmt.Errorf("%w: %s is a supplement of %s, which is what there is to build on", ErrBase, since.File, header.Completes.Name())
	case known.Mirror == m.Name && known.Sequence >= next:
		return nil, fmt.Errorf("%w: %s is %s, and the ledger %s has only what is older: name the ledger that it is from", ErrBase, since.File, known.Name(), m.Ledger)
	}
	return known, nil
}

// Find returns the bundle of the ledger that somebody names: ErrUnknown, and errors as those of Next.
func (m *Mirror) Find(ctx context.Context, base bundle.Base) (*Known, error) {
	head, err := m.Ledger.Head(ctx, base.ManifestIndex.String())
	if errors.Is(err, bundle.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s, in %s", ErrUnknown, base, m.Ledger)
	}
	if err != nil {
		return nil, err
	}
	known, err := m.check(ctx, head)
	if err == nil && known.Base != base {
		err = fmt.Errorf("%w: it is %s, and not %s", ErrBase, known.Base, base)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Ledger, err)
	}
	return known, nil
}

// named finds a bundle of the ledger.
func (m *Mirror) named(ctx context.Context, line ledger.Line) (*Known, error) {
	known, err := m.entry(ctx, ledger.Entry{Mirror: line.Mirror, Sequence: line.Sequence})
	if errors.Is(err, bundle.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s@%d, in %s", ErrUnknown, line.Mirror, line.Sequence, m.Ledger)
	}
	if err != nil {
		return nil, err
	}
	if identity := known.Contents.Header.Identity(known.ManifestIndex); !line.Names(identity) {
		return nil, fmt.Errorf("%w: %s is %s in the ledger %s, and not sha256:%s: what the target has is not from this ledger", ErrBase, known.Name(), identity, m.Ledger, line.Identity)
	}
	return known, nil
}

// entry reads an entry of the ledger.
func (m *Mirror) entry(ctx context.Context, e ledger.Entry) (*Known, error) {
	head, err := m.Ledger.Head(ctx, e.Tag())
	if err != nil {
		return nil, err
	}
	known, err := m.check(ctx, head)
	if err != nil {
		if errors.Is(err, signature.ErrUntrustedKey) {
			err = fmt.Errorf("%w; or, if it is trusted, give its key with --ledger-key", err)
		}
		return nil, fmt.Errorf("%s:%s: %w", m.Ledger, e.Tag(), err)
	}
	if known.Mirror != e.Mirror || known.Sequence != e.Sequence {
		return nil, fmt.Errorf("%w: %s:%s is %s: somebody has put another bundle there", bundle.ErrFormat, m.Ledger, e.Tag(), known.Name())
	}
	return known, nil
}

// check reads a head that somebody trusted signed.
func (m *Mirror) check(ctx context.Context, head *bundle.Head) (*Known, error) {
	if !m.Unchecked {
		if err := m.Check(ctx, head); err != nil {
			return nil, err
		}
	}
	contents, err := head.Contents(ctx)
	if err != nil {
		return nil, err
	}
	return &Known{contents.Header.Base(head.ManifestIndex()), contents}, nil
}

// Delta is how large the next bundle would be if it built on one bundle alone.
type Delta struct {
	bundle.Base

	Bytes int64 `json:"bytes"` // of content that it would store
}

// Deltas says of the newest bundles of the ledger, at most so many of them, how large a bundle with the given content would be on each,
// the newest first. Those that nobody trusted signed are passed over.
func (m *Mirror) Deltas(ctx context.Context, c *bundle.Contents, most int) ([]Delta, error) {
	entries, err := m.Ledger.Entries(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	var deltas []Delta
	for _, entry := range slices.Backward(entries[max(0, len(entries)-most):]) {
		known, err := m.entry(ctx, entry)
		if errors.Is(err, signature.ErrUntrustedKey) || errors.Is(err, signature.ErrMissing) {
			continue
		}
		if err != nil {
			return nil, err
		}
		deltas = append(deltas, Delta{known.Base, c.StoredBytesOver(known.StoredBy)})
	}
	return deltas, nil
}

// locker is a ledger that keeps the next number for who makes the next bundle. In one that does not, the number is looked at again
// before it is taken.
type locker interface {
	Lock(mirror string) (unlock func() error, err error)
}

// Lock keeps the next number of the mirror, as far as the ledger can do that, until unlock; ledger.ErrBusy.
func (m *Mirror) Lock() (unlock func() error, err error) {
	if l, ok := m.Ledger.Repository.(locker); ok {
		return l.Lock(m.Name)
	}
	return func() error { return nil }, nil
}

// Has tells whether the ledger has a bundle of the mirror.
func (m *Mirror) Has(ctx context.Context, sequence uint64, manifestIndex bundle.Digest) (bool, error) {
	d, _, err := m.Ledger.Manifest(ctx, bundle.SequenceTag(m.Name, sequence))
	if errors.Is(err, bundle.ErrNotFound) {
		return false, nil
	}
	return err == nil && d.Digest == manifestIndex, err
}

// Put takes the number for a bundle; ledger.ErrTaken where another has it. One that is there already stays.
func (m *Mirror) Put(ctx context.Context, l *bundle.Layout) error {
	header := &l.Contents().Header
	return m.Ledger.Put(ctx, header.EntryTag(l.ManifestIndex()), l.Artifact())
}
