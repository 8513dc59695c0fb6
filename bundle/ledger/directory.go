package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/bundle/disk"
	"airgap/bundle/ociindex"
	"airgap/bundle/strictjson"
)

// Directory is the path of a Repository that is an OCI image layout: a directory that is made when it is first written to. What is
// in it is whole or not there, whenever a process is killed. Any number of processes may use it at once.
//
// Tags are names in index.json, and referrers are listed as in a registry without the referrers API, so that regctl and oras find
// them. https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
type Directory string

// ErrBusy: somebody else makes the next bundle of the mirror.
var ErrBusy = errors.New("another export of this mirror is running")

// ErrNoLayout: the directory has something else in it.
var ErrNoLayout = errors.New("the directory is no OCI image layout")

// Names in the directory. Those of the locks of mirrors are never these, as mirrors do not begin with a dot.
const (
	indexFile   = "index.json"
	layoutFile  = "oci-layout"
	layout      = `{"imageLayoutVersion":"1.0.0"}`
	writeLock   = ".lock"
	unfinished  = ".partial" // what is being written, by who has the write lock
	lockSuffix  = ".lock"
	busyPause   = 10 * time.Millisecond
	nameOfEntry = "org.opencontainers.image.ref.name"
)

// String implements Repository.
func (d Directory) String() string { return string(d) }

// Lock keeps the next number of a mirror for who has it, until unlock or the end of the process; ErrBusy at once.
func (d Directory) Lock(mirror string) (unlock func() error, err error) {
	if err := bundle.CheckMirror(mirror); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	f, err := disk.Create(d.path(mirror + lockSuffix))
	if errors.Is(err, disk.ErrBusy) {
		return nil, fmt.Errorf("%s: %w: %s; wait until it is done", d, ErrBusy, mirror)
	}
	if err != nil {
		return nil, err
	}
	return f.Close, nil
}

// Tags implements Repository.
func (d Directory) Tags(context.Context) ([]string, error) {
	index, err := d.index()
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, entry := range index.Manifests() {
		if name := entry.Annotations[nameOfEntry]; name != "" {
			tags = append(tags, name)
		}
	}
	return tags, nil
}

// Manifest implements Repository.
func (d Directory) Manifest(_ context.Context, reference string) (bundle.Descriptor, []byte, error) {
	digest, err := bundle.ParseDigest(reference)
	if err != nil {
		index, err := d.index()
		if err != nil {
			return bundle.Descriptor{}, nil, err
		}
		at := slices.IndexFunc(index.Manifests(), named(reference))
		if at < 0 {
			return bundle.Descriptor{}, nil, bundle.ErrNotFound
		}
		digest = index.Manifests()[at].Digest
	}
	return d.manifest(digest)
}

func named(name string) func(bundle.Descriptor) bool {
	return func(entry bundle.Descriptor) bool { return entry.Annotations[nameOfEntry] == name }
}

func (d Directory) manifest(digest bundle.Digest) (bundle.Descriptor, []byte, error) {
	content, err := d.read(blobFile(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return bundle.Descriptor{}, nil, fmt.Errorf("%w: %s", bundle.ErrNotFound, digest)
	}
	if err != nil {
		return bundle.Descriptor{}, nil, err
	}
	if bundle.DigestOf(content) != digest {
		return bundle.Descriptor{}, nil, fmt.Errorf("%w: %s", bundle.ErrDigest, d.path(blobFile(digest)))
	}
	var says struct {
		MediaType string `json:"mediaType"`
	}
	if err := strictjson.Unmarshal(content, &says); err != nil {
		return bundle.Descriptor{}, nil, fmt.Errorf("%w: %s: %w", bundle.ErrFormat, d.path(blobFile(digest)), err)
	}
	return bundle.Descriptor{MediaType: says.MediaType, Digest: digest, Size: int64(len(content))}, content, nil
}

// Blob implements Repository.
func (d Directory) Blob(_ context.Context, want bundle.Descriptor) (io.ReadCloser, error) {
	f, info, err := disk.OpenRegular(d.path(blobFile(want.Digest)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", bundle.ErrNotFound, want.Digest)
	}
	if err != nil {
		return nil, err
	}
	if info.Size() != want.Size {
		return nil, errors.Join(fmt.Errorf("%w: %s has %d bytes, not %d", bundle.ErrDigest, f.Name(), info.Size(), want.Size), f.Close())
	}
	return f, nil
}

// Referrers implements Repository.
func (d Directory) Referrers(_ context.Context, subject bundle.Digest) ([]bundle.Descriptor, error) {
	index, err := d.index()
	if err != nil {
		return nil, err
	}
	list, err := d.referrers(index, subject)
	if err != nil {
		return nil, err
	}
	return list.Manifests(), nil
}

// referrers reads the list of what refers to a subject.
func (d Directory) referrers(index *ociindex.Index, subject bundle.Digest) (*ociindex.Index, error) {
	at := slices.IndexFunc(index.Manifests(), named(subject.FallbackTag()))
	if at < 0 {
		return ociindex.New(), nil
	}
	_, content, err := d.manifest(index.Manifests()[at].Digest)
	if err != nil {
		return nil, err
	}
	return ociindex.Parse(content)
}

// PutBlob implements Repository.
func (d Directory) PutBlob(ctx context.Context, o bundle.Object) error {
	return d.writing(ctx, func() error { return d.putBlob(o) })
}

// PutManifest implements Repository.
func (d Directory) PutManifest(ctx context.Context, o bundle.Object, tag string) error {
	_, m, err := o.Manifest()
	if err != nil {
		return err
	}
	return d.writing(ctx, func() error {
		if err := d.putBlob(o); err != nil {
			return err
		}
		index, err := d.index()
		if err != nil {
			return err
		}
		if m.Subject != nil {
			if err := d.list(index, m.Subject.Digest, m.AsReferrer(o.Descriptor)); err != nil {
				return err
			}
		}
		if tag != "" {
			if err := setName(index, o.Descriptor, tag); err != nil {
				return err
			}
		}
		if m.Subject == nil && tag == "" {
			return nil // whoever names it will find it
		}
		after, err := index.Bytes()
		if err != nil {
			return err
		}
		return d.write(indexFile, contentOf(after))
	})
}

// list adds a referrer to the list for its subject, and to the index.
func (d Directory) list(index *ociindex.Index, subject bundle.Digest, referrer bundle.Descriptor) error {
	list, err := d.referrers(index, subject)
	if err != nil {
		return err
	}
	if _, err := list.Add(referrer); err != nil {
		return err
	}
	content, err := list.Bytes()
	if err != nil {
		return err
	}
	o := contentOf(content)
	if err := d.putBlob(o); err != nil {
		return err
	}
	if _, err := index.Add(bundle.Descriptor{MediaType: referrer.MediaType, Digest: referrer.Digest, Size: referrer.Size, ArtifactType: referrer.ArtifactType}); err != nil {
		return err
	}
	return setName(index, o.Descriptor, subject.FallbackTag())
}

// setName gives a name to a manifest, and takes it from what had it.
func setName(index *ociindex.Index, o bundle.Descriptor, name string) error {
	return index.Set(bundle.Descriptor{
		MediaType: o.MediaType, Digest: o.Digest, Size: o.Size, ArtifactType: o.ArtifactType, Annotations: map[string]string{nameOfEntry: name},
	}, named(name))
}

// contentOf makes an object of an index.
func contentOf(index []byte) bundle.Object {
	return bundle.Object{
		Descriptor: bundle.Descriptor{MediaType: bundle.MediaTypeOCIIndex, Digest: bundle.DigestOf(index), Size: int64(len(index))},
		Write: func(w io.Writer) error {
			_, err := w.Write(index)
			return err
		},
	}
}

func (d Directory) path(name string) string {
	return filepath.Join(string(d), filepath.FromSlash(name))
}

func blobFile(digest bundle.Digest) string { return "blobs/sha256/" + digest.Hex() }

// index reads index.json; an empty one where there is none.
func (d Directory) index() (*ociindex.Index, error) {
	content, err := d.read(indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return ociindex.New(), nil
	}
	if err != nil {
		return nil, err
	}
	index, err := ociindex.Parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(indexFile), err)
	}
	return index, nil
}

