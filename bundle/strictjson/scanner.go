package strictjson

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// scanner walks one document, once, from front to back, beside the shape of the Go type that it will become.
type scanner struct {
	data  []byte
	pos   int
	depth int
	exact bool // unknown fields are refused
	fold  []byte
	spans []Span // of the type's Spans, in the order of the document
}

func (s *scanner) refuse(offset int, format string, args ...any) error {
	return &Error{Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// document checks all of s.data.
func (s *scanner) document(sh *shape) error {
	// Checked for the whole at once: inside strings, bytes from 0x80 up then need no second look.
	if !utf8.Valid(s.data) {
		return s.refuse(firstInvalid(s.data), "invalid UTF-8")
	}
	s.space()
	start := s.pos
	switch s.peek() {
	case 0:
		if start == len(s.data) {
			return s.refuse(start, "empty document")
		}
	case 'n':
		return s.refuse(start, "an object, array, string, number or boolean was expected, not null")
	}
	if err := s.value(sh); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.data) {
		return s.refuse(s.pos, "data after the end of the document")
	}
	return nil
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// peek returns the next byte, or 0 at the end; a NUL in the input is no valid start of anything either.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// unexpected is the refusal of the byte at s.pos.
func (s *scanner) unexpected(wanted string) error {
	if s.pos >= len(s.data) {
		return s.refuse(s.pos, "the document ends where %s was expected", wanted)
	}
	r, _ := utf8.DecodeRune(s.data[s.pos:])
	return s.refuse(s.pos, "%q where %s was expected", r, wanted)
}

// value checks the value that begins at s.pos.
func (s *scanner) value(sh *shape) error {
	if sh.kind == shapeSpan {
		start := s.pos
		err := s.value(opaqueShape)
		s.spans = append(s.spans, Span{start, s.pos})
		return err
	}
	switch c := s.peek(); {
	case c == '{':
		return s.nested(sh, s.object)
	case c == '[':
		return s.nested(sh, s.array)
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || isDigit(c):
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.unexpected("a value")
}

func (s *scanner) nested(sh *shape, check func(*shape) error) error {
	if s.depth++; s.depth > MaxDepth {
		return s.refuse(s.pos, "nested deeper than %d levels", MaxDepth)
	}
	s.pos++ // the opening bracket
	s.space()
	err := check(sh)
	s.depth--
	return err
}

func (s *scanner) array(sh *shape) error {
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for elem := sh.element(); ; {
		if err := s.value(elem); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case ']':
			s.pos++
			return nil
		default:
			return s.unexpected(`"," or "]"`)
		}
	}
}

func (s *scanner) object(sh *shape) error {
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for seen := (keySet{folding: !sh.userKeys()}); ; {
		member, err := s.key(sh, &seen)
		if err != nil {
			return err
		}
		if err := s.value(member); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case '}':
			s.pos++
			return nil
		default:
			return s.unexpected(`"," or "}"`)
		}
	}
}

// key checks a key and the colon after it, and returns the shape of the value that follows.
func (s *scanner) key(sh *shape, seen *keySet) (*shape, error) {
	start := s.pos
	if s.peek() != '"' {
		return nil, s.unexpected("a key")
	}
	key, err := s.str()
	if err != nil {
		return nil, err
	}
	if other, clash := seen.add(key); clash {
		if string(other) == string(key) {
			return nil, s.refuse(start, "the key %s is twice in one object", quoted(key))
		}
		return nil, s.refuse(start, "the keys %s and %s of one object differ only in case", quoted(other), quoted(key))
	}
	s.space()
	if s.peek() != ':' {
		return nil, s.unexpected(`":"`)
	}
	s.pos++
	s.space()
	return s.member(sh, key, start)
}

// member returns the shape of the value under key in an object of shape sh.
func (s *scanner) member(sh *shape, key []byte, offset int) (*shape, error) {
	if sh.kind != shapeStruct {
		return sh.element(), nil
	}
	if field, ok := sh.fields[string(key)]; ok {
		return field, nil
	}
	s.fold = appendFolded(s.fold[:0], key)
	if name, ok := sh.folded[string(s.fold)]; ok {
		return nil, s.refuse(offset, "the key %s differs only in case from the field %q", quoted(key), name)
	}
	if s.exact {
		return nil, s.refuse(offset, "unknown field %s", quoted(key))
	}
	return unknownShape, nil
}

func quoted(key []byte) string { return fmt.Sprintf("%.80q", key) }

// str checks the string that begins at s.pos and returns its content, which aliases s.data if it has no escapes.
func (s *scanner) str() ([]byte, error) {
	start := s.pos
	escaped := false
	for s.pos++; s.pos < len(s.data); {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			if escaped {
				return unescape(s.data[start:s.pos])
			}
			return s.data[start+1 : s.pos-1], nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, s.refuse(s.pos, "control character %#02x in a string", c)
		default:
			s.pos += plain(s.data[s.pos:])
		}
	}
	return nil, s.refuse(s.pos, "the document ends inside a string")
}

// plain returns how many bytes at the beginning of b mean themselves in a string. It takes eight at a time: the payload of an envelope is one long string.
func plain(b []byte) int {
	const each = 0x0101010101010101
	n := 0
	for ; n+8 <= len(b); n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, backslash := x^each*'"', x^each*'\\'
		// The highest bit of a byte is set below where it is less than what is subtracted.
		if ((x-each*' ')&^x|(quote-each)&^quote|(backslash-each)&^backslash)&(each*0x80) != 0 {
			break
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// unescape decodes a string that is known to be valid.
func unescape(raw []byte) ([]byte, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return []byte(text), nil
}

// escape checks one escape sequence, or the two of a surrogate pair.
func (s *scanner) escape() error {
	start := s.pos
	s.pos++ // the backslash
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
	default:
		return s.unexpected("an escape character")
	}
	unit, err := s.codeUnit()
	if err != nil {
		return err
	}
	if !isSurrogate(unit) {
		return nil
	}
	if isHighSurrogate(unit) && s.peek() == '\\' && s.pos+1 < len(s.data) && s.data[s.pos+1] == 'u' {
		s.pos++
		low, err := s.codeUnit()
		if err != nil {
			return err
		}
		if isSurrogate(low) && !isHighSurrogate(low) {
			return nil
		}
	}
	return s.refuse(start, `\u%04x is half of a surrogate pair`, unit)
}

func isSurrogate(unit uint16) bool     { return unit&0xf800 == 0xd800 }
func isHighSurrogate(unit uint16) bool { return unit&0xfc00 == 0xd800 }

// codeUnit reads "u" and four hexadecimal digits.
func (s *scanner) codeUnit() (uint16, error) {
	s.pos++ // the u
	var unit uint16
	for range 4 {
		c := s.peek()
		switch {
		case isDigit(c):
			unit = unit<<4 | uint16(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			unit = unit<<4 | uint16(c|0x20-'a'+10)
		default:
			return 0, s.unexpected("a hexadecimal digit")
		}
		s.pos++
	}
	return unit, nil
}

// number checks a number by the grammar of RFC 8259, section 6.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.peek() == '.' {
		s.pos++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) digits() error {
	if !isDigit(s.peek()) {
		return s.unexpected("a digit")
	}
	for isDigit(s.peek()) {
		s.pos++
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (s *scanner) literal(word string) error {
	for i := range len(word) {
		if s.peek() != word[i] {
			return s.unexpected(word)
		}
		s.pos++
	}
	return nil
}
