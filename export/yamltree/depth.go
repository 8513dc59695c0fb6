package yamltree

import (
	"bytes"
	"errors"
)

// errDeep: nested so deep that reading it would take more stack than there is. The parser goes down by one call for each
// level and has no bound of its own, and a Go program that runs out of stack cannot be saved.
var errDeep = errors.New("nested too deep")

// Bounds on what is given to the parser. They are far above what anybody writes: brackets count wherever they stand, in
// texts too.
const (
	maxBrackets   = 100 // open at once
	maxIndicators = 100 // in a row: - - - a, &a &b, !a !b
)

// checkDepth refuses documents that are nested too deep, before anything is parsed. Deep nesting by indentation needs the
// square of its depth in bytes, and is bounded by their number.
func checkDepth(content []byte) error {
	open, row := 0, 0
	for len(content) > 0 {
		var token []byte
		token, content = nextToken(content)
		for _, c := range token {
			switch c {
			case '[', '{':
				if open++; open > maxBrackets {
					return errDeep
				}
			case ']', '}':
				open = max(0, open-1)
			}
		}
		switch {
		case len(token) == 0:
		case isIndicator(token):
			if row++; row > maxIndicators {
				return errDeep
			}
		default:
			row = 0
		}
	}
	return nil
}

// nextToken cuts off what stands before the next white space.
func nextToken(content []byte) (token, rest []byte) {
	if i := bytes.IndexAny(content, " \t\r\n"); i >= 0 {
		return content[:i], content[i+1:]
	}
	return content, nil
}

// isIndicator tells whether a token opens a level, or decorates what follows it, without being anything itself.
func isIndicator(token []byte) bool {
	switch token[0] {
	case '&', '!', '*':
		return true
	case '-', '?', ':':
		return len(token) == 1
	}
	return false
}

// errKeys: the parser compares every key of a mapping with every other, so that a large one would take minutes.
var errKeys = errors.New("a mapping with too many keys")

const maxKeys = 10_000 // in one mapping

// checkKeys refuses documents with mappings of very many keys: lines of one indentation with a colon in them, and commas in
// one line, which is where a mapping in braces would have them.
func checkKeys(content []byte) error {
	var counts []int // by indentation
	for line := range bytes.Lines(content) {
		indent := len(line) - len(bytes.TrimLeft(line, " "))
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if bytes.Count(line, []byte(",")) > maxKeys {
			return errKeys
		}
		if indent+1 < len(counts) {
			counts = counts[:indent+1] // deeper mappings end here
		}
		for len(counts) <= indent {
			counts = append(counts, 0)
		}
		if line[indent] == '-' { // an item of a list begins a mapping of its own, further in
			counts[indent] = 0
			continue
		}
		if bytes.IndexByte(line, ':') >= 0 {
			if counts[indent]++; counts[indent] > maxKeys {
				return errKeys
			}
		}
	}
	return nil
}
