package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
)

// UsageError is an error in the command line.
type UsageError struct{ err error }

func (e UsageError) Error() string { return e.err.Error() }
func (e UsageError) Unwrap() error { return e.err }

// Usagef returns an error in the command line that a command found, such as two flags that exclude each other.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Absent makes an error in the command line of one that a file which is named there does not exist.
func Absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return UsageError{err}
	}
	return err
}

// NoCommand is what "airgap" does alone, or with a first word that is no command.
func NoCommand(screen io.Writer, cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		cmd.SetOut(screen) // a script that lost its command must not take the help for a result
		return errors.Join(Usagef("no command given"), cmd.Help())
	}
	cmd.SuggestionsMinimumDistance = 2 // cobra's own default, which it forgets when asked directly
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		return Usagef("there is no command %q; perhaps %s was meant", args[0], strings.Join(similar, " or "))
	}
	return Usagef("there is no command %q", args[0])
}

// NoArgs is cobra's, with a message that says more.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q takes no arguments, but was given %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// ExactArgs is cobra's, with messages that say what is missing. what names the arguments.
func ExactArgs(what ...string) cobra.PositionalArgs {
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

// AtLeast is ExactArgs where the first argument may be given several times.
func AtLeast(what ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(what) {
			return nil
		}
		return ExactArgs(what...)(cmd, args)
	}
}

// Complete gives the shell the values of a flag.
func Complete(cmd *cobra.Command, flag string, values ...string) {
	// The only errors are a flag that does not exist and one registered twice: mistakes that the first run shows.
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}
