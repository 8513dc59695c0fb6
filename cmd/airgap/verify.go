package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/terminal"
	"airgap/verify"
)

// verifyFlags are the flags of verify.
type verifyFlags struct {
	sourceFlags

	deep bool
	json bool
}

func newVerify(a *app) *cobra.Command {
	var flags verifyFlags
	cmd := &cobra.Command{
		Use:     "verify FILE|-|VOLUMES... --key FILE",
		Short:   "Check a bundle: signature, structure and every digest",
		GroupID: groupCarry,
		Long: `Check a bundle without touching any registry. The signature comes first, before anything else in the file is
believed; then the tables, the manifests and how they hang together; then the length and digest of every
blob, on all cores. All problems are reported together, each with the image that it concerns.

` + volumesHelp + `

Standard output gets the digest of the manifest index, which stands for the whole file.`,
		Example: `  airgap verify python.tar --key airgap.pub

  # Also unpack the layers, and compare them with the images' configs
  airgap verify python.tar --key airgap.pub --deep

  # In volumes, on two disks, or on several that share a drive
  airgap verify /media/disk1 /media/disk2 --key airgap.pub
  airgap verify /media/dvd --one-at-a-time --key airgap.pub

  # From a pipe, and with either of two keys
  receive-from-diode | airgap verify - --key airgap.pub --key second.pub`,
		Args: atLeast("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runVerify(cmd.Context(), a, &flags, args) },
	}
	flags.sourceFlags.add(cmd.Flags())
	cmd.Flags().BoolVar(&flags.deep, "deep", false, "also unpack every layer, and compare it with the image's config")
	cmd.Flags().BoolVar(&flags.json, "json", false, "print the result as JSON")
	return cmd
}

// verifyResult is what verify found out, for --json.
type verifyResult struct {
	ManifestIndex bundle.Digest `json:"manifestIndex"`
	Key           string        `json:"key"` // fingerprint
	Created       string        `json:"created"`
	Counts        bundle.Counts `json:"counts"`
}

func runVerify(ctx context.Context, a *app, flags *verifyFlags, files []string) (err error) {
	began := a.now()
	flags.locate = true
	from, err := flags.open(ctx, a, files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	check := from.checked.CheckBlobs
	if flags.deep {
		check = from.checked.CheckBlobsDeep
	}
	err = a.withProgress(func(o bundle.Observer) error { return check(ctx, o) })
	from.warnOfDamage(a)
	if err != nil {
		return withDamage(ctx, a, from.set, err)
	}
	if err := checkParity(ctx, a, from.set); err != nil {
		return err
	}
	return showVerified(a, flags, from.checked, a.now().Sub(began))
}

// withDamage says of a bundle in volumes where it is damaged, so that the right one can be brought again.
func withDamage(ctx context.Context, a *app, set *volume.Set, err error) error {
	if set == nil || set.Rebuilt() != nil || ctx.Err() != nil {
		return err
	}
	var damage []volume.Damage
	if checkErr := a.withProgress(func(o bundle.Observer) (err error) {
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

// checkParity warns of volumes of parity that could not stand in for others. The bundle is whole all the same.
func checkParity(ctx context.Context, a *app, set *volume.Set) error {
	if set == nil || set.Parity() == 0 {
		return nil
	}
	var damage []volume.Damage
	err := a.withProgress(func(o bundle.Observer) (err error) {
		damage, err = set.CheckParity(ctx, o)
		return err
	})
	for _, d := range damage {
		a.warn("%s or missing; the bundle is whole, but this volume of parity cannot stand in for another: \"airgap repair\" writes it anew", d)
	}
	return err
}

func showVerified(a *app, flags *verifyFlags, b *verify.Bundle, took time.Duration) error {
	header := b.Contents().Header
	a.say("signed by %s", b.Key().Fingerprint())
	a.say("%s, %s, %s, made %s: all digests are right (%s)",
		terminal.Count(header.Counts.Roots, "image"), terminal.Count(header.Counts.Stored, "blob"), terminal.Bytes(header.Counts.StoredBytes), header.Created, terminal.Duration(took))
	for _, m := range b.Contents().Missing {
		a.warn("not in the bundle, since it could not be had at export: %s: %s", m.Source, m.Reason)
	}
	if flags.json {
		return a.printJSON(verifyResult{b.ManifestIndex(), b.Key().Fingerprint(), header.Created, header.Counts})
	}
	a.print("%s", b.ManifestIndex())
	return nil
}
