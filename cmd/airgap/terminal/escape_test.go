package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// hostile is what a terminal would obey or a reader misread, with what it is to be shown as.
var hostile = []struct{ name, in, want string }{
	{"plain", "docker.io/acme/app:1.0", "docker.io/acme/app:1.0"},
	{"other scripts", "Übung 日本語 עברית", "Übung 日本語 עברית"},
	{"escape sequence", "a\x1b[31mred\x1b]0;title\a", `a\x1b[31mred\x1b]0;title\a`},
	{"line feed", "one\ntwo\r\tthree", `one\ntwo\r\tthree`},
	{"C1 control", "a\u009b31m", `a\u009b31m`},
	{"C1 control as a bare byte", "a\x9b31m", `a\x9b31m`},
	{"bidirectional override", "a\u202egnp.exe", `a\u202egnp.exe`},
	{"bidirectional isolate", "a\u2066b\u2069", `a\u2066b\u2069`},
	{"zero width", "a\u200bb\ufeff", `a\u200bb\ufeff`},
	{"line separator", "a\u2028b\u0085c", `a\u2028b\u0085c`},
	{"delete", "a\x7fb\x00", `a\x7fb\x00`},
	{"broken UTF-8", "a\xff\xc3", `a\xff\xc3`},
	{"outside of the basic plane", "a\U000e0041", `a\U000e0041`},
	{"a replacement character that was there", "a\ufffdb", "a\ufffdb"},
	{"backslash", `C:\keys`, `C:\keys`},
}

func TestEscape(t *testing.T) {
	for _, test := range hostile {
		t.Run(test.name, func(t *testing.T) {
			if got := Escape(test.in); got != test.want {
				t.Errorf("Escape(%q) = %s, want %s", test.in, got, test.want)
			}
		})
	}
}

func TestSprintf(t *testing.T) {
	for _, test := range hostile {
		got := Sprintf("one\n%s %d%-30v|%v", test.in, 5, test.in, []string{test.in})
		if rest := strings.TrimPrefix(got, "one\n"); strings.Contains(rest, "\n") || !strings.HasPrefix(rest, test.want+" 5") {
			t.Errorf("%s: %q", test.name, got)
		}
	}
	if got := Sprintf("%s: %v", "a\nb", errors.Join(errors.New("c\nd"), errors.New("e"))); got != `a\nb: c\nd`+"\n  e" {
		t.Errorf("got %q", got)
	}
}

// silent wraps without showing what it wraps, as errors do that show what a registry said.
type silent struct {
	message string
	inner   []error
}

func (e silent) Error() string   { return e.message }
func (e silent) Unwrap() []error { return e.inner }

