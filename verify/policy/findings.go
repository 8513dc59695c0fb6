package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/bundle/yaml"
	"airgap/verify/party"
)

// Finding is something that a person should know about a policy that is not wrong, and that may not mean what it seems to.
type Finding struct {
	Position string `json:"position"` // FILE:LINE:COLUMN
	Message  string `json:"message"`
}

// remark is a finding that depends on the day, as certificates end.
type remark struct {
	yaml.Position

	message string
	from    time.Time // zero: always
}

func (p *parties) remark(at yaml.Position, format string, args ...any) {
	p.remarks = append(p.remarks, remark{Position: at, message: fmt.Sprintf(format, args...)})
}

// Findings says what in the policy can never hold or never decides, and what matches more than it seems to, in the order of the
// file as far as that is known.
func (p *Policy) Findings(now time.Time) []Finding {
	f := findings{p: p}
	for _, r := range p.remarks {
		if r.from.Before(now) {
			f.add(r.Position.String(), "%s", r.message)
		}
	}
	if p.Bundle.Threshold > 0 {
		f.bundle()
	}
	for i := range p.Images {
		f.rule(&p.Images[i])
	}
	f.unreachable()
	return f.all
}

type findings struct {
	p   *Policy
	all []Finding
}

func (f *findings) add(position, format string, args ...any) {
	finding := Finding{position, fmt.Sprintf(format, args...)}
	if !slices.Contains(f.all, finding) { // an alias shows it again
		f.all = append(f.all, finding)
	}
}

func (f *findings) bundle() {
	b := &f.p.Bundle
	at := b.position
	f.threshold(at, &b.Party, b.Threshold)
	a := b.Approvals
	if a == nil {
		return
	}
	f.threshold(a.position, &a.Party, a.Threshold)
	signers, approvers := keySet(&b.Party), keySet(&a.Party)
	both := 0
	for digest := range approvers {
		if signers[digest] {
			both++
		}
	}
	switch {
	case both > 0 && !a.DistinctFromBundle:
		f.add(a.position, "%d of the keys that approve may also sign the bundle, so that one person can do both; write distinctFrom: bundle", both)
	case a.DistinctFromBundle && len(a.Party.Identities) == 0 && len(b.Party.Identities) == 0:
		busy := max(0, b.Threshold-(len(signers)-both)) // approvers that have to sign, as there are too few others
		if left := len(approvers) - busy; left < a.Threshold && len(approvers) >= a.Threshold {
			f.add(a.position, "%d approvals can never be had: who signed the bundle does not count, and that leaves %d", a.Threshold, left)
		}
	}
}

func keySet(whose *party.Party) map[bundle.Digest]bool {
	set := map[bundle.Digest]bool{}
	for _, key := range whose.Keys {
		if !whose.Revoked[key.Digest()] {
			set[key.Digest()] = true
		}
	}
	return set
}

// threshold finds parties that have too few members, and members that never count.
func (f *findings) threshold(at string, whose *party.Party, threshold int) {
	for _, key := range whose.Keys {
		if whose.Revoked[key.Digest()] {
			f.add(at, "the key %s is revoked, so that it never counts", key.Where)
		}
	}
	n := len(keySet(whose))
	for _, id := range whose.Identities {
		if id.IssuerExpression != nil || id.SubjectExpression != nil {
			return // any number
		}
		n++
	}
	if whose.Notation == nil && n < threshold {
		f.add(at, "%d different ones must have signed, and there are only %d", threshold, n)
	}
}

func (f *findings) rule(r *Rule) {
	for i := range r.Signatures {
		d := &r.Signatures[i]
		f.threshold(d.Position, &d.Party, d.Threshold)
		if d.MaxAge > 0 && !showsTime(&d.Party) {
			f.add(d.Position, "maxAge can never be met: nothing shows when somebody of this party signed; it takes a trustedRoot, or timestamps of notation")
		}
	}
	for i := range r.Attestations {
		d := &r.Attestations[i]
		if !d.Unsigned {
			f.threshold(d.Position, &d.Party, 1)
		}
		if d.MaxAge > 0 && !showsTime(&d.Party) && !slices.ContainsFunc(d.Types, f.mayStateTime(d)) {
			f.add(d.Position, "maxAge can never be met: where a statement of type %s says its time is not known; write time: with the path to it", either(d.Types))
		}
		f.types(d)
		f.expect(d)
	}
}

// showsTime tells whether anybody shows when a signature was made.
func showsTime(whose *party.Party) bool {
	if n := whose.Notation; n != nil && len(n.Timestamps) > 0 {
		return true
	}
	return whose.Root != nil
}

