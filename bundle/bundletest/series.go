package bundletest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
)

// Series is a registry whose images change from week to week: some are added, rebuilt, given another tag or withdrawn, and proofs
// are added to old ones.
type Series struct {
	host    string
	week    int
	content map[bundle.Digest][]byte // manifests and blobs
	lists   map[bundle.Digest][]bundle.Digest
	now     Snapshot
}

// Snapshot is what the registry has at one time.
type Snapshot struct {
	Images map[string]bundle.Digest // by REPOSITORY:TAG

	series *Series
	proofs map[bundle.Digest][]bundle.Digest // by subject
}

// NewSeries begins in the registry at host, which speaks plain HTTP, before the first week.
func NewSeries(host string) *Series {
	s := &Series{host: host, content: map[bundle.Digest][]byte{}, lists: map[bundle.Digest][]bundle.Digest{}}
	s.now = Snapshot{Images: map[string]bundle.Digest{}, proofs: map[bundle.Digest][]bundle.Digest{}, series: s}
	return s
}

// weeks are the changes.
var weeks = []func(t testing.TB, s *Series){
	func(t testing.TB, s *Series) {
		s.build(t, "acme/app:1", "base", "app one")
		s.build(t, "acme/app:2", "base", "app two")
		s.build(t, "acme/tool:1", "base", "tool")
		s.prove(t, s.now.Images["acme/app:1"], "acme/app", "sbom of app one")
	},
	func(t testing.TB, s *Series) { s.build(t, "acme/db:1", "base", "db") },                // added
	func(t testing.TB, s *Series) { s.build(t, "acme/app:1", "base", "app one, rebuilt") }, // its tag moves
	func(t testing.TB, s *Series) {
		s.prove(t, s.now.Images["acme/tool:1"], "acme/tool", "vex of tool") // a new proof of an old image
	},
	func(_ testing.TB, s *Series) { s.now.Images["acme/app:latest"] = s.now.Images["acme/app:2"] }, // one more tag
	func(_ testing.TB, s *Series) { delete(s.now.Images, "acme/tool:1") },                          // withdrawn
	func(testing.TB, *Series) {},
	func(t testing.TB, s *Series) { // all are rebuilt
		s.build(t, "acme/app:1", "new base", "app one, rebuilt")
		s.build(t, "acme/app:2", "new base", "app two")
		s.build(t, "acme/db:1", "new base", "db")
	},
	func(t testing.TB, s *Series) { // what was withdrawn, and what was replaced, is there again
		s.build(t, "acme/tool:1", "base", "tool")
		s.build(t, "acme/app:1", "base", "app one")
	},
	func(t testing.TB, s *Series) {
		s.build(t, "acme/web:1", "new base", "web")
		vex := s.prove(t, s.now.Images["acme/db:1"], "acme/db", "scan of db")
		s.prove(t, vex, "acme/db", "signature of the scan")
	},
}

// Weeks is how often Advance can be called.
var Weeks = len(weeks)

// Advance changes the registry, and returns what it has now.
func (s *Series) Advance(t testing.TB) *Snapshot {
	t.Helper()
	weeks[s.week](t, s)
	s.week++
	for image, digest := range s.now.Images {
		repository, tag, _ := strings.Cut(image, ":")
		s.at(repository).manifest(t, tag, bundle.MediaTypeOCIManifest, s.content[digest])
	}
	return &Snapshot{Images: maps.Clone(s.now.Images), proofs: maps.Clone(s.now.proofs), series: s}
}

func (s *Series) at(repository string) *pusher {
	return &pusher{client: &http.Client{Timeout: time.Minute}, base: "http://" + s.host + "/v2/" + repository}
}

// build pushes an image of two layers.
func (s *Series) build(t testing.TB, image string, layers ...string) {
	t.Helper()
	repository, _, _ := strings.Cut(image, ":")
	m := bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest}
	var diffIDs []string
	for _, text := range layers {
		layer := s.blob(t, repository, "application/vnd.oci.image.layer.v1.tar", strings.Repeat(text+" ", 1000))
		m.Layers, diffIDs = append(m.Layers, layer), append(diffIDs, layer.Digest.String())
	}
	config, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	if err != nil {
		t.Fatalf("bundletest: %v", err)
	}
	d := s.blob(t, repository, "application/vnd.oci.image.config.v1+json", string(config))
	m.Config = &d
	s.now.Images[image] = s.manifest(t, repository, m)
}

// prove pushes what refers to a manifest.
func (s *Series) prove(t testing.TB, subject bundle.Digest, repository, text string) bundle.Digest {
	t.Helper()
	config := s.blob(t, repository, bundle.MediaTypeEmptyJSON, "{}")
	digest := s.manifest(t, repository, bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, ArtifactType: "application/vnd.example.proof", Config: &config,
		Layers:  []bundle.Descriptor{s.blob(t, repository, "text/plain", text)},
		Subject: &bundle.Descriptor{MediaType: bundle.MediaTypeOCIManifest, Digest: subject, Size: int64(len(s.content[subject]))},
	})
	s.now.proofs[subject] = append(slices.Clone(s.now.proofs[subject]), digest)
	return digest
}

