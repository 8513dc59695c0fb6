package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/import/placing"
	"airgap/verify"
	"airgap/verify/approval"
	"airgap/verify/party"
	"airgap/verify/signature"
)

// witness are the flags of commands by which a person vouches for a bundle in a file of its own.
type witness struct {
	option.Source
	option.Beside

	signing option.Signing
	output  string
}

func (f *witness) add(cmd *cobra.Command) {
	f.AddTrust(cmd.Flags())
	f.signing.Add(cmd.Flags(), "sign-key", "for you")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "`FILE` to write")
	f.AddVolumes(cmd.Flags())
	f.Beside.Add(cmd.Flags())
}

func (f *witness) check() error {
	if err := f.signing.Check("your own private key; \"airgap keygen\" makes a pair of keys"); err != nil {
		return err
	}
	if f.output == "" {
		return app.Usagef("--output is missing: -o FILE")
	}
	return checkNew(f.output)
}

// open checks a bundle to its last byte and shows what it is.
func (f *witness) open(ctx context.Context, a *app.App, files []string, trust verify.Trust) (*option.Bundle, error) {
	f.Locate = true
	if err := f.Read(&trust, files); err != nil {
		return nil, err
	}
	from, err := f.Open(ctx, a, files, nil, trust)
	if err != nil {
		return nil, err
	}
	if err := checkBlobs(ctx, a, from, false); err != nil {
		return nil, errors.Join(err, from.Close())
	}
	showBundle(a, from.Checked)
	return from, nil
}

// rootsShown is how many images of a bundle a person is shown.
const rootsShown = 50

// showBundle says what a bundle is to a person who is to vouch for it.
func showBundle(a *app.App, b *verify.Bundle) {
	header := &b.Contents().Header
	a.Say("bundle %s, made %s, signed by %s", b.ManifestIndex(), header.Created, strings.Join(party.Names(b.Signers()), ", "))
	for _, line := range seriesOf(header).lines() {
		a.Say("%s", line)
	}
	for row, root := range b.Contents().Roots() {
		if row == rootsShown {
			a.Say("  and %d more (airgap inspect shows all)", header.Counts.Roots-rootsShown)
			break
		}
		a.Say("  %s  %s", root.Source, root.Digest)
	}
	if left := b.Contents().LeftOut(); len(left) > 0 {
		a.Say("stands on %s, left out on purpose and not checked here", leftTo(left))
	}
	for _, m := range b.Contents().Missing {
		a.Warn("not in the bundle, since it could not be had at export: %s: %s", m.Source, m.Reason)
	}
	a.Say("%s, %s, %s: all digests are right", terminal.Count(header.Counts.Roots, "image"), terminal.Count(header.Counts.Stored, "blob"), terminal.Bytes(header.Counts.StoredBytes))
}

// checkNew finds a file that is there, before the work. writeNew makes sure.
func checkNew(file string) error {
	if _, err := os.Lstat(file); err == nil {
		return existsAlready(file)
	}
	if err := checkWritable(file); err != nil {
		return app.Absent(err)
	}
	return nil
}

func existsAlready(file string) error {
	return app.Usagef("%s is there already, and is not overwritten: move it away, or name another file", file)
}

func (f *witness) write(content []byte) error {
	err := writeNew(f.output, append(content, '\n'), 0o644)
	if errors.Is(err, fs.ErrExist) {
		return existsAlready(f.output)
	}
	return err
}

