package learn

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"airgap/verify/policy"
	"airgap/verify/proof"
)

// demands are the lines of a rule that an image meets.
type demands struct {
	signatures, attestations []string
}

// targets returns the places of what platform demands are about: the platforms, or else the image itself.
func (i *image) targets() (places []int) {
	for place := range i.subjects {
		if s := &i.subjects[place]; !s.IsIndex {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		return []int{0}
	}
	return places
}

// demands returns the strictest demands that the image meets.
func (i *image) demands(signers []*signer) demands {
	var d demands
	for _, by := range signers {
		if demand := i.signatureDemand(by); demand != "" {
			d.signatures = append(d.signatures, demand)
		}
	}
	types := map[string]bool{}
	for _, s := range i.subjects {
		for _, f := range s.facts {
			if f.kind == proof.Attestation && isExact(f.predicateType) {
				types[f.predicateType] = true
			}
		}
	}
	for _, predicateType := range slices.Sorted(maps.Keys(types)) {
		for _, by := range append(slices.Clone(signers), nil) {
			d.attestations = append(d.attestations, i.attestationDemands(predicateType, by)...)
		}
	}
	return d
}

// isExact tells whether a predicate type can stand in a policy and means itself alone.
func isExact(predicateType string) bool {
	glob, err := policy.Glob(predicateType)
	return err == nil && !strings.ContainsAny(predicateType, "*?{}") && glob.MatchString(predicateType)
}

// of returns the facts of a kind by somebody.
func (s *subject) of(kind proof.Kind, predicateType string, by *signer) (facts []fact) {
	for _, f := range s.facts {
		if f.kind == kind && f.predicateType == predicateType && f.by == by {
			facts = append(facts, f)
		}
	}
	return facts
}

// signatureDemand returns "" where not all of the image is signed by somebody.
func (i *image) signatureDemand(by *signer) string {
	var all []fact
	coversIndex := false
	for _, place := range i.targets() {
		facts := i.subjects[place].of(proof.Signature, "", by)
		if len(facts) == 0 {
			coversIndex = true
			for at := range i.subjects {
				if s := &i.subjects[at]; s.IsIndex && !s.NotSigned && !s.Original && slices.Contains(s.Lists, place) {
					facts = append(facts, s.of(proof.Signature, "", by)...)
				}
			}
		}
		if len(facts) == 0 {
			return ""
		}
		all = append(all, facts...)
	}
	words := []string{"by: " + by.name}
	if coversIndex {
		words = append(words, "covers: index")
	}
	repository := repositoryOf(i.source)
	if !slices.ContainsFunc(all, func(f fact) bool { return f.reference != repository }) {
		words = append(words, "reference: source")
	}
	return "{" + strings.Join(words, ", ") + "}"
}

// attestationDemands asks for attestations of a type by somebody, or of nobody, wherever they are.
func (i *image) attestationDemands(predicateType string, by *signer) []string {
	var all []fact
	onAll := true
	for place := range i.subjects {
		all = append(all, i.subjects[place].of(proof.Attestation, predicateType, by)...)
	}
	for _, place := range i.targets() {
		onAll = onAll && len(i.subjects[place].of(proof.Attestation, predicateType, by)) > 0
	}
	if len(all) == 0 {
		return nil
	}
	words := "type: " + quoted(predicateType) + ", unsigned: true"
	if by != nil {
		words = "type: " + quoted(predicateType) + ", by: " + by.name
	}
	var lines []string
	if onAll {
		lines = append(lines, "{"+words+expect(all)+"}")
	}
	if s := &i.subjects[0]; s.IsIndex && len(s.of(proof.Attestation, predicateType, by)) > 0 {
		lines = append(lines, "{"+words+", every: index"+expect(all)+"}")
	}
	if len(lines) == 0 {
		lines = append(lines, "{"+words+", every: any"+expect(all)+"}")
	}
	return lines
}

// expect holds on to what all of the attestations say alike.
func expect(all []fact) string {
	var conditions []string
	for _, names := range learntPaths {
		path := "$.predicate." + strings.Join(names, ".")
		value, has := all[0].says[path]
		if has && !slices.ContainsFunc(all, func(f fact) bool { return f.says[path] != value }) {
			conditions = append(conditions, fmt.Sprintf("{path: %s, is: %s}", path, quoted(value)))
		}
	}
	if len(conditions) == 0 {
		return ""
	}
	return ", expect: [" + strings.Join(conditions, ", ") + "]"
}

// repositoryOf returns a source without its tag and digest.
func repositoryOf(source string) string {
	name, _, _ := strings.Cut(source, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}
