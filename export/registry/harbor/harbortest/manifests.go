package harbortest

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"airgap/bundle"
)

// maxManifest is the size, in bytes, up to which manifests are taken.
const maxManifest = 4 << 20

func (x *exchange) manifests(p *project, t target) answer {
	switch x.r.Method {
	case http.MethodPut:
		return x.putManifest(p, t)
	case http.MethodDelete:
		return x.deleteManifest(p, t)
	}
	return x.getManifest(p, t)
}

// getManifest is HEAD or GET.
func (x *exchange) getManifest(p *project, t target) answer {
	r := p.repos[t.repo]
	if r == nil {
		return notFound("repository " + t.full + " not found")
	}
	a := r.find(t.reference)
	if a == nil {
		return artifactNotFound(t.full, t.reference)
	}
	if message := hidden(p, r, a); message != "" {
		return refuse(http.StatusPreconditionFailed, problem{Code: "PROJECTPOLICYVIOLATION", Message: message})
	}
	if message := unacceptable(x.r.Header.Values("Accept"), a.mediaType); message != "" {
		return refuse(http.StatusNotFound, problem{Code: "MANIFEST_UNKNOWN", Message: message}).distribution()
	}
	answer := status(http.StatusOK, "Content-Type", a.mediaType, "Docker-Content-Digest", a.digest).distribution()
	answer.body = a.body
	return answer
}

func artifactNotFound(repository, reference string) answer {
	separator := ":"
	if strings.Contains(reference, ":") {
		separator = "@"
	}
	return notFound(fmt.Sprintf("artifact %s%s%s not found", repository, separator, reference))
}

// hidden says why a project's policy hides an artifact. Signatures themselves are not hidden (by report; not recorded).
func hidden(p *project, r *repository, a *artifact) string {
	signed := func(kind string) bool {
		return a.accessory == kind || slices.ContainsFunc(r.accessoriesOf(a.digest), func(s *artifact) bool { return s.accessory == kind })
	}
	switch {
	case p.ContentTrust && !signed("signature.cosign"):
		return "The image is not signed by cosign."
	case p.ContentTrustNotary && !signed("signature.notation"):
		return "The image is not signed by notation."
	}
	return ""
}

// unacceptable says why a manifest is not one for who accepts these types. It has to be named: wildcards are none. Docker's
// own types are for everybody.
func unacceptable(accept []string, mediaType string) string {
	for one := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		if accepted, _, _ := mime.ParseMediaType(one); accepted == mediaType {
			return ""
		}
	}
	switch mediaType {
	case bundle.MediaTypeOCIManifest:
		return "OCI manifest found, but accept header does not support OCI manifests"
	case bundle.MediaTypeOCIIndex:
		return "OCI index found, but accept header does not support OCI indexes"
	}
	return ""
}

// putManifest looks at immutable tags first, then at the quota, and only then at the manifest as the registry does.
func (x *exchange) putManifest(p *project, t target) answer {
	digest := bundle.DigestOf(x.body).String()
	if r := p.repos[t.repo]; r != nil && r.tags[t.reference] != nil && p.immutable(t.repo, t.reference) {
		// For the same digest too.
		return refuse(http.StatusPreconditionFailed, problem{Code: "PRECONDITION", Message: fmt.Sprintf(
			"Failed to process request due to '%s:%s' configured as immutable.", t.repo, t.reference)})
	}
	mediaType := x.r.Header.Get("Content-Type")
	if len(x.body) > maxManifest {
		return refuse(http.StatusBadRequest, problem{Code: "MANIFEST_INVALID", Message: "manifest invalid", Detail: "http: request body too large"}).distribution()
	}
	m, err := readManifest(mediaType, x.body)
	if err != nil {
		return refuse(http.StatusBadRequest, problem{Code: "MANIFEST_INVALID", Message: "unmarshal manifest failed: " + err.Error()})
	}
	if _, counted := p.counted[digest]; !counted {
		if a := p.over(int64(len(x.body))); a != nil {
			return *a
		}
	}
	if a := x.checkManifest(p, t, m, digest); a != nil {
		return *a
	}
	x.store(p, t.repo, t.reference, mediaType, x.body, m)
	a := x.created(t, "manifests", digest)
	if m.Subject != nil && x.atLeast(9) {
		a.header.Set("Oci-Subject", m.Subject.Digest)
	}
	return a
}

// readManifest reads a manifest as the type that it is pushed as.
func readManifest(mediaType string, body []byte) (manifest, error) {
	var m manifest
	if !bundle.IsManifest(mediaType) && !bundle.IsIndex(mediaType) {
		// What has another type is read as Docker's first manifests, which were signed.
		return m, fmt.Errorf("missing signature key")
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, err
	}
	if m.MediaType != "" && m.MediaType != mediaType {
		return m, fmt.Errorf("if present, mediaType in manifest should be '%s' not '%s'", mediaType, m.MediaType)
	}
	return m, nil
}

