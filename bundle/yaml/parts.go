package yaml

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	// MaxStream bounds a stream, in bytes.
	MaxStream = 256 << 20
	maxPart   = 16 << 20 // bytes
	// maxMarks bounds the marks in a part with which YAML sets values apart, and so how many values it has, and their
	// memory: some 300 bytes for each. A chart's largest objects are of 1 MiB, which is what Kubernetes stores.
	maxMarks = 2_000_000
)

var errPart = fmt.Errorf("more than %d MiB, or more than %d values, in one document", maxPart>>20, maxMarks)

// parts takes a stream apart at the lines that begin documents, so that what is wrong with one leaves the others alone.
type parts struct {
	in   *bufio.Reader
	read int64
	done bool

	text      bytes.Buffer // of the part
	from      int          // the line on which it begins
	line      int          // of what was read last
	lineEnded bool
	marks     int
	blank     bool   // the part has nothing but comments so far
	directive bool   // the line is one
	held      []byte // the beginning of the next part
}

func newParts(r io.Reader) parts {
	return parts{in: bufio.NewReaderSize(io.LimitReader(r, MaxStream+1), 64<<10), lineEnded: true}
}

// next returns a part that has anything in it, and the line on which it begins, counting from 1; io.EOF when there is
// none left, and errPart where one is too large, after which the next can be read. The text is valid until then.
func (p *parts) next() (text []byte, line int, err error) {
	for !p.done || p.held != nil {
		if err := p.fill(); err != nil {
			return nil, 0, err
		}
		switch {
		case p.text.Len() > maxPart || p.marks > maxMarks:
			return nil, p.from, errPart
		case !p.blank:
			return p.text.Bytes(), p.from, nil
		}
	}
	return nil, 0, io.EOF
}

// fill reads up to where the next part begins, or to the end.
func (p *parts) fill() error {
	p.text.Reset()
	p.marks, p.blank, p.from = 0, true, p.line+1
	if p.held != nil {
		p.from = p.line
		p.take(p.held)
		p.held = nil
	}
	for !p.done {
		part, err := p.in.ReadSlice('\n')
		p.read += int64(len(part))
		switch {
		case p.read > MaxStream:
			return fmt.Errorf("more than %d MiB", MaxStream>>20)
		case errors.Is(err, io.EOF):
			p.done = true
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
		if len(part) == 0 {
			continue
		}
		begins := p.lineEnded
		if begins {
			p.line++
			p.directive = p.blank && part[0] == '%'
		}
		p.lineEnded = part[len(part)-1] == '\n'
		switch {
		case begins && isStart(part) && !p.blank:
			p.held = bytes.Clone(part)
			return nil
		case begins && isStart(part):
			p.text.Reset()
			p.marks, p.from = 0, p.line
		}
		p.take(part)
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

// take adds a line, or part of one, to the part; of one that is too large no more than that is kept. Directives
// become empty lines: nothing here depends on tags that they shorten, and the parser needs long for many.
func (p *parts) take(part []byte) {
	if p.directive {
		part = part[:0]
		if p.lineEnded {
			part = []byte("\n")
		}
	}
	if p.blank {
		p.blank = isBlank(part)
	}
	if p.text.Len() > maxPart || p.marks > maxMarks {
		return
	}
	for _, c := range part {
		if isMark[c] {
			p.marks++
		}
	}
	p.text.Write(part)
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
