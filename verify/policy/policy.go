// Package policy reads the file that says who may sign a bundle, who must approve it, and which images need which proofs: POLICY.md. Package
// judge holds it against what there is.
package policy

import (
	"time"

	"airgap/bundle"
	"airgap/verify/party"
)

// Policy is a policy. Parse makes one of a file, OfKeys of keys alone.
type Policy struct {
	Digest    bundle.Digest // of the file; zero where there was none
	Bundle    Bundle
	Judges    bool // it has rules for images
	Images    []Rule
	Unmatched Unmatched
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
	Threshold int           // at least 1
	MaxAge    time.Duration // 0: any
	Approvals *Approvals    // nil: none are asked for
}

// Approvals are the approvals that an import demands.
type Approvals struct {
	Party              party.Party
	Threshold          int // at least 1
	DistinctFromBundle bool
}

// Rule says what is asked of some images. The first that matches an image decides.
type Rule struct {
	Name         string // for output: its name, or its globs
	Position     string // FILE:LINE:COLUMN
	Match        []string
	Deny         string // the reason; "": it does not deny
	Carry        bool
	Signatures   []SignatureDemand
	Attestations []AttestationDemand
}

// SignatureDemand asks for signatures over an image.
type SignatureDemand struct {
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
	Types    []string // globs of predicate types
	Party    party.Party
	Unsigned bool // nobody has to have signed it
	Every    Every
	Optional bool
	MaxAge   time.Duration
	Time     Path // nil: as the table of POLICY.md says
	Expect   []Condition
}

// Condition is one line of expect.
type Condition struct {
	Path Path
	Text string // for people, as in `$.predicate.x is "y"`
}

// Path leads to values in a statement. See POLICY.md.
type Path []Step

// Step is one step of a path: a name, an index, or everything.
type Step struct {
	Name  string
	Index int // where Name is "" and Wild is not set
	Wild  bool
}
