package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/bundle/difference"
	"airgap/bundle/ledger"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/export/registry"
	"airgap/export/registry/repository"
	"airgap/import/placing"
	"airgap/verify"
)

// diffFlags are the flags of diff.
type diffFlags struct {
	option.Record
	option.Ledger

	json bool
}

func newDiff(a *app.App) *cobra.Command {
	var flags diffFlags
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what a bundle brings that another one did not, and what it lists no more",
		Long: `Compare what B lists with what A lists: images that were added, moved or are gone, what came to refer to images that
are as they were, or does not any more, and the bytes that are new. No layer is read. A and B are each one of

  FILE                  a bundle, or a place of volumes
  dhi@11                a bundle in the ledger, by its number; or a line of "airgap receipt"
  REGISTRY/REPO:TAG     an entry of a ledger or a record in a registry, such as .../airgap:dhi-000011
  REGISTRY[/PREFIX]     the newest bundle in the record of a target

Without --key no signature is checked, and the output says so; a record is not read without.

` + option.RegistryHelp,
		Example: `  airgap diff last.tar dhi.tar --key airgap.pub
  airgap diff dhi@11 dhi@12
  airgap diff harbor.example.com/mirror dhi.tar --key airgap.pub --json | jq '.gone'`,
		Args: app.ExactArgs("A", "B"),
		RunE: func(cmd *cobra.Command, args []string) error { return runDiff(cmd.Context(), a, &flags, args) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.Mirror, "mirror", "", "`NAME` of the mirror, where a record has several")
	flags.Ledger.AddPlace(f)
	f.BoolVar(&flags.json, "json", false, "print the same facts as JSON")
	flags.Record.Add(f)
	return cmd
}

// side is a bundle that is compared: its tables, and its name.
type side struct {
	bundle.Base
	contents *bundle.Contents
}

// comparison is what diff shows, for --json.
type comparison struct {
	A bundle.Base `json:"a"`
	B bundle.Base `json:"b"`
	*difference.Difference
}

func runDiff(ctx context.Context, a *app.App, flags *diffFlags, args []string) error {
	sides, err := flags.readAll(ctx, a, args)
	if err != nil {
		return err
	}
	if len(flags.Keys) == 0 {
		a.Warn("no signature was checked: name the public key with --key")
	}
	found := comparison{sides[0].Base, sides[1].Base, difference.Between(sides[0].contents, sides[1].contents)}
	if flags.json {
		return a.PrintJSON(found)
	}
	found.show(a)
	return nil
}

// reader reads what an argument names; host is the registry where that is, "" for none.
type reader struct {
	host string
	read func(context.Context, *registry.Client) (side, error)
}

// readAll reads what the arguments name, with one client for all registries.
func (f *diffFlags) readAll(ctx context.Context, a *app.App, args []string) (sides []side, err error) {
	var readers []reader
	var hosts []string
	for _, arg := range args {
		r, err := f.reader(a, arg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		readers = append(readers, r)
		if r.host != "" && !slices.Contains(hosts, r.host) {
			hosts = append(hosts, r.host)
		}
	}
	var client *registry.Client
	if len(hosts) > 0 {
		if client, err = f.Client(ctx, a, hosts); err != nil {
			return nil, err
		}
	}
	for i, r := range readers {
		s, err := r.read(ctx, client)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", args[i], err)
		}
		sides = append(sides, s)
	}
	return sides, nil
}

// entryReference is the name of an entry in a repository of a registry.
var entryReference = regexp.MustCompile(`^[^/]+/.+:[^/:]+$`)

// reader finds out what an argument names.
func (f *diffFlags) reader(a *app.App, arg string) (reader, error) {
	if _, err := os.Stat(arg); err == nil {
		return reader{"", func(ctx context.Context, _ *registry.Client) (side, error) { return f.readFile(ctx, a, arg) }}, nil
	}
	line, err := ledger.ParseLine(arg)
	switch {
	case err == nil:
		return f.ledgerReader(a, line)
	case strings.Contains(arg, "@"):
		return reader{}, app.Usagef("%w", err)
	case looksLikeFile(arg):
		return reader{}, app.Usagef("there is no such file")
	case entryReference.MatchString(arg):
		return f.entryReader(a, arg)
	}
	d, err := placing.ParseDestination(arg)
	return reader{d.Registry.RegistryStr(), func(ctx context.Context, c *registry.Client) (side, error) {
		return f.readRecord(ctx, a, c, d)
	}}, err
}

func (f *diffFlags) readFile(ctx context.Context, a *app.App, file string) (s side, err error) {
	sealed, _, err := (&option.Source{}).OpenSealed(ctx, a, []string{file})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, sealed.Close()) }()
	return f.readHead(ctx, a, &sealed.Head)
}

