package main

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
	"airgap/cmd/airgap/terminal"
	"airgap/verify"
)

// volumesHelp is for the commands that read bundles.
const volumesHelp = `A bundle in volumes is read where they lie: name their directory, or any one of them, or several directories or
volumes. Volumes that are missing, cut short or exchanged are named at once. With --repair, what is damaged or
missing is rebuilt from the volumes of parity while it is read, and nothing is written anywhere. With
--one-at-a-time only one volume need be there at a time: the next one is asked for, and none is needed twice.`

// sourceFlags say which bundle to read, and how.
type sourceFlags struct {
	keys       []string
	repair     bool
	oneAtATime bool

	locate bool // where the head is damaged, say on which volume, which takes reading all of them
}

func (f *sourceFlags) add(flags *pflag.FlagSet) {
	f.addKey(flags)
	f.addVolumes(flags)
}

func (f *sourceFlags) addKey(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.keys, "key", nil, "`FILE` with a public key that is trusted (PEM); any one match is enough")
}

func (f *sourceFlags) addVolumes(flags *pflag.FlagSet) {
	flags.BoolVar(&f.repair, "repair", false, "read through damaged and missing volumes, with the help of those of parity")
	flags.BoolVar(&f.oneAtATime, "one-at-a-time", false, "ask for one volume after the other, as when one drive is there for all disks")
}

// source is a bundle that has been checked but for the content of its blobs.
type source struct {
	sealed  *bundle.Sealed
	set     *volume.Set // nil but for volumes
	checked *verify.Bundle
}

// Close closes everything that the bundle is read from.
func (s *source) Close() error { return s.sealed.Close() }

// warnOfDamage says what was rebuilt while it was read.
func (s *source) warnOfDamage(a *app) {
	if s.set == nil {
		return
	}
	damage := s.set.Rebuilt()
	became := "; rebuilt from the others"
	if s.set.Repairable(damage) != nil {
		became = ", on too many volumes at the same place for all of it to be rebuilt"
	}
	for _, d := range damage {
		if d.TooLong {
			a.warn("%s; what follows its end was not read", d)
			continue
		}
		a.warn("%s%s", d, became)
	}
}

// open opens a bundle and checks all of it but the content of the blobs. The source is for the caller to close.
func (f *sourceFlags) open(ctx context.Context, a *app, files []string) (s *source, err error) {
	if len(f.keys) == 0 {
		return nil, usagef("--key is missing: the public key (airgap.pub) of whoever makes the bundles")
	}
	trusted, err := loadPublicKeys(a, f.keys)
	if err != nil {
		return nil, err
	}
	s = &source{}
	if s.sealed, s.set, err = f.openSealed(a, files); err != nil {
		return nil, err
	}
	if s.checked, err = verify.Open(ctx, s.sealed, verify.Policy{Keys: trusted}); err != nil {
		if f.locate && isDamage(err) {
			err = withDamage(ctx, a, s.set, err)
		}
		if !f.locate {
			err = s.whatNext(err)
		}
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// isDamage tells whether an error may come of volumes that are damaged.
func isDamage(err error) bool {
	return errors.Is(err, bundle.ErrDigest) || errors.Is(err, bundle.ErrFormat) || errors.Is(err, volume.ErrVolumes)
}

// whatNext adds to the error of a bundle in volumes how to find out which of them is damaged.
func (s *source) whatNext(err error) error {
	if s.set == nil || s.set.Rebuilt() != nil || !isDamage(err) {
		return err
	}
	return errors.Join(err, errors.New("\"airgap verify\" says which volumes are damaged and whether they can be repaired"))
}

// openSealed finds out what the bundle is to be read from, and opens it. set is nil but for volumes that are all there.
func (f *sourceFlags) openSealed(a *app, files []string) (*bundle.Sealed, *volume.Set, error) {
	whole := len(files) == 1 && (files[0] == "-" || !isVolumes(files[0]))
	switch {
	case f.repair && f.oneAtATime:
		return nil, nil, usagef("--repair needs all volumes together, and cannot go with --one-at-a-time")
	case whole && (f.repair || f.oneAtATime):
		return nil, nil, usagef("%s is not in volumes, for which --repair and --one-at-a-time are", files[0])
	case whole:
		sealed, err := openWhole(a, files[0])
		return sealed, nil, err
	case f.oneAtATime:
		drive, err := openDrive(a, files)
		if err != nil {
			return nil, nil, absent(err)
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
		return nil, nil, absent(err)
	}
	sealed, err := openAs(set, set.ManifestIndex())
	return sealed, set, err
}

// openWhole opens a bundle that is a file, or, for "-", standard input.
func openWhole(a *app, file string) (*bundle.Sealed, error) {
	if file == "-" {
		in, err := a.takeStdin("the bundle")
		if err != nil {
			return nil, err
		}
		return bundle.Open(bundle.FromReader(in))
	}
	medium, err := bundle.OpenFile(file)
	if err != nil {
		return nil, absent(err)
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
func openDrive(a *app, files []string) (*volume.Drive, error) {
	in, err := a.takeStdin("the word that a volume has been inserted")
	if err != nil {
		return nil, err
	}
	answers := bufio.NewReader(in)
	return volume.OpenDrive(files, func(w volume.Wanted) error { return askForVolume(a, answers, w) })
}

// askForVolume asks the person for a volume, also with --quiet: nothing would go on otherwise. Any line is an answer, so that
// a script can change disks as well.
func askForVolume(a *app, answers *bufio.Reader, w volume.Wanted) error {
	which := fmt.Sprintf("volume %d", w.Number)
	switch {
	case w.Number == 0:
		which = "another volume"
	case w.Of > 0:
		which = fmt.Sprintf("volume %d of %d (%s)", w.Number, w.Of, w.Name)
	}
	if w.Problem != nil {
		a.warn("%s", w.Problem)
	}
	fmt.Fprintln(a.screen, terminal.Sprintf("Insert %s so that it is in %s, then press Enter.", which, strings.Join(w.Places, " or ")))
	_, err := answers.ReadString('\n')
	if errors.Is(err, io.EOF) {
		return errors.New("standard input has ended, so that nobody can say that it has been inserted; run the command again to go on")
	}
	return err
}
