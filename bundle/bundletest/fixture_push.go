package bundletest

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// StartRegistry runs go-containerregistry's registry in the process, empty, until the test ends, and
// returns its host and port on loopback. It speaks plain HTTP.
func StartRegistry(t testing.TB, referrersAPI bool) (host string) {
	t.Helper()
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(referrersAPI), quiet))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// Push writes the whole fixture into registries: hosts has a "host:port" for [Images] and one for
// [Attestations], which may be the same. It speaks plain HTTP and asks for no login. Where the registry
// has no referrers API, the fallback tags are written as the specification asks of a client.
func (f *Fixture) Push(t testing.TB, hosts map[string]string) {
	t.Helper()
	for _, r := range f.Repositories {
		if hosts[r.Registry] == "" {
			t.Fatalf("bundletest: Push has no host for %q", r.Registry)
		}
		p := &pusher{
			client: &http.Client{Timeout: time.Minute},
			base:   "http://" + hosts[r.Registry] + "/v2/" + r.Name,
		}
		for _, digest := range r.Blobs {
			p.blob(t, digest, f.Blob(t, digest))
		}
		for _, m := range r.Manifests {
			p.manifest(t, m.Digest, m.MediaType, m.Bytes)
		}
		p.fallbackTags(t, r)
		for tag, digest := range r.Tags {
			p.manifest(t, tag, f.Manifest(t, digest).MediaType, f.Blob(t, digest))
		}
	}
}

const ociIndex = "application/vnd.oci.image.index.v1+json"

// pusher writes into one repository.
type pusher struct {
	client *http.Client
	base   string
}

// blob uploads in one piece: POST, then PUT to where the registry says.
func (p *pusher) blob(t testing.TB, digest string, content []byte) {
	t.Helper()
	started := p.do(t, http.MethodPost, p.base+"/blobs/uploads/", "", nil)
	if started.StatusCode != http.StatusAccepted {
		t.Fatalf("bundletest: upload at %s: %s", p.base, started)
	}
	location, err := started.Location()
	if err != nil {
		t.Fatalf("bundletest: upload at %s: %v", p.base, err)
	}
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	done := p.do(t, http.MethodPut, location.String(), "application/octet-stream", content)
	if done.StatusCode != http.StatusCreated {
		t.Fatalf("bundletest: blob %s at %s: %s", digest, p.base, done)
	}
}

func (p *pusher) manifest(t testing.TB, reference, mediaType string, content []byte) {
	t.Helper()
	response := p.do(t, http.MethodPut, p.base+"/manifests/"+url.PathEscape(reference), mediaType, content)
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("bundletest: manifest %s at %s: %s", reference, p.base, response)
	}
}

// fallbackTags writes an index of the referrers of each subject, under its digest tag, where the
// registry does not keep such lists itself.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
func (p *pusher) fallbackTags(t testing.TB, r Repository) {
	t.Helper()
	lists := map[string][]descriptor{}
	for _, m := range r.Manifests {
		if m.Subject != "" {
			lists[m.Subject] = append(lists[m.Subject], m.descriptor())
		}
	}
	for subject, list := range lists {
		if p.hasReferrersAPI(t, subject) {
			continue
		}
		content, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list})
		if err != nil {
			t.Fatalf("bundletest: %v", err)
		}
		p.manifest(t, FallbackTag(subject), ociIndex, content)
	}
}

// FallbackTag is the tag for the referrers of a digest in a registry without the referrers API.
func FallbackTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

func (m Manifest) descriptor() descriptor {
	return descriptor{
		MediaType: m.MediaType, Size: len(m.Bytes), Digest: m.Digest,
		Annotations: m.Annotations, ArtifactType: m.ArtifactType,
	}
}

// hasReferrersAPI asks for the referrers of a subject. The OCI-Subject header would not do: it is
// missing from go-containerregistry's registry, which has the API.
func (p *pusher) hasReferrersAPI(t testing.TB, subject string) bool {
	t.Helper()
	response := p.do(t, http.MethodGet, p.base+"/referrers/"+subject, "", nil)
	switch response.StatusCode {
	case http.StatusOK:
		return true
	case http.StatusNotFound:
		return false
	}
	t.Fatalf("bundletest: referrers of %s at %s: %s", subject, p.base, response)
	return false
}

// answer is a response that has been read to its end, so that the connection is used again.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) String() string { return a.Status + ": " + string(a.body) }

func (p *pusher) do(t testing.TB, method, to, contentType string, body []byte) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, to, bytes.NewReader(body))
	if err != nil {
		t.Fatalf("bundletest: %v", err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := p.client.Do(request)
	if err != nil {
		t.Fatalf("bundletest: %v", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("bundletest: %s %s: %v", method, to, err)
	}
	return answer{response, content}
}
