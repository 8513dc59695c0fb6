package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/terminal"
	"airgap/cmd/airgap/trust"
)

// run runs one command line and returns the exit code. It prints what went wrong, but never exits.
func run(ctx context.Context, args []string, a *app.App) int {
	a.Begin(ctx)
	root := newRoot(a)
	isStarted := false
	noteStart(root, &isStarted)
	root.SetArgs(args)
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Screen)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = a.End()
	}
	if err == nil {
		return exitOK
	}
	if !isStarted {
		err = app.Usagef("%w", err)
	}
	return reportError(ctx, a, command, err)
}

func newRoot(a *app.App) *cobra.Command {
	root := &cobra.Command{
		Use:   "airgap",
		Short: "Carry container images, with everything that proves what they are, across an air gap",
		Long: `airgap carries container images, with their SBOMs, attestations and signatures, across a gap that no
network crosses. "export" runs where there is internet access and writes one signed file. Carry the
file across. "import" checks it, and puts what it holds into a registry that has never seen the
internet.`,
		Example: `  # Once: a key pair. airgap.key stays on the connected side, airgap.pub goes to the other.
  airgap keygen

  # On the connected side
  airgap export docker.io/acme/dhi-python:3.13 --key airgap.key -o python.tar

  # On the other side
  airgap verify python.tar --key airgap.pub
  airgap import python.tar harbor.example.com/mirror --key airgap.pub`,
		Version: app.ThisBuild().Version,
		// So that unknown commands, with flags of which nothing is known here, come to RunE, which says more about them.
		Args:               cobra.ArbitraryArgs,
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},

		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.RunE = func(cmd *cobra.Command, args []string) error { return app.NoCommand(a.Screen, cmd, args) }
	addGlobalFlags(root, a)
	addGroup(root, "carry", "Carrying images:",
		newExport(a), newPlan(a), newConfig(a), newVerify(a), newCountersign(a), newApprove(a), newImport(a), newRollback(a), newInspect(a), newSplit(a), newJoin(a), newRepair(a),
		newDemo(a, run))
	addGroup(root, "mirror", "Mirrors, week by week:", newStatus(a), newReceipt(a), newDiff(a), newPrune(a))
	addGroup(root, "access", "Keys, trust and registries:", newKeygen(a), trust.NewPolicy(a), newLogin(a), newLogout(a))
	root.AddCommand(newVersion(a), exitCodesTopic(), signWithTopic())
	root.SetFlagErrorFunc(flagError)
	inOrder(root)
	return root
}

// addGroup adds commands that "airgap help" lists under a title.
func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = id
	}
	root.AddCommand(commands...)
}

func addGlobalFlags(root *cobra.Command, a *app.App) {
	var level, format string
	flags := root.PersistentFlags()
	flags.BoolVarP(&a.Flags.Quiet, "quiet", "q", false, "show no progress, only warnings and errors")
	flags.StringVar(&level, "log-level", "warn", "`LEVEL` from which on to log to standard error: debug, info, warn or error")
	flags.StringVar(&format, "log-format", "text", "`FORMAT` of logs, progress and errors on standard error: text or json")
	app.Complete(root, "log-level", "debug", "info", "warn", "error")
	app.Complete(root, "log-format", "text", "json")
	root.PersistentPreRunE = func(*cobra.Command, []string) (err error) {
		if a.Flags.Format, err = terminal.ParseFormat(format); err != nil {
			return fmt.Errorf("--log-format: %w", err)
		}
		if a.Flags.Level, err = terminal.ParseLevel(level); err != nil {
			return fmt.Errorf("--log-level: %w", err)
		}
		a.Log = terminal.NewLogger(a.Screen, a.Flags.Format, a.Flags.Level)
		return nil
	}
}

// flagError is the error for flags that cannot be read, with the flag that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	unknown := &pflag.NotExistError{}
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return err
	}
	flags := &cobra.Command{SuggestionsMinimumDistance: 2} // it knows how to find names that are nearly right
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	if similar := flags.SuggestionsFor(unknown.GetSpecifiedName()); len(similar) > 0 {
		return fmt.Errorf("%w; perhaps --%s was meant", err, strings.Join(similar, " or --"))
	}
	return err
}

// inOrder lets the help list flags as they are defined, those first that are needed most.
func inOrder(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	for _, sub := range cmd.Commands() {
		inOrder(sub)
	}
}

// noteStart sets started once cmd, or one below it, is at work: from then on errors are not about usage.
func noteStart(cmd *cobra.Command, started *bool) {
	if work := cmd.RunE; work != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return work(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		noteStart(sub, started)
	}
}

// reportError prints an error and returns the exit code for it.
func reportError(ctx context.Context, a *app.App, cmd *cobra.Command, err error) int {
	code := exitCode(ctx, err)
	if code == exitInterrupted {
		err = errors.New("interrupted")
	}
	message, shown := err.Error(), terminal.Error(err)
	if code == exitUsage {
		hint := fmt.Sprintf("See %q.", cmd.CommandPath()+" --help")
		message, shown = message+"\n"+hint, shown+"\n  "+hint
	}
	if a.Flags.Format == terminal.FormatJSON {
		terminal.NewLogger(a.Screen, a.Flags.Format, slog.LevelError).Error(message, "exit_code", code)
	} else {
		fmt.Fprintln(a.Screen, "airgap: "+shown)
	}
	return code
}
