package judge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unique"

	"airgap/bundle"
	"airgap/verify/party"
	"airgap/verify/policy"
	"airgap/verify/proof"
)

// assessment is what the proofs of one subject are worth to one rule. It keeps nothing of their content.
type assessment struct {
	proofs       []Proof
	signatures   []tally // by demand
	attestations []tally // by demand
}

// tally is what a subject has for one demand.
type tally struct {
	signers map[string]string // who signed, for people, by what tells them apart
	met     bool              // attestations: there is one that meets the demand
	listed  bool              // there is something of the kind, good or not
	near    []near            // what is there and does not count
}

// assessor assesses subjects. Each of its methods can be called from several goroutines at once.
type assessor struct {
	evidence Evidence
	now      time.Time
}

func (a *assessor) assess(ctx context.Context, s *Subject, r *rule, source string) (*assessment, error) {
	found := &assessment{signatures: make([]tally, len(r.Signatures)), attestations: make([]tally, len(r.Attestations))}
	for i := range s.Carriers {
		if err := a.carrier(ctx, &s.Carriers[i], r, source, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// carrier adds what one carrier has. Statements may be large, and are not kept any longer than this.
func (a *assessor) carrier(ctx context.Context, c *Carrier, r *rule, source string, found *assessment) error {
	proofs, err := c.Read(ctx, a.evidence)
	if err != nil {
		return err
	}
	over := secondLevel{asked: make([][]finding, len(r.parties))}
	if slices.ContainsFunc(proofs, func(p *proof.Proof) bool { return p.Kind == proof.Attestation }) {
		if over.proofs, err = c.Signatures(ctx, a.evidence); err != nil {
			return err
		}
	}
	for _, p := range proofs {
		e := exhibit{Proof: p, over: &over, rule: r, source: source, now: a.now}
		found.add(&e)
	}
	return nil
}

// secondLevel is the signatures over a carrier, each of which is asked once whose it is, however much is carried.
type secondLevel struct {
	proofs []*proof.Proof
	asked  [][]finding // by party of the rule; nil: not asked yet
}

func (s *secondLevel) by(r *rule, place int) []finding {
	if s.asked[place] == nil {
		s.asked[place] = make([]finding, len(s.proofs))
		for i, p := range s.proofs {
			s.asked[place][i] = by(p, r.parties[place])
		}
	}
	return s.asked[place]
}

// by is whose a proof is by itself.
func by(p *proof.Proof, whose *party.Party) finding {
	signer, err := p.By(whose)
	if err != nil {
		return failed(err)
	}
	return finding{state: Good, counts: true, signers: []party.Signer{signer}}
}

// add holds a proof against all demands of its rule.
func (f *assessment) add(e *exhibit) {
	shown := Proof{Kind: e.kind(), Format: string(e.Format), PredicateType: unique.Make(e.PredicateType).Value(), Carrier: e.Carrier, Reference: e.Reference}
	best := finding{}
	weigh := func(t *tally, found finding) {
		t.add(e, found)
		if best.state == "" || found.counts && !best.counts || found.counts == best.counts && found.state.rank() < best.state.rank() {
			best = found
		}
	}
	switch {
	case e.isUnreadable(): // and may have been what is asked for
		for _, tallies := range [][]tally{f.signatures, f.attestations} {
			for i := range tallies {
				tallies[i].note(e, failed(e.Problem))
			}
		}
	case e.Kind == proof.Signature:
		for i := range e.rule.Signatures {
			weigh(&f.signatures[i], e.signature(i))
		}
	default:
		for i := range e.rule.Attestations {
			if e.rule.asksFor(i, e.PredicateType) {
				weigh(&f.attestations[i], e.attestation(i))
			}
		}
	}
	if best.state == "" {
		best = e.byAnybody()
	}
	shown.State, shown.Detail = best.state, unique.Make(best.detail).Value()
	for _, s := range best.signers {
		shown.Signers = append(shown.Signers, unique.Make(signerWords(s)).Value()) // the same for many proofs
		if !s.Time.IsZero() {
			shown.Signed = s.Time.UTC().Format(time.RFC3339)
		}
	}
	f.proofs = append(f.proofs, shown)
}

// near is a proof that does not count.
type near struct{ what, why string }

// maxNear bounds how much is said of what does not count.
const maxNear = 5

func (t *tally) add(e *exhibit, found finding) {
	t.listed = true
	if found.counts {
		t.met = true
		if t.signers == nil {
			t.signers = map[string]string{}
		}
		for _, s := range found.signers {
			t.signers[s.ID()] = signerWords(s)
		}
		return
	}
	t.note(e, found)
}

// note says of a proof that it does not count.
func (t *tally) note(e *exhibit, found finding) {
	if n := (near{e.words(), found.detail}); !slices.Contains(t.near, n) && len(t.near) < maxNear {
		t.near = append(t.near, n)
	}
}

// exhibit is a proof that is held against a rule.
type exhibit struct {
	*proof.Proof
	over   *secondLevel
	rule   *rule
	source string
	now    time.Time

	asked     []finding // by party of the rule: whose it is; state "" until it has been asked
	statement any
	unread    error
	isRead    bool
}

// isUnreadable tells whether it is not known what the proof is.
func (e *exhibit) isUnreadable() bool {
	return e.Problem != nil && e.Kind == proof.Attestation && e.PredicateType == ""
}

func (e *exhibit) kind() string {
	switch {
	case e.isUnreadable():
		return "unreadable"
	case e.Kind == proof.Signature:
		return "signature"
	}
	return "attestation"
}

// finding is what a proof is to a demand.
type finding struct {
	state   State
	counts  bool
	detail  string // why it does not count
	signers []party.Signer
}

// states are the errors of package proof, what reads as good last.
var states = []struct {
	err   error
	state State
}{
	{proof.ErrSubject, OtherSubject},
	{proof.ErrBroken, Broken},
	{proof.ErrRevoked, Revoked},
	{proof.ErrExpired, Expired},
	{proof.ErrUnsigned, Unsigned},
	{proof.ErrUntrusted, Untrusted},
}

// failed is a finding of what is wrong with a proof.
func failed(err error) finding {
	for _, s := range states {
		if errors.Is(err, s.err) {
			return finding{state: s.state, detail: bundle.OneLine(err)}
		}
	}
	return finding{state: Broken, detail: bundle.OneLine(err)}
}

func unmet(signers []party.Signer, format string, args ...any) finding {
	return finding{state: Unmet, detail: fmt.Sprintf(format, args...), signers: signers}
}

// rank orders states by how much they say about a proof of which several were found out: the least comes first.
func (s State) rank() int {
	return slices.Index([]State{Good, Unmet, Revoked, Expired, OtherSubject, Broken, Untrusted, Unsigned}, s)
}

// by returns whose the proof is of a party of the rule. An attestation is also theirs who signed what carries it.
func (e *exhibit) by(place int) finding {
	if e.asked == nil {
		e.asked = make([]finding, len(e.rule.parties))
	}
	if e.asked[place].state == "" {
		e.asked[place] = e.ask(place)
	}
	return e.asked[place]
}

func (e *exhibit) ask(place int) finding {
	if e.Problem != nil {
		return failed(e.Problem)
	}
	whose := by(e.Proof, e.rule.parties[place])
	if e.Kind != proof.Attestation {
		return whose
	}
	for _, found := range e.over.by(e.rule, place) {
		switch {
		case found.counts && whose.counts:
			whose.signers = append(slices.Clip(whose.signers), found.signers...)
		case found.counts, !whose.counts && found.state.rank() < whose.state.rank():
			whose = found
		}
	}
	return whose
}

// byAnybody is what a proof is that no demand asks for: whose it is of all that the rule names.
func (e *exhibit) byAnybody() finding {
	if e.Problem != nil {
		return failed(e.Problem)
	}
	best := finding{state: Untrusted, detail: proof.ErrUntrusted.Error()}
	for place := range e.rule.parties {
		if found := e.by(place); place == 0 || found.state.rank() < best.state.rank() {
			best = found
		}
	}
	if len(e.rule.parties) == 0 && e.Format == proof.InToto {
		return failed(proof.ErrUnsigned)
	}
	return best
}

// signature holds the proof against a demand for signatures.
func (e *exhibit) signature(demand int) finding {
	d, found := &e.rule.Signatures[demand], e.by(e.rule.signers[demand])
	switch {
	case !found.counts:
		return found
	case d.FromSource && !isRepository(e.Reference, e.source):
		return unmet(found.signers, "it was made for %q, which is not the repository of %s", e.Reference, e.source)
	case len(d.References) > 0 && !matchesAny(e.rule.references[demand], e.Reference):
		return unmet(found.signers, "it was made for %q, which the policy does not take", e.Reference)
	case d.MaxAge > 0:
		if reason := e.tooOld(d.MaxAge, found.signers[0].Time, "no log or timestamp authority says when it was made"); reason != "" {
			return unmet(found.signers, "%s", reason)
		}
	}
	return found
}

// attestation holds the proof against a demand for attestations that asks for its type.
func (e *exhibit) attestation(demand int) finding {
	d := &e.rule.Attestations[demand]
	var found finding
	switch {
	case e.Problem != nil:
		return failed(e.Problem)
	case d.Unsigned:
		found = finding{state: Unsigned, counts: true}
	default:
		if found = e.by(e.rule.attesters[demand]); !found.counts {
			return found
		}
	}
	if d.MaxAge == 0 && len(d.Expect) == 0 {
		return found
	}
	if err := e.read(); err != nil {
		return failed(err)
	}
	for i := range d.Expect {
		if err := d.Expect[i].Check(e.statement); err != nil {
			return unmet(found.signers, "%s", bundle.OneLine(err))
		}
	}
	if d.MaxAge > 0 {
		if reason := e.tooOld(d.MaxAge, e.time(d, found.signers), "neither the statement nor a log or timestamp authority says when it was made"); reason != "" {
			return unmet(found.signers, "%s", reason)
		}
	}
	return found
}

// read decodes the statement, once.
func (e *exhibit) read() error {
	if !e.isRead {
		e.statement, e.unread = e.Statement()
		e.isRead = true
	}
	return e.unread
}

// time returns when an attestation was made: by its own word, or else by the earliest that is vouched for.
func (e *exhibit) time(d *policy.AttestationDemand, signers []party.Signer) (made time.Time) {
	if stated, says := policy.TimeOf(d, e.PredicateType, e.statement); says {
		return stated
	}
	for _, s := range signers {
		if !s.Time.IsZero() && (made.IsZero() || s.Time.Before(made)) {
			made = s.Time
		}
	}
	return made
}

// maxAhead is how far the clock behind the gap may be behind that of who made a proof.
const maxAhead = 24 * time.Hour

// tooOld returns why a time does not do; "" where it does.
func (e *exhibit) tooOld(limit time.Duration, made time.Time, unknown string) string {
	switch age := e.now.Sub(made); {
	case made.IsZero():
		return unknown
	case age < -maxAhead:
		return fmt.Sprintf("it says that it was made on %s, which is yet to come", made.UTC().Format(time.RFC3339))
	case age > limit:
		return fmt.Sprintf("it was made on %s, which is longer ago than %s", made.UTC().Format(time.RFC3339), ageWords(limit))
	}
	return ""
}

// words say which proof it is.
func (e *exhibit) words() string { return fmt.Sprintf("%s %s", e.Format, short(e.Carrier)) }

// short is the beginning of a digest, as people compare it.
func short(d bundle.Digest) string { return d.String()[:len("sha256:")+12] }

// signerWords says for people who made a signature, and whose it counts as.
func signerWords(s party.Signer) string {
	if s.Party == "" {
		return s.String()
	}
	return fmt.Sprintf("%s (%s)", s.Party, s)
}

func ageWords(d time.Duration) string {
	if day := 24 * time.Hour; d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}
