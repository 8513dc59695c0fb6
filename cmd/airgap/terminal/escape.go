package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
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

// Sprintf is fmt.Sprintf that escapes each argument and not the format: line feeds in the format begin lines, and what
// comes from outside stays on one. Only an error may take several, see Error.
func Sprintf(format string, args ...any) string {
	safe := make([]any, len(args))
	for i, arg := range args {
		safe[i] = escaped{arg}
	}
	return fmt.Sprintf(format, safe...)
}

// escaped is an argument that is escaped once it has been formatted.
type escaped struct{ arg any }

// Format implements fmt.Formatter.
func (e escaped) Format(f fmt.State, verb rune) {
	if err, isError := e.arg.(error); isError && (verb == 's' || verb == 'v') {
		_, _ = io.WriteString(f, Error(err))
		return
	}
	_, _ = io.WriteString(f, Escape(fmt.Sprintf(fmt.FormatString(f, verb), e.arg)))
}

// Error returns the message of an error, escaped. Errors that errors.Join has put together take a line each; every other
// line feed is text from outside, and escaped like the rest of it. Lines after the first are indented, so that none of
// them can pass for a message of its own.
func Error(err error) string {
	message := err.Error()
	parts := unwrapAll(err)
	messages := make([]string, len(parts))
	for i, part := range parts {
		messages[i] = part.Error()
	}
	isJoined := message == strings.Join(messages, "\n")
	var b strings.Builder
	for i, part := range parts {
		before, after, found := strings.Cut(message, messages[i])
		switch {
		case !found || messages[i] == "":
			continue
		case isJoined && i > 0:
			b.WriteString("\n  ")
		default:
			b.WriteString(Escape(before))
		}
		b.WriteString(Error(part))
		message = after
	}
	return b.String() + Escape(message)
}

func unwrapAll(err error) []error {
	switch wrapper := err.(type) { //nolint:errorlint // one step, as the message of each wrapper is looked at
	case interface{ Unwrap() []error }:
		return wrapper.Unwrap()
	case interface{ Unwrap() error }:
		if inner := wrapper.Unwrap(); inner != nil {
			return []error{inner}
		}
	}
	return nil
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// WriteJSON writes v as indented JSON with a newline. encoding/json escapes control characters below U+0020 only;
// here the others that a terminal would obey are escaped too, which changes nothing for a program that reads it.
func WriteJSON(w io.Writer, v any) error { return encodeJSON(jsonEscaper{w}, v, "") }

// WriteJSONWith is WriteJSON of an object whose field of the given name, an empty list, has the items: one after the other,
// so that they are not all in memory.
func WriteJSONWith[Item any](w io.Writer, v any, field string, items iter.Seq[Item]) error {
	var object strings.Builder
	if err := encodeJSON(&object, v, ""); err != nil {
		return err
	}
	before, after, _ := strings.Cut(object.String(), "\n  \""+field+"\": []") // with this indent nothing else
	out := jsonEscaper{w}
	if _, err := io.WriteString(out, before+"\n  \""+field+"\": ["); err != nil {
		return err
	}
	comma := ""
	for item := range items {
		var text strings.Builder
		if err := encodeJSON(&text, item, "    "); err != nil {
			return err
		}
		if _, err := io.WriteString(out, comma+"\n    "+strings.TrimSpace(text.String())); err != nil {
			return err
		}
		comma = ","
	}
	_, err := io.WriteString(out, "\n  ]"+after)
	return err
}

// encodeJSON puts prefix before each line but the first.
func encodeJSON(w io.Writer, v any, prefix string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent(prefix, "  ")
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
