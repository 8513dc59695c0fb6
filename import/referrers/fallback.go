package referrers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/import/target"
)

const (
	// fallbackTries bounds the races with other clients that are lost over one fallback tag.
	fallbackTries = 5
	fallbackPause = 100 * time.Millisecond
)

// merge adds ours to the list under a fallback tag and drops nothing from it. The specification offers no way to
// do so in one step: the list is read again, and written again where another client has overwritten it meanwhile.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
func (l *Lister) merge(ctx context.Context, tag name.Tag, ours []bundle.Descriptor) error {
	for try := 0; ; try++ {
		list, err := l.read(ctx, tag)
		if err != nil {
			return err
		}
		changed, err := list.add(ours)
		if err != nil {
			return fmt.Errorf("%s: %w", tag, err)
		}
		if !changed {
			return nil
		}
		if try == fallbackTries {
			return fmt.Errorf("%w: other clients overwrote the list of referrers %s %d times; run the command again when they are done", target.ErrDiffers, tag, try)
		}
		if err := wait(ctx, time.Duration(try)*fallbackPause); err != nil {
			return err
		}
		if err := l.write(ctx, tag, list); err != nil {
			return err
		}
	}
}

func (l *Lister) write(ctx context.Context, tag name.Tag, list *fallbackList) error {
	content, err := json.Marshal(list.fields)
	if err != nil {
		return err
	}
	if _, err := l.target.PushManifest(ctx, tag, bundle.MediaTypeOCIIndex, content); err != nil {
		return fmt.Errorf("list of referrers: %w", err)
	}
	l.written.Add(1)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// fallbackList is the index under a fallback tag. What is not understood of it is kept as it is.
type fallbackList struct {
	fields  map[string]json.RawMessage
	entries []json.RawMessage
	parsed  []bundle.Descriptor
}

func (l *Lister) read(ctx context.Context, tag name.Tag) (*fallbackList, error) {
	desc, content, err := l.target.Manifest(ctx, tag)
	if target.Absent(err) {
		desc.MediaType, content = bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+bundle.MediaTypeOCIIndex+`","manifests":[]}`)
	} else if err != nil {
		return nil, err
	}
	list, err := parseFallback(desc.MediaType, content)
	if err != nil {
		return nil, fmt.Errorf("%w: %s, where the list of referrers belongs, is something else: %s", target.ErrConflict, tag, err.Error())
	}
	return list, nil
}

func parseFallback(mediaType string, content []byte) (*fallbackList, error) {
	if mediaType != bundle.MediaTypeOCIIndex {
		return nil, fmt.Errorf("it has the media type %.100q", mediaType)
	}
	index, err := bundle.ParseManifest(mediaType, content)
	if err != nil {
		return nil, err
	}
	l := &fallbackList{parsed: index.Manifests}
	if err := json.Unmarshal(content, &l.fields); err != nil {
		return nil, err
	}
	if list, ok := l.fields["manifests"]; ok {
		if err := json.Unmarshal(list, &l.entries); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// add adds what is not listed, and tells whether there was anything.
func (l *fallbackList) add(ours []bundle.Descriptor) (changed bool, err error) {
	for _, d := range ours {
		if contains(l.parsed, d.Digest) {
			continue
		}
		entry, err := json.Marshal(d)
		if err != nil {
			return false, err
		}
		l.parsed, l.entries, changed = append(l.parsed, d), append(l.entries, entry), true
	}
	if !changed {
		return false, nil
	}
	if l.fields["manifests"], err = json.Marshal(l.entries); err == nil && len(l.fields["manifests"]) > bundle.MaxManifestSize {
		err = errors.New("the list of referrers would be larger than registries take")
	}
	return true, err
}
