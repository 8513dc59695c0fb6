// Package app is what commands know of the world around the process: its streams, its environment and its clock, and the
// person at the terminal. It knows no command. New returns the App of this process; Begin and End lie around a command line.
package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"airgap/bundle"
	"airgap/cmd/airgap/terminal"
)

// App is what a command knows of the world around the process, so that tests can run commands in another one.
type App struct {
	Stdin     io.Reader // once a command line is run, one whose reads end with the command's context
	Stdout    io.Writer // results only
	Stderr    io.Writer // everything else; commands write to screen, which knows about the progress bar
	LookupEnv func(string) (string, bool)
	Now       func() time.Time
	// Width tells how many cells a line of the terminal behind stderr has; nil where there is no terminal.
	Width func() int
	// ReadPassword reads a line from the terminal behind stdin without echo; nil where there is no terminal.
	ReadPassword func(context.Context) ([]byte, error)

	// What follows is set when a command line is run.

	Flags      globalFlags
	Screen     *terminal.Screen
	Log        *slog.Logger
	stdinTaken string // what standard input is used for, as it can be used once only
}

// New returns the app of this process.
func New() *App {
	a := &App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Now: time.Now}
	if fd := int(os.Stderr.Fd()); term.IsTerminal(fd) {
		a.Width = func() int { return terminalWidth(fd) }
	}
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		a.ReadPassword = func(ctx context.Context) ([]byte, error) { return readPassword(ctx, fd) }
	}
	return a
}

// Begin is to be called before a command line is run.
func (a *App) Begin(ctx context.Context) {
	a.Stdin = &interruptible{ctx: ctx, in: a.Stdin}
	a.Stdout = &checkedWriter{w: a.Stdout}
	a.Screen = terminal.NewScreen(a.Stderr, a.Width)
	a.Log = slog.New(slog.DiscardHandler)
}

// End returns the first error in writing results.
func (a *App) End() error {
	if err := a.Stdout.(*checkedWriter).err; err != nil {
		return fmt.Errorf("the result could not be written to standard output: %w", err)
	}
	return nil
}

// ResultIsShown tells whether standard output is a terminal.
func (a *App) ResultIsShown() bool {
	f, ok := a.Stdout.(*checkedWriter).w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func terminalWidth(fd int) int {
	const usual = 80
	if width, _, err := term.GetSize(fd); err == nil && width > 0 {
		return width
	}
	return usual
}

// readPassword gives the terminal back its echo when the context is cancelled, which term.ReadPassword alone would
// leave switched off.
func readPassword(ctx context.Context, fd int) ([]byte, error) {
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	password, err := Wait(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if ctx.Err() != nil {
		_ = term.Restore(fd, state)
	}
	return password, err
}

// AskPassword asks the person at the terminal, on standard error.
func (a *App) AskPassword(ctx context.Context, prompt string) ([]byte, error) {
	fmt.Fprintf(a.Stderr, "%s: ", terminal.Escape(prompt))
	defer fmt.Fprintln(a.Stderr) // the person's own line feed is not echoed
	return a.ReadPassword(ctx)
}

// AskLine asks the person at the terminal for something that may be seen.
func (a *App) AskLine(prompt string) (string, error) {
	fmt.Fprintf(a.Stderr, "%s: ", terminal.Escape(prompt))
	line, err := bufio.NewReader(a.Stdin).ReadString('\n')
	return strings.TrimSpace(line), err
}

// Getenv returns the value of an environment variable; one that is set and empty is as good as none.
func (a *App) Getenv(name string) string {
	value, _ := a.LookupEnv(name)
	return value
}

// Say prints a line for the person on standard error, which --quiet leaves out. Arguments are escaped.
func (a *App) Say(format string, args ...any) {
	if !a.Flags.Quiet {
		fmt.Fprintln(a.Screen, terminal.Sprintf(format, args...))
	}
}

// Warn prints a warning on standard error. Arguments are escaped.
func (a *App) Warn(format string, args ...any) {
	progress := a.newProgress()
	defer progress.Close()
	progress.Warnf(format, args...)
}

// Print writes a line of the result to standard output. Arguments are escaped, the format is not. An error in
// writing is reported when the command ends (see End).
func (a *App) Print(format string, args ...any) {
	fmt.Fprintln(a.Stdout, terminal.Sprintf(format, args...))
}

// PrintJSON writes the result as JSON to standard output.
func (a *App) PrintJSON(v any) error { return terminal.WriteJSON(a.Stdout, v) }

// WithProgress runs work with an observer that shows on standard error how far it is.
func (a *App) WithProgress(work func(bundle.Observer) error) error {
	progress := a.newProgress()
	defer progress.Close()
	return work(progress)
}

func (a *App) newProgress() *terminal.Progress {
	return terminal.NewProgress(terminal.Options{
		Screen: a.Screen, Format: a.Flags.Format, Quiet: a.Flags.Quiet, Now: a.Now,
	})
}

// checkedWriter remembers the first error, so that a result which did not reach its reader is not taken for success
// even where a command prints line by line.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

// globalFlags are those that every command has.
type globalFlags struct {
	Quiet  bool
	Level  slog.Level
	Format terminal.Format
}

// TakeStdin returns standard input for one use, such as "the password", and an error if it has another use already.
func (a *App) TakeStdin(use string) (io.Reader, error) {
	if a.stdinTaken != "" {
		return nil, Usagef("standard input can be read once only: it cannot give both %s and %s", a.stdinTaken, use)
	}
	a.stdinTaken = use
	return a.Stdin, nil
}

// OpenInput opens a file, or standard input for "-". A file that cannot be opened is an error in the command line.
func OpenInput(a *App, file, what string) (in io.Reader, closeInput func(), err error) {
	if file == "-" {
		in, err := a.TakeStdin(what)
		return in, func() {}, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, Usagef("%w", err)
	}
	return f, func() { _ = f.Close() }, nil
}
