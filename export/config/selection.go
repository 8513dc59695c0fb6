package config

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/bundle/yaml"
)

// rules are allow and deny expressions for names of repositories.
type rules struct {
	allow, deny []expression
}

// tagSet selects tags: first by version, then by allow, then by deny.
type tagSet struct {
	rules

	ranges     []versionRange
	rangeTexts []string
	said       bool // there is anything in it, be it an empty range, which selects everything
}

// expression is a regular expression that a whole name must match.
type expression struct {
	text string
	re   *regexp.Regexp
}

// compileExpression anchors an expression as regsync does, without a group: of "a|b" the a is anchored at the beginning
// alone and the b at the end alone.
func compileExpression(text string) (expression, error) {
	re, err := regexp.Compile("^" + text + "$")
	return expression{text, re}, err
}

// hasOpenAlternative tells whether an expression has a | outside of any group.
func hasOpenAlternative(text string) bool {
	parsed, err := syntax.Parse(`\A`+text+`\z`, syntax.Perl)
	return err == nil && parsed.Op == syntax.OpAlternate
}

// excludedBy returns the rule that leaves a name out; "" where it is selected.
func (r *rules) excludedBy(name string) string {
	if len(r.allow) > 0 && matching(r.allow, name) == "" {
		return "allow " + list(r.allow)
	}
	if deny := matching(r.deny, name); deny != "" {
		return "deny " + deny
	}
	return ""
}

func matching(expressions []expression, name string) string {
	for _, e := range expressions {
		if e.re.MatchString(name) {
			return e.text
		}
	}
	return ""
}

func list(expressions []expression) string {
	var texts []string
	for _, e := range expressions {
		texts = append(texts, e.text)
	}
	return strings.Join(texts, ", ")
}

func (s *tagSet) excludedBy(tag string) string {
	if len(s.ranges) > 0 && !s.inRange(tag) {
		return "semverRange " + strings.Join(s.rangeTexts, ", ")
	}
	return s.rules.excludedBy(tag)
}

func (s *tagSet) inRange(tag string) bool {
	v, err := parseVersion(tag)
	if err != nil {
		return false
	}
	for _, r := range s.ranges {
		if r.holds(v) {
			return true
		}
	}
	return false
}

// Excluded is a tag that is not selected, and the rule that says so.
type Excluded struct{ Tag, Rule string }

// isDigestTag tells whether a tag belongs to another manifest: a list of referrers, or what cosign keeps. Such tags are
// never selected: they come from the walk.
func isDigestTag(tag string) bool {
	if i := strings.LastIndexByte(tag, '.'); i >= 0 && slices.Contains(bundle.CosignSuffixes, tag[i:]) {
		tag = tag[:i]
	}
	return bundle.IsFallbackTag(tag)
}

// SelectTags returns the tags of an entry in their order, and those that a rule leaves out.
func (e *Entry) SelectTags(tags []string) (selected []string, excluded []Excluded) {
	for _, tag := range tags {
		if isDigestTag(tag) {
			continue
		}
		if rule := e.excludedBy(tag); rule != "" {
			excluded = append(excluded, Excluded{tag, rule})
		} else {
			selected = append(selected, tag)
		}
	}
	return selected, excluded
}

func (e *Entry) excludedBy(tag string) string {
	var rules []string
	for i := range e.tagSets {
		rule := e.tagSets[i].excludedBy(tag)
		if rule == "" {
			return ""
		}
		rules = append(rules, rule)
	}
	return strings.Join(rules, "; ")
}

// SelectRepository returns the rule that leaves a repository out; "" where it is selected.
func (e *Entry) SelectRepository(path string) (rule string) { return e.repos.excludedBy(path) }

// rules reads allow and deny.
func (d *decoder) rules(r *rules) yaml.Keys {
	return yaml.Keys{
		"allow": func(v *yaml.Value) { r.allow = d.expressions(v) },
		"deny":  func(v *yaml.Value) { r.deny = d.expressions(v) },
	}
}

func (d *decoder) expressions(v *yaml.Value) []expression {
	var all []expression
	for _, item := range d.Items(v) {
		var text string
		d.Text(&text)(item)
		e, err := compileExpression(text)
		if err != nil {
			d.Bad(item.Position, "%.100q is not a regular expression: %s", text, err)
			continue
		}
		if hasOpenAlternative(text) {
			d.note(item.Position, "%.100q means, as in regsync, %q: write (...|...) for names that match one of them as a whole", text, e.re)
		}
		all = append(all, e)
	}
	return all
}

func (d *decoder) tagSet(v *yaml.Value, what string) tagSet {
	var s tagSet
	known := d.rules(&s.rules)
	known["semverRange"] = func(v *yaml.Value) {
		for _, item := range d.Items(v) {
			var text string
			d.Text(&text)(item)
			if text == "" {
				continue // as in regsync
			}
			r, err := parseRange(text)
			if err != nil {
				d.Bad(item.Position, "%.100q is not a range of versions, such as \">=1.2 <2\": %s", text, err)
				continue
			}
			s.ranges, s.rangeTexts = append(s.ranges, r), append(s.rangeTexts, text)
		}
	}
	d.Mapping(v, what, known)
	for _, key := range []string{"allow", "deny", "semverRange"} {
		list := v.Field(key)
		s.said = s.said || list != nil && len(list.Items) > 0
	}
	return s
}

// String describes the set for a person.
func (s *tagSet) String() string {
	var parts []string
	if len(s.rangeTexts) > 0 {
		parts = append(parts, "semverRange "+strings.Join(s.rangeTexts, ", "))
	}
	if rules := s.rules.String(); rules != "" {
		parts = append(parts, rules)
	}
	return strings.Join(parts, "; ")
}

// String describes the rules for a person; "" where there are none.
func (r *rules) String() string {
	var parts []string
	if len(r.allow) > 0 {
		parts = append(parts, "allow "+list(r.allow))
	}
	if len(r.deny) > 0 {
		parts = append(parts, fmt.Sprintf("deny %s", list(r.deny)))
	}
	return strings.Join(parts, "; ")
}