// read reads a file of at most bundle.MaxManifestSize bytes.
func (d Directory) read(name string) (content []byte, err error) {
	f, info, err := disk.OpenRegular(d.path(name))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info.Size() > bundle.MaxManifestSize {
		return nil, fmt.Errorf("%w: %s has %d bytes", bundle.ErrLimit, f.Name(), info.Size())
	}
	return io.ReadAll(io.LimitReader(f, bundle.MaxManifestSize))
}

// prepare makes the directory, unless there is something else.
func (d Directory) prepare() error {
	entries, err := os.ReadDir(string(d))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ours := func(e fs.DirEntry) bool { // what is there if the first to write was killed
		return e.Name() == "blobs" || e.Name() == unfinished || strings.HasSuffix(e.Name(), lockSuffix)
	}
	isLayout := func(e fs.DirEntry) bool { return e.Name() == layoutFile }
	if !slices.ContainsFunc(entries, isLayout) && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !ours(e) }) {
		return fmt.Errorf("%s: %w, and not empty: name another", d, ErrNoLayout)
	}
	return os.MkdirAll(d.path("blobs/sha256"), 0o700)
}

// writing does what writes, while nobody else writes.
func (d Directory) writing(ctx context.Context, do func() error) (err error) {
	if err := d.prepare(); err != nil {
		return err
	}
	lock, err := disk.Create(d.path(writeLock))
	for errors.Is(err, disk.ErrBusy) {
		if err := pause(ctx, busyPause); err != nil {
			return err
		}
		lock, err = disk.Create(d.path(writeLock))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Lstat(d.path(layoutFile)); errors.Is(err, fs.ErrNotExist) {
		if err := d.write(layoutFile, contentOf([]byte(layout))); err != nil {
			return err
		}
	}
	return do()
}

func pause(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// putBlob writes a blob, unless it is there.
func (d Directory) putBlob(o bundle.Object) error {
	if isThere, err := d.has(o.Descriptor); err != nil || isThere {
		return err
	}
	return d.write(blobFile(o.Digest), o)
}

// has tells whether there is a blob, by its content: who carries the directory about may lose some of it.
func (d Directory) has(want bundle.Descriptor) (bool, error) {
	f, _, err := disk.OpenRegular(d.path(blobFile(want.Digest)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	h := sha256.New()
	_, err = io.Copy(h, io.LimitReader(f, want.Size+1))
	return bundle.Digest(h.Sum(nil)) == want.Digest, errors.Join(err, f.Close())
}

// write writes a file as a whole, or leaves what was there. Others do not write meanwhile.
func (d Directory) write(name string, o bundle.Object) error {
	f, err := disk.Create(d.path(unfinished))
	if err != nil {
		return err
	}
	h := sha256.New()
	err = o.Write(io.MultiWriter(f, h))
	if err == nil && bundle.Digest(h.Sum(nil)) != o.Digest {
		err = fmt.Errorf("%w: %s", bundle.ErrDigest, o.Digest)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(d.path(unfinished), d.path(name)); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(d.path(name)))
}