func (s *Series) blob(t testing.TB, repository, mediaType, content string) bundle.Descriptor {
	t.Helper()
	d := bundle.Descriptor{MediaType: mediaType, Digest: bundle.DigestOf([]byte(content)), Size: int64(len(content))}
	s.content[d.Digest] = []byte(content)
	s.at(repository).blob(t, d.Digest.String(), s.content[d.Digest])
	return d
}

func (s *Series) manifest(t testing.TB, repository string, m bundle.Manifest) bundle.Digest {
	t.Helper()
	content, err := json.Marshal(m)
	if err != nil {
		t.Fatalf("bundletest: %v", err)
	}
	digest := bundle.DigestOf(content)
	s.content[digest] = content
	for _, d := range m.Blobs() {
		s.lists[digest] = append(s.lists[digest], d.Digest)
	}
	s.at(repository).manifest(t, digest.String(), m.MediaType, content)
	return digest
}

// References returns all images with the registry's host, sorted.
func (s *Snapshot) References() []string {
	var all []string
	for image := range s.Images {
		all = append(all, s.series.host+"/"+image)
	}
	slices.Sort(all)
	return all
}

// Layers returns configs and layers of all images, each once: what a later bundle may leave out.
func (s *Snapshot) Layers() map[bundle.Digest]bool {
	all := map[bundle.Digest]bool{}
	for _, digest := range s.Images {
		for _, blob := range s.series.lists[digest] {
			all[blob] = true
		}
	}
	return all
}

// Target is a registry, and the path below which a mirror of the series is in it.
type Target struct {
	URL            string // without a path
	Prefix         string
	User, Password string       // "" for none
	Client         *http.Client // nil: http.DefaultClient
}

// Do sends a request without a body, and returns what came of it.
func (to *Target) Do(t testing.TB, method, path string) (status int, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, to.URL+path, nil)
	if err != nil {
		t.Fatalf("bundletest: %v", err)
	}
	request.Header["Accept"] = bundle.ManifestMediaTypes
	if to.User != "" {
		request.SetBasicAuth(to.User, to.Password)
	}
	client := to.Client
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("bundletest: %v", err)
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		t.Fatalf("bundletest: %s %s: %v", method, path, err)
	}
	return response.StatusCode, body
}

// Compare holds a target against a direct copy: every tag, manifest, blob and list of referrers.
func (s *Snapshot) Compare(t testing.TB, target *Target) {
	t.Helper()
	for _, image := range slices.Sorted(maps.Keys(s.Images)) {
		repository, tag, _ := strings.Cut(image, ":")
		c := comparison{Snapshot: s, target: target, path: "/v2/" + target.Prefix + "/" + repository}
		c.same(t, "/manifests/"+tag, s.series.content[s.Images[image]])
		c.manifest(t, s.Images[image])
	}
}

// comparison is of one repository.
type comparison struct {
	*Snapshot

	target *Target
	path   string
}

func (c *comparison) same(t testing.TB, path string, want []byte) {
	t.Helper()
	if status, got := c.target.Do(t, http.MethodGet, c.path+path); status != http.StatusOK || !bytes.Equal(got, want) {
		t.Errorf("%s: %d, %.100q; want %.100q", c.path+path, status, got, want)
	}
}

func (c *comparison) manifest(t testing.TB, digest bundle.Digest) {
	t.Helper()
	c.same(t, "/manifests/"+digest.String(), c.series.content[digest])
	for _, blob := range c.series.lists[digest] {
		c.same(t, "/blobs/"+blob.String(), c.series.content[blob])
	}
	want := slices.Clone(c.proofs[digest])
	slices.SortFunc(want, func(a, b bundle.Digest) int { return bytes.Compare(a[:], b[:]) })
	if got := c.referrers(t, digest); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %s is referred to by %v, want %v", c.path, digest, got, want)
	}
	for _, proof := range want {
		c.manifest(t, proof)
	}
}

// referrers asks the API, or else the fallback tag.
func (c *comparison) referrers(t testing.TB, digest bundle.Digest) []bundle.Digest {
	t.Helper()
	status, body := c.target.Do(t, http.MethodGet, c.path+"/referrers/"+digest.String())
	if status == http.StatusNotFound {
		if status, body = c.target.Do(t, http.MethodGet, c.path+"/manifests/"+FallbackTag(digest.String())); status == http.StatusNotFound {
			return nil
		}
	}
	var index struct {
		Manifests []struct{ Digest bundle.Digest }
	}
	if err := json.Unmarshal(body, &index); err != nil || status != http.StatusOK {
		t.Errorf("%s: referrers of %s: %d (%v)", c.path, digest, status, err)
	}
	var found []bundle.Digest
	for _, m := range index.Manifests {
		found = append(found, m.Digest)
	}
	slices.SortFunc(found, func(a, b bundle.Digest) int { return bytes.Compare(a[:], b[:]) })
	return found
}
