package policy

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"airgap/bundle"
	"airgap/bundle/yaml"
	"airgap/verify/party"
)

// ErrPolicy: something in a policy is wrong. The error says what, with file, line and column.
var ErrPolicy = errors.New("the policy is wrong")

// MaxSize bounds a policy, in bytes.
const MaxSize = 1 << 20

const (
	maxRules  = 10_000
	maxInList = 1000 // items of a list: globs, keys, demands, conditions
)

// parser makes a Policy of a document.
type parser struct {
	parties

	policy *Policy
}

// Parse reads a policy of at most MaxSize bytes and the files that it names. file is its name in messages. Everything that is
// wrong is in one error, which wraps ErrPolicy.
func Parse(file string, content []byte, files Files) (*Policy, error) {
	if len(content) > MaxSize {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrPolicy, file, MaxSize)
	}
	document, err := yaml.Parse(content, yaml.Options{File: file})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	p := &parser{
		parties: parties{files: library{files, map[string][]byte{}, map[bundle.Digest]*root.TrustedRoot{}}, named: map[string]*party.Party{}, idle: map[string]yaml.Position{}},
		policy:  &Policy{Digest: bundle.DigestOf(content)},
	}
	p.Strict = true
	p.document(document)
	if err := p.Problems.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	p.policy.remarks, p.policy.Files = p.remarks, p.files.digest(content)
	return p.policy, nil
}

func (p *parser) document(root *yaml.Value) {
	var version, signers, ofBundle, images, unmatched *yaml.Value
	p.Mapping(root, "the policy", yaml.Keys{
		"version": keep(&version), "signers": keep(&signers), "bundle": keep(&ofBundle), "images": keep(&images), "unmatched": keep(&unmatched),
	})
	p.version(root, version)
	if signers != nil {
		p.signers(signers)
	}
	if ofBundle != nil {
		p.bundle(ofBundle)
	}
	if images != nil {
		p.policy.Judges = true
		p.images(images)
	}
	p.unused()
	if unmatched == nil {
		return
	}
	if images == nil {
		p.Bad(unmatched.Position, "unmatched does nothing without images")
	}
	choose(p, unmatched, &p.policy.Unmatched, map[string]Unmatched{"refuse": Refuse, "carry": Carry}, "refuse or carry")
}

func (p *parser) version(root, v *yaml.Value) {
	switch {
	case v == nil:
		p.Bad(root.Position, "the policy has no version; write version: 1")
	case v.Kind != yaml.Scalar || v.IsText || v.Text != "1":
		p.Bad(v.Position, "version is %s; this airgap knows version 1", v.Shown())
	}
}

// list returns the items of a list, or the one value that stands for a list of one.
func (p *parties) list(v *yaml.Value) []*yaml.Value {
	if v.Kind != yaml.Sequence {
		return []*yaml.Value{v}
	}
	switch n := len(v.Items); {
	case n == 0:
		p.Bad(v.Position, "an empty list says nothing; leave the key away")
	case n > maxInList:
		p.Bad(v.Position, "a list of %d; %d are allowed", n, maxInList)
		return nil
	}
	return v.Items
}

// choose reads one of several words.
func choose[T any](p *parser, v *yaml.Value, into *T, choices map[string]T, expected string) {
	var word string
	if p.Text(&word)(v); v.Kind != yaml.Scalar || !v.IsText {
		return
	}
	chosen, known := choices[word]
	if !known {
		p.Bad(v.Position, "%.60q: %s is expected", word, expected)
	}
	*into = chosen
}

// flag reads a key that is there to say yes: an explicit false would say what is so without it.
func (p *parser) flag(into *bool) func(*yaml.Value) {
	return func(v *yaml.Value) {
		var said *bool
		p.Boolean(&said)(v)
		*into = said != nil && *said
	}
}

func (p *parser) duration(into *time.Duration) func(*yaml.Value) {
	return func(v *yaml.Value) {
		var text string
		if p.Text(&text)(v); v.Kind != yaml.Scalar || !v.IsText {
			return
		}
		d, err := parseDuration(text)
		if err != nil {
			p.Bad(v.Position, "%.60q: %w", text, err)
		}
		*into = d
	}
}

