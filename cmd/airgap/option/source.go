package option

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/terminal"
	"airgap/verify"
	"airgap/verify/policy"
)

// VolumesHelp is for the commands that read bundles.
const VolumesHelp = `A bundle in volumes is read where they lie: name their directory, or any one of them, or several directories or
volumes. Volumes that are missing, cut short or exchanged are named at once. With --repair, what is damaged or
missing is rebuilt from the volumes of parity while it is read, and nothing is written anywhere. With
--one-at-a-time only one volume need be there at a time: the next one is asked for, and none is needed twice.`

// Source says which bundle to read, and how.
type Source struct {
	Keys       []string
	Policy     Policy
	For        string // HOST[/PREFIX] that the bundle is for, where the command is not told otherwise
	repair     bool
	OneAtATime bool

	Locate bool // where the head is damaged, say on which volume, which takes reading all of them
}

// Add defines the flags.
func (f *Source) Add(flags *pflag.FlagSet) {
	f.AddTrust(flags)
	f.AddVolumes(flags)
}

// AddTrust defines the flags about whom to trust alone.
func (f *Source) AddTrust(flags *pflag.FlagSet) {
	f.AddKey(flags)
	f.Policy.Add(flags, "an image that fails has the bundle refused, before any layer is read and anything is written")
}

// AddKey defines the flag for keys alone.
func (f *Source) AddKey(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.Keys, "key", nil, "`FILE` with a public key that is trusted (PEM); any one match is enough")
}

// AddVolumes defines the flags about volumes alone.
func (f *Source) AddVolumes(flags *pflag.FlagSet) {
	flags.BoolVar(&f.repair, "repair", false, "read through damaged and missing volumes, with the help of those of parity")
	flags.BoolVar(&f.OneAtATime, "one-at-a-time", false, "ask for one volume after the other, as when one drive is there for all disks")
}

// AddBases defines the flag for the bundles that one stands on. does says what the command does with them.
func AddBases(flags *pflag.FlagSet, bases *[]string, does string) {
	flags.StringArrayVar(bases, "base", nil, "`FILE` or place of volumes of a bundle on which this one stands, "+does+"; for several give it several times")
}

// Bundle is a bundle that has been checked but for the content of its blobs.
type Bundle struct {
	sealed  *bundle.Sealed
	Set     *volume.Set // nil but for volumes
	Checked *verify.Bundle
	bases   []*Bundle
}

// Close closes everything that the bundle, and what it was laid over, is read from.
func (s *Bundle) Close() error {
	err := s.sealed.Close()
	for _, base := range s.bases {
		err = errors.Join(err, base.Close())
	}
	return err
}

// WarnOfDamage says what was rebuilt while it was read.
func (s *Bundle) WarnOfDamage(a *app.App) {
	for _, base := range s.bases {
		base.WarnOfDamage(a)
	}
	if s.Set == nil {
		return
	}
	damage := s.Set.Rebuilt()
	became := "; rebuilt from the others"
	if s.Set.Repairable(damage) != nil {
		became = ", on too many volumes at the same place for all of it to be rebuilt"
	}
	for _, d := range damage {
		if d.TooLong {
			a.Warn("%s; what follows its end was not read", d)
			continue
		}
		a.Warn("%s%s", d, became)
	}
}

// IsGiven tells whether it was said whom to trust.
func (f *Source) IsGiven() bool { return len(f.Keys) > 0 || f.Policy.file != "" }

// Trust reads the policy and loads the keys that are trusted.
func (f *Source) Trust(a *app.App) (verify.Trust, error) {
	t := verify.Trust{Now: a.Now(), Destination: f.For}
	read, err := f.Policy.Read()
	if err != nil {
		return t, err
	}
	signersNamed := read != nil && len(read.Bundle.Party.Keys)+len(read.Bundle.Party.Identities) > 0
	switch {
	case signersNamed && len(f.Keys) > 0:
		return t, app.Usagef("the policy says who signs bundles, so that --key must not")
	case signersNamed:
		t.Policy = read
		return t, nil
	case len(f.Keys) == 0:
		return t, app.Usagef("--key is missing: the public key (airgap.pub) of whoever makes the bundles")
	}
	trusted, err := LoadPublicKeys(a, "--key", f.Keys)
	if err != nil {
		return t, err
	}
	t.Policy = policy.OfKeys(trusted)
	if read != nil {
		read.Bundle.Party, read.Bundle.Threshold = t.Policy.Bundle.Party, t.Policy.Bundle.Threshold
		t.Policy = read
	}
	return t, nil
}

// Open opens a bundle and checks all of it but the content of the blobs, together with those that it stands on, as far as they are
// given, each in a file or in one place for volumes. One signature of who is trusted is enough for these. The bundle is for the caller to close.
func (f *Source) Open(ctx context.Context, a *app.App, files, bases []string, trust verify.Trust) (*Bundle, error) {
	s, err := f.open(ctx, a, files, trust)
	if err != nil || len(bases) == 0 {
		return s, err
	}
	if err := f.openBases(ctx, a, s, bases, trust.OfBases()); err != nil {
		return nil, errors.Join(fmt.Errorf("--base: %w", err), s.Close())
	}
	return s, nil
}

