package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/terminal"
	"airgap/verify"
)

// verifyFlags are the flags of verify.
type verifyFlags struct {
	keys []string
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

A bundle in volumes is read where they lie: name their directory, or any one of them, or several directories or
volumes. Volumes that are missing, cut short or exchanged are named at once.

Standard output gets the digest of the manifest index, which stands for the whole file.`,
		Example: `  airgap verify python.tar --key airgap.pub

  # Also unpack the layers, and compare them with the images' configs
  airgap verify python.tar --key airgap.pub --deep

  # In volumes, on two disks
  airgap verify /media/disk1 /media/disk2 --key airgap.pub

  # From a pipe, and with either of two keys
  receive-from-diode | airgap verify - --key airgap.pub --key second.pub`,
		Args: atLeast("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runVerify(cmd.Context(), a, &flags, args) },
	}
	cmd.Flags().StringArrayVar(&flags.keys, "key", nil, "`FILE` with a public key that is trusted (PEM); any one match is enough")
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
	sealed, set, checked, err := openVerified(ctx, a, files, flags.keys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sealed.Close()) }()
	check := checked.CheckBlobs
	if flags.deep {
		check = checked.CheckBlobsDeep
	}
	if err := a.withProgress(func(o bundle.Observer) error { return check(ctx, o) }); err != nil {
		return withDamage(ctx, a, set, err)
	}
	return showVerified(a, flags, checked, a.now().Sub(began))
}

// withDamage says of a bundle in volumes where it is damaged, so that the right one can be brought again.
func withDamage(ctx context.Context, a *app, set *volume.Set, err error) error {
	if set == nil || ctx.Err() != nil {
		return err
	}
	var damage []volume.Damage
	if checkErr := a.withProgress(func(o bundle.Observer) (err error) {
		damage, err = set.Check(ctx, o)
		return err
	}); checkErr != nil {
		return errors.Join(err, checkErr)
	}
	for _, d := range damage {
		err = errors.Join(err, errors.New(d.String()))
	}
	if irreparable := set.Repairable(damage); irreparable != nil {
		return errors.Join(err, irreparable)
	}
	return errors.Join(err, errors.New("all of that can be repaired: see \"airgap repair\""))
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

// openSealed opens a bundle from a file, from volumes, or, for "-", from standard input. set is nil but for volumes.
func openSealed(a *app, files ...string) (sealed *bundle.Sealed, set *volume.Set, err error) {
	switch {
	case len(files) == 1 && files[0] == "-":
		in, err := a.takeStdin("the bundle")
		if err != nil {
			return nil, nil, err
		}
		sealed, err = bundle.OpenStream(in, "")
		return sealed, nil, err
	case len(files) == 1 && !isVolumes(files[0]):
		sealed, err = bundle.OpenFile(files[0])
		return sealed, nil, err
	}
	if set, err = volume.Open(files...); err != nil {
		return nil, nil, err
	}
	if sealed, err = bundle.Open(set, set.Size()); err == nil && sealed.ManifestIndex() != set.ManifestIndex() {
		err = fmt.Errorf("%w: the table is of the bundle %s, and the volumes are of %s", volume.ErrVolumes, set.ManifestIndex(), sealed.ManifestIndex())
	}
	if err != nil {
		return nil, nil, errors.Join(err, set.Close())
	}
	sealed.Own(set)
	return sealed, set, nil
}

// isVolumes tells whether an argument stands for volumes, and not for a file that is a whole bundle.
func isVolumes(file string) bool {
	info, err := os.Stat(file)
	return err == nil && (info.IsDir() || volume.IsPart(filepath.Base(file)))
}

// openVerified opens a bundle and checks all of it but the content of the blobs. sealed is for the caller to close.
func openVerified(ctx context.Context, a *app, files, keys []string) (sealed *bundle.Sealed, set *volume.Set, checked *verify.Bundle, err error) {
	if len(keys) == 0 {
		return nil, nil, nil, usagef("--key is missing: the public key (airgap.pub) of whoever makes the bundles")
	}
	trusted, err := loadPublicKeys(a, keys)
	if err != nil {
		return nil, nil, nil, err
	}
	if sealed, set, err = openSealed(a, files...); err != nil {
		return nil, nil, nil, err
	}
	if checked, err = verify.Open(ctx, sealed, verify.Policy{Keys: trusted}); err != nil {
		return nil, nil, nil, errors.Join(err, sealed.Close())
	}
	return sealed, set, checked, nil
}
