// Package verify says whether a bundle is to be trusted: who may sign one, and the one type that says it has been
// checked.
//
// Start with [Open]. It returns a [Bundle] only when the signature is by a trusted key and everything before the
// layers is what was signed; the layers are checked as they are read, or all at once by [Bundle.CheckBlobs].
package verify

import (
	"context"
	"errors"
	"fmt"

	"airgap/bundle"
	"airgap/verify/signature"
)

// Policy is whom the user trusts.
type Policy struct {
	Keys []signature.PublicKey // a signature by any of them is enough
}

// ErrNoKey: the policy trusts nobody, so that no bundle could pass.
var ErrNoKey = errors.New("no public key to check the signature with")

// Bundle is a bundle whose signature and head have been checked. Only Open makes one, and no field of it can be
// set from outside: a function that takes a *Bundle cannot be given an unchecked file.
type Bundle struct {
	reader *bundle.Reader
	graph  *bundle.Graph
	key    signature.PublicKey
}

// Open checks the signature of a bundle before anything else in it is believed, then header, tables, derived
// entries and every manifest. sealed stays the caller's to close. Errors are those of package signature (trust) and
// of package bundle (damage); all problems with manifests are in one error.
func Open(ctx context.Context, sealed *bundle.Sealed, policy Policy) (*Bundle, error) {
	if len(policy.Keys) == 0 {
		return nil, ErrNoKey
	}
	key, err := signature.Verify(sealed.Signature(), sealed.ManifestIndex(), policy.Keys)
	if err != nil {
		return nil, fmt.Errorf("manifest index %s: %w", sealed.ManifestIndex(), err)
	}
	reader, err := sealed.Reader(ctx)
	if err != nil {
		return nil, err
	}
	graph, err := reader.Walk(ctx)
	if err != nil {
		return nil, err
	}
	return &Bundle{reader: reader, graph: graph, key: key}, nil
}

// Key returns the trusted key that made the signature.
func (b *Bundle) Key() signature.PublicKey { return b.key }

// ManifestIndex returns the digest of the signed object.
func (b *Bundle) ManifestIndex() bundle.Digest { return b.reader.ManifestIndex() }

// Contents returns the tables. They must not be changed.
func (b *Bundle) Contents() *bundle.Contents { return b.reader.Contents() }

// Graph returns how the manifests hang together.
func (b *Bundle) Graph() *bundle.Graph { return b.graph }

// Manifest returns the bytes of a manifest, as they were at the source.
func (b *Bundle) Manifest(d bundle.Digest) ([]byte, error) { return b.reader.ReadManifest(d) }

// Sequential tells whether layers can be had only once and in file order, with Next.
func (b *Bundle) Sequential() bool { return b.reader.Sequential() }

// Removable tells whether blobs should be read in the order of Batches, since they lie on media that have to be changed.
func (b *Bundle) Removable() bool { return b.reader.Removable() }
