package registrytest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"

	"airgap/bundle"
)

// RoutesApart makes a registry that routes tags and digests to different stores, as registry.k8s.io does: what is under a
// digest tag (sha256-...) is found by that tag alone, not by its digest, and lists of tags do not have it.
func RoutesApart() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			answer := Real(r, next)
			var list struct {
				Name string   `json:"name"`
				Tags []string `json:"tags"`
			}
			if json.Unmarshal(answer.Body, &list) != nil {
				return false
			}
			near := list.Tags[:0]
			for _, tag := range list.Tags {
				if !strings.HasPrefix(tag, "sha256-") {
					near = append(near, tag)
				}
			}
			list.Tags = near
			answer.Body, _ = json.Marshal(list)
			answer.Send(w)
			return true
		}
		repository, digest, byDigest := strings.Cut(r.URL.Path, "/manifests/sha256:")
		return byDigest && isDigestTagged(repository, "sha256:"+digest, next) && Code(http.StatusNotFound, "MANIFEST_UNKNOWN", "not here")(w, r, next)
	}
}

// isDigestTagged tells whether a digest tag of the repository has that digest.
func isDigestTagged(repository, digest string, next http.Handler) bool {
	var list struct {
		Tags []string `json:"tags"`
	}
	answer := Real(httptest.NewRequest(http.MethodGet, repository+"/tags/list", nil), next)
	if json.Unmarshal(answer.Body, &list) != nil {
		return false
	}
	for _, tag := range list.Tags {
		if !strings.HasPrefix(tag, "sha256-") {
			continue
		}
		tagged := Real(httptest.NewRequest(http.MethodGet, repository+"/manifests/"+tag, nil), next)
		if bundle.DigestOf(tagged.Body).String() == digest {
			return true
		}
	}
	return false
}
