package catalogue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
)

// annotationCreated is what manifests may say; images say it in their configs.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md#pre-defined-annotation-keys
const annotationCreated = "org.opencontainers.image.created"

// maxConfig bounds the config of an image, in bytes.
const maxConfig = 4 << 20

// created returns when an image was made, by its own account: of an index the newest of its images. Zero where it does
// not say.
func (s *selector) created(ctx context.Context, ref name.Reference) (time.Time, error) {
	desc, content, err := s.source.Manifest(ctx, ref)
	if err != nil {
		return time.Time{}, err
	}
	m, err := bundle.ParseManifest(desc.MediaType, content)
	if err != nil {
		return time.Time{}, err
	}
	if !bundle.IsIndex(desc.MediaType) {
		return s.imageCreated(ctx, ref.Context(), m)
	}
	newest := parseTime(m.Annotations[annotationCreated])
	for _, child := range m.Children() {
		if child.Platform == nil || child.Platform.OS == "unknown" { // what BuildKit attests
			continue
		}
		made, err := s.created(ctx, ref.Context().Digest(child.Digest.String()))
		if err != nil {
			return time.Time{}, err
		}
		if made.After(newest) {
			newest = made
		}
	}
	return newest, nil
}

func (s *selector) imageCreated(ctx context.Context, repo name.Repository, m *bundle.Manifest) (time.Time, error) {
	made := parseTime(m.Annotations[annotationCreated])
	switch m.Config.MediaType {
	case "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json":
	default:
		return made, nil
	}
	if m.Config.Size > maxConfig {
		return time.Time{}, fmt.Errorf("%w: a config of %d bytes", bundle.ErrLimit, m.Config.Size)
	}
	content, err := readBlob(ctx, s.source, repo, *m.Config)
	if err != nil {
		return time.Time{}, err
	}
	var config struct {
		Created string `json:"created"`
	}
	_ = json.Unmarshal(content, &config) // what is no such config does not say when it was made
	if inside := parseTime(config.Created); inside.After(made) {
		made = inside
	}
	return made, nil
}

// parseTime reads a time; zero for what is none.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
