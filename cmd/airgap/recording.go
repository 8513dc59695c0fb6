package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/export/registry"
	"airgap/export/registry/repository"
	importer "airgap/import"
	"airgap/import/prune"
	"airgap/import/record"
	"airgap/import/report"
	"airgap/import/target"
	"airgap/verify"
)

// recordingFlags are the flags of import about which bundles it takes, what it keeps of them in the record, and what follows from that.
type recordingFlags struct {
	where      string
	none       bool
	mirror     string
	maxAge     string
	allowOlder bool
	receipt    string
	prune      bool
	keep       int
}

func (f *recordingFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.where, "record", "", "`REPO` at the registry that keeps the record of what is imported; by default airgap below PREFIX, for bundles of mirrors")
	flags.BoolVar(&f.none, "no-record", false, "keep no record: older bundles are not noticed then")
	flags.StringVar(&f.mirror, "mirror", "", "`NAME` of the only mirror whose bundles are taken")
	flags.StringVar(&f.maxAge, "max-age", "", "`DURATION`, as in 30d or 12h: refuse bundles that were made longer ago")
	flags.BoolVar(&f.allowOlder, "allow-older", false, "import the bundle though the record has a newer one, or another one under its number")
	flags.StringVar(&f.receipt, "receipt", "", "`FILE` for a receipt of what the target has at the end, as \"airgap receipt\" writes it")
	flags.BoolVar(&f.prune, "prune", false, "at the end, remove what the mirror brought and no longer lists, as \"airgap prune --delete\" does")
	flags.IntVar(&f.keep, "keep", prune.DefaultKeep, "with --prune, `N` newest bundles that keep their images")
}

// apply reads the flags into o, whose destination is known.
func (f *recordingFlags) apply(o *importer.Options) (err error) {
	r := &o.Recording
	r.None, r.Mirror, r.AllowOlder, r.Version = f.none, f.mirror, f.allowOlder, app.ThisBuild().Version
	switch {
	case f.none && (f.where != "" || f.receipt != "" || f.prune || f.allowOlder):
		return app.Usagef("--record, --receipt, --prune and --allow-older are about the record, which --no-record leaves out")
	case f.prune && o.DryRun:
		return app.Usagef("--prune does not go with --dry-run: \"airgap prune\" shows what it would remove")
	case f.receipt != "" && o.DryRun:
		return app.Usagef("--receipt does not go with --dry-run: \"airgap receipt\" says what the target has")
	case f.keep < 1:
		return app.Usagef("--keep must be at least 1")
	}
	if f.mirror != "" {
		if err := bundle.CheckMirror(f.mirror); err != nil {
			return app.Usagef("--mirror: %w", err)
		}
	}
	if r.MaxAge, err = parseAge(f.maxAge); err != nil {
		return err
	}
	if f.where != "" {
		r.In, err = record.Named(o.Destination, f.where)
	}
	return err
}

// parseAge reads a number of days, as in 30d, or a duration of Go; "" is 0.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	const day = 24 * time.Hour
	age, err := time.ParseDuration(s)
	if text, isDays := strings.CutSuffix(s, "d"); isDays {
		var days uint64
		days, err = strconv.ParseUint(text, 10, 16)
		age = time.Duration(days) * day
	}
	if err != nil || age <= 0 {
		return 0, app.Usagef("--max-age: %q is no duration: expected is one as in 30d or 12h", s)
	}
	return age, nil
}

// check finds what the bundle has no use for.
func (f *recordingFlags) check(header *bundle.Header) error {
	if (f.prune || f.receipt != "") && header.Mirror == "" {
		return app.Usagef("--prune and --receipt are for bundles of mirrors, and this one is of none")
	}
	return nil
}

// account returns the user name at a registry; "" where none is used or known.
func account(ctx context.Context, client *registry.Client, o importer.Options) string {
	credentials, err := client.Credentials(ctx, o.Destination.Registry)
	if err != nil || credentials == nil {
		return "" // what is wrong will be said when they are used
	}
	return credentials.Username
}

// follow does what is to be done when everything has been imported. asJSON: standard output has a report, and nothing else.
func (f *recordingFlags) follow(ctx context.Context, a *app.App, client *registry.Client, o importer.Options, trust verify.Trust, done *report.Report, asJSON bool) error {
	if !f.prune && f.receipt == "" {
		return nil
	}
	where, err := record.Named(o.Destination, done.Record)
	if err != nil {
		return err
	}
	var pruned *prune.Report
	err = a.WithProgress(func(observer bundle.Observer) error {
		// Of all mirrors: nothing is pruned that one of them needs.
		history, err := record.Open(ctx, repository.New(client, where), trust, "")
		if err != nil {
			return err
		}
		if f.prune {
			pruned, err = prune.Run(ctx, history, client, prune.Options{
				Mirror: done.Mirror, Destination: o.Destination, Keep: f.keep, Delete: true, Harbor: o.Harbor, Jobs: o.Jobs, Observer: observer,
			})
			if err != nil {
				return err
			}
		}
		return f.writeReceipt(ctx, a, history, target.PastPolicies{Registry: client, Harbor: o.Harbor}, o, done.Mirror)
	})
	if pruned != nil {
		showPruned(a, pruned, err != nil || asJSON)
	}
	return err
}

func (f *recordingFlags) writeReceipt(ctx context.Context, a *app.App, h *record.History, t target.Resolver, o importer.Options, mirror string) error {
	if f.receipt == "" {
		return nil
	}
	receipt, err := record.Receipt(ctx, h, t, o.Destination, mirror, a.Now(), max(o.Jobs, 1))
	if err != nil {
		return err
	}
	if err := writeReceipt(f.receipt, receipt); err != nil {
		return err
	}
	if receipt.Complete != nil {
		a.Say("receipt: %s", receipt.Line)
	}
	return nil
}
