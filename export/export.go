// Package export is the connected side: it resolves references, finds everything that refers to them, plans a bundle
// and fetches it.
//
// Start with [Run]. It goes in one direction: requests -> [Walk] -> [MakePlan] -> bundle.NewLayout, which signs ->
// fetch and write -> commit. Nothing is written before the walk has found everything.
package export

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/volume"
	"airgap/export/registry"
)

// Source is what export needs of registries. *registry.Client is the real one.
type Source interface {
	// Manifest returns the manifest that ref names, at most bundle.MaxManifestSize bytes, its digest checked.
	Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error)
	// Resolve returns the descriptor of a manifest without its bytes; registry.ErrNotFound where there is none.
	Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error)
	// ReferrersAmong lists what refers to a manifest, whole, or fails. hasTag says which tags the repository has; nil is not
	// known.
	ReferrersAmong(ctx context.Context, subject name.Digest, hasTag func(tag string) bool) (registry.Referrers, error)
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
	// ErrNothing: no image is left to export.
	ErrNothing = errors.New("no image was selected; \"airgap plan\" shows what the rules leave out")
	// ErrSubject: a registry listed as a referrer what does not refer to the subject.
	ErrSubject = errors.New("listed as a referrer, but refers to something else")
)

// DefaultJobs is how many requests are under way at once: enough to keep a line busy while some of them wait for
// their first byte, few enough that no registry takes it for an attack.
const DefaultJobs = 6

// Options are the settings of Run and MakePlan.
type Options struct {
	Walk WalkOptions
	// Failures and Excluded are what choosing the requests has come to already: see package catalogue.
	Failures  []Failure
	Excluded  []Excluded
	Found     []FoundImage
	Unparsed  []UnparsedImage
	KeepGoing bool            // go on without the images that fail, and record them as missing
	Created   time.Time       // recorded as the time of the bundle
	Jobs      int             // 0: DefaultJobs
	Observer  bundle.Observer // nil: silence
}

// Output is where a bundle goes.
type Output struct {
	path       string
	volumeSize int64 // 0: one file
	parity     func(volumes int) int
	stream     io.Writer
	// command stands for everything that the bundle is a function of but what registries answer; "" where an interrupted
	// export is not to be continued.
	command string
	reuse   bool // take what an earlier run has left of the blobs
}

// ToFile writes to a file at path, blobs in parallel to their final place. What fails leaves nothing.
func ToFile(path string) Output { return Output{path: path} }

// ToResumableFile is ToFile, but what fails once the plan is signed can be continued by the same command: see Continue.
func ToResumableFile(path, command string) Output { return Output{path: path, command: command} }

// InVolumes makes of an output to a file one to volumes of the given size, in bytes, with as many of parity as parity says;
// nil is none (package volume).
func (o Output) InVolumes(size int64, parity func(volumes int) int) Output {
	o.volumeSize, o.parity = size, parity
	return o
}

// Reusing makes an output to a resumable file take the blobs that an interrupted run has left for another plan.
func (o Output) Reusing() Output {
	o.reuse = true
	return o
}

// ToStream writes to w, in order.
func ToStream(w io.Writer) Output { return Output{stream: w} }

func (o Output) create(l *bundle.Layout) (*bundle.Writer, error) {
	if o.stream != nil {
		return bundle.NewStream(o.stream, l)
	}
	if o.volumeSize == 0 {
		return bundle.Create(o.path, l)
	}
	f, err := volume.Create(o.path, o.volumeSize, o.parity)
	if err != nil {
		return nil, err
	}
	return bundle.CreateOn(f, l)
}

// reopen opens what an earlier run has left.
func (o Output) reopen() (*bundle.Partial, error) {
	if o.volumeSize == 0 {
		return bundle.OpenPartial(o.path)
	}
	f, err := volume.Reopen(o.path, o.volumeSize, o.parity)
	if err != nil {
		return nil, err
	}
	return bundle.OpenPartialOn(f)
}

// Plan is what an export would carry. Nothing but manifests has been fetched for it. Close it when done.
type Plan struct {
	Contents *bundle.Contents // nil where no image was found
	walk     *Walked
	options  Options
}

// MakePlan finds everything that is requested. The error is about the planning itself: what could not be had is in the
// plan (see Plan.Err), so that it can be shown together with the rest.
func MakePlan(ctx context.Context, source Source, requests []Request, o Options) (*Plan, error) {
	o.Observer = bundle.Observe(o.Observer)
	if o.Jobs <= 0 {
		o.Jobs = DefaultJobs
	}
	walk, err := Walk(ctx, source, requests, o.Jobs, o.Walk, o.Observer)
	if err != nil {
		return nil, err
	}
	walk.Failures = slices.Concat(o.Failures, walk.Failures)
	walk.Excluded = slices.Concat(o.Excluded, walk.Excluded)
	p := &Plan{walk: walk, options: o}
	if len(walk.Images) == 0 {
		return p, nil
	}
	p.Contents, err = bundle.Plan(walk.Images, walk.Manifest, bundle.PlanOptions{Created: o.Created, Missing: walk.missing()})
	if err != nil {
		return nil, errors.Join(err, walk.Close())
	}
	walk.Images = nil // the tables have all of it
	return p, nil
}

// Err returns what stands against writing the bundle: images that could not be had, unless Options.KeepGoing, or that
// there are none at all.
func (p *Plan) Err() error {
	switch err := p.walk.Err(); {
	case p.Contents == nil && err == nil:
		return ErrNothing
	case p.Contents == nil, !p.options.KeepGoing:
		return err
	}
	return nil
}

// Close removes the temporary file in which the manifests were kept.
func (p *Plan) Close() error { return p.walk.Close() }

// Write signs the plan, fetches what it names, and writes it. Whatever fails, no file with the final name appears.
func (p *Plan) Write(ctx context.Context, source Source, sign bundle.Signer, output Output) (*Result, error) {
	if err := p.Err(); err != nil {
		return nil, err
	}
	layout, err := bundle.NewLayout(p.Contents, sign)
	if err != nil {
		return nil, err
	}
	result, err := p.Result()
	if err != nil {
		return nil, err
	}
	result.ManifestIndex, result.Size = layout.ManifestIndex(), layout.Size()
	writer, err := output.createReusing(ctx, layout, p.options.Observer)
	if err != nil {
		return nil, err
	}
	if err := output.note(result); err != nil {
		return nil, errors.Join(err, writer.Abort())
	}
	f := fetcher{
		source: source, manifest: p.walk.Manifest, open: p.walk.store.open,
		layout: layout, writer: writer, jobs: p.options.Jobs, observer: p.options.Observer,
	}
	return result, output.finish(ctx, &f)
}

// Run makes a plan and writes it. Problems of several images are reported together.
func Run(ctx context.Context, source Source, requests []Request, sign bundle.Signer, output Output, o Options) (result *Result, err error) {
	plan, err := MakePlan(ctx, source, requests, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plan.Close()) }()
	return plan.Write(ctx, source, sign, output)
}
