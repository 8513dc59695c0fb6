package interop

import (
	"testing"

	"airgap/bundle/bundletest"
)

// TestPairings is the main job, from each kind of registry into each: everything that is in the fixture
// is exported, verified and imported, and is then at the target as other programs see it.
func TestPairings(t *testing.T) {
	for _, source := range registryKinds {
		for _, target := range registryKinds {
			t.Run(source.name+" to "+target.name, func(t *testing.T) {
				carryFixture(t, source, target)
			})
		}
	}
}

func carryFixture(t *testing.T, source, target registryKind) {
	f, b := bundletest.LoadFixture(t), newBench(t)
	from := map[string]string{bundletest.Images: source.start(t), bundletest.Attestations: source.start(t)}
	to := target.start(t)
	b.plainHTTP(t, to)
	f.Push(t, from)
	expectProofs(t, b, f, func(p proof) string { return from[p.registry] })

	b.run(t, "airgap", "keygen")
	b.run(t, "airgap", exportArgs(f, from)...)
	b.run(t, "airgap", "verify", "world.tar", "--key", "airgap.pub")
	b.run(t, "airgap", "import", "world.tar", to+"/mirror", "--key", "airgap.pub")

	result := &copied{bench: b, fixture: f, repositories: to + "/mirror", referrersAPI: target.referrersAPI}
	for _, difference := range result.differences(t) {
		t.Error(difference)
	}
	expectProofs(t, b, f, func(proof) string { return to + "/mirror" })
}

// exportArgs is the command line that exports every root of the fixture.
func exportArgs(f *bundletest.Fixture, from map[string]string) []string {
	const attested = "/acme/dhi-python"
	args := []string{
		"export", "--key", "airgap.key", "-o", "world.tar",
		"--referrers-from", from[bundletest.Images] + attested + "=" + from[bundletest.Attestations] + attested,
	}
	for _, root := range f.Roots() {
		args = append(args, from[bundletest.Images]+"/"+root.Reference())
	}
	return args
}
