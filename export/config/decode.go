package config

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/bundle/yaml"
)

// decoder turns the values of a document into a File.
type decoder struct{ reader }

// reader reads values of the expected kinds, and gathers everything that is wrong.
type reader struct {
	env      Environment
	file     *File
	problems bundle.Problems
	idle     map[string]*idleKey
	seen     map[Position]bool // unknown keys that have been noted: an alias shows them again
}

// idleKey is a key that regsync knows and that does nothing here.
type idleKey struct {
	first Position
	count int
	why   string
}

func (r *reader) bad(at Position, format string, args ...any) {
	r.problems.Add(fmt.Errorf("%s: "+format, append([]any{at}, args...)...))
}

func (r *reader) note(at Position, format string, args ...any) {
	r.file.Notes = append(r.file.Notes, Note{Position: at, Message: fmt.Sprintf(format, args...)})
}

// keys are the known keys of a kind of mapping, and what reads them.
type keys map[string]func(*yaml.Value)

// mapping reads v by its known keys. what names it in messages.
func (r *reader) mapping(v *yaml.Value, what string, known keys) {
	if v.Kind == yaml.Null {
		return
	}
	if v.Kind != yaml.Mapping {
		r.bad(v.Position, "%s is %s, but a mapping is expected", what, v.Kind)
		return
	}
	for _, f := range v.Fields {
		switch read, ok := known[f.Key]; {
		case ok:
			read(f.Value)
		case strings.HasPrefix(f.Key, "x-"): // the user's own
		default:
			r.unknown(f, what, known)
		}
	}
}

func (r *reader) unknown(f yaml.Field, what string, known keys) {
	if meant := nearest(f.Key, known); meant != "" {
		r.bad(f.Position, "unknown key %.60q in %s: did you mean %q?", f.Key, what, meant)
		return
	}
	if r.seen == nil {
		r.seen = map[Position]bool{}
	}
	if !r.seen[f.Position] {
		r.seen[f.Position] = true
		r.file.Notes = append(r.file.Notes, Note{Position: f.Position, Message: fmt.Sprintf("unknown key %.60q in %s; it is ignored", f.Key, what), Unknown: true})
	}
}

// nearest returns the known key that an unknown one was probably meant to be, or "".
func nearest(key string, known keys) string {
	var names []string
	for name := range known {
		names = append(names, name)
	}
	sort.Strings(names)
	best, distance := "", 3
	for _, name := range names {
		limit := 2
		if min(len(name), len(key)) <= 4 {
			limit = 1 // "tag" is "tags", but "tls" is not "tag"
		}
		n := editDistance(strings.ToLower(key), strings.ToLower(name))
		if n <= limit && n < distance {
			best, distance = name, n
		}
	}
	return best
}

// editDistance counts the letters to insert, leave out, replace or swap with their neighbour ("optimal string
// alignment") that make a of b.
func editDistance(a, b string) int {
	if len(a)+len(b) > 200 {
		return 200
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
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

// The readers of single values. Each leaves what it reads into alone where the value is wrong or null.

func (r *reader) text(into *string) func(*yaml.Value) {
	return func(v *yaml.Value) {
		switch v.Kind {
		case yaml.Null:
		case yaml.Scalar:
			*into = v.Text
		default:
			r.bad(v.Position, "this is %s, but a text is expected", v.Kind)
		}
	}
}

func (r *reader) boolean(into **bool) func(*yaml.Value) {
	return func(v *yaml.Value) {
		if v.Kind == yaml.Null {
			return
		}
		switch strings.ToLower(v.Text) {
		case "true":
			*into = new(true)
		case "false":
			*into = new(false)
		default:
			r.bad(v.Position, "%s: true or false is expected", shown(v))
		}
	}
}

func shown(v *yaml.Value) string {
	if v.Kind == yaml.Scalar {
		return fmt.Sprintf("%.60q", v.Text)
	}
	return v.Kind.String()
}

// number reads a whole number from least on.
func (r *reader) number(into *int, least int) func(*yaml.Value) {
	return func(v *yaml.Value) {
		if v.Kind == yaml.Null {
			return
		}
		n, err := strconv.Atoi(v.Text)
		if v.Kind != yaml.Scalar || err != nil || n < least {
			r.bad(v.Position, "%s: a whole number from %d on is expected", shown(v), least)
			return
		}
		*into = n
	}
}

func (r *reader) float(into *float64) func(*yaml.Value) {
	return func(v *yaml.Value) {
		if v.Kind == yaml.Null {
			return
		}
		n, err := strconv.ParseFloat(v.Text, 64)
		if v.Kind != yaml.Scalar || err != nil || !(n >= 0 && n < 1e9) {
			r.bad(v.Position, "%s: a number from 0 on is expected", shown(v))
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
			r.bad(v.Position, "%s: a time with its unit is expected, such as 90m, 72h or 7d", shown(v))
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

func (r *reader) texts(into *[]string) func(*yaml.Value) {
	return func(v *yaml.Value) {
		*into = nil
		for _, item := range r.items(v) {
			var text string
			r.text(&text)(item)
			*into = append(*into, text)
		}
	}
}

// items returns the items of a list; none for null.
func (r *reader) items(v *yaml.Value) []*yaml.Value {
	if v.Kind != yaml.Sequence && v.Kind != yaml.Null {
		r.bad(v.Position, "this is %s, but a list is expected", v.Kind)
	}
	return v.Items
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
