package export

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"airgap/bundle"
	"airgap/bundle/disk"
)

// manifestStore keeps the bytes of the manifests that a walk finds until they are written into the bundle: in a
// private temporary file, so that memory does not grow with them.
type manifestStore struct {
	mu    sync.Mutex
	file  *disk.Temporary
	size  int64
	index map[bundle.Digest]stored
	// parsed has the first manifests, as far as maxParsed goes, until forget.
	parsed map[bundle.Digest]*bundle.Manifest
}

// maxParsed bounds the manifests that are in memory as well until the plan is made, in bytes of JSON. Reading them again takes as
// long as all else that making tables of them does.
const maxParsed = 4 << 20

type stored struct {
	offset int64
	size   int32
	// mediaType is an index into the few known ones.
	mediaType int8
}

func newManifestStore() (*manifestStore, error) {
	f, err := disk.NewTemporary("")
	if err != nil {
		return nil, err
	}
	return &manifestStore{file: f, index: map[bundle.Digest]stored{}, parsed: map[bundle.Digest]*bundle.Manifest{}}, nil
}

// put keeps a manifest, which nobody is to change any more.
func (s *manifestStore) put(d bundle.Digest, mediaType string, content []byte, m *bundle.Manifest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := stored{offset: s.size, size: int32(len(content))}
	for i, known := range bundle.ManifestMediaTypes {
		if known == mediaType {
			entry.mediaType = int8(i)
		}
	}
	if known, ok := s.index[d]; ok {
		if known.mediaType != entry.mediaType {
			return fmt.Errorf("%w: %s is served as %s and as %s", bundle.ErrFormat, d, bundle.ManifestMediaTypes[known.mediaType], mediaType)
		}
		return nil
	}
	if _, err := s.file.WriteAt(content, s.size); err != nil {
		return err
	}
	s.size += int64(len(content))
	s.index[d] = entry
	if s.parsed != nil && s.size <= maxParsed {
		s.parsed[d] = m
	}
	return nil
}

// manifest returns a manifest that was put.
func (s *manifestStore) manifest(d bundle.Digest) (*bundle.Manifest, error) {
	s.mu.Lock()
	m := s.parsed[d]
	s.mu.Unlock()
	if m != nil {
		return m, nil
	}
	mediaType, content, err := s.bytes(d)
	if err != nil {
		return nil, err
	}
	return bundle.ParseManifest(mediaType, content)
}

// forget keeps manifests in the file alone.
func (s *manifestStore) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parsed = nil
}

// bytes returns a manifest that was put, as it was served.
func (s *manifestStore) bytes(d bundle.Digest) (mediaType string, content []byte, err error) {
	s.mu.Lock()
	entry, ok := s.index[d]
	s.mu.Unlock()
	if !ok {
		return "", nil, fmt.Errorf("manifest %s: %w", d, bundle.ErrNotFound)
	}
	content = make([]byte, entry.size)
	if _, err := s.file.ReadAt(content, entry.offset); err != nil {
		return "", nil, err
	}
	return bundle.ManifestMediaTypes[entry.mediaType], content, nil
}

// open is bytes as a reader.
func (s *manifestStore) open(d bundle.Digest) (io.ReadCloser, error) {
	_, content, err := s.bytes(d)
	return io.NopCloser(bytes.NewReader(content)), err
}

func (s *manifestStore) Close() error { return s.file.Close() }