func (f *Source) openBases(ctx context.Context, a *app.App, s *Bundle, files []string, trust verify.Trust) (err error) {
	var bases []*verify.Bundle
	for _, file := range files {
		if file == "-" {
			return app.Usagef("a bundle that others stand on is read at many places, and cannot come through a pipe")
		}
		base, err := (&Source{repair: f.repair && isVolumes(file), Locate: f.Locate}).open(ctx, a, []string{file}, trust)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		s.bases, bases = append(s.bases, base), append(bases, base.Checked)
	}
	s.Checked, err = s.Checked.Over(bases...)
	return err
}

func (f *Source) open(ctx context.Context, a *app.App, files []string, trust verify.Trust) (s *Bundle, err error) {
	s = &Bundle{}
	if s.sealed, s.Set, err = f.OpenSealed(ctx, a, files); err != nil {
		return nil, err
	}
	if s.Checked, err = verify.Open(ctx, s.sealed, trust); err != nil {
		if f.Locate && isDamage(err) {
			err = withDamage(ctx, a, s.Set, err)
		}
		if !f.Locate {
			err = s.WhatNext(err)
		}
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// isDamage tells whether an error may come of volumes that are damaged.
func isDamage(err error) bool {
	return errors.Is(err, bundle.ErrDigest) || errors.Is(err, bundle.ErrFormat) || errors.Is(err, volume.ErrVolumes)
}

// WhatNext adds to the error of a bundle in volumes how to find out which of them is damaged.
func (s *Bundle) WhatNext(err error) error {
	if s.Set == nil || s.Set.Rebuilt() != nil || !isDamage(err) {
		return err
	}
	return errors.Join(err, errors.New("\"airgap verify\" says which volumes are damaged and whether they can be repaired"))
}

// OpenSealed finds out what the bundle is to be read from, and opens it. set is nil but for volumes that are all there.
func (f *Source) OpenSealed(ctx context.Context, a *app.App, files []string) (*bundle.Sealed, *volume.Set, error) {
	whole := len(files) == 1 && (files[0] == "-" || !isVolumes(files[0]))
	switch {
	case f.repair && f.OneAtATime:
		return nil, nil, app.Usagef("--repair needs all volumes together, and cannot go with --one-at-a-time")
	case whole && (f.repair || f.OneAtATime):
		return nil, nil, app.Usagef("%s is not in volumes, for which --repair and --one-at-a-time are", files[0])
	case whole:
		sealed, err := openWhole(a, files[0])
		return sealed, nil, err
	case f.OneAtATime:
		drive, err := openDrive(ctx, a, files)
		if err != nil {
			return nil, nil, app.Absent(err)
		}
		sealed, err := openAs(drive, drive.ManifestIndex())
		return sealed, nil, err
	}
	open := volume.Open
	if f.repair {
		open = volume.OpenRebuilding
	}
	set, err := open(files...)
	if err != nil {
		return nil, nil, app.Absent(err)
	}
	sealed, err := openAs(set, set.ManifestIndex())
	return sealed, set, err
}

// openWhole opens a bundle that is a file, or, for "-", standard input.
func openWhole(a *app.App, file string) (*bundle.Sealed, error) {
	if file == "-" {
		in, err := a.TakeStdin("the bundle")
		if err != nil {
			return nil, err
		}
		return bundle.Open(bundle.FromReader(in))
	}
	medium, err := bundle.OpenFile(file)
	if err != nil {
		return nil, app.Absent(err)
	}
	return bundle.Open(medium)
}

// openAs opens a bundle and holds it against the table that lies beside it.
func openAs(m bundle.Medium, table bundle.Digest) (*bundle.Sealed, error) {
	sealed, err := bundle.Open(m)
	if err != nil {
		return nil, err
	}
	if index := sealed.ManifestIndex(); index != table {
		return nil, errors.Join(fmt.Errorf("%w: the table is of the bundle %s, and the volumes are of %s", volume.ErrVolumes, table, index), sealed.Close())
	}
	return sealed, nil
}

// isVolumes tells whether an argument stands for volumes, and not for a file that is a whole bundle.
func isVolumes(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.IsDir() || volume.IsPart(filepath.Base(file))
}

// openDrive finds a bundle of which one volume at a time need be there.
func openDrive(ctx context.Context, a *app.App, files []string) (*volume.Drive, error) {
	in, err := a.TakeStdin("the word that a volume has been inserted")
	if err != nil {
		return nil, err
	}
	answers := bufio.NewReader(in)
	return volume.OpenDrive(ctx, files, func(_ context.Context, w volume.Wanted) error { return askForVolume(a, answers, w) })
}

// askForVolume asks the person for a volume, also with --quiet: nothing would go on otherwise. Any line is an answer, so that
// a script can change disks as well. Standard input ends with the command.
func askForVolume(a *app.App, answers *bufio.Reader, w volume.Wanted) error {
	which := fmt.Sprintf("volume %d", w.Number)
	switch {
	case w.Number == 0:
		which = "another volume"
	case w.Of > 0:
		which = fmt.Sprintf("volume %d of %d (%s)", w.Number, w.Of, w.Name)
	}
	if w.Problem != nil {
		a.Warn("%s", w.Problem)
	}
	fmt.Fprintln(a.Screen, terminal.Sprintf("Insert %s so that it is in %s, then press Enter.", which, strings.Join(w.Places, " or ")))
	_, err := answers.ReadString('\n')
	if errors.Is(err, io.EOF) {
		return errors.New("standard input has ended, so that nobody can say that it has been inserted; run the command again to go on")
	}
	return err
}
