// Package judge holds a policy against images and what proves things about them: at export against what was found, behind the gap against what is
// in a bundle. The page verify/policy/POLICY.md says what the judgement is.
package judge

import (
	"context"
	"io"

	"airgap/bundle"
)

// Evidence is where manifests and the proofs among the blobs come from: *verify.Bundle, or an export's plan. Both are asked from several
// goroutines at once.
type Evidence interface {
	Graph() *bundle.Graph
	Manifest(d bundle.Digest) ([]byte, error)
	// Proof opens the blob in the given row of the blobs table, which is content of a proof; its reader gives io.EOF only when length and
	// digest are right.
	Proof(ctx context.Context, row int) (io.ReadCloser, error)
}

// State is what a proof is to the party that a rule asks for: the states of POLICY.md.
type State string

// The states.
const (
	Good         State = "good"
	Unsigned     State = "unsigned"
	Untrusted    State = "untrusted"
	Broken       State = "broken"
	OtherSubject State = "other-subject"
	Revoked      State = "revoked"
	Expired      State = "expired"
	Unmet        State = "unmet"
)

// Verdict is what becomes of an image.
type Verdict string

// The verdicts.
const (
	Passes  Verdict = "passes"
	Fails   Verdict = "fails"
	Carried Verdict = "carried" // nothing was asked of it
)

// Judgement is what a policy says of a bundle, in the order of the roots table.
type Judgement struct {
	Policy bundle.Digest `json:"policy"`
	Images []Image       `json:"images"`
}

// Image is the verdict on one root.
type Image struct {
	Source    string        `json:"source"`
	Digest    bundle.Digest `json:"digest"`
	Rule      string        `json:"rule,omitempty"` // that decided; "" where none matched
	Position  string        `json:"position,omitempty"`
	Verdict   Verdict       `json:"verdict"`
	Reasons   []string      `json:"reasons,omitempty"` // why it fails, each a sentence that a person can act on
	Manifests []Manifest    `json:"manifests,omitempty"`
}

// Manifest is what proves something about the index, or about one platform, of an image.
type Manifest struct {
	Digest   bundle.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"` // "" for an index
	Proofs   []Proof       `json:"proofs"`
}

// Proof is one signature or attestation, as the rule that decided sees it.
type Proof struct {
	Kind          string        `json:"kind"` // signature, attestation
	Format        string        `json:"format"`
	PredicateType string        `json:"predicateType,omitempty"`
	Carrier       bundle.Digest `json:"carrier"`
	State         State         `json:"state"`
	Signers       []string      `json:"signers,omitempty"` // who made it, for people; of those that are verified
	Reference     string        `json:"reference,omitempty"`
	Signed        string        `json:"signed,omitempty"` // RFC 3339, by a log or a timestamp authority
	Detail        string        `json:"detail,omitempty"` // what is wrong with it
}
