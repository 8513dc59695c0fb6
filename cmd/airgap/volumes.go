package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
)

// volumesResult is what split, join and repair did, for --json.
type volumesResult struct {
	ManifestIndex bundle.Digest `json:"manifestIndex"`
	Bytes         int64         `json:"bytes"`             // of the bundle
	Volumes       int           `json:"volumes,omitempty"` // without those of parity
	Parity        int           `json:"parity,omitempty"`
	Rebuilt       []string      `json:"rebuilt,omitempty"` // paths
}

func addJSON(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print the result as JSON")
}

func newSplit(a *app.App) *cobra.Command {
	var flags option.Volumes
	var output string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "split FILE --volume-size SIZE",
		Short: "Cut a bundle into volumes that fit on media",
		Long: `Write a bundle as volumes NAME.tar.0001, NAME.tar.0002 and so on, which are plain ranges of its bytes: "cat
NAME.tar.*" gives the bundle again. Beside each volume lies a copy of one small table, NAME.volumes.0001, with a
digest for every piece. "airgap verify" and "airgap import" read volumes where they lie.

With --parity there are further volumes, NAME.parity.0001 and so on. Each of them can stand in for any volume that
is lost or damaged (see "airgap repair").

Sizes are numbers with a unit (4000MiB, 4GB) or fat32, dvd, dvd-dl, bd, bd-dl.`,
		Example: `  airgap split monday.tar --volume-size fat32
  airgap split monday.tar --volume-size dvd --parity 2 -o /burn/monday.tar
  airgap verify /burn --key airgap.pub`,
		Args: app.ExactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSplit(cmd.Context(), a, &flags, args[0], output, asJSON)
		},
	}
	flags.Add(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "", "`NAME.tar` of which the volumes have their names (default: the file's own)")
	addJSON(cmd, &asJSON)
	return cmd
}

func runSplit(ctx context.Context, a *app.App, flags *option.Volumes, file, output string, asJSON bool) (err error) {
	if flags.Size == "" {
		return app.Usagef("--volume-size is missing: a size such as 4000MiB, or fat32, dvd, dvd-dl, bd or bd-dl")
	}
	if err := flags.Parse(); err != nil {
		return err
	}
	if file == "-" {
		return app.Usagef("split needs a file")
	}
	whole, err := openToSplit(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, whole.Close()) }()
	if output == "" {
		output = file
	}
	parity := 0
	if flags.Count != nil {
		parity = flags.Count(int((whole.Size() + flags.Bytes - 1) / flags.Bytes))
	}
	var table *volume.Table
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		table, err = volume.Split(ctx, whole.Access().Random, whole.Size(), whole.index, output, flags.Bytes, parity, o)
		return err
	})
	if err != nil {
		return err
	}
	a.Say("%s of %s each, and %d of parity", terminal.Count(table.Volumes(), "volume"), terminal.Bytes(flags.Bytes), table.Parity)
	if asJSON {
		return a.PrintJSON(volumesResult{ManifestIndex: table.ManifestIndex, Bytes: whole.Size(), Volumes: table.Volumes(), Parity: table.Parity})
	}
	a.Print("%s", table.ManifestIndex)
	return nil
}

// wholeBundle is a bundle in one file, of which the digest of the signed object is known.
type wholeBundle struct {
	bundle.Medium

	index bundle.Digest
}

func openToSplit(ctx context.Context, file string) (*wholeBundle, error) {
	medium, err := bundle.OpenFile(file)
	if err != nil {
		return nil, app.Absent(err)
	}
	sealed, err := bundle.Open(medium)
	if err != nil {
		return nil, err
	}
	if _, err := sealed.Reader(ctx); err != nil { // which notices a file that was cut short
		return nil, errors.Join(err, sealed.Close())
	}
	return &wholeBundle{medium, sealed.ManifestIndex()}, nil
}

func newRepair(a *app.App) *cobra.Command {
	var output string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "repair VOLUMES... -o DIR",
		Short: "Rebuild damaged or missing volumes from those of parity",
		Long: `Check every piece of a bundle's volumes, and write those that are damaged or missing anew into a directory, as far as
there is parity for them ("airgap export --parity", "airgap split --parity"): at every place as many volumes may be
lost as there are of parity. What is rebuilt is checked. Nothing is changed where it lies.

Standard output gets the paths of the new volumes; give them to "airgap import" together with the good ones.`,
		Example: `  airgap repair /media/disk1 /media/disk2 -o repaired
  airgap import /media/disk1 /media/disk2 repaired harbor.example.com/mirror --key airgap.pub`,
		Args: app.AtLeast("VOLUMES"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRepair(cmd.Context(), a, args, output, asJSON)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "`DIR` for the new volumes")
	addJSON(cmd, &asJSON)
	return cmd
}

func runRepair(ctx context.Context, a *app.App, paths []string, output string, asJSON bool) (err error) {
	if output == "" {
		return app.Usagef("--output is missing: -o DIR for the new volumes")
	}
	set, err := volume.OpenDamaged(paths...)
	if err != nil {
		return app.Absent(err)
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if err := os.MkdirAll(output, 0o750); err != nil {
		return err
	}
	var repaired []string
	if err := a.WithProgress(func(o bundle.Observer) (err error) {
		repaired, err = set.Repair(ctx, output, o)
		return err
	}); err != nil {
		return err
	}
	if len(repaired) == 0 {
		a.Say("nothing is damaged")
	} else {
		a.Say("%s rebuilt", terminal.Count(len(repaired), "volume"))
	}
	if asJSON {
		return a.PrintJSON(volumesResult{ManifestIndex: set.ManifestIndex(), Bytes: set.Size(), Rebuilt: repaired})
	}
	for _, name := range repaired {
		a.Print("%s", name)
	}
	return nil
}
