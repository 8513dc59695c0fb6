package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth bounds how deep values are nested. Schemas in custom resource definitions reach some 40.
	maxDepth = 100
	// maxAliased bounds how many values aliases may stand for, in everything that one reader reads: with them a small
	// document can stand for a very large one.
	maxAliased = 1_000_000
)

var errUnfolded = errors.New("it is nested too deep, or its aliases stand for too much")

// parse reads YAML: one document, or several that are parted by "..." lines. After an error it returns those before it.
// line is how many lines stand before content; it is added to those in the error, but not to those of the nodes.
func parse(content []byte, line int) ([]*yaml.Node, error) {
	var roots []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return roots, syntaxError(err, line)
		}
		if document.Kind == yaml.DocumentNode && len(document.Content) == 1 {
			roots = append(roots, document.Content[0])
		}
	}
}

// syntaxError says what the parser says, with the line in the whole file. The parser's own may be off by one.
func syntaxError(err error, line int) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, message, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			text = fmt.Sprintf("about line %d: %s", line+n, message)
		}
	}
	return fmt.Errorf("it is not YAML: %s", short(text))
}

// reader takes mappings apart, and keeps account of how much aliases stand for.
type reader struct {
	budget int // values that aliases may still stand for
	inside int // aliases that it is inside of
	err    error
}

func newReader() *reader { return &reader{budget: maxAliased} }

// spend takes n values that are read off the budget, where they come from an alias, and tells whether they may be read.
func (r *reader) spend(n int) bool {
	if r.inside == 0 {
		return r.err == nil
	}
	if r.budget -= n; r.budget < 0 {
		r.err = errUnfolded
	}
	return r.err == nil
}

// follow calls read with the node, or with what it is an alias of.
func (r *reader) follow(n *yaml.Node, read func(*yaml.Node)) {
	if n.Kind != yaml.AliasNode {
		read(n)
		return
	}
	if n.Alias == nil {
		return
	}
	r.inside++
	read(n.Alias)
	r.inside--
}

// field is a key of a mapping and its value, which may be an alias.
type field struct {
	key   string
	line  int
	value *yaml.Node
}

// fields are a mapping's, in their order, those that were merged in last.
type fields []field

// mapping returns the fields of n or of what it is an alias of, none where it is no mapping. Of a key that is there twice the last one counts, as for
// Kubernetes; what is merged in (https://yaml.org/type/merge.html) yields to the mapping's own, and of several merged
// mappings the first counts.
func (r *reader) mapping(n *yaml.Node) fields {
	var all fields
	r.merge(n, &all, map[string]int{}, 0)
	return all
}

func (r *reader) merge(n *yaml.Node, all *fields, at map[string]int, depth int) {
	if depth > maxDepth {
		r.err = errUnfolded
		return
	}
	r.follow(n, func(n *yaml.Node) {
		if n.Kind != yaml.MappingNode || !r.spend(len(n.Content)) {
			return
		}
		own := len(*all)
		var merged []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.ShortTag() == "!!merge" {
				merged = append(merged, value)
				continue
			}
			f := field{key: key.Value, line: key.Line, value: value}
			place, known := at[f.key]
			switch {
			case !known || key.Kind != yaml.ScalarNode:
				at[f.key] = len(*all)
				*all = append(*all, f)
			case place >= own:
				(*all)[place] = f
			}
		}
		for _, source := range merged {
			r.mergeSource(source, all, at, depth+1)
		}
	})
}

// mergeSource merges in a mapping, or each of a list of them.
func (r *reader) mergeSource(source *yaml.Node, all *fields, at map[string]int, depth int) {
	r.follow(source, func(source *yaml.Node) {
		if source.Kind != yaml.SequenceNode {
			r.merge(source, all, at, depth)
			return
		}
		for _, item := range source.Content {
			if r.spend(1) {
				r.merge(item, all, at, depth)
			}
		}
	})
}

// get returns the value of a field, which may be an alias, or nil.
func (f fields) get(key string) *yaml.Node {
	for _, one := range f {
		if one.key == key {
			return one.value
		}
	}
	return nil
}

// scalar returns n, or what it is an alias of, where that is a single value, and nil otherwise.
func scalar(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.ScalarNode {
		return nil
	}
	return n
}

// text returns the value of the first of some fields that is a text, a number or the like; "" where none is.
func (f fields) text(keys ...string) string {
	for _, key := range keys {
		if v := scalar(f.get(key)); v != nil && v.ShortTag() != "!!null" {
			return strings.TrimSpace(v.Value)
		}
	}
	return ""
}
