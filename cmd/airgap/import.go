package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	importer "airgap/import"
	"airgap/import/finding"
	"airgap/import/parallel"
	"airgap/import/placing"
	"airgap/import/readback"
	"airgap/import/report"
	"airgap/verify/party"
)

// importFlags are the flags of import.
type importFlags struct {
	option.Registry
	option.Source
	option.Beside
	projectFlags
	recordingFlags

	mappings      []string
	only          []string
	flatten       bool
	overwriteTags bool
	noOverwrite   bool
	skipFailing   bool
	allowPublic   bool
	thorough      bool
	dryRun        bool
	jobs          int
	adapts        bool // jobs are not given
	report        string
	want          string
	json          bool
}

func newImport(a *app.App) *cobra.Command {
	var flags importFlags
	cmd := &cobra.Command{
		Use:   "import FILE|-|VOLUMES... REGISTRY[/PREFIX] --key FILE",
		Short: "Check a bundle, and push what it holds into a registry",
		Long: `Check a bundle and push everything in it into a registry. Nothing is written before the signature has been
verified, and no tag moves before every blob and manifest is at the target. Then every tag and every list of
referrers is read back and compared. An import that failed can be run again, and continues; one that is
complete changes nothing when run again.

Before the first byte is written, everything is looked for that would make the import fail, and listed with what to
do about it (exit code 11). For Harbor that is: the login, read-only mode, projects that are missing, the right to
push, public projects for private images, quotas, immutable tags and what Harbor does not take. What the account may
not see is reported as not checked. --dry-run shows the same list, and writes nothing.

Images go to the destination that the bundle records for them, below PREFIX. --map gives images, by their source,
another path; PREFIX is not applied to those. For registries that allow no deeper paths, --flatten makes one
element of what comes below PREFIX: each / becomes --, and two or more dashes in a row become one more, so that
no two paths become the same and each can be read back.

With --policy, an image that lacks a signature or an attestation that it must have is refused with the whole
bundle (exit code 15) or, with --skip-failing, left out: nothing that only it needs is pushed, and no tag of it moves.

With --report, what the import did to tags can be undone with "airgap rollback".

Of bundles of mirrors, the target keeps a record: in the repository airgap below PREFIX, or with no prefix in the one
project that all images go to; elsewhere with --record. A bundle that is older than the newest one that the record
has, or another one under its number, is refused before anything is written, and so is one that lay longer than
--max-age or is not of --mirror (exit code 13). Records count as far as they are signed by a trusted key.

What a bundle leaves out, since an earlier one stores it, is looked for at the target before anything is written: in
the repositories that need it, and in those to which earlier bundles went. What is nowhere is named by the bundle
that stores it (exit code 14), and --want writes a list for "airgap export --want".

` + option.VolumesHelp + `

` + option.RegistryHelp,
		Example: `  airgap import python.tar harbor.example.com/mirror --key airgap.pub

  # See what would be pushed, and which tags would move
  airgap import python.tar harbor.example.com/mirror --key airgap.pub --dry-run

  # Into Harbor, and create the projects that it does not have yet, private, of at most 500 GB each
  airgap import python.tar harbor.example.com/mirror --key airgap.pub --create-projects --project-quota 500GB

  # Some of the images, under other names
  airgap import monday.tar harbor.example.com --key airgap.pub \
    --only 'docker.io/acme/*' --map 'docker.io/acme/*=hardened/*'

  # In volumes, read where they lie, or one after the other in the same drive
  airgap import /media/disk1 /media/disk2 harbor.example.com/mirror --key airgap.pub
  airgap import /media/dvd harbor.example.com/mirror --key airgap.pub --one-at-a-time

  # Every Monday: only of this mirror, not older than a month, and without what it no longer lists
  airgap import dhi.tar harbor.example.com/mirror --key airgap.pub --mirror dhi --max-age 30d --prune

  # From a data diode, in one pass
  receive-from-diode | airgap import - harbor.example.com/mirror --key airgap.pub --report report.json`,
		Args: app.AtLeast("FILE", "REGISTRY[/PREFIX]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.adapts = !cmd.Flags().Changed("jobs")
			last := len(args) - 1
			return runImport(cmd.Context(), a, &flags, args[:last], args[last])
		},
	}
	flags.add(cmd.Flags())
	return cmd
}