// checkManifest returns what is wrong with a manifest, or nil.
func (x *exchange) checkManifest(p *project, t target, m manifest, digest string) *answer {
	var a answer
	problems := x.missing(p, t.repo, m)
	switch {
	case sha256Name.MatchString(t.reference) && t.reference != digest:
		a = refuse(http.StatusBadRequest, problem{Code: "DIGEST_INVALID", Message: "provided digest did not match uploaded content"}).distribution()
	case !sha256Name.MatchString(t.reference) && !tagName.MatchString(t.reference):
		a = text(http.StatusNotFound, "404 page not found\n").distribution()
	case len(problems) > 0:
		a = refuse(http.StatusBadRequest, problems...).distribution()
	case hasTwice(m.Manifests):
		a = artifactNotFound(t.full, digest) // Harbor's database takes a child of an index once
	case isImage(m.configType()) && !json.Valid(x.blobs[m.Config.Digest]):
		a = refuse(http.StatusInternalServerError, problem{Code: "UNKNOWN", Message: "internal server error"})
	default:
		return nil
	}
	return &a
}

// missing lists what a manifest names and its repository does not have, or what garbage collection has taken from it. What
// is said to be elsewhere need not be there.
func (x *exchange) missing(p *project, repo string, m manifest) []problem {
	var problems []problem
	report := func(digest string) {
		problems = append(problems, problem{Code: "MANIFEST_BLOB_UNKNOWN", Message: "blob unknown to registry", Detail: digest})
	}
	blobs := m.Layers
	if m.Config != nil {
		blobs = append([]descriptor{*m.Config}, m.Layers...)
	}
	for _, d := range blobs {
		elsewhere := len(d.URLs) > 0 && bundle.IsNondistributable(d.MediaType)
		if _, stored := x.blobs[d.Digest]; (!stored || !p.linked[repo][d.Digest]) && !elsewhere {
			report(d.Digest)
		}
	}
	for _, d := range m.Manifests {
		if r := p.repos[repo]; r == nil || r.artifacts[d.Digest] == nil {
			report(d.Digest)
		}
	}
	return problems
}

func hasTwice(list []descriptor) bool {
	seen := map[string]bool{}
	for _, d := range list {
		if seen[d.Digest] {
			return true
		}
		seen[d.Digest] = true
	}
	return false
}

func isImage(configType string) bool {
	return configType == "application/vnd.oci.image.config.v1+json" || configType == "application/vnd.docker.container.image.v1+json"
}

func (x *exchange) deleteManifest(p *project, t target) answer {
	if !sha256Name.MatchString(t.reference) {
		return refuse(http.StatusBadRequest, badDigest("UNSUPPORTED", t.reference))
	}
	if a := deleteArtifact(p, t.full, t.repo, t.reference); a != nil {
		return *a
	}
	return status(http.StatusAccepted)
}

func badDigest(code, digest string) problem {
	return problem{Code: code, Message: fmt.Sprintf("unsupported digest %s: invalid checksum digest format", digest)}
}

// deleteArtifact deletes what a reference stands for, or returns why not.
func deleteArtifact(p *project, full, repo, reference string) *answer {
	var a answer
	r := p.repos[repo]
	if r == nil || r.find(reference) == nil {
		a = artifactNotFound(full, reference)
		return &a
	}
	found := r.find(reference)
	for _, t := range r.tagsOf(found.digest) {
		if p.immutable(repo, t.name) {
			a = refuse(http.StatusPreconditionFailed, problem{Code: "PRECONDITION", Message: fmt.Sprintf("the tag %s configured as immutable, cannot be deleted", t.name)})
			return &a
		}
	}
	if r.isChild(found.digest) {
		a = refuse(http.StatusPreconditionFailed, problem{Code: "VIOLATE_FOREIGN_KEY_CONSTRAINT", Message: "the deleting artifact is referenced by others"})
		return &a
	}
	r.remove(found.digest)
	return nil
}

// referrers lists what belongs to a digest, whether that is there or not, all of it in one page. What cosign's tags make
// an accessory is listed too, though it has no subject.
func (x *exchange) referrers(p *project, t target) answer {
	if !x.atLeast(8) {
		return text(http.StatusNotFound, "404 page not found\n").distribution()
	}
	if !sha256Name.MatchString(t.reference) {
		return refuse(http.StatusBadRequest, badDigest("BAD_REQUEST", t.reference))
	}
	type entry struct {
		MediaType    string            `json:"mediaType"`
		Digest       string            `json:"digest"`
		Size         int               `json:"size"`
		Annotations  map[string]string `json:"annotations,omitempty"`
		ArtifactType string            `json:"artifactType"`
	}
	index := struct {
		SchemaVersion int     `json:"schemaVersion"`
		MediaType     string  `json:"mediaType"`
		Manifests     []entry `json:"manifests"`
	}{2, bundle.MediaTypeOCIIndex, []entry{}}
	total := 0
	wanted := x.r.URL.Query().Get("artifactType")
	if r := p.repos[t.repo]; r != nil {
		for _, a := range r.accessoriesOf(t.reference) {
			total++
			if kind := a.manifest.artifactType(); wanted == "" || kind == wanted {
				index.Manifests = append(index.Manifests, entry{a.mediaType, a.digest, len(a.body), a.manifest.Annotations, kind})
			}
		}
	}
	a := show(index, "Content-Type", bundle.MediaTypeOCIIndex, "X-Total-Count", strconv.Itoa(total))
	if wanted != "" {
		a.header.Set("Oci-Filters-Applied", "artifactType")
	}
	return a
}