func (f *findings) mayStateTime(d *AttestationDemand) func(string) bool {
	return func(predicateType string) bool {
		_, known := timePath(d, predicateType)
		return known || strings.ContainsAny(predicateType, "*?{")
	}
}

// shorthands are names that cosign takes for predicate types.
// https://github.com/sigstore/cosign/blob/v3.0.0/pkg/cosign/attestation (options.PredicateTypeMap)
var shorthands = map[string]string{
	"slsaprovenance": "https://slsa.dev/provenance/v0.2", "slsaprovenance02": "https://slsa.dev/provenance/v0.2", "slsaprovenance1": "https://slsa.dev/provenance/v1",
	"spdx": "https://spdx.dev/Document", "spdxjson": "https://spdx.dev/Document", "cyclonedx": "https://cyclonedx.org/bom",
	"link": "https://in-toto.io/Link/v1", "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1", "openvex": "https://openvex.dev/ns",
}

func (f *findings) types(d *AttestationDemand) {
	for _, predicateType := range d.Types {
		switch meant := shorthands[predicateType]; {
		case meant != "":
			f.add(d.Position, "the type %q is cosign's short name; in statements stands %s", predicateType, meant)
		case strings.Trim(predicateType, "*/") == "":
			f.add(d.Position, "the type %q is that of nearly any attestation, whatever it says", predicateType)
		case !strings.Contains(predicateType, ":") && !strings.HasPrefix(predicateType, "*"):
			f.add(d.Position, "the type %.100q is no URI, as predicate types are; it stands in no statement", predicateType)
		}
	}
}

// statementMembers are the members of an in-toto statement.
// https://github.com/in-toto/attestation/blob/v1.1.2/spec/v1/statement.md
var statementMembers = []string{"_type", "subject", "predicateType", "predicate"}

func (f *findings) expect(d *AttestationDemand) {
	stands := map[string]*Condition{} // by path
	for i := range d.Expect {
		c := &d.Expect[i]
		if len(c.Path) > 0 && !c.Path[0].Wild && !slices.Contains(statementMembers, c.Path[0].Name) {
			f.add(d.Position, "%s leads nowhere: a statement has only %s", c.Path, strings.Join(statementMembers, ", "))
		}
		path := c.Path.String()
		if before := stands[path]; before != nil && before.excludes(c) {
			f.add(d.Position, "%s, and %s: both can never hold", before.Text, c.Text)
		}
		stands[path] = c
	}
	if len(d.Time) > 0 && !d.Time[0].Wild && !slices.Contains(statementMembers, d.Time[0].Name) {
		f.add(d.Position, "%s leads nowhere: a statement has only %s", d.Time, strings.Join(statementMembers, ", "))
	}
}

// unreachable finds globs of rules that never decide, as rules before them match all that they do.
func (f *findings) unreachable() {
	c := comparison{budget: 20_000_000}
	var before []earlier
	for i := range f.p.Images {
		rule := &f.p.Images[i]
		var covered []string
		by := ""
		for _, glob := range rule.sources {
			is, other := c.covered(before, glob)
			if is {
				covered = append(covered, glob.pattern)
			}
			if by == "" && other != nil {
				by = fmt.Sprintf("the rule %s at %s decides", other.Name, other.Position)
			}
		}
		if by == "" {
			by = "rules before it decide"
		}
		switch len(covered) {
		case 0:
		case len(rule.sources):
			f.add(rule.Position, "this rule never decides: %s about all that it matches", by)
		default:
			f.add(rule.Position, "%s never decides here: %s about all that it matches", either(covered), by)
		}
		for _, glob := range rule.sources {
			before = append(before, earlier{glob, newAutomaton(glob), rule})
		}
	}
}

// earlier is a glob of a rule that is looked at before another.
type earlier struct {
	sourceGlob

	automaton *automaton
	rule      *Rule
}

// covered tells whether globs match all that a later one does, and names the rule of one that does so alone.
func (c *comparison) covered(before []earlier, glob sourceGlob) (is bool, by *Rule) {
	own := newAutomaton(glob)
	var near []sourceGlob
	for _, other := range before {
		if glob.isNamed != other.isNamed || glob.apart(other.sourceGlob) || own == nil || other.automaton == nil {
			continue
		}
		if c.contains(other.automaton, own) {
			return true, other.rule
		}
		near = append(near, other.sourceGlob)
	}
	if len(near) < 2 || len(near) > maxUnion {
		return false, nil
	}
	union := newAutomaton(near...)
	return union != nil && c.contains(union, own), nil
}
