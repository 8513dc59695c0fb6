package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const maxGlob = 1000 // bytes

// Glob reads a glob: `*` stands for anything within a path element, `**` for anything, `?` for one character of an element, `{a,b}` for
// either. The expression is for the whole text, and takes a time that grows with its length alone. What other globs have
// besides is refused, as it would stand for itself: no reference and no predicate type has it.
func Glob(pattern string) (*regexp.Regexp, error) {
	switch {
	case pattern == "":
		return nil, errors.New("an empty glob")
	case len(pattern) > maxGlob:
		return nil, fmt.Errorf("a glob of more than %d bytes", maxGlob)
	case strings.ContainsAny(pattern, `[]\`):
		return nil, fmt.Errorf(`%.100q: globs have *, **, ? and {a,b}, and no [, ] or \`, pattern)
	}
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
		case c == '}' && braces == 0:
			return nil, fmt.Errorf("%.100q has a } without its {", pattern)
		case c == '}':
			braces--
			b.WriteString(")")
		case c == ',' && braces > 0:
			b.WriteString("|")
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	if braces > 0 {
		return nil, fmt.Errorf("%.100q has a { without its }", pattern)
	}
	b.WriteString(`)\z`)
	return regexp.Compile(b.String())
}

// source is the source of an image, in all ways in which a glob may mean it.
type source struct {
	repository string
	named      []string // with its tag, its digest, and both
}

func parseSource(text string) source {
	name, digest, isPinned := strings.Cut(text, "@")
	s := source{repository: name}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		s.repository = name[:i]
		s.named = append(s.named, name)
	}
	if isPinned {
		s.named = append(s.named, s.repository+"@"+digest, text)
	}
	return s
}

// sourceGlob is a glob of match.
type sourceGlob struct {
	*regexp.Regexp

	pattern string
	isNamed bool // it is about more than the repository
}

func newSourceGlob(pattern string, compiled *regexp.Regexp) sourceGlob {
	return sourceGlob{compiled, pattern, strings.ContainsAny(pattern[strings.LastIndexByte(pattern, '/')+1:], ":@")}
}

func (g sourceGlob) matches(s source) bool {
	if g.isNamed {
		return slices.ContainsFunc(s.named, g.MatchString)
	}
	return g.MatchString(s.repository)
}

// apart tells of two globs that what they match begins or ends differently. It is quick.
func (g sourceGlob) apart(other sourceGlob) bool {
	const wild = "*?{}"
	begin, otherBegin := g.pattern, other.pattern
	if i := strings.IndexAny(begin, wild); i >= 0 {
		begin = begin[:i]
	}
	if i := strings.IndexAny(otherBegin, wild); i >= 0 {
		otherBegin = otherBegin[:i]
	}
	end := g.pattern[strings.LastIndexAny(g.pattern, wild)+1:]
	otherEnd := other.pattern[strings.LastIndexAny(other.pattern, wild)+1:]
	return !strings.HasPrefix(begin, otherBegin) && !strings.HasPrefix(otherBegin, begin) || !strings.HasSuffix(end, otherEnd) && !strings.HasSuffix(otherEnd, end)
}
