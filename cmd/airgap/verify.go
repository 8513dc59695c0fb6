package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"airgap/bundle"
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
		Use:     "verify FILE|- --key FILE",
		Short:   "Check a bundle: signature, structure and every digest",
		GroupID: groupCarry,
		Long: `Check a bundle without touching any registry. The signature comes first, before anything else in the file is
believed; then the tables, the manifests and how they hang together; then the length and digest of every
blob, on all cores. All problems are reported together, each with the image that it concerns.

Standard output gets the digest of the manifest index, which stands for the whole file.`,
		Example: `  airgap verify python.tar --key airgap.pub

  # Also unpack the layers, and compare them with the images' configs
  airgap verify python.tar --key airgap.pub --deep

  # From a pipe, and with either of two keys
  receive-from-diode | airgap verify - --key airgap.pub --key second.pub`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runVerify(cmd.Context(), a, &flags, args[0]) },
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

func runVerify(ctx context.Context, a *app, flags *verifyFlags, file string) (err error) {
	began := a.now()
	sealed, checked, err := openVerified(ctx, a, file, flags.keys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sealed.Close()) }()
	check := checked.CheckBlobs
	if flags.deep {
		check = checked.CheckBlobsDeep
	}
	if err := a.withProgress(func(o bundle.Observer) error { return check(ctx, o) }); err != nil {
		return err
	}
	return showVerified(a, flags, checked, a.now().Sub(began))
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

// openSealed opens a bundle from a file or, for "-", from standard input.
func openSealed(a *app, file string) (*bundle.Sealed, error) {
	if file != "-" {
		return bundle.OpenFile(file)
	}
	in, err := a.takeStdin("the bundle")
	if err != nil {
		return nil, err
	}
	return bundle.OpenStream(in, "")
}

// openVerified opens a bundle and checks all of it but the content of the blobs. sealed is for the caller to close.
func openVerified(ctx context.Context, a *app, file string, keys []string) (sealed *bundle.Sealed, checked *verify.Bundle, err error) {
	if len(keys) == 0 {
		return nil, nil, usagef("--key is missing: the public key (airgap.pub) of whoever makes the bundles")
	}
	trusted, err := loadPublicKeys(a, keys)
	if err != nil {
		return nil, nil, err
	}
	if sealed, err = openSealed(a, file); err != nil {
		return nil, nil, err
	}
	if checked, err = verify.Open(ctx, sealed, verify.Policy{Keys: trusted}); err != nil {
		return nil, nil, errors.Join(err, sealed.Close())
	}
	return sealed, checked, nil
}
