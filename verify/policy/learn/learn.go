// Package learn writes the strictest policy that given images fulfil, for a person to cut down.
package learn

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"

	"airgap/bundle"
	"airgap/verify/judge"
	"airgap/verify/party"
	"airgap/verify/proof"
	"airgap/verify/signature"
)

// Candidate is somebody who may have made what there is: keys, or everybody whom a trusted root vouches for.
type Candidate struct {
	File string // as the policy is to name it
	Keys []signature.PublicKey
	Root *root.TrustedRoot
}

// Policy returns a policy that asks of each image for everything that it has of the candidates, and for nothing else; what verifies by
// none of them is in comments. signers are those of the bundle, if there is one. Errors are those of reading.
func Policy(ctx context.Context, e judge.Evidence, candidates []Candidate, signers []party.Signer) ([]byte, error) {
	l := learner{evidence: e}
	for i := range candidates {
		l.candidates = append(l.candidates, newCandidate(&candidates[i]))
	}
	var images []image
	for row := range e.Graph().Contents().Header.Counts.Roots {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		learnt, err := l.image(ctx, row)
		if err != nil {
			return nil, err
		}
		images = append(images, learnt)
	}
	return l.write(images, signers), nil
}

type learner struct {
	evidence   judge.Evidence
	candidates []*candidate
	signers    []*signer // who has made something, in the order in which they were found
}

// candidate is a Candidate as a party.
type candidate struct {
	*Candidate

	party party.Party
}

var everybody = regexp.MustCompile(`(?s)\A.*\z`)

func newCandidate(c *Candidate) *candidate {
	whose := party.Party{Name: c.File, Root: c.Root}
	for _, key := range c.Keys {
		whose.Keys = append(whose.Keys, party.Key{PublicKey: key, Where: c.File})
	}
	if c.Root != nil {
		whose.Identities = []party.Identity{{IssuerExpression: everybody, SubjectExpression: everybody}}
	}
	return &candidate{c, whose}
}

// signer is somebody who gets a name in the policy: the keys of a file, or an identity.
type signer struct {
	name string
	of   *candidate

	issuer, subject string // of an identity
}

// signer returns who a candidate turned out to be, and gives that a name.
func (l *learner) signer(of *candidate, made party.Signer) *signer {
	at := slices.IndexFunc(l.signers, func(s *signer) bool {
		return s.of == of && (of.Root == nil || s.issuer == made.Issuer && s.subject == made.Subject)
	})
	if at >= 0 {
		return l.signers[at]
	}
	s := &signer{of: of, issuer: made.Issuer, subject: made.Subject}
	base := "identity"
	if of.Root == nil {
		base = nameOf(of.File)
	}
	for n := 1; s.name == "" || slices.ContainsFunc(l.signers, func(other *signer) bool { return other.name == s.name }); n++ {
		s.name = base
		if n > 1 {
			s.name = fmt.Sprintf("%s-%d", base, n)
		}
	}
	l.signers = append(l.signers, s)
	return s
}

// nameOf makes a name for signers of that of a file.
func nameOf(file string) string {
	base := filepath.Base(file)
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-') {
			return r
		}
		return '-'
	}, strings.TrimSuffix(base, filepath.Ext(base)))
	if name = strings.TrimLeft(name, "-0123456789"); name == "" {
		return "signer"
	}
	return name[:min(len(name), 50)]
}

// fact is a good proof of a subject.
type fact struct {
	kind          proof.Kind
	predicateType string
	by            *signer           // nil: nobody has to have signed it
	reference     string            // of a signature
	says          map[string]string // of an attestation: values by path
}

// subject is what there is about a manifest.
type subject struct {
	judge.Subject

	facts []fact
	notes []string // on what is not good, or by nobody
}

// image is what there is about a root.
type image struct {
	source   string
	subjects []subject
}

func (l *learner) image(ctx context.Context, row int) (image, error) {
	learnt := image{source: l.evidence.Graph().Contents().Root(row).Source}
	gathered, err := judge.Gather(l.evidence, row)
	if err != nil {
		return learnt, err
	}
	for _, about := range gathered {
		s := subject{Subject: about}
		for i := range s.Carriers {
			if about.Original { // what is about an index that is not here counts for nothing
				break
			}
			if err := l.carrier(ctx, &s, &s.Carriers[i]); err != nil {
				return learnt, fmt.Errorf("%s: %w", learnt.source, err)
			}
		}
		learnt.subjects = append(learnt.subjects, s)
	}
	return learnt, nil
}

// carrier adds what a carrier has about a subject. An attestation is also of who signed what carries it.
func (l *learner) carrier(ctx context.Context, s *subject, c *judge.Carrier) error {
	proofs, err := c.Read(ctx, l.evidence)
	if err != nil {
		return err
	}
	over, err := c.Signatures(ctx, l.evidence)
	if err != nil {
		return err
	}
	for _, p := range proofs {
		if p.Kind == proof.Attestation {
			l.proof(s, p, append([]*proof.Proof{p}, over...))
		} else {
			l.proof(s, p, []*proof.Proof{p})
		}
	}
	return nil
}

// proof adds facts of one proof, or a note. signed are the proofs that say whose it is.
func (l *learner) proof(s *subject, p *proof.Proof, signed []*proof.Proof) {
	what := "a signature"
	if p.Kind == proof.Attestation {
		what = fmt.Sprintf("an attestation %.200q", p.PredicateType)
	}
	if p.Problem != nil {
		s.notes = append(s.notes, fmt.Sprintf("%s: %.200q", what, bundle.OneLine(p.Problem)))
		return
	}
	f := fact{kind: p.Kind, predicateType: p.PredicateType, reference: p.Reference}
	if p.Kind == proof.Attestation {
		f.says = says(p)
	}
	var why error
	isKnown := false
	for _, of := range l.candidates {
		for _, by := range signed {
			made, err := by.By(&of.party)
			if err != nil {
				why = err
				continue
			}
			isKnown = true
			f.by = l.signer(of, made)
			s.facts = append(s.facts, f)
		}
	}
	switch {
	case isKnown:
	case p.Format == proof.InToto:
		s.facts = append(s.facts, f)
	default:
		s.notes = append(s.notes, fmt.Sprintf("%s by nobody who was given: %.200q", what, bundle.OneLine(why)))
	}
}

// learntPaths are what a policy may want to hold on to, by names of members below the predicate.
var learntPaths = [][]string{
	{"builder", "id"}, {"buildType"}, // SLSA provenance v0.2
	{"runDetails", "builder", "id"}, {"buildDefinition", "buildType"}, // v1
	{"verifier", "id"}, {"verificationResult"}, // SLSA verification summary
}

// maxLearnt bounds a text that a policy holds on to, in bytes.
const maxLearnt = 500

// says returns what an attestation says under the learnt paths, by path.
func says(p *proof.Proof) map[string]string {
	statement, err := p.Statement()
	if err != nil {
		return nil
	}
	said := map[string]string{}
	for _, names := range learntPaths {
		value := statement
		for _, name := range append([]string{"predicate"}, names...) {
			object, _ := value.(map[string]any)
			value = object[name]
		}
		if text, isText := value.(string); isText && text != "" && len(text) <= maxLearnt {
			said["$.predicate."+strings.Join(names, ".")] = text
		}
	}
	return said
}
