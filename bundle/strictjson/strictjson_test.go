package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"airgap/bundle/strictjson"
)

// document has one field of each kind that the gate tells apart.
type document struct {
	embedded
	Name        string            `json:"name"`
	Kelvin      int               `json:"kelvin"`
	Annotations map[string]string `json:"annotations"`
	Groups      map[string]inner  `json:"groups"`
	List        []inner           `json:"list"`
	Next        *document         `json:"next"`
	Raw         json.RawMessage   `json:"raw"`
	Any         any               `json:"any"`
	When        time.Time         `json:"when"`
	Untagged    int
	Hidden      string `json:"-"`
}

type embedded struct {
	Promoted int    `json:"promoted"`
	Name     string `json:"name"` // hidden by document's
}

type inner struct {
	Size int64 `json:"size"`
}

func nested(depth int) string {
	return `{"any":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + "}"
}

// cases carry their verdict; refused is part of the reason, and empty where the document passes.
var cases = []struct {
	name, in, refused string
}{
	{"empty object", `{}`, ""},
	{"white space around", " \t\r\n{ \"name\" : \"x\" , \"list\" : [ ] } \n", ""},
	{"every kind of number", `{"any":[0,-0,1,-1,10,1.5,-0.5e3,1E+2,1e-2,12345678901234567890]}`, ""},
	{"every kind of escape", `{"any":"\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00"}`, ""},
	{"unknown fields", `{"other":1,"more":{"a":[{"b":null}]}}`, ""},
	{"null field", `{"name":null,"list":null,"next":null}`, ""},
	{"a replacement character is a character", `{"name":"` + "\uFFFD" + `\ufffd"}`, ""},
	{"annotations differ in case", `{"annotations":{"Title":"a","title":"b"}}`, ""},
	{"annotations named as fields", `{"annotations":{"Name":"a","NAME":"b"}}`, ""},
	{"many annotations differ in case", `{"annotations":{` + manyKeys("k", 40) + `,` + manyKeys("K", 40) + `}}`, ""},
	{"groups differ in case", `{"groups":{"A":{"size":1},"a":{"size":2}}}`, ""},
	{"raw keys differ in case at any depth", `{"raw":{"HTTP_PROXY":[{"a":1,"A":2}],"http_proxy":""}}`, ""},
	{"deepest", nested(strictjson.MaxDepth), ""},
	{"many unknown keys", `{` + manyKeys("k", 1000) + `}`, ""},
	{"siblings may repeat", `{"list":[{"size":1},{"size":1}]}`, ""},
	{"untagged field", `{"Untagged":1}`, ""},
	{"own unmarshaler", `{"when":"2026-01-02T03:04:05Z"}`, ""},

	{"nothing", ``, "empty document"},
	{"only space", " \n", "empty document"},
	{"null", ` null `, "not null"},
	{"byte order mark", "\uFEFF{}", "where a value was expected"},
	{"trailing value", `{}{}`, "byte 2: data after the end"},
	{"trailing comma at top", `{},`, "data after the end"},
	{"trailing NUL", "{}\x00", "data after the end"},
	{"invalid UTF-8 in a value", "{\"name\":\"a\xff\"}", "byte 10: invalid UTF-8"},
	{"invalid UTF-8 in a key", "{\"a\xc0\x80\":1}", "byte 3: invalid UTF-8"},
	{"surrogate as UTF-8", "{\"name\":\"\xed\xa0\x80\"}", "invalid UTF-8"},
	{"truncated UTF-8 at the end", "{}\xe2\x82", "invalid UTF-8"},
	{"lone high surrogate", `{"name":"\ud800"}`, `byte 9: \ud800 is half`},
	{"lone low surrogate", `{"name":"\udc00x"}`, `\udc00 is half`},
	{"two high surrogates", `{"name":"\ud800\ud800"}`, "is half"},
	{"high surrogate before other escape", `{"name":"\ud800\n"}`, "is half"},
	{"high surrogate before character", `{"name":"\ud800\u0041"}`, "is half"},
	{"lone surrogate in a key", `{"\uDFFF":1}`, "is half"},
	{"lone surrogate in an unknown field", `{"x":["\ud800"]}`, "is half"},
	{"duplicate", `{"name":"a","name":"b"}`, `byte 12: the key "name" is twice`},
	{"duplicate with same value", `{"name":"a","name":"a"}`, "is twice"},
	{"duplicate by escape", `{"name":"a","n\u0061me":"b"}`, "is twice"},
	{"duplicate unknown", `{"x":1,"x":2}`, "is twice"},
	{"duplicate annotation", `{"annotations":{"a":"1","a":"2"}}`, "is twice"},
	{"duplicate among many", `{` + manyKeys("k", 100) + `,"k50":1}`, "is twice"},
	{"duplicate among many annotations", `{"annotations":{` + manyKeys("k", 100) + `,"k50":"1"}}`, "is twice"},
	{"duplicate deep in the unknown", `{"x":[{"y":{"z":1,"z":1}}]}`, "is twice"},
	{"duplicate in raw", `{"raw":{"a":{"b":1,"b":1}}}`, "is twice"},
	{"duplicate in any", `{"any":[{"b":1,"b":1}]}`, "is twice"},
	{"duplicate in list", `{"list":[{},{"size":1,"size":2}]}`, "is twice"},
	{"duplicate empty key", `{"":1,"":2}`, "is twice"},
	{"folded field", `{"Name":"a"}`, `the key "Name" differs only in case from the field "name"`},
	{"folded field beside the field", `{"name":"a","NAME":"b"}`, "differ only in case"},
	{"folded field by a Kelvin sign", `{"` + "\u212a" + `elvin":1}`, `differs only in case from the field "kelvin"`},
	{"folded field by escape", `{"\u004eame":"a"}`, "differs only in case"},
	{"folded promoted field", `{"Promoted":1}`, `from the field "promoted"`},
	{"folded untagged field", `{"untagged":1}`, `from the field "Untagged"`},
	{"folded in a list", `{"list":[{"Size":1}]}`, `from the field "size"`},
	{"folded in a map's value", `{"groups":{"a":{"SIZE":1}}}`, `from the field "size"`},
	{"folded in itself", `{"next":{"next":{"Name":"a"}}}`, `from the field "name"`},
	{"folded unknown", `{"other":1,"Other":2}`, `the keys "other" and "Other" of one object differ only in case`},
	{"folded unknown by long s", `{"size":1,"` + "\u017f" + `ize":2}`, "differ only in case"},
	{"folded unknown among many", `{` + manyKeys("k", 100) + `,"K50":1}`, "differ only in case"},
	{"folded deep in the unknown", `{"x":[{"y":{"z":1,"Z":1}}]}`, "differ only in case"},
	{"folded in any", `{"any":{"z":1,"Z":1}}`, "differ only in case"},
	{"folded in a value of annotations", `{"annotations":{"a":{"z":1,"Z":1}}}`, "differ only in case"},
	{"too deep", nested(strictjson.MaxDepth + 1), "nested deeper than 64"},
	{"far too deep", strings.Repeat("[", 1<<20), "nested deeper than 64"},
	{"too deep in objects", strings.Repeat(`{"x":`, 100), "nested deeper than 64"},
	{"wrong type", `{"name":1}`, "at byte 9: name: number where a string is expected"},
	{"number out of range", `{"list":[{"size":9223372036854775808}]}`, "list.size: number 9223372036854775808 where an integer of 64 bits is expected"},
	{"fraction for an integer", `{"list":[{"size":1.0}]}`, "list.size: number 1.0 where an integer of 64 bits is expected"},
	{"array for an object", `{"next":[]}`, "next: array where an object is expected"},
	{"object for an array", `{"list":{}}`, "list: object where an array is expected"},
	{"text for a map", `{"annotations":"a"}`, "annotations: string where an object is expected"},
	{"array for the whole", `[]`, "array where an object is expected"},
	{"unclosed object", `{"name":"a"`, "the document ends"},
	{"unclosed array", `{"list":[`, "the document ends"},
	{"unclosed string", `{"name":"a`, "the document ends inside a string"},
	{"unclosed escape", `{"name":"\`, "the document ends"},
	{"unclosed \\u", `{"name":"\u00`, "the document ends"},
	{"bad hexadecimal", `{"name":"\u00g0"}`, "hexadecimal digit"},
	{"unknown escape", `{"name":"\x41"}`, "escape character"},
	{"control character", "{\"name\":\"a\nb\"}", "control character 0x0a"},
	{"leading zero", `{"any":01}`, `"," or "}"`},
	{"plus sign", `{"any":+1}`, "a value was expected"},
	{"bare point", `{"any":1.}`, "a digit was expected"},
	{"leading point", `{"any":.5}`, "a value was expected"},
	{"bare exponent", `{"any":1e}`, "a digit was expected"},
	{"bare minus", `{"any":-}`, "a digit was expected"},
	{"NaN", `{"any":NaN}`, "a value was expected"},
	{"bad literal", `{"any":trUe}`, "where true was expected"},
	{"short literal", `{"any":nul`, "where null was expected"},
	{"trailing comma in an object", `{"name":"a",}`, "a key was expected"},
	{"trailing comma in an array", `{"any":[1,]}`, "a value was expected"},
	{"key without quotes", `{name:1}`, "a key was expected"},
	{"key without a colon", `{"name" 1}`, `":" was expected`},
	{"comment", `{/**/}`, "a key was expected"},
	{"single quotes", `{'name':1}`, "a key was expected"},
	{"vertical tab as space", "{\v}", "a key was expected"},
}

func manyKeys(prefix string, n int) string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%q:%q", fmt.Sprintf("%s%d", prefix, i), "v")
	}
	return strings.Join(keys, ",")
}

func TestUnmarshal(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got document
			err := strictjson.Unmarshal([]byte(c.in), &got)
			if c.refused == "" {
				checkPasses(t, c.in, got, err)
				return
			}
			if !errors.Is(err, strictjson.ErrRefused) || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("got %v, want a refusal with %q", err, c.refused)
			}
		})
	}
}

func checkPasses(t *testing.T, in string, got document, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var want document
	if err := json.Unmarshal([]byte(in), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("decoded to %+v, encoding/json says %+v", got, want)
	}
}

func TestUnmarshalExact(t *testing.T) {
	for in, refused := range map[string]string{
		`{"name":"a","list":[{"size":1}],"promoted":1}`: "",
		`{"annotations":{"any":"key"},"any":{"x":1}}`:   "",
		`{"raw":{"x":1}}`:                   "",
		`{"name":"a","other":1}`:            `byte 12: unknown field "other"`,
		`{"list":[{"size":1,"digest":""}]}`: `unknown field "digest"`,
		`{"groups":{"x":{"y":1}}}`:          `unknown field "y"`,
		`{"Hidden":"a"}`:                    `unknown field "Hidden"`,
		`{"-":"a"}`:                         `unknown field "-"`,
		`{"Name":"a"}`:                      "differs only in case",
	} {
		err := strictjson.UnmarshalExact([]byte(in), new(document))
		switch {
		case refused == "" && err != nil:
			t.Errorf("%s: %v", in, err)
		case refused != "" && (err == nil || !strings.Contains(err.Error(), refused)):
			t.Errorf("%s: got %v, want a refusal with %q", in, err, refused)
		}
	}
}

// upper is refused by its own UnmarshalText, whose error must stay visible.
type upper string

var errLower = errors.New("lower case")

func (u *upper) UnmarshalText(b []byte) error {
	if !bytes.Equal(bytes.ToUpper(b), b) {
		return errLower
	}
	*u = upper(b)
	return nil
}

func TestErrors(t *testing.T) {
	var v struct{ U upper }
	err := strictjson.Unmarshal([]byte(`{"U":"a"}`), &v)
	if !errors.Is(err, errLower) || !errors.Is(err, strictjson.ErrRefused) {
		t.Errorf("an error of UnmarshalText became %v", err)
	}
	var refusal *strictjson.Error
	err = strictjson.Unmarshal([]byte("{\"\x1b[2J\":1}"), &v)
	if !errors.As(err, &refusal) || refusal.Offset != 2 || strings.ContainsRune(err.Error(), '\x1b') {
		t.Errorf("got %q, want an *Error at byte 2 without the escape character itself", err)
	}
	for _, target := range []any{nil, v, (*document)(nil)} {
		if err := strictjson.Unmarshal([]byte(`{}`), target); err == nil || errors.Is(err, strictjson.ErrRefused) {
			t.Errorf("target %T: got %v, want an error about the target", target, err)
		}
	}
}

// TestTopLevel: targets other than structs, whose keys belong to users or do not.
func TestTopLevel(t *testing.T) {
	folding := []byte(`{"a":1,"A":2}`)
	if err := strictjson.Unmarshal(folding, new(map[string]int)); err != nil {
		t.Errorf("map: %v", err)
	}
	if err := strictjson.Unmarshal(folding, new(json.RawMessage)); err != nil {
		t.Errorf("RawMessage: %v", err)
	}
	if err := strictjson.Unmarshal(folding, new(any)); !errors.Is(err, strictjson.ErrRefused) {
		t.Errorf("any: got %v", err)
	}
	var list []string
	if err := strictjson.Unmarshal([]byte(`["a","b"]`), &list); err != nil || len(list) != 2 {
		t.Errorf("list: %v, %v", list, err)
	}
}

// TestLinear would take minutes if keys were compared each with each.
func TestLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("a document of several MB")
	}
	for _, format := range []string{`{%s}`, `{"annotations":{%s}}`} {
		in := []byte(fmt.Sprintf(format, manyKeys("key", 300_000)))
		start := time.Now()
		if err := strictjson.Unmarshal(in, new(document)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%d bytes took %v", len(in), took)
		}
	}
}
