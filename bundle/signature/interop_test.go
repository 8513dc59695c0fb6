//go:build interop

package signature_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"airgap/bundle"
	"airgap/bundle/signature"
)

// cosign runs cosign 3: the program that $COSIGN names, or the one in PATH.
func cosign(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), cmp.Or(os.Getenv("COSIGN"), "cosign"), args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "COSIGN_PASSWORD="+testPassword)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// digestFlags returns what cosign needs besides for keys on the larger curves.
func digestFlags(kind string) []string {
	if kind == "p384" {
		return []string{"--signature-digest-algorithm=sha384"}
	}
	return nil
}

func TestCosignVerifiesFiles(t *testing.T) {
	for _, kind := range fixtureKinds {
		check := func(artifact string) (string, error) {
			return cosign(t, append(digestFlags(kind), "verify-blob-attestation", "--key", "testdata/"+kind+".pub",
				"--bundle", "testdata/airgap-"+kind+".sigstore.json", "--type", signature.PredicateType,
				"--insecure-ignore-tlog=true", artifact)...)
		}
		if output, err := check("testdata/artifact.json"); err != nil || !strings.Contains(output, "Verified OK") {
			t.Errorf("%s: %v\n%s", kind, err, output)
		}
		if output, err := check("testdata/make.sh"); err == nil {
			t.Errorf("%s: accepted for another file\n%s", kind, output)
		}
	}
}

// TestCosignReadsKeys: cosign opens what MarshalEncrypted wrote.
func TestCosignReadsKeys(t *testing.T) {
	for _, kind := range signature.KeyKinds() {
		key := generate(t, kind)
		file, err := key.MarshalEncrypted([]byte(testPassword))
		if err != nil {
			t.Fatal(err)
		}
		output, err := cosign(t, "public-key", "--key", write(t, "airgap.key", file))
		if err != nil || !strings.Contains(output, string(key.Public().MarshalPEM())) {
			t.Errorf("%s: %v\n%s", kind, err, output)
		}
	}
}

// TestCosignVerifiesInRegistry pushes an artifact and its signature, as bundles hold them, into registries with and
// without the referrers API.
func TestCosignVerifiesInRegistry(t *testing.T) {
	for _, api := range []bool{true, false} {
		for _, kind := range fixtureKinds {
			server := httptest.NewServer(registry.New(registry.WithReferrersSupport(api), registry.Logger(log.New(io.Discard, "", 0))))
			repository := strings.TrimPrefix(server.URL, "http://") + "/airgap/bundles"
			d := pushSigned(t, server.URL+"/v2/airgap/bundles", privateKey(t, kind), !api)
			output, err := cosign(t, append(digestFlags(kind), "verify", "--key", "testdata/"+kind+".pub",
				"--insecure-ignore-tlog=true", repository+"@"+d.String())...)
			if err != nil || !strings.Contains(output, d.String()) {
				t.Errorf("%s, referrers API %v: %v\n%s", kind, api, err, output)
			}
			output, err = cosign(t, "verify", "--key", write(t, "other.pub", generate(t, signature.ECDSAP256).Public().MarshalPEM()),
				"--insecure-ignore-tlog=true", repository+"@"+d.String())
			if err == nil || !strings.Contains(output, "could not verify envelope") {
				t.Errorf("%s: by another key: %v\n%s", kind, err, output)
			}
			server.Close()
		}
	}
}

// pushSigned puts an artifact and the signature over it into the repository at url and returns the artifact's digest.
func pushSigned(t *testing.T, url string, key *signature.PrivateKey, fallback bool) bundle.Digest {
	empty := descriptor(t, bundle.MediaTypeEmptyJSON, pushBlob(t, url, []byte("{}")))
	artifact, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIManifest, "artifactType": bundle.ArtifactTypeBundle,
		"config": empty, "layers": []any{empty},
	})
	put(t, url, bundle.DigestOf(artifact).String(), bundle.MediaTypeOCIManifest, artifact)
	layer := pushBlob(t, url, sign(t, key, bundle.DigestOf(artifact)))
	referrer, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIManifest, "artifactType": signature.MediaType,
		"config": empty, "layers": []any{descriptor(t, signature.MediaType, layer)},
		"subject": descriptor(t, bundle.MediaTypeOCIManifest, artifact),
		"annotations": map[string]string{
			"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": signature.PredicateType,
		},
	})
	put(t, url, bundle.DigestOf(referrer).String(), bundle.MediaTypeOCIManifest, referrer)
	if fallback {
		listed := descriptor(t, bundle.MediaTypeOCIManifest, referrer)
		listed["artifactType"] = signature.MediaType
		index, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": []any{listed}})
		put(t, url, bundle.DigestOf(artifact).FallbackTag(), bundle.MediaTypeOCIIndex, index)
	}
	return bundle.DigestOf(artifact)
}

func descriptor(t *testing.T, mediaType string, content []byte) map[string]any {
	t.Helper()
	return map[string]any{"mediaType": mediaType, "digest": bundle.DigestOf(content).String(), "size": len(content)}
}

func pushBlob(t *testing.T, url string, content []byte) []byte {
	t.Helper()
	send(t, http.MethodPost, fmt.Sprintf("%s/blobs/uploads/?digest=%s", url, bundle.DigestOf(content)), "application/octet-stream", content)
	return content
}

func put(t *testing.T, url, reference, mediaType string, content []byte) {
	t.Helper()
	send(t, http.MethodPut, url+"/manifests/"+reference, mediaType, content)
}

func send(t *testing.T, method, url, contentType string, content []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("%s %s: %s\n%s", method, url, response.Status, body)
	}
}
