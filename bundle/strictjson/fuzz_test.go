package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"airgap/bundle/strictjson"
)

// imageManifest and imageIndex are as buildx writes them.
const (
	imageManifest = `{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},
  "layers": [
    {"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:9824c27679d3b27c5e1cb00a73adb6f4f8d556994111c12db3c5d61a0c843df8","size":3797860},
    {"mediaType":"application/vnd.in-toto+json","digest":"sha256:5d20c808ce198565ff70b3ed23a991dd49afac45dece63474b27ce6ed036adc6","size":1337,
     "annotations":{"in-toto.io/predicate-type":"https://slsa.dev/provenance/v0.2"}}
  ],
  "annotations": {"org.opencontainers.image.title":"d\u00e9mo","org.opencontainers.image.Title":"x"}
}`
	imageIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:9824c27679d3b27c5e1cb00a73adb6f4f8d556994111c12db3c5d61a0c843df8","size":1024,"platform":{"architecture":"arm64","os":"linux","variant":"v8"}},` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:5d20c808ce198565ff70b3ed23a991dd49afac45dece63474b27ce6ed036adc6","size":566,"annotations":{"vnd.docker.reference.type":"attestation-manifest"},"platform":{"architecture":"unknown","os":"unknown"}}]}`
	statement = `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v0.2","subject":[{"name":"x","digest":{"sha256":"ab"}}],"predicate":{"parameters":{"args":{"build-arg:HTTP_PROXY":"","build-arg:http_proxy":""}}}}`
)