// Only what errors.Join put together has lines, wherever in the chain that happened.
func TestError(t *testing.T) {
	const evil = "x\nairgap: all is well\x1b"
	const safe = `x\nairgap: all is well\x1b`
	one, two := errors.New("one"), errors.New("two\n"+evil)
	joined := errors.Join(one, two)
	const lines = "one\n  two\\n" + safe
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"plain":                {errors.New(evil), safe},
		"joined":               {joined, lines},
		"joined, alone":        {errors.Join(two), `two\n` + safe},
		"joined, again":        {errors.Join(joined, one), lines + "\n  one"},
		"wrapped":              {fmt.Errorf("%s: %w", evil, joined), safe + ": " + lines},
		"wrapped before":       {fmt.Errorf("%w: %s", joined, evil), lines + ": " + safe},
		"wrapped twice":        {fmt.Errorf("a: %w", fmt.Errorf("%w, b: %w", one, joined)), "a: one, b: " + lines},
		"two of them":          {fmt.Errorf("%w\n%w", one, two), lines}, // errors.Join in another spelling
		"with the words":       {fmt.Errorf("one\none %w", one), `one\none one`},
		"what was hidden":      {silent{"one\n" + evil, []error{one, two}}, `one\n` + safe},
		"a sentinel's words":   {silent{evil + "\none\nFORGED", []error{one}}, safe + `\none\nFORGED`},
		"two sentinels' words": {silent{"x one\none\nFORGED", []error{one, one}}, `x one\none\nFORGED`},
		"nothing within":       {silent{evil, nil}, safe},
	} {
		if got := Error(test.err); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// Every way to standard output or standard error, with every hostile string.
func TestNothingUnprintableGetsThrough(t *testing.T) {
	ways := map[string]func(b *bytes.Buffer, s string){
		"json":      func(b *bytes.Buffer, s string) { _ = WriteJSON(b, map[string]string{s: s}) },
		"text log":  func(b *bytes.Buffer, s string) { NewLogger(b, FormatText, slog.LevelInfo).Info(s, "k", s) },
		"json log":  func(b *bytes.Buffer, s string) { NewLogger(b, FormatJSON, slog.LevelInfo).Info(s, "k", s) },
		"lines":     func(b *bytes.Buffer, s string) { observe(Options{Screen: NewScreen(b, nil)}, s) },
		"records":   func(b *bytes.Buffer, s string) { observe(Options{Screen: NewScreen(b, nil), Format: FormatJSON}, s) },
		"warnf":     func(b *bytes.Buffer, s string) { NewProgress(Options{Screen: NewScreen(b, nil)}).Warnf("%s", s) },
		"quiet":     func(b *bytes.Buffer, s string) { observe(Options{Screen: NewScreen(b, nil), Quiet: true}, s) },
		"bar":       func(b *bytes.Buffer, s string) { observe(Options{Screen: NewScreen(b, wide)}, s) },
		"bar, slim": func(b *bytes.Buffer, s string) { observe(Options{Screen: NewScreen(b, func() int { return 3 })}, s) },
	}
	for way, write := range ways {
		for _, test := range hostile {
			t.Run(way+"/"+test.name, func(t *testing.T) {
				var b bytes.Buffer
				write(&b, test.in)
				// A carriage return and line feeds are airgap's own.
				rest := strings.NewReplacer("\r", "", "\n", "").Replace(b.String())
				if i := strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
					t.Errorf("unprintable %q in %q", rest[i:], rest)
				}
			})
		}
	}
}

func observe(o Options, s string) {
	o.Interval = -1
	p := NewProgress(o)
	p.Phase(s, 10)
	p.Item(s)
	p.Add(5)
	p.refresh()
	p.Warn(s)
	p.Close()
}

func wide() int { return 100 }

func TestWriteJSONChangesNothing(t *testing.T) {
	for _, test := range hostile {
		if test.name == "broken UTF-8" || test.name == "C1 control as a bare byte" {
			continue // cannot be said in JSON
		}
		var b bytes.Buffer
		if err := WriteJSON(&b, test.in); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got != test.in {
			t.Errorf("%s: %q became %q", test.name, test.in, got)
		}
	}
}

// A list that is written item by item reads as one that was written at once.
func TestWriteJSONWith(t *testing.T) {
	type object struct {
		Before string   `json:"before"`
		List   []string `json:"list"`
		After  []string `json:"after"`
	}
	list := []string{"one\u202e", "\n  \"list\": []", "<&>"}
	var got, want bytes.Buffer
	if err := WriteJSONWith(&got, object{"\n  \"list\": []", []string{}, []string{"a"}}, "list", slices.Values(list)); err != nil {
		t.Fatal(err)
	}
	if err := WriteJSON(&want, object{"\n  \"list\": []", list, []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("%s, want %s", got.String(), want.String())
	}
	got.Reset()
	var read object
	if err := WriteJSONWith(&got, object{List: []string{}}, "list", slices.Values([]string{})); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got.Bytes(), &read); err != nil || len(read.List) != 0 {
		t.Errorf("an empty list: %v\n%s", err, got.String())
	}
}
