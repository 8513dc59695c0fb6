// Package ledger keeps what is known of the bundles of mirrors: their heads, as OCI artifacts under tags in a repository. One format
// serves both sides (FORMAT.md, "The ledger and the record"): the ledger where bundles are made, the record where they are imported.
//
// What [Ledger] gives out has been bounded and read, and not been trusted: package verify does that.
package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"airgap/bundle"
)

// Repository is an OCI repository, of a registry or in a directory.
type Repository interface {
	// String names it for people.
	String() string
	// Tags lists all tags; none where there is no such repository.
	Tags(ctx context.Context) ([]string, error)
	// Manifest returns what a tag or a digest names, its digest checked, of at most bundle.MaxManifestSize bytes; bundle.ErrNotFound.
	Manifest(ctx context.Context, reference string) (bundle.Descriptor, []byte, error)
	// Blob streams a blob, of at most d.Size bytes. Whether they are the right ones is for the caller to check. bundle.ErrNotFound.
	Blob(ctx context.Context, d bundle.Descriptor) (io.ReadCloser, error)
	// Referrers lists what refers to a manifest of the repository, whole.
	Referrers(ctx context.Context, subject bundle.Digest) ([]bundle.Descriptor, error)
	// PutBlob stores a blob, unless it is there.
	PutBlob(ctx context.Context, o bundle.Object) error
	// PutManifest stores a manifest, under a tag as well unless that is "". One with a subject can be found by Referrers afterwards.
	PutManifest(ctx context.Context, o bundle.Object, tag string) error
}

// ErrTaken: another bundle has the number already.
var ErrTaken = errors.New("another bundle has this number already")

// Ledger is the heads of bundles in a repository.
type Ledger struct {
	Repository
}

// Entry is a bundle that has a number.
type Entry struct {
	Mirror   string
	Sequence uint64
}

// Tag returns the tag of the entry.
func (e Entry) Tag() string { return bundle.SequenceTag(e.Mirror, e.Sequence) }

// Entries lists the bundles of a mirror by sequence, or those of all mirrors, by name, where mirror is "". Tags say so, and no
// header has been looked at.
func (l Ledger) Entries(ctx context.Context, mirror string) ([]Entry, error) {
	tags, err := l.Tags(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l, err)
	}
	var entries []Entry
	for _, tag := range tags {
		if of, sequence, ok := bundle.ParseSequenceTag(tag); ok && (mirror == "" || of == mirror) {
			entries = append(entries, Entry{of, sequence})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Mirror, b.Mirror), cmp.Compare(a.Sequence, b.Sequence))
	})
	return slices.Compact(entries), nil // a layout may have a name twice
}

// maxReferrers bounds how many manifests that refer to a bundle are looked at.
const maxReferrers = 100

// Head returns what a tag, or the digest of a manifest index, names: bundle.ErrNotFound where there is nothing, bundle.ErrFormat where it
// is no bundle. Header and tables are read when they are asked for.
func (l Ledger) Head(ctx context.Context, reference string) (*bundle.Head, error) {
	index, content, err := l.Manifest(ctx, reference)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", l, reference, err)
	}
	signatures, err := l.signatures(ctx, index.Digest)
	if err != nil {
		return nil, fmt.Errorf("%s: signatures of %s: %w", l, reference, err)
	}
	head, err := bundle.ReadHead(content, signatures, l.Blob)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", l, reference, err)
	}
	return head, nil
}