// add defines the flags.
func (f *importFlags) add(set *pflag.FlagSet) {
	f.AddTrust(set)
	f.Beside.Add(set)
	set.BoolVar(&f.skipFailing, "skip-failing", false, "leave images out that fail the policy, and import the others")
	set.BoolVar(&f.dryRun, "dry-run", false, "ask the target what it has and show what would be done, but write nothing")
	set.StringVar(&f.report, "report", "", "`FILE` for a report in JSON: a row for each image, referrer and tag; \"airgap rollback\" reads it")
	set.StringVar(&f.want, "want", "", "`FILE` for a list of what the bundle leaves out and the target lacks, which \"airgap export --want\" answers")
	set.StringArrayVar(&f.mappings, "map", nil, "`PATTERN=PATH[:TAG]`: other destinations for images whose source matches; * stands for anything")
	set.StringArrayVar(&f.only, "only", nil, "`PATTERN`: take only images whose source or destination matches")
	set.BoolVar(&f.flatten, "flatten", false, "make one path element of each path below PREFIX: acme/app becomes acme--app")
	f.projectFlags.add(set)
	f.recordingFlags.add(set)
	set.BoolVar(&f.allowPublic, "allow-public", false, "bring images that are private where they come from into public projects, too")
	set.BoolVar(&f.noOverwrite, "no-overwrite", false, "refuse to move tags that exist with other content")
	set.BoolVar(&f.overwriteTags, "overwrite-cosign-tags", false, "replace .sig, .att and .sbom tags that exist with other content")
	set.BoolVar(&f.thorough, "thorough", false, "ask the target for every manifest and blob, also for what it must have by what else it has")
	f.AddVolumes(set)
	set.IntVarP(&f.jobs, "jobs", "j", parallel.DefaultJobs, "`N` requests under way at once (by default, outside of Harbor, as many as the registry turns out to take); into one project of Harbor, no more than "+strconv.Itoa(parallel.DefaultJobs)+" that write")
	set.BoolVar(&f.json, "json", false, "print the report as JSON on standard output")
	f.Registry.Add(set)
}

func (f *importFlags) options(destination string) (importer.Options, error) {
	o := importer.Options{
		Rules:  placing.Rules{Only: f.only, Flatten: f.flatten},
		DryRun: f.dryRun, OverwriteCosignTags: f.overwriteTags, NoOverwrite: f.noOverwrite, AllowPublic: f.allowPublic, Thorough: f.thorough, Jobs: f.jobs,
	}
	if f.jobs < 1 {
		return o, app.Usagef("--jobs must be at least 1")
	}
	err := f.projectFlags.apply(&o)
	if err != nil {
		return o, err
	}
	if o.Destination, err = placing.ParseDestination(destination); err != nil {
		return o, app.Usagef("%w", err)
	}
	if err := f.recordingFlags.apply(&o); err != nil {
		return o, err
	}
	for _, text := range f.mappings {
		mapping, err := placing.ParseMapping(text)
		if err != nil {
			return o, app.Usagef("%w", err)
		}
		o.Map = append(o.Map, mapping)
	}
	return o, nil
}

func runImport(ctx context.Context, a *app.App, flags *importFlags, files []string, destination string) (err error) {
	if err := noFile(destination); err != nil {
		return err
	}
	options, err := flags.options(destination)
	if err != nil {
		return err
	}
	if err := flags.checkOutputs(slices.Concat(files, flags.Keys)); err != nil {
		return err
	}
	options.Now = a.Now
	if flags.adapts {
		options.Jobs, options.Pace = 0, importer.NewPace(nil)
	}
	client, err := flags.Target(ctx, a, options.Destination.Registry.RegistryStr(), options.Pace)
	if err != nil {
		return err
	}
	if options.Recording.Trust, err = flags.Trust(a); err != nil {
		return err
	}
	options.Recording.Trust.Destination, options.Recording.Trust.SkipFailing = options.Destination.String(), flags.skipFailing
	if err := flags.Read(&options.Recording.Trust, files); err != nil {
		return err
	}
	from, err := flags.Open(ctx, a, files, nil, options.Recording.Trust)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if err := flags.recordingFlags.check(&from.Checked.Contents().Header); err != nil {
		return err
	}
	options.Recording.Account = account(ctx, client, options)
	option.CompareTrustedRoot(a, from.Checked.Contents(), options.Recording.Trust.Policy)
	for _, f := range from.Checked.Approved().Counting() {
		a.Say("approved: %s", f)
	}
	a.Say("signed by %s", strings.Join(party.Names(from.Checked.Signers()), ", "))
	if options.Harbor, err = findHarbor(ctx, client, options); err != nil {
		return err
	}
	var done *report.Report
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		options.Observer = o
		done, err = importer.Run(ctx, from.Checked, client, options)
		return err
	})
	from.WarnOfDamage(a)
	err = from.WhatNext(err)
	if done != nil {
		// The report is most wanted when something went wrong.
		err = errors.Join(err, flags.showImport(a, done, err))
	}
	if err != nil {
		return err
	}
	return flags.follow(ctx, a, client, options, options.Recording.Trust, done, flags.json)
}

