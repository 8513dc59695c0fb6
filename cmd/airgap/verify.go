package main

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/cmd/airgap/verdict"
	"airgap/verify"
	"airgap/verify/checker"
	"airgap/verify/judge"
	"airgap/verify/party"
)

// verifyFlags are the flags of verify.
type verifyFlags struct {
	option.Source
	option.Beside

	bases    []string
	approved bool
	deep     bool
	exec     string
	json     bool
}

func newVerify(a *app.App) *cobra.Command {
	var flags verifyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE|-|VOLUMES... --key FILE",
		Short: "Check a bundle: signature, structure and every digest",
		Long: `Check a bundle without touching any registry. The signature comes first, before anything else in the file is
believed; then the tables, the manifests and how they hang together; then the length and digest of every
blob, on all cores. All problems are reported together, each with the image that it concerns.

With --policy, what proves something about each image is checked as well, before any layer is read: its signatures and
attestations are shown with who made them, and an image that lacks what the policy asks for is an error (exit code 15).
--exec runs a program of your own for each image that the policy takes, in a directory with the verified statements as
files and image.json, which lists them; where it ends with another exit code than 0, the image fails.

A bundle that leaves out what earlier ones store says which these are. With --base they are checked together with it.

` + option.VolumesHelp + `

Standard output gets the digest of the manifest index, which stands for the whole file.`,
		Example: `  airgap verify python.tar --key airgap.pub

  # Also say whether each image has the signatures and attestations that it must have
  airgap verify python.tar --key airgap.pub --policy trust.yaml

  # Also unpack the layers, and compare them with the images' configs
  airgap verify python.tar --key airgap.pub --deep

  # What is new of a mirror, together with the bundles that store the rest
  airgap verify dhi-12.tar --base dhi-11.tar --base /media/dhi-9 --key airgap.pub

  # In volumes, on two disks, or on several that share a drive
  airgap verify /media/disk1 /media/disk2 --key airgap.pub
  airgap verify /media/dvd --one-at-a-time --key airgap.pub

  # From a pipe, and with either of two keys
  receive-from-diode | airgap verify - --key airgap.pub --key second.pub`,
		Args: app.AtLeast("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runVerify(cmd.Context(), a, &flags, args) },
	}
	flags.Source.Add(cmd.Flags())
	flags.Beside.Add(cmd.Flags())
	cmd.Flags().BoolVar(&flags.approved, "require-approvals", false, "fail where approvals are missing that the policy asks for, as import does")
	option.AddBases(cmd.Flags(), &flags.bases, "to be checked as well")
	cmd.Flags().StringVar(&flags.For, "for", "", "`HOST[/PREFIX]` that the bundle is to go to, for policies that limit signers, or approvals that are for some destinations")
	cmd.Flags().BoolVar(&flags.deep, "deep", false, "also unpack every layer, and compare it with the image's config")
	cmd.Flags().StringVar(&flags.exec, "exec", "", "`PROGRAM` that is asked about each image that meets the policy, with its verified statements as files")
	cmd.Flags().BoolVar(&flags.json, "json", false, "print the result as JSON")
	return cmd
}

// verifyResult is what verify found out, for --json.
type verifyResult struct {
	ManifestIndex bundle.Digest `json:"manifestIndex"`
	Signers       []string      `json:"signers"`
	Created       string        `json:"created"`
	seriesFacts
	StandsOn []checkedBase    `json:"standsOn,omitempty"`
	Counts   bundle.Counts    `json:"counts"`
	Missing  []bundle.Missing `json:"missing,omitempty"`

	Judgement *judge.Judgement `json:"judgement,omitempty"`
	Approvals *approvalFacts   `json:"approvals,omitempty"` // nothing where the policy asks for none
}

// checkedBase is what was left to a base, and whether that was checked as well.
type checkedBase struct {
	bundle.LeftOut
	Checked bool `json:"checked"`
}

func runVerify(ctx context.Context, a *app.App, flags *verifyFlags, files []string) (err error) {
	began := a.Now()
	flags.Locate = true
	trust, err := flags.Trust(a)
	if err != nil {
		return err
	}
	if err := flags.Read(&trust, files); err != nil {
		return err
	}
	trust.SkipFailing = true // so that all of the judgement is shown
	from, err := flags.Open(ctx, a, files, flags.bases, trust)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if err := flags.check(ctx, a, from.Checked); err != nil {
		return err
	}
	if err := flags.showFailures(a, from.Checked); err != nil {
		return err
	}
	option.CompareTrustedRoot(a, from.Checked.Contents(), trust.Policy)
	if err := showApproved(a, from.Checked, flags.approved); err != nil {
		return err
	}
	if err := checkBlobs(ctx, a, from, flags.deep); err != nil {
		return err
	}
	if err := checkParity(ctx, a, from.Set); err != nil {
		return err
	}
	return showVerified(a, flags, from.Checked, a.Now().Sub(began))
}

