package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/cli/cli/config"

	"airgap/cmd/airgap/app"
)

// world is a world for commands to run in, and what they left there.
type world struct {
	*app.App
	home     string
	out, err bytes.Buffer
	asked    []string // prompts that readPassword answered
}

// newWorld returns a world with an empty home, no terminal and nothing on standard input.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{home: t.TempDir()}
	for _, name := range []string{
		"DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME",
		"AIRGAP_PASSWORD", "COSIGN_PASSWORD",
	} {
		t.Setenv(name, "") // which puts it back afterwards
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", w.home)
	t.Setenv("USERPROFILE", w.home)
	config.SetDir(filepath.Join(w.home, ".docker")) // it remembers the home of the first test otherwise
	w.App = &app.App{
		Stdin: strings.NewReader(""), Stdout: &w.out, Stderr: &w.err, LookupEnv: os.LookupEnv,
		Now: func() time.Time { return time.Unix(1700000000, 0) }, Log: slog.New(slog.DiscardHandler),
	}
	return w
}

// atTerminal puts somebody there who types these passwords, one after the other.
func (w *world) atTerminal(passwords ...string) *world {
	w.ReadPassword = func(context.Context) ([]byte, error) {
		prompts := strings.Split(strings.TrimRight(w.err.String(), "\n"), "\n")
		w.asked = append(w.asked, prompts[len(prompts)-1])
		if len(passwords) == 0 {
			return nil, errors.New("nothing more to type")
		}
		password := passwords[0]
		passwords = passwords[1:]
		return []byte(password), nil
	}
	return w
}

func (w *world) run(args ...string) int {
	w.out.Reset()
	w.err.Reset()
	copied := *w.App // each command line is a process of its own
	return run(context.Background(), args, &copied)
}

// expect runs a command line and checks its exit code, and that standard error contains some text.
func (w *world) expect(t *testing.T, code int, message string, args ...string) {
	t.Helper()
	got := w.run(args...)
	if got != code || !strings.Contains(w.err.String(), message) {
		t.Errorf("airgap %s\nexit code %d, want %d; standard error:\n%s\nwant: %s", strings.Join(args, " "), got, code, w.err.String(), message)
	}
	if code != exitOK && w.out.Len() > 0 {
		t.Errorf("airgap %s failed, but printed %q to standard output", strings.Join(args, " "), w.out.String())
	}
}

// write makes a file in the home folder and returns its path.
func (w *world) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(w.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeKeys makes airgap.key and airgap.pub, for tests that are about something else: to read an encrypted key, as keygen makes it, is
// slow on purpose, and takes seconds with the race detector.
func (w *world) writeKeys(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "airgap.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	w.write(t, "airgap.pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
}

type brokenWriter struct{ io.Writer }

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }
