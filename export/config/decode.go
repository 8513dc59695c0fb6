package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"airgap/bundle/yaml"
)

// decoder turns the values of a document into a File.
type decoder struct{ reader }

// reader reads values of the expected kinds, and gathers everything that is wrong.
type reader struct {
	yaml.Decoder

	env  Environment
	file *File
	idle map[string]*idleKey
	seen map[Position]bool // unknown keys that have been noted: an alias shows them again
}

// idleKey is a key that regsync knows and that does nothing here.
type idleKey struct {
	first Position
	count int
	why   string
}

func (r *reader) note(at Position, format string, args ...any) {
	r.file.Notes = append(r.file.Notes, Note{Position: at, Message: fmt.Sprintf(format, args...)})
}

// spare takes keys that nobody knows with a note, as regsync ignores them, but not a near miss of one that is known.
func (r *reader) spare(f yaml.Field, what, meant string) bool {
	if strings.HasPrefix(f.Key, "x-") { // the user's own
		return true
	}
	if meant == "" && !r.seen[f.Position] {
		r.seen[f.Position] = true
		r.file.Notes = append(r.file.Notes, Note{Position: f.Position, Message: fmt.Sprintf("unknown key %.60q in %s; it is ignored", f.Key, what), Unknown: true})
	}
	return meant == ""
}

// nothing is for keys that do nothing here. There will be one note for each key.
func (r *reader) nothing(key, why string) func(*yaml.Value) {
	return func(v *yaml.Value) {
		k, ok := r.idle[key]
		if !ok {
			k = &idleKey{first: v.Position, why: why}
			r.idle[key] = k
		}
		k.count++
	}
}

func (r *reader) noteIdleKeys() {
	var names []string
	for name := range r.idle {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return comparePositions(r.idle[a].first, r.idle[b].first)
	})
	for _, name := range names {
		k := r.idle[name]
		times := ""
		if k.count > 1 {
			times = fmt.Sprintf(" (%d times)", k.count)
		}
		r.note(k.first, "%s does nothing here%s: %s", name, times, k.why)
	}
}

func comparePositions(a, b Position) int {
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return a.Column - b.Column
}

// silent is for keys that change nothing here, and of which nobody needs to be told.
func silent(*yaml.Value) {}

// The readers of single values that no other file has.

func (r *reader) float(into *float64) func(*yaml.Value) {
	return func(v *yaml.Value) {
		if v.Kind == yaml.Null {
			return
		}
		n, err := strconv.ParseFloat(v.Text, 64)
		if v.Kind != yaml.Scalar || err != nil || !(n >= 0 && n < 1e9) {
			r.Bad(v.Position, "%s: a number from 0 on is expected", v.Shown())
			return
		}
		*into = n
	}
}

// duration reads Go's durations, and days, which these are often counted in: 90m, 72h, 7d.
func (r *reader) duration(into *time.Duration) func(*yaml.Value) {
	return func(v *yaml.Value) {
		if v.Kind == yaml.Null {
			return
		}
		parsed, err := parseDuration(v.Text)
		if v.Kind != yaml.Scalar || err != nil || parsed < 0 {
			r.Bad(v.Position, "%s: a time with its unit is expected, such as 90m, 72h or 7d", v.Shown())
			return
		}
		*into = parsed
	}
}

func parseDuration(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err == nil && !(n >= 0 && n < 100_000) {
			err = strconv.ErrRange
		}
		return time.Duration(n * float64(day)), err
	}
	return time.ParseDuration(s)
}

// Span writes a time as people do: 72h, and not 72h0m0s.
func Span(d time.Duration) string {
	s := d.String()
	if rest, ok := strings.CutSuffix(s, "m0s"); ok {
		s = rest + "m"
	}
	if rest, ok := strings.CutSuffix(s, "h0m"); ok {
		s = rest + "h"
	}
	return s
}
