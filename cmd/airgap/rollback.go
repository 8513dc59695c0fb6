package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/export/registry/harbor"
	"airgap/import/parallel"
	"airgap/import/report"
	"airgap/import/rollback"
)

// rollbackFlags are the flags of rollback.
type rollbackFlags struct {
	option.Registry

	dryRun bool
	jobs   int
	json   bool
}

func newRollback(a *app.App) *cobra.Command {
	var flags rollbackFlags
	cmd := &cobra.Command{
		Use:   "rollback REPORT",
		Short: "Put the tags of an import back to where they were before it",
		Long: `Put the tags that an import moved back to where they were before it. REPORT is what "airgap import" wrote with
--report, or printed with --json; - reads it from standard input. The registry that it names is the only one that
is asked. The report is not signed: what it says is believed, so keep it where nobody else can write.

Only tags that are still where the import put them are touched; what somebody else has moved or removed since stays.
All tags are looked at first, and what will become of each is listed. Then each gets the manifest back that it had,
which the registry must still have: garbage collection may have taken it. A tag that the import made is removed:
at Harbor through its API, for which a robot needs the permission "delete" of "tag"; at other registries by the
request of the specification, for which the registry has to allow it. The manifests that were imported stay, without
a tag. So do their signatures and SBOMs, and the tags of cosign that others have changed since.

What cannot be put back, such as a tag that has become immutable, is named, and does not keep the others from being
put back. The command can be run again, and then changes only what is left.

` + option.RegistryHelp,
		Example: `  airgap import python.tar harbor.example.com/mirror --key airgap.pub --report report.json

  # See what would become of each tag, then do it
  airgap rollback report.json --dry-run
  airgap rollback report.json`,
		Args: app.ExactArgs("REPORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRollback(cmd.Context(), a, &flags, args[0])
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.dryRun, "dry-run", false, "look at the tags and show what would be done, but write nothing")
	f.IntVarP(&flags.jobs, "jobs", "j", parallel.DefaultJobs, "`N` requests under way at once")
	f.BoolVar(&flags.json, "json", false, "print a report in JSON on standard output: a row for each tag")
	flags.Registry.Add(f)
	return cmd
}

func runRollback(ctx context.Context, a *app.App, flags *rollbackFlags, file string) error {
	if flags.jobs < 1 {
		return app.Usagef("--jobs must be at least 1")
	}
	imported, err := readReport(ctx, a, file)
	if err != nil {
		return err
	}
	client, err := flags.Client(ctx, a, []string{imported.Registry().RegistryStr()})
	if err != nil {
		return err
	}
	options := rollback.Options{DryRun: flags.dryRun, Jobs: flags.jobs, Now: a.Now}
	if !flags.dryRun {
		options.Planned = func(rows []rollback.Row) { listRollback(a.Say, rows) }
	}
	var done *rollback.Report
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		options.Observer = o
		if options.Harbor, err = harbor.Find(ctx, client, imported.Registry()); err != nil {
			return err
		}
		done, err = rollback.Run(ctx, imported, client, options)
		return err
	})
	if done == nil {
		return err
	}
	return errors.Join(err, flags.show(a, done, err != nil))
}

// readReport reads a file, or standard input.
func readReport(ctx context.Context, a *app.App, file string) (*report.Imported, error) {
	from, closeReport, err := app.OpenInput(a, file, "the report")
	if err != nil {
		return nil, fmt.Errorf("%w; a report is what \"airgap import --report FILE\" wrote", err)
	}
	defer closeReport()
	imported, err := app.Wait(ctx, func() (*report.Imported, error) { return report.Read(from) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return imported, nil
}

func (f *rollbackFlags) show(a *app.App, r *rollback.Report, failed bool) error {
	if f.json {
		return a.PrintJSON(r)
	}
	count := map[rollback.Status]int{}
	for _, row := range r.Tags {
		count[row.Status]++
	}
	show := a.Print
	if failed { // the error names what failed; this is about the others
		show = a.Say
	}
	listRollback(show, r.Tags)
	if len(r.Tags) == 0 {
		a.Say("the import into %s moved no tags: there is nothing to be put back", r.Target)
		return nil
	}
	if r.DryRun {
		a.Say("would put back %s, and remove %d that the import made", terminal.Count(count[rollback.Restore], "tag"), count[rollback.Remove])
		return nil
	}
	done := []rollback.Status{rollback.Restored, rollback.Removed, rollback.Unchanged, rollback.Changed}
	left := len(r.Tags)
	for _, status := range done {
		left -= count[status]
	}
	a.Say("%s put back, %d removed that the import made, %d as before it already, %d changed by others since and left alone, %d not put back",
		terminal.Count(count[rollback.Restored], "tag"), count[rollback.Removed], count[rollback.Unchanged],
		count[rollback.Changed], left)
	return nil
}

// listRollback prints a line for each tag.
func listRollback(show func(format string, args ...any), rows []rollback.Row) {
	for _, row := range rows {
		line := fmt.Sprintf("%s:%s  %s", row.Repository, row.Tag, describeRollback(row))
		if row.Status != rollback.Failed && row.Reason != "" {
			line += " (" + row.Reason + ")"
		}
		show("%s", line)
	}
}

func describeRollback(row rollback.Row) string {
	switch row.Status {
	case rollback.Restore:
		return fmt.Sprintf("back to %s from %s", row.Old, row.New)
	case rollback.Remove:
		return fmt.Sprintf("to be removed, as the import made it, from %s", row.New)
	case rollback.Restored:
		return fmt.Sprintf("%s  was %s", row.Old, row.New)
	case rollback.Removed:
		return fmt.Sprintf("removed  was %s", row.New)
	case rollback.Unchanged:
		return "as before the import already"
	case rollback.Changed:
		if row.Found.IsZero() {
			return "left alone: somebody else has removed it since"
		}
		return fmt.Sprintf("left alone: somebody else has moved it since, to %s", row.Found)
	case rollback.Gone:
		return fmt.Sprintf("stays at %s: the registry does not have %s any more", row.New, row.Old)
	case rollback.Failed:
		return "not put back: " + row.Reason
	}
	return "not looked at"
}