// noFile finds imports without a destination, where the last of the volumes stands in its place.
func noFile(destination string) error {
	host, _, _ := strings.Cut(destination, "/")
	mayBeRegistry := option.LooksLikeHost(host) && !strings.HasPrefix(host, ".")
	if info, err := os.Stat(destination); err == nil && !(info.IsDir() && mayBeRegistry) {
		return app.Usagef("%s is a file or a directory on this machine, and the last argument is the registry, as in harbor.example.com/mirror", destination)
	}
	return nil
}

// checkOutputs checks the files that are written beside the import, before the work. A list that an earlier run has left is removed,
// so that none is taken for this run's.
func (f *importFlags) checkOutputs(reads []string) error {
	for _, out := range []struct{ flag, file string }{{"--report", f.report}, {"--want", f.want}, {"--receipt", f.receipt}} {
		if out.file == "" {
			continue
		}
		if err := notRead(out.flag, out.file, reads); err != nil {
			return err
		}
		if err := checkWritable(out.file); err != nil {
			return app.Absent(fmt.Errorf("%s: %w", out.flag, err))
		}
	}
	return removeWant(f.want)
}

// removeWant removes a list of what is wanted, and nothing else.
func removeWant(file string) error {
	old, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) || file == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--want: %w", err)
	}
	_, err = ledger.ReadWant(old)
	err = errors.Join(err, old.Close())
	if errors.Is(err, ledger.ErrWant) {
		return app.Usagef("--want: %s is something else, and would be overwritten: %w", file, err)
	}
	return errors.Join(err, os.Remove(file))
}

// notRead finds files that would be written over what is read: the bundle, any of its volumes, or a key.
func notRead(flag, file string, reads []string) error {
	written, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	for _, read := range reads {
		if info, err := os.Stat(read); err == nil && os.SameFile(info, written) {
			return app.Usagef("%s: %s is %s, and would be overwritten", flag, file, read)
		}
	}
	if volume.IsPart(filepath.Base(file)) {
		return app.Usagef("%s: %s is a volume of a bundle, and would be overwritten", flag, file)
	}
	return nil
}

