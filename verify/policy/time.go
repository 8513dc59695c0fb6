package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// times is the table of POLICY.md.
var times = []struct {
	types *regexp.Regexp
	path  Path
}{
	{mustGlob("https://slsa.dev/provenance/v0.{1,2}"), mustPath("$.predicate.metadata.buildFinishedOn")},
	{mustGlob("https://slsa.dev/provenance/v1"), mustPath("$.predicate.runDetails.metadata.finishedOn")},
	{mustGlob("https://slsa.dev/verification_summary/v1"), mustPath("$.predicate.timeVerified")},
	{mustGlob("https://openvex.dev/ns{,/**}"), mustPath("$.predicate.timestamp")},
	{mustGlob("https://in-toto.io/attestation/vulns/**"), mustPath("$.predicate.metadata.scanFinishedOn")},
	{mustGlob("https://cosign.sigstore.dev/attestation/vuln/v1"), mustPath("$.predicate.metadata.scanFinishedOn")},
	{mustGlob("https://cyclonedx.org/bom{,/**}"), mustPath("$.predicate.metadata.timestamp")},
	{mustGlob("https://spdx.dev/Document{,/**}"), mustPath("$.predicate.creationInfo.created")},
}

func mustGlob(pattern string) *regexp.Regexp {
	glob, err := Glob(pattern)
	if err != nil {
		panic(err)
	}
	return glob
}

func mustPath(text string) Path {
	path, err := parsePath(text)
	if err != nil {
		panic(err)
	}
	return path
}

// TimeOf returns when a decoded statement says that it was made: where the demand says that this stands, or else the table
// of POLICY.md. Of several times it is the earliest; false where there is none, or something that is none. d may be nil.
func TimeOf(d *AttestationDemand, predicateType string, statement any) (time.Time, bool) {
	path, known := timePath(d, predicateType)
	if !known {
		return time.Time{}, false
	}
	values, err := path.values(statement)
	if err != nil || len(values) == 0 {
		return time.Time{}, false
	}
	var earliest time.Time
	for i, value := range values {
		text, _ := value.(string)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return time.Time{}, false
		}
		if i == 0 || at.Before(earliest) {
			earliest = at
		}
	}
	return earliest, true
}

func timePath(d *AttestationDemand, predicateType string) (path Path, known bool) {
	if d != nil && d.Time != nil {
		return d.Time, true
	}
	for _, row := range times {
		if row.types.MatchString(predicateType) {
			return row.path, true
		}
	}
	return nil, false
}

// units of durations, the longest first.
var units = []struct {
	letter byte
	length time.Duration
}{{'w', 7 * 24 * time.Hour}, {'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// maxAge bounds durations: nobody means more than a hundred years.
const maxAge = 100 * 365 * 24 * time.Hour

// parseDuration reads whole numbers with units in falling order, as in 1d12h. None is no duration, since that would mean
// any age.
func parseDuration(text string) (time.Duration, error) {
	var sum time.Duration
	next := 0 // the longest unit that may come
	for rest := text; rest != ""; {
		n := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if n <= 0 {
			return 0, errDuration
		}
		for next < len(units) && units[next].letter != rest[n] {
			next++
		}
		count, err := strconv.ParseInt(rest[:n], 10, 64)
		if next == len(units) || err != nil || count > int64(maxAge/units[next].length) {
			return 0, errDuration
		}
		sum += time.Duration(count) * units[next].length
		next++
		rest = rest[n+1:]
	}
	if sum <= 0 || sum > maxAge {
		return 0, errDuration
	}
	return sum, nil
}

var errDuration = errors.New("an age is expected, such as 30d or 1d12h, of more than nothing and at most 100 years")

// formatDuration writes a duration as policies do; weeks are counted in days, as people do with 30d.
func formatDuration(d time.Duration) string {
	var b strings.Builder
	for _, unit := range units[1:] {
		if n := int64(d / unit.length); n > 0 {
			fmt.Fprintf(&b, "%d%c", n, unit.letter)
			d %= unit.length
		}
	}
	return b.String()
}
