package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/verify"
	"airgap/verify/party"
	"airgap/verify/signature"
)

// witness are the flags of commands by which a person vouches for a bundle in a file of its own.
type witness struct {
	option.Source
	option.Beside

	signing option.Signing
	output  string
}

func (f *witness) add(cmd *cobra.Command) {
	f.AddKey(cmd.Flags())
	f.signing.Add(cmd.Flags(), "sign-key", "for you")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "`FILE` to write")
	f.AddVolumes(cmd.Flags())
	f.Beside.Add(cmd.Flags())
}

func (f *witness) check() error {
	if err := f.signing.Check("your own private key; \"airgap keygen\" makes a pair of keys"); err != nil {
		return err
	}
	if f.output == "" {
		return app.Usagef("--output is missing: -o FILE")
	}
	return checkNew(f.output)
}

// open checks a bundle to its last byte and shows what it is.
func (f *witness) open(ctx context.Context, a *app.App, files []string, trust verify.Trust) (*option.Bundle, error) {
	f.Locate = true
	if err := f.Read(&trust, files); err != nil {
		return nil, err
	}
	from, err := f.Open(ctx, a, files, nil, trust)
	if err != nil {
		return nil, err
	}
	if err := checkBlobs(ctx, a, from, false); err != nil {
		return nil, errors.Join(err, from.Close())
	}
	showBundle(a, from.Checked)
	return from, nil
}

// rootsShown is how many images of a bundle a person is shown.
const rootsShown = 50

// showBundle says what a bundle is to a person who is to vouch for it.
func showBundle(a *app.App, b *verify.Bundle) {
	header := &b.Contents().Header
	a.Say("bundle %s, made %s, signed by %s", b.ManifestIndex(), header.Created, strings.Join(party.Names(b.Signers()), ", "))
	for _, line := range seriesOf(header).lines() {
		a.Say("%s", line)
	}
	for row, root := range b.Contents().Roots() {
		if row == rootsShown {
			a.Say("  and %d more (airgap inspect shows all)", header.Counts.Roots-rootsShown)
			break
		}
		a.Say("  %s  %s", root.Source, root.Digest)
	}
	if left := b.Contents().LeftOut(); len(left) > 0 {
		a.Say("stands on %s, left out on purpose and not checked here", leftTo(left))
	}
	for _, m := range b.Contents().Missing {
		a.Warn("not in the bundle, since it could not be had at export: %s: %s", m.Source, m.Reason)
	}
	a.Say("%s, %s, %s: all digests are right", terminal.Count(header.Counts.Roots, "image"), terminal.Count(header.Counts.Stored, "blob"), terminal.Bytes(header.Counts.StoredBytes))
}

// checkNew finds a file that is there, before the work. writeNew makes sure.
func checkNew(file string) error {
	if _, err := os.Lstat(file); err == nil {
		return existsAlready(file)
	}
	if err := checkWritable(file); err != nil {
		return app.Absent(err)
	}
	return nil
}

func existsAlready(file string) error {
	return app.Usagef("%s is there already, and is not overwritten: move it away, or name another file", file)
}

func (f *witness) write(content []byte) error {
	err := writeNew(f.output, append(content, '\n'), 0o644)
	if errors.Is(err, fs.ErrExist) {
		return existsAlready(f.output)
	}
	return err
}

func newCountersign(a *app.App) *cobra.Command {
	var flags witness
	cmd := &cobra.Command{
		Use:   "countersign FILE|-|VOLUMES... --key FILE --sign-key FILE -o FILE",
		Short: "Check a bundle, and sign it as well, for policies that ask for several signatures",
		Long: `Check a bundle to its last byte, as "airgap verify" does, show what it is, and write another signature over it to
a file of its own. The bundle is not changed, and one signature of --key is enough here. A policy with

  bundle: {keys: [packer.pub, second.pub], threshold: 2}

asks for the signatures of two different keys. "verify" and "import" take such files with --signature, and find those
by themselves that lie beside NAME.tar and are named NAME.*.sigstore.json. Where there is a record, they are kept in
it.`,
		Example: `  airgap countersign dhi-12.tar --key airgap.pub --sign-key second.key -o dhi-12.second.sigstore.json
  airgap import dhi-12.tar harbor.example.com/mirror --policy trust.yaml`,
		Args: app.AtLeast("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runCountersign(cmd.Context(), a, &flags, args) },
	}
	flags.add(cmd)
	return cmd
}

func runCountersign(ctx context.Context, a *app.App, flags *witness, files []string) (err error) {
	if err := flags.check(); err != nil {
		return err
	}
	trust, err := flags.Trust(a)
	if err != nil {
		return err
	}
	from, err := flags.open(ctx, a, files, trust.OfOne())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	key, err := flags.signing.Load(ctx, a)
	if err != nil {
		return err
	}
	content, err := signature.Sign(key, from.Checked.ManifestIndex())
	if err != nil {
		return err
	}
	if err := flags.write(content); err != nil {
		return err
	}
	a.Say("%s: signed by %s", flags.output, key.Public().Fingerprint())
	a.Print("%s", from.Checked.ManifestIndex())
	return nil
}