// checkWritable tells before the work, and not after hours, that a file cannot be written. It leaves nothing behind.
func checkWritable(file string) error {
	_, missing := os.Stat(file)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = f.Close()
	if missing != nil {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

func (f *importFlags) showImport(a *app.App, r *report.Report, failure error) error {
	if f.report != "" {
		content, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(f.report, append(content, '\n'), 0o600); err != nil {
			return err
		}
	}
	if err := f.writeWant(a, r, failure); err != nil {
		return err
	}
	showFindings(a, r)
	if f.json {
		return a.PrintJSON(r)
	}
	blocked := r.DryRun && errors.Is(failure, finding.ErrBlocked) && r.Planned != (report.Work{})
	if blocked {
		a.Say("if nothing were in the way, and as far as the target shows what it has:")
		showTags(a.Say, r)
		showWork(a, r)
	}
	if failure == nil || errors.Is(failure, readback.ErrUnchecked) {
		showTags(a.Print, r)
		showCharts(a, r)
		showWork(a, r)
	}
	return nil
}

// writeWant writes what is wanted, or says that nothing is, once that is known.
func (f *importFlags) writeWant(a *app.App, r *report.Report, failure error) (err error) {
	switch {
	case f.want == "":
		return nil
	case r.Want == nil && failure == nil:
		a.Say("nothing is wanted: the target has all that the bundle leaves out, and %s was not written", f.want)
		return nil
	case r.Want == nil:
		return nil
	}
	file, err := os.Create(f.want)
	if err != nil {
		return err
	}
	err = errors.Join(r.Want.Write(file), file.Close())
	if err != nil {
		return errors.Join(err, os.Remove(f.want))
	}
	a.Say("%s lists %s that the target lacks: airgap export --want answers it with a supplement", f.want, terminal.Count(len(r.Want.Blobs), "blob"))
	return nil
}

// showTags prints a line for each tag that moved, or would, and counts the others.
func showTags(show func(format string, args ...any), r *report.Report) {
	for _, tag := range r.Tags {
		switch {
		case tag.Cosign:
		case tag.Old == tag.New:
			show("%s:%s  %s  unchanged", tag.Repository, tag.Tag, tag.New)
		case tag.OldUnknown:
			show("%s:%s  %s  was hidden by a pull policy", tag.Repository, tag.Tag, tag.New)
		case tag.Old.IsZero():
			show("%s:%s  %s  new", tag.Repository, tag.Tag, tag.New)
		default:
			show("%s:%s  %s  was %s", tag.Repository, tag.Tag, tag.New, tag.Old)
		}
	}
}

// showCharts prints for each chart where the images are now that it uses: what its values have to say on this side.
func showCharts(a *app.App, r *report.Report) {
	images := map[string][]report.ImageRow{}
	for _, image := range r.Images {
		for _, chart := range image.UsedBy {
			images[chart] = append(images[chart], image)
		}
	}
	for _, chart := range slices.Sorted(maps.Keys(images)) {
		a.Print("chart %s uses", chart)
		for _, image := range images[chart] {
			a.Print("  %s -> %s", image.Source, image.Destination)
		}
	}
}

// bundleText says which bundle it is, and where it is recorded.
func bundleText(r *report.Report) string {
	text := fmt.Sprintf("bundle %s@%d, %s", r.Mirror, r.Sequence, r.Identity)
	if r.Sequence == 0 {
		text = fmt.Sprintf("supplement of %s, %s", r.Mirror, r.Identity)
	}
	switch {
	case r.Record == "":
		text += ", not recorded"
	case !r.DryRun:
		text += ", recorded in " + r.Record
	}
	return text
}

func showWork(a *app.App, r *report.Report) {
	work, verb, pushed, mounted, moved := r.Done, "imported", "pushed", "mounted", "moved"
	if r.Mirror != "" {
		a.Say("%s", bundleText(r))
	}
	if r.DryRun {
		work, verb, pushed, mounted, moved = r.Planned, "would import", "to push", "to mount", "to move"
	}
	a.Say("%s %s and %s into %s in %s", verb, terminal.Count(len(r.Images), "image"), terminal.Count(len(r.Referrers), "referrer"), r.Target,
		terminal.Duration(time.Duration(r.Seconds*float64(time.Second))))
	a.Say("blobs: %d %s (%s), %d %s (%s), %d there already, vouched for by the target (%s)",
		work.BlobsPushed, pushed, terminal.Bytes(work.BytesPushed), work.BlobsMounted, mounted, terminal.Bytes(work.BytesMounted),
		work.BlobsPresent, terminal.Bytes(work.BytesPresent))
	a.Say("manifests: %d %s, %d there already; tags: %d %s, %d unchanged", work.ManifestsPushed, pushed, work.ManifestsPresent, work.TagsMoved, moved, work.TagsUnchanged)
	for _, note := range r.Notes {
		a.Say("%s", note)
	}
	for _, missing := range r.Missing {
		a.Warn("not in the bundle, since it could not be had at export: %s: %s", missing.Source, missing.Reason)
	}
	for _, failing := range r.Failing {
		a.Warn("left out, since it fails the policy: %s: %s", failing.Source, strings.Join(failing.Reasons, "; "))
	}
	if n := len(r.Nondistributable); n > 0 {
		a.Warn("%d nondistributable layers are not in the bundle: whoever runs these images needs them from elsewhere", n)
	}
	if !r.DryRun && !r.Changed {
		a.Say("nothing changed: everything was there already")
	}
}
