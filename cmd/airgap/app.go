package main

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

// app is what a command knows of the world around the process, so that tests can run commands in another one.
type app struct {
	stdin     io.Reader // once a command line is run, one whose reads end with the command's context
	stdout    io.Writer // results only
	stderr    io.Writer // everything else; commands write to screen, which knows about the progress bar
	lookupEnv func(string) (string, bool)
	now       func() time.Time
	// width tells how many cells a line of the terminal behind stderr has; nil where there is no terminal.
	width func() int
	// readPassword reads a line from the terminal behind stdin without echo; nil where there is no terminal.
	readPassword func(context.Context) ([]byte, error)

	// What follows is set when a command line is run.

	flags      globalFlags
	screen     *terminal.Screen
	log        *slog.Logger
	isStarted  bool   // the command line was understood and a command is at work: errors are not usage errors any more
	stdinTaken string // what standard input is used for, as it can be used once only
}

// newApp returns the app of this process.
func newApp() *app {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, lookupEnv: os.LookupEnv, now: time.Now}
	if fd := int(os.Stderr.Fd()); term.IsTerminal(fd) {
		a.width = func() int { return terminalWidth(fd) }
	}
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		a.readPassword = func(ctx context.Context) ([]byte, error) { return readPassword(ctx, fd) }
	}
	return a
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
	password, err := wait(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if ctx.Err() != nil {
		_ = term.Restore(fd, state)
	}
	return password, err
}

// askPassword asks the person at the terminal, on standard error.
func (a *app) askPassword(ctx context.Context, prompt string) ([]byte, error) {
	fmt.Fprintf(a.stderr, "%s: ", terminal.Escape(prompt))
	defer fmt.Fprintln(a.stderr) // the person's own line feed is not echoed
	return a.readPassword(ctx)
}

// askLine asks the person at the terminal for something that may be seen.
func (a *app) askLine(prompt string) (string, error) {
	fmt.Fprintf(a.stderr, "%s: ", terminal.Escape(prompt))
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	return strings.TrimSpace(line), err
}

// interruptible is standard input while a command runs: a Read that waits for more ends with the context of the command.
// What then comes from the pipe is lost, so that it is of no use afterwards.
type interruptible struct {
	ctx    context.Context // of the command, which does all the reading
	in     io.Reader
	buffer []byte // of its own: the read that nobody waits for any more goes on
	left   []byte // of buffer: what has been read and not been asked for
	err    error
}

func (r *interruptible) Read(p []byte) (int, error) {
	if len(r.left) == 0 && r.err == nil {
		if r.buffer == nil {
			r.buffer = make([]byte, 256<<10) // more than a pipe usually holds
		}
		var n int
		n, r.err = wait(r.ctx, func() (int, error) { return r.in.Read(r.buffer) })
		r.left = r.buffer[:n]
	}
	if len(r.left) == 0 {
		return 0, r.err
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// wait runs read, which knows nothing of contexts, until it is done or the context is.
func wait[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := read()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// getenv returns the value of an environment variable; one that is set and empty is as good as none.
func (a *app) getenv(name string) string {
	value, _ := a.lookupEnv(name)
	return value
}

// takeStdin returns standard input for one use, such as "the password", and an error if it has another use already.
func (a *app) takeStdin(use string) (io.Reader, error) {
	if a.stdinTaken != "" {
		return nil, usagef("standard input can be read once only: it cannot give both %s and %s", a.stdinTaken, use)
	}
	a.stdinTaken = use
	return a.stdin, nil
}

// say prints a line for the person on standard error, which --quiet leaves out. Arguments are escaped.
func (a *app) say(format string, args ...any) {
	if !a.flags.quiet {
		fmt.Fprintln(a.screen, terminal.Sprintf(format, args...))
	}
}

// warn prints a warning on standard error. Arguments are escaped.
func (a *app) warn(format string, args ...any) {
	progress := a.newProgress()
	defer progress.Close()
	progress.Warnf(format, args...)
}

// print writes a line of the result to standard output. Arguments are escaped, the format is not. An error in
// writing is reported when the command ends (see run).
func (a *app) print(format string, args ...any) {
	fmt.Fprintln(a.stdout, terminal.Sprintf(format, args...))
}

// printJSON writes the result as JSON to standard output.
func (a *app) printJSON(v any) error { return terminal.WriteJSON(a.stdout, v) }

// withProgress runs work with an observer that shows on standard error how far it is.
func (a *app) withProgress(work func(bundle.Observer) error) error {
	progress := a.newProgress()
	defer progress.Close()
	return work(progress)
}

func (a *app) newProgress() *terminal.Progress {
	return terminal.NewProgress(terminal.Options{
		Screen: a.screen, Format: a.flags.format, Quiet: a.flags.quiet, Now: a.now,
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
