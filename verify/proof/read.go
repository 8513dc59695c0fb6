package proof

import (
	"context"
	"fmt"
	"strings"

	"airgap/bundle"
	"airgap/verify/proof/notation"
)

// MaxSize bounds the content of a proof, in bytes: SBOMs are the largest. What is larger is broken, and is not read.
const MaxSize = 64 << 20

// maxProofs bounds how many layers of one manifest are read: cosign adds a layer each time that somebody signs.
const maxProofs = 1000

// Carrier is a manifest that may carry proofs: a referrer, what one of cosign's tags names, or one of BuildKit's attestation manifests.
type Carrier struct {
	Digest     bundle.Digest
	Manifest   *bundle.Manifest
	About      bundle.Digest          // the manifest that it hangs from
	AboutBytes func() ([]byte, error) // the bytes of that manifest: message signatures are over them
}

// Read returns the proofs that a manifest carries, in the order of its layers; layers of other media types are passed over. open returns content
// whose length and digest are those of the descriptor. The error is open's or AboutBytes'; what is wrong with a proof is in its Claim.Problem.
func Read(ctx context.Context, c Carrier, open func(context.Context, bundle.Descriptor) ([]byte, error)) ([]*Proof, error) {
	var proofs []*Proof
	for _, layer := range c.Manifest.Layers {
		layout := layoutOf(c.Manifest, layer.MediaType)
		if layout == nil {
			continue
		}
		p := &Proof{Claim: Claim{Kind: layout.kind, Format: layout.format, Carrier: c.Digest, Blob: layer.Digest, About: c.About}}
		proofs = append(proofs, p)
		switch {
		case layer.Size > MaxSize:
			p.Problem = broken("it has %d bytes, and at most %d are read", layer.Size, MaxSize)
			continue
		case len(proofs) > maxProofs:
			p.Problem = broken("%s carries more than %d proofs, and the rest is not read", c.Digest, maxProofs)
			continue
		}
		content, err := open(ctx, layer)
		if err != nil {
			return nil, err
		}
		if layout.parse == nil {
			p.envelope, p.mediaType = content, layer.MediaType
			continue
		}
		if p.Problem = layout.parse(p, content, layer.Annotations); p.Problem != nil || !p.overManifest() {
			continue
		}
		about, err := c.AboutBytes()
		if err != nil {
			return nil, err
		}
		p.Problem = p.signed.over(about)
	}
	return proofs, nil
}

// ReadBundle reads a Sigstore bundle that comes as a file of its own: an approval, or a signature over a manifest index.
func ReadBundle(content []byte, about bundle.Digest) *Proof {
	p := &Proof{Claim: Claim{Kind: Attestation, Format: SigstoreBundle, Blob: bundle.DigestOf(content), About: about}}
	switch {
	case len(content) > MaxSize:
		p.Problem = broken("it has %d bytes, and at most %d are read", len(content), MaxSize)
	default:
		p.Problem = p.parseBundle(content, nil)
	}
	if p.Problem == nil && p.overManifest() {
		p.Problem = broken("not a DSSE envelope, but a signature over bare bytes; was it made by `cosign sign-blob`? Use `cosign sign` or `cosign attest-blob`")
	}
	return p
}

// overManifest tells whether the message is the manifest itself, and still missing.
func (p *Proof) overManifest() bool { return p.signed != nil && p.signed.message == nil }

// layout is how proofs of one media type are read. parse says what is wrong with one; nil: package notation reads it.
type layout struct {
	kind   Kind // of a Sigstore bundle: until its payload is read
	format Format
	parse  func(p *Proof, content []byte, annotations map[string]string) error
}

// layoutOf tells how layers of a manifest are read; nil: they prove nothing.
func layoutOf(m *bundle.Manifest, mediaType string) *layout {
	if m.EffectiveArtifactType() == "application/vnd.cncf.notary.signature" {
		switch mediaType {
		case notation.MediaTypeJWS:
			return &layout{Signature, NotationJWS, nil}
		case notation.MediaTypeCOSE:
			return &layout{Signature, NotationCOSE, nil}
		}
		return nil
	}
	switch mediaType {
	case "application/vnd.dev.cosign.simplesigning.v1+json":
		return &layout{Signature, Cosign, (*Proof).parseSimpleSigning}
	case "application/vnd.dsse.envelope.v1+json":
		return &layout{Attestation, DSSE, (*Proof).parseEnvelope}
	case payloadTypeInToto:
		return &layout{Attestation, InToto, (*Proof).parseUnsigned}
	}
	if strings.HasPrefix(mediaType, "application/vnd.dev.sigstore.bundle") { // the bundle itself says of which version it is
		return &layout{Attestation, SigstoreBundle, (*Proof).parseBundle}
	}
	return nil
}

// broken returns an ErrBroken that says why.
func broken(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBroken}, args...)...)
}
