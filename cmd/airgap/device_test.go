//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// A bundle goes to any device, such as a tape, but not to a terminal.
func TestExportToADevice(t *testing.T) {
	k := newKillable(t)
	for name, want := range map[string]int{os.DevNull: exitOK, "/dev/ptmx": exitUsage} {
		device, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			t.Skipf("no %s here: %v", name, err)
		}
		command := exec.CommandContext(t.Context(), os.Args[0], "export", k.server.Host()+"/acme/app:1", "--key", filepath.Join(k.home, "airgap.key"), "-o", "-")
		command.Env = append(os.Environ(), asAirgap+"=1")
		command.Stdout = device
		var stderr bytes.Buffer
		command.Stderr = &stderr
		_ = command.Run()
		if got := command.ProcessState.ExitCode(); got != want {
			t.Errorf("to %s: exit code %d, want %d\n%s", name, got, want, stderr.String())
		}
		if err := device.Close(); err != nil {
			t.Error(err)
		}
	}
}
