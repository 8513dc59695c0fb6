package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle/ledger"
	"airgap/bundle/ledger/ledgertest"
	"airgap/export/registry"
	"airgap/export/registry/repository"

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
