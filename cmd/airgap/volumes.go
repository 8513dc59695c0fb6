package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/terminal"
)

func newSplit(a *app) *cobra.Command {
	var size string
	var output string
	cmd := &cobra.Command{
		Use:     "split FILE --volume-size SIZE",
		Short:   "Cut a bundle into volumes that fit on media",
		GroupID: groupCarry,
		Long: `Write a bundle as volumes NAME.tar.0001, NAME.tar.0002 and so on, which are plain ranges of its bytes: "cat
NAME.tar.*" gives the bundle again. Beside each volume lies a copy of one small table, NAME.volumes.0001, with a
digest for every piece. "airgap verify" and "airgap import" read volumes where they lie.

Sizes are numbers with a unit (4000MiB, 4GB) or fat32, dvd, dvd-dl, bd, bd-dl.`,
		Example: `  airgap split monday.tar --volume-size fat32
  airgap split monday.tar --volume-size dvd -o /burn/monday.tar
  airgap verify /burn --key airgap.pub`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSplit(cmd.Context(), a, args[0], output, size)
		},
	}
	cmd.Flags().StringVar(&size, "volume-size", "", "`SIZE` of a volume")
	cmd.Flags().StringVarP(&output, "output", "o", "", "`NAME.tar` of which the volumes have their names (default: the file's own)")
	return cmd
}

func runSplit(ctx context.Context, a *app, file, output, sizeText string) (err error) {
	if sizeText == "" {
		return usagef("--volume-size is missing: a size such as 4000MiB, or fat32, dvd, dvd-dl, bd or bd-dl")
	}
	size, err := volume.ParseSize(sizeText)
	if err != nil {
		return usageError{err}
	}
	if file == "-" {
		return usagef("split needs a file")
	}
	whole, err := openWhole(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, whole.Close()) }()
	if output == "" {
		output = file
	}
	var table *volume.Table
	err = a.withProgress(func(o bundle.Observer) (err error) {
		table, err = volume.Split(ctx, whole.File, whole.size, whole.index, output, size, o)
		return err
	})
	if err != nil {
		return err
	}
	a.say("%s of %s each", terminal.Count(table.Volumes(), "volume"), terminal.Bytes(size))
	a.print("%s", table.ManifestIndex)
	return nil
}

// wholeBundle is a bundle in one file, of which the digest of the signed object is known.
type wholeBundle struct {
	*os.File

	size  int64
	index bundle.Digest
}

func openWhole(file string) (*wholeBundle, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	sealed, err := bundle.Open(f, info.Size())
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &wholeBundle{f, info.Size(), sealed.ManifestIndex()}, nil
}

func newJoin(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "join VOLUMES... -o FILE",
		Short:   "Make one file of a bundle's volumes",
		GroupID: groupCarry,
		Long: `Find the volumes of a bundle, check every piece of them against the table beside them, and write them to one
file. That is only needed for other tools: "airgap verify" and "airgap import" read volumes where they lie.`,
		Example: `  airgap join /media/disk1 /media/disk2 -o monday.tar`,
		Args:    atLeast("VOLUMES"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runJoin(cmd.Context(), a, args, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "`FILE` to write")
	return cmd
}

func runJoin(ctx context.Context, a *app, paths []string, output string) (err error) {
	if output == "" {
		return usagef("--output is missing: -o FILE")
	}
	set, err := volume.Open(paths...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if err := a.withProgress(func(o bundle.Observer) error { return volume.Join(ctx, set, output, o) }); err != nil {
		return err
	}
	a.say("%s: %s", output, terminal.Bytes(set.Size()))
	a.print("%s", set.ManifestIndex())
	return nil
}
