package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle/ledger"
	"airgap/bundle/ledger/ledgertest"
	"airgap/export/registry"
	"airgap/export/registry/repository"
	"airgap/verify/signature"

	reference "github.com/google/go-containerregistry/pkg/name"
)

func TestDistributionKeepsHeads(t *testing.T) {
	for version, start := range map[string]func(testing.TB) string{"3": startDistribution, "2.8": startDistribution2} {
		t.Run(version, func(t *testing.T) {
			host := start(t)
			c := registry.New(registry.Config{Host: func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} }})
			ledgertest.Contract(t, func(t testing.TB) ledger.Repository {
				repo, err := reference.NewRepository(host + "/" + strings.ToLower(strings.Map(plain, t.Name())) + "/" + filepath.Base(t.TempDir()))
				if err != nil {
					t.Fatal(err)
				}
				return repository.New(c, repo)
			})
		})
	}
}

// plain keeps of a test's name what the name of a repository may have.
func plain(r rune) rune {
	if r == '.' || r == '_' {
		return '-'
	}
	return r
}

// Other tools read the directory of a ledger: regctl finds the signature through the fallback tag.
func TestRegctlReadsALedger(t *testing.T) {
	b := newBench(t)
	dir := filepath.Join(t.TempDir(), "ledger")
	a := ledgertest.New(t, "dhi", 12, "x")
	if err := (ledger.Ledger{Repository: ledger.Directory(dir)}).Put(t.Context(), "dhi-000012", a); err != nil {
		t.Fatal(err)
	}
	head := "ocidir://" + dir + ":dhi-000012"
	if got := b.run(t, "regctl", "manifest", "head", head); strings.TrimSpace(got) != a.Index.Digest.String() {
		t.Error(got)
	}
	if got := b.run(t, "regctl", "artifact", "list", head); !strings.Contains(got, a.Signature.Digest.String()) {
		t.Error(got)
	}
}

// A record is read with the means of any registry: regctl lists it, and cosign checks who signed it.
func TestOthersReadARecord(t *testing.T) {
	b := newBench(t)
	stranger, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	key := func(k *signature.PrivateKey) string {
		file := filepath.Join(t.TempDir(), "key.pub")
		if err := os.WriteFile(file, k.Public().MarshalPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for version, start := range map[string]func(testing.TB) string{"3": startDistribution, "2.8": startDistribution2} {
		host := start(t)
		repo, err := reference.NewRepository(host + "/mirror/airgap")
		if err != nil {
			t.Fatal(err)
		}
		c := registry.New(registry.Config{Host: func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} }})
		a := ledgertest.New(t, "dhi", 12, "x")
		if err := (ledger.Ledger{Repository: repository.New(c, repo)}).Put(t.Context(), "dhi-000012", a); err != nil {
			t.Fatal(err)
		}
		b.plainHTTP(t, host)
		if got := b.run(t, "regctl", "tag", "ls", repo.Name()); !strings.Contains(got, "dhi-000012") {
			t.Error(version, got)
		}
		verify := func(key string) error {
			_, err := b.try(t, "cosign", "verify", "--key", key, "--insecure-ignore-tlog=true", repo.Name()+":dhi-000012")
			return err
		}
		if err := verify(key(ledgertest.Key)); err != nil {
			t.Error(version, err)
		}
		if err := verify(key(stranger)); err == nil {
			t.Error(version, "cosign takes any key")
		}
	}
}
