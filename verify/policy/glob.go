package policy

import (
	"fmt"
	"regexp"
	"strings"
)

// Glob reads a glob: `*` stands for anything within a path element, `**` for anything, `?` for one character of an element, `{a,b}` for
// either. The expression is for the whole text.
func Glob(pattern string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	braces := 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case strings.HasPrefix(pattern[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '{':
			braces++
			b.WriteString("(?:")
		case c == '}' && braces > 0:
			braces--
			b.WriteString(")")
		case c == ',' && braces > 0:
			b.WriteString("|")
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	if braces > 0 {
		return nil, fmt.Errorf("%q has a { without its }", pattern)
	}
	b.WriteString(`)\z`)
	return regexp.Compile(b.String())
}
