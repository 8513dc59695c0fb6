// Package bundletest gives tests real content to work on: the fixtures in testdata/fixtures, made by
// cosign, regctl, helm, syft and notation, pushed into any registry.
//
// A test begins with [LoadFixture], starts registries with [StartRegistry] (or a program of its own),
// fills them with [Fixture.Push] and, after the code under test has run, asks [Fixture.Closure] what
// should have been carried. All of that is worked out here from the JSON of the manifests, with nothing
// of airgap's own walk, so that a mistake in the walk is not repeated in what it is compared with.
package bundletest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The two registries of the fixture: as with Docker Hardened Images, the attestations of
// acme/dhi-python are in another registry than its layers.
const (
	Images       = "images"
	Attestations = "attestations"
)

// Fixture is the content of two registries.
type Fixture struct {
	Repositories []Repository

	dir string
	// byDigest has each manifest once per repository that holds it.
	byDigest map[string][]Manifest
}

// Repository is one repository of the fixture.
type Repository struct {
	Registry  string            `json:"registry"` // Images or Attestations
	Name      string            `json:"repository"`
	Manifests []Manifest        `json:"manifests"` // children before their index, subjects before referrers
	Tags      map[string]string `json:"tags"`      // to digests
	Blobs     []string          `json:"blobs"`     // digests
	Foreign   []string          `json:"foreign"`   // digests of layers with URLs, which Push leaves out
}

