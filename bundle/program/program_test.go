package program_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"airgap/bundle/program"
)

// With asProgram in its environment, this test is the program that is run.
const asProgram = "AIRGAP_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "":
		os.Exit(m.Run())
	case "hangs":
		fmt.Fprintln(os.Stderr, "waiting for a card")
		time.Sleep(time.Hour)
	case "shouts":
		fmt.Print(strings.Repeat("a", 1000))
	case "fails":
		fmt.Fprint(os.Stderr, strings.Repeat("-", 20000), "the end\n")
		os.Exit(7)
	case "arguments":
		fmt.Print(strings.Join(os.Args[1:], "|"))
	}
	os.Exit(0)
}

func run(t *testing.T, how string, args ...string) (string, error) {
	out, err := program.Run(t.Context(), program.Program{
		Path: os.Args[0], Args: args, Env: append(os.Environ(), asProgram+"="+how), MaxOutput: 100, Timeout: timeoutOf(how),
	})
	return string(out), err
}

func timeoutOf(how string) time.Duration {
	if how == "hangs" {
		return 200 * time.Millisecond
	}
	return time.Minute
}

func TestRun(t *testing.T) {
	if out, err := run(t, "arguments", "a b", "$HOME", "*"); err != nil || out != "a b|$HOME|*" {
		t.Errorf("%q, %v: arguments pass through no shell", out, err)
	}
	if _, err := run(t, "hangs"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "200ms") {
		t.Errorf("hangs: %v", err)
	}
	if _, err := run(t, "shouts"); !errors.Is(err, program.ErrOutput) {
		t.Errorf("shouts: %v", err)
	}
	_, err := run(t, "fails")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 || !strings.HasSuffix(err.Error(), "-the end") || len(err.Error()) > 9000 {
		t.Errorf("fails: %v", err)
	}
	if _, err := program.Run(t.Context(), program.Program{Path: "no-such-program", Timeout: time.Minute}); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("no program: %v", err)
	}
}
