package policy

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/bundle/yaml"
	"airgap/verify/party"
	"airgap/verify/proof/notation"
)

const (
	maxExpression  = 500  // bytes
	maxExpressions = 1000 // in a policy
)

// parties reads who is named in a policy.
type parties struct {
	yaml.Decoder

	files       library
	named       map[string]*party.Party  // signers
	idle        map[string]yaml.Position // signers whom nothing has asked for so far
	remarks     []remark
	keys        int // keys and certificates so far
	expressions int // so far
}

// words are the values of the keys with which a party is written.
type words struct {
	by, keys, identities, trustedRoot, notation, revoked *yaml.Value
}

// keep is for values that are read when all of them are known.
func keep(into **yaml.Value) func(*yaml.Value) {
	return func(v *yaml.Value) { *into = v }
}

// with adds the keys of a party to those of what asks for one.
func (w *words) with(known yaml.Keys) yaml.Keys {
	all := yaml.Keys{
		"by": keep(&w.by), "keys": keep(&w.keys), "identities": keep(&w.identities), "trustedRoot": keep(&w.trustedRoot),
		"notation": keep(&w.notation), "revoked": keep(&w.revoked),
	}
	maps.Copy(all, known)
	return all
}

// said tells whether any of the words is there.
func (w *words) said() bool { return *w != words{} }

// party reads the party that is written at a place. isScoped: its keys and identities may be limited to mirrors and
// destinations.
func (p *parties) party(at yaml.Position, w *words, isScoped bool) party.Party {
	whose := party.Party{Name: at.String(), Revoked: map[bundle.Digest]bool{}}
	if w.keys != nil {
		for _, item := range p.list(w.keys) {
			p.partyKeys(&whose, item, isScoped)
		}
	}
	p.repeated(w.keys, whose.Keys)
	if w.identities != nil {
		for _, item := range p.list(w.identities) {
			whose.Identities = append(whose.Identities, p.identity(item, isScoped))
		}
	}
	if w.trustedRoot != nil {
		whose.Root = p.trustedRoot(w.trustedRoot)
	}
	switch {
	case w.identities != nil && w.trustedRoot == nil:
		p.Bad(w.identities.Position, "identities need a trustedRoot: the trusted_root.json that says who vouches for them")
	case w.identities == nil && w.trustedRoot != nil:
		p.Bad(w.trustedRoot.Position, "trustedRoot does nothing without identities")
	}
	if whose.Root != nil && len(whose.Root.RekorLogs())+len(whose.Root.TimestampingAuthorities()) == 0 {
		p.remark(w.trustedRoot.Position, "there is no transparency log and no timestamp authority in it, so that nothing shows when identities signed, and none counts")
	}
	if w.notation != nil {
		whose.Notation = p.notation(w.notation)
	}
	if w.revoked != nil {
		for _, item := range p.list(w.revoked) {
			p.revoked(whose.Revoked, item)
		}
	}
	onlyBy := w.keys == nil && w.identities == nil && w.notation == nil
	if w.by != nil {
		p.by(&whose, w.by, onlyBy)
	}
	if whose.InPlace = !onlyBy; w.by == nil && w.identities == nil && w.notation == nil && fromFiles(whose.Keys, at) {
		whose.Name = filesOf(whose.Keys)
	}
	if w.keys == nil && w.identities == nil && w.notation == nil && w.by == nil {
		p.Bad(at, "nobody is named here whose signatures count: by, keys, identities or notation is expected")
	}
	return whose
}

// fromFiles tells whether keys come from files, and do not stand in the policy itself.
func fromFiles(keys []party.Key, at yaml.Position) bool {
	return len(keys) > 0 && !slices.ContainsFunc(keys, func(k party.Key) bool { return strings.HasPrefix(k.Where, at.File+":") })
}

// filesShown bounds how many files stand for a party that has no name.
const filesShown = 3

// filesOf names keys by the files that they are from.
func filesOf(keys []party.Key) string {
	var files []string
	for _, key := range keys {
		if !slices.Contains(files, key.Where) {
			files = append(files, key.Where)
		}
	}
	name := strings.Join(files[:min(len(files), filesShown)], ", ")
	if more := len(files) - filesShown; more > 0 {
		name += fmt.Sprintf(" and %d more", more)
	}
	return name
}

// repeated remarks on keys that are there twice.
func (p *parties) repeated(at *yaml.Value, keys []party.Key) {
	where := map[bundle.Digest]string{}
	for _, key := range keys {
		if before := where[key.Digest()]; before != "" {
			p.remark(at.Position, "%s has the same key as %s; it counts once", key.Where, before)
		}
		where[key.Digest()] = key.Where
	}
}

