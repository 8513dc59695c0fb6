package interop

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"airgap/bundle/bundletest"
)

// registryKind is a registry that fixtures come from or go to.
type registryKind struct {
	name         string
	referrersAPI bool
	start        func(t testing.TB) (host string)
}

// registryKinds are one registry without the referrers API and one with it.
var registryKinds = []registryKind{
	{"distribution", false, startDistribution},
	{"ggcr", true, func(t testing.TB) string { return bundletest.StartRegistry(t, true) }},
}

// distributionConfig takes the data folder and the address. Without a list of allowed URLs, distribution
// refuses any manifest that has a foreign layer.
const distributionConfig = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q}
`

// allowForeign is the validation that the fixture needs.
const allowForeign = "validation: {manifests: {urls: {allow: ['^https://foreign\\.acme\\.example/']}}}\n"

// startDistribution runs the distribution registry until the test ends.
func startDistribution(t testing.TB) string {
	t.Helper()
	return startDistributionWith(t, allowForeign)
}

// startDistributionWith adds lines to its configuration.
func startDistributionWith(t testing.TB, more string) string {
	t.Helper()
	// The test's context ends before its cleanups run, and kills the process.
	address, ended := startDistributionIn(t.Context(), t, t.TempDir(), more)
	t.Cleanup(func() { <-ended })
	return address
}

// startDistributionIn keeps its data in a given folder, and runs until ctx is done.
func startDistributionIn(ctx context.Context, t testing.TB, storage, more string) (address string, ended <-chan struct{}) {
	t.Helper()
	return startProgramIn(ctx, t, "registry", storage, more)
}

// startDistribution2 runs distribution 2.8, which is Debian's docker-registry, until the test ends.
func startDistribution2(t testing.TB) string {
	t.Helper()
	address, ended := startProgramIn(t.Context(), t, "docker-registry", t.TempDir(), allowForeign)
	t.Cleanup(func() { <-ended })
	return address
}

// startProgramIn starts one of distribution's programs, of whatever version.
func startProgramIn(ctx context.Context, t testing.TB, program, storage, more string) (address string, ended <-chan struct{}) {
	t.Helper()
	address = freeAddress(t)
	config := filepath.Join(t.TempDir(), "config.yml")
	content := fmt.Sprintf(distributionConfig, storage, address) + more
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	command := exec.CommandContext(ctx, findTool(t, program), "serve", config)
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	go func() {
		_ = command.Wait() // always "killed" when all is well; waitUntilReady reports the rest
		close(end)
	}()
	waitUntilReady(t, address, end, &log)
	return address, end
}

// freeAddress is free now. That another process takes it before it is used is possible and would show as
// a failure to start.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// waitUntilReady returns when the registry answers. The log may be read only once the process has ended.
func waitUntilReady(t testing.TB, address string, ended <-chan struct{}, log *bytes.Buffer) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if response, err := http.Get("http://" + address + "/v2/"); err == nil {
			response.Body.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("the distribution registry ended at once:\n%s", log)
		case <-deadline:
			t.Fatalf("the distribution registry does not answer at %s", address)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
