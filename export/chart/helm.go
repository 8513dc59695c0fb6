package chart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"airgap/bundle/program"
)

// ErrNoHelm: there is no helm to render a chart with.
var ErrNoHelm = errors.New("helm is needed to find the images of a chart, and there is none on the PATH: " +
	"install it (https://helm.sh/docs/intro/install/), leave out images: true, " +
	"or render elsewhere and pass the result with --images-from")

// Helm renders charts with the helm program, version 3 or 4.
type Helm struct {
	Path string   // of the program; "" looks for it on the PATH
	Env  []string // its environment, as os.Environ gives it; variables of helm's own are not passed on
	Dir  string   // for its files; "" is the system's directory for such
}

// Render renders the chart in archive, a .tgz file, with the given values files, and looks for images in the result,
// with hooks and tests among it. label names the result in Image.Where. It returns ErrNoHelm, the context's error, an error
// with what helm says, or one of FromManifests.
//
// Helm gets a home of its own that is empty, so that it knows no repository to ask anything of, no registry's
// credentials, and no plugin. With "template" it contacts no cluster.
func (h Helm) Render(ctx context.Context, archive, label string, values []string) (found Found, err error) {
	home, err := os.MkdirTemp(h.Dir, "airgap-helm-*")
	if err != nil {
		return Found{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	running, stop := context.WithCancel(ctx)
	defer stop()
	command, err := h.command(running, home, archive, values)
	if err != nil {
		return Found{}, err
	}
	var stderr program.Tail
	command.Stderr = &stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return Found{}, err
	}
	if err := command.Start(); err != nil {
		return Found{}, startError(ctx, err)
	}
	found, readErr := FromManifests(label, out)
	if readErr != nil {
		stop() // or it would wait for a reader
	}
	err = command.Wait()
	switch {
	case ctx.Err() != nil:
		return Found{}, ctx.Err()
	case readErr != nil:
		return Found{}, readErr
	case err != nil:
		return Found{}, fmt.Errorf("helm template: %w: %s", err, &stderr)
	}
	return found, nil
}

// command prepares "helm template" with flags that versions 3 and 4 have.
func (h Helm) command(ctx context.Context, home, archive string, values []string) (*exec.Cmd, error) {
	helm := h.Path
	if helm == "" {
		var err error
		if helm, err = exec.LookPath("helm"); err != nil {
			return nil, startError(ctx, err)
		}
	}
	args := []string{"template", "airgap"}
	for _, file := range values {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		args = append(args, "--values", quoteFlag(path))
	}
	path, err := filepath.Abs(archive)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, helm, append(args, path)...) //nolint:gosec // helm, and no shell
	command.Env = h.environment(home)
	command.WaitDelay = program.Patience
	return command, nil
}

// environment is the one that helm gets. https://helm.sh/docs/helm/helm/
func (h Helm) environment(home string) []string {
	env := slices.DeleteFunc(slices.Clone(h.Env), func(variable string) bool {
		return strings.HasPrefix(strings.ToUpper(variable), "HELM_")
	})
	for _, name := range []string{"CACHE", "CONFIG", "DATA"} {
		env = append(env, "HELM_"+name+"_HOME="+filepath.Join(home, strings.ToLower(name)))
	}
	return env
}

// quoteFlag writes a path as helm reads those of --values: as CSV, since the flag takes several at once. The path must be
// absolute: helm fetches what begins like an address, and reads its standard input for "-".
func quoteFlag(path string) string {
	if !strings.ContainsAny(path, ",\"\r\n") {
		return path
	}
	return `"` + strings.ReplaceAll(path, `"`, `""`) + `"`
}

// startError says what it means when a program does not start.
func startError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return ErrNoHelm
	}
	return fmt.Errorf("helm: %w", err)
}
