package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/cmd/airgap/terminal"
)

// globalFlags are those that every command has.
type globalFlags struct {
	quiet  bool
	level  slog.Level
	format terminal.Format
}

// Groups in which "airgap help" lists the commands.
const (
	groupCarry  = "carry"
	groupAccess = "access"
)

// run runs one command line and returns the exit code. It prints what went wrong, but never exits.
func run(ctx context.Context, args []string, a *app) int {
	a.stdin = &interruptible{ctx: ctx, in: a.stdin}
	a.screen = terminal.NewScreen(a.stderr, a.width)
	a.log = slog.New(slog.DiscardHandler)
	stdout := &checkedWriter{w: a.stdout}
	a.stdout = stdout
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.screen)
	command, err := root.ExecuteContextC(ctx)
	if err == nil && stdout.err != nil {
		err = fmt.Errorf("the result could not be written to standard output: %w", stdout.err)
	}
	if err == nil {
		return exitOK
	}
	if !a.isStarted {
		err = usageError{err}
	}
	return a.report(ctx, command, err)
}

func newRoot(a *app) *cobra.Command {
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
		Version: thisBuild().Version,
		// So that unknown commands, with flags of which nothing is known here, come to RunE, which says more about them.
		Args:               cobra.ArbitraryArgs,
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},

		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.RunE = func(cmd *cobra.Command, args []string) error { return noCommand(a, cmd, args) }
	addGlobalFlags(root, a)
	root.AddGroup(
		&cobra.Group{ID: groupCarry, Title: "Carrying images:"},
		&cobra.Group{ID: groupAccess, Title: "Keys and registries:"},
	)
	root.AddCommand(
		newExport(a),
		newPlan(a),
		newConfig(a),
		newVerify(a),
		newImport(a),
		newRollback(a),
		newInspect(a),
		newSplit(a),
		newJoin(a),
		newRepair(a),
		newDemo(a),
		newKeygen(a),
		newLogin(a),
		newLogout(a),
		newVersion(a),
		exitCodesTopic(),
	)
	root.SetFlagErrorFunc(flagError)
	noteStart(root, a)
	inOrder(root)
	return root
}

// noCommand is what "airgap" does alone, or with a first word that is no command.
func noCommand(a *app, cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		cmd.SetOut(a.screen) // a script that lost its command must not take the help for a result
		return errors.Join(usagef("no command given"), cmd.Help())
	}
	cmd.SuggestionsMinimumDistance = 2 // cobra's own default, which it forgets when asked directly
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		return usagef("there is no command %q; perhaps %s was meant", args[0], strings.Join(similar, " or "))
	}
	return usagef("there is no command %q", args[0])
}

func addGlobalFlags(root *cobra.Command, a *app) {
	var level, format string
	flags := root.PersistentFlags()
	flags.BoolVarP(&a.flags.quiet, "quiet", "q", false, "show no progress, only warnings and errors")
	flags.StringVar(&level, "log-level", "warn", "`LEVEL` from which on to log to standard error: debug, info, warn or error")
	flags.StringVar(&format, "log-format", "text", "`FORMAT` of logs, progress and errors on standard error: text or json")
	complete(root, "log-level", "debug", "info", "warn", "error")
	complete(root, "log-format", "text", "json")
	root.PersistentPreRunE = func(*cobra.Command, []string) (err error) {
		if a.flags.format, err = terminal.ParseFormat(format); err != nil {
			return fmt.Errorf("--log-format: %w", err)
		}
		if a.flags.level, err = terminal.ParseLevel(level); err != nil {
			return fmt.Errorf("--log-level: %w", err)
		}
		a.log = terminal.NewLogger(a.screen, a.flags.format, a.flags.level)
		return nil
	}
}

// noArgs and exactArgs are cobra's, with messages that say what is missing. what names the arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q takes no arguments, but was given %q", cmd.CommandPath(), args[0])
	}
	return nil
}

func exactArgs(what ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(what):
			is := "is"
			if len(what)-len(args) > 1 {
				is = "are"
			}
			return fmt.Errorf("%s %s missing: %s %s", strings.Join(what[len(args):], " and "), is, cmd.Root().Name(), cmd.Use)
		case len(args) > len(what):
			return fmt.Errorf("what is %q for? After %s nothing else is expected", args[len(what)], strings.Join(what, " and "))
		}
		return nil
	}
}

// atLeast is exactArgs where the first argument may be given several times.
func atLeast(what ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(what) {
			return nil
		}
		return exactArgs(what...)(cmd, args)
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

// complete gives the shell the values of a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// The only errors are a flag that does not exist and one registered twice: mistakes that the first run shows.
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

// noteStart marks, for cmd and all below it, the moment from which on errors are not about usage.
func noteStart(cmd *cobra.Command, a *app) {
	if work := cmd.RunE; work != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.isStarted = true
			return work(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		noteStart(sub, a)
	}
}

// report prints an error and returns the exit code for it.
func (a *app) report(ctx context.Context, cmd *cobra.Command, err error) int {
	code := exitCode(ctx, err)
	if code == exitInterrupted {
		err = errors.New("interrupted")
	}
	message, shown := err.Error(), terminal.Error(err)
	if code == exitUsage {
		hint := fmt.Sprintf("See %q.", cmd.CommandPath()+" --help")
		message, shown = message+"\n"+hint, shown+"\n  "+hint
	}
	if a.flags.format == terminal.FormatJSON {
		terminal.NewLogger(a.screen, a.flags.format, slog.LevelError).Error(message, "exit_code", code)
	} else {
		fmt.Fprintln(a.screen, "airgap: "+shown)
	}
	return code
}

// usageError is an error in the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef returns an error in the command line that a command found, such as two flags that exclude each other.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
