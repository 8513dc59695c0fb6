package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
)

// listReferrers makes what was brought findable from its subject: it moves cosign's tags and, at targets without the
// referrers API, adds to the lists under the fallback tags.
func (r *run) listReferrers(ctx context.Context) error {
	tags := func(yield func(*tagMove) bool) {
		for i := range r.plan.tags {
			if t := &r.plan.tags[i]; t.cosign && !yield(t) {
				return
			}
		}
	}
	if err := eachIn(ctx, r, tags, repoOfTag, r.moveCosignTag); err != nil {
		return err
	}
	return eachIn(ctx, r, slices.Values(r.plan.lists), func(l referrersList) int32 { return l.repo }, r.ensureListed)
}

// ensureListed makes sure that the target lists what refers to a subject. A target that has not said so by itself is
// asked for the list, which also shows whether it has the API at all. Where it is known to have none, there is only the list
// under the fallback tag to look at.
func (r *run) ensureListed(ctx context.Context, l referrersList) error {
	repo := &r.plan.repositories[l.repo]
	if l.listed || !slices.ContainsFunc(l.rows, func(row int32) bool {
		at, _ := repo.find(row)
		return repo.states[at] != acknowledged
	}) {
		return nil
	}
	if r.api.Load() != apiAbsent {
		listed, err := r.target.Referrers(ctx, repo.name.Digest(l.subject.String()))
		if err != nil {
			return err
		}
		r.noteAPI(listed)
		if listed.API || len(missing(listed.Descriptors, r.digests(l))) == 0 {
			return nil // what the API does not list yet, reading back will tell
		}
	}
	ours, err := r.descriptors(l)
	if err != nil {
		return err
	}
	return r.mergeFallback(ctx, repo.name.Tag(l.subject.FallbackTag()), ours)
}

func (r *run) digests(l referrersList) []bundle.Digest {
	digests := make([]bundle.Digest, len(l.rows))
	for i, row := range l.rows {
		digests[i] = r.plan.digest(row)
	}
	return digests
}

// missing returns which digests are not listed.
func missing(listed []bundle.Descriptor, digests []bundle.Digest) []bundle.Digest {
	return slices.DeleteFunc(slices.Clone(digests), func(d bundle.Digest) bool {
		return slices.ContainsFunc(listed, func(l bundle.Descriptor) bool { return l.Digest == d })
	})
}

// descriptors describes referrers as the list under a fallback tag has them.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests-with-subject
func (r *run) descriptors(l referrersList) ([]bundle.Descriptor, error) {
	var described []bundle.Descriptor
	for _, row := range l.rows {
		m, err := r.plan.manifest(row)
		if err != nil {
			return nil, err
		}
		described = append(described, bundle.Descriptor{
			MediaType: r.plan.graph.Node(int(row)).MediaType, Digest: r.plan.digest(row), Size: r.plan.contents.Blobs[row].Size,
			ArtifactType: m.EffectiveArtifactType(), Annotations: m.Annotations,
		})
	}
	return described, nil
}

const (
	// fallbackTries bounds the races with other clients that are lost over one fallback tag.
	fallbackTries = 5
	fallbackPause = 100 * time.Millisecond
)

// mergeFallback adds ours to the list under a fallback tag and drops nothing from it. The specification offers no way to
// do so in one step: the list is read again, and written again where another client has overwritten it meanwhile.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
func (r *run) mergeFallback(ctx context.Context, tag name.Tag, ours []bundle.Descriptor) error {
	for try := 0; ; try++ {
		list, err := r.readFallback(ctx, tag)
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
			return fmt.Errorf("%w: other clients overwrote the list of referrers %s %d times; run the command again when they are done", ErrDiffers, tag, try)
		}
		if err := wait(ctx, time.Duration(try)*fallbackPause); err != nil {
			return err
		}
		if err := r.writeFallback(ctx, tag, list); err != nil {
			return err
		}
	}
}

func (r *run) writeFallback(ctx context.Context, tag name.Tag, list *fallbackList) error {
	content, err := json.Marshal(list.fields)
	if err != nil {
		return err
	}
	if _, err := r.target.PushManifest(ctx, tag, bundle.MediaTypeOCIIndex, content); err != nil {
		return fmt.Errorf("list of referrers: %w", err)
	}
	r.fallbackTags.Add(1)
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

func (r *run) readFallback(ctx context.Context, tag name.Tag) (*fallbackList, error) {
	desc, content, err := r.target.Manifest(ctx, tag)
	if absent(err) {
		desc.MediaType, content = bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+bundle.MediaTypeOCIIndex+`","manifests":[]}`)
	} else if err != nil {
		return nil, err
	}
	list, err := parseFallback(desc.MediaType, content)
	if err != nil {
		return nil, fmt.Errorf("%w: %s, where the list of referrers belongs, is something else: %s", ErrConflict, tag, err.Error())
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
		if len(missing(l.parsed, []bundle.Digest{d.Digest})) == 0 {
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
