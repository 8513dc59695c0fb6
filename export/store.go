package export

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"airgap/bundle"
	"airgap/bundle/disk"
)

// contentStore keeps the bytes of the manifests that a walk finds, and of proofs that were judged, until they are written into the
// bundle: in a private temporary file, so that memory does not grow with them.
type contentStore struct {
	mu     sync.Mutex
	file   *disk.Temporary
	size   int64
	proofs int64 // bytes of size
	index  map[bundle.Digest]stored
	// parsed has the first manifests, as far as maxParsed goes, until forget.
	parsed map[bundle.Digest]*bundle.Manifest
}

// maxParsed bounds the manifests that are in memory as well until the plan is made, in bytes of JSON. Reading them again takes as
// long as all else that making tables of them does.
const maxParsed = 4 << 20

// maxProofs bounds the proofs that are kept, in bytes, as a pipe's are behind the gap. What is over it is fetched once more for the writing.
const maxProofs = 1 << 30

type stored struct {
	offset int64
	size   int32
	// mediaType is an index into the few known ones; isProof for what is no manifest.
	mediaType int8
}

const isProof = -1

func newContentStore() (*contentStore, error) {
	f, err := disk.NewTemporary("")
	if err != nil {
		return nil, err
	}
	return &contentStore{file: f, index: map[bundle.Digest]stored{}, parsed: map[bundle.Digest]*bundle.Manifest{}}, nil
}

// put keeps a manifest, which nobody is to change any more.
func (s *contentStore) put(d bundle.Digest, mediaType string, content []byte, m *bundle.Manifest) error {
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
	if err := s.add(d, entry, content); err != nil {
		return err
	}
	if s.parsed != nil && s.size <= maxParsed {
		s.parsed[d] = m
	}
	return nil
}

// add writes what is not there yet.
func (s *contentStore) add(d bundle.Digest, entry stored, content []byte) error {
	if _, err := s.file.WriteAt(content, s.size); err != nil {
		return err
	}
	s.size += int64(len(content))
	s.index[d] = entry
	return nil
}

// keepProof keeps the content of a proof, as long as there is room for it.
func (s *contentStore) keepProof(d bundle.Digest, content []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.index[d]; known || s.proofs+int64(len(content)) > maxProofs {
		return nil
	}
	s.proofs += int64(len(content))
	return s.add(d, stored{offset: s.size, size: int32(len(content)), mediaType: isProof}, content)
}

// manifest returns a manifest that was put.
func (s *contentStore) manifest(d bundle.Digest) (*bundle.Manifest, error) {
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
func (s *contentStore) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parsed = nil
}

// bytes returns what was put or kept, as it was served; bundle.ErrNotFound where it was not. A proof has no media type.
func (s *contentStore) bytes(d bundle.Digest) (mediaType string, content []byte, err error) {
	s.mu.Lock()
	entry, ok := s.index[d]
	s.mu.Unlock()
	if !ok {
		return "", nil, fmt.Errorf("%s: %w", d, bundle.ErrNotFound)
	}
	content = make([]byte, entry.size)
	if _, err := s.file.ReadAt(content, entry.offset); err != nil {
		return "", nil, err
	}
	if entry.mediaType != isProof {
		mediaType = bundle.ManifestMediaTypes[entry.mediaType]
	}
	return mediaType, content, nil
}

// open is bytes as a reader.
func (s *contentStore) open(d bundle.Digest) (io.ReadCloser, error) {
	_, content, err := s.bytes(d)
	return io.NopCloser(bytes.NewReader(content)), err
}

func (s *contentStore) Close() error { return s.file.Close() }
