package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/demo"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
)

// runner runs one command line, as run does.
type runner func(ctx context.Context, args []string, a *app.App) int

func newDemo(a *app.App, run runner) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show it all at work, between two registries on this machine",
		Long: `Start two registries on this machine, put a signed image with SBOMs and attestations into the first, and carry it
into the second. Each step is shown as the command that you would type. Nothing is left behind, and nothing
but this machine is contacted.`,
		Example: `  airgap demo`,
		Args:    app.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), a, run) },
	}
}

// demoPassword protects the private key that exists for as long as the demo runs.
const demoPassword = "demo"

func runDemo(ctx context.Context, a *app.App, run runner) (err error) {
	dir, err := os.MkdirTemp("", "airgap-demo-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	connected, stopConnected, err := demo.Serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopConnected()) }()
	isolated, stopIsolated, err := demo.Serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopIsolated()) }()

	client, err := (&option.Registry{}).Client(ctx, a, []string{connected})
	if err != nil {
		return err
	}
	a.Print("# A registry with internet access is at %s, one without at %s.", connected, isolated)
	if err := demo.Publish(ctx, client, connected); err != nil {
		return fmt.Errorf("filling the first registry: %w", err)
	}
	return demoSteps(ctx, a, run, dir, connected, isolated)
}

// demoSteps runs the commands one by one.
func demoSteps(ctx context.Context, a *app.App, run runner, dir, connected, isolated string) error {
	private, public, file := filepath.Join(dir, "airgap.key"), filepath.Join(dir, "airgap.pub"), filepath.Join(dir, "demo.tar")
	image := connected + "/" + demo.ImageRepository + ":" + demo.Tag
	carried := isolated + "/mirror/" + demo.ImageRepository + ":" + demo.Tag
	steps := []struct {
		why  string
		args []string
	}{
		{"A pair of keys, once. The public one goes to the other side.", []string{"keygen", "--output-key-prefix", filepath.Join(dir, "airgap")}},
		{"On the connected side: the image, with what refers to it, here and in the attestation repository.",
			[]string{"export", image, "--referrers-from", connected + "/acme=" + connected + "/attestations/acme", "--key", private, "-o", file}},
		{"What is in the file?", []string{"inspect", file, "--key", public}},
		{"On the other side: is it what was signed?", []string{"verify", file, "--key", public}},
		{"Into the registry there.", []string{"import", file, isolated + "/mirror", "--key", public}},
		{"The same tree hangs from the image there.", []string{"inspect", carried}},
		{"Importing again changes nothing.", []string{"import", file, isolated + "/mirror", "--key", public}},
	}
	for _, step := range steps {
		a.Print("")
		a.Print("# %s", step.why)
		a.Print("$ airgap %s", strings.Join(step.args, " "))
		if code := run(ctx, step.args, forDemo(a)); code != exitOK {
			return fmt.Errorf("airgap %s ended with exit code %d", step.args[0], code)
		}
	}
	a.Print("")
	a.Print("# Done: %s was carried, with all that proves what it is.", terminal.Escape(image))
	return nil
}

// forDemo returns an app for one step: that of the demo itself, with the password of its key.
func forDemo(a *app.App) *app.App {
	step := &app.App{Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr, Now: a.Now, Width: a.Width}
	step.LookupEnv = func(name string) (string, bool) {
		if name == option.PasswordVariables[0] {
			return demoPassword, true
		}
		return a.LookupEnv(name)
	}
	return step
}
