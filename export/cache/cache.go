// Package cache keeps the manifests that an export has fetched, so that tomorrow's plan fetches only what has changed.
//
// Manifests are kept by digest, and a digest is checked whenever one is read: whatever happens to the files, the worst
// is that something is fetched again. Tags are asked for each time, with HEAD, which registries do not count as a pull.
// What refers to an image is never kept, as it can change at any time. For choosing images, configs are kept as well,
// which say when an image was made. The directory is safe to delete.
package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/registry"
)

// keepFor is how long a manifest is kept that nobody asks for.
const keepFor = 60 * 24 * time.Hour

// maxEntry bounds a file, in bytes: a manifest and its media type.
const maxEntry = bundle.MaxManifestSize + 256

// Source is a source of manifests with a cache in front. Everything else goes to the source behind it.
type Source struct {
	export.Source
	dir  string
	now  func() time.Time
	hits atomic.Int64
}

// New returns source with a cache in dir, which is made where it is missing, for this user alone.
func New(source export.Source, dir string, now func() time.Time) (*Source, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Source{Source: source, dir: dir, now: now}, nil
}

// Hits is how many manifests did not have to be fetched.
func (s *Source) Hits() int { return int(s.hits.Load()) }

// Manifest implements export.Source.
func (s *Source) Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error) {
	pinned, ok := ref.(name.Digest)
	if !ok {
		desc, err := s.Resolve(ctx, ref)
		if err != nil {
			return bundle.Descriptor{}, nil, err
		}
		pinned = ref.Context().Digest(desc.Digest.String())
	}
	digest, err := bundle.ParseDigest(pinned.DigestStr())
	if err != nil {
		return s.Source.Manifest(ctx, ref) // which says what is wrong with it
	}
	if mediaType, content, ok := s.get(digest); ok && bundle.IsManifest(mediaType) {
		s.hits.Add(1)
		return bundle.Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(content))}, content, nil
	}
	desc, content, err := s.Source.Manifest(ctx, pinned)
	if ref != name.Reference(pinned) && errors.Is(err, registry.ErrNotFound) {
		desc, content, err = s.Source.Manifest(ctx, ref) // some registries find by the tag alone what they name by it
	}
	if err == nil {
		s.put(desc, content)
	}
	return desc, content, err
}

// maxBlob is the size up to which blobs are kept, in bytes: configs, and little else.
const maxBlob = 64 << 10

// blobType stands for the media type of a blob, which it does not have.
const blobType = "application/octet-stream"

// WithBlobs returns s for choosing images: it keeps small blobs as well. What is exported is not to be kept twice.
func (s *Source) WithBlobs() export.Source { return withBlobs{s} }

type withBlobs struct{ *Source }

// Blob implements export.Source.
func (s withBlobs) Blob(ctx context.Context, ref name.Digest, size int64) (io.ReadCloser, error) {
	digest, err := bundle.ParseDigest(ref.DigestStr())
	if err != nil || size > maxBlob {
		return s.Source.Source.Blob(ctx, ref, size)
	}
	if mediaType, content, ok := s.get(digest); ok && mediaType == blobType && int64(len(content)) == size {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	body, err := s.Source.Source.Blob(ctx, ref, size)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	if bundle.DigestOf(content) == digest { // whether it is right is for the caller to say
		s.put(bundle.Descriptor{MediaType: blobType, Digest: digest}, content)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func (s *Source) path(d bundle.Digest) string {
	return filepath.Join(s.dir, d.Hex()[:2], d.Hex())
}

// get returns a manifest that is kept, whole and unchanged. An entry is the media type on a line, and the manifest.
func (s *Source) get(d bundle.Digest) (mediaType string, content []byte, ok bool) {
	path := s.path(d)
	f, err := os.Open(path)
	if err != nil {
		return "", nil, false
	}
	defer func() { _ = f.Close() }()
	entry, err := io.ReadAll(io.LimitReader(f, maxEntry+1))
	if err != nil || len(entry) > maxEntry {
		return "", nil, false
	}
	first, content, found := bytes.Cut(entry, []byte("\n"))
	if !found || !isKept(string(first)) || bundle.DigestOf(content) != d {
		return "", nil, false
	}
	if info, err := f.Stat(); err == nil && s.now().Sub(info.ModTime()) > keepFor/2 {
		_ = os.Chtimes(path, s.now(), s.now()) // it is in use; if that fails, it is fetched again one day
	}
	return string(first), content, true
}

func isKept(mediaType string) bool { return bundle.IsManifest(mediaType) || mediaType == blobType }

// put keeps a manifest or blob. A cache that cannot be written, because a disk is full, is no reason to stop.
func (s *Source) put(desc bundle.Descriptor, content []byte) {
	if !isKept(desc.MediaType) {
		return
	}
	path := s.path(desc.Digest)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), temporary+"*") // 0600
	if err != nil {
		return
	}
	_, err = f.Write(append([]byte(desc.MediaType+"\n"), content...))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

// temporary begins the names of files that are being written.
const temporary = ".new-"

// Prune removes what nobody has asked for in a long time, and what interrupted runs have left.
func (s *Source) Prune() error {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another run was faster
		}
		if err != nil {
			return err
		}
		limit := keepFor
		if strings.HasPrefix(entry.Name(), temporary) {
			limit = 24 * time.Hour
		}
		if !isEntry(entry.Name()) || s.now().Sub(info.ModTime()) < limit {
			return nil
		}
		if err := root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// isEntry tells whether a file is one of the cache's own: a directory that was given by mistake must not suffer.
func isEntry(file string) bool {
	if strings.HasPrefix(file, temporary) {
		return true
	}
	_, err := bundle.ParseDigest("sha256:" + file)
	return err == nil
}
