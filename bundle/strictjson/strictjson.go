// Package strictjson is the gate that JSON from outside passes before airgap believes any of it (DESIGN.md,
// invariant 7). It refuses every document that two programs could read in two ways, so that what airgap checked is
// what the next program sees; what passes is decoded by encoding/json.
//
// Call Unmarshal for documents that others write, where unknown fields are to be expected, and UnmarshalExact for
// airgap's own tables, where they are not. Neither limits the size of its input, which is in memory already: the
// caller bounds it before reading. Time is linear in the length of the input, and no memory is taken for nesting
// beyond MaxDepth.
//
// # What is refused
//
//   - empty input, anything after the value, and null as the whole document;
//   - syntax outside RFC 8259, a byte order mark among it (section 8.1);
//   - invalid UTF-8, and \u escapes that are half a surrogate pair (sections 8.1 and 8.2): encoding/json would
//     replace both with U+FFFD;
//   - nesting deeper than MaxDepth;
//   - a key twice in one object (RFC 8259, section 4: "behavior ... is unpredictable"), however it is escaped;
//   - two keys of one object that differ only in case, in the sense of strings.EqualFold, and a key that differs
//     only in case from a field of the struct that the object is decoded into. encoding/json takes "Layers" for
//     "layers"; most other decoders do not.
//
// # Where keys belong to users
//
// Annotations may well hold "Title" and "title": an object that is decoded into a Go map may have keys that differ
// only in case. So may objects at any depth in a value that is decoded by its own UnmarshalJSON, json.RawMessage
// among these, and in a Span: its meaning is not known here, so pass it through Unmarshal again before reading it.
// Everything else is held to the full rule, including the values of unknown fields and of type any.
package strictjson

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// MaxDepth is how many arrays and objects may enclose one another. Manifests need 5; SBOMs in use stay under 30.
const MaxDepth = 64

// ErrRefused is wrapped by every error about the input, whether the gate or encoding/json found it.
var ErrRefused = errors.New("JSON refused")

// Error says where and why the gate refused a document. It wraps ErrRefused.
type Error struct {
	// Offset is that of the offending byte or key, counted in bytes from 0.
	Offset int
	// Reason is for people; keys quoted in it are escaped and shortened.
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%v at byte %d: %s", ErrRefused, e.Offset, e.Reason)
}

// Unwrap returns ErrRefused.
func (e *Error) Unwrap() error { return ErrRefused }

// Span is where in the document a value is, from its first byte to behind its last; zero for none. A field of this type takes a value that is checked
// as a json.RawMessage would be and neither decoded nor copied: what is large, and what is read later.
type Span [2]int

// Of returns the value, which has passed the gate.
func (s Span) Of(data []byte) []byte { return data[s[0]:s[1]] }

// outline returns the document with its Spans in place of their values.
func (s *scanner) outline() []byte {
	if len(s.spans) == 0 {
		return s.data
	}
	var outline []byte
	from := 0
	for _, span := range s.spans {
		outline = append(outline, s.data[from:span[0]]...)
		outline = fmt.Appendf(outline, "[%d,%d]", span[0], span[1])
		from = span[1]
	}
	return append(outline, s.data[from:]...)
}

// offset returns where in the document a byte of its outline comes from.
func (s *scanner) offset(outlined int) int {
	longer := 0 // than the outline, up to here
	for _, span := range s.spans {
		if outlined+longer <= span[0] {
			break
		}
		longer += span[1] - span[0] - len(fmt.Sprintf("[%d,%d]", span[0], span[1]))
	}
	return outlined + longer
}

// Unmarshal checks data as the package comment says and decodes it into v, a non-nil pointer to a zero value.
// Fields that v does not have are checked and ignored. An error about data wraps ErrRefused, and for the gate's own
// refusals is an *Error; v is then not to be used. Errors of UnmarshalText and UnmarshalJSON methods stay in the chain.
//
// Go maps with keys that are not strings are not meant to be passed: "1" and "01" would be one key.
func Unmarshal(data []byte, v any) error {
	return unmarshal(v, scanner{data: data})
}

// UnmarshalExact is Unmarshal for documents with no fields but those of v: any other field is refused.
func UnmarshalExact(data []byte, v any) error {
	return unmarshal(v, scanner{data: data, exact: true})
}

func unmarshal(v any, s scanner) error {
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return &json.InvalidUnmarshalError{Type: reflect.TypeOf(v)}
	}
	if err := s.document(shapeOf(target.Type())); err != nil {
		return err
	}
	err := json.Unmarshal(s.outline(), v)
	if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) {
		refused := typeError(mismatch)
		refused.Offset = s.offset(refused.Offset)
		return refused
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// typeError says what encoding/json found without the names of Go's types, which mean nothing to who reads it.
func typeError(e *json.UnmarshalTypeError) *Error {
	reason := e.Value + " where " + nameOf(e.Type) + " is expected"
	if e.Field != "" {
		reason = e.Field + ": " + reason
	}
	return &Error{Offset: int(e.Offset), Reason: reason}
}

// nameOf names what JSON has for a Go type.
func nameOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("an integer of %d bits", t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a positive integer of %d bits", t.Bits())
	case reflect.Map, reflect.Struct:
		if !reflect.PointerTo(t).Implements(textUnmarshalerType) {
			return "an object"
		}
	case reflect.Array, reflect.Slice:
		if !reflect.PointerTo(t).Implements(textUnmarshalerType) {
			return "an array"
		}
	}
	return "a string"
}

var textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
