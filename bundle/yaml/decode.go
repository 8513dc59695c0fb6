package yaml

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"airgap/bundle"
)

// Decoder reads values of the kinds that a file is expected to have, and gathers everything that is wrong.
type Decoder struct {
	Problems bundle.Problems
	// Strict takes for wrong what is otherwise forgiven: a key without a value, a number or true where a text belongs, and
	// quotes where it is the other way round.
	Strict bool
	// Spare is asked about keys that are not known. It gets the known key that was probably meant, if there is one, and
	// tells whether the key may be there. Nil: none may.
	Spare func(f Field, what, meant string) bool
}

// Keys are the known keys of a kind of mapping, and what reads them.
type Keys map[string]func(*Value)

// Bad notes that something is wrong at a place.
func (d *Decoder) Bad(at Position, format string, args ...any) {
	d.Problems.Add(fmt.Errorf("%s: "+format, append([]any{at}, args...)...))
}

// Mapping reads v by its known keys. what names it in messages.
func (d *Decoder) Mapping(v *Value, what string, known Keys) {
	if d.absent(v) {
		return
	}
	if v.Kind != Mapping {
		d.Bad(v.Position, "%s is %s, but a mapping is expected", what, v.Kind)
		return
	}
	for _, f := range v.Fields {
		if read, ok := known[f.Key]; ok {
			read(f.Value)
		} else {
			d.unknown(f, what, known)
		}
	}
}

func (d *Decoder) unknown(f Field, what string, known Keys) {
	meant := nearest(f.Key, known)
	switch {
	case d.Spare != nil && d.Spare(f, what, meant):
	case meant != "":
		d.Bad(f.Position, "unknown key %.60q in %s: did you mean %q?", f.Key, what, meant)
	default:
		d.Bad(f.Position, "unknown key %.60q in %s", f.Key, what)
	}
}

// absent tells whether there is nothing at all.
func (d *Decoder) absent(v *Value) bool {
	if v.Kind == Null && d.Strict {
		d.Bad(v.Position, "nothing is here, but a value is expected")
	}
	return v.Kind == Null
}

// The readers of single values. Each leaves what it reads into alone where the value is wrong or not there.

// Text reads a text.
func (d *Decoder) Text(into *string) func(*Value) {
	return func(v *Value) {
		switch {
		case d.absent(v):
		case v.Kind != Scalar:
			d.Bad(v.Position, "this is %s, but a text is expected", v.Kind)
		case d.Strict && !v.IsText:
			d.Bad(v.Position, "%s: a text is expected; put it into quotes if it is one", v.Shown())
		default:
			*into = v.Text
		}
	}
}

// Boolean reads true or false.
func (d *Decoder) Boolean(into **bool) func(*Value) {
	return func(v *Value) {
		if d.absent(v) {
			return
		}
		switch text := strings.ToLower(v.Text); {
		case d.Strict && v.IsText:
			d.Bad(v.Position, "%s: true or false is expected, without quotes", v.Shown())
		case text == "true":
			*into = new(true)
		case text == "false":
			*into = new(false)
		default:
			d.Bad(v.Position, "%s: true or false is expected", v.Shown())
		}
	}
}

// Number reads a whole number from least on.
func (d *Decoder) Number(into *int, least int) func(*Value) {
	return func(v *Value) {
		if d.absent(v) {
			return
		}
		n, err := strconv.Atoi(v.Text)
		if v.Kind != Scalar || d.Strict && v.IsText || err != nil || n < least {
			d.Bad(v.Position, "%s: a whole number from %d on is expected", v.Shown(), least)
			return
		}
		*into = n
	}
}

// Texts reads a list of texts.
func (d *Decoder) Texts(into *[]string) func(*Value) {
	return func(v *Value) {
		*into = nil
		for _, item := range d.Items(v) {
			var text string
			d.Text(&text)(item)
			*into = append(*into, text)
		}
	}
}

// Items returns the items of a list; none where nothing is there.
func (d *Decoder) Items(v *Value) []*Value {
	if !d.absent(v) && v.Kind != Sequence {
		d.Bad(v.Position, "this is %s, but a list is expected", v.Kind)
	}
	return v.Items
}

// Shown is the value in messages.
func (v *Value) Shown() string {
	if v.Kind == Scalar {
		return fmt.Sprintf("%.60q", v.Text)
	}
	return v.Kind.String()
}

// nearest returns the known key that an unknown one was probably meant to be, or "".
func nearest(key string, known Keys) string {
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
