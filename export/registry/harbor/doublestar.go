package harbor

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// maxAlternatives bounds into how many patterns one with alternatives is spelled out.
const maxAlternatives = 1000

// maxPattern bounds a pattern, in bytes. Harbor's own column is far shorter.
const maxPattern = 4 << 10

var errPattern = errors.New("not a pattern")

// doublestar tells whether the whole of text matches pattern, in the language of Harbor's selectors, which is that of
// github.com/bmatcuk/doublestar before its version 4:
//
//   - any number of characters but /
//     **     as a whole part between slashes: any number of parts, but at the end at least one
//     ?      one character but /
//     [a-z]  one character of a class, [^a-z] one that is not of it; not /
//     {a,b}  either pattern
//     \c     the character c
//
// The error is errPattern, which not every text brings to light.
func doublestar(pattern, text string) (bool, error) {
	if len(pattern) > maxPattern {
		return false, errPattern
	}
	alternatives, err := spellOut(pattern)
	if err != nil {
		return false, err
	}
	parts := strings.Split(text, "/")
	for _, alternative := range alternatives {
		if matched, err := matchParts(splitPattern(alternative), parts); matched || err != nil {
			return matched, err
		}
	}
	return false, nil
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

// splitPattern splits a pattern at its slashes.
func splitPattern(pattern string) []string {
	var parts []string
	for {
		end := indexEscaped(pattern, '/')
		if end < 0 {
			return append(parts, pattern)
		}
		parts = append(parts, pattern[:end])
		pattern = pattern[end+1:]
	}
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

// matchParts matches parts of a pattern with those of a text, in time that is at most their product: of two ** only the
// later one need be tried again.
func matchParts(pattern, text []string) (bool, error) {
	p, t := 0, 0
	star, resume := -1, 0
	for t < len(text) {
		if p < len(pattern) && pattern[p] == "**" {
			if p == len(pattern)-1 {
				return true, nil
			}
			star, resume = p, t
			p++
			continue
		}
		if p < len(pattern) {
			matched, err := matchPart(pattern[p], text[t])
			if err != nil {
				return false, err
			}
			if matched {
				p, t = p+1, t+1
				continue
			}
		}
		if star < 0 {
			return false, nil
		}
		resume++
		p, t = star+1, resume
	}
	return p == len(pattern), nil
}

// matchPart matches one part of a pattern with one of a text, in the same way.
func matchPart(pattern, text string) (bool, error) {
	star, rest := -1, ""
	p := 0
	for t := text; ; {
		if p == len(pattern) && t == "" {
			return true, nil
		}
		if p < len(pattern) && pattern[p] == '*' {
			star, rest = p, t
			p++
			continue
		}
		if p < len(pattern) && t != "" {
			width, end, matched, err := matchOne(pattern[p:], t)
			if err != nil {
				return false, err
			}
			if matched {
				p, t = p+width, t[end:]
				continue
			}
		}
		if star < 0 || rest == "" {
			return false, nil
		}
		_, width := utf8.DecodeRuneInString(rest)
		rest = rest[width:]
		p, t = star+1, rest
	}
}

// matchOne matches the first element of a pattern with the first character of a text, and returns their lengths.
func matchOne(pattern, text string) (width, end int, matched bool, err error) {
	char, end := utf8.DecodeRuneInString(text)
	want, width := utf8.DecodeRuneInString(pattern)
	switch want {
	case '?':
		return width, end, true, nil
	case '[':
		class := indexEscaped(pattern[1:], ']')
		if class <= 0 {
			return 0, 0, false, errPattern
		}
		matched, err = matchClass(pattern[1:1+class], char)
		return class + 2, end, matched, err
	case '\\':
		if len(pattern) == 1 {
			return 0, 0, false, errPattern
		}
		escaped, size := utf8.DecodeRuneInString(pattern[1:])
		return 1 + size, end, escaped == char, nil
	}
	return width, end, want == char, nil
}

// matchClass tells whether char is in a class, which is without its brackets.
func matchClass(class string, char rune) (bool, error) {
	class, negated := strings.CutPrefix(class, "^")
	in := false
	for runes := []rune(class); len(runes) > 0; {
		low, rest, err := classRune(runes)
		if err != nil {
			return false, err
		}
		high := low
		if len(rest) > 0 && rest[0] == '-' {
			if high, rest, err = classRune(rest[1:]); err != nil {
				return false, err
			}
		}
		if low <= char && char <= high {
			in = true
		}
		runes = rest
	}
	return in != negated, nil
}

// classRune takes one end of a range.
func classRune(runes []rune) (r rune, rest []rune, err error) {
	switch {
	case len(runes) == 0, runes[0] == '-':
		return 0, nil, errPattern
	case runes[0] != '\\':
		return runes[0], runes[1:], nil
	case len(runes) == 1:
		return 0, nil, errPattern
	}
	return runes[1], runes[2:], nil
}