// readHead checks the signature, if there are keys, and then reads the tables.
func (f *diffFlags) readHead(ctx context.Context, a *app.App, head *bundle.Head) (side, error) {
	if len(f.Keys) > 0 {
		trust, err := (&option.Source{Keys: f.Keys}).Trust(a)
		if err != nil {
			return side{}, err
		}
		if _, err := verify.OpenHead(ctx, head, trust.OfBases()); err != nil {
			return side{}, err
		}
	}
	contents, err := head.Contents(ctx)
	if err != nil {
		return side{}, err
	}
	return side{contents.Header.Base(head.ManifestIndex()), contents}, nil
}

// errNoEntry is for an entry that is not in a repository.
var errNoEntry = errors.New("there is no such bundle")

// readEntry reads an entry of a repository.
func (f *diffFlags) readEntry(ctx context.Context, a *app.App, l ledger.Ledger, tag string) (side, error) {
	head, err := l.Head(ctx, tag)
	if errors.Is(err, bundle.ErrNotFound) {
		return side{}, fmt.Errorf("%s:%s: %w", l, tag, errNoEntry)
	}
	if err != nil {
		return side{}, err
	}
	return f.readHead(ctx, a, head)
}

// ledgerReader is for a bundle that a person names.
func (f *diffFlags) ledgerReader(a *app.App, line ledger.Line) (reader, error) {
	host, open, err := f.Place(a)
	return reader{host, func(ctx context.Context, c *registry.Client) (side, error) {
		l := open(c)
		s, err := f.readEntry(ctx, a, l, bundle.SequenceTag(line.Mirror, line.Sequence))
		if err == nil && !line.Names(s.contents.Header.Identity(s.ManifestIndex)) {
			err = fmt.Errorf("the ledger %s has another bundle under that number: %s", l, s.Base)
		}
		return s, err
	}}, err
}

// entryReader is for an entry of a repository in a registry.
func (f *diffFlags) entryReader(a *app.App, arg string) (reader, error) {
	tag, err := name.NewTag(arg, name.StrictValidation)
	if err != nil {
		return reader{}, app.Usagef("%w", err)
	}
	return reader{tag.RegistryStr(), func(ctx context.Context, c *registry.Client) (side, error) {
		return f.readEntry(ctx, a, ledger.Ledger{Repository: repository.New(c, tag.Context())}, tag.TagStr())
	}}, nil
}

// readRecord reads the newest bundle in the record of a target.
func (f *diffFlags) readRecord(ctx context.Context, a *app.App, c *registry.Client, d placing.Destination) (side, error) {
	at, err := f.OpenAt(ctx, a, c, d, f.Mirror)
	if err != nil {
		return side{}, err
	}
	mirror, err := oneMirror(at, f.Mirror)
	if err != nil {
		return side{}, err
	}
	newest, err := at.Newest(ctx, mirror)
	at.WarnOfDoubts(a)
	if err != nil {
		return side{}, err
	}
	if len(newest) == 0 {
		return side{}, fmt.Errorf("the record %s has no bundle%s that is believed: %w", at, ofMirror(mirror), errNothingRecorded)
	}
	contents, err := newest[0].Contents(ctx)
	return side{newest[0].Base(), contents}, err
}

func (c *comparison) show(a *app.App) {
	a.Print("from %s", c.A)
	a.Print("to   %s", c.B)
	for _, i := range c.Added {
		a.Print("+ %s  %s  %s", i.Destination, i.Digest, i.Source)
	}
	for _, m := range c.Moved {
		a.Print("~ %s  from %s to %s", m.Destination, m.Old, m.New)
	}
	for _, i := range c.Gone {
		a.Print("- %s  %s  %s", i.Destination, i.Digest, i.Source)
	}
	for _, r := range c.Referrers {
		for _, came := range r.Came {
			a.Print("+ %s  gets %s", r.Destination, describeReferrer(came))
		}
		for _, went := range r.Went {
			a.Print("- %s  loses %s", r.Destination, describeReferrer(went))
		}
	}
	a.Print("%s added, %d moved, %d gone, %d with other referrers, %d unchanged", terminal.Count(len(c.Added), "image"), len(c.Moved), len(c.Gone), len(c.Referrers), c.Unchanged)
	a.Print("%s new, %s; %s not listed any more, %s", terminal.Count(c.New.Count, "blob"), terminal.Bytes(c.New.Bytes), terminal.Count(c.Old.Count, "blob"), terminal.Bytes(c.Old.Bytes))
}

func describeReferrer(r difference.Referrer) string {
	kind := r.ArtifactType
	if r.Tag != "" {
		kind = strings.TrimSpace(kind + " as " + r.Tag)
	}
	return fmt.Sprintf("%s %s of %s", kind, r.Digest, r.Subject)
}
