package harbortest

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"airgap/bundle"
)

// repository is what Harbor knows of a repository.
type repository struct {
	name      string // without the project
	id        int
	made      time.Time
	artifacts map[string]*artifact // by digest
	tags      map[string]*tag
}

type tag struct {
	name, digest string
	id           int
	pushed       time.Time
}

// artifact is a manifest that was pushed.
type artifact struct {
	id        int
	digest    string
	mediaType string
	body      []byte
	manifest  manifest
	pushed    time.Time
	size      int64 // with what it names

	// As an accessory; empty for what is none.
	accessory   string // its type
	accessoryID int
	subject     string // digest, of something that need not be there
}

// manifest is what is read of manifests of all kinds.
type manifest struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *descriptor       `json:"config"`
	Layers       []descriptor      `json:"layers"`
	Manifests    []descriptor      `json:"manifests"`
	Subject      *descriptor       `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls"`
	Annotations map[string]string `json:"annotations"`
	Platform    json.RawMessage   `json:"platform"`
}

// configType is the media type of the configuration; empty for an index.
func (m *manifest) configType() string {
	if m.Config == nil {
		return ""
	}
	return m.Config.MediaType
}

// artifactType is that of a descriptor in a listing of referrers, by the specification.
func (m *manifest) artifactType() string {
	if m.ArtifactType != "" {
		return m.ArtifactType
	}
	return m.configType()
}

// repository returns one that is made if need be.
func (s *Server) repository(p *project, name string) *repository {
	r := p.repos[name]
	if r == nil {
		r = &repository{name: name, id: s.id("repository"), made: s.now(), artifacts: map[string]*artifact{}, tags: map[string]*tag{}}
		p.repos[name] = r
	}
	return r
}

// find returns what a tag or a digest stands for, or nil.
func (r *repository) find(reference string) *artifact {
	if t := r.tags[reference]; t != nil {
		reference = t.digest
	}
	return r.artifacts[reference]
}

// byAge returns the artifacts, the oldest first.
func (r *repository) byAge() []*artifact {
	return slices.SortedFunc(maps.Values(r.artifacts), func(a, b *artifact) int { return a.id - b.id })
}

// accessoriesOf returns the artifacts that belong to that digest, the oldest first.
func (r *repository) accessoriesOf(digest string) []*artifact {
	var found []*artifact
	for _, a := range r.byAge() {
		if a.accessory != "" && a.subject == digest {
			found = append(found, a)
		}
	}
	slices.SortStableFunc(found, func(a, b *artifact) int { return a.accessoryID - b.accessoryID })
	return found
}

// tagsOf returns the tags of a digest, the oldest first.
func (r *repository) tagsOf(digest string) []*tag {
	var found []*tag
	for _, t := range r.tags {
		if t.digest == digest {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *tag) int { return a.id - b.id })
	return found
}

// isChild tells whether an index names that digest.
func (r *repository) isChild(digest string) bool {
	for _, a := range r.artifacts {
		if slices.ContainsFunc(a.manifest.Manifests, func(d descriptor) bool { return d.Digest == digest }) {
			return true
		}
	}
	return false
}

// store puts a manifest into a repository, whatever rules there are.
func (s *Server) store(p *project, repo, reference, mediaType string, body []byte, m manifest) *artifact {
	r := s.repository(p, repo)
	digest := bundle.DigestOf(body).String()
	a := r.artifacts[digest]
	if a == nil {
		a = &artifact{id: s.id("artifact"), digest: digest, mediaType: mediaType, body: body, manifest: m, pushed: s.now(), size: r.sizeOf(m, body)}
		r.artifacts[digest] = a
	}
	s.blobs[digest] = body
	p.counted[digest] = int64(len(body))
	if reference != digest {
		s.setTag(r, reference, digest)
	}
	s.setAccessory(a, reference)
	return a
}

func (r *repository) sizeOf(m manifest, body []byte) int64 {
	size := int64(len(body))
	if m.Config != nil {
		size += m.Config.Size
	}
	for _, layer := range m.Layers {
		size += layer.Size
	}
	for _, child := range m.Manifests {
		if a := r.artifacts[child.Digest]; a != nil {
			size += a.size
		}
	}
	return size
}

func (s *Server) setTag(r *repository, name, digest string) {
	t := r.tags[name]
	if t == nil {
		t = &tag{name: name, id: s.id("tag")}
		r.tags[name] = t
	}
	t.digest, t.pushed = digest, s.now()
}

// setAccessory makes an accessory of what has a subject or one of cosign's tags for signatures. Those for attestations
// and SBOMs are artifacts like any other. What is an accessory already stays that.
func (s *Server) setAccessory(a *artifact, reference string) {
	if a.accessory != "" {
		return
	}
	hex, isSignature := strings.CutSuffix(reference, ".sig")
	hex, isDigest := strings.CutPrefix(hex, "sha256-")
	switch {
	case a.manifest.Subject != nil && s.atLeast(8):
		a.accessory, a.subject = s.accessoryType(&a.manifest), a.manifest.Subject.Digest
	case isSignature && isDigest:
		a.accessory, a.subject = "signature.cosign", "sha256:"+hex
	default:
		return
	}
	a.accessoryID = s.id("accessory")
}

// accessoryType is the type that Harbor gives to an artifact with a subject, by its artifactType or else the type of its
// configuration.
func (s *Server) accessoryType(m *manifest) string {
	kind := m.artifactType()
	switch {
	case kind == "application/vnd.cncf.notary.signature":
		return "signature.notation"
	case kind == "application/vnd.dev.cosign.artifact.sig.v1+json":
		return "signature.cosign"
	case kind == "application/vnd.goharbor.harbor.sbom.v1":
		return "sbom.harbor"
	case strings.HasPrefix(kind, "application/vnd.dev.sigstore.bundle.") && s.atLeast(15):
		return "signature.cosign"
	}
	return "subject.accessory"
}

// atLeast tells whether the server is Harbor 2.minor or later.
func (s *Server) atLeast(minor int) bool {
	rest, ok := strings.CutPrefix(s.set.Version, "v2.")
	number, _, _ := strings.Cut(rest, ".")
	have, err := strconv.Atoi(number)
	return !ok || err != nil || have >= minor
}

// remove deletes an artifact with its tags and all that belongs to it.
func (r *repository) remove(digest string) {
	delete(r.artifacts, digest)
	for _, t := range r.tagsOf(digest) {
		delete(r.tags, t.name)
	}
	for _, a := range r.accessoriesOf(digest) {
		r.remove(a.digest)
	}
}
