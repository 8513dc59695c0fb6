package config

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// value is a YAML value with its place in the file, anchors, aliases and merges resolved.
type value struct {
	position Position
	kind     valueKind
	text     string // of a scalar, as written: 3.10 stays 3.10
	items    []*value
	fields   []fieldValue // in their order, those that were merged in last
}

type fieldValue struct {
	key      string
	position Position
	value    *value
}

type valueKind string

const (
	null     valueKind = "nothing"
	scalar   valueKind = "a single value"
	sequence valueKind = "a list"
	mapping  valueKind = "a mapping"
)

// field returns the value under a key, or nil.
func (v *value) field(key string) *value {
	for _, f := range v.fields {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

// Bounds on a document. With aliases a small file can stand for a very large one.
const (
	maxDepth  = 64
	maxValues = 200_000
)

// parseDocument reads the one document of a file; an empty one is an empty mapping.
func parseDocument(file string, content []byte) (*value, error) {
	parsed, err := parser.ParseBytes(content, 0)
	if err != nil {
		return nil, syntaxError(file, err)
	}
	r := resolver{file: file, anchors: map[string]ast.Node{}}
	var root *value
	for _, document := range parsed.Docs {
		if document.Body == nil {
			continue
		}
		if root != nil {
			return nil, fmt.Errorf("%s: more than one document in a file", r.position(document.Body))
		}
		if root, err = r.resolve(document.Body, 0); err != nil {
			return nil, err
		}
	}
	if root == nil || root.kind == null {
		root = &value{position: Position{file, 1, 1}, kind: mapping}
	}
	return root, nil
}

// syntaxError says in one line what the parser says with an excerpt, which might hold a secret.
func syntaxError(file string, err error) error {
	var syntax yaml.Error
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		at := syntax.GetToken().Position
		return fmt.Errorf("%s: %s", Position{file, at.Line, at.Column}, syntax.GetMessage())
	}
	return fmt.Errorf("%s: not YAML", file)
}

type resolver struct {
	file    string
	anchors map[string]ast.Node
	inside  []string // anchors that are being resolved
	values  int
}

func (r *resolver) position(n ast.Node) Position {
	t := n.GetToken()
	if pair, ok := n.(*ast.MappingNode); ok && len(pair.Values) > 0 && !pair.IsFlowStyle {
		t = pair.Values[0].Key.GetToken() // and not its colon
	}
	if t == nil || t.Position == nil {
		return Position{r.file, 1, 1}
	}
	return Position{r.file, t.Position.Line, t.Position.Column}
}

func (r *resolver) resolve(n ast.Node, depth int) (*value, error) {
	r.values++
	if depth > maxDepth || r.values > maxValues {
		return nil, fmt.Errorf("%s: nested too deep, or too much in all", r.position(n))
	}
	v := &value{position: r.position(n)}
	switch n := n.(type) {
	case *ast.NullNode:
		v.kind = null
		return v, nil
	case *ast.MappingNode:
		v.kind = mapping
		return v, r.mapping(v, n.Values, depth)
	case *ast.MappingValueNode:
		v.kind, v.position = mapping, r.position(n.Key)
		return v, r.mapping(v, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		v.kind = sequence
		for _, item := range n.Values {
			resolved, err := r.resolve(item, depth+1)
			if err != nil {
				return nil, err
			}
			v.items = append(v.items, resolved)
		}
		return v, nil
	case *ast.AnchorNode:
		return r.anchor(n, depth)
	case *ast.AliasNode:
		return r.alias(n, depth)
	case *ast.TagNode:
		return r.resolve(n.Value, depth+1)
	case *ast.LiteralNode:
		v.kind, v.text = scalar, n.Value.Value
		return v, nil
	case *ast.StringNode:
		v.kind, v.text = scalar, n.Value
		return v, nil
	case ast.ScalarNode:
		v.kind, v.text = scalar, scalarText(n.GetToken())
		return v, nil
	}
	return nil, fmt.Errorf("%s: this kind of YAML is not understood here", r.position(n))
}

func scalarText(t *token.Token) string {
	if t == nil {
		return ""
	}
	return t.Value
}

func (r *resolver) anchor(n *ast.AnchorNode, depth int) (*value, error) {
	name := scalarText(n.Name.GetToken())
	r.anchors[name] = n.Value
	if n.Value == nil {
		return &value{position: r.position(n), kind: null}, nil
	}
	r.inside = append(r.inside, name)
	v, err := r.resolve(n.Value, depth+1)
	r.inside = r.inside[:len(r.inside)-1]
	return v, err
}

func (r *resolver) alias(n *ast.AliasNode, depth int) (*value, error) {
	name := scalarText(n.Value.GetToken())
	target, ok := r.anchors[name]
	if !ok {
		return nil, fmt.Errorf("%s: there is no anchor &%.60s before this", r.position(n), name)
	}
	for _, open := range r.inside {
		if open == name {
			return nil, fmt.Errorf("%s: *%.60s stands inside itself", r.position(n), name)
		}
	}
	if target == nil {
		return &value{position: r.position(n), kind: null}, nil
	}
	r.inside = append(r.inside, name)
	v, err := r.resolve(target, depth+1)
	r.inside = r.inside[:len(r.inside)-1]
	return v, err
}

// mapping reads the pairs of a mapping. What is merged in (https://yaml.org/type/merge.html) yields to its own keys, and
// of several merged mappings the first counts.
func (r *resolver) mapping(v *value, pairs []*ast.MappingValueNode, depth int) error {
	var merged []*value
	for _, pair := range pairs {
		resolved, err := r.resolve(pair.Value, depth+1)
		if err != nil {
			return err
		}
		if _, isMerge := pair.Key.(*ast.MergeKeyNode); isMerge {
			sources := []*value{resolved}
			if resolved.kind == sequence {
				sources = resolved.items
			}
			for _, source := range sources {
				if source.kind != mapping {
					return fmt.Errorf("%s: << takes a mapping, not %s", r.position(pair.Key), source.kind)
				}
			}
			merged = append(merged, sources...)
			continue
		}
		key := pair.Key.GetToken()
		if inner, ok := pair.Key.(*ast.MappingKeyNode); ok {
			key = inner.Value.GetToken()
		}
		f := fieldValue{key: scalarText(key), position: r.position(pair.Key), value: resolved}
		if v.field(f.key) != nil {
			return fmt.Errorf("%s: the key %.60q is there twice", f.position, f.key)
		}
		v.fields = append(v.fields, f)
	}
	for _, source := range merged {
		for _, f := range source.fields {
			if v.field(f.key) == nil {
				v.fields = append(v.fields, f)
			}
		}
	}
	return nil
}