func newCountersign(a *app.App) *cobra.Command {
	var flags witness
	cmd := &cobra.Command{
		Use:   "countersign FILE|-|VOLUMES... --key FILE --sign-key FILE -o FILE",
		Short: "Check a bundle, and sign it as well, for policies that ask for several signatures",
		Long: `Check a bundle to its last byte, as "airgap verify" does, show what it is, and write another signature over it to
a file of its own. The bundle is not changed, and one signature of --key is enough here. A policy with

  bundle: {keys: [packer.pub, second.pub], threshold: 2}

asks for the signatures of two different keys. "verify" and "import" take such files with --signature, and find those
by themselves that lie beside NAME.tar and are named NAME.*.sigstore.json. Where there is a record, they are kept in
it.`,
		Example: `  airgap countersign dhi-12.tar --key airgap.pub --sign-key second.key -o dhi-12.second.sigstore.json
  airgap import dhi-12.tar harbor.example.com/mirror --policy trust.yaml`,
		Args: app.AtLeast("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runCountersign(cmd.Context(), a, &flags, args) },
	}
	flags.add(cmd)
	return cmd
}

func runCountersign(ctx context.Context, a *app.App, flags *witness, files []string) (err error) {
	if err := flags.check(); err != nil {
		return err
	}
	trust, err := flags.Trust(a)
	if err != nil {
		return err
	}
	from, err := flags.open(ctx, a, files, trust.OfOne())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	key, err := flags.signing.Load(ctx, a)
	if err != nil {
		return err
	}
	content, err := signature.Sign(key, from.Checked.ManifestIndex())
	if err != nil {
		return err
	}
	if err := flags.write(content); err != nil {
		return err
	}
	a.Say("%s: signed by %s", flags.output, key.Public().Fingerprint())
	a.Print("%s", from.Checked.ManifestIndex())
	return nil
}

// approveFlags are the flags of approve.
type approveFlags struct {
	witness

	destination string
	until       string
	note        string
	report      string
}

func newApprove(a *app.App) *cobra.Command {
	var flags approveFlags
	cmd := &cobra.Command{
		Use:   "approve FILE|-|VOLUMES... --key FILE --sign-key FILE -o FILE",
		Short: "Check a bundle, and write down that it may be imported, for policies that ask for approvals",
		Long: `Check a bundle to its last byte, as "airgap verify" does, show what it is, and write an approval, signed with
--sign-key, to a file of its own. With --for it counts for imports to that destination and below it only, with --until
up to and on that day. A policy with

  bundle: {approvals: {threshold: 2, keys: [officers/], distinctFrom: bundle}}

has "import" ask for the approvals of two officers who have not signed the bundle. It takes them with --approval, and
finds those by itself that lie beside NAME.tar and are named NAME.*.approval. What is in the file, and how to check
it with cosign, is on the page verify/approval/APPROVAL.md.`,
		Example: `  airgap approve dhi-12.tar --key airgap.pub --sign-key officer.key --report scan.pdf \
    --for harbor.example.com/mirror --until 2026-12-31 --note "CVE list of Monday read" -o dhi-12.officer.approval`,
		Args: app.AtLeast("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runApprove(cmd.Context(), a, &flags, args) },
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.destination, "for", "", "`HOST[/PREFIX]` of the imports that are approved; by default all are")
	f.StringVar(&flags.until, "until", "", "`DATE` (2026-12-31, its end in UTC) or time (2026-12-31T12:00:00Z) up to which it counts; by default for ever")
	f.StringVar(&flags.note, "note", "", "`TEXT` to go with it")
	f.StringVar(&flags.report, "report", "", "`FILE` that was looked at, whose digest goes with it")
	return cmd
}

// approval reads what is approved from the flags.
func (f *approveFlags) approval(now time.Time) (said approval.Approval, err error) {
	said = approval.Approval{Time: now, Note: f.note}
	if f.destination != "" {
		d, err := placing.ParseDestination(f.destination)
		if err != nil {
			return said, app.Usagef("--for: %w", err)
		}
		said.Destination = d.String()
	}
	if said.Until, err = parseUntil(f.until); err != nil {
		return said, err
	}
	if !said.Until.IsZero() && now.After(said.Until) {
		return said, app.Usagef("--until: %s is over", f.until)
	}
	if err := said.Check(); err != nil {
		return said, app.Usagef("an approval cannot say that: %w", err)
	}
	if f.report != "" {
		said.Report, err = digestOfFile(f.report)
	}
	return said, err
}

// parseUntil reads the last second of a day, or a time; zero for "".
func parseUntil(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1).Add(-time.Second), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return at, app.Usagef("--until: %q is neither a date, as in 2026-12-31, nor a time, as in 2026-12-31T12:00:00Z", s)
	}
	return at, nil
}

func digestOfFile(file string) (bundle.Digest, error) {
	f, err := os.Open(file)
	if err != nil {
		return bundle.Digest{}, app.Absent(err)
	}
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return bundle.Digest(hash.Sum(nil)), errors.Join(err, f.Close())
}

func runApprove(ctx context.Context, a *app.App, flags *approveFlags, files []string) (err error) {
	if err := flags.check(); err != nil {
		return err
	}
	said, err := flags.approval(a.Now())
	if err != nil {
		return err
	}
	trust, err := flags.Trust(a)
	if err != nil {
		return err
	}
	trust.Destination = said.Destination
	from, err := flags.open(ctx, a, files, trust)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	for _, f := range from.Checked.Approved().Counting() {
		a.Say("approved already: %s", f)
	}
	key, err := flags.signing.Load(ctx, a)
	if err != nil {
		return err
	}
	content, err := approval.Sign(key, from.Checked.ManifestIndex(), said)
	if err != nil {
		return err
	}
	if err := flags.write(content); err != nil {
		return err
	}
	a.Say("%s: approved by %s", flags.output, key.Public().Fingerprint())
	a.Print("%s", from.Checked.ManifestIndex())
	return nil
}

// showApproved says who approved a bundle, and what is missing, where the policy asks for that. It is an error where approvals are missing and
// demanded.
func showApproved(a *app.App, b *verify.Bundle, demanded bool) error {
	for _, f := range b.Approved().Counting() {
		a.Say("approved: %s", f)
	}
	err := b.Approved().Err()
	if err == nil || demanded {
		return err
	}
	a.Warn("import will refuse it: %s", bundle.OneLine(err))
	return nil
}

// approvalFacts are the approvals that there are, for --json.
type approvalFacts struct {
	Threshold int            `json:"threshold"`
	Counting  int            `json:"counting"`
	Files     []approvalFile `json:"files"`
}

type approvalFile struct {
	File     string             `json:"file"`
	Signer   string             `json:"signer,omitempty"`
	Approval *approval.Approval `json:"approval,omitempty"`
	Problem  string             `json:"problem,omitempty"` // why it does not count
}

func factsOfApprovals(approved *approval.Approved) *approvalFacts {
	if approved == nil {
		return nil
	}
	facts := &approvalFacts{Threshold: approved.Threshold, Counting: len(approved.Counting()), Files: []approvalFile{}}
	for _, f := range approved.Files {
		row := approvalFile{File: f.Name, Approval: f.Approval}
		if f.Approval != nil {
			row.Signer = f.Signer.String()
		}
		if f.Problem != nil {
			row.Problem = bundle.OneLine(f.Problem)
		}
		facts.Files = append(facts.Files, row)
	}
	return facts
}
