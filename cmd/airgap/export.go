package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/cmd/airgap/verdict"
	"airgap/export"
	"airgap/export/registry"
	"airgap/verify/judge"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// exportFlags are the flags of export.
type exportFlags struct {
	option.Selection

	output string
	want   string
	dryRun bool
	replan bool
	root   string // file

	signing option.Signing
	keyless option.Keyless
	volumes option.Volumes
}

func newExport(a *app.App) *cobra.Command {
	var flags exportFlags
	cmd := &cobra.Command{
		Use:   "export [REF[=PATH[:TAG]]...] [-c FILE] --key FILE -o FILE",
		Short: "Write images and everything that refers to them into one signed file",
		Long: `Fetch images, with all platforms, SBOMs, attestations and signatures at any depth, and write them into one
signed file for "airgap import" on the other side. What refers to an image is looked for in the image's own
repository, and in attestation repositories; a listing that fails is an error and never "no attestations".

REF is a tag, a digest, or both. The image's destination is its repository without the registry; REF=PATH[:TAG]
gives it another one. Standard output gets the digest of the manifest index, which stands for the whole file.

Bundles of a mirror (--mirror, or mirror: in the configuration file) are numbered and remembered in a ledger, and leave
out the layers and configs that the one before lists. --since builds on others instead: a bundle, dhi@11, a line that
somebody read aloud, or a receipt. What was lost in a row as --tolerate says does no harm.

With --policy, or policy: in the configuration file, an image whose proofs are not as the policy asks fails the export
before anything but proofs has been fetched (exit code 15), so that it is heard of before the disk leaves the building.

` + option.RegistryHelp,
		Example: `  # A hardened image, with the attestations that Docker keeps in a registry of its own
  airgap export docker.io/acme/dhi-python:3.13 --key airgap.key -o python.tar

  # What a regsync.yaml says; first look at what that would be
  airgap plan -c regsync.yaml
  airgap export -c regsync.yaml --key airgap.key -o monday.tar

  # Many images, one per line of a file
  airgap export -f images.txt --key airgap.key -o monday.tar

  # Attestations kept somewhere else, and another name at the destination
  airgap export registry.example.com/app:1=mirror/app:1 --referrers-from registry.example.com=proofs.example.com \
    --key airgap.key -o app.tar

  # Every Monday, only what is new
  airgap export -c regsync.yaml --mirror dhi --key airgap.key -o monday.tar

  # Only images with the proofs that the other side will ask for
  airgap export -c regsync.yaml --policy trust.yaml --key airgap.key -o monday.tar

  # What the other side lacks of a bundle of the mirror, by the list that "airgap import --want" wrote there
  airgap export --want want.json --key airgap.key -o supplement.tar

  # Through a data diode
  airgap export docker.io/acme/app:1 --key airgap.key -o - | send-through-diode`,
		RunE: func(cmd *cobra.Command, args []string) error { return runExport(cmd.Context(), a, &flags, args) },
	}
	f := cmd.Flags()
	flags.signing.Add(f, "key", "the bundle")
	flags.keyless.Add(f)
	f.StringVarP(&flags.output, "output", "o", "", "`FILE` to write, or - for standard output")
	f.StringVar(&flags.want, "want", "", "`FILE` that import --want wrote: make a supplement, with what it lists of a bundle of the ledger")
	f.BoolVar(&flags.dryRun, "dry-run", false, "write nothing, but show what would be carried, as \"airgap plan\" does")
	f.StringVar(&flags.root, "trusted-root", "", "`FILE` (trusted_root.json of Sigstore) that travels with the bundle, for the convenience of the other side")
	flags.volumes.Add(f)
	f.BoolVar(&flags.replan, "replan", false, "where an export was interrupted, find out again what there is, instead of finishing what was found then; blobs that are there already are used")
	flags.Add(f)
	return cmd
}

