package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Versions as regsync reads them, which is not quite semver (https://semver.org): any number of parts, of which missing
// ones are 0; a "v" in front; and a pre-release is in a range like any other version, so that "<2.0.0" takes 2.0.0-rc1.
// Tags of container images are like that, and no library reads them so: github.com/Masterminds/semver has three parts,
// and leaves pre-releases out unless a range asks for them. The interop tests hold this against regsync itself.

type version struct {
	parts      []int
	prerelease string
}

var errVersion = errors.New("not a version")

func parseVersion(s string) (version, error) {
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "+")
	numbers, prerelease, _ := strings.Cut(s, "-")
	v := version{prerelease: prerelease}
	for part := range strings.SplitSeq(numbers, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return version{}, fmt.Errorf("%.60q: %w", s, errVersion)
		}
		v.parts = append(v.parts, n)
	}
	return v, nil
}

func (v version) part(i int) int {
	if i < len(v.parts) {
		return v.parts[i]
	}
	return 0
}

func (v version) compare(o version) int {
	for i := range max(len(v.parts), len(o.parts)) {
		if c := cmp.Compare(v.part(i), o.part(i)); c != 0 {
			return c
		}
	}
	switch {
	case v.prerelease == o.prerelease:
		return 0
	case v.prerelease == "":
		return 1
	case o.prerelease == "":
		return -1
	}
	return comparePrereleases(v.prerelease, o.prerelease)
}

// comparePrereleases compares identifier by identifier, and in each of them text with text and number with number, so
// that rc9 comes before rc10. As in regsync, identifiers that begin alike and go on without a number end it: rc.1 and
// rc.2 count as equal.
func comparePrereleases(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		if c, decided := compareIdentifiers(as[i], bs[i]); decided {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

func compareIdentifiers(a, b string) (c int, decided bool) {
	for a != "" && b != "" {
		aText, aNumber, aRest := splitNumber(a)
		bText, bNumber, bRest := splitNumber(b)
		if aText != bText {
			return cmp.Compare(aText, bText), true
		}
		aN, aErr := strconv.Atoi(aNumber)
		bN, bErr := strconv.Atoi(bNumber)
		switch {
		case aErr != nil && bErr != nil:
			return 0, true
		case aErr != nil:
			return -1, true
		case bErr != nil:
			return 1, true
		case aN != bN:
			return cmp.Compare(aN, bN), true
		}
		a, b = aRest, bRest
	}
	return cmp.Compare(len(a), len(b)), a != b
}

// splitNumber takes apart what stands before the first digit, the digits, and the rest.
func splitNumber(s string) (text, number, rest string) {
	isDigit := func(r rune) bool { return r >= '0' && r <= '9' }
	start := strings.IndexFunc(s, isDigit)
	if start < 0 {
		return s, "", ""
	}
	end := strings.IndexFunc(s[start:], func(r rune) bool { return !isDigit(r) })
	if end < 0 {
		return s[:start], s[start:], ""
	}
	return s[:start], s[start : start+end], s[start+end:]
}

// versionRange is comparisons that must all hold.
type versionRange []comparison

type comparison struct {
	operator string
	version  version
}

// operators, of which the longer ones are tried first.
var operators = []string{">=", "<=", ">", "<", "=", "^", "~"}

// parseRange reads comparisons that are separated by spaces: >=1.2 <2, ^1.2.3, ~1.2, 1.2.3.
func parseRange(s string) (versionRange, error) {
	var r versionRange
	for part := range strings.FieldsSeq(s) {
		operator := "="
		for _, o := range operators {
			if rest, ok := strings.CutPrefix(part, o); ok {
				operator, part = o, rest
				break
			}
		}
		v, err := parseVersion(part)
		if err != nil {
			return nil, err
		}
		switch operator {
		case "^":
			r = append(r, comparison{">=", v}, comparison{"<", v.nextBreaking()})
		case "~":
			r = append(r, comparison{">=", v}, comparison{"<", version{parts: []int{v.part(0), v.part(1) + 1, 0}}})
		default:
			r = append(r, comparison{operator, v})
		}
	}
	if len(r) == 0 {
		return nil, errors.New("an empty range")
	}
	return r, nil
}

// nextBreaking is the first version that ^v does not take: the leftmost part that is not 0 may not change.
func (v version) nextBreaking() version {
	switch {
	case v.part(0) > 0:
		return version{parts: []int{v.part(0) + 1, 0, 0}}
	case v.part(1) > 0:
		return version{parts: []int{0, v.part(1) + 1, 0}}
	}
	return version{parts: []int{0, 0, v.part(2) + 1}}
}

func (r versionRange) holds(v version) bool {
	for _, c := range r {
		n := v.compare(c.version)
		var ok bool
		switch c.operator {
		case "=":
			ok = n == 0
		case ">":
			ok = n > 0
		case ">=":
			ok = n >= 0
		case "<":
			ok = n < 0
		case "<=":
			ok = n <= 0
		}
		if !ok {
			return false
		}
	}
	return true
}

// NewestVersions returns tags with the newest version first; ok is false where not all of them are versions.
func NewestVersions(tags []string) (newest []string, ok bool) {
	versions := make(map[string]version, len(tags))
	for _, tag := range tags {
		v, err := parseVersion(tag)
		if err != nil {
			return nil, false
		}
		versions[tag] = v
	}
	newest = slices.Clone(tags)
	slices.SortStableFunc(newest, func(a, b string) int {
		return cmp.Or(versions[b].compare(versions[a]), naturally(b, a))
	})
	return newest, true
}

// naturally compares texts with the numbers in them as numbers.
func naturally(a, b string) int {
	for a != "" && b != "" {
		aText, aNumber, aRest := splitNumber(a)
		bText, bNumber, bRest := splitNumber(b)
		aNumber, bNumber = strings.TrimLeft(aNumber, "0"), strings.TrimLeft(bNumber, "0")
		if c := cmp.Or(cmp.Compare(aText, bText), cmp.Compare(len(aNumber), len(bNumber)), cmp.Compare(aNumber, bNumber)); c != 0 {
			return c
		}
		a, b = aRest, bRest
	}
	return cmp.Compare(len(a), len(b))
}
