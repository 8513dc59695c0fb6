// Package yamltree reads YAML into a tree that knows where in the file everything is, within bounds, with anchors, aliases
// and merges resolved. It is for files whose mistakes are to be named by line and column, and for YAML from strangers.
package yamltree

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Position is a place in a file. Lines and columns count from 1.
type Position struct {
	File         string
	Line, Column int
}

// String returns the position as compilers write it.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Value is a YAML value and its place.
type Value struct {
	Position Position
	Kind     Kind
	Text     string   // of a Scalar, as written: 3.10 stays 3.10
	Items    []*Value // of a Sequence
	Fields   []Field  // of a Mapping, in their order, those that were merged in last
}

// Field is a key of a mapping and its value.
type Field struct {
	Key      string
	Position Position // of the key
	Value    *Value
}

// Kind says what a value is; its text is for messages.
type Kind string

// The kinds.
const (
	Null     Kind = "nothing"
	Scalar   Kind = "a single value"
	Sequence Kind = "a list"
	Mapping  Kind = "a mapping"
)

// Field returns the value under a key, or nil.
func (v *Value) Field(key string) *Value {
	for _, f := range v.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return nil
}

// Bounds on a document. With aliases a small file can stand for a very large one.
const (
	maxDepth  = 64
	maxValues = 200_000
)

// Options are the settings of Parse.
type Options struct {
	File string // for positions
	// Lenient takes of a key that is there twice the last one, as Kubernetes does; otherwise that is an error.
	Lenient bool
}

// Parse reads the one document of a file; an empty one is an empty mapping. How large the content is, is for the caller to
// bound. Errors say where.
func Parse(content []byte, o Options) (*Value, error) {
	file := o.File
	for _, check := range []func([]byte) error{checkDepth, checkKeys} {
		if err := check(content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	var options []parser.Option
	if o.Lenient {
		options = append(options, parser.AllowDuplicateMapKey())
	}
	parsed, err := parser.ParseBytes(content, 0, options...)
	if err != nil {
		return nil, syntaxError(file, err)
	}
	r := resolver{Options: o, anchors: map[string]ast.Node{}}
	var root *Value
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
	if root == nil || root.Kind == Null {
		root = &Value{Position: Position{file, 1, 1}, Kind: Mapping}
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
	Options

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
		return Position{r.File, 1, 1}
	}
	return Position{r.File, t.Position.Line, t.Position.Column}
}

func (r *resolver) resolve(n ast.Node, depth int) (*Value, error) {
	r.values++
	if depth > maxDepth || r.values > maxValues {
		return nil, fmt.Errorf("%s: nested too deep, or too much in all", r.position(n))
	}
	v := &Value{Position: r.position(n)}
	switch n := n.(type) {
	case *ast.NullNode:
		v.Kind = Null
		return v, nil
	case *ast.MappingNode:
		v.Kind = Mapping
		return v, r.mapping(v, n.Values, depth)
	case *ast.MappingValueNode:
		v.Kind, v.Position = Mapping, r.position(n.Key)
		return v, r.mapping(v, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		v.Kind = Sequence
		for _, item := range n.Values {
			resolved, err := r.resolve(item, depth+1)
			if err != nil {
				return nil, err
			}
			v.Items = append(v.Items, resolved)
		}
		return v, nil
	case *ast.AnchorNode:
		return r.anchor(n, depth)
	case *ast.AliasNode:
		return r.alias(n, depth)
	case *ast.TagNode:
		return r.resolve(n.Value, depth+1)
	case *ast.LiteralNode:
		v.Kind, v.Text = Scalar, n.Value.Value
		return v, nil
	case *ast.StringNode:
		v.Kind, v.Text = Scalar, n.Value
		return v, nil
	case ast.ScalarNode:
		v.Kind, v.Text = Scalar, scalarText(n.GetToken())
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

func (r *resolver) anchor(n *ast.AnchorNode, depth int) (*Value, error) {
	name := scalarText(n.Name.GetToken())
	r.anchors[name] = n.Value
	if n.Value == nil {
		return &Value{Position: r.position(n), Kind: Null}, nil
	}
	r.inside = append(r.inside, name)
	v, err := r.resolve(n.Value, depth+1)
	r.inside = r.inside[:len(r.inside)-1]
	return v, err
}

func (r *resolver) alias(n *ast.AliasNode, depth int) (*Value, error) {
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
		return &Value{Position: r.position(n), Kind: Null}, nil
	}
	r.inside = append(r.inside, name)
	v, err := r.resolve(target, depth+1)
	r.inside = r.inside[:len(r.inside)-1]
	return v, err
}

// mapping reads the pairs of a mapping. What is merged in (https://yaml.org/type/merge.html) yields to its own keys, and
// of several merged mappings the first counts.
func (r *resolver) mapping(v *Value, pairs []*ast.MappingValueNode, depth int) error {
	var merged []*Value
	places := make(map[string]int, len(pairs))
	for _, pair := range pairs {
		resolved, err := r.resolve(pair.Value, depth+1)
		if err != nil {
			return err
		}
		if _, isMerge := pair.Key.(*ast.MergeKeyNode); isMerge {
			sources := []*Value{resolved}
			if resolved.Kind == Sequence {
				sources = resolved.Items
			}
			for _, source := range sources {
				if source.Kind != Mapping {
					return fmt.Errorf("%s: << takes a mapping, not %s", r.position(pair.Key), source.Kind)
				}
			}
			merged = append(merged, sources...)
			continue
		}
		key := pair.Key.GetToken()
		if inner, ok := pair.Key.(*ast.MappingKeyNode); ok {
			key = inner.Value.GetToken()
		}
		f := Field{Key: scalarText(key), Position: r.position(pair.Key), Value: resolved}
		if i, known := places[f.Key]; !known {
			places[f.Key] = len(v.Fields)
			v.Fields = append(v.Fields, f)
		} else if r.Lenient {
			v.Fields[i] = f
		} else {
			return fmt.Errorf("%s: the key %.60q is there twice", f.Position, f.Key)
		}
	}
	for _, source := range merged {
		for _, f := range source.Fields {
			if _, known := places[f.Key]; !known {
				places[f.Key] = len(v.Fields)
				v.Fields = append(v.Fields, f)
			}
		}
	}
	return nil
}
