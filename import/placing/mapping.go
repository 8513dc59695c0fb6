// Package placing works out where images go: names at the source and in the bundle become names at the target. Start with
// Place. It asks nobody.
package placing

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
)

// Errors that a caller may want to tell apart.
var (
	// ErrMapping: a mapping, an --only pattern or a destination makes no sense for this bundle.
	ErrMapping = errors.New("the destination cannot be worked out")
	// ErrCollision: two images would get one name.
	ErrCollision = errors.New("two images would get one name")
)

// Destination is where a bundle goes: a registry and a path in it, under which images keep the paths recorded for them.
type Destination struct {
	Registry name.Registry
	Prefix   string // "" for none
}

// String returns REGISTRY[/PREFIX].
func (d Destination) String() string { return strings.TrimSuffix(d.Registry.Name()+"/"+d.Prefix, "/") }

// ParseDestination reads REGISTRY[/PREFIX]. What comes before the first slash is always the registry. Errors wrap
// ErrMapping.
func ParseDestination(s string) (Destination, error) {
	bad := func(err error) (Destination, error) {
		return Destination{}, fmt.Errorf("%w: %q: %w", ErrMapping, s, err)
	}
	if scheme, rest, found := strings.Cut(s, "://"); found {
		return bad(fmt.Errorf("leave out the %s://, as in %s", scheme, rest))
	}
	host, prefix, _ := strings.Cut(s, "/")
	prefix = strings.TrimSuffix(prefix, "/")
	if host == "" { // which go-containerregistry takes for Docker Hub
		return bad(errors.New("a registry is needed, as in harbor.example.com/mirror"))
	}
	registry, err := name.NewRegistry(host)
	if err != nil {
		return bad(err)
	}
	if prefix != "" {
		if err := CheckName(prefix, ""); err != nil {
			return bad(err)
		}
	}
	return Destination{Registry: registry, Prefix: prefix}, nil
}

// Mapping gives some images another destination: PATTERN=PATH[:TAG]. The pattern is compared with an image's source,
// once without tag and digest, then with the tag, then as it is; each * in it stands for any characters, slashes too, the first ones for
// as few as possible. PATH is the whole repository name at the target; each * in it is replaced by what the * of the
// same place in the pattern stands for. Without TAG the image keeps its recorded tag.
type Mapping struct {
	text        string
	pattern     glob
	path, tag   string
	specificity int // how many characters of the pattern are no *
}

// String returns the mapping as it was given.
func (m Mapping) String() string { return m.text }

// ParseMapping reads a Mapping, as in docker.io/acme/*=mirror/*. Errors wrap ErrMapping.
func ParseMapping(s string) (Mapping, error) {
	bad := func(problem string) (Mapping, error) {
		return Mapping{}, fmt.Errorf("%w: mapping %q: %s", ErrMapping, s, problem)
	}
	pattern, to, found := strings.Cut(s, "=")
	if !found || pattern == "" || to == "" {
		return bad("PATTERN=PATH is needed, as in docker.io/acme/*=mirror/*")
	}
	if strings.Count(to, "*") > strings.Count(pattern, "*") {
		return bad("there are more * after the = than before it")
	}
	path, tag := cutTag(to)
	m := Mapping{
		text: s, pattern: newGlob(pattern), path: path, tag: tag,
		specificity: len(pattern) - strings.Count(pattern, "*"),
	}
	// Any match must do here, so that a mistake shows without a bundle.
	if err := CheckName(strings.ReplaceAll(path, "*", "x"), strings.ReplaceAll(tag, "*", "x")); err != nil {
		return bad(err.Error() + " (the path is without a registry)")
	}
	return m, nil
}

// CheckName says what is wrong with a repository name or a tag ("" for none). Its errors do not wrap bundle.ErrFormat,
// as those of package bundle do: it is not the bundle that is wrong.
func CheckName(path, tag string) error {
	err := bundle.CheckPath(path)
	if err == nil && tag != "" {
		err = bundle.CheckTag(tag)
	}
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), bundle.ErrFormat.Error()+": "))
}

// apply returns the destination that m gives to an image; false where m is not about it.
func (m Mapping) apply(source sourceName, recordedTag string) (path, tag string, ok bool) {
	for _, candidate := range source.spellings() {
		stars, matches := m.pattern.match(candidate)
		if !matches {
			continue
		}
		path, stars = fill(m.path, stars)
		tag, _ = fill(m.tag, stars)
		if tag == "" {
			tag = recordedTag
		}
		return path, tag, true
	}
	return "", "", false
}

// fill replaces the * in s by stars, and returns those that are left.
func fill(s string, stars []string) (filled string, rest []string) {
	parts := strings.Split(s, "*")
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			b.WriteString(stars[i-1])
		}
		b.WriteString(part)
	}
	return b.String(), stars[len(parts)-1:]
}

// glob is a pattern whose * stands for any characters.
type glob struct{ *regexp.Regexp }

func newGlob(pattern string) glob {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return glob{regexp.MustCompile(`^` + strings.Join(parts, `(.*?)`) + `$`)}
}

// match returns what each * stands for in s.
func (g glob) match(s string) (stars []string, ok bool) {
	all := g.FindStringSubmatch(s)
	if all == nil {
		return nil, false
	}
	return all[1:], true
}

// sourceName is a root's source, taken apart.
type sourceName struct{ full, repository, tag string }

func newSourceName(source string) sourceName {
	n := sourceName{full: source}
	n.repository, _, _ = strings.Cut(source, "@")
	n.repository, n.tag = cutTag(n.repository)
	return n
}

// spellings are the ways in which a user may mean the source.
func (n sourceName) spellings() []string {
	spellings := []string{n.repository}
	if n.tag != "" {
		spellings = append(spellings, n.repository+":"+n.tag)
	}
	return append(spellings, n.full)
}

// cutTag splits a name into repository and tag, and does not take a port for a tag.
func cutTag(s string) (repository, tag string) {
	if colon := strings.LastIndexByte(s, ':'); colon > strings.LastIndexByte(s, '/') {
		return s[:colon], s[colon+1:]
	}
	return s, ""
}
