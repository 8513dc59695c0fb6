// Package verify says whether a bundle is to be trusted: whose signatures count ([Trust], which has the policy), and the one
// type that says it has been checked.
//
// Start with [Open]. It returns a [Bundle] only when as many of those who are trusted signed as the policy asks for, everything
// before the layers is what was signed, and the images have the proofs that the policy demands; the layers are checked as
// they are read, or all at once by [Bundle.CheckBlobs]. Package policy reads the file that says all this, proof tells whose a
// proof is, judge holds one against the other.
package verify

import (
	"context"

	"airgap/bundle"
	"airgap/verify/approval"
	"airgap/verify/judge"
	"airgap/verify/party"
	"airgap/verify/signature"
)

// Bundle is a bundle whose signature and head have been checked. Only Open makes one, and no field of it can be
// set from outside: a function that takes a *Bundle cannot be given an unchecked file.
type Bundle struct {
	reader *bundle.Reader
	graph  *bundle.Graph
	head   *Head
	bases  []*Bundle // by place in the header, nil where it was not given; see Over

	judgement *judge.Judgement
}

// Open checks the signatures of a bundle before anything else in it is believed, then header, tables, derived
// entries and every manifest, and then what proves something about the images against the policy (judge.ErrPolicy). sealed stays the caller's to close. Errors are those of Trust and of package signature (trust), and
// of package bundle (damage); all problems with manifests are in one error.
func Open(ctx context.Context, sealed *bundle.Sealed, t Trust) (*Bundle, error) {
	head, err := t.check(ctx, &sealed.Head)
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
	b := &Bundle{reader: reader, graph: graph, head: head}
	if b.judgement, err = t.judge(ctx, b); err != nil {
		return nil, err
	}
	return b, nil
}

// Head is the head of a bundle whose signature has been checked, with or without the rest of it. Only OpenHead makes one.
type Head struct {
	head     *bundle.Head
	header   *bundle.Header
	signers  []party.Signer
	beside   []signature.Detached // signatures that are not in the bundle
	approved *approval.Approved   // nil: the policy asks for no approvals
}

// OpenHead checks the signatures over a head, as Open does for a bundle; one that nobody signed is signature.ErrMissing.
func OpenHead(ctx context.Context, head *bundle.Head, t Trust) (*Head, error) {
	return t.check(ctx, head)
}

// Signers returns who signed it, of those that are trusted for it.
func (h *Head) Signers() []party.Signer { return h.signers }

// ManifestIndex returns the digest of the signed object.
func (h *Head) ManifestIndex() bundle.Digest { return h.head.ManifestIndex() }

// Header returns the header.
func (h *Head) Header() *bundle.Header { return h.header }

// Contents reads the tables; errors are those of package bundle.
func (h *Head) Contents(ctx context.Context) (*bundle.Contents, error) { return h.head.Contents(ctx) }

// Signers returns who signed the bundle, of those that are trusted for it.
func (b *Bundle) Signers() []party.Signer { return b.head.signers }

// Approved returns who approved the bundle; nil where the policy asks for no approvals. Whoever imports demands that its Err is nil.
func (b *Bundle) Approved() *approval.Approved { return b.head.approved }

// ManifestIndex returns the digest of the signed object.
func (b *Bundle) ManifestIndex() bundle.Digest { return b.reader.ManifestIndex() }

// Contents returns the tables. They must not be changed.
func (b *Bundle) Contents() *bundle.Contents { return b.reader.Contents() }

// Artifact returns what a record keeps of the bundle, together with what came beside it and counts.
func (b *Bundle) Artifact() bundle.Artifact {
	a := b.reader.Artifact()
	for _, s := range b.head.beside {
		a = a.With(s.Content, signature.PredicateType, b.head.header)
	}
	for _, f := range b.Approved().Counting() {
		a = a.With(f.Content, approval.PredicateType, b.head.header)
	}
	return a
}

// Graph returns how the manifests hang together.
func (b *Bundle) Graph() *bundle.Graph { return b.graph }

// Manifest returns the bytes of a manifest, as they were at the source.
func (b *Bundle) Manifest(d bundle.Digest) ([]byte, error) { return b.reader.ReadManifest(d) }

// Sequential tells whether layers can be had only once and in file order, with Next.
func (b *Bundle) Sequential() bool { return b.reader.Sequential() }

// Removable tells whether blobs should be read in the order of Batches, since they lie on media that have to be changed.
func (b *Bundle) Removable() bool { return b.reader.Removable() }
