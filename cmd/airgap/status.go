package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/import/record"
	"airgap/verify/party"
	"strings"
)

// statusFlags are the flags of status.
type statusFlags struct {
	option.Record

	json bool
}

func newStatus(a *app.App) *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status REGISTRY[/PREFIX] --key FILE",
		Short: "Show which bundles of mirrors were imported at a target",
		Long: `Show the bundles of mirrors that were imported at a target, by sequence: when they were made, who signed them, how
many images and bytes they hold, when and by whom they were imported, and whether everything was. Bundles that are
missing in between are named.

` + option.RecordHelp + `

` + option.RegistryHelp,
		Example: `  airgap status harbor.example.com/mirror --key airgap.pub
  airgap status harbor.example.com/mirror --key airgap.pub --mirror dhi --json | jq '.gaps'`,
		Args: app.ExactArgs("REGISTRY[/PREFIX]"),
		RunE: func(cmd *cobra.Command, args []string) error { return runStatus(cmd.Context(), a, &flags, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.Mirror, "mirror", "", "`NAME` of a mirror; by default all are shown")
	f.BoolVar(&flags.json, "json", false, "print the same facts as JSON")
	flags.Add(f)
	return cmd
}

// status is what status shows, for --json.
type status struct {
	Record  string        `json:"record"` // repository
	Bundles []bundleState `json:"bundles"`
	Gaps    []gap         `json:"gaps"`
	Doubts  []doubt       `json:"doubts"`
}

// bundleState is a bundle that was imported, or is being imported.
type bundleState struct {
	Tag           string          `json:"tag"`
	Mirror        string          `json:"mirror"`
	Sequence      uint64          `json:"sequence"` // 0: a supplement, or a bundle without a mirror
	ManifestIndex bundle.Digest   `json:"manifestIndex"`
	Identity      bundle.Digest   `json:"identity"`
	Created       string          `json:"created"`
	Signers       []string        `json:"signers"`
	Counts        bundle.Counts   `json:"counts"`
	Imports       []record.Import `json:"imports"`
}

// gap are bundles that were not imported, between others that were.
type gap struct {
	Mirror string `json:"mirror"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
}

// doubt is an entry that is not believed.
type doubt struct {
	Tag    string `json:"tag"`
	Reason string `json:"reason"`
}

func runStatus(ctx context.Context, a *app.App, flags *statusFlags, to string) error {
	at, err := flags.Open(ctx, a, to, flags.Mirror)
	if err != nil {
		return err
	}
	if at.IsEmpty() {
		return fmt.Errorf("the record %s has no bundle%s: %w", at, ofMirror(flags.Mirror), errNothingRecorded)
	}
	var found *status
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		o.Phase("read the record", 0)
		found, err = readStatus(ctx, at.History)
		return err
	})
	if err != nil {
		return err
	}
	if flags.json {
		return a.PrintJSON(found)
	}
	found.show(a)
	return nil
}

func readStatus(ctx context.Context, h *record.History) (*status, error) {
	entries, err := h.Entries(ctx)
	if err != nil {
		return nil, err
	}
	s := &status{Record: h.String(), Bundles: []bundleState{}, Gaps: []gap{}, Doubts: []doubt{}}
	for _, e := range entries {
		imports, err := e.Imports(ctx)
		if err != nil {
			return nil, err
		}
		state := bundleState{
			Tag: e.Tag, Mirror: e.Header.Mirror, Sequence: e.Header.Sequence, ManifestIndex: e.ManifestIndex, Identity: e.Identity(),
			Created: e.Header.Created, Signers: party.Names(e.Signers), Counts: e.Header.Counts, Imports: []record.Import{},
		}
		for _, i := range imports {
			state.Imports = append(state.Imports, i.Import)
		}
		s.Bundles = append(s.Bundles, state)
	}
	slices.SortStableFunc(s.Bundles, func(a, b bundleState) int {
		return cmp.Or(cmp.Compare(a.Mirror, b.Mirror), cmp.Compare(a.Tag, b.Tag))
	})
	s.findGaps()
	for _, d := range h.Doubts() {
		s.Doubts = append(s.Doubts, doubt{d.Tag, d.Reason.Error()})
	}
	return s, nil
}

// findGaps notes the numbers that lie between those that are there.
func (s *status) findGaps() {
	last := map[string]uint64{}
	for _, b := range slices.SortedFunc(slices.Values(s.Bundles), func(a, b bundleState) int { return cmp.Compare(a.Sequence, b.Sequence) }) {
		if b.Sequence == 0 {
			continue
		}
		if before, known := last[b.Mirror]; known && b.Sequence > before+1 {
			s.Gaps = append(s.Gaps, gap{b.Mirror, before + 1, b.Sequence - 1})
		}
		last[b.Mirror] = b.Sequence
	}
}

func (s *status) show(a *app.App) {
	for _, b := range s.Bundles {
		a.Print("%s  made %s  %s  %s  signed by %s", b.name(), day(b.Created), terminal.Count(b.Counts.Roots, "image"),
			terminal.Bytes(b.Counts.StoredBytes+b.Counts.BasedBytes), strings.Join(b.Signers, ", "))
		if len(b.Imports) == 0 {
			a.Print("  its import did not come to an end")
		}
		for _, i := range b.Imports {
			a.Print("  %s", describeImport(i))
		}
	}
	for _, g := range s.Gaps {
		a.Print("%s", g)
	}
	for _, d := range s.Doubts {
		a.Print("%s  not believed: %s", d.Tag, d.Reason)
	}
}

// name says which bundle it is: by its number or, if it has none, by its tag.
func (b *bundleState) name() string {
	if b.Sequence == 0 {
		return b.Tag
	}
	return fmt.Sprintf("%s@%d", b.Mirror, b.Sequence)
}

func (g gap) String() string {
	if g.First == g.Last {
		return fmt.Sprintf("%s@%d  never imported", g.Mirror, g.First)
	}
	return fmt.Sprintf("%s@%d to %s@%d  never imported", g.Mirror, g.First, g.Mirror, g.Last)
}

func describeImport(i record.Import) string {
	text := fmt.Sprintf("imported %s into %s", i.Finished.UTC().Format(time.RFC3339), i.Destination)
	if i.IsPlan() {
		text = fmt.Sprintf("begun %s into %s", i.Started.UTC().Format(time.RFC3339), i.Destination)
	}
	if i.Account != "" {
		text += " by " + i.Account
	}
	switch {
	case i.IsPlan():
		text += ": it did not come to an end"
	case i.Partial:
		text += ": a part of it"
	case !i.Complete:
		text += ": not all could be read back"
	default:
		text += ": complete"
	}
	text += fmt.Sprintf(", %d new, %d moved, %d as before", i.Counts.New, i.Counts.Moved, i.Counts.Unchanged)
	if i.Counts.Failing > 0 {
		text += fmt.Sprintf(", %d left out since they fail the policy", i.Counts.Failing)
	}
	if i.AllowedOlder {
		text += "; although a newer one, or another of this number, was there (--allow-older)"
	}
	return text
}
