// Package importer is the disconnected side: it takes a bundle that has been checked into a registry that has never
// seen the internet.
//
// Start with [Run]. It goes in one direction, and each step is in the file of its name:
//
//   - placement, mapping, flatten, plan: names are mapped, and what has to be where is worked out;
//   - preflight, inspect, quota: the target is asked what it is, what it lets the account do and what it has. What is in the
//     way is found here, all at once, see [Finding];
//   - projects: those that are missing in Harbor are created, where that was asked for;
//   - sparse, samples: what a registry may refuse for what it is, is pushed before the bulk;
//   - transfer, with order, queue and perproject: blobs, and manifests as they become complete, from a file, a pipe or media;
//   - referrers: cosign's tags and, without the referrers API, the lists under fallback tags;
//   - lost: everything is looked for once more, and what is gone is pushed again;
//   - tags: those that people use move; then tags and lists are read back;
//   - accessories: what Harbor shows is compared with what was sent.
//
// Nothing is written before all mappings, conflicts and findings are known, and no tag that a person uses moves before
// everything is there. What pull policies of Harbor hide is seen all the same where the account may (policy).
//
// [Rollback] undoes what an import did to tags, by its [Report], which [ReadReport] reads again.
package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/placing"
	"airgap/verify"
)

// Target is what import needs of a registry. *registry.Client is the real one. Retrying is its part: an error from it
// is final. A manifest or blob that is not there is registry.ErrNotFound or registry.ErrRepositoryUnknown.
type Target interface {
	// Resolve returns the descriptor of a manifest without its bytes.
	Resolve(ctx context.Context, ref name.Reference) (bundle.Descriptor, error)
	// Manifest returns the manifest that ref names.
	Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error)
	// Referrers lists what refers to a manifest, whole, from the API or else from the fallback tag, or fails.
	Referrers(ctx context.Context, subject name.Digest) (registry.Referrers, error)
	// HasBlob tells whether repo has a blob, and how large it is in bytes.
	HasBlob(ctx context.Context, repo name.Repository, d bundle.Digest) (size int64, found bool, err error)
	// Mount makes a blob of the repository from one of repo as well; false where the registry would rather not.
	Mount(ctx context.Context, repo, from name.Repository, d bundle.Digest) (mounted bool, err error)
	// PushBlob uploads a blob. It commits only once open's reader has given io.EOF, and opens again to try again.
	PushBlob(ctx context.Context, repo name.Repository, d bundle.Descriptor, open func() (io.ReadCloser, error)) error
	// PushManifest writes a manifest under a tag or its digest, and tells whether the registry said that it lists the
	// manifest for its subject (OCI-Subject).
	PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (subjectAcknowledged bool, err error)

	// What follows is for the preflight.

	// Granted returns what the account may do in repo, such as "pull" and "push", or known as false. Without actions it asks
	// for both.
	Granted(ctx context.Context, repo name.Repository, actions ...string) (granted []string, known bool, err error)
	// AnonymousRefused tells whether ref is kept from those without an account; an error where nobody finds it.
	AnonymousRefused(ctx context.Context, ref name.Reference) (bool, error)
	// Clock returns the time at the registry; zero where it does not say.
	Clock(ctx context.Context, reg name.Registry) (time.Time, error)
	// Path returns the path of repo at its host, where there may be a prefix before it.
	Path(repo name.Repository) string
}

var _ Target = (*registry.Client)(nil)

// Errors that a caller may want to tell apart; those of packages bundle and registry come through as they are.
var (
	// ErrConflict: the target has something else where this import would write.
	ErrConflict = errors.New("conflict at the target")
	// ErrDiffers: what the target shows is not what was written to it.
	ErrDiffers = errors.New("the target does not show what was written")
)

// DefaultJobs is how many requests are under way at once. In front of the registry, in its network, its disks are what
// takes the time, and Harbor takes a lock for each upload into a project: more requests would only wait there.
const DefaultJobs = 4

