package interop

import (
	"net/http"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
)

// TestComparisonOfEqual compares registries that the fixture was pushed into as it is.
func TestComparisonOfEqual(t *testing.T) {
	for _, kind := range registryKinds {
		t.Run(kind.name, func(t *testing.T) {
			for _, difference := range pushed(t, kind).differences(t) {
				t.Error(difference)
			}
		})
	}
}

// TestComparisonFindsDifferences spoils a registry. Without it, a comparison that compares nothing would
// make TestPairings pass.
func TestComparisonFindsDifferences(t *testing.T) {
	c := pushed(t, registryKinds[1])
	index := c.fixture.Digest(t, "acme/dhi-python", "3.13")
	summary := c.fixture.Referrers(index)[0]
	layer := c.fixture.Manifest(t, c.fixture.Digest(t, "acme/notation", "1.0")).Blobs[1]
	c.delete(t, "acme/dhi-python/manifests/"+summary.Digest)
	c.delete(t, "acme/notation/blobs/"+layer)
	c.run(t, "crane", "tag", c.repositories+"/acme/report:2026", "more")

	got := strings.Join(c.differences(t), "\n")
	for _, want := range []string{
		"crane manifest " + c.repositories + "/acme/dhi-python@" + summary.Digest,
		"referrers of " + c.repositories + "/acme/dhi-python@" + index,
		"crane blob " + c.repositories + "/acme/notation@" + layer,
		`tags of acme/report: ["2026" "all" "more"], want ["2026" "all"]`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the comparison does not say %q, but:\n%s", want, got)
		}
	}
}

// pushed is a registry of the kind with the fixture in it.
func pushed(t *testing.T, kind registryKind) *copied {
	t.Helper()
	c := &copied{
		bench: newBench(t), fixture: bundletest.LoadFixture(t),
		repositories: kind.start(t), referrersAPI: kind.referrersAPI,
	}
	c.plainHTTP(t, c.repositories)
	c.fixture.Push(t, map[string]string{bundletest.Images: c.repositories, bundletest.Attestations: c.repositories})
	return c
}

func (c *copied) delete(t *testing.T, path string) {
	t.Helper()
	if status := statusOf(t, http.MethodDelete, "http://"+c.repositories+"/v2/"+path); status != http.StatusAccepted {
		t.Fatalf("DELETE %s: %d", path, status)
	}
}