// checkBlobs reads everything, deep or not, and says where it is damaged.
func checkBlobs(ctx context.Context, a *app.App, from *option.Bundle, deep bool) error {
	check := from.Checked.CheckBlobs
	if deep {
		check = from.Checked.CheckBlobsDeep
	}
	err := a.WithProgress(func(o bundle.Observer) error { return check(ctx, o) })
	from.WarnOfDamage(a)
	if err != nil {
		return from.WithDamage(ctx, a, err)
	}
	return nil
}

// checkParity warns of volumes of parity that could not stand in for others. The bundle is whole all the same.
func checkParity(ctx context.Context, a *app.App, set *volume.Set) error {
	if set == nil || set.Parity() == 0 {
		return nil
	}
	var damage []volume.Damage
	err := a.WithProgress(func(o bundle.Observer) (err error) {
		damage, err = set.CheckParity(ctx, o)
		return err
	})
	for _, d := range damage {
		a.Warn("%s or missing; the bundle is whole, but this volume of parity cannot stand in for another: \"airgap repair\" writes it anew", d)
	}
	return err
}

// check asks the program of --exec.
func (f *verifyFlags) check(ctx context.Context, a *app.App, b *verify.Bundle) error {
	switch {
	case f.exec == "":
		return nil
	case b.Judgement() == nil:
		return app.Usagef("--exec is for images that a policy judges: give one with --policy that has images:")
	}
	c := checker.Checker{Path: f.exec, Env: []string{"PATH=" + a.Getenv("PATH")}}
	if root := a.Getenv("SYSTEMROOT"); root != "" { // Windows runs nothing without it
		c.Env = append(c.Env, "SYSTEMROOT="+root)
	}
	err := a.WithProgress(func(o bundle.Observer) error { return c.Run(ctx, b, b.Judgement(), o) })
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return app.Usagef("--exec: %w", err)
	}
	return err
}

// showFailures says what the policy says of the images. It is an error if one of them fails.
func (f *verifyFlags) showFailures(a *app.App, b *verify.Bundle) error {
	verdict.Show(a.Say, b.Judgement())
	err := b.Judgement().Err()
	if err != nil && f.json {
		err = errors.Join(err, a.PrintJSON(resultOf(b)))
	}
	return err
}

func resultOf(b *verify.Bundle) verifyResult {
	header := &b.Contents().Header
	return verifyResult{b.ManifestIndex(), party.Names(b.Signers()), header.Created, seriesOf(header), basesOf(b), header.Counts, b.Contents().Missing, b.Judgement(), factsOfApprovals(b.Approved())}
}

func showVerified(a *app.App, flags *verifyFlags, b *verify.Bundle, took time.Duration) error {
	header := &b.Contents().Header
	a.Say("signed by %s", strings.Join(party.Names(b.Signers()), ", "))
	series := seriesOf(header)
	for _, line := range series.lines() {
		a.Say("%s", line)
	}
	a.Say("%s, %s, %s, made %s: all digests are right (%s)",
		terminal.Count(header.Counts.Roots, "image"), terminal.Count(header.Counts.Stored, "blob"), terminal.Bytes(header.Counts.StoredBytes), header.Created, terminal.Duration(took))
	bases := basesOf(b)
	showBases(a, bases)
	for _, m := range b.Contents().Missing {
		a.Warn("not in the bundle, since it could not be had at export: %s: %s", m.Source, m.Reason)
	}
	if flags.json {
		return a.PrintJSON(resultOf(b))
	}
	a.Print("%s", b.ManifestIndex())
	return nil
}

func basesOf(b *verify.Bundle) (bases []checkedBase) {
	for place, left := range b.Contents().LeftOut() {
		bases = append(bases, checkedBase{left, b.HasBase(place)})
	}
	return bases
}

// showBases tells what was left out on purpose from what has been checked.
func showBases(a *app.App, bases []checkedBase) {
	var checked, unchecked []bundle.LeftOut
	for _, base := range bases {
		if base.Checked {
			checked = append(checked, base.LeftOut)
		} else {
			unchecked = append(unchecked, base.LeftOut)
		}
	}
	if len(checked) > 0 {
		whole := ": with them the bundle is whole"
		if len(unchecked) > 0 {
			whole = ""
		}
		a.Say("stands on %s, checked as well%s", leftTo(checked), whole)
	}
	if len(unchecked) > 0 {
		a.Say("stands on %s, left out on purpose and not checked here (--base FILE checks them)", leftTo(unchecked))
	}
}