// Options are the settings of Run. The zero value of all but the destination is valid.
type Options struct {
	placing.Rules // where images go

	// DryRun asks the target what it has and writes nothing.
	DryRun bool
	// OverwriteCosignTags moves .sig, .att and .sbom tags that exist with other content, which is otherwise a conflict.
	OverwriteCosignTags bool
	// NoOverwrite refuses to move tags that exist with other content.
	NoOverwrite bool

	// Harbor is the target's own API; nil: the target is no Harbor.
	Harbor *harbor.Client
	// CreateProjects creates projects that Harbor does not have.
	CreateProjects bool
	ProjectPublic  bool  // so that anybody can pull from what is created
	ProjectQuota   int64 // bytes; 0: what Harbor gives to all; harbor.Unlimited
	// AllowPublic brings images that are private at their source into public projects, too.
	AllowPublic bool

	Jobs int // 0: DefaultJobs
	// JobsPerProject bounds the blob uploads and manifest pushes that are under way at once into one project of Harbor. Other
	// registries have no projects, and Jobs is their only bound. 0: DefaultJobs.
	JobsPerProject int
	// SpoolBytes bounds what a bundle from a pipe may take in TempDir while it waits to be uploaded, though one blob is
	// always let in. 0: DefaultSpoolBytes.
	SpoolBytes int64
	TempDir    string // "": the system's

	Observer bundle.Observer  // nil: silence
	Now      func() time.Time // the clock of the report; nil: time.Now
}

func (o Options) withDefaults() Options {
	if o.Jobs <= 0 {
		o.Jobs = DefaultJobs
	}
	if o.JobsPerProject <= 0 {
		o.JobsPerProject = DefaultJobs
	}
	if o.SpoolBytes <= 0 {
		o.SpoolBytes = DefaultSpoolBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Observer = bundle.Observe(o.Observer)
	return o
}

// Run imports b. The report says how far it got, and is there with an error, too, once the mappings make sense. A run
// that failed can be repeated, and continues; a run after success changes nothing. Cancelling gives ctx.Err(): what was
// pushed stays, without a tag, unless tags were being moved already (the report says which were). After an error that wraps
// ErrUnchecked and not ErrDiffers, everything was written.
func Run(ctx context.Context, b *verify.Bundle, t Target, o Options) (*Report, error) {
	o = o.withDefaults()
	started := o.Now()
	placed, err := placing.Place(allRoots(b.Contents()), o.Rules)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(b, placed)
	if err != nil {
		return nil, err
	}
	r := &run{plan: p, target: seeThrough(t, o.Harbor), options: o, observer: o.Observer, started: started}
	err = r.all(ctx)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	report := r.report(err == nil)
	report.Started, report.Seconds = started, o.Now().Sub(started).Seconds()
	return report, err
}

// run is one import.
type run struct {
	plan     *plan
	target   Target
	options  Options
	observer bundle.Observer
	started  time.Time

	planned      Work         // as found at the target
	piped        bool         // the bundle came through a pipe, and has gone by
	fallbackTags atomic.Int64 // written
	unchecked    []string     // tags that could not be read back
	notes        []string     // see Report

	checks  *preflight
	unasked []bool       // by repository: the target is not asked, or not any more, what is in it
	created []ProjectRow // projects of Harbor that are missing
	api     atomic.Int32 // whether the target has the referrers API: apiUnknown, ...
}

// all goes through the steps. Each says in its error what it was about; here is said what that means for the target.
func (r *run) all(ctx context.Context) error {
	r.observer.Phase("check target", 0)
	if err := r.preflight(ctx); err != nil {
		return fmt.Errorf("nothing was written to %s: %w", r.options.Destination, err)
	}
	if r.options.DryRun {
		r.warnOfSparse()
		return nil
	}
	if err := r.createProjects(ctx); err != nil {
		return err
	}
	if err := r.pushSparse(ctx); err != nil {
		return fmt.Errorf("nothing was pushed to %s but, perhaps, an index without a tag: %w", r.options.Destination, err)
	}
	if err := r.pushSamples(ctx); err != nil {
		return fmt.Errorf("no tag was moved, and nothing was pushed to %s but, at most, small samples, which will be used when the command is run again: %w", r.options.Destination, err)
	}
	done, err := r.bring(ctx)
	if err != nil {
		return fmt.Errorf("no tag was moved; what has arrived at %s will be used when the command is run again: %w", r.options.Destination, err)
	}
	r.observer.Phase("tag", 0)
	if err := r.moveTags(ctx, done); err != nil {
		return err
	}
	r.observer.Phase("read back", 0)
	return r.readBack(ctx)
}

// bring makes everything arrive that the tags will lead to.
func (r *run) bring(ctx context.Context) (complete, error) {
	if err := r.transfer(ctx); err != nil {
		return complete{}, err
	}
	r.observer.Phase("list referrers", 0)
	if err := r.listReferrers(ctx); err != nil {
		return complete{}, err
	}
	r.observer.Phase("check everything", 0)
	return r.confirm(ctx)
}

func allRoots(c *bundle.Contents) (roots []bundle.Root) {
	for _, root := range c.Roots() {
		roots = append(roots, root)
	}
	return roots
}