// by adds the parties that are named. isAll: there is nobody else, so that theirs is the name of the party.
func (p *parties) by(whose *party.Party, v *yaml.Value, isAll bool) {
	var names []string
	for _, item := range p.list(v) {
		var name string
		if p.Text(&name)(item); name == "" {
			continue
		}
		named := p.named[name]
		if named == nil {
			p.Bad(item.Position, "there is no %.80q in signers", name)
			continue
		}
		delete(p.idle, name)
		names = append(names, name)
		if err := join(whose, named); err != nil {
			p.Bad(item.Position, "%.80q %w", name, err)
		}
	}
	if isAll && len(names) > 0 {
		whose.Name = strings.Join(names, ", ")
	}
}

// join makes somebody of whose of everybody of other. An identity counts only by the root that it was named with, so that parties
// with several roots cannot be one.
func join(whose, other *party.Party) error {
	switch {
	case whose.Root != nil && other.Root != nil && whose.Root != other.Root:
		return errors.New("has another trustedRoot than who is named with it; ask for each in a demand of its own")
	case whose.Notation != nil && other.Notation != nil && whose.Notation != other.Notation:
		return errors.New("has another Notation trust store than who is named with it; ask for each in a demand of its own")
	}
	whose.Keys = append(slices.Clip(whose.Keys), other.Keys...)
	whose.Identities = append(slices.Clip(whose.Identities), other.Identities...)
	if other.Root != nil {
		whose.Root = other.Root
	}
	if other.Notation != nil {
		whose.Notation = other.Notation
	}
	maps.Copy(whose.Revoked, other.Revoked)
	return nil
}

// partyKeys reads an item of keys: a text, or a mapping that limits what it counts for.
func (p *parties) partyKeys(whose *party.Party, v *yaml.Value, isScoped bool) {
	var scope party.Scope
	source := v
	if v.Kind == yaml.Mapping {
		if source = p.scopedKey(v, &scope, isScoped); source == nil {
			return
		}
	}
	for _, c := range p.contents(source, keySuffixes) {
		for _, key := range p.publicKeys(c) {
			whose.Keys = append(whose.Keys, party.Key{PublicKey: key, Where: c.where, Scope: scope})
		}
	}
}

func (p *parties) scopedKey(v *yaml.Value, scope *party.Scope, isScoped bool) *yaml.Value {
	known := yaml.Keys{}
	var sources []*yaml.Value
	for _, key := range []string{"file", "directory", "pem"} {
		known[key] = func(v *yaml.Value) { sources = append(sources, v) }
	}
	p.scope(known, scope, isScoped)
	p.Mapping(v, "a key", known)
	if len(sources) != 1 {
		p.Bad(v.Position, "a key is one of file, directory and pem")
		return nil
	}
	return sources[0]
}

// scope adds the keys that limit what something counts for, or that say where such limits belong.
func (p *parties) scope(known yaml.Keys, scope *party.Scope, isScoped bool) {
	known["mirrors"] = func(v *yaml.Value) {
		for _, item := range p.list(v) {
			var mirror string
			if p.Text(&mirror)(item); mirror == "" {
				continue
			}
			if err := bundle.CheckMirror(mirror); err != nil {
				p.Bad(item.Position, "%w", err)
			}
			scope.Mirrors = append(scope.Mirrors, mirror)
		}
	}
	known["destinations"] = func(v *yaml.Value) { scope.Destinations, _ = p.globs(v) }
	if !isScoped {
		misplaced := func(v *yaml.Value) {
			p.Bad(v.Position, "mirrors and destinations limit whose signatures count over a bundle, and stand with the keys and identities of bundle alone")
		}
		known["mirrors"], known["destinations"] = misplaced, misplaced
	}
}

// identity reads an item of identities.
func (p *parties) identity(v *yaml.Value, isScoped bool) party.Identity {
	var id party.Identity
	known := yaml.Keys{
		"issuer":            func(v *yaml.Value) { p.literal(v, &id.Issuer) },
		"subject":           func(v *yaml.Value) { p.literal(v, &id.Subject) },
		"issuerExpression":  func(v *yaml.Value) { id.IssuerExpression = p.expression(v) },
		"subjectExpression": func(v *yaml.Value) { id.SubjectExpression = p.expression(v) },
	}
	p.scope(known, &id.Scope, isScoped)
	p.Mapping(v, "an identity", known)
	if v.Kind != yaml.Mapping {
		return id
	}
	for _, key := range []string{"issuer", "subject"} {
		text, expression := v.Field(key), v.Field(key+"Expression")
		switch {
		case text == nil && expression == nil:
			p.Bad(v.Position, "an identity without %s or %sExpression", key, key)
		case text != nil && expression != nil:
			p.Bad(expression.Position, "an identity has %s or %sExpression, and not both", key, key)
		case text != nil && text.Kind == yaml.Scalar && text.Text == "":
			p.Bad(text.Position, "an empty %s", key)
		}
	}
	return id
}

