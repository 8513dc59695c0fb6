// Package httpfield cuts the fields of an HTTP header into their parts.
package httpfield

import "strings"

// Token cuts a token off s (RFC 9110, section 5.6.2).
func Token(s string) (tok, rest string) {
	end := strings.IndexFunc(s, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

// Value cuts a token or a quoted string off s (RFC 9110, section 5.6.4).
func Value(s string) (v, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		v, rest = Token(s)
		return v, rest, true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
