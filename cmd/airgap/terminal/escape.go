package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape makes text from outside (a tag, an annotation, a registry's error message) safe to show: everything that
// is not printable, such as control characters, escape sequences, marks that turn the direction of the text and
// bytes that are no UTF-8, is written as a Go escape sequence. Printable text in any script is left as it is.
func Escape(s string) string {
	if isPrintable(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// EscapeLines is Escape for a message of several lines. Lines after the first are indented, so that none of them
// can pass for a message of its own.
func EscapeLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, line := range lines {
		lines[i] = Escape(line)
	}
	return strings.Join(lines, "\n  ")
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// WriteJSON writes v as indented JSON with a newline. encoding/json escapes control characters below U+0020 only;
// here the others that a terminal would obey are escaped too, which changes nothing for a program that reads it.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(jsonEscaper{w})
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// jsonEscaper turns unprintable characters in JSON into \u sequences. Each Write must be whole JSON texts, which
// json.Encoder and slog.JSONHandler guarantee. Outside of strings JSON has no such characters but white space.
type jsonEscaper struct{ w io.Writer }

func (e jsonEscaper) Write(p []byte) (int, error) {
	if _, err := io.WriteString(e.w, escapeJSON(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func escapeJSON(s string) string {
	safe := func(r rune) bool { return r == '\n' || unicode.IsPrint(r) }
	if strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case safe(r):
			b.WriteRune(r)
		case r > 0xffff:
			// JSON writes these as a surrogate pair. https://www.rfc-editor.org/rfc/rfc8259#section-7
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
