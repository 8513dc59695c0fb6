package interop

import (
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"airgap/bundle/bundletest"
)

// conforming are the registries of the table, and how to find out which version ran.
var conforming = []struct {
	registryKind
	version func(t *testing.T, b *bench) string
}{
	{registryKind{"distribution 2", false, startDistribution2}, programVersion("docker-registry", "2.8.")},
	{registryKind{"distribution 3", false, startDistribution}, programVersion("registry", "3.")},
	{registryKind{"go-containerregistry", true, func(t testing.TB) string { return bundletest.StartRegistry(t, true) }}, moduleVersion},
	{registryKind{"the same without API", false, func(t testing.TB) string { return bundletest.StartRegistry(t, false) }}, moduleVersion},
}

// programVersion checks that a program of distribution is of the series that it is meant to be.
func programVersion(program, series string) func(*testing.T, *bench) string {
	return func(t *testing.T, b *bench) string {
		t.Helper()
		words := strings.Fields(b.run(t, program, "--version"))
		version := strings.TrimPrefix(words[len(words)-1], "v")
		if version == "" || !strings.HasPrefix(version, series) && version != "unknown" {
			t.Errorf("%s is version %s, not %s", program, version, series)
		}
		return version
	}
}

func moduleVersion(t *testing.T, _ *bench) string {
	t.Helper()
	list, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", "github.com/google/go-containerregistry").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(list), "v"))
}

// TestConformance imports one bundle into every registry. What other programs see there afterwards is the same in all,
// and what the fixture says: by crane (differences), and by regctl (seen). Only the fallback tags differ, which are
// exactly where there is no referrers API.
func TestConformance(t *testing.T) {
	f, b := bundletest.LoadFixture(t), newBench(t)
	from := map[string]string{bundletest.Images: bundletest.StartRegistry(t, true), bundletest.Attestations: bundletest.StartRegistry(t, false)}
	f.Push(t, from)
	b.run(t, "airgap", "keygen")
	b.run(t, "airgap", exportArgs(f, from)...)

	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "registry\tversion\treferrers\ttags\tcosign's\tfallback\tmanifests\tblobs\tlists\tdifferences")
	var first map[string]string
	for _, kind := range conforming {
		host := kind.start(t)
		b.plainHTTP(t, host)
		for range 2 { // the second finds everything there
			b.run(t, "airgap", "import", "world.tar", host+"/mirror", "--key", "airgap.pub")
		}
		c := &copied{bench: b, fixture: f, repositories: host + "/mirror", referrersAPI: kind.referrersAPI}
		c.expectAPI(t)
		found := c.differences(t)
		seen := c.seen(t)
		fallback := fallbackTags(t, c, seen)
		if first == nil {
			first = seen
		}
		found = append(found, unlike(seen, first)...)
		for _, difference := range found {
			t.Errorf("%s: %s", kind.name, difference)
		}
		n := count(seen)
		api := map[bool]string{true: "API", false: "tags"}[kind.referrersAPI]
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", kind.name, kind.version(t, b), api,
			n["tag"], n["cosign"], fallback, n["manifest"], n["blob"], n["referrers"], len(found))
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("the same bundle, imported and looked at with crane and regctl\n%s", text.String())
}

// expectAPI checks, without any client, that the registry has the referrers API or not.
func (c *copied) expectAPI(t *testing.T) {
	t.Helper()
	host, prefix, _ := strings.Cut(c.repositories, "/")
	root := c.fixture.Roots()[0]
	status := statusOf(t, http.MethodGet, "http://"+host+"/v2/"+prefix+"/"+root.Repository+"/referrers/"+root.Digest)
	if has := status == http.StatusOK; has != c.referrersAPI {
		t.Errorf("referrers API: %d", status)
	}
}

// seen is what regctl sees: the digests of all tags, of all manifests and blobs that the fixture has, and what refers to
// each manifest.
func (c *copied) seen(t *testing.T) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for _, root := range c.fixture.Roots() {
		repository := c.repositories + "/" + root.Repository
		for _, tag := range lines(c.run(t, "regctl", "tag", "ls", repository)) {
			seen[name(root.Repository, tag)] = strings.TrimSpace(c.run(t, "regctl", "manifest", "head", repository+":"+tag))
		}
		closure := c.fixture.Closure(t, root)
		for _, m := range closure.Manifests {
			reference := repository + "@" + m.Digest
			seen["manifest "+root.Repository+"@"+m.Digest] = c.run(t, "regctl", "manifest", "get", "--format", "raw-body", reference)
			if list := lines(c.run(t, "regctl", "artifact", "list", reference, "--format", "{{range .Descriptors}}{{println .Digest}}{{end}}")); len(list) > 0 {
				seen["referrers "+root.Repository+"@"+m.Digest] = strings.Join(list, " ")
			}
		}
		for _, digest := range closure.Blobs {
			head := c.run(t, "regctl", "blob", "head", repository, digest)
			size := contentLength.FindString(head)
			if size == "" {
				t.Errorf("regctl shows no size of %s: %s", digest, head)
			}
			seen["blob "+root.Repository+"@"+digest] = size
		}
	}
	return seen
}

var (
	fallbackTag = regexp.MustCompile(`^sha256-([0-9a-f]{64})$`)
	cosignTag   = regexp.MustCompile(`^sha256-[0-9a-f]{64}\.`)

	contentLength = regexp.MustCompile(`(?i)content-length: *\d+`)
)

// name is the key of a tag in what was seen.
func name(repository, tag string) string {
	switch {
	case fallbackTag.MatchString(tag):
		return "fallback " + repository + ":" + tag
	case cosignTag.MatchString(tag):
		return "cosign " + repository + ":" + tag
	}
	return "tag " + repository + ":" + tag
}

// fallbackTags takes the fallback tags out of what was seen, and returns how many there were. There has to be one for each
// list of referrers where there is no API, and none where there is.
func fallbackTags(t *testing.T, c *copied, seen map[string]string) int {
	t.Helper()
	var got, want []string
	for key := range seen {
		if tag, ok := strings.CutPrefix(key, "fallback "); ok {
			got = append(got, tag)
			delete(seen, key)
		}
		if reference, ok := strings.CutPrefix(key, "referrers "); ok && !c.referrersAPI {
			repository, digest, _ := strings.Cut(reference, "@")
			want = append(want, repository+":"+bundletest.FallbackTag(digest))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("fallback tags at %s: %q, want %q", c.repositories, got, want)
	}
	return len(got)
}

// unlike returns where two registries are not the same.
func unlike(got, want map[string]string) []string {
	var found []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			found = append(found, fmt.Sprintf("%s is %.200q, and %.200q at the first registry", key, got[key], want[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			found = append(found, key+" is not at the first registry")
		}
	}
	return found
}

// count counts what was seen, by its kind.
func count(seen map[string]string) map[string]int {
	n := map[string]int{}
	for key := range seen {
		kind, _, _ := strings.Cut(key, " ")
		n[kind]++
	}
	return n
}
