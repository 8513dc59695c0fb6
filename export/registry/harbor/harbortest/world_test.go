package harbortest_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/harbor/harbortest"
)

// granted reads what a token allows, by repository.
func granted(t *testing.T, token string) map[string][]string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Access []struct {
			Type, Name string
			Actions    []string
		}
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	actions := map[string][]string{}
	for _, access := range claims.Access {
		actions[access.Name] = access.Actions
	}
	return actions
}

const (
	typeConfig = "application/vnd.oci.image.config.v1+json"
	typeLayer  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// doc is a manifest to be.
type doc map[string]any

func (d doc) json() []byte { return []byte(mustMarshal(d)) }

// desc is a descriptor in a doc.
func desc(d bundle.Descriptor) doc {
	return doc{"mediaType": d.MediaType, "digest": d.Digest.String(), "size": d.Size}
}

func descOf(mediaType string, content []byte) bundle.Descriptor {
	return bundle.Descriptor{MediaType: mediaType, Digest: bundle.DigestOf(content), Size: int64(len(content))}
}

// image returns an image whose blobs are in the repository.
func image(s *harbortest.Server, repo, salt string) doc {
	config := s.AddBlob(repo, typeConfig, []byte(`{"architecture":"amd64","os":"linux","salt":"`+salt+`"}`))
	layer := s.AddBlob(repo, typeLayer, []byte("layer of "+salt))
	return doc{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIManifest, "config": desc(config), "layers": []doc{desc(layer)}}
}

// index returns an index of these manifests.
func index(manifests ...[]byte) doc {
	list := []doc{}
	for _, m := range manifests {
		d := desc(descOf(bundle.MediaTypeOCIManifest, m))
		d["platform"] = doc{"architecture": "amd64", "os": "linux"}
		list = append(list, d)
	}
	return doc{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": list}
}

// referrer returns an artifact with that type and subject, whose blobs are in the repository.
func referrer(s *harbortest.Server, repo, kind string, subject []byte) doc {
	empty := s.AddBlob(repo, bundle.MediaTypeEmptyJSON, []byte("{}"))
	return doc{
		"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIManifest, "artifactType": kind, "config": desc(empty), "layers": []doc{desc(empty)},
		"subject": desc(descOf(bundle.MediaTypeOCIManifest, subject)),
	}
}

// with returns a copy of a doc with something else in it.
func (d doc) with(key string, value any) doc {
	c := doc{}
	for k, v := range d {
		c[k] = v
	}
	c[key] = value
	if value == nil {
		delete(c, key)
	}
	return c
}
