package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
)

// configTestdata is where export/config keeps what is put through regsync here.
const configTestdata = "../../export/config/testdata"

// readConfigFile returns a file of export/config with other names in it.
func readConfigFile(t testing.TB, name string, names ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(configTestdata, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(names...).Replace(string(content))
}

// writeConfig writes a configuration, in which the given registries speak plain http: regsync has to be told.
func (b *bench) writeConfig(t testing.TB, name, text string, hosts ...string) string {
	t.Helper()
	creds := "creds:\n"
	for _, host := range hosts {
		creds += fmt.Sprintf("  - {registry: %q, tls: disabled}\n", host)
	}
	return b.write(t, name, strings.Replace(text, "version: 1\n", "version: 1\n"+creds, 1))
}

// dhiTags are tags at the source of the two repositories in Docker's sample, and whether the sample selects them.
var dhiTags = map[string]map[string]bool{
	"acme/dhi-node": {
		"24": true, "24.1-debian13": true, "24-debian13-dev": true,
		"24-alpine3.22": false, "24.1-debian12": false, "24-debian12-dev": false, "22": false, "latest": false,
	},
	"acme/dhi-python": {"3.12": true, "3.12-debian13": true, "3.12-alpine3.22": false, "3.13": false},
}

// shapeLikeDHI makes of the fixture a source as Docker's sample expects it: two repositories with many tags, of which
// the attestations are in another registry.
func shapeLikeDHI(t testing.TB, f *bundletest.Fixture) {
	t.Helper()
	hardened := f.Digest(t, "acme/dhi-python", "3.13")
	shaped := f.Repositories[:0:0]
	for _, r := range f.Repositories {
		if r.Name != "acme/dhi-python" {
			continue
		}
		for name, tags := range dhiTags {
			copied := r
			copied.Name, copied.Tags = name, maps.Clone(r.Tags)
			if r.Registry == bundletest.Images {
				for tag := range tags {
					copied.Tags[tag] = hardened
				}
			}
			if name != r.Name {
				delete(copied.Tags, "3.13")
			}
			shaped = append(shaped, copied)
		}
	}
	f.Repositories = shaped
}

// Docker's sample, by regsync into one registry and by airgap across the gap into another: the same tags, with those of
// the lists of referrers where the target has no API, the same digests, and every referrer that the source has, which is
// every one that regsync brings. (Where images have cosign's digest tags, regsync leaves them unless it is told digestTags,
// and airgap carries them; these have none.)
func TestDockersSampleAgainstRegsync(t *testing.T) {
	for _, kind := range registryKinds {
		t.Run(kind.name, func(t *testing.T) {
			f, b := bundletest.LoadFixture(t), newBench(t)
			hardened := f.Digest(t, "acme/dhi-python", "3.13")
			shapeLikeDHI(t, f)
			images, attestations := kind.start(t), kind.start(t)
			byRegsync, byAirgap := kind.start(t), kind.start(t)
			f.Push(t, map[string]string{bundletest.Images: images, bundletest.Attestations: attestations})
			b.plainHTTP(t, images, attestations, byRegsync, byAirgap)
			text := readConfigFile(t, "dhi.yaml", "docker.io", images, "registry.scout.docker.com", attestations, "registry.example.com", byRegsync)
			config := b.writeConfig(t, "regsync.yaml", text, images, attestations, byRegsync)

			b.run(t, "regsync", "once", "-c", config)
			b.run(t, "airgap", "keygen")
			b.run(t, "airgap", "export", "-c", config, "--key", "airgap.key", "-o", "monday.tar")
			b.run(t, "airgap", "import", "monday.tar", byAirgap, "--key", "airgap.pub")

			for source, tags := range dhiTags {
				repository := strings.Replace(source, "acme/", "mirror/", 1)
				var want []string
				for tag, selected := range tags {
					if selected {
						want = append(want, tag)
					}
				}
				slices.Sort(want)
				for host, by := range map[string]string{byRegsync: "regsync", byAirgap: "airgap"} {
					got := slices.DeleteFunc(lines(b.run(t, "crane", "ls", host+"/"+repository)), func(tag string) bool { return strings.HasPrefix(tag, "sha256-") })
					if !slices.Equal(got, want) {
						t.Errorf("%s: tags of %s: %q, want %q", by, repository, got, want)
					}
					for _, tag := range got {
						if digest := strings.TrimSpace(b.run(t, "crane", "digest", host+"/"+repository+":"+tag)); digest != hardened {
							t.Errorf("%s: %s:%s is %s, want %s", by, repository, tag, digest, hardened)
						}
					}
				}
				compareReferrers(t, b, f, hardened, byRegsync+"/"+repository, byAirgap+"/"+repository)
				theirs, ours := lines(b.run(t, "crane", "ls", byRegsync+"/"+repository)), lines(b.run(t, "crane", "ls", byAirgap+"/"+repository))
				if kind.referrersAPI {
					// This registry does not say OCI-Subject, from which regsync concludes that it has no API.
					theirs = slices.DeleteFunc(theirs, func(tag string) bool { return strings.HasPrefix(tag, "sha256-") })
				}
				if !slices.Equal(theirs, ours) {
					t.Errorf("%s has the tags %q by regsync and %q by airgap", repository, theirs, ours)
				}
			}
		})
	}
}

// compareReferrers walks from a manifest through everything that either registry lists.
func compareReferrers(t *testing.T, b *bench, f *bundletest.Fixture, root, byRegsync, byAirgap string) {
	t.Helper()
	list := func(reference string) []string {
		return lines(b.run(t, "regctl", "artifact", "list", reference, "--format", "{{range .Descriptors}}{{println .Digest}}{{end}}"))
	}
	brought := 0
	pending, seen := []string{root}, map[string]bool{}
	for len(pending) > 0 {
		digest := pending[0]
		pending = pending[1:]
		if seen[digest] {
			continue
		}
		seen[digest] = true
		pending = append(pending, f.Manifest(t, digest).Children...)
		theirs, ours := list(byRegsync+"@"+digest), list(byAirgap+"@"+digest)
		for _, referrer := range theirs {
			if !slices.Contains(ours, referrer) {
				t.Errorf("%s: regsync brought the referrer %s, airgap did not", digest, referrer)
			}
		}
		var expected []string
		for _, m := range f.Referrers(digest) {
			expected = append(expected, m.Digest)
		}
		slices.Sort(expected)
		expected = slices.Compact(expected) // the two repositories hold the same
		if !slices.Equal(ours, expected) {
			t.Errorf("%s: airgap brought %q, the source has %q", digest, ours, expected)
		}
		brought += len(ours)
		pending = append(pending, ours...)
	}
	if brought == 0 {
		t.Error("no referrers at all were compared")
	}
}

// The table of matching semantics in export/config, through the real regsync and through airgap.
func TestMatchingAgainstRegsync(t *testing.T) {
	var table []struct {
		Name, YAML     string
		Tags, Selected []string
	}
	if err := json.Unmarshal([]byte(readConfigFile(t, "matching.json")), &table); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	source, target := bundletest.StartRegistry(t, true), bundletest.StartRegistry(t, true)
	f := bundletest.LoadFixture(t)
	f.Push(t, map[string]string{bundletest.Images: source, bundletest.Attestations: source})
	text := "version: 1\nsync:\n"
	for i, row := range table {
		repository := fmt.Sprintf("row%d", i)
		b.run(t, "crane", "copy", source+"/acme/docker:1", source+"/"+repository+":"+row.Tags[0])
		for _, tag := range row.Tags[1:] {
			b.run(t, "crane", "tag", source+"/"+repository+":"+row.Tags[0], tag)
		}
		text += fmt.Sprintf("- source: %s/%s\n  target: %s/%s\n  type: repository\n  %s\n", source, repository, target, repository, strings.ReplaceAll(row.YAML, "\n", "\n  "))
	}
	config := b.writeConfig(t, "matching.yaml", text, source, target)
	b.run(t, "regsync", "once", "-c", config)
	plan := struct {
		Images []struct{ Destination string }
	}{}
	if err := json.Unmarshal([]byte(b.run(t, "airgap", "plan", "-c", config, "--json")), &plan); err != nil {
		t.Fatal(err)
	}
	planned := map[string][]string{}
	for _, image := range plan.Images {
		repository, tag, _ := strings.Cut(image.Destination, ":")
		planned[repository] = append(planned[repository], tag)
	}
	for i, row := range table {
		repository := fmt.Sprintf("row%d", i)
		var copied []string
		if out, err := b.try(t, "crane", "ls", target+"/"+repository); err == nil {
			copied = lines(out)
		} else if len(row.Selected) > 0 {
			t.Error(err)
		}
		slices.Sort(planned[repository])
		want := slices.Sorted(slices.Values(row.Selected))
		if !slices.Equal(copied, want) {
			t.Errorf("%s: regsync copies %q, the table says %q", row.Name, copied, want)
		}
		if !slices.Equal(planned[repository], want) {
			t.Errorf("%s: airgap plans %q, the table says %q", row.Name, planned[repository], want)
		}
	}
}
