package interop

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
)

// copied is a registry that should hold everything of the fixture, attestations beside their images.
type copied struct {
	*bench
	fixture      *bundletest.Fixture
	repositories string // "host" or "host/prefix"
	referrersAPI bool
}

// differences compares the registry with what the fixture says, through crane and regctl, and returns
// what is not the same.
func (c *copied) differences(t testing.TB) []string {
	t.Helper()
	var found []string
	want := map[string]map[string]string{} // repository -> tag -> digest
	for _, root := range c.fixture.Roots() {
		closure := c.fixture.Closure(t, root)
		if want[root.Repository] == nil {
			want[root.Repository] = map[string]string{}
		}
		maps.Copy(want[root.Repository], closure.Tags)
		for _, m := range closure.Manifests {
			found = append(found, c.manifestDifferences(t, root.Repository, m)...)
			if len(c.fixture.Referrers(m.Digest)) > 0 && !c.referrersAPI {
				want[root.Repository][bundletest.FallbackTag(m.Digest)] = "" // its content is compared as a list
			}
		}
		found = append(found, c.blobDifferences(t, root.Repository, closure.Blobs)...)
	}
	for repository, tags := range want {
		found = append(found, c.tagDifferences(t, repository, tags)...)
	}
	// Roots share manifests, and what is wrong with one is wrong once.
	slices.Sort(found)
	return slices.Compact(found)
}

// manifestDifferences compares the bytes and the list of referrers of one manifest.
func (c *copied) manifestDifferences(t testing.TB, repository string, m bundletest.Manifest) []string {
	t.Helper()
	reference := c.repositories + "/" + repository + "@" + m.Digest
	got, err := c.try(t, "crane", "manifest", reference)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	if got != string(m.Bytes) {
		found = append(found, reference+" has other bytes")
	}
	return append(found, c.referrerDifferences(t, reference, m.Digest)...)
}

// referrerDifferences compares digests, and artifact types where they are airgap's own words in a fallback
// tag: go-containerregistry's registry lists the config's media type instead.
func (c *copied) referrerDifferences(t testing.TB, reference, digest string) []string {
	t.Helper()
	format := "{{range .Descriptors}}{{println .Digest .ArtifactType}}{{end}}"
	if c.referrersAPI {
		format = "{{range .Descriptors}}{{println .Digest}}{{end}}"
	}
	list, err := c.try(t, "regctl", "artifact", "list", reference, "--format", format)
	if err != nil {
		return []string{err.Error()}
	}
	got := lines(list)
	var want []string
	for _, referrer := range c.fixture.Referrers(digest) {
		line := referrer.Digest
		if !c.referrersAPI {
			line = strings.TrimSpace(line + " " + referrer.ArtifactType)
		}
		want = append(want, line)
	}
	if !slices.Equal(got, want) {
		return []string{fmt.Sprintf("referrers of %s: %q, want %q", reference, got, want)}
	}
	return nil
}

func (c *copied) blobDifferences(t testing.TB, repository string, blobs []string) []string {
	t.Helper()
	var found []string
	for _, digest := range blobs {
		reference := c.repositories + "/" + repository + "@" + digest
		got, err := c.try(t, "crane", "blob", reference)
		if err != nil {
			found = append(found, err.Error())
		} else if got != string(c.fixture.Blob(t, digest)) {
			found = append(found, reference+" has other bytes")
		}
	}
	return found
}

// tagDifferences compares all tags of a repository. A digest that is not known is not compared.
func (c *copied) tagDifferences(t testing.TB, repository string, want map[string]string) []string {
	t.Helper()
	list, err := c.try(t, "crane", "ls", c.repositories+"/"+repository)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	got, wanted := lines(list), slices.Sorted(maps.Keys(want))
	if !slices.Equal(got, wanted) {
		found = append(found, fmt.Sprintf("tags of %s: %q, want %q", repository, got, wanted))
	}
	for _, tag := range got {
		reference := c.repositories + "/" + repository + ":" + tag
		digest, err := c.try(t, "crane", "digest", reference)
		if err != nil {
			found = append(found, err.Error())
		} else if want[tag] != "" && strings.TrimSpace(digest) != want[tag] {
			found = append(found, fmt.Sprintf("%s is %s, want %s", reference, digest, want[tag]))
		}
	}
	return found
}

// lines returns the lines of a program's output, sorted.
func lines(output string) []string {
	var all []string
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}
