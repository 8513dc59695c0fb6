package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"airgap/verify/party"
	"airgap/verify/policy"
)

// decision is the verdict on one image, as it is being made.
type decision struct {
	rule     *rule
	subjects []Subject
	found    []*assessment // by subject
	reasons  []string
}

// decide returns why the image does not meet its rule; nothing where it does.
func (d *decision) decide() []string {
	for demand := range d.rule.Signatures {
		for _, place := range d.targets() {
			d.signatures(demand, place)
		}
	}
	for demand := range d.rule.Attestations {
		switch d.rule.Attestations[demand].Every {
		case policy.EveryPlatform:
			for _, place := range d.targets() {
				d.attestation(demand, place)
			}
		case policy.EveryIndex:
			d.attestation(demand, 0)
		case policy.AnyOfImage:
			d.anyAttestation(demand)
		}
	}
	return d.reasons
}

// targets returns the places of the platforms; where there are none, what there is of the image stands for it, so that
// nothing passes because it is empty.
func (d *decision) targets() (places []int) {
	for place := range d.subjects {
		if s := &d.subjects[place]; !s.IsIndex {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		return []int{0}
	}
	return places
}

func (d *decision) fail(format string, args ...any) {
	d.reasons = append(d.reasons, fmt.Sprintf(format, args...))
}

// signatures holds one platform against a demand for signatures.
func (d *decision) signatures(demand, place int) {
	asked := &d.rule.Signatures[demand]
	signers := map[string]string{}
	var there []near
	var beside []string
	for i := range d.subjects {
		t, s := &d.found[i].signatures[demand], &d.subjects[i]
		above := i != place && slices.Contains(s.Lists, place)
		switch {
		case i == place, above && asked.CoversIndex && !s.NotSigned:
			maps.Copy(signers, t.signers)
			there = append(there, t.near...)
		case len(t.signers) > 0 && above:
			beside = append(beside, "the index is signed, which counts for its platforms with \"covers: index\" only")
		case len(t.signers) > 0 && s.Original:
			beside = append(beside, fmt.Sprintf("the index %s is signed, of which the one here is a part: ask for signatures on platforms, or export all of them", short(s.Digest)))
		}
	}
	switch missing := asked.Threshold - len(signers); {
	case missing <= 0:
	case len(signers) == 0:
		d.fail("%s: no signature by %s%s", d.name(place), partyWords(&asked.Party), butThereIs(there, beside))
	default:
		d.fail("%s: signed by %d of the %d that %s asks for (%s)%s", d.name(place), len(signers), asked.Threshold, partyWords(&asked.Party),
			strings.Join(slices.Sorted(maps.Values(signers)), ", "), butThereIs(there, beside))
	}
}

// attestation holds the index or one platform against a demand for an attestation.
func (d *decision) attestation(demand, place int) {
	asked, t := &d.rule.Attestations[demand], &d.found[place].attestations[demand]
	if t.met || asked.Optional && !t.listed {
		return
	}
	var beside []string
	for i := range d.found {
		if i == place || !d.found[i].attestations[demand].met {
			continue
		}
		switch s := &d.subjects[i]; {
		case s.Original:
			beside = append(beside, fmt.Sprintf("there is one of the index %s, of which the one here is a part", short(s.Digest)))
		case s.IsIndex:
			beside = append(beside, "there is one of the index, which counts with \"every: index\" or \"every: any\" only")
		}
	}
	d.fail("%s: no %s%s", d.name(place), attestationWords(asked), butThereIs(t.near, beside))
}

// anyAttestation holds the whole image against a demand for an attestation.
func (d *decision) anyAttestation(demand int) {
	asked := &d.rule.Attestations[demand]
	var there []near
	listed := false
	for i := range d.found {
		t := &d.found[i].attestations[demand]
		if d.subjects[i].Original {
			continue
		}
		if t.met {
			return
		}
		there, listed = append(there, t.near...), listed || t.listed
	}
	if !asked.Optional || listed {
		d.fail("no %s, neither of the index nor of a platform%s", attestationWords(asked), butThereIs(there, nil))
	}
}

// name is what to call a subject in a reason.
func (d *decision) name(place int) string {
	switch s := &d.subjects[place]; {
	case s.Platform != "":
		return s.Platform
	case s.IsIndex:
		return "the index"
	case place == 0:
		return "the image"
	default:
		return short(s.Digest)
	}
}

func partyWords(p *party.Party) string {
	if p.Name == "" {
		return "anybody who is trusted for it"
	}
	return p.Name
}

func attestationWords(d *policy.AttestationDemand) string {
	words := "attestation " + strings.Join(d.Types, " or ")
	if d.Unsigned {
		return words
	}
	return words + " by " + partyWords(&d.Party)
}

// butThereIs ends a reason with what there is instead.
func butThereIs(there []near, beside []string) string {
	words := []string{""}
	if len(there) > 0 {
		words = append(words, "what there is does not count: "+nearWords(there))
	}
	slices.Sort(beside)
	return strings.Join(append(words, slices.Compact(beside)...), "; ")
}

// nearWords say what does not count, with each reason once.
func nearWords(there []near) string {
	more := ""
	if len(there) > maxNear {
		there, more = there[:maxNear], ", and more"
	}
	var reasons, words []string
	for _, n := range there {
		if !slices.Contains(reasons, n.why) {
			reasons = append(reasons, n.why)
		}
	}
	for _, why := range reasons {
		var what []string
		for _, n := range there {
			if n.why == why && !slices.Contains(what, n.what) {
				what = append(what, n.what)
			}
		}
		words = append(words, strings.Join(what, ", ")+": "+why)
	}
	return strings.Join(words, "; ") + more
}
