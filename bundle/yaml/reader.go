package yaml

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	yamlv3 "go.yaml.in/yaml/v3"
)

// maxTags bounds how often %TAG may stand in a part: the parser compares each of these directives with all before it.
const maxTags = 1000

// Document is a document of a stream.
type Document struct {
	Line int // on which it begins, counting from 1
	Root *Value
}

// Reader reads the documents of a stream.
type Reader struct {
	parts   parts
	values  builder // its budget is for the whole stream
	decoder *yamlv3.Decoder
	text    []byte // of the part that the decoder reads
	line    int    // on which the part begins
}

// NewReader returns a Reader of a stream of at most MaxStream bytes.
func NewReader(r io.Reader, o Options) *Reader {
	return &Reader{parts: newParts(r), values: builder{Options: o, budget: maxAliased}}
}

// Next returns the next document that has anything in it; io.EOF when there is none left. After an *Error the next can be
// read, and what could be read of this one is returned with the error, if it is YAML at all. After other errors, which are
// of the stream, nothing can.
func (r *Reader) Next() (Document, error) {
	for {
		if r.decoder == nil {
			if err := r.nextPart(); err != nil {
				return Document{Line: r.line}, err
			}
		}
		var node yamlv3.Node
		switch err := r.decoder.Decode(&node); {
		case errors.Is(err, io.EOF):
			r.decoder = nil
		case err != nil:
			r.decoder = nil
			return Document{Line: r.line}, r.syntaxError(err)
		default:
			return r.document(&node)
		}
	}
}

func (r *Reader) nextPart() (err error) {
	r.text, r.line, err = r.parts.next()
	switch {
	case errors.Is(err, errPart):
		return &Error{Position{r.values.File, r.line, 1}, err.Error()}
	case err != nil:
		return err
	case bytes.Count(r.text, []byte("%TAG")) > maxTags:
		return &Error{Position{r.values.File, r.line, 1}, "too many %TAG directives"}
	}
	r.decoder = yamlv3.NewDecoder(bytes.NewReader(r.text))
	return nil
}

func (r *Reader) document(node *yamlv3.Node) (Document, error) {
	b := &r.values
	b.before, b.anchors, b.err = r.line-1, map[*yamlv3.Node]*built{}, nil
	d := Document{r.line, b.build(node.Content[0], 0).value}
	if b.err != nil {
		return d, b.err
	}
	return d, nil
}

// unknownAnchor is what the parser says without a place. It holds the name, which might be a secret that begins with *.
var unknownAnchor = regexp.MustCompile(`(?s)^unknown anchor '(.*)' referenced$`)

// parserLine is the line that the parser names, which is where what it stands in begins, or off by one.
var parserLine = regexp.MustCompile(`^(yaml: )?(line [0-9]+: )?`)

// syntaxError says in one line what the parser says, and where it stopped.
func (r *Reader) syntaxError(err error) *Error {
	message := parserLine.ReplaceAllString(err.Error(), "")
	seen := r.text[:lookedAt(r.text)]
	switch unknown := unknownAnchor.FindStringSubmatch(message); {
	case unknown != nil:
		message = errNoAnchor
		seen = seen[:bytes.LastIndex(seen, []byte("*"+unknown[1]))+1]
	case strings.HasPrefix(message, "exceeded max depth"):
		message = errDeep
	}
	before := seen[:max(0, len(seen)-1)]
	line := bytes.Count(before, []byte("\n"))
	column := utf8.RuneCount(seen[bytes.LastIndexByte(before, '\n')+1:])
	return &Error{Position{r.values.File, r.line + line, max(1, column)}, message}
}

// lookedAt returns how many bytes of a text, which cannot be parsed, the parser looks at before it gives up.
func lookedAt(text []byte) int {
	in := &slowReader{rest: text}
	decoder := yamlv3.NewDecoder(in)
	var node yamlv3.Node
	for decoder.Decode(&node) == nil {
	}
	return len(text) - len(in.rest)
}

// slowReader gives no more than what is needed.
type slowReader struct{ rest []byte }

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(1, len(p))], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
