// Package ociindex changes OCI image indexes to which others write as well: lists of referrers under fallback tags, and the
// index.json of a layout. What is not understood of them is kept as it is.
package ociindex

import (
	"encoding/json"
	"fmt"
	"slices"

	"airgap/bundle"
)

// Index is an OCI image index that can be changed.
type Index struct {
	fields  map[string]json.RawMessage
	entries []json.RawMessage
	parsed  []bundle.Descriptor
}

// New returns an index without entries.
func New() *Index {
	x, err := Parse([]byte(`{"schemaVersion":2,"mediaType":"` + bundle.MediaTypeOCIIndex + `","manifests":[]}`))
	if err != nil {
		panic(err) // it is a constant
	}
	return x
}

// Parse reads an OCI image index of at most bundle.MaxManifestSize bytes; errors are those of bundle.ParseManifest.
func Parse(content []byte) (*Index, error) {
	index, err := bundle.ParseManifest(bundle.MediaTypeOCIIndex, content)
	if err != nil {
		return nil, err
	}
	x := &Index{parsed: index.Manifests}
	if err := json.Unmarshal(content, &x.fields); err != nil {
		return nil, err
	}
	if list, ok := x.fields["manifests"]; ok {
		if err := json.Unmarshal(list, &x.entries); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// Manifests returns the entries. They must not be changed.
func (x *Index) Manifests() []bundle.Descriptor { return x.parsed }

// Has tells whether an entry has the digest.
func (x *Index) Has(d bundle.Digest) bool {
	return slices.ContainsFunc(x.parsed, func(entry bundle.Descriptor) bool { return entry.Digest == d })
}

// Set puts an entry in the place of those that replaces matches, or at the end.
func (x *Index) Set(d bundle.Descriptor, replaces func(bundle.Descriptor) bool) error {
	entry, err := json.Marshal(d)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(x.parsed, replaces)
	if at < 0 {
		x.parsed, x.entries = append(x.parsed, d), append(x.entries, entry)
		return nil
	}
	x.parsed[at], x.entries[at] = d, entry
	for i := len(x.parsed) - 1; i > at; i-- {
		if replaces(x.parsed[i]) {
			x.parsed, x.entries = slices.Delete(x.parsed, i, i+1), slices.Delete(x.entries, i, i+1)
		}
	}
	return nil
}

// Add adds the entries whose digests are not there, and tells whether there were any.
func (x *Index) Add(all ...bundle.Descriptor) (changed bool, err error) {
	for _, d := range all {
		if x.Has(d.Digest) {
			continue
		}
		if err := x.Set(d, func(bundle.Descriptor) bool { return false }); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// Bytes writes the index; bundle.ErrLimit where it is larger than Parse and registries take.
func (x *Index) Bytes() ([]byte, error) {
	var err error
	if x.fields["manifests"], err = json.Marshal(x.entries); err != nil {
		return nil, err
	}
	content, err := json.Marshal(x.fields)
	if err == nil && len(content) > bundle.MaxManifestSize {
		err = fmt.Errorf("%w: an index of %d entries, more than registries take", bundle.ErrLimit, len(x.entries))
	}
	return content, err
}
