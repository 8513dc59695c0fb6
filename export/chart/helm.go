package chart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNoHelm: there is no helm to render a chart with.
var ErrNoHelm = errors.New("helm is needed to find the images of a chart, and there is none on the PATH: install it (https://helm.sh/docs/intro/install/), leave out images: true, or render elsewhere and pass the result with --images-from")

// Helm renders charts with the helm program, version 3 or 4.
type Helm struct {
	Path string   // of the program; "" looks for it on the PATH
	Env  []string // its environment, as os.Environ gives it
	Dir  string   // for its files; "" is the system's directory for such
}

// maxStderr bounds what is kept of what helm says, in bytes.
const maxStderr = 8 << 10

// helmPatience is how long helm may take to end once its context is done.
const helmPatience = 5 * time.Second

// Render renders the chart in archive, a .tgz file, with the given values files, and looks for images in the result. Helm
// gets a home of its own that is empty, so that it knows no repository to ask anything of.
func (h Helm) Render(ctx context.Context, archive, label string, values []string) (Found, error) {
	program := h.Path
	if program == "" {
		var err error
		if program, err = exec.LookPath("helm"); err != nil {
			return Found{}, ErrNoHelm
		}
	}
	home, err := os.MkdirTemp(h.Dir, "airgap-helm-*")
	if err != nil {
		return Found{}, err
	}
	defer func() { _ = os.RemoveAll(home) }()
	args := []string{"template", "airgap", archive}
	for _, file := range values {
		args = append(args, "--values", file)
	}
	command := exec.CommandContext(ctx, program, args...) //nolint:gosec // helm, and no shell
	command.Env = append(h.Env, "HELM_CACHE_HOME="+filepath.Join(home, "cache"), "HELM_CONFIG_HOME="+filepath.Join(home, "config"), "HELM_DATA_HOME="+filepath.Join(home, "data"))
	command.WaitDelay = helmPatience
	var stderr tail
	command.Stderr = &stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return Found{}, err
	}
	if err := command.Start(); err != nil {
		return Found{}, err
	}
	found, readErr := FromManifests(label, out)
	_, _ = io.Copy(io.Discard, out) // after an error: helm must not wait for a reader
	err = command.Wait()
	switch {
	case ctx.Err() != nil:
		return Found{}, ctx.Err()
	case err != nil:
		return Found{}, fmt.Errorf("helm template: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return found, readErr
}

// tail keeps the end of what is written to it.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > maxStderr {
		p = p[len(p)-maxStderr:]
	}
	if over := t.Len() + len(p) - maxStderr; over > 0 {
		t.Next(over)
	}
	_, err := t.Buffer.Write(p)
	return n, err
}