// globs reads a list of globs.
func (p *parties) globs(v *yaml.Value) (globs []string, compiled []*regexp.Regexp) {
	for _, item := range p.list(v) {
		var glob string
		if p.Text(&glob)(item); item.Kind != yaml.Scalar || !item.IsText {
			continue
		}
		expression, err := Glob(glob)
		if err != nil {
			p.Bad(item.Position, "%w", err)
			continue
		}
		globs, compiled = append(globs, glob), append(compiled, expression)
	}
	return globs, compiled
}

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,63}$`)

func (p *parser) signers(v *yaml.Value) {
	if v.Kind != yaml.Mapping {
		p.Bad(v.Position, "signers is %s, but a mapping from names to parties is expected", v.Kind)
		return
	}
	for _, f := range v.Fields {
		if !namePattern.MatchString(f.Key) {
			p.Bad(f.Position, "%.80q is not a name: a letter, then letters, digits, -, _ and ., at most 64 in all", f.Key)
		}
		var w words
		known := w.with(nil)
		known["by"] = func(v *yaml.Value) { p.Bad(v.Position, "parties in signers are not made of others") }
		p.Mapping(f.Value, "a party", known)
		whose := p.party(f.Position, &w, false)
		whose.Name = f.Key
		p.named[f.Key], p.idle[f.Key] = &whose, f.Position
		p.policy.signers = append(p.policy.signers, &whose)
	}
}

// unused remarks on signers whom nothing asks for.
func (p *parser) unused() {
	for _, name := range slices.Sorted(maps.Keys(p.idle)) {
		p.remark(p.idle[name], "nothing asks for %q", name)
	}
}

func (p *parser) bundle(v *yaml.Value) {
	var w words
	var approvals *yaml.Value
	into := &p.policy.Bundle
	into.Threshold, into.position = 1, v.Position.String()
	known := w.with(yaml.Keys{
		"threshold": p.Number(&into.Threshold, 1), "maxAge": p.duration(&into.MaxAge), "approvals": keep(&approvals),
	})
	delete(known, "notation")
	p.Mapping(v, "bundle", known)
	into.Party = p.party(v.Position, &w, true)
	p.notByNotation(v, &into.Party)
	if approvals != nil {
		p.approvals(approvals)
	}
}

func (p *parser) approvals(v *yaml.Value) {
	var w words
	a := &Approvals{Threshold: 1, position: v.Position.String()}
	known := w.with(yaml.Keys{
		"threshold": p.Number(&a.Threshold, 1),
		"distinctFrom": func(v *yaml.Value) {
			choose(p, v, &a.DistinctFromBundle, map[string]bool{"bundle": true}, "bundle")
		},
	})
	delete(known, "notation")
	p.Mapping(v, "approvals", known)
	a.Party = p.party(v.Position, &w, false)
	p.notByNotation(v, &a.Party)
	p.policy.Bundle.Approvals = a
}

// notByNotation refuses who is named in signers with a trust store that would do nothing.
func (p *parser) notByNotation(v *yaml.Value, whose *party.Party) {
	if whose.Notation != nil {
		p.Bad(v.Position, "%s has a Notation trust store: bundles and approvals are not signed with Notation", whose.Name)
	}
}

func (p *parser) images(v *yaml.Value) {
	if v.Kind != yaml.Sequence && v.Kind != yaml.Mapping {
		p.Bad(v.Position, "images is %s, but a list of rules is expected", v.Kind)
		return
	}
	rules := []*yaml.Value{v}
	if v.Kind == yaml.Sequence {
		rules = v.Items
	}
	switch {
	case len(rules) == 0:
		p.Bad(v.Position, "images without a rule; write unmatched under a rule that matches nothing else, or leave images away")
	case len(rules) > maxRules:
		p.Bad(v.Position, "%d rules; %d are allowed", len(rules), maxRules)
		return
	}
	for _, rule := range rules {
		p.rule(rule)
	}
}

func (p *parser) rule(v *yaml.Value) {
	r := Rule{Position: v.Position.String()}
	var deny, carry, signatures, attestations *yaml.Value
	p.Mapping(v, "a rule", yaml.Keys{
		"match": func(v *yaml.Value) { p.match(&r, v) }, "name": p.Text(&r.Name),
		"deny": keep(&deny), "carry": keep(&carry), "signatures": keep(&signatures), "attestations": keep(&attestations),
	})
	if v.Kind != yaml.Mapping {
		return
	}
	if v.Field("match") == nil {
		p.Bad(v.Position, "a rule without match: globs of the images that it is for")
	}
	if r.Name == "" {
		r.Name = strings.Join(r.Match, ", ")
	}
	said := 0
	for _, decision := range []*yaml.Value{deny, carry} {
		if decision != nil {
			said++
		}
	}
	switch asks := signatures != nil || attestations != nil; {
	case said > 1, said == 1 && asks:
		p.Bad(v.Position, "a rule has deny, or carry, or demands, and not several of these")
	case said == 0 && !asks:
		p.Bad(v.Position, "a rule that asks for nothing: signatures, attestations, deny or carry is expected")
	}
	p.decision(&r, deny, carry)
	if signatures != nil {
		for _, item := range p.list(signatures) {
			r.Signatures = append(r.Signatures, p.signatureDemand(item))
		}
	}
	if attestations != nil {
		for _, item := range p.list(attestations) {
			r.Attestations = append(r.Attestations, p.attestationDemand(item))
		}
	}
	p.policy.Images = append(p.policy.Images, r)
}

func (p *parser) match(r *Rule, v *yaml.Value) {
	globs, compiled := p.globs(v)
	for i, glob := range globs {
		for _, doubt := range doubtSource(glob) {
			p.remark(v.Position, "%s", doubt)
		}
		r.Match, r.sources = append(r.Match, glob), append(r.sources, newSourceGlob(glob, compiled[i]))
	}
}

func (p *parser) decision(r *Rule, deny, carry *yaml.Value) {
	if deny != nil {
		if p.Text(&r.Deny)(deny); deny.Kind == yaml.Scalar && deny.IsText && strings.TrimSpace(r.Deny) == "" {
			p.Bad(deny.Position, "deny has to give a reason")
		}
	}
	if carry != nil {
		if p.flag(&r.Carry)(carry); carry.Kind == yaml.Scalar && !r.Carry {
			p.Bad(carry.Position, "carry can only be true")
		}
	}
}

func (p *parser) signatureDemand(v *yaml.Value) SignatureDemand {
	var w words
	d := SignatureDemand{Position: v.Position.String(), Threshold: 1}
	p.Mapping(v, "a demand for signatures", w.with(yaml.Keys{
		"covers": func(v *yaml.Value) {
			choose(p, v, &d.CoversIndex, map[string]bool{"platform": false, "index": true}, "platform or index")
		},
		"threshold": p.Number(&d.Threshold, 1), "maxAge": p.duration(&d.MaxAge),
		"reference": func(v *yaml.Value) { p.reference(v, &d) },
	}))
	if v.Kind == yaml.Mapping {
		d.Party = p.party(v.Position, &w, false)
	}
	return d
}

func (p *parser) reference(v *yaml.Value, d *SignatureDemand) {
	for _, item := range p.list(v) {
		if item.IsText && item.Text == "source" {
			d.FromSource = true
		}
	}
	switch {
	case !d.FromSource:
		d.References, _ = p.globs(v)
	case len(p.list(v)) > 1:
		p.Bad(v.Position, "reference is source, or globs, and not both")
	}
}

func (p *parser) attestationDemand(v *yaml.Value) AttestationDemand {
	var w words
	d := AttestationDemand{Position: v.Position.String()}
	p.Mapping(v, "a demand for an attestation", w.with(yaml.Keys{
		"type": func(v *yaml.Value) { d.Types, _ = p.globs(v) }, "unsigned": p.flag(&d.Unsigned),
		"every": func(v *yaml.Value) {
			choose(p, v, &d.Every, map[string]Every{"platform": EveryPlatform, "index": EveryIndex, "any": AnyOfImage}, "platform, index or any")
		},
		"optional": p.flag(&d.Optional), "maxAge": p.duration(&d.MaxAge),
		"time": func(v *yaml.Value) { d.Time = p.path(v) },
		"expect": func(v *yaml.Value) {
			for _, item := range p.list(v) {
				d.Expect = append(d.Expect, p.condition(item))
			}
		},
	}))
	if v.Kind != yaml.Mapping {
		return d
	}
	if v.Field("type") == nil {
		p.Bad(v.Position, "a demand for an attestation without its type")
	}
	switch {
	case d.Unsigned && w.said():
		p.Bad(v.Position, "unsigned: true means that nobody has to have signed it: leave away either this or the party")
	case !d.Unsigned:
		d.Party = p.party(v.Position, &w, false)
	}
	return d
}

func (p *parser) path(v *yaml.Value) Path {
	var text string
	if p.Text(&text)(v); v.Kind != yaml.Scalar || !v.IsText {
		return nil
	}
	path, err := parsePath(text)
	if err != nil {
		p.Bad(v.Position, "%w", err)
	}
	return path
}

func (p *parser) condition(v *yaml.Value) Condition {
	var c Condition
	tests := 0
	is := func(read func(*yaml.Value)) func(*yaml.Value) {
		return func(v *yaml.Value) { tests++; read(v) }
	}
	p.Mapping(v, "a condition", yaml.Keys{
		"path": func(v *yaml.Value) { c.Path = p.path(v) },
		"decode": func(v *yaml.Value) {
			choose(p, v, &c.decode, map[string]bool{"base64": true}, "base64")
		},
		"is":      is(func(v *yaml.Value) { p.isOneOf(&c, []*yaml.Value{v}, "is ") }),
		"in":      is(func(v *yaml.Value) { p.isOneOf(&c, p.list(v), "is one of ") }),
		"matches": is(func(v *yaml.Value) { p.matches(&c, v) }),
		"atMost":  is(func(v *yaml.Value) { p.limit(&c, v, "is at most ", 1) }),
		"atLeast": is(func(v *yaml.Value) { p.limit(&c, v, "is at least ", -1) }),
		"exists":  is(func(v *yaml.Value) { p.exists(&c, v) }),
	})
	if v.Kind != yaml.Mapping {
		return c
	}
	if v.Field("path") == nil {
		p.Bad(v.Position, "a condition without a path")
	}
	if tests != 1 {
		p.Bad(v.Position, "a condition has one of is, in, matches, atMost, atLeast and exists")
	}
	if exists := v.Field("exists"); exists != nil && c.decode {
		p.Bad(exists.Position, "what is only there has nothing to decode")
	}
	c.Text = c.Path.String() + when(c.decode, ", decoded,") + " " + c.Text
	return c
}

// isOneOf reads values with which those in a statement are compared.
func (p *parser) isOneOf(c *Condition, values []*yaml.Value, word string) {
	var texts []string
	for _, v := range values {
		value, err := literal(v)
		if err != nil {
			p.Bad(v.Position, "%s: %w", v.Shown(), err)
			continue
		}
		c.wanted = append(c.wanted, value)
		if v.IsText {
			texts = append(texts, fmt.Sprintf("%.100q", v.Text))
		} else {
			texts = append(texts, v.Text)
		}
	}
	c.Text = word + strings.Join(texts, ", ")
	wanted := c.wanted
	c.holds = func(value any) bool {
		return slices.ContainsFunc(wanted, func(one any) bool { return equal(value, one) })
	}
}

// literal returns a text, a *big.Rat, a bool or nil.
func literal(v *yaml.Value) (any, error) {
	switch {
	case v.Kind == yaml.Null && v.Text == "null":
		return nil, nil
	case v.Kind != yaml.Scalar:
		return nil, errors.New("a text, a number, true, false or null is expected")
	case v.IsText:
		return v.Text, nil
	case v.Text == "true", v.Text == "false":
		return v.Text == "true", nil
	}
	n, err := parseNumber(v.Text)
	if err != nil {
		return nil, fmt.Errorf("%w; put it into quotes if it is a text", err)
	}
	return n, nil
}

func (p *parser) matches(c *Condition, v *yaml.Value) {
	globs, compiled := p.globs(v)
	c.Text = fmt.Sprintf("matches %.300q", either(globs))
	c.holds = func(value any) bool {
		text, isText := value.(string)
		return isText && slices.ContainsFunc(compiled, func(glob *regexp.Regexp) bool { return glob.MatchString(text) })
	}
}

// limit reads a number; sign is that of the comparison with it that does not hold.
func (p *parser) limit(c *Condition, v *yaml.Value, word string, sign int) {
	value, err := literal(v)
	limit, isNumber := value.(*big.Rat)
	if err != nil || !isNumber {
		p.Bad(v.Position, "%s: a number is expected", v.Shown())
		return
	}
	c.Text = word + v.Text
	c.holds = func(value any) bool {
		n := number(value)
		return n != nil && n.Cmp(limit) != sign
	}
}

func (p *parser) exists(c *Condition, v *yaml.Value) {
	var there *bool
	if p.Boolean(&there)(v); there == nil {
		return
	}
	c.empty = !*there
	c.Text = map[bool]string{true: "is there", false: "is not there"}[*there]
}
