// Package policy reads the file that says who may sign a bundle, who must approve it, and which images need which proofs: POLICY.md. Package
// judge holds it against what there is.
package policy

import (
	"slices"
	"time"

	"airgap/bundle"
	"airgap/verify/party"
	"airgap/verify/signature"
)

// Policy is a policy. Parse makes one of a file, OfKeys of keys alone.
type Policy struct {
	Digest    bundle.Digest // of the file; zero where there was none
	Files     bundle.Digest // stands for the file and all that it names, as they were read
	Bundle    Bundle
	Judges    bool // it has rules for images
	Images    []Rule
	Unmatched Unmatched

	remarks []remark
	signers []*party.Party // that have names
}

// OfKeys returns the policy that keys alone stand for: a signature by any of them is enough, and no image is judged.
func OfKeys(keys []signature.PublicKey) *Policy {
	var whose party.Party
	for _, key := range keys {
		whose.Keys = append(whose.Keys, party.Key{PublicKey: key})
	}
	return &Policy{Bundle: Bundle{Party: whose, Threshold: 1}}
}

// Rule returns the rule that decides about an image with the given source, as the roots table has it; nil: none matches.
func (p *Policy) Rule(source string) *Rule {
	s := parseSource(source)
	for i := range p.Images {
		if slices.ContainsFunc(p.Images[i].sources, func(g sourceGlob) bool { return g.matches(s) }) {
			return &p.Images[i]
		}
	}
	return nil
}

// Unmatched says what becomes of an image that no rule matches.
type Unmatched uint8

// The choices.
const (
	Refuse Unmatched = iota
	Carry
)

// Bundle is what is asked of a bundle itself.
type Bundle struct {
	Party     party.Party
	Threshold int           // at least 1; 0 where the policy does not say whose signatures count
	MaxAge    time.Duration // 0: any
	Approvals *Approvals    // nil: none are asked for

	position string // FILE:LINE:COLUMN
}

// Approvals are the approvals that an import demands.
type Approvals struct {
	Party              party.Party
	Threshold          int // at least 1
	DistinctFromBundle bool

	position string
}

// Rule says what is asked of some images. The first that matches an image decides. Only Parse makes rules that match any.
type Rule struct {
	Name         string // for output: its name, or its globs
	Position     string // FILE:LINE:COLUMN
	Match        []string
	Deny         string // the reason; "": it does not deny
	Carry        bool
	Signatures   []SignatureDemand
	Attestations []AttestationDemand

	sources []sourceGlob // of Match
}

// SignatureDemand asks for signatures over an image.
type SignatureDemand struct {
	Position    string // FILE:LINE:COLUMN
	Party       party.Party
	CoversIndex bool // a signature over an index stands for its platforms
	Threshold   int  // at least 1
	MaxAge      time.Duration
	References  []string // globs for the signed docker-reference
	FromSource  bool     // it must name the repository of the source
}

// Every says where an attestation has to be.
type Every uint8

// The choices.
const (
	EveryPlatform Every = iota
	EveryIndex
	AnyOfImage
)

// AttestationDemand asks for an attestation of an image.
type AttestationDemand struct {
	Position string   // FILE:LINE:COLUMN
	Types    []string // globs of predicate types
	Party    party.Party
	Unsigned bool // nobody has to have signed it
	Every    Every
	Optional bool
	MaxAge   time.Duration
	Time     Path // nil: as the table of POLICY.md says
	Expect   []Condition
}

// Path leads to values in a statement. See POLICY.md.
type Path []Step

// Step is one step of a path: a name, an index, or everything.
type Step struct {
	Name  string
	Index int // where Name is "" and Wild is not set
	Wild  bool
}