func runExport(ctx context.Context, a *app.App, flags *exportFlags, args []string) (err error) {
	if flags.want != "" {
		return runSupplement(ctx, a, flags, args)
	}
	if flags.dryRun {
		return runPlan(ctx, a, &flags.Selection, &flags.signing, args)
	}
	if err := flags.check(a); err != nil {
		return err
	}
	if err := flags.volumes.Parse(); err != nil {
		return err
	}
	asked, err := flags.Read(ctx, a, args)
	if err != nil {
		return err
	}
	if flags.output == "-" {
		asked.Options.Jobs = asked.InOrder
	}
	defer func() { err = errors.Join(err, asked.Close()) }()
	signer, err := flags.signer(ctx, a, asked)
	if err != nil {
		return err
	}
	began := a.Now()
	asked.Options.Replan = flags.replan
	if asked.Options.TrustedRoot, err = option.ReadTrustedRoot(flags.root); err != nil {
		return err
	}
	var result *export.Result
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		asked.Options.Observer = o
		result, err = export.Run(ctx, asked.Source, asked.Choice, signer, flags.destination(a), asked.Options)
		return err
	})
	asked.Prune(a)
	if err != nil {
		return withKeepGoing(err)
	}
	if err := showExport(a, flags, result, a.Now().Sub(began)); err != nil {
		return err
	}
	return missingImages(result)
}

// signer returns who signs. A mirror's ledger is then believed as far as they have signed it.
func (f *exportFlags) signer(ctx context.Context, a *app.App, asked *option.Asked) (export.Signer, error) {
	if f.keyless.IsGiven() {
		if asked.Options.Mirror != nil && !asked.TrustsIdentities() {
			return export.Signer{}, app.Usagef("--keyless with a mirror wants --policy: of what is in the ledger, bundles by the identities that it names count")
		}
		return f.keyless.Load(ctx, a)
	}
	key, err := f.signing.Load(ctx, a)
	if err != nil {
		return export.Signer{}, err
	}
	asked.Trust(key.Public())
	warnOfSigner(a, asked.Options.Policy, key.Public())
	return export.SignedBy(key), nil
}

// warnOfSigner says so where whoever has the same policy on the other side would refuse the bundle for who signed it.
func warnOfSigner(a *app.App, p *policy.Policy, key signature.PublicKey) {
	if p == nil || len(p.Bundle.Party.Keys)+len(p.Bundle.Party.Identities) == 0 {
		return
	}
	isNamed := slices.ContainsFunc(p.Bundle.Party.Keys, func(k party.Key) bool { return k.Digest() == key.Digest() })
	if !isNamed || p.Bundle.Party.Revoked[key.Digest()] {
		a.Warn("the policy does not count %s among those who sign bundles: whoever has this policy will refuse the bundle", key.Fingerprint())
	}
}

// runSupplement answers a list of what a receiver lacks.
func runSupplement(ctx context.Context, a *app.App, flags *exportFlags, args []string) error {
	if err := flags.check(a); err != nil {
		return err
	}
	if err := flags.volumes.Parse(); err != nil {
		return err
	}
	if flags.keyless.IsGiven() {
		return app.Usagef("--keyless signs no supplement: whoever made the bundle that it completes has its key")
	}
	if flags.dryRun || !flags.ChoosesNothing(args) {
		return app.Usagef("--want alone says what is exported: it cannot go with references, files that name some, flags about a mirror, --policy (the bundle that it completes was judged), or --dry-run")
	}
	key, err := flags.signing.Load(ctx, a)
	if err != nil {
		return err
	}
	asked, err := flags.ReadWant(ctx, a, flags.want, key.Public())
	if err != nil {
		return err
	}
	if flags.output == "-" {
		asked.Options.Jobs = asked.InOrder
	}
	asked.Options.Replan = flags.replan
	if asked.Options.TrustedRoot, err = option.ReadTrustedRoot(flags.root); err != nil {
		return err
	}
	began := a.Now()
	var result *export.Result
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		asked.Options.Observer = o
		result, err = asked.Supplement.Run(ctx, asked.Client, export.SignedBy(key), flags.destination(a), asked.Options)
		return err
	})
	if err != nil {
		return err
	}
	return showExport(a, flags, result, a.Now().Sub(began))
}

