package repository_test

import (
	"context"
	"testing"
	"time"

	"airgap/bundle/bundletest"
	"airgap/bundle/ledger"
	"airgap/bundle/ledger/ledgertest"
	"airgap/export/registry"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/repository"
	"airgap/export/registry/retry"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

func open(t testing.TB, host string, keychain authn.Keychain) ledger.Repository {
	t.Helper()
	repo, err := name.NewRepository(host + "/lab/mirror/airgap")
	if err != nil {
		t.Fatal(err)
	}
	c := registry.New(registry.Config{
		Keychain: keychain,
		Host:     func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		Retry:    retry.Policy{Attempts: 2, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
	t.Cleanup(c.CloseIdleConnections)
	return repository.New(c, repo)
}

func TestRegistriesKeepHeads(t *testing.T) {
	t.Run("referrers API", func(t *testing.T) {
		ledgertest.Contract(t, func(t testing.TB) ledger.Repository { return open(t, bundletest.StartRegistry(t, true), nil) })
	})
	t.Run("fallback tags", func(t *testing.T) {
		ledgertest.Contract(t, func(t testing.TB) ledger.Repository { return open(t, bundletest.StartRegistry(t, false), nil) })
	})
	t.Run("Harbor", func(t *testing.T) {
		ledgertest.Contract(t, func(t testing.TB) ledger.Repository {
			s := harbortest.New(t)
			s.AddProject(harbortest.Project{Name: "lab"})
			return open(t, s.Registry().RegistryStr(), s.AddRobot("lab", "imp", harbortest.Push).Keychain())
		})
	})
}