// literal reads what has to be equal.
func (p *parties) literal(v *yaml.Value, into *string) {
	if p.Text(into)(v); strings.Contains(*into, "*") {
		p.remark(v.Position, "%.100q is compared as it stands, and no * in it stands for anything else; write an Expression", *into)
	}
}

// expression reads a regular expression for a whole text.
func (p *parties) expression(v *yaml.Value) *regexp.Regexp {
	var text string
	if p.Text(&text)(v); v.Kind != yaml.Scalar {
		return nil
	}
	if p.expressions++; len(text) > maxExpression || p.expressions > maxExpressions {
		p.Bad(v.Position, "an expression of more than %d bytes, or more than %d of them", maxExpression, maxExpressions)
		return nil
	}
	if _, err := regexp.Compile(text); err != nil || text == "" { // by itself: a parenthesis too many would end the group below
		p.Bad(v.Position, "%.100q is not a regular expression (RE2): %v", text, err)
		return nil
	}
	compiled, err := regexp.Compile(wholeBegin + text + wholeEnd)
	if err != nil {
		p.Bad(v.Position, "%.100q is not a regular expression (RE2): %w", text, err)
	}
	for _, doubt := range doubtExpression(text) {
		p.remark(v.Position, "%s", doubt)
	}
	return compiled
}

// What makes an expression one for a whole text.
const wholeBegin, wholeEnd = `\A(?:`, `)\z`

// expressionText returns an expression as it is written in the policy.
func expressionText(e *regexp.Regexp) string {
	return strings.TrimSuffix(strings.TrimPrefix(e.String(), wholeBegin), wholeEnd)
}

// notation reads a trust store.
func (p *parties) notation(v *yaml.Value) *party.Notation {
	var n party.Notation
	p.Mapping(v, "notation", yaml.Keys{
		"certificates": func(v *yaml.Value) {
			for _, item := range p.list(v) {
				for _, c := range p.contents(item, certificateSuffixes) {
					n.Certificates = append(n.Certificates, p.certificates(c)...)
				}
			}
		},
		"timestamps": func(v *yaml.Value) {
			for _, item := range p.list(v) {
				for _, c := range p.contents(item, certificateSuffixes) {
					n.Timestamps = append(n.Timestamps, p.certificates(c)...)
				}
			}
		},
		"identities": func(v *yaml.Value) {
			n.Identities = p.notationIdentities(v)
		},
	})
	if v.Kind == yaml.Mapping {
		for _, key := range []string{"certificates", "identities"} {
			if v.Field(key) == nil {
				p.Bad(v.Position, "notation without %s", key)
			}
		}
	}
	return &n
}

const notationSubject = "x509.subject"

// notationIdentities reads "x509.subject: C=..., ST=..., O=...", which without quotes is a mapping in YAML, or *.
func (p *parties) notationIdentities(v *yaml.Value) []string {
	var all []string
	areGood := true
	for _, item := range p.list(v) {
		var text string
		if item.Kind == yaml.Mapping {
			p.Mapping(item, "an identity of notation", yaml.Keys{notationSubject: p.Text(&text)})
			text = notationSubject + ": " + text
		} else {
			p.Text(&text)(item)
		}
		if err := notation.CheckIdentities([]string{text}); err != nil && item.Kind != yaml.Null {
			p.Bad(item.Position, "%w", err)
			areGood = false
		}
		all = append(all, text)
	}
	if err := notation.CheckIdentities(all); err != nil && areGood && len(all) > 0 {
		p.Bad(v.Position, "%w", err)
	}
	return all
}

// revoked reads an item of revoked.
func (p *parties) revoked(into map[bundle.Digest]bool, v *yaml.Value) {
	if strings.HasPrefix(v.Text, "sha256:") {
		digest, err := bundle.ParseDigest(v.Text)
		if err != nil {
			p.Bad(v.Position, "%w", err)
		}
		into[digest] = true
		return
	}
	for _, c := range p.contents(v, append(slices.Clip(keySuffixes), certificateSuffixes[1:]...)) {
		for _, fingerprint := range p.fingerprints(c) {
			into[fingerprint] = true
		}
	}
}

// fingerprints reads keys, and certificates whose keys need not be of a kind that could ever count.
func (p *parties) fingerprints(c content) []bundle.Digest {
	var all []bundle.Digest
	if strings.Contains(string(c.bytes), "-----BEGIN PUBLIC KEY") {
		for _, key := range p.publicKeys(c) {
			all = append(all, key.Digest())
		}
		return all
	}
	for _, certificate := range p.certificates(c) {
		all = append(all, bundle.DigestOf(certificate.RawSubjectPublicKeyInfo))
	}
	return all
}
