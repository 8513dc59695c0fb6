package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/import/parallel"
	"airgap/import/prune"
)

// pruneFlags are the flags of prune.
type pruneFlags struct {
	option.Record

	keep, jobs int
	delete     bool
	json       bool
}

func newPrune(a *app.App) *cobra.Command {
	var flags pruneFlags
	cmd := &cobra.Command{
		Use:   "prune REGISTRY[/PREFIX] --mirror NAME --key FILE",
		Short: "Show, or remove, what a mirror brought and no longer lists",
		Long: `Show what a mirror brought to a target earlier, and what its last bundles do not list any more; with --delete, remove
it. At Harbor, artifacts that have no tag left go with their accessories, for which a robot needs the permissions
"read" and "delete" of "artifact" and "delete" of "tag". At other registries tags go, if the registry deletes tags;
its garbage collection does the rest.

Only what the record says was brought goes, by the name that it was given there, and only while that still names the
same. Nothing goes that an image needs which any mirror in the record lists, nothing that the newest bundles could
not have at export (--keep-going), and nothing that was there before. If not all entries of the record are signed
by a trusted key, nothing is removed. Where a record is of several destinations, imports into another one than this
do not count. The command can be run again.

` + option.RecordHelp + `

` + option.RegistryHelp,
		Example: `  airgap prune harbor.example.com/mirror --mirror dhi --key airgap.pub
  airgap prune harbor.example.com/mirror --mirror dhi --key airgap.pub --keep 3 --delete`,
		Args: app.ExactArgs("REGISTRY[/PREFIX]"),
		RunE: func(cmd *cobra.Command, args []string) error { return runPrune(cmd.Context(), a, &flags, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.Mirror, "mirror", "", "`NAME` of the mirror")
	f.IntVar(&flags.keep, "keep", prune.DefaultKeep, "`N` newest bundles, of which everything was imported, keep their images")
	f.BoolVar(&flags.delete, "delete", false, "remove it; otherwise it is only shown")
	f.IntVarP(&flags.jobs, "jobs", "j", parallel.DefaultJobs, "`N` requests under way at once")
	f.BoolVar(&flags.json, "json", false, "print a report in JSON: a row for each tag and artifact")
	flags.Add(f)
	return cmd
}

func runPrune(ctx context.Context, a *app.App, flags *pruneFlags, to string) error {
	switch {
	case flags.Mirror == "":
		return app.Usagef("--mirror is missing: whose images are to be pruned")
	case flags.keep < 1 || flags.jobs < 1:
		return app.Usagef("--keep and --jobs must be at least 1")
	}
	at, err := flags.Open(ctx, a, to, "")
	if err != nil {
		return err
	}
	var done *prune.Report
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		done, err = prune.Run(ctx, at.History, at.Client, prune.Options{
			Mirror: flags.Mirror, Destination: at.Destination, Keep: flags.keep, Delete: flags.delete, Harbor: at.Harbor, Jobs: flags.jobs, Observer: o,
		})
		return err
	})
	at.WarnOfDoubts(a)
	if done == nil {
		return err
	}
	if flags.json && err == nil {
		return a.PrintJSON(done)
	}
	showPruned(a, done, err != nil)
	return err
}

// showPruned prints a line for what is or was to be removed, or is left.
func showPruned(a *app.App, r *prune.Report, failed bool) {
	show := a.Print
	if failed { // the error names what failed; this is about the others
		show = a.Say
	}
	count := map[prune.Status]int{}
	for _, row := range r.Rows {
		count[row.Status]++
		switch row.Status {
		case prune.Remove:
			show("%s  to be removed: %s, last listed by %s", row.Name(), row.Source, row.Bundle)
		case prune.Removed:
			show("%s  removed: %s, last listed by %s", row.Name(), row.Source, row.Bundle)
		case prune.Moved:
			show("%s  left alone: somebody else has moved it since", row.Name())
		}
	}
	if r.DryRun {
		a.Say("would remove %s; %s keep their images", terminal.Count(count[prune.Remove], "name"), strings.Join(r.Kept, ", "))
		return
	}
	a.Say("%s removed, %d gone already, %d moved by others and left alone, %d failed; %s keep their images",
		terminal.Count(count[prune.Removed], "name"), count[prune.Gone], count[prune.Moved], count[prune.Failed], strings.Join(r.Kept, ", "))
}
