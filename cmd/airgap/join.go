package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/verify"
	"airgap/verify/policy"
)

// joinFlags are the flags of join.
type joinFlags struct {
	output  string
	json    bool
	bases   []string
	signing option.Signing
	trust   []string
}

func newJoin(a *app.App) *cobra.Command {
	var flags joinFlags
	cmd := &cobra.Command{
		Use:   "join VOLUMES... -o FILE | join FILE --base FILE... --key FILE -o FILE",
		Short: "Make one file of a bundle's volumes, or of a bundle and those that it stands on",
		Long: `Find the volumes of a bundle, check every piece of them against the table beside them, and write them to one
file. That is only needed for other tools: "airgap verify" and "airgap import" read volumes where they lie.

With --base, make a whole bundle of one that leaves out what earlier ones store, and of all of these: the same images,
number and time, and nothing left out. It is signed anew. What it is made of must be signed by the same key as
well, or by one of --trust. To import, either of the two is the same bundle of the mirror.`,
		Example: `  airgap join /media/disk1 /media/disk2 -o monday.tar
  airgap join dhi-12.tar --base dhi-11.tar --base dhi-9.tar --key airgap.key -o whole.tar`,
		Args: app.AtLeast("VOLUMES"),
		RunE: func(cmd *cobra.Command, args []string) error { return runJoin(cmd.Context(), a, &flags, args) },
	}
	f := cmd.Flags()
	f.StringVarP(&flags.output, "output", "o", "", "`FILE` to write")
	option.AddBases(f, &flags.bases, "to be joined with it")
	flags.signing.Add(f, "key", "the whole, with --base")
	f.StringArrayVar(&flags.trust, "trust", nil, "`FILE` with a public key that is trusted besides (PEM), with --base")
	addJSON(cmd, &flags.json)
	return cmd
}

func runJoin(ctx context.Context, a *app.App, flags *joinFlags, paths []string) error {
	switch {
	case flags.output == "":
		return app.Usagef("--output is missing: -o FILE")
	case len(flags.bases) == 0 && (flags.signing.IsGiven() || len(flags.trust) > 0):
		return app.Usagef("--key and --trust are for a bundle that is joined with others (--base)")
	case len(flags.bases) > 0 && paths[0] == "-":
		return app.Usagef("join needs a file, or volumes")
	}
	joined := joinVolumes
	if len(flags.bases) > 0 {
		if err := flags.signing.Check("what is joined is a bundle of its own, and signed as such"); err != nil {
			return err
		}
		joined = joinBases
	}
	result, err := joined(ctx, a, flags, paths)
	if err != nil {
		return err
	}
	a.Say("%s: %s", flags.output, terminal.Bytes(result.Bytes))
	if flags.json {
		return a.PrintJSON(result)
	}
	a.Print("%s", result.ManifestIndex)
	return nil
}

func joinVolumes(ctx context.Context, a *app.App, flags *joinFlags, paths []string) (_ *volumesResult, err error) {
	set, err := volume.Open(paths...)
	if err != nil {
		return nil, app.Absent(err)
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	err = a.WithProgress(func(o bundle.Observer) error { return volume.Join(ctx, set, flags.output, o) })
	return &volumesResult{ManifestIndex: set.ManifestIndex(), Bytes: set.Size()}, err
}

// joinBases makes a whole bundle of one that stands on others.
func joinBases(ctx context.Context, a *app.App, flags *joinFlags, paths []string) (_ *volumesResult, err error) {
	key, err := flags.signing.Load(ctx, a)
	if err != nil {
		return nil, err
	}
	trusted, err := option.LoadPublicKeys(a, "--trust", flags.trust)
	if err != nil {
		return nil, err
	}
	trust := verify.Trust{Policy: policy.OfKeys(append(trusted, key.Public()))}
	delta, err := (&option.Source{}).Open(ctx, a, paths, flags.bases, trust)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, delta.Close()) }()
	var result *verify.Joined
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		result, err = delta.Checked.Join(ctx, key, flags.output, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &volumesResult{ManifestIndex: result.ManifestIndex, Bytes: result.Size}, nil
}
