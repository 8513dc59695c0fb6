package yaml_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"airgap/bundle/yaml"
)

// The bound on values is on what aliases stand for, and that on depth on what is open at once.
func TestValidFilesAreRead(t *testing.T) {
	var keys strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for name, text := range map[string]string{
		"aliases in a list":   "x: &x a\nlist:\n" + strings.Repeat("- *x\n", 5000),
		"brackets in texts":   "allow:\n" + strings.Repeat("- 'a\\[b'\n- a\\[b\n- \"[\"\n", 5000),
		"keys":                keys.String(),
		"many small mappings": strings.Repeat("- {a: b, c: d}\n- a: b\n  c: d\n", 5000),
		"a long list":         strings.Repeat("- a\n", 5000),
		"an empty list":       strings.Repeat("-\n", 5000),
		"a text":              "a: |\n" + strings.Repeat("  [x] {y}\n", 5000),
		"anchors":             strings.Repeat("- &a b\n", 5000),
		"nested by its lines": "a:\n b:\n  c:\n   - - d\n",
		"nested":              strings.Repeat("[", 90) + strings.Repeat("]", 90),
		"a directive":         "%YAML 1.2\n---\na: b\n",
		"UTF-16":              "\xff\xfea\x00:\x00 \x00b\x00\n\x00",
	} {
		if _, err := yaml.Parse([]byte(text), yaml.Options{File: "f"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	all, err := yaml.Parse([]byte("x: &x {a: b}\nlist:\n"+strings.Repeat("- *x\n", 51)), yaml.Options{File: "f"})
	if err != nil || len(all.Field("list").Items) != 51 || all.Field("list").Items[50].Field("a").Text != "b" {
		t.Errorf("%+v, %v", all, err)
	}
}

// Small documents that stand for much, or would take the parser long, or down with the whole program as it runs out of stack.
func TestHostileDocumentsAreRefused(t *testing.T) {
	const n = 1 << 20
	var aliases, merges, deep, tags strings.Builder
	aliases.WriteString("- &a0 {b: c}\n")
	merges.WriteString("- &a0 {b: c}\n")
	deep.WriteString("- &a0 [[[[b]]]]\n")
	for i := range 30 {
		fmt.Fprintf(&aliases, "- &a%d [*a%d, *a%d]\n", i+1, i, i)
		fmt.Fprintf(&merges, "- &a%d {<<: [*a%d, *a%d]}\n", i+1, i, i)
		fmt.Fprintf(&deep, "- &a%d [[[[*a%d]]]]\n", i+1, i)
	}
	tags.WriteString("a: b\n...\n")
	for i := range 80_000 {
		fmt.Fprintf(&tags, "%%TAG !a%d! b\n", i)
	}
	for name, test := range map[string]struct{ text, want string }{
		"lists":              {strings.Repeat("[", n), "f:1:10004: nested too deep"},
		"closed lists":       {strings.Repeat("[", n) + strings.Repeat("]", n), "nested too deep"},
		"fewer lists":        {"a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "f:1:100: nested too deep"},
		"mappings":           {strings.Repeat("{a: ", n/4), "nested too deep"},
		"sequences in a row": {strings.Repeat("- ", n/2) + "a", "nested too deep"},
		"fewer sequences":    {strings.Repeat("- ", 100) + "a", "f:1:195: nested too deep"},
		"keys in a row":      {strings.Repeat("? ", n/2) + "a", "nested too deep"},
		"by aliases":         {deep.String(), "f:24:12: nested too deep"},
		"anchors":            {strings.Repeat("&a ", n/3) + "b", "f:1:"},
		"tags":               {strings.Repeat("!a ", n/3) + "b", "f:1:"},
		"after a key":        {"a: " + strings.Repeat("- ", n/2) + "b", "f:1:7: block sequence entries are not allowed"},
		"aliases":            {aliases.String(), "f:17:15: aliases stand for too much in all"},
		"merges":             {merges.String(), "aliases stand for too much in all"},
		"a long text":        {"a: b\n---\na: '" + strings.Repeat("x", 17<<20) + "'", "f:2:1: more than 16 MiB"},
		"values":             {strings.Repeat("- {a: b}\n", 1<<20), "f:1:1: more than 16 MiB, or more than 2000000 values"},
		"directives":         {tags.String(), "f:1:1: too many %TAG directives"},
		"a key twice":        {strings.Repeat("k: 1\n", 20_000), `f:2:1: the key "k" is there twice`},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := yaml.Parse([]byte(test.text), yaml.Options{File: "f"})
			var wrong *yaml.Error
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\nwant something with %q", err, test.want)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	for name, text := range map[string]string{
		"lines": strings.Repeat("k: 1\n", 100_000), "further in": "a:\n" + strings.Repeat("  k: 1\n", 100_000), "braces": "a: {" + strings.Repeat("k: 1, ", 100_000) + "}",
	} {
		v, err := yaml.Parse([]byte(text), yaml.Options{File: "f", Lenient: true})
		if err != nil || len(v.Fields) != 1 {
			t.Errorf("keys in %s: %v", name, err)
		}
	}
}

func TestMistakesHaveAPlace(t *testing.T) {
	for text, want := range map[string]string{
		"sync: [":                           "f:1:7: did not find expected node content",
		"a: b: c":                           "f:1:7: mapping values are not allowed in this context",
		"a:\n  b: 1\n c: 2\n":               "f:3:6: did not find expected key",
		"a: 1\nb:\n - c: d\n   e: f\n  g\n": "f:5:",
		"a: 1\nb: \"x\\q\"\n":               "f:2:8: found unknown escape character",
		"a: *hunter2 # x\n\n# c\nb: 1":      "f:1:4: there is no anchor of this name before the alias",
		"a: *b\n---\nb: &b 1":               "f:1:4: there is no anchor",
		"\n---\na: &b 1\n---\nb: *b\n":      "f:5:4: there is no anchor",
		"a: 1\r---\rb: *hunter2\r":          "there is no anchor",
		"# x\n\na: &a\n  - b: *a\n":         "f:4:8: this alias stands inside itself",
		"a: 1\nb: {c: 1, c: 2}":             `f:2:11: the key "c" is there twice`,
		"a: 1\n? [b]\n: 2":                  "f:2:3: this key is a list, but a single value is expected",
		"a: {<<: [{}, 1]}":                  "f:1:5: << takes a mapping, not a single value",
		"a: 1\n---\nb: 1":                   "f:3:1: more than one document in a file",
		"a: 1\n...\n---\nb: 1":              "f:4:1: more than one document in a file",
		"a: 1\n---\nb: [":                   "f:3:4: did not find expected node content",
		"é: \x01":                           "f:1:4: control characters are not allowed",
		"a: \xff":                           "f:1:4: invalid leading UTF-8 octet",
	} {
		_, err := yaml.Parse([]byte(text), yaml.Options{File: "f"})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v\nwant %s", text, err, want)
		}
	}
}

func TestPositions(t *testing.T) {
	v, err := yaml.Parse([]byte("# x\na: b\nc:\n  - d: 'é'\n    e: {f: g}\nh: &h\n  i: j\nk: {<<: *h, l: !!str 1}\nm: ~\n"), yaml.Options{File: "f"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var walk func(v *yaml.Value)
	walk = func(v *yaml.Value) {
		for _, item := range v.Items {
			got = append(got, fmt.Sprintf("%s %s", item.Position, item.Kind))
			walk(item)
		}
		for _, f := range v.Fields {
			got = append(got, fmt.Sprintf("%s %s: %s %s %s %t", f.Position, f.Key, f.Value.Position, f.Value.Kind, f.Value.Text, f.Value.IsText))
			walk(f.Value)
		}
	}
	walk(v)
	if want := `f:2:1 a: f:2:4 a single value b true
f:3:1 c: f:4:3 a list  false
f:4:5 a mapping
f:4:5 d: f:4:8 a single value é true
f:5:5 e: f:5:8 a mapping  false
f:5:9 f: f:5:12 a single value g true
f:6:1 h: f:7:3 a mapping  false
f:7:3 i: f:7:6 a single value j true
f:8:1 k: f:8:4 a mapping  false
f:8:13 l: f:8:16 a single value 1 true
f:7:3 i: f:7:6 a single value j true
f:9:1 m: f:9:4 nothing ~ false`; strings.Join(got, "\n") != want {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// What is wrong with one document of a stream leaves the others, and what could be read of it.
func TestStream(t *testing.T) {
	r := yaml.NewReader(strings.NewReader("a: 1\n---\n# nothing\n---\nb: &b [1, *b]\n---\nc: [\n---\nd: 1\n...\n---\ne: 1\n"), yaml.Options{File: "f"})
	var got []string
	for {
		document, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		line := strconv.Itoa(document.Line)
		if document.Root != nil {
			line += " " + document.Root.Fields[0].Key
		}
		if err != nil {
			line += " " + err.Error()
		}
		got = append(got, line)
	}
	if want := "1 a|4 b f:5:11: this alias stands inside itself|6 f:7:5: did not find expected node content|8 d|11 e"; strings.Join(got, "|") != want {
		t.Errorf("%q\nwant %q", strings.Join(got, "|"), want)
	}
}

// The budget for aliases is one for the whole stream.
func TestAliasesOfAStream(t *testing.T) {
	document := "---\na: &a [" + strings.Repeat("1,", 1000) + "]\nb: [" + strings.Repeat("*a,", 100) + "]\n"
	r := yaml.NewReader(strings.NewReader(strings.Repeat(document, 10)), yaml.Options{File: "f"})
	read, refused := 0, 0
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if read++; err != nil {
			refused++
		}
	}
	if read != 10 || refused != 6 {
		t.Errorf("%d of %d are refused", refused, read)
	}
}

// Whatever the bytes, there is a value or an error with a place, and what a value comes to is bounded.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"../../export/config/testdata/dhi.yaml", "../../export/config/testdata/everything.yaml", "../../export/chart/testdata/rendered.yaml", "../../export/chart/testdata/values.yaml", "../../export/chart/testdata/charts/shop/Chart.yaml"} {
		content, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, false)
		f.Add(content, true)
	}
	f.Add([]byte("x-a: &a {b: *a}\n<<: [*a]\n? [1]\n: 2\n"), true)
	f.Add([]byte("- &x {source: a, target: b}\n- *x\n- {<<: *x, target: !!str 1}\n...\n--- # y\n%TAG !e! x\n"), false)
	f.Fuzz(func(t *testing.T, content []byte, lenient bool) {
		r := yaml.NewReader(strings.NewReader(string(content)), yaml.Options{File: "f", Lenient: lenient})
		lines := 1 + strings.Count(string(content), "\n")
		for documents := 0; ; documents++ {
			document, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			var wrong *yaml.Error
			if err != nil && !errors.As(err, &wrong) || err == nil && document.Root == nil {
				t.Fatalf("%+v, %v", document, err)
			}
			if wrong != nil && (wrong.Position.Line < 1 || wrong.Position.Column < 1 || strings.Contains(wrong.Message, "\n")) {
				t.Fatalf("%q", wrong)
			}
			if documents > lines+len(content) {
				t.Fatal("more documents than bytes")
			}
			check(t, document.Root, 0)
		}
	})
}

// check walks through a value as its readers do, aliases followed.
func check(t *testing.T, v *yaml.Value, depth int) {
	if v == nil {
		return
	}
	if depth > 100 || v.Position.Line < 1 || v.Position.Column < 1 {
		t.Fatalf("%d levels down: %+v", depth, v)
	}
	for _, item := range v.Items {
		check(t, item, depth+1)
	}
	for _, f := range v.Fields {
		check(t, f.Value, depth+1)
	}
}
