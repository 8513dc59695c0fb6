package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/import/parallel"
	"airgap/import/record"
)

// receiptFlags are the flags of receipt.
type receiptFlags struct {
	option.Record

	output string
	jobs   int
	json   bool
}

func newReceipt(a *app.App) *cobra.Command {
	var flags receiptFlags
	cmd := &cobra.Command{
		Use:   "receipt REGISTRY[/PREFIX] --key FILE [-o FILE]",
		Short: "Say what a target really has of a mirror",
		Long: `Say which bundle of a mirror is the newest of which everything is at the target, and how much is there of those
that are newer. Each image is looked for by its digest, where its import put it. The last line names the bundle,
with a word that does not fit if anything is misheard: "airgap export --since" takes that line, or the file.

` + option.RecordHelp + `

` + option.RegistryHelp,
		Example: `  airgap receipt harbor.example.com/mirror --key airgap.pub -o receipt.json

  # On the connected side, either of
  airgap export -c regsync.yaml --mirror dhi --since receipt.json --key airgap.key -o dhi.tar
  airgap export -c regsync.yaml --mirror dhi --since 'dhi@12 sha256:1f3a9c0b2d4e WORD' --key airgap.key -o dhi.tar`,
		Args: app.ExactArgs("REGISTRY[/PREFIX]"),
		RunE: func(cmd *cobra.Command, args []string) error { return runReceipt(cmd.Context(), a, &flags, args[0]) },
	}
	f := cmd.Flags()
	f.StringVarP(&flags.output, "output", "o", "", "`FILE` for the receipt")
	f.StringVar(&flags.Mirror, "mirror", "", "`NAME` of the mirror, where the record has several")
	f.IntVarP(&flags.jobs, "jobs", "j", parallel.DefaultJobs, "`N` requests under way at once")
	f.BoolVar(&flags.json, "json", false, "print the receipt as JSON")
	flags.Add(f)
	return cmd
}

func runReceipt(ctx context.Context, a *app.App, flags *receiptFlags, to string) error {
	if flags.jobs < 1 {
		return app.Usagef("--jobs must be at least 1")
	}
	at, err := flags.Open(ctx, a, to, flags.Mirror)
	if err != nil {
		return err
	}
	mirror, err := oneMirror(at, flags.Mirror)
	if err != nil {
		return err
	}
	var receipt *ledger.Receipt
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		o.Phase("look for images", 0)
		receipt, err = record.Receipt(ctx, at.History, at.Resolver(), at.Destination, mirror, a.Now(), flags.jobs)
		return err
	})
	at.WarnOfDoubts(a)
	if err != nil {
		return err
	}
	if flags.output != "" {
		if err := writeReceipt(flags.output, receipt); err != nil {
			return err
		}
	}
	if flags.json {
		return a.PrintJSON(receipt)
	}
	showReceipt(a, receipt, mirror)
	return nil
}

// oneMirror returns the mirror that is meant.
func oneMirror(at *option.OpenRecord, named string) (string, error) {
	mirrors := at.Mirrors()
	switch {
	case len(mirrors) == 0:
		return "", fmt.Errorf("the record %s has no bundle%s: %w", at, ofMirror(named), errNothingRecorded)
	case len(mirrors) > 1:
		return "", app.Usagef("the record %s has several mirrors: name one with --mirror: %s", at, strings.Join(mirrors, ", "))
	}
	return mirrors[0], nil
}

// errNothingRecorded is for a record that is not there, or has nothing of a mirror.
var errNothingRecorded = errors.New("nothing was imported, or its record is elsewhere (--record)")

func ofMirror(named string) string {
	if named == "" {
		return " of a mirror"
	}
	return " of the mirror " + named
}

// writeReceipt writes a receipt into a file.
func writeReceipt(file string, r *ledger.Receipt) error {
	var content bytes.Buffer
	if err := r.Write(&content); err != nil {
		return err
	}
	return os.WriteFile(file, content.Bytes(), 0o600)
}

// showReceipt prints it on at most a page, for whoever reads it aloud.
func showReceipt(a *app.App, r *ledger.Receipt, mirror string) {
	a.Print("%s has, of the mirror %s:", r.Target, mirror)
	for i := range r.Others {
		o := &r.Others[i]
		a.Print("  %s@%d of %s: %d of %s", o.Mirror, o.Sequence, day(o.Created), o.There, terminal.Count(o.Images, "image"))
	}
	if r.Complete == nil {
		a.Print("no bundle of which everything is there")
		return
	}
	a.Print("  %s@%d of %s: everything, %s", mirror, r.Complete.Sequence, day(r.Complete.Created), terminal.Count(r.Complete.Images, "image"))
	a.Print("%s", r.Line)
}

// day is the date in a time of a header.
func day(created string) string {
	date, _, _ := strings.Cut(created, "T")
	return date
}
