package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"airgap/bundle"
	"airgap/cmd/airgap/terminal"
	"airgap/export"
)

// exportFlags are the flags of export.
type exportFlags struct {
	selectionFlags

	key    string
	output string
	dryRun bool
	replan bool

	volumes volumeFlags
}

func newExport(a *app) *cobra.Command {
	var flags exportFlags
	cmd := &cobra.Command{
		Use:     "export [REF[=PATH[:TAG]]...] [-c FILE] --key FILE -o FILE",
		Short:   "Write images and everything that refers to them into one signed file",
		GroupID: groupCarry,
		Long: `Fetch images, with all platforms, SBOMs, attestations and signatures at any depth, and write them into one
signed file for "airgap import" on the other side. What refers to an image is looked for in the image's own
repository, and in attestation repositories; a listing that fails is an error and never "no attestations".

REF is a tag, a digest, or both. The image's destination is its repository without the registry; REF=PATH[:TAG]
gives it another one. Standard output gets the digest of the manifest index, which stands for the whole file.

` + registryHelp,
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

  # Through a data diode
  airgap export docker.io/acme/app:1 --key airgap.key -o - | send-through-diode`,
		RunE: func(cmd *cobra.Command, args []string) error { return runExport(cmd.Context(), a, &flags, args) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.key, "key", "", "`FILE` with the private key that signs (make one with \"airgap keygen\")")
	f.StringVarP(&flags.output, "output", "o", "", "`FILE` to write, or - for standard output")
	f.BoolVar(&flags.dryRun, "dry-run", false, "write nothing, but show what would be carried, as \"airgap plan\" does")
	flags.volumes.add(f)
	f.BoolVar(&flags.replan, "replan", false, "where an export was interrupted, find out again what there is, instead of finishing what was found then; blobs that are there already are used")
	flags.add(f)
	return cmd
}

func runExport(ctx context.Context, a *app, flags *exportFlags, args []string) error {
	if flags.dryRun {
		return runPlan(ctx, a, &flags.selectionFlags, args)
	}
	if err := flags.check(a); err != nil {
		return err
	}
	if err := flags.volumes.parse(); err != nil {
		return err
	}
	asked, err := flags.read(ctx, a, args)
	if err != nil {
		return err
	}
	if flags.output == "-" {
		asked.options.Jobs = asked.inOrder
	}
	key, err := loadPrivateKey(ctx, a, flags.key)
	if err != nil {
		return err
	}
	began := a.now()
	asked.options.Replan = flags.replan
	var result *export.Result
	err = a.withProgress(func(o bundle.Observer) (err error) {
		asked.options.Observer = o
		result, err = export.Run(ctx, asked.source, asked.choice, export.SignedBy(key), flags.destination(a), asked.options)
		return err
	})
	asked.prune(a)
	if err != nil {
		return withKeepGoing(err)
	}
	if err := showExport(a, flags, result, a.now().Sub(began)); err != nil {
		return err
	}
	return missingImages(result)
}

func (f *exportFlags) check(a *app) error {
	switch {
	case f.key == "":
		return usagef("--key is missing: a bundle is always signed; make a key pair with \"airgap keygen\", once")
	case f.output == "":
		return usagef("--output is missing: -o FILE, or -o - for standard output")
	case f.output != "-" && !isDirectory(filepath.Dir(f.output)):
		return usagef("--output: there is no directory %s", filepath.Dir(f.output))
	case f.output == "-" && isTerminal(a.stdout):
		return usagef("a bundle is not for a terminal: redirect standard output, or use -o FILE")
	case f.output == "-" && f.volumes.size != "":
		return usagef("volumes are files: use -o FILE, or cut the stream on the other side of the pipe")
	}
	return nil
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isTerminal(w io.Writer) bool {
	if checked, ok := w.(*checkedWriter); ok {
		w = checked.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (f *exportFlags) destination(a *app) export.Output {
	if f.output == "-" {
		return export.ToStream(a.stdout)
	}
	return export.ToFile(f.output).InVolumes(f.volumes.bytes, f.volumes.count)
}

func showExport(a *app, flags *exportFlags, r *export.Result, took time.Duration) error {
	for _, image := range r.Images {
		a.say("%s  %s", image.Source, image.Digest)
		for _, repository := range slices.Sorted(maps.Keys(image.FoundIn)) {
			a.say("  %s from %s", terminal.Count(image.FoundIn[repository], "referrer"), repository)
		}
	}
	showFound(a.say, r)
	showLeftOut(a, r)
	if n := len(r.LeftOut); n > 0 {
		var size int64
		for _, layer := range r.LeftOut {
			size += layer.Size
		}
		a.warn("left out: %s (%s); --include-nondistributable carries them", terminal.Count(n, "nondistributable layer"), terminal.Bytes(size))
	}
	name := flags.output
	if name == "-" {
		name = "standard output"
	}
	a.say("%s: %s, %s, %s in %s", name, terminal.Count(r.Counts.Roots, "image"), terminal.Count(r.Counts.Stored, "blob"), terminal.Bytes(r.Size), terminal.Duration(took))
	switch {
	case flags.output == "-":
		fmt.Fprintln(a.screen, r.ManifestIndex)
	case flags.json:
		return a.printJSON(r)
	default:
		a.print("%s", r.ManifestIndex)
	}
	return nil
}
