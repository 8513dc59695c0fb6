// Package program runs programs of the user's, within bounds of time and output, and without a shell. Start with Run.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// ErrOutput: a program printed more than it may.
var ErrOutput = errors.New("its output is too long")

// Patience is how long a program may take to end once its time is over.
const Patience = 5 * time.Second

// Program says what to run. Path is not looked up in a shell; Args begin after the name of the program.
type Program struct {
	Path      string
	Args      []string
	Dir       string   // "": that of this process
	Env       []string // as os.Environ gives it; nil: that of this process
	Stdin     []byte
	MaxOutput int // of standard output, in bytes
	Timeout   time.Duration
}

// Run returns what the program writes to its standard output. Where it fails, the error has the end of what it writes to standard error; it wraps
// exec.ErrNotFound where there is no such program, ErrOutput, context.DeadlineExceeded after Timeout, or an *exec.ExitError.
// When ctx is done it is ctx's.
func Run(ctx context.Context, p Program) ([]byte, error) {
	running, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	command := exec.CommandContext(running, p.Path, p.Args...) //nolint:gosec // what the user names, and no shell
	command.Dir, command.Env, command.WaitDelay = p.Dir, p.Env, Patience
	command.Stdin = bytes.NewReader(p.Stdin)
	out := limited{most: p.MaxOutput}
	var said Tail
	command.Stdout, command.Stderr = &out, &said
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case running.Err() != nil:
		return nil, fmt.Errorf("%s: %w: it had %v%s", p.Path, running.Err(), p.Timeout, said.quoted())
	case out.isOver:
		return nil, fmt.Errorf("%s: %w: more than %d bytes", p.Path, ErrOutput, p.MaxOutput)
	case err != nil:
		return nil, fmt.Errorf("%s: %w%s", p.Path, err, said.quoted())
	}
	return out.kept.Bytes(), nil
}

// limited takes as much as it may, and then fails, so that the program's pipe breaks. The buffer is not embedded: io.Copy would use its ReadFrom.
type limited struct {
	kept   bytes.Buffer
	most   int
	isOver bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.isOver = l.isOver || l.kept.Len()+len(p) > l.most; l.isOver {
		return 0, ErrOutput
	}
	return l.kept.Write(p)
}

// maxTail bounds what is kept of standard error, in bytes.
const maxTail = 8 << 10

// Tail keeps the end of what is written to it, for standard error.
type Tail struct{ kept bytes.Buffer }

// Write implements io.Writer; it does not fail.
func (t *Tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > maxTail {
		p = p[len(p)-maxTail:]
	}
	if over := t.kept.Len() + len(p) - maxTail; over > 0 {
		t.kept.Next(over)
	}
	_, err := t.kept.Write(p)
	return n, err
}

// String returns what was kept, without white space around it.
func (t *Tail) String() string { return strings.TrimSpace(t.kept.String()) }

// quoted is for the end of an error.
func (t *Tail) quoted() string {
	if said := t.String(); said != "" {
		return ": " + said
	}
	return ""
}
