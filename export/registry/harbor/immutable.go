package harbor

import (
	"context"
	"fmt"
	"net/http"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// ImmutableRule makes tags immutable once they are there: Harbor answers a push of one with 412, also where it would
// stay at the digest that it has. The first push of a tag is fine.
type ImmutableRule struct {
	ID         int64
	Disabled   bool
	Tag        *Selector // nil: the rule matches nothing
	Repository *Selector // nil: the rule matches nothing
}

// Selector chooses tags or repositories.
type Selector struct {
	Kind       string // always "doublestar"
	Decoration string // matches or excludes, for repositories repoMatches or repoExcludes
	Pattern    string // see matchPattern
}

// String describes the rule, for people.
func (r ImmutableRule) String() string {
	if r.Tag == nil || r.Repository == nil {
		return "a rule for nothing"
	}
	return fmt.Sprintf("tags that %s, in repositories that %s", r.Tag, r.Repository)
}

// String describes the selector.
func (s *Selector) String() string {
	verb := "match"
	if s.excludes() {
		verb = "do not match"
	}
	return fmt.Sprintf("%s %q", verb, s.Pattern)
}

// ImmutableRules returns a project's rules, those that are disabled among them. (ListImmuRules)
func (c *Client) ImmutableRules(ctx context.Context, project string) ([]ImmutableRule, error) {
	k, err := projectCall("list the immutable tags of", project, "/immutabletagrules")
	if err != nil {
		return nil, err
	}
	k.method = http.MethodGet
	return list(ctx, c, k, maxEntries, parseRules, func(r ImmutableRule) int64 { return r.ID })
}

func parseRules(body []byte) ([]ImmutableRule, error) {
	type selector struct {
		Kind       string `json:"kind"`
		Decoration string `json:"decoration"`
		Pattern    string `json:"pattern"`
	}
	var docs []struct {
		ID       int64                 `json:"id"`
		Disabled bool                  `json:"disabled"`
		Action   string                `json:"action"`
		Tags     []selector            `json:"tag_selectors"`
		Scopes   map[string][]selector `json:"scope_selectors"`
	}
	if err := strictjson.Unmarshal(body, &docs); err != nil {
		return nil, err
	}
	// Of several selectors Harbor takes the first alone (src/pkg/immutable/match/rule).
	first := func(selectors []selector) *Selector {
		if len(selectors) == 0 {
			return nil
		}
		return &Selector{Kind: selectors[0].Kind, Decoration: selectors[0].Decoration, Pattern: selectors[0].Pattern}
	}
	rules := make([]ImmutableRule, 0, len(docs))
	for _, doc := range docs {
		if doc.Action != "" && doc.Action != "immutable" {
			return nil, fmt.Errorf("%w: a rule for immutable tags whose action is %.40q", bundle.ErrFormat, doc.Action)
		}
		rules = append(rules, ImmutableRule{
			ID: doc.ID, Disabled: doc.Disabled, Tag: first(doc.Tags), Repository: first(doc.Scopes["repository"]),
		})
	}
	return rules, nil
}

// Matches tells whether the rule makes that tag immutable; repository is without the project. A selector that cannot be
// understood is taken to match: better a warning too many.
func (r ImmutableRule) Matches(repository, tag string) bool {
	return !r.Disabled && r.Tag != nil && r.Repository != nil && r.Repository.selects(repository) && r.Tag.selects(tag)
}

func (s *Selector) excludes() bool {
	return s.Decoration == "excludes" || s.Decoration == "repoExcludes"
}

func (s *Selector) selects(text string) bool {
	switch s.Decoration {
	case "matches", "repoMatches", "excludes", "repoExcludes":
	default:
		return true
	}
	if s.Kind != "doublestar" {
		return true
	}
	if s.Pattern == "" {
		return !s.excludes() // Harbor takes no pattern for one that matches everything
	}
	matched, err := matchPattern(s.Pattern, text)
	return err != nil || matched != s.excludes()
}
