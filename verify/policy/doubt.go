package policy

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// doubtSource says what a glob of match may not mean: what it matches besides, or that it matches nothing. Matched are
// sources as docker.io/library/alpine.
func doubtSource(glob string) (doubts []string) {
	host, path, hasPath := strings.Cut(glob, "/")
	elements := strings.Split(path, "/")
	isAny := strings.Contains(glob, "**")
	doubt := func(format string, args ...any) {
		doubts = append(doubts, fmt.Sprintf("%.100q "+format, append([]any{glob}, args...)...))
	}
	switch {
	case strings.Contains(glob, "://"):
		doubt("matches nothing: sources have no scheme")
	case !hasPath && !isAny && !strings.Contains(glob, "{"):
		doubt("matches nothing: sources begin with their registry, as in docker.io/acme/app")
	case host == "index.docker.io" || host == "registry-1.docker.io":
		doubt("matches nothing: Docker Hub is docker.io here")
	case host == "docker.io" && len(elements) == 1 && !isAny && !strings.Contains(glob, "{"):
		doubt("matches nothing: what has no namespace at Docker Hub is in docker.io/library/")
	case hasPath && !strings.Contains(glob, ":") && path != strings.ToLower(path):
		doubt("matches nothing: repositories have no upper-case letters")
	}
	for i, element := range append([]string{host}, elements...) {
		if i > 1 || !hasPath && !isAny {
			break
		}
		if at := openEnd.FindStringIndex(element); at != nil {
			evil := element[:at[0]+1] + "-evil"
			if i == 0 {
				evil = element[:at[0]+1] + ".evil.example"
			}
			doubt("also matches what is in %s; end the name before the *, as with /* or -*", strings.Join(append([]string{host}[:min(i, 1)], evil), "/"))
		}
		if i == 0 && openBeginning.MatchString(element) {
			doubt("also matches registries like evil-%s", strings.TrimLeft(element, "*"))
		}
	}
	return doubts
}

var (
	openEnd       = regexp.MustCompile(`[A-Za-z0-9]\*`)
	openBeginning = regexp.MustCompile(`^\*+[A-Za-z0-9]`)
)

var (
	// looseDot is a dot that stands for any character, between letters as in a host name.
	looseDot    = regexp.MustCompile(`(?:^|[^\\])[A-Za-z0-9]\.[A-Za-z]`)
	looseBegin  = regexp.MustCompile(`^\(*\^?\.[*+]`)
	looseEnd    = regexp.MustCompile(`^\(*\^?https?://[^/]+(/[^/]*)?[A-Za-z0-9]\.[*+]\$?\)*$|@[^/]*[A-Za-z0-9]\.[*+]\$?\)*$`) // a host, or who has a name there
	everything  = regexp.MustCompile(`^\(*\^?\.[*+]\$?\)*$`)
	hasOpenHost = regexp.MustCompile(`^https?://\.[*+]|^https?://\[\^`)
)

// doubtExpression says what a regular expression for an issuer or a subject matches besides.
func doubtExpression(text string) (doubts []string) {
	doubt := func(format string, args ...any) {
		doubts = append(doubts, fmt.Sprintf("%.100q "+format, append([]any{text}, args...)...))
	}
	if everything.MatchString(text) {
		doubt("matches everybody")
		return doubts
	}
	if at := looseDot.FindStringIndex(text); at != nil {
		doubt(`has a dot that stands for any character, after %.40q; write \. for a dot`, text[:at[1]-2])
	}
	if hasOpenAlternative(text) {
		doubt("matches each of its alternatives as a whole: what stands before the first | and after the last belongs to one of them alone; put them into parentheses")
	}
	if looseBegin.MatchString(text) || hasOpenHost.MatchString(text) {
		doubt("matches whatever comes before, and with it names that others chose")
	}
	if looseEnd.MatchString(text) {
		doubt("goes on after a name that it has begun, as in acme and acme-evil; write the / that ends the name")
	}
	return doubts
}

// hasOpenAlternative tells whether an expression has a | outside of any group, which then parts what is put around it, too.
func hasOpenAlternative(text string) bool {
	parsed, err := syntax.Parse(`\A`+text+`\z`, syntax.Perl)
	return err == nil && parsed.Op == syntax.OpAlternate
}
