package harbor

import (
	"slices"
	"strings"
	"testing"
	"time"

	doublestar "github.com/bmatcuk/doublestar/v4"
)

// The verdicts are those of github.com/bmatcuk/doublestar v1.3.4, with which this was compared over some millions of
// random patterns.
func TestDoublestar(t *testing.T) {
	differ := []string{"team/** team", "{x,team/**} team", "[!a] b", "team[^a]web team/web", "team/**/ team"}
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"**", "v1", true},
		{"**", "a/b/c", true},
		{"*", "v1.2.3", true},
		{"*", "a/b", false},
		{"v*", "v1", true},
		{"v*", "w1", false},
		{"v*", "v", true},
		{"*.*.*", "1.2.3", true},
		{"*.*.*", "1.2", false},
		{"?1", "v1", true},
		{"?1", "é1", true},
		{"?", "/", false},
		{"[v-w]1", "w1", true},
		{"[^v-w]1", "w1", false},
		{"[^v-w]1", "x1", true},
		{`[\-a]1`, "-1", true},
		{"{v,w}1", "w1", true},
		{"{v,w}1", "x1", false},
		{"{v{1,2},w}x", "v2x", true},
		{"{app,team/*}", "team/web", true},
		{"team/**", "team/a/b", true},
		{"team/**", "team", false},
		{"{x,team/**}", "team", false},
		{"[!a]", "!", true},
		{"team[^a]web", "team/web", false},
		{"team/", "team", false},
		{"team/**/", "team", false},
		{"[!a]", "b", false},
		{"team/**/web", "team/web", true},
		{"team/**/web", "team/a/b/web", true},
		{"team/**/web", "team/a/b/api", false},
		{"**/web", "web", true},
		{"**/web/**/x/**", "a/web/web/x/y", true},
		{"v**", "v/1", false},
		{`\*`, "*", true},
		{`\*`, "x", false},
		{`\{a\}`, "{a}", true},
		{"latest", "Latest", false},
		{"release-{1..3}", "release-2", false},
	} {
		// Where the library's own verdict, of version 4, is another, the comment above matchPattern says why.
		if own, err := doublestar.Match(test.pattern, test.text); err != nil || (own != test.want) != slices.Contains(differ, test.pattern+" "+test.text) {
			t.Errorf("%q, %q: the library says %t, %v", test.pattern, test.text, own, err)
		}
		got, err := matchPattern(test.pattern, test.text)
		if err != nil || got != test.want {
			t.Errorf("%q, %q: %t, %v", test.pattern, test.text, got, err)
		}
	}
	for _, pattern := range []string{"[a", "{a", "{a,{b}", "[a-]", "[]", `a\`, "[-a]", strings.Repeat("{a,b}", 12), strings.Repeat("a", maxPattern+1)} {
		if _, err := matchPattern(pattern, "ab"); err == nil && pattern != `a\` {
			t.Errorf("%q is a pattern", pattern)
		}
	}
}

// A pattern made to be tried for ever is tried for a moment.
func TestDoublestarIsFast(t *testing.T) {
	start := time.Now()
	hostile := strings.Repeat("*a", 500) + "b"
	if got, err := matchPattern(hostile, strings.Repeat("a", 5000)); got || err != nil {
		t.Error(got, err)
	}
	if got, err := matchPattern(strings.Repeat("**/a/", 500)+"b", strings.Repeat("a/", 2000)+"c"); got || err != nil {
		t.Error(got, err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestImmutableRuleMatches(t *testing.T) {
	tag := func(decoration, pattern string) *Selector { return &Selector{"doublestar", decoration, pattern} }
	all := tag("repoMatches", "**")
	for label, test := range map[string]struct {
		rule ImmutableRule
		want bool // for tag v1 of repository team/web
	}{
		"matches":             {ImmutableRule{Tag: tag("matches", "v*"), Repository: all}, true},
		"does not":            {ImmutableRule{Tag: tag("matches", "w*"), Repository: all}, false},
		"excludes":            {ImmutableRule{Tag: tag("excludes", "v*"), Repository: all}, false},
		"excludes others":     {ImmutableRule{Tag: tag("excludes", "latest"), Repository: all}, true},
		"disabled":            {ImmutableRule{Disabled: true, Tag: tag("matches", "**"), Repository: all}, false},
		"repository":          {ImmutableRule{Tag: tag("matches", "**"), Repository: tag("repoMatches", "team/**")}, true},
		"other repository":    {ImmutableRule{Tag: tag("matches", "**"), Repository: tag("repoMatches", "team")}, false},
		"repository excluded": {ImmutableRule{Tag: tag("matches", "**"), Repository: tag("repoExcludes", "team/*")}, false},
		"others excluded":     {ImmutableRule{Tag: tag("matches", "**"), Repository: tag("repoExcludes", "x")}, true},
		"no tags":             {ImmutableRule{Repository: all}, false},
		"no repositories":     {ImmutableRule{Tag: tag("matches", "**")}, false},
		"no pattern":          {ImmutableRule{Tag: tag("matches", ""), Repository: all}, true},
		"excludes nothing":    {ImmutableRule{Tag: tag("excludes", ""), Repository: all}, false},
		"not a pattern":       {ImmutableRule{Tag: tag("matches", "{v"), Repository: all}, true},
		"unknown decoration":  {ImmutableRule{Tag: tag("nsMatches", "x"), Repository: all}, true},
		"unknown kind":        {ImmutableRule{Tag: &Selector{"label", "matches", "x"}, Repository: all}, true},
	} {
		if got := test.rule.Matches("team/web", "v1"); got != test.want {
			t.Errorf("%s: %t", label, got)
		}
	}
}