// signatures returns the Sigstore bundles that refer to a manifest index. Registries are known to list wrong artifact types, so what
// the manifests say counts.
func (l Ledger) signatures(ctx context.Context, index bundle.Digest) (all [][]byte, err error) {
	referrers, err := l.Referrers(ctx, index)
	if err != nil {
		return nil, err
	}
	isSigstore := func(d bundle.Descriptor) int {
		if d.ArtifactType == bundle.MediaTypeSigstore {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(referrers, func(a, b bundle.Descriptor) int { return cmp.Compare(isSigstore(a), isSigstore(b)) })
	for _, r := range referrers[:min(len(referrers), maxReferrers)] {
		signature, err := l.signature(ctx, r)
		switch {
		case errors.Is(err, bundle.ErrNotFound): // lists may name what was deleted
		case err != nil:
			return nil, err
		case signature != nil:
			all = append(all, signature)
		}
	}
	return all, nil
}

// signature reads the Sigstore bundle in a referrer; nil where it is somebody else's, or broken: one signature that is right is enough.
func (l Ledger) signature(ctx context.Context, referrer bundle.Descriptor) ([]byte, error) {
	d, content, err := l.Manifest(ctx, referrer.Digest.String())
	if err != nil {
		return nil, err
	}
	m, err := bundle.ParseManifest(d.MediaType, content)
	if err != nil || m.EffectiveArtifactType() != bundle.MediaTypeSigstore || len(m.Layers) != 1 || m.Layers[0].Size > bundle.MaxSignatureSize {
		return nil, nil //nolint:nilerr // see above
	}
	return l.blob(ctx, m.Layers[0])
}

// blob reads a small blob, and checks it.
func (l Ledger) blob(ctx context.Context, d bundle.Descriptor) (content []byte, err error) {
	body, err := l.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	content, err = io.ReadAll(io.LimitReader(body, d.Size+1))
	if err == nil && bundle.DigestOf(content) != d.Digest {
		err = fmt.Errorf("%w: %s", bundle.ErrDigest, d.Digest)
	}
	return content, err
}

// Put keeps the head of a bundle under a tag, for which Header.EntryTag is the usual one: the tag comes last, so that what is listed
// is whole. A bundle that is there already stays, and gets what is beside a and not there; where the tag has another, nothing is written,
// and the error wraps ErrTaken.
func (l Ledger) Put(ctx context.Context, tag string, a bundle.Artifact) error {
	if err := l.put(ctx, tag, a); err != nil {
		return fmt.Errorf("%s:%s: %w", l, tag, err)
	}
	return nil
}

func (l Ledger) put(ctx context.Context, tag string, a bundle.Artifact) error {
	isThere, err := l.has(ctx, tag, a.Index.Digest)
	if err != nil {
		return err
	}
	if isThere {
		return l.putBeside(ctx, a)
	}
	for _, o := range a.Blobs {
		if err := l.PutBlob(ctx, o); err != nil {
			return err
		}
	}
	if err := l.PutManifest(ctx, a.Index, ""); err != nil {
		return err
	}
	if err := l.PutManifest(ctx, a.Signature, ""); err != nil {
		return err
	}
	if err := l.putBeside(ctx, a); err != nil {
		return err
	}
	if isThere, err := l.has(ctx, tag, a.Index.Digest); err != nil || isThere { // somebody was faster
		return err
	}
	return l.PutManifest(ctx, a.Index, tag)
}

// putBeside adds what is beside a bundle that is there, as far as it is not listed.
func (l Ledger) putBeside(ctx context.Context, a bundle.Artifact) error {
	if len(a.Beside) == 0 {
		return nil
	}
	listed, err := l.Referrers(ctx, a.Index.Digest)
	if err != nil {
		return err
	}
	for _, b := range a.Beside {
		if slices.ContainsFunc(listed, func(d bundle.Descriptor) bool { return d.Digest == b.Manifest.Digest }) {
			continue
		}
		if err := l.PutBlob(ctx, b.Blob); err != nil {
			return err
		}
		if err := l.PutManifest(ctx, b.Manifest, ""); err != nil {
			return err
		}
	}
	return nil
}

// has tells whether a tag names the bundle; ErrTaken where it names another.
func (l Ledger) has(ctx context.Context, tag string, index bundle.Digest) (bool, error) {
	there, _, err := l.Manifest(ctx, tag)
	switch {
	case errors.Is(err, bundle.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case there.Digest != index:
		return false, fmt.Errorf("%w: %s", ErrTaken, there.Digest)
	}
	return true, nil
}
