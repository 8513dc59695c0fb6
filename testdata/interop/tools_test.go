package interop

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// toolTimeout ends a program that hangs. The slowest is an export of everything, in a few seconds.
const toolTimeout = 2 * time.Minute

// findTool returns the path of a program: airgap, which is built from this tree, or one in $AIRGAP_TOOLS
// or, as "make interop" has it, in $PATH.
func findTool(t testing.TB, name string) string {
	t.Helper()
	if name == "airgap" {
		path, err := buildAirgap()
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	if path := filepath.Join(os.Getenv("AIRGAP_TOOLS"), name); filepath.IsAbs(path) {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run these tests with \"make interop\", which installs the tools", err)
	}
	return path
}

// bench is a place to run programs in: a home of its own, so that nothing of the person who runs the
// tests is read or changed, and a working directory.
type bench struct {
	dir string
	env []string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir()}
	home := t.TempDir()
	b.env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + home,
		"DOCKER_CONFIG=" + filepath.Join(home, ".docker"),
		"XDG_CONFIG_HOME=" + filepath.Join(home, ".config"),
		"XDG_CACHE_HOME=" + filepath.Join(home, ".cache"),
		"AIRGAP_PASSWORD=interop",
		"COSIGN_PASSWORD=interop",
	}
	return b
}

// try runs a program and returns its standard output. The error has all that it said.
func (b *bench) try(t testing.TB, tool string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, findTool(t, tool), args...)
	command.Dir, command.Env = b.dir, b.env
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s%s",
			tool, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// run runs a program that has to succeed.
func (b *bench) run(t testing.TB, tool string, args ...string) string {
	t.Helper()
	out, err := b.try(t, tool, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// write makes a file in the bench's directory and returns its path.
func (b *bench) write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// plainHTTP tells regctl, which unlike the other tools has to be told, that the host has no TLS.
func (b *bench) plainHTTP(t testing.TB, hosts ...string) {
	t.Helper()
	for _, host := range hosts {
		b.run(t, "regctl", "registry", "set", "--tls", "disabled", "--skip-check", host)
	}
}

// statusOf makes a request without any of the tools, and returns the status of the answer.
func statusOf(t testing.TB, method, url string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}
