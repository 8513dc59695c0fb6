package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"airgap/cmd/airgap/terminal"
	"airgap/export/config"
)

// readConfig reads a file like regsync.yaml, or standard input for "-".
func readConfig(a *app, file string) (*config.File, error) {
	in, closeInput, err := openInput(a, file, "the configuration")
	if err != nil {
		return nil, err
	}
	defer closeInput()
	content, err := io.ReadAll(io.LimitReader(in, config.MaxSize+1))
	if err != nil {
		return nil, err
	}
	if file == "-" {
		file = "standard input"
	}
	return config.Parse(file, content, a.configEnvironment())
}

// configEnvironment is what the templates of a configuration can ask for. Files are found as regsync finds them, from
// the directory in which the command runs.
func (a *app) configEnvironment() config.Environment {
	return config.Environment{LookupEnv: a.lookupEnv, ReadFile: readSmallFile, Now: a.now}
}

// maxTemplateFile bounds a file that a template puts into a configuration, in bytes.
const maxTemplateFile = 1 << 20

func readSmallFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxTemplateFile+1))
	if err == nil && len(content) > maxTemplateFile {
		err = fmt.Errorf("%s is larger than %s", name, terminal.Bytes(maxTemplateFile))
	}
	return content, err
}

func showNotes(a *app, f *config.File) {
	for _, note := range f.Notes {
		if note.Unknown {
			a.warn("%s: %s", note.Position, note.Message)
		} else {
			a.say("note: %s: %s", note.Position, note.Message)
		}
	}
}

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Look at the file that says what to mirror", GroupID: groupCarry,
		Long: `airgap reads the regsync.yaml that people already have, with a few keys of its own: latest, minAge and
platformMode for entries and defaults, and charts. "airgap export -c FILE" exports what it says.`,
		Example: "  airgap config check regsync.yaml",
		RunE:    func(cmd *cobra.Command, args []string) error { return noCommand(a, cmd, args) },
	}
	cmd.AddCommand(newConfigCheck(a))
	return cmd
}

func newConfigCheck(a *app) *cobra.Command {
	var strict, asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE|-",
		Short: "Say what a regsync.yaml means, without contacting anyone",
		Long: `Read a file like regsync.yaml and say, for each entry, what airgap understood: source and destination, which
tags, what of the referrers, which platforms. Nobody is contacted, and no secret is looked at. Mistakes are
reported with line and column, all together; keys that nobody knows are warned of.`,
		Example: `  airgap config check regsync.yaml
  airgap config check --strict regsync.yaml`,
		Args: exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return checkConfig(a, args[0], strict, asJSON) },
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "take unknown keys for errors")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was understood as JSON")
	return cmd
}

// configSummary is the output of config check --json.
type configSummary struct {
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

func checkConfig(a *app, file string, strict, asJSON bool) error {
	parsed, err := readConfig(a, file)
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
		return usagef("%w: %w", config.ErrConfig, errors.Join(unknown...))
	}
	for i := range parsed.Entries {
		s.Entries = append(s.Entries, configEntry{parsed.Entries[i].Position.String(), parsed.Entries[i].Describe()})
	}
	for i := range parsed.Charts {
		s.Entries = append(s.Entries, configEntry{parsed.Charts[i].Position.String(), parsed.Charts[i].Describe()})
	}
	if asJSON {
		return a.printJSON(s)
	}
	showNotes(a, parsed)
	for _, e := range s.Entries {
		a.print("%s: %s", e.Position, e.Understood[0])
		for _, line := range e.Understood[1:] {
			a.print("  %s", line)
		}
	}
	a.say("%s is fine; entries: %d", file, len(s.Entries))
	return nil
}
