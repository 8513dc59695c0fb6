// Package export is the connected side: it resolves references, finds everything that refers to them, plans a bundle
// and fetches it.
//
// Start with [Run], or with [MakePlan] for what it would carry. It goes in one direction: [Choice] -> walk -> bundle.Plan ->
// judge, where there is a policy -> bundle.NewLayout, which signs -> fetch and write -> commit. Nothing is written before the walk
// has found everything. Of a mirror
// (package mirror), what earlier bundles brought is left out, and the ledger gets the bundle before the file gets its name.
package export

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/mirror"
	"airgap/export/registry"
	"airgap/verify/policy"
	"airgap/verify/signature"
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
	Walk      WalkOptions
	KeepGoing bool             // go on without the images that fail or are refused by the policy, and record them as missing
	Replan    bool             // where an export was interrupted, look again, and take only its blobs
	Created   time.Time        // recorded as the time of the bundle; zero is the time at which it is planned
	Now       func() time.Time // nil: time.Now
	Jobs      int              // blobs under way at once; 0: DefaultJobs
	Lookups   int              // manifests and lists under way at once; 0: Jobs
	Observer  bundle.Observer  // nil: silence

	Policy *policy.Policy // which images have to pass; nil: none
	Proofs Source         // where proofs come from that are judged; nil: the source of everything

	TrustedRoot []byte // Sigstore's trusted_root.json that travels with the bundle; nil for none

	Mirror *mirror.Mirror // of which the bundle is the next one; nil: of none
	Wishes mirror.Wishes  // what it builds on
}

func (o Options) withDefaults() Options {
	o.Observer = bundle.Observe(o.Observer)
	if o.Jobs <= 0 {
		o.Jobs = DefaultJobs
	}
	if o.Lookups <= 0 {
		o.Lookups = o.Jobs
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Signer is who signs a bundle.
type Signer struct {
	Sign  bundle.Signer
	Name  string                                                    // tells signers apart
	Check func(signature []byte, manifestIndex bundle.Digest) error // by which its own signatures are known again
}

// SignedBy signs with a key.
func SignedBy(key *signature.PrivateKey) Signer {
	return Signer{
		Sign: func(d bundle.Digest) ([]byte, error) { return signature.Sign(key, d) },
		Name: key.Public().Fingerprint(),
		Check: func(content []byte, manifestIndex bundle.Digest) error {
			_, err := signature.Verify(content, manifestIndex, []signature.PublicKey{key.Public()})
			return err
		},
	}
}

// Run makes a bundle: it finishes what an earlier run for the same choice, signer and options has left
// unfinished in output, or else chooses, finds everything, and writes it. Problems of several images are reported together.
// Whatever fails, no file with the final name appears, and, of a mirror, no number is taken (but for what is lost between the
// two: then the next run of the same command gives the file its name).
func Run(ctx context.Context, source Source, choice Choice, signer Signer, output Output, o Options) (result *Result, err error) {
	o = o.withDefaults()
	r := run{Output: output, source: source, signer: signer, command: fingerprint(choice.Fingerprint(), signer, o), options: o}
	if o.Mirror != nil {
		unlock, lockErr := o.Mirror.Lock()
		if lockErr != nil {
			return nil, lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
		if r.next, err = o.Mirror.Next(ctx, o.Wishes); err != nil {
			return nil, err
		}
	}
	return r.run(ctx, func() (*Plan, error) { return makePlan(ctx, source, choice, r.next, o) })
}
