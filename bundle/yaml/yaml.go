// Package yaml reads YAML into values that know where in the file they are, with anchors, aliases and merges resolved. It is
// for files whose mistakes are to be named by line and column, and for YAML from strangers: how large a document is, how
// deep it is nested and how much its aliases stand for are bounded.
//
// [Parse] reads a file that is one document, a [Reader] a stream of them.
package yaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Position is a place in a file. Lines and columns count from 1.
type Position struct {
	File         string
	Line, Column int
}

// String returns the position as compilers write it.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Value is a YAML value and its place. What an alias stands for is one Value at all of its places, that of the anchor: it
// must not be changed.
type Value struct {
	Position Position
	Kind     Kind
	IsText   bool     // of a Scalar: a text, and not a number, true, a date or the like
	Text     string   // of a Scalar, as written: 3.10 stays 3.10
	Items    []*Value // of a Sequence
	Fields   []Field  // of a Mapping, in their order, those that were merged in last
}

// Field is a key of a mapping and its value.
type Field struct {
	Key      string   // as written; "" where it is a list or a mapping itself
	Position Position // of the key
	Value    *Value
}

// Kind says what a value is.
type Kind uint8

// The kinds.
const (
	Null Kind = iota
	Scalar
	Sequence
	Mapping
)

// String names the kind for messages.
func (k Kind) String() string {
	return [...]string{Null: "nothing", Scalar: "a single value", Sequence: "a list", Mapping: "a mapping"}[k]
}

// Field returns the value under a key, or nil. v may be nil.
func (v *Value) Field(key string) *Value {
	if v == nil {
		return nil
	}
	for _, f := range v.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return nil
}

// Options are the settings of a Reader.
type Options struct {
	File string // for positions
	// Lenient takes of a key that is there twice the last one, as Kubernetes does; otherwise that is an error.
	Lenient bool
}

// Error says what is wrong with a document, in one line and with nothing of its content but keys.
type Error struct {
	Position Position
	Message  string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Position, e.Message) }

// Parse reads the one document of a file; an empty one is an empty mapping. Errors are of type *Error.
func Parse(content []byte, o Options) (*Value, error) {
	r := NewReader(bytes.NewReader(content), o)
	empty := &Value{Position: Position{o.File, 1, 1}, Kind: Mapping}
	first, err := r.Next()
	if errors.Is(err, io.EOF) {
		return empty, nil
	}
	if err != nil {
		return nil, err
	}
	switch second, err := r.Next(); {
	case err == nil:
		return nil, &Error{second.Root.Position, "more than one document in a file"}
	case !errors.Is(err, io.EOF):
		return nil, err
	case first.Root.Kind == Null:
		return empty, nil
	}
	return first.Root, nil
}
