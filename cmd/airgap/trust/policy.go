// Package trust has the commands about whom to trust.
package trust

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/export"
	"airgap/verify/policy"
)

// NewPolicy returns "airgap policy".
func NewPolicy(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy", Short: "Look at the file that says whom to trust",
		Long: `A policy says who may sign a bundle, who must approve it, and for each image whose signatures and which
attestations it needs. It is one YAML file, and judged the same way on both sides of the gap.`,
		Example: `  airgap policy example dhi > trust.yaml
  airgap policy check trust.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error { return app.NoCommand(a.Screen, cmd, args) },
	}
	cmd.AddCommand(newPolicyExample(a), newPolicyCheck(a), newPolicyLearn(a))
	return cmd
}

func newPolicyExample(a *app.App) *cobra.Command {
	names := strings.Join(policy.Examples(), "|")
	return &cobra.Command{
		Use:   "example " + names,
		Short: "Print a policy to begin with",
		Long: `Print a policy to begin with, and to change: for Docker Hardened Images, for images signed with cosign, or for
those signed with Notation. Its comments say what to fetch and what to write in place of what.`,
		Example:   "  airgap policy example dhi > trust.yaml",
		ValidArgs: policy.Examples(),
		Args:      app.ExactArgs(names),
		RunE: func(_ *cobra.Command, args []string) error {
			example := policy.Example(args[0])
			if example == nil {
				return app.Usagef("there is no example %q: %s", args[0], strings.Join(policy.Examples(), ", "))
			}
			_, err := a.Stdout.Write(example)
			return err
		},
	}
}

func newPolicyCheck(a *app.App) *cobra.Command {
	var strict, asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE [IMAGE...]",
		Short: "Say what a policy means, and what in it may not mean what it seems to",
		Long: `Read a policy and say in sentences what it asks for: who may sign and approve, what is asked of which images, and
what becomes of the rest. Mistakes are reported with line and column, all together. What is no mistake is warned of:
rules that never decide, since rules before them match all that they do; demands that nobody can meet; globs and
expressions that match more than they seem to. For images, given as docker.io/acme/app:1, it says which rule decides.`,
		Example: `  airgap policy check trust.yaml
  airgap policy check trust.yaml docker.io/acme/dhi-python:3.13`,
		Args: app.AtLeast("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			return checkPolicy(a, args[0], args[1:], strict, asJSON)
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "take what would be warned of for errors")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was understood as JSON")
	return cmd
}

// PolicySummary is the output of policy check --json.
type PolicySummary struct {
	Digest     string           `json:"digest"`
	Understood []string         `json:"understood"`
	Findings   []policy.Finding `json:"findings"`
	Images     []PolicyDecision `json:"images"`
}

// PolicyDecision says which rule decides about an image; none where the image is unmatched.
type PolicyDecision struct {
	Source   string `json:"source"`
	Rule     string `json:"rule,omitempty"`
	Position string `json:"position,omitempty"`
}

func checkPolicy(a *app.App, file string, images []string, strict, asJSON bool) error {
	p, err := option.ReadPolicy(file, "")
	if err != nil {
		return err
	}
	s := PolicySummary{
		Digest: p.Digest.String(), Understood: p.Describe(), Images: []PolicyDecision{},
		Findings: append([]policy.Finding{}, p.Findings(a.Now())...),
	}
	for _, image := range images {
		request, err := export.ParseRequest(image)
		if err != nil {
			return err
		}
		decision := PolicyDecision{Source: request.Source}
		if rule := p.Rule(decision.Source); rule != nil {
			decision.Rule, decision.Position = rule.Name, rule.Position
		}
		s.Images = append(s.Images, decision)
	}
	if strict && len(s.Findings) > 0 {
		var all []error
		for _, f := range s.Findings {
			all = append(all, fmt.Errorf("%s: %s", f.Position, f.Message))
		}
		return app.Usagef("%w: %w", policy.ErrPolicy, errors.Join(all...))
	}
	if asJSON {
		return a.PrintJSON(s)
	}
	showPolicy(a, &s)
	a.Say("%s can be used; findings: %d", file, len(s.Findings))
	return nil
}

func showPolicy(a *app.App, s *PolicySummary) {
	for _, f := range s.Findings {
		a.Warn("%s: %s", f.Position, f.Message)
	}
	for _, line := range s.Understood {
		a.Print("%s", line)
	}
	for _, image := range s.Images {
		if image.Position == "" {
			a.Print("%s: no rule matches it", image.Source)
		} else {
			a.Print("%s: the rule %s at %s decides", image.Source, image.Rule, image.Position)
		}
	}
}
