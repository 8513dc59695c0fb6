// Package export is the connected side: it resolves references, finds everything that refers to them, plans a bundle
// and fetches it.
//
// Start with [Run]. It goes in one direction: requests -> [Walk] -> bundle.Plan -> bundle.NewLayout, which signs ->
// fetch and write -> commit. Nothing is written before the walk has found everything.
package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
)

// Source is what export needs of registries. *registry.Client is the real one.
type Source interface {
	// Manifest returns the manifest that ref names, at most bundle.MaxManifestSize bytes, its digest checked.
	Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error)
	// Resolve returns the descriptor of a manifest without its bytes; registry.ErrNotFound where there is none.
	Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error)
	// Referrers lists what refers to a manifest, whole, or fails.
	Referrers(ctx context.Context, subject name.Digest) (registry.Referrers, error)
	// AnonymousRefused tells whether ref cannot be seen without credentials.
	AnonymousRefused(ctx context.Context, ref name.Reference) (bool, error)
	// Blob streams exactly size bytes; whether they are the right ones is for the caller to check.
	Blob(ctx context.Context, ref name.Digest, size int64) (io.ReadCloser, error)
	// ForeignBlob streams a blob from a URL in a descriptor, without any credentials.
	ForeignBlob(ctx context.Context, url string, size int64) (io.ReadCloser, error)
}

// Errors that a caller may want to tell apart; those of packages bundle and registry come through as they are.
var (
	// ErrReference: an argument is not a reference.
	ErrReference = errors.New("not a valid image reference")
	// ErrNoReferrers: an attestation repository was configured for an image and holds nothing for it.
	ErrNoReferrers = errors.New("no attestations found")
	// ErrSubject: a registry listed as a referrer what does not refer to the subject.
	ErrSubject = errors.New("listed as a referrer, but refers to something else")
)

// DefaultJobs is how many requests are under way at once: enough to keep a line busy while some of them wait for
// their first byte, few enough that no registry takes it for an attack.
const DefaultJobs = 6

// Options are the settings of Run.
type Options struct {
	Walk                    WalkOptions
	Sign                    bundle.Signer // required
	Created                 time.Time     // recorded as the time of the bundle
	IncludeNondistributable bool
	Jobs                    int             // 0: DefaultJobs
	Observer                bundle.Observer // nil: silence
}

// Output makes the writer for a planned bundle: bundle.Create for a file, bundle.NewStream for a pipe.
type Output func(*bundle.Layout) (*bundle.Writer, bool, error)

// ToFile writes to a file at path, blobs in parallel to their final place.
func ToFile(path string) Output {
	return func(l *bundle.Layout) (*bundle.Writer, bool, error) {
		w, err := bundle.Create(path, l)
		return w, true, err
	}
}

// ToStream writes to w, in order.
func ToStream(w io.Writer) Output {
	return func(l *bundle.Layout) (*bundle.Writer, bool, error) {
		s, err := bundle.NewStream(w, l)
		return s, false, err
	}
}

// Run exports what is requested. Whatever fails, no file with the final name appears. Problems of several images are
// reported together.
func Run(ctx context.Context, source Source, requests []Request, output Output, o Options) (result *Result, err error) {
	observer := bundle.Observe(o.Observer)
	if o.Jobs <= 0 {
		o.Jobs = DefaultJobs
	}
	walk, err := Walk(ctx, source, requests, o.Jobs, o.Walk, observer)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, walk.Close()) }()
	for i := range walk.Images {
		walk.Images[i].IncludeNondistributable = o.IncludeNondistributable
	}
	contents, err := bundle.Plan(walk.Images, walk.Manifest, bundle.PlanOptions{Created: o.Created})
	if err != nil {
		return nil, err
	}
	layout, err := bundle.NewLayout(contents, o.Sign)
	if err != nil {
		return nil, err
	}
	writer, parallel, err := output(layout)
	if err != nil {
		return nil, err
	}
	f := fetcher{source: source, walk: walk, layout: layout, writer: writer, jobs: o.Jobs, observer: observer}
	observer.Phase("fetch", f.total())
	if err := f.fetch(ctx, parallel); err != nil {
		return nil, errors.Join(fmt.Errorf("nothing was exported: %w", err), writer.Abort())
	}
	if err := writer.Commit(); err != nil {
		return nil, err
	}
	return newResult(layout, walk), nil
}
