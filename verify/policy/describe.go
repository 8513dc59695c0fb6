package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"airgap/verify/party"
)

// Describe says in sentences who has a name, and what the policy asks for, of bundles first and then of images, rule by rule.
func (p *Policy) Describe() []string {
	var lines []string
	for _, whose := range p.signers {
		lines = append(lines, whose.Name+" is "+either(members(whose))+".")
	}
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if p.Bundle.Threshold == 0 {
		add("Whose signatures count over a bundle is not said here, but with --key.")
	} else {
		add("A bundle counts when it is signed by %s.", atLeast(p.Bundle.Threshold, &p.Bundle.Party))
		if p.Bundle.MaxAge > 0 {
			add("It may be %s old.", formatDuration(p.Bundle.MaxAge))
		}
		if a := p.Bundle.Approvals; a != nil {
			add("An import needs the approval of %s%s.", atLeast(a.Threshold, &a.Party), when(a.DistinctFromBundle, "; who signed the bundle does not count"))
		}
	}
	if !p.Judges {
		add("No image is judged.")
		return lines
	}
	for i := range p.Images {
		lines = append(lines, p.Images[i].describe()...)
	}
	if p.Unmatched == Carry {
		add("Images that no rule matches are carried, and nothing is asked of them.")
	} else {
		add("Images that no rule matches are refused.")
	}
	return lines
}

func (r *Rule) describe() []string {
	who := "Images " + strings.Join(r.Match, ", ")
	if name := strings.Join(r.Match, ", "); r.Name != name {
		who += " (" + r.Name + ")"
	}
	switch {
	case r.Deny != "":
		return []string{who + " are refused: " + r.Deny}
	case r.Carry:
		return []string{who + " are carried, and nothing is asked of them."}
	}
	lines := []string{who + ":"}
	for i := range r.Signatures {
		lines = append(lines, "  "+r.Signatures[i].describe())
	}
	for i := range r.Attestations {
		lines = append(lines, "  "+r.Attestations[i].describe())
	}
	return lines
}

func (d *SignatureDemand) describe() string {
	text := "Each platform is signed by " + atLeast(d.Threshold, &d.Party)
	if d.CoversIndex {
		text = "Each platform, or an index that lists it, is signed by " + atLeast(d.Threshold, &d.Party)
	}
	switch {
	case d.FromSource:
		text += "; the signature names the repository of the source"
	case len(d.References) > 0:
		text += "; the signature names " + either(d.References)
	}
	return text + notOlder(d.MaxAge) + "."
}

func (d *AttestationDemand) describe() string {
	where := map[Every]string{EveryPlatform: "Each platform", EveryIndex: "The index, or a single manifest,", AnyOfImage: "The index or any platform"}[d.Every]
	has := " has an attestation "
	if d.Optional {
		has = " may have an attestation "
	}
	text := where + has + either(d.Types)
	if d.Unsigned {
		text += ", which nobody has to have signed"
	} else {
		text += ", signed by " + atLeast(1, &d.Party)
	}
	var conditions []string
	for _, c := range d.Expect {
		conditions = append(conditions, c.Text)
	}
	text += when(len(conditions) > 0, ", in which "+strings.Join(conditions, " and "))
	return text + notOlder(d.MaxAge) + when(d.Optional, "; where there is one, it is good") + "."
}

func when(holds bool, text string) string {
	if holds {
		return text
	}
	return ""
}

func notOlder(age time.Duration) string {
	if age == 0 {
		return ""
	}
	return ", at most " + formatDuration(age) + " ago"
}

func either(texts []string) string {
	switch n := len(texts); {
	case n < 2:
		return strings.Join(texts, "")
	default:
		return strings.Join(texts[:n-1], ", ") + " or " + texts[n-1]
	}
}

// atLeast names a party, and how many of it are asked for. Who is named is not listed again.
func atLeast(threshold int, whose *party.Party) string {
	who := either(members(whose))
	if !whose.InPlace {
		who = strings.ReplaceAll(whose.Name, ", ", " or ")
	}
	if threshold > 1 {
		return fmt.Sprintf("%d of %s", threshold, who)
	}
	return who
}

// members says who belongs to a party.
func members(whose *party.Party) []string {
	var all []string
	for _, key := range whose.Keys {
		all = append(all, "the key "+key.Where+" ("+key.Fingerprint()+")"+scope(&key.Scope))
	}
	for _, id := range whose.Identities {
		subject, issuer := id.Subject, id.Issuer
		if id.SubjectExpression != nil {
			subject = "like " + expressionText(id.SubjectExpression)
		}
		if id.IssuerExpression != nil {
			issuer = "any issuer like " + expressionText(id.IssuerExpression)
		}
		all = append(all, subject+", as "+issuer+" says"+scope(&id.Scope))
	}
	if n := whose.Notation; n != nil {
		who := strings.Join(n.Identities, ", ")
		if slices.Contains(n.Identities, "*") {
			who = "everybody"
		}
		all = append(all, fmt.Sprintf("%s, as a Notation trust store of %d certificates says", who, len(n.Certificates)))
	}
	return all
}

func scope(s *party.Scope) string {
	text := when(len(s.Mirrors) > 0, " for the mirrors "+strings.Join(s.Mirrors, ", "))
	return text + when(len(s.Destinations) > 0, " for the destinations "+strings.Join(s.Destinations, ", "))
}
