package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/signature"
	"airgap/cmd/airgap/terminal"
	"airgap/export"
)

// exportFlags are the flags of export.
type exportFlags struct {
	registryFlags
	key                     string
	output                  string
	files                   []string
	referrersFrom           []string
	noDefaultReferrers      bool
	allowNoReferrers        bool
	includeNondistributable bool
	jobs                    int
	json                    bool
}

func newExport(a *app) *cobra.Command {
	var flags exportFlags
	cmd := &cobra.Command{
		Use:     "export REF[=PATH[:TAG]]... --key FILE -o FILE",
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
	f.StringArrayVarP(&flags.files, "file", "f", nil, "`FILE` with one REF[=PATH[:TAG]] per line and # comments, or - for standard input")
	f.StringArrayVar(&flags.referrersFrom, "referrers-from", nil, "`SRC=ATT`: what refers to images at SRC or below is also looked for at ATT")
	f.BoolVar(&flags.noDefaultReferrers, "no-default-referrers", false, "do not look at registry.scout.docker.com for what refers to docker.io/ORG/dhi-*")
	f.BoolVar(&flags.allowNoReferrers, "allow-no-referrers", false, "go on where an attestation repository holds nothing for an image")
	f.BoolVar(&flags.includeNondistributable, "include-nondistributable", false, "carry layers that are marked as not to be distributed")
	f.IntVarP(&flags.jobs, "jobs", "j", export.DefaultJobs, "requests under way at once")
	f.BoolVar(&flags.json, "json", false, "print the summary as JSON on standard output")
	flags.add(f)
	return cmd
}

func runExport(ctx context.Context, a *app, flags *exportFlags, args []string) error {
	requests, err := flags.requests(a, args)
	if err != nil {
		return err
	}
	if err := flags.check(a); err != nil {
		return err
	}
	attestations, err := export.ParseAttestations(flags.referrersFrom, flags.noDefaultReferrers)
	if err != nil {
		return usageError{err}
	}
	hosts, err := hostsInPlay(requests, attestations)
	if err != nil {
		return err
	}
	created, err := creationTime(a)
	if err != nil {
		return err
	}
	key, err := loadPrivateKey(ctx, a, flags.key)
	if err != nil {
		return err
	}
	client, err := flags.client(ctx, a, hosts)
	if err != nil {
		return err
	}
	for i := range requests {
		requests[i].Settings.IncludeNondistributable = flags.includeNondistributable
	}
	sign := func(d bundle.Digest) ([]byte, error) { return signature.Sign(key, d) }
	options := export.Options{
		Walk:    export.WalkOptions{Attestations: attestations, AllowNoReferrers: flags.allowNoReferrers},
		Created: created,
		Jobs:    flags.jobs,
	}
	began := a.now()
	var result *export.Result
	err = a.withProgress(func(o bundle.Observer) (err error) {
		options.Observer = o
		result, err = export.Run(ctx, client, requests, sign, flags.destination(a), options)
		return err
	})
	if err != nil {
		return err
	}
	return showExport(a, flags, result, a.now().Sub(began))
}

func (f *exportFlags) check(a *app) error {
	switch {
	case f.key == "":
		return usagef("--key is missing: a bundle is always signed; make a key pair with \"airgap keygen\", once")
	case f.output == "":
		return usagef("--output is missing: -o FILE, or -o - for standard output")
	case f.output == "-" && isTerminal(a.stdout):
		return usagef("a bundle is not for a terminal: redirect standard output, or use -o FILE")
	case f.jobs < 1:
		return usagef("--jobs must be at least 1")
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	if checked, ok := w.(*checkedWriter); ok {
		w = checked.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

func (f *exportFlags) destination(a *app) export.Output {
	if f.output == "-" {
		return export.ToStream(a.stdout)
	}
	return export.ToFile(f.output)
}

// requests reads the arguments and the files that list more of them.
func (f *exportFlags) requests(a *app, args []string) ([]export.Request, error) {
	var requests []export.Request
	for _, arg := range args {
		request, err := export.ParseRequest(arg)
		if err != nil {
			return nil, usageError{err}
		}
		requests = append(requests, request)
	}
	for _, file := range f.files {
		more, err := readRequests(a, file)
		if err != nil {
			return nil, err
		}
		requests = append(requests, more...)
	}
	if len(requests) == 0 {
		return nil, usagef("no image is given: name one, as in docker.io/library/alpine:3.22, or a list with -f FILE")
	}
	return requests, nil
}

// maxListLine bounds a line of a list of images, in bytes.
const maxListLine = 4 << 10

// readRequests reads a list of images. All lines that are wrong are reported together.
func readRequests(a *app, file string) ([]export.Request, error) {
	in, closeList, err := openList(a, file)
	if err != nil {
		return nil, err
	}
	defer closeList()
	var requests []export.Request
	var problems bundle.Problems
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxListLine)
	for number := 1; lines.Scan(); number++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		request, err := export.ParseRequest(line)
		if err != nil {
			problems.Add(fmt.Errorf("%s, line %d: %w", file, number, err))
			continue
		}
		requests = append(requests, request)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := problems.Err(); err != nil {
		return nil, usageError{err}
	}
	return requests, nil
}

func openList(a *app, file string) (in io.Reader, closeList func(), err error) {
	if file == "-" {
		in, err := a.takeStdin("the list of images")
		return in, func() {}, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil
}

// hostsInPlay returns the registries that an export will talk to.
func hostsInPlay(requests []export.Request, attestations export.Attestations) ([]string, error) {
	hosts := map[string]bool{}
	for _, r := range requests {
		hosts[r.Ref.Context().RegistryStr()] = true
		repositories, err := attestations.For(r.Ref.Context())
		if err != nil {
			return nil, usageError{err}
		}
		for _, repository := range repositories {
			hosts[repository.RegistryStr()] = true
		}
	}
	return slices.Sorted(maps.Keys(hosts)), nil
}

// creationTime is now, or SOURCE_DATE_EPOCH for reproducible bundles.
// https://reproducible-builds.org/specs/source-date-epoch/
func creationTime(a *app) (time.Time, error) {
	epoch := a.getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return a.now(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH is %q; seconds since 1970 expected", epoch)
	}
	return time.Unix(seconds, 0), nil
}

func showExport(a *app, flags *exportFlags, r *export.Result, took time.Duration) error {
	for _, image := range r.Images {
		a.say("%s  %s", image.Source, image.Digest)
		for _, repository := range slices.Sorted(maps.Keys(image.FoundIn)) {
			a.say("  %s from %s", terminal.Count(image.FoundIn[repository], "referrer"), repository)
		}
	}
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
