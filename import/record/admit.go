package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"airgap/bundle"
	"airgap/verify"
)

// Why a bundle is not admitted.
var (
	// ErrOlder: a newer bundle of the mirror was imported before.
	ErrOlder = errors.New("older than what was imported before")
	// ErrOther: another bundle with the same number was imported before.
	ErrOther = errors.New("another bundle than the one that was imported before under this number")
	// ErrMirror: it is of another mirror.
	ErrMirror = errors.New("of another mirror")
)

// Rules say which bundles are admitted. The zero value refuses replays.
type Rules struct {
	Mirror     string        // the only one to be admitted; "" for any
	MaxAge     time.Duration // since the bundle was made; 0 for any
	Now        time.Time     // for MaxAge
	AllowOlder bool          // admits what the record speaks against
}

// Admit refuses a bundle that was made too long ago, is of another mirror, or takes the target back: h knows a newer one, or another
// one with its number. overruled tells that the record spoke against it, and Rules.AllowOlder for it. h is nil where no record is
// kept. A supplement has no number, and so is no replay.
func (h *History) Admit(ctx context.Context, header *bundle.Header, index bundle.Digest, r Rules) (overruled bool, err error) {
	self := header.Base(index)
	if r.Mirror != "" && header.Mirror != r.Mirror {
		return false, fmt.Errorf("the bundle is %w: %q and not %s", ErrMirror, header.Mirror, r.Mirror)
	}
	if err := verify.CheckAge(header, r.MaxAge, r.Now); err != nil {
		return false, err
	}
	if h == nil || header.Sequence == 0 {
		return false, nil
	}
	err = h.replay(ctx, header, self)
	if r.AllowOlder && (errors.Is(err, ErrOlder) || errors.Is(err, ErrOther)) {
		return true, nil
	}
	return false, err
}

// replay compares a bundle with the newest of its mirror.
func (h *History) replay(ctx context.Context, header *bundle.Header, self bundle.Base) error {
	newest, err := h.Newest(ctx, header.Mirror)
	if err != nil || len(newest) == 0 || header.Sequence > newest[0].Header.Sequence {
		return err
	}
	there := newest[0].Base()
	if header.Sequence < there.Sequence {
		return fmt.Errorf("%s is %w: the record %s has %s; --allow-older imports it all the same", self, ErrOlder, h, there)
	}
	if !slices.ContainsFunc(newest, func(e *Entry) bool { return e.Identity() == header.Identity(self.ManifestIndex) }) {
		return fmt.Errorf("%s is %w: the record %s has %s; --allow-older imports it all the same", self, ErrOther, h, there)
	}
	return nil
}
