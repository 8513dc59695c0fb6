package option

import (
	"context"
	"errors"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
)

// WithDamage says of a bundle in volumes where it is damaged, so that the right one can be brought again.
func (s *Bundle) WithDamage(ctx context.Context, a *app.App, err error) error {
	if len(s.bases) > 0 {
		return err // which may be about one of these
	}
	return withDamage(ctx, a, s.Set, err)
}

func withDamage(ctx context.Context, a *app.App, set *volume.Set, err error) error {
	if set == nil || set.Rebuilt() != nil || ctx.Err() != nil {
		return err
	}
	var damage []volume.Damage
	if checkErr := a.WithProgress(func(o bundle.Observer) (err error) {
		damage, err = set.Check(ctx, o)
		return err
	}); checkErr != nil {
		return errors.Join(err, checkErr)
	}
	if len(damage) == 0 {
		return errors.Join(err, errors.New("the volumes are as they were cut: the bundle was like that before, and parity cannot help; it has to be exported again"))
	}
	for _, d := range damage {
		err = errors.Join(err, errors.New(d.String()))
	}
	if irreparable := set.Repairable(damage); irreparable != nil {
		return errors.Join(err, irreparable)
	}
	return errors.Join(err, errors.New("all of that can be repaired: --repair reads through it, and \"airgap repair\" writes the volumes anew"))
}