// FuzzUnmarshal compares the gate with a slow one written from the package comment over encoding/json's tokens, in
// three ways of decoding that differ in whose keys they are.
func FuzzUnmarshal(f *testing.F) {
	for _, c := range cases {
		if len(c.in) < 4096 {
			f.Add([]byte(c.in))
		}
	}
	for _, seed := range []string{imageManifest, imageIndex, statement} {
		f.Add([]byte(seed))
	}
	for _, seed := range []string{
		`{"payload":"aGVsbG8=","size":3}`, `{"size":1,"payload":{"a":[1],"A":2},"after":"x"}`, `{"payload":null,"after":7}`, `{"payload":"a very long text, for the offset","after":1.5}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		compare[any](t, in, tokensPass(in, true))
		compare[json.RawMessage](t, in, tokensPass(in, false))
		checkSpan(t, in)
		checkDocument(t, in)
	})
}

// compare decodes in as a T and compares the verdict with wanted and the value with encoding/json's.
func compare[T any](t *testing.T, in []byte, wanted bool) {
	var got, want T
	err := strictjson.Unmarshal(in, &got)
	if (err == nil) != wanted {
		t.Fatalf("%T: Unmarshal says %v; the reference, that it passes: %v", got, err, wanted)
	}
	if err != nil {
		if !errors.Is(err, strictjson.ErrRefused) {
			t.Fatalf("%v is no refusal", err)
		}
		return
	}
	if err := json.Unmarshal(in, &want); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("encoding/json has %v (%v), not %v", want, err, got)
	}
}

// checkDocument: what passes decodes as encoding/json decodes it and can be marshalled and decoded again; what
// passes exactly has no fields that encoding/json would call unknown.
func checkDocument(t *testing.T, in []byte) {
	var got, want, again document
	err := strictjson.Unmarshal(in, &got)
	exactErr := strictjson.UnmarshalExact(in, new(document))
	if err != nil {
		if exactErr == nil {
			t.Fatalf("passes exactly, but not otherwise: %v", err)
		}
		return
	}
	if !tokensPass(in, false) {
		t.Fatal("passes as a document, but has duplicate keys or the like")
	}
	if err := json.Unmarshal(in, &want); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("encoding/json has %+v (%v), not %+v", want, err, got)
	}
	decoder := json.NewDecoder(bytes.NewReader(in))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(new(document)); (err == nil) != (exactErr == nil) {
		t.Fatalf("exact: %v; encoding/json: %v", exactErr, err)
	}
	out, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := strictjson.Unmarshal(out, &again); err != nil {
		t.Fatalf("what was decoded and marshalled is refused: %v", err)
	}
}

// checkSpan: a Span is where a json.RawMessage would be taken from, and nothing else is different.
func checkSpan(t *testing.T, in []byte) {
	t.Helper()
	var raw struct {
		Size  int             `json:"size"`
		Value json.RawMessage `json:"payload"`
		After int             `json:"after"`
	}
	var span struct {
		Size  int             `json:"size"`
		Value strictjson.Span `json:"payload"`
		After int             `json:"after"`
	}
	rawErr, spanErr := strictjson.Unmarshal(in, &raw), strictjson.Unmarshal(in, &span)
	if fmt.Sprint(rawErr) != fmt.Sprint(spanErr) {
		t.Fatalf("as a RawMessage: %v; as a Span: %v", rawErr, spanErr)
	}
	if rawErr == nil && (!bytes.Equal(raw.Value, span.Value.Of(in)) || raw.Size != span.Size || raw.After != span.After) {
		t.Fatalf("as a RawMessage: %+v; as a Span: %s of %+v", raw, span.Value.Of(in), span)
	}
}

// tokensPass is the reference: it tells whether in should pass where no fields are known. It is quadratic.
func tokensPass(in []byte, folding bool) bool {
	if !utf8.Valid(in) || !json.Valid(in) || bytes.Equal(bytes.TrimSpace(in), []byte("null")) || hasLoneSurrogate(in) {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(in))
	decoder.UseNumber()
	if !tokenValue(decoder, folding, 0) {
		return false
	}
	if !folding {
		return true
	}
	// encoding/json alone refuses numbers that float64 cannot hold.
	return json.Unmarshal(in, new(any)) == nil
}

// hasLoneSurrogate relies on encoding/json putting U+FFFD for one: more of them out than in.
func hasLoneSurrogate(in []byte) bool {
	lower := strings.ToLower(string(in))
	given := strings.Count(lower, "\uFFFD") + strings.Count(lower, `\ufffd`) - strings.Count(lower, `\\ufffd`)
	if strings.Contains(lower, `\\`) {
		// Escaped backslashes would make counting a parser of its own: take them out of the way first.
		return hasLoneSurrogate([]byte(strings.ReplaceAll(string(in), `\\`, `/`)))
	}
	found := 0
	decoder := json.NewDecoder(bytes.NewReader(in))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return found != given
		}
		if text, ok := token.(string); ok {
			found += strings.Count(text, "\uFFFD")
		}
	}
}

func tokenValue(decoder *json.Decoder, folding bool, depth int) bool {
	token, err := decoder.Token()
	if err != nil {
		return false
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return true
	}
	if depth++; depth > strictjson.MaxDepth {
		return false
	}
	var keys []string
	for decoder.More() {
		if delim == '{' {
			key, _ := decoder.Token()
			for _, other := range keys {
				if other == key.(string) || folding && strings.EqualFold(other, key.(string)) {
					return false
				}
			}
			keys = append(keys, key.(string))
		}
		if !tokenValue(decoder, folding, depth) {
			return false
		}
	}
	_, err = decoder.Token()
	return err == nil
}

func FuzzFoldedKeys(f *testing.F) {
	f.Add("kelvin", "\u212aelvin")
	f.Add("straße", "STRASSE")
	f.Add("ſ", "S")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			return
		}
		// In front and behind of enough other keys to reach both ways of comparing.
		const few, many = `"1":0`, `"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0`
		if len(a) == 1 || len(b) == 1 {
			return
		}
		for _, others := range []string{few, many} {
			in := []byte(`{` + quote(a) + `:0,` + others + `,` + quote(b) + `:0}`)
			err := strictjson.Unmarshal(in, new(any))
			if (err != nil) != strings.EqualFold(a, b) {
				t.Errorf("%s: %v, EqualFold %v", in, err, strings.EqualFold(a, b))
			}
		}
	})
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// line is like a line of a bundle's table of blobs.
type line struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Role   string `json:"role"`
	Stored string `json:"stored"`
}

const tableLine = `{"digest":"sha256:9824c27679d3b27c5e1cb00a73adb6f4f8d556994111c12db3c5d61a0c843df8","size":3797860,"role":"layer","stored":"whole"}`

func BenchmarkLine(b *testing.B) {
	in := []byte(tableLine)
	b.Run("strictjson", func(b *testing.B) {
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		for b.Loop() {
			if err := strictjson.UnmarshalExact(in, new(line)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		for b.Loop() {
			if err := json.Unmarshal(in, new(line)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkManyKeys(b *testing.B) {
	in := []byte(`{"annotations":{` + manyKeys("key", 10_000) + `}}`)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if err := strictjson.Unmarshal(in, new(document)); err != nil {
			b.Fatal(err)
		}
	}
}
