package chart

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Bounds on rendered manifests, in bytes.
const (
	MaxManifests = 256 << 20
	maxDocument  = 16 << 20
	// maxMarks bounds the marks in a document with which YAML sets values apart, and so how many values it has, and their
	// memory: some 200 bytes for each. A chart's largest objects are of 1 MiB, which is what Kubernetes stores.
	maxMarks = 2_000_000
)

// ErrManifests: there is too much of them, or they cannot be read at all.
var ErrManifests = errors.New("rendered manifests")

var errDocument = fmt.Errorf("it has more than %d MiB, or more than %d values", maxDocument>>20, maxMarks)

// documents takes a stream apart at the lines that begin documents.
type documents struct {
	in   *bufio.Reader
	read int64
	done bool

	text      bytes.Buffer // of the document
	from      int          // the line on which it begins
	line      int          // of what was read last
	lineEnded bool
	marks     int
	blank     bool   // the document has nothing but comments so far
	directive bool   // the line is one
	held      []byte // the beginning of the next document
}

func newDocuments(r io.Reader) *documents {
	return &documents{in: bufio.NewReaderSize(io.LimitReader(r, MaxManifests+1), 64<<10), lineEnded: true}
}

// next returns a document that has anything in it, and the line on which it begins, counting from 1; io.EOF when there is
// none left, and errDocument where one is too large, after which the next can be read. The text is valid until then.
func (d *documents) next() (text []byte, line int, err error) {
	for !d.done || d.held != nil {
		if err := d.fill(); err != nil {
			return nil, 0, err
		}
		switch {
		case d.text.Len() > maxDocument || d.marks > maxMarks:
			return nil, d.from, errDocument
		case !d.blank:
			return d.text.Bytes(), d.from, nil
		}
	}
	return nil, 0, io.EOF
}

// fill reads up to where the next document begins, or to the end.
func (d *documents) fill() error {
	d.text.Reset()
	d.marks, d.blank, d.from = 0, true, d.line+1
	if d.held != nil {
		d.from = d.line
		d.take(d.held)
		d.held = nil
	}
	for !d.done {
		part, err := d.in.ReadSlice('\n')
		d.read += int64(len(part))
		switch {
		case d.read > MaxManifests:
			return fmt.Errorf("more than %d MiB", MaxManifests>>20)
		case errors.Is(err, io.EOF):
			d.done = true
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
		if len(part) == 0 {
			continue
		}
		begins := d.lineEnded
		if begins {
			d.line++
			d.directive = d.blank && part[0] == '%'
		}
		d.lineEnded = part[len(part)-1] == '\n'
		switch {
		case begins && isStart(part) && !d.blank:
			d.held = bytes.Clone(part)
			return nil
		case begins && isStart(part):
			d.text.Reset()
			d.marks, d.from = 0, d.line
		}
		d.take(part)
	}
	return nil
}

// isStart tells whether a line begins a document. https://yaml.org/spec/1.2.2/#912-document-markers
func isStart(line []byte) bool {
	if len(line) < 3 || line[0] != '-' || line[1] != '-' || line[2] != '-' {
		return false
	}
	return len(line) == 3 || line[3] == '\n' || line[3] == '\r' || line[3] == ' ' || line[3] == '\t'
}

// take adds a line, or part of one, to the document; of one that is too large no more than that is kept. Directives are
// not for manifests, and the parser needs long for many: they become empty lines.
func (d *documents) take(part []byte) {
	if d.directive {
		part = part[:0]
		if d.lineEnded {
			part = []byte("\n")
		}
	}
	if d.blank {
		d.blank = isBlank(part)
	}
	if d.text.Len() > maxDocument || d.marks > maxMarks {
		return
	}
	for _, c := range part {
		if isMark[c] {
			d.marks++
		}
	}
	d.text.Write(part)
}

// isMark is true for what stands between values, line ends among them.
var isMark = [256]bool{',': true, ':': true, '-': true, '?': true, '[': true, '{': true, '\n': true, '\r': true}

// isBlank tells whether a line has nothing but a comment or a document's beginning or end.
func isBlank(line []byte) bool {
	if isStart(line) {
		line = line[len("---"):]
	}
	line = bytes.TrimSpace(line)
	return len(line) == 0 || line[0] == '#' || string(line) == "..."
}
