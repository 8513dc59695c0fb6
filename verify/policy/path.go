package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	maxPath   = 1000   // bytes
	maxSteps  = 64     // of a path
	maxValues = 10_000 // that a path leads to, and that are on the way there
)

var errTooMany = fmt.Errorf("leads to more than %d values", maxValues)

// parsePath reads a part of JSONPath (RFC 9535): its name, index and wildcard selectors, one for each step. The whole has
// filters and descents, with which a path over a statement of some MiB takes as long as its author likes; this
// part does what policies need, in one pass whose width is bounded.
func parsePath(text string) (Path, error) {
	if len(text) > maxPath {
		return nil, fmt.Errorf("a path of more than %d bytes", maxPath)
	}
	rest, isPath := strings.CutPrefix(text, "$")
	if !isPath {
		return nil, fmt.Errorf("the path %.100q does not begin with $", text)
	}
	path := Path{}
	for rest != "" {
		step, after, err := parseStep(rest)
		if err != nil {
			return nil, fmt.Errorf("the path %.100q: %w", text, err)
		}
		if path = append(path, step); len(path) > maxSteps {
			return nil, fmt.Errorf("a path of more than %d steps", maxSteps)
		}
		rest = after
	}
	return path, nil
}

func parseStep(s string) (step Step, rest string, err error) {
	switch {
	case strings.HasPrefix(s, ".."):
		return Step{}, "", errors.New(".. is not in the part of JSONPath that is understood")
	case strings.HasPrefix(s, ".*"):
		return Step{Wild: true}, s[2:], nil
	case strings.HasPrefix(s, "[*]"):
		return Step{Wild: true}, s[3:], nil
	case strings.HasPrefix(s, "['"):
		return parseQuoted(s[2:])
	case strings.HasPrefix(s, "["):
		digits, rest, isClosed := strings.Cut(s[1:], "]")
		index, err := strconv.ParseUint(digits, 10, 31)
		if !isClosed || err != nil || digits[0] == '0' && len(digits) > 1 || digits[0] == '+' {
			return Step{}, "", fmt.Errorf("['name'], [0] or [*] is expected at %.40q", s)
		}
		return Step{Index: int(index)}, rest, nil
	case strings.HasPrefix(s, "."):
		n := 1
		for n < len(s) && isNameByte(s[n], n == 1) {
			n++
		}
		if n == 1 {
			return Step{}, "", fmt.Errorf("a name is expected at %.40q; names with other characters than letters, digits and _ are written ['name']", s)
		}
		return Step{Name: s[1:n]}, s[n:], nil
	}
	return Step{}, "", fmt.Errorf(".name, ['name'], [0], [*] or .* is expected at %.40q", s)
}

// isNameByte tells whether c may be in a name after a dot (RFC 9535, section 2.5.1.1).
func isNameByte(c byte, isFirst bool) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80 || !isFirst && c >= '0' && c <= '9'
}

// parseQuoted reads a name in single quotes, in which \' and \\ stand for themselves.
func parseQuoted(s string) (step Step, rest string, err error) {
	var name strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && (s[i+1] == '\'' || s[i+1] == '\\'):
			i++
			name.WriteByte(s[i])
		case c == '\\':
			return Step{}, "", fmt.Errorf(`only \' and \\ may stand after a backslash, at %.40q`, s[i:])
		case c == '\'' && strings.HasPrefix(s[i:], "']") && name.Len() > 0:
			return Step{Name: name.String()}, s[i+2:], nil
		case c == '\'':
			return Step{}, "", fmt.Errorf("['name'] is expected at %.40q", "['"+s)
		default:
			name.WriteByte(c)
		}
	}
	return Step{}, "", fmt.Errorf("['name'] is expected at %.40q", "['"+s)
}

// String writes the path as it is written in a policy.
func (p Path) String() string {
	var b strings.Builder
	b.WriteByte('$')
	for _, step := range p {
		switch {
		case step.Wild:
			b.WriteString("[*]")
		case step.Name == "":
			fmt.Fprintf(&b, "[%d]", step.Index)
		case isPlainName(step.Name):
			b.WriteString("." + step.Name)
		default:
			b.WriteString("['" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(step.Name) + "']")
		}
	}
	return b.String()
}

func isPlainName(name string) bool {
	for i := range len(name) {
		if !isNameByte(name[i], i == 0) {
			return false
		}
	}
	return true
}

// values returns what the path leads to in a decoded statement, members of an object in the order of their names.
func (p Path) values(statement any) ([]any, error) {
	found := []any{statement}
	for _, step := range p {
		var next []any
		for _, value := range found {
			if next = append(next, step.of(value)...); len(next) > maxValues {
				return nil, errTooMany
			}
		}
		found = next
	}
	return found, nil
}

func (s Step) of(value any) []any {
	switch value := value.(type) {
	case map[string]any:
		if s.Wild {
			var all []any
			for _, name := range slices.Sorted(maps.Keys(value)) {
				all = append(all, value[name])
			}
			return all
		}
		if member, has := value[s.Name]; has && s.Name != "" {
			return []any{member}
		}
	case []any:
		switch {
		case s.Wild:
			return value
		case s.Name == "" && s.Index < len(value):
			return value[s.Index : s.Index+1]
		}
	}
	return nil
}
