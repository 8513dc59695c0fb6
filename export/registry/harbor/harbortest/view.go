package harbortest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"airgap/bundle"
)

// What a test sees and puts there itself, past faults, logins, quotas and policies. Repositories are named with their
// project: "lab/app".

// Accessory is an artifact that belongs to another.
type Accessory struct {
	Type   string
	Digest bundle.Digest
}

// Projects returns the names of all projects, sorted.
func (s *Server) Projects() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.projects))
}

// Project returns a project's settings; the zero value if there is none.
func (s *Server) Project(name string) Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.projects[name]; p != nil {
		return p.Project
	}
	return Project{}
}

// Used returns how many bytes count against a project's quota.
func (s *Server) Used(project string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.projects[project].used()
}

// Repositories returns the names of all repositories, sorted.
func (s *Server) Repositories() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, p := range s.projects {
		for repo := range p.repos {
			names = append(names, p.Name+"/"+repo)
		}
	}
	slices.Sort(names)
	return names
}

// look returns a repository, or an empty one. The lock is held.
func (s *Server) look(path string) (*project, *repository) {
	project, repo, _ := strings.Cut(path, "/")
	p := s.projects[project]
	if p == nil || p.repos[repo] == nil {
		return p, &repository{name: repo}
	}
	return p, p.repos[repo]
}

// Tags returns the tags of a repository and their digests.
func (s *Server) Tags(repo string) map[string]bundle.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, r := s.look(repo)
	tags := map[string]bundle.Digest{}
	for name, t := range r.tags {
		tags[name] = s.parse(t.digest)
	}
	return tags
}

// Artifacts returns the digests of all manifests in a repository, sorted.
func (s *Server) Artifacts(repo string) []bundle.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, r := s.look(repo)
	var digests []bundle.Digest
	for _, digest := range slices.Sorted(maps.Keys(r.artifacts)) {
		digests = append(digests, s.parse(digest))
	}
	return digests
}

// Manifest returns what a repository has under a tag or a digest; nil if it has nothing.
func (s *Server) Manifest(repo, reference string) (mediaType string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, r := s.look(repo)
	if a := r.find(reference); a != nil {
		return a.mediaType, a.body
	}
	return "", nil
}

// Accessories returns what Harbor shows under a digest, the oldest first.
func (s *Server) Accessories(repo string, subject bundle.Digest) []Accessory {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, r := s.look(repo)
	var found []Accessory
	for _, a := range r.accessoriesOf(subject.String()) {
		found = append(found, Accessory{Type: a.accessory, Digest: s.parse(a.digest)})
	}
	return found
}

// Blob returns a blob of a repository; nil if it does not have it.
func (s *Server) Blob(repo string, d bundle.Digest) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, r := s.look(repo)
	if p == nil || !p.linked[r.name][d.String()] {
		return nil
	}
	return s.blobs[d.String()]
}

// Uploads returns how many uploads have begun and are neither done nor given up.
func (s *Server) Uploads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

func (s *Server) parse(digest string) bundle.Digest {
	d, err := bundle.ParseDigest(digest)
	if err != nil {
		s.t.Error("harbortest: ", err)
	}
	return d
}

// AddBlob puts a blob into a repository and returns its descriptor.
func (s *Server) AddBlob(repo, mediaType string, content []byte) bundle.Descriptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, r := s.look(repo)
	d := bundle.DigestOf(content)
	s.blobs[d.String()] = content
	p.link(r.name, d.String())
	p.counted[d.String()] = int64(len(content))
	return bundle.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

// AddManifest puts a manifest into a repository, under its digest and, unless that is empty, a tag. What it names need not
// be there.
func (s *Server) AddManifest(repo, tag, mediaType string, body []byte) bundle.Descriptor {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		s.t.Fatal("harbortest: ", err)
	}
	p, r := s.look(repo)
	d := bundle.DigestOf(body)
	if tag == "" {
		tag = d.String()
	}
	s.store(p, r.name, tag, mediaType, body, m)
	return bundle.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(body))}
}
