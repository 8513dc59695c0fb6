package harbor

import (
	"errors"
	"strings"

	doublestar "github.com/bmatcuk/doublestar/v4"
)

// Harbor matches with version 1.3.4 of the library that this is built on, whose version 4 differs. What must be as Harbor
// has it:
//   - ** at the end stands for at least one part, and what ends with / matches nothing;
//   - a class such as [^a] has no / in it, [!a] is one of ! and a, and none begins or ends with -.
//
// And {alternatives} are spelled out before matching, up to a bound: the library tries them one in the other, which a rule
// that is made for it makes last for ever.

const (
	// maxAlternatives bounds into how many patterns one with alternatives is spelled out.
	maxAlternatives = 1000
	// maxPattern bounds a pattern, in bytes. Harbor's own column is far shorter.
	maxPattern = 4 << 10
)

var errPattern = errors.New("not a pattern")

// matchPattern tells whether the whole of text matches pattern, in the language of Harbor's selectors:
// https://github.com/bmatcuk/doublestar/tree/v1.3.4#patterns. Errors, which not every text brings to light, are for what is
// no pattern.
func matchPattern(pattern, text string) (bool, error) {
	if len(pattern) > maxPattern {
		return false, errPattern
	}
	alternatives, err := spellOut(pattern)
	if err != nil {
		return false, err
	}
	for _, alternative := range alternatives {
		translated, err := translateClasses(alternative)
		if err != nil {
			return false, err
		}
		if strings.HasSuffix(translated, "/") {
			continue
		}
		if strings.HasSuffix(translated, "/**") {
			translated += "/*"
		}
		if matched, err := doublestar.Match(translated, text); matched || err != nil {
			return matched, err
		}
	}
	return false, nil
}

// translateClasses spells the classes of a pattern without alternatives as version 4 reads them.
func translateClasses(pattern string) (string, error) {
	var b strings.Builder
	for pattern != "" {
		open := indexEscaped(pattern, '[')
		if open < 0 {
			break
		}
		length := indexEscaped(pattern[open+1:], ']')
		if length < 0 {
			return "", errPattern
		}
		class := pattern[open+1 : open+1+length]
		members, negated := strings.CutPrefix(class, "^")
		if strings.HasPrefix(members, "-") || strings.HasSuffix(members, "-") && !strings.HasSuffix(members, `\-`) {
			return "", errPattern
		}
		b.WriteString(pattern[:open+1])
		switch {
		case negated:
			b.WriteString("^/")
		case strings.HasPrefix(members, "!"):
			b.WriteByte('\\')
		}
		b.WriteString(members + "]")
		pattern = pattern[open+2+length:]
	}
	return b.String() + pattern, nil
}

// spellOut returns the patterns that one with {alternatives} stands for.
func spellOut(pattern string) ([]string, error) {
	done, todo := []string(nil), []string{pattern}
	for len(todo) > 0 {
		if len(done)+len(todo) > maxAlternatives {
			return nil, errPattern
		}
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		before, choices, after, err := cutAlternatives(next)
		if err != nil {
			return nil, err
		}
		if choices == nil {
			done = append(done, next)
		}
		for _, choice := range choices {
			todo = append(todo, before+choice+after)
		}
	}
	return done, nil
}

// cutAlternatives cuts a pattern around its first {alternatives}; choices is nil where there are none.
func cutAlternatives(pattern string) (before string, choices []string, after string, err error) {
	open, depth, start := -1, 0, 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '[' && depth == 0: // what looks like alternatives in a class is none
			end := indexEscaped(pattern[i+1:], ']')
			if end < 0 {
				return "", nil, "", errPattern
			}
			i += end + 1
		case c == '{':
			if depth++; depth == 1 {
				open, start = i, i+1
			}
		case c == ',' && depth == 1:
			choices = append(choices, pattern[start:i])
			start = i + 1
		case c == '}' && depth > 0:
			if depth--; depth == 0 {
				return pattern[:open], append(choices, pattern[start:i]), pattern[i+1:], nil
			}
		}
	}
	if depth > 0 {
		return "", nil, "", errPattern
	}
	return pattern, nil, "", nil
}

// indexEscaped returns where c is first in s, not counting escaped ones, or -1.
func indexEscaped(s string, c byte) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case c:
			return i
		}
	}
	return -1
}
