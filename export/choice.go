package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"airgap/bundle"
)

// Choice says which images an export is about: [Requests], or what configurations say (package catalogue).
type Choice interface {
	// Choose asks the registries, as far as it has to, and chooses. What could not be looked at is among the failures of the
	// selection; the error is about the choice as a whole.
	Choose(ctx context.Context, o bundle.Observer) (*Selection, error)
	// Fingerprint stands for everything that the choice depends on but what registries answer.
	Fingerprint() string
}

// Selection is what was chosen, what was not and why, and what could not be looked at.
type Selection struct {
	Requests []Request
	Excluded []Excluded
	Failures []Failure
	Warnings []string
	// Tags are the digest tags (sha256-...) of repositories whose tags have been listed, by name.Repository.Name.
	Tags     map[string]DigestTags
	Found    []FoundImage    // what of the requests charts and manifests have brought
	Unparsed []UnparsedImage // what looks like an image there, and is none
}

// Requests is a choice that leaves nothing to choose.
type Requests []Request

// Choose implements Choice.
func (r Requests) Choose(context.Context, bundle.Observer) (*Selection, error) {
	return &Selection{Requests: r}, nil
}

// Fingerprint implements Choice.
func (r Requests) Fingerprint() string { return fmt.Sprintf("%+v", []Request(r)) }

// fingerprint stands for everything that a bundle is a function of but what registries answer, so that an export that was
// interrupted is continued by the same command only.
func fingerprint(chosen string, signer Signer, o Options) string {
	h := sha256.New()
	if o.Mirror != nil {
		fmt.Fprintf(h, "%q %q ", o.Mirror.Name, o.Mirror.Ledger)
	}
	if o.Policy != nil {
		fmt.Fprintf(h, "%s ", o.Policy.Files)
	}
	if o.TrustedRoot != nil {
		fmt.Fprintf(h, "root %s ", bundle.DigestOf(o.TrustedRoot))
	}
	fmt.Fprintf(h, "%s %q %+v %t %t %d", signer.Name, chosen, o.Walk.Attestations, o.Walk.AllowNoReferrers, o.KeepGoing, o.Created.Unix())
	return hex.EncodeToString(h.Sum(nil))
}
