// Package cache keeps the manifests that an export has fetched, so that tomorrow's plan fetches only what has changed, and what
// it has found out about registries (facts.go).
//
// Manifests are kept by digest, and a digest is checked whenever one is read: whatever happens to the files, the worst
// is that something is fetched again. Facts have nothing to be checked by, and are believed for a day. Tags are asked for each
// time: with HEAD, which registries do not count as a pull, unless what they lead to is likely to be new.
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
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/registry"
)

const (
	// keepFor is how long a manifest is kept that nobody asks for.
	keepFor = 60 * 24 * time.Hour
	// pruneEvery is how often such manifests are looked for.
	pruneEvery = 24 * time.Hour
)

// maxEntry bounds a file, in bytes: a manifest and its media type.
const maxEntry = bundle.MaxManifestSize + 256

// Registries is what a cache stands in front of. *registry.Client is the real one.
type Registries interface {
	export.Source

	// RateLimit returns what the registry says of its limit of pulls; known is false where it says nothing.
	RateLimit(reg name.Registry) (limit registry.RateLimit, known bool)
}

// Source is a source of manifests with a cache in front. Everything else goes to the registries behind it.
type Source struct {
	Registries

	dir string
	now func() time.Time
	// isNew tells that the last manifest that a tag led to had to be fetched: then those of the next ones are likely to be
	// new as well, and asking for their digests first would be one request too many for each.
	isNew atomic.Bool
}

// New returns source with a cache in dir, which is made where it is missing, for this user alone.
func New(source Registries, dir string, now func() time.Time) (*Source, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Source{Registries: source, dir: dir, now: now}, nil
}

// Manifest implements export.Source.
func (s *Source) Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error) {
	tag, isTag := ref.(name.Tag)
	if !isTag {
		return s.pinned(ctx, ref)
	}
	if s.isNew.Load() && !s.isLimited(ref) {
		return s.fetchTag(ctx, tag)
	}
	resolved, err := s.Resolve(ctx, ref)
	if err != nil {
		return bundle.Descriptor{}, nil, err
	}
	if desc, content, ok := s.manifest(resolved.Digest); ok {
		s.isNew.Store(false)
		return desc, content, nil
	}
	s.isNew.Store(true)
	desc, content, err := s.fetch(ctx, ref.Context().Digest(resolved.Digest.String()))
	if errors.Is(err, registry.ErrNotFound) { // some registries find by the tag alone what they name by it
		return s.fetch(ctx, ref)
	}
	return desc, content, err
}

// isLimited tells whether a registry counts pulls, which asking for a digest is not.
func (s *Source) isLimited(ref name.Reference) bool {
	_, known := s.RateLimit(ref.Context().Registry)
	return known
}

// pinned returns what a digest names.
func (s *Source) pinned(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error) {
	digest, err := bundle.ParseDigest(ref.Identifier())
	if err != nil {
		return s.Registries.Manifest(ctx, ref) // which says what is wrong with it
	}
	if desc, content, ok := s.manifest(digest); ok {
		return desc, content, nil
	}
	return s.fetch(ctx, ref)
}

// fetchTag fetches what a tag leads to, which may turn out to be kept already.
func (s *Source) fetchTag(ctx context.Context, tag name.Tag) (bundle.Descriptor, []byte, error) {
	desc, content, err := s.Registries.Manifest(ctx, tag)
	if err != nil {
		return desc, content, err
	}
	_, err = os.Stat(s.path(desc.Digest))
	s.isNew.Store(err != nil)
	if err != nil {
		s.put(desc, content)
	}
	return desc, content, nil
}

// fetch fetches what is not kept.
func (s *Source) fetch(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error) {
	desc, content, err := s.Registries.Manifest(ctx, ref)
	if err == nil {
		s.put(desc, content)
	}
	return desc, content, err
}

// manifest returns a manifest that is kept.
func (s *Source) manifest(d bundle.Digest) (bundle.Descriptor, []byte, bool) {
	mediaType, content, ok := s.get(d)
	if !ok || !bundle.IsManifest(mediaType) {
		return bundle.Descriptor{}, nil, false
	}
	return bundle.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}, content, true
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
		return s.Registries.Blob(ctx, ref, size)
	}
	if mediaType, content, ok := s.get(digest); ok && mediaType == blobType && int64(len(content)) == size {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	body, err := s.Registries.Blob(ctx, ref, size)
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
	info, err := f.Stat()
	if err != nil || info.Size() > maxEntry {
		return "", nil, false
	}
	entry := make([]byte, info.Size())
	if _, err := io.ReadFull(f, entry); err != nil {
		return "", nil, false
	}
	first, content, found := bytes.Cut(entry, []byte("\n"))
	if !found || !isKept(string(first)) || bundle.DigestOf(content) != d {
		return "", nil, false
	}
	if s.now().Sub(info.ModTime()) > keepFor/2 {
		_ = os.Chtimes(path, s.now(), s.now()) // it is in use; if that fails, it is fetched again one day
	}
	return string(first), content, true
}

func isKept(mediaType string) bool { return bundle.IsManifest(mediaType) || mediaType == blobType }

// put keeps a manifest or blob.
func (s *Source) put(desc bundle.Descriptor, content []byte) {
	if !isKept(desc.MediaType) {
		return
	}
	s.write(s.path(desc.Digest), append([]byte(desc.MediaType+"\n"), content...))
}

// write writes a file. A cache that cannot be written, because a disk is full, is no reason to stop; neither is a file that another
// run writes at the same time, or one that is not whole, as who reads it looks at every byte.
func (s *Source) write(path string, entry []byte) {
	if err := os.WriteFile(path, entry, 0o600); errors.Is(err, fs.ErrNotExist) && os.MkdirAll(filepath.Dir(path), 0o700) == nil {
		_ = os.WriteFile(path, entry, 0o600)
	}
}

// pruned is the file whose time is when Prune last looked at all the others.
const pruned = "pruned"

// Prune removes what nobody has asked for in a long time. It looks once a day.
func (s *Source) Prune() error {
	mark := filepath.Join(s.dir, pruned)
	if info, err := os.Stat(mark); err == nil && s.now().Sub(info.ModTime()).Abs() < pruneEvery {
		return nil
	}
	if err := s.prune(); err != nil {
		return err
	}
	s.write(mark, nil)
	_ = os.Chtimes(mark, s.now(), s.now()) // if that fails, the next run looks again
	return nil
}

func (s *Source) prune() error {
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
		if !isEntry(entry.Name()) || s.now().Sub(info.ModTime()) < keepFor {
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
	_, err := bundle.ParseDigest("sha256:" + file)
	return err == nil
}
