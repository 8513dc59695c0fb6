// Package interop carries the fixtures with the airgap binary between real registries, and looks at the
// result with programs that are not airgap: crane, regctl and cosign.
//
// "make interop" installs those programs and puts them first in $PATH; $AIRGAP_TOOLS may name another
// folder that has them. Nothing here is ever skipped: what is missing fails.
package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// scratch is a folder for what all tests share, gone when they have run.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(runIn(m))
}

// runIn is apart from TestMain because os.Exit forgets what was deferred.
func runIn(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "airgap-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}

// buildAirgap builds the program under test from this tree, once, when the first test asks for it.
var buildAirgap = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(scratch, "airgap")
	build := exec.Command("go", "build", "-o", path, "./cmd/airgap")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building airgap: %w\n%s", err, out)
	}
	return path, nil
})

// fixtureFile returns the path of a file that lies beside the fixture's blobs, wherever it is used from.
func fixtureFile(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "fixtures", "acme", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
