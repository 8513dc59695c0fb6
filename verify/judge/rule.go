package judge

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"airgap/verify/party"
	"airgap/verify/policy"
)

// rule is a rule of the policy, made ready: each of its parties once, so that no signature is verified twice for the same one.
type rule struct {
	*policy.Rule
	parties    []*party.Party
	signers    []int              // by demand for signatures: place in parties
	attesters  []int              // by demand for attestations
	references [][]*regexp.Regexp // by demand for signatures
	types      [][]*regexp.Regexp // by demand for attestations
	fromSource bool               // some demand compares the source
}

func newRule(p *policy.Rule) (*rule, error) {
	r := &rule{Rule: p}
	for i := range p.Signatures {
		d := &p.Signatures[i]
		references, err := globs(d.References)
		if err != nil {
			return nil, err
		}
		r.signers, r.references = append(r.signers, r.place(&d.Party)), append(r.references, references)
		r.fromSource = r.fromSource || d.FromSource
	}
	for i := range p.Attestations {
		d := &p.Attestations[i]
		types, err := globs(d.Types)
		if err != nil {
			return nil, err
		}
		attester := -1
		if !d.Unsigned {
			attester = r.place(&d.Party)
		}
		r.attesters, r.types = append(r.attesters, attester), append(r.types, types)
	}
	return r, nil
}

func (r *rule) place(p *party.Party) int {
	at := slices.IndexFunc(r.parties, func(known *party.Party) bool { return reflect.DeepEqual(known, p) })
	if at < 0 {
		at, r.parties = len(r.parties), append(r.parties, p)
	}
	return at
}

// asksFor tells whether a demand for attestations is about a predicate type.
func (r *rule) asksFor(demand int, predicateType string) bool {
	return matchesAny(r.types[demand], predicateType)
}

func globs(patterns []string) (all []*regexp.Regexp, err error) {
	for _, pattern := range patterns {
		glob, err := policy.Glob(pattern)
		if err != nil {
			return nil, err
		}
		all = append(all, glob)
	}
	return all, nil
}

func matchesAny(globs []*regexp.Regexp, text string) bool {
	return slices.ContainsFunc(globs, func(glob *regexp.Regexp) bool { return glob.MatchString(text) })
}

// isRepository tells whether a signed docker-reference names the repository of a source, which may have a tag and a digest.
// Docker Hub has several names.
func isRepository(reference, source string) bool {
	return reference != "" && repositoryOf(reference) == repositoryOf(source)
}

func repositoryOf(reference string) string {
	repository, _, _ := strings.Cut(reference, "@")
	if colon := strings.LastIndexByte(repository, ':'); colon > strings.LastIndexByte(repository, '/') {
		repository = repository[:colon]
	}
	host, path, found := strings.Cut(repository, "/")
	if !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, path = "docker.io", repository
	}
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return host + "/" + path
}
