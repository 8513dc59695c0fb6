package importtest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/export/registry/retry"
)

// Client is the real client without credentials, which makes no pauses.
func Client() *registry.Client {
	return registry.New(registry.Config{
		Host:             func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		NotFoundIsEnough: true,
		Retry:            retry.Policy{Attempts: 2, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
}

// HarborClient is the real client of an account, which makes no pauses.
func HarborClient(t testing.TB, who harbortest.Account) *registry.Client {
	c := registry.New(registry.Config{
		Keychain: who.Keychain(),
		Host:     func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		Retry:    retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// HarborOf returns the API of a Harbor.
func HarborOf(t testing.TB, c *registry.Client, s *harbortest.Server) *harbor.Client {
	t.Helper()
	found, err := harbor.Find(t.Context(), c, s.Registry())
	if err != nil || found == nil {
		t.Fatal("no Harbor", err)
	}
	return found
}

// Writes are the requests that change something at the target.
func Writes(s *registrytest.Server) []string {
	var list []string
	for _, r := range s.Requests() {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			list = append(list, r.String())
		}
	}
	return list
}

// ExpectManifest compares what a server has under a reference with what it should have.
func ExpectManifest(t *testing.T, s *registrytest.Server, repo, reference string, want []byte) {
	t.Helper()
	if got := s.StoredManifest(repo, reference); string(got) != string(want) {
		t.Errorf("%s, %s: %d bytes, want %d", repo, reference, len(got), len(want))
	}
}