// Manifest is a manifest or an index, with what its JSON says.
type Manifest struct {
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`

	Registry     string            `json:"-"` // Images or Attestations
	Repository   string            `json:"-"`
	Bytes        []byte            `json:"-"`
	ArtifactType string            `json:"-"` // with the config's media type in its stead, as referrers lists have it
	Subject      string            `json:"-"` // digest, or empty
	Annotations  map[string]string `json:"-"`
	Children     []string          `json:"-"` // digests of the manifests of an index
	Blobs        []string          `json:"-"` // digests of the config and the layers, foreign layers too
}

// LoadFixture reads the fixture, found in a parent of the working directory, which in a test is the
// directory of its package. A fixture that is missing or broken fails the test.
func LoadFixture(t testing.TB) *Fixture {
	t.Helper()
	f := &Fixture{dir: find(t), byDigest: map[string][]Manifest{}}
	list, err := os.ReadFile(filepath.Join(f.dir, "repositories.json"))
	if err != nil {
		t.Fatalf("bundletest: %v", err)
	}
	if err := json.Unmarshal(list, &f.Repositories); err != nil {
		t.Fatalf("bundletest: repositories.json: %v", err)
	}
	for _, r := range f.Repositories {
		for i := range r.Manifests {
			m := &r.Manifests[i]
			m.Registry, m.Repository, m.Bytes = r.Registry, r.Name, f.Blob(t, m.Digest)
			m.parse(t)
			f.byDigest[m.Digest] = append(f.byDigest[m.Digest], *m)
		}
	}
	return f
}

// find goes up from the working directory to the tree that has the fixture.
func find(t testing.TB) string {
	t.Helper()
	start, err := os.Getwd()
	if err != nil {
		t.Fatalf("bundletest: %v", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		world := filepath.Join(dir, "testdata", "fixtures", "acme")
		if _, err := os.Stat(filepath.Join(world, "repositories.json")); err == nil {
			return world
		}
		if dir == filepath.Dir(dir) {
			t.Fatalf("bundletest: no testdata/fixtures/acme in %s or above it: run \"make fixtures\"", start)
		}
	}
}

func (m *Manifest) parse(t testing.TB) {
	t.Helper()
	var content struct {
		ArtifactType string            `json:"artifactType"`
		Annotations  map[string]string `json:"annotations"`
		Subject      descriptor        `json:"subject"`
		Config       descriptor        `json:"config"`
		Layers       []descriptor      `json:"layers"`
		Manifests    []descriptor      `json:"manifests"`
	}
	if err := json.Unmarshal(m.Bytes, &content); err != nil {
		t.Fatalf("bundletest: manifest %s: %v", m.Digest, err)
	}
	m.Annotations, m.Subject = content.Annotations, content.Subject.Digest
	m.ArtifactType = content.ArtifactType
	if m.ArtifactType == "" {
		m.ArtifactType = content.Config.MediaType
	}
	for _, child := range content.Manifests {
		m.Children = append(m.Children, child.Digest)
	}
	if content.Config.Digest != "" {
		m.Blobs = append(m.Blobs, content.Config.Digest)
	}
	for _, layer := range content.Layers {
		m.Blobs = append(m.Blobs, layer.Digest)
	}
}

// descriptor is what the fixture needs of a descriptor, and writes into fallback tags.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Size         int               `json:"size"`
	Digest       string            `json:"digest"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// Blob returns the content of a blob or a manifest.
func (f *Fixture) Blob(t testing.TB, digest string) []byte {
	t.Helper()
	name, ok := strings.CutPrefix(digest, "sha256:")
	if !ok {
		t.Fatalf("bundletest: %q is not a sha256 digest", digest)
	}
	content, err := os.ReadFile(filepath.Join(f.dir, "blobs", "sha256", name))
	if err != nil {
		t.Fatalf("bundletest: %v", err)
	}
	// The fixture goes through git, which may change line ends.
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != name {
		t.Fatalf("bundletest: %s has other content", digest)
	}
	return content
}

// Repository returns a repository of Images or Attestations.
func (f *Fixture) Repository(t testing.TB, registry, name string) Repository {
	t.Helper()
	for _, r := range f.Repositories {
		if r.Registry == registry && r.Name == name {
			return r
		}
	}
	t.Fatalf("bundletest: the fixture has no repository %s in %s", name, registry)
	return Repository{}
}

// Digest returns what a tag in a repository of Images points to.
func (f *Fixture) Digest(t testing.TB, repository, tag string) string {
	t.Helper()
	digest, ok := f.Repository(t, Images, repository).Tags[tag]
	if !ok {
		t.Fatalf("bundletest: the fixture has no %s:%s", repository, tag)
	}
	return digest
}

// Manifest returns a manifest from the first repository that has it.
func (f *Fixture) Manifest(t testing.TB, digest string) Manifest {
	t.Helper()
	if len(f.byDigest[digest]) == 0 {
		t.Fatalf("bundletest: the fixture has no manifest %s", digest)
	}
	return f.byDigest[digest][0]
}

// Referrers returns the manifests whose subject is the digest, in either registry, by digest.
func (f *Fixture) Referrers(subject string) []Manifest {
	var found []Manifest
	for _, r := range f.Repositories {
		for _, m := range r.Manifests {
			if m.Subject == subject {
				found = append(found, m)
			}
		}
	}
	slices.SortFunc(found, byDigest)
	return found
}

func byDigest(a, b Manifest) int { return strings.Compare(a.Digest, b.Digest) }

// Root is a tag that a person uses.
type Root struct {
	Repository string
	Tag        string
	Digest     string
}

// Reference is the root without a host: repository and tag.
func (r Root) Reference() string { return r.Repository + ":" + r.Tag }

// digestTag matches cosign's tags.
var digestTag = regexp.MustCompile(`^sha256-([0-9a-f]{64})\.(sig|att|sbom)$`)

// Roots returns all roots of Images, sorted by reference.
func (f *Fixture) Roots() []Root {
	var roots []Root
	for _, r := range f.Repositories {
		for tag, digest := range r.Tags {
			if r.Registry == Images && !digestTag.MatchString(tag) {
				roots = append(roots, Root{r.Name, tag, digest})
			}
		}
	}
	slices.SortFunc(roots, func(a, b Root) int { return strings.Compare(a.Reference(), b.Reference()) })
	return roots
}

// Closure is all that hangs from a root, at any depth.
type Closure struct {
	Manifests []Manifest        // by digest; the root's own among them
	Tags      map[string]string // the root's tag and cosign's digest tags
	Blobs     []string          // digests of what the manifests name, sorted, foreign layers left out
}

// Closure follows children, referrers in both registries and cosign's digest tags from a root.
func (f *Fixture) Closure(t testing.TB, root Root) Closure {
	t.Helper()
	repository := f.Repository(t, Images, root.Repository)
	c := Closure{Tags: map[string]string{root.Tag: root.Digest}}
	reached := map[string]bool{}
	pending := []string{root.Digest}
	for len(pending) > 0 {
		digest := pending[0]
		pending = pending[1:]
		if reached[digest] {
			continue
		}
		reached[digest] = true
		m := f.Manifest(t, digest)
		c.Manifests = append(c.Manifests, m)
		c.Blobs = append(c.Blobs, m.Blobs...)
		pending = append(pending, m.Children...)
		for _, referrer := range f.Referrers(digest) {
			pending = append(pending, referrer.Digest)
		}
		for tag, tagged := range repository.tagsFor(digest) {
			c.Tags[tag] = tagged
			pending = append(pending, tagged)
		}
	}
	slices.SortFunc(c.Manifests, byDigest)
	slices.Sort(c.Blobs)
	c.Blobs = slices.DeleteFunc(slices.Compact(c.Blobs), func(blob string) bool {
		return slices.Contains(repository.Foreign, blob)
	})
	return c
}

// tagsFor returns cosign's tags that are named after the digest.
func (r Repository) tagsFor(digest string) map[string]string {
	found := map[string]string{}
	for tag, tagged := range r.Tags {
		if m := digestTag.FindStringSubmatch(tag); m != nil && "sha256:"+m[1] == digest {
			found[tag] = tagged
		}
	}
	return found
}
