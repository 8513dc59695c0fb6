//go:build unix

package volume_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/volume"
)

// What is named like a volume or a table and is no file is said to be none; nobody waits for a pipe that nobody writes to.
func TestPipesAndDirectoriesAreNoVolumes(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"endless":   func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCut(t)
			c.remove(t, "monday.tar.0002")
			c.remove(t, "monday.volumes.0002")
			if err := errors.Join(make(c.path("monday.tar.0002")), make(c.path("monday.volumes.0002"))); err != nil {
				t.Fatal(err)
			}
			soon(t, func() {
				if _, err := volume.Open(c.dir); !errors.Is(err, volume.ErrVolumes) || !strings.Contains(err.Error(), "monday.tar.0002: not a regular file") {
					t.Errorf("open: %v", err)
				}
				enough := errors.New("enough")
				drive, err := volume.OpenDrive(t.Context(), []string{c.dir}, func(_ context.Context, w volume.Wanted) error { return errors.Join(enough, w.Problem) })
				if err != nil {
					t.Errorf("drive: %v", err)
					return
				}
				if err := drive.Insert(t.Context(), 1); !errors.Is(err, enough) || !strings.Contains(err.Error(), "not a regular file") {
					t.Errorf("insert: %v", err)
				}
			})
		})
	}
	pipe := filepath.Join(t.TempDir(), "bundle.tar")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	soon(t, func() {
		if _, err := bundle.OpenFile(pipe); err == nil || !strings.Contains(err.Error(), "not a regular file; give it on standard input") {
			t.Errorf("a bundle: %v", err)
		}
	})
}

// Every volume has a copy of the table: where that is broken, any other volume will do, and the first is not asked for.
func TestBrokenTableOneAtATime(t *testing.T) {
	c := newCut(t)
	c.change(t, "monday.volumes.0001", 100)
	dir := t.TempDir()
	insert := func(number string) error {
		for _, name := range []string{"monday.tar.", "monday.volumes."} {
			if err := os.Link(c.path(name+number), filepath.Join(dir, name+number)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := insert("0001"); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	if _, err := volume.OpenDrive(t.Context(), []string{dir}, func(context.Context, volume.Wanted) error { return enough }); !errors.Is(err, volume.ErrTable) || !errors.Is(err, enough) {
		t.Errorf("nobody has another one: %v", err)
	}
	drive, err := volume.OpenDrive(t.Context(), []string{dir}, func(_ context.Context, w volume.Wanted) error {
		if w.Number != 0 || !errors.Is(w.Problem, volume.ErrTable) {
			t.Errorf("volume %d was asked for: %v", w.Number, w.Problem)
		}
		return insert("0003")
	})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if _, err := drive.ReadAt(got, 0); err != nil || string(got) != string(c.content[:10]) {
		t.Errorf("%q, %v", got, err)
	}
	if err := drive.Close(); err != nil {
		t.Error(err)
	}
}

// soon fails the test where do waits for something that never comes.
func soon(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
	}
}
