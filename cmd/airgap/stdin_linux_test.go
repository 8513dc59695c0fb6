package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/bundle/bundletest"
)

// A pipe that has gone silent can be interrupted: by the first signal, with the exit code of an interruption, and nothing is
// left behind.
func TestSilentPipeIsInterrupted(t *testing.T) {
	c := exportFixture(t)
	content, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	target := bundletest.StartRegistry(t, true)
	list := []byte("# nothing yet\n")
	for name, test := range map[string]struct {
		input []byte
		args  []string
	}{
		"verify":        {content[:len(content)-1], []string{"verify", "-", "--key", c.public}},
		"verify, early": {content[:1<<17], []string{"verify", "-", "--key", c.public, "--deep"}},
		"import":        {content[:len(content)-1], []string{"import", "-", target + "/mirror", "--key", c.public}},
		"inspect":       {content[:1<<17], []string{"inspect", "-"}},
		"list":          {list, []string{"plan", "-f", "-"}},
		"configuration": {list, []string{"plan", "-c", "-"}},
		"password":      {list, []string{"login", target, "--username", "x", "--password-stdin"}},
	} {
		for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(name+"/"+signal.String(), func(t *testing.T) {
				t.Parallel()
				interrupt(t, signal, test.input, test.args)
			})
		}
	}
}

func interrupt(t *testing.T, signal os.Signal, input []byte, args []string) {
	in, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	temporary := t.TempDir()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, os.Args[0], args...)
	command.Env = append(os.Environ(), asAirgap+"=1", "TMPDIR="+temporary)
	command.Stdin, command.Stdout, command.Stderr = in, &stdout, &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	if _, err := writer.Write(input); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for !isReadingStdin(t, command.Process.Pid) {
		if ctx.Err() != nil {
			t.Fatalf("it does not wait for standard input\n%s", stderr.String())
		}
		time.Sleep(time.Millisecond)
	}
	if err := command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = command.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted || !strings.HasSuffix(stderr.String(), "airgap: interrupted\n") {
		t.Errorf("%v, want exit code %d\n%s", err, exitInterrupted, stderr.String())
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if stdout.Len() > 0 {
		t.Errorf("printed %q", stdout.String())
	}
	if left, err := filepath.Glob(temporary + "/*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// isReadingStdin tells whether a thread of a process waits for its standard input.
// https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html
func isReadingStdin(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		call, _ := os.ReadFile(thread) // a thread may have ended
		if strings.HasPrefix(string(call), fmt.Sprintf("%d 0x0 ", syscall.SYS_READ)) {
			return true
		}
	}
	return false
}