func (f *exportFlags) check(a *app.App) error {
	if err := f.checkSigning(); err != nil {
		return err
	}
	switch {
	case f.output == "":
		return app.Usagef("--output is missing: -o FILE, or -o - for standard output")
	case f.output != "-" && !option.IsDirectory(filepath.Dir(f.output)):
		return app.Usagef("--output: there is no directory %s", filepath.Dir(f.output))
	case f.output == "-" && a.ResultIsShown():
		return app.Usagef("a bundle is not for a terminal: redirect standard output, or use -o FILE")
	case f.output == "-" && f.volumes.Size != "":
		return app.Usagef("volumes are files: use -o FILE, or cut the stream on the other side of the pipe")
	}
	return nil
}

func (f *exportFlags) checkSigning() error {
	if f.keyless.IsGiven() {
		return f.keyless.Check(&f.signing)
	}
	return f.signing.Check("a bundle is always signed; make a key pair with \"airgap keygen\", once")
}

func (f *exportFlags) destination(a *app.App) export.Output {
	if f.output == "-" {
		return export.ToStream(a.Stdout)
	}
	return export.ToFile(f.output).InVolumes(f.volumes.Bytes, f.volumes.Count)
}

func showExport(a *app.App, flags *exportFlags, r *export.Result, took time.Duration) error {
	for _, image := range r.Images {
		a.Say("%s  %s", image.Source, image.Digest)
		for _, repository := range slices.Sorted(maps.Keys(image.FoundIn)) {
			a.Say("  %s from %s", terminal.Count(image.FoundIn[repository], "referrer"), repository)
		}
	}
	verdict.Show(a.Say, r.Judgement)
	showFound(a.Say, r)
	showLeftOut(a, r)
	if n := len(r.LeftOut); n > 0 {
		var size int64
		for _, layer := range r.LeftOut {
			size += layer.Size
		}
		a.Warn("left out: %s (%s); --include-nondistributable carries them", terminal.Count(n, "nondistributable layer"), terminal.Bytes(size))
	}
	name := flags.output
	if name == "-" {
		name = "standard output"
	}
	if r.Completes != nil {
		a.Say("a supplement of %s: to be imported before or after it", r.Completes)
	}
	if r.Counts.Based > 0 {
		a.Say("stands on %s: %s (%s) left out", standsOn(r.Bases), terminal.Count(r.Counts.Based, "blob"), terminal.Bytes(r.Counts.BasedBytes))
	}
	a.Say("%s: %s, %s, %s in %s", name, terminal.Count(r.Counts.Roots, "image"), terminal.Count(r.Counts.Stored, "blob"), terminal.Bytes(r.Size), terminal.Duration(took))
	switch {
	case flags.output == "-":
		fmt.Fprintln(a.Screen, r.ManifestIndex)
	case flags.JSON:
		return a.PrintJSON(r)
	default:
		a.Print("%s", r.ManifestIndex)
	}
	return nil
}

// maxBasesShown bounds how many bases are named for a person.
const maxBasesShown = 3

// standsOn names the bundles that store what was left out, the newest first.
func standsOn(bases []bundle.Base) string {
	var names []string
	for _, b := range slices.Backward(bases) {
		names = append(names, b.Name())
	}
	text := strings.Join(names[:min(len(names), maxBasesShown)], ", ")
	if more := len(names) - maxBasesShown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// withKeepGoing says what can be done about images that cannot be had.
func withKeepGoing(err error) error {
	if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrRepositoryUnknown) || errors.Is(err, export.ErrNoReferrers) || errors.Is(err, judge.ErrPolicy) {
		return errors.Join(err, errors.New("nothing was written; --keep-going exports the other images and records these as missing"))
	}
	return err
}
