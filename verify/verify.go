// Package verify says whether a bundle is to be trusted: who may sign one, and the one type that says it has been
// checked.
//
// Start with [Open]. It returns a [Bundle] only when the signature is by a trusted key and everything before the
// layers is what was signed; the layers are checked as they are read, or all at once by [Bundle.CheckBlobs].
package verify

import (
	"context"
	"errors"

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
	bases  []*Bundle // by place in the header, nil where it was not given; see Over
}

// Open checks the signature of a bundle before anything else in it is believed, then header, tables, derived
// entries and every manifest. sealed stays the caller's to close. Errors are those of package signature (trust) and
// of package bundle (damage); all problems with manifests are in one error.
func Open(ctx context.Context, sealed *bundle.Sealed, policy Policy) (*Bundle, error) {
	key, err := policy.check(&sealed.Head)
	if err != nil {
		return nil, err
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

// check returns the trusted key by which one of the signatures is.
func (p Policy) check(head *bundle.Head) (signature.PublicKey, error) {
	if len(p.Keys) == 0 {
		return signature.PublicKey{}, ErrNoKey
	}
	return signature.VerifyHead(head, p.Keys)
}

// Head is the head of a bundle whose signature has been checked, with or without the rest of it. Only OpenHead makes one.
type Head struct {
	head *bundle.Head
	key  signature.PublicKey
}

// OpenHead checks that a trusted key signed a head, as Open does for a bundle; one that nobody signed is signature.ErrMissing.
func OpenHead(head *bundle.Head, policy Policy) (*Head, error) {
	key, err := policy.check(head)
	if err != nil {
		return nil, err
	}
	return &Head{head, key}, nil
}

// Key returns the trusted key that made the signature.
func (h *Head) Key() signature.PublicKey { return h.key }

// ManifestIndex returns the digest of the signed object.
func (h *Head) ManifestIndex() bundle.Digest { return h.head.ManifestIndex() }

// Header reads the header; errors are those of package bundle.
func (h *Head) Header(ctx context.Context) (*bundle.Header, error) { return h.head.Header(ctx) }

// Contents reads the tables; errors are those of package bundle.
func (h *Head) Contents(ctx context.Context) (*bundle.Contents, error) { return h.head.Contents(ctx) }

// Key returns the trusted key that made the signature.
func (b *Bundle) Key() signature.PublicKey { return b.key }

// ManifestIndex returns the digest of the signed object.
func (b *Bundle) ManifestIndex() bundle.Digest { return b.reader.ManifestIndex() }

// Contents returns the tables. They must not be changed.
func (b *Bundle) Contents() *bundle.Contents { return b.reader.Contents() }

// Artifact returns what a record keeps of the bundle.
func (b *Bundle) Artifact() bundle.Artifact { return b.reader.Artifact() }

// Graph returns how the manifests hang together.
func (b *Bundle) Graph() *bundle.Graph { return b.graph }

// Manifest returns the bytes of a manifest, as they were at the source.
func (b *Bundle) Manifest(d bundle.Digest) ([]byte, error) { return b.reader.ReadManifest(d) }

// Sequential tells whether layers can be had only once and in file order, with Next.
func (b *Bundle) Sequential() bool { return b.reader.Sequential() }

// Removable tells whether blobs should be read in the order of Batches, since they lie on media that have to be changed.
func (b *Bundle) Removable() bool { return b.reader.Removable() }
