// Package fallback adds to the lists of referrers that clients keep under fallback tags, where a registry has no referrers API.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
package fallback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"airgap/bundle"
	"airgap/bundle/ociindex"
	"airgap/export/registry"
	"airgap/export/registry/retry"

	"github.com/google/go-containerregistry/pkg/name"
)

// Errors that a caller may want to tell apart; those of the registry come through as they are.
var (
	// ErrNoList: something else is under the tag.
	ErrNoList = errors.New("where the list of referrers belongs, is something else")
	// ErrOverwritten: other clients keep overwriting the list.
	ErrOverwritten = errors.New("other clients overwrote the list of referrers")
)

const (
	tries = 5 // bounds the races with other clients that are lost over one tag
	pause = 100 * time.Millisecond
)

// Target is where the lists are.
type Target interface {
	// Manifest returns the manifest that ref names.
	Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error)
	// PushManifest writes a manifest under a tag or its digest.
	PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (subjectAcknowledged bool, err error)
}

// Add adds ours to the list under a tag and drops nothing from it, and returns how often it was written. The specification offers
// no way to do so in one step: the list is read again, and written again where another client has overwritten it meanwhile.
func Add(ctx context.Context, t Target, tag name.Tag, ours []bundle.Descriptor) (written int, err error) {
	for try := 0; ; try++ {
		list, err := read(ctx, t, tag)
		if err != nil {
			return try, err
		}
		changed, err := list.Add(ours...)
		if err != nil || !changed {
			return try, err
		}
		if try == tries {
			return try, fmt.Errorf("%w: %s, %d times; run the command again when they are done", ErrOverwritten, tag, try)
		}
		if err := retry.Sleep(ctx, time.Duration(try)*pause); err != nil {
			return try, err
		}
		if err := write(ctx, t, tag, list); err != nil {
			return try, err
		}
	}
}

func read(ctx context.Context, t Target, tag name.Tag) (*ociindex.Index, error) {
	desc, content, err := t.Manifest(ctx, tag)
	switch {
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrRepositoryUnknown):
		return ociindex.New(), nil
	case err != nil:
		return nil, err
	case desc.MediaType != bundle.MediaTypeOCIIndex:
		return nil, fmt.Errorf("%s: %w: it has the media type %.100q", tag, ErrNoList, desc.MediaType)
	}
	list, err := ociindex.Parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", tag, ErrNoList, err.Error()) // not wrapped: it is not the bundle that is malformed
	}
	return list, nil
}

func write(ctx context.Context, t Target, tag name.Tag, list *ociindex.Index) error {
	content, err := list.Bytes()
	if err != nil {
		return fmt.Errorf("%s: %w", tag, err)
	}
	if _, err := t.PushManifest(ctx, tag, bundle.MediaTypeOCIIndex, content); err != nil {
		return fmt.Errorf("list of referrers: %w", err)
	}
	return nil
}
