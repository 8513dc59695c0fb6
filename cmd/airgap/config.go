package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/export/config"
)

func newConfig(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Look at the file that says what to mirror",
		Long: `airgap reads the regsync.yaml that people already have, with a few keys of its own: latest, minAge and
platformMode for entries and defaults, and charts. "airgap export -c FILE" exports what it says.`,
		Example: "  airgap config check regsync.yaml",
		RunE:    func(cmd *cobra.Command, args []string) error { return app.NoCommand(a.Screen, cmd, args) },
	}
	cmd.AddCommand(newConfigCheck(a))
	return cmd
}

func newConfigCheck(a *app.App) *cobra.Command {
	var strict, asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE|-",
		Short: "Say what a regsync.yaml means, without contacting anyone",
		Long: `Read a file like regsync.yaml and say, for each entry, what airgap understood: source and destination, which
tags, what of the referrers, which platforms. Nobody is contacted, and no secret is looked at. Mistakes are
reported with line and column, all together; keys that nobody knows are warned of.`,
		Example: `  airgap config check regsync.yaml
  airgap config check --strict regsync.yaml`,
		Args: app.ExactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return checkConfig(a, args[0], strict, asJSON) },
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "take unknown keys for errors")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was understood as JSON")
	return cmd
}

// configSummary is the output of config check --json.
type configSummary struct {
	Mirror  string        `json:"mirror,omitempty"`
	Entries []configEntry `json:"entries"`
	Notes   []configNote  `json:"notes"`
}

type configEntry struct {
	Position   string   `json:"position"`
	Understood []string `json:"understood"`
}

type configNote struct {
	Position string `json:"position"`
	Message  string `json:"message"`
	Unknown  bool   `json:"unknown"`
}

func checkConfig(a *app.App, file string, strict, asJSON bool) error {
	parsed, err := option.ReadConfig(a, file)
	if err != nil {
		return err
	}
	var unknown []error
	s := configSummary{Entries: []configEntry{}, Notes: []configNote{}}
	for _, n := range parsed.Notes {
		s.Notes = append(s.Notes, configNote{n.Position.String(), n.Message, n.Unknown})
		if n.Unknown {
			unknown = append(unknown, fmt.Errorf("%s: %s", n.Position, n.Message))
		}
	}
	if strict && len(unknown) > 0 {
		return app.Usagef("%w: %w", config.ErrConfig, errors.Join(unknown...))
	}
	for i := range parsed.Entries {
		s.Entries = append(s.Entries, configEntry{parsed.Entries[i].Position.String(), parsed.Entries[i].Describe()})
	}
	for i := range parsed.Charts {
		s.Entries = append(s.Entries, configEntry{parsed.Charts[i].Position.String(), parsed.Charts[i].Describe()})
	}
	s.Mirror = parsed.Mirror
	if asJSON {
		return a.PrintJSON(s)
	}
	option.ShowNotes(a, parsed)
	if s.Mirror != "" {
		a.Print("mirror: %s", s.Mirror)
	}
	for _, e := range s.Entries {
		a.Print("%s: %s", e.Position, e.Understood[0])
		for _, line := range e.Understood[1:] {
			a.Print("  %s", line)
		}
	}
	a.Say("%s is fine; entries: %d", file, len(s.Entries))
	return nil
}
