package yaml

import (
	"fmt"

	yamlv3 "go.yaml.in/yaml/v3"
)

const (
	// maxDepth bounds how deep values are nested, with aliases followed. Schemas in custom resource definitions reach some 40.
	maxDepth = 96
	// maxAliased bounds how many keys and values all aliases of a stream may stand for: with them a small document can stand
	// for a very large one.
	maxAliased = 500_000
)

const (
	errDeep     = "nested too deep"
	errNoAnchor = "there is no anchor of this name before the alias"
)

// builder makes values of what the parser made of one document. Whatever is wrong becomes Null.
type builder struct {
	Options

	before  int // lines before the document's part
	anchors map[*yamlv3.Node]*built
	budget  int // keys and values that aliases may still stand for
	err     *Error
}

// built is a value, and what it comes to with its aliases followed.
type built struct {
	value  *Value
	size   int // keys and values, itself among them
	height int // levels below it
}

// add counts what stands in a list or a mapping.
func (v *built) add(child *built) *Value {
	v.size += child.size
	v.height = max(v.height, child.height+1)
	return child.value
}

func (b *builder) position(n *yamlv3.Node) Position {
	if n.Kind == yamlv3.MappingNode && n.Style&yamlv3.FlowStyle == 0 && len(n.Content) > 0 {
		n = n.Content[0] // and not an anchor before it
	}
	return Position{b.File, b.before + n.Line, n.Column}
}

// wrong notes what is wrong first.
func (b *builder) wrong(n *yamlv3.Node, format string, args ...any) *built {
	if b.err == nil {
		b.err = &Error{b.position(n), fmt.Sprintf(format, args...)}
	}
	return &built{value: &Value{Position: b.position(n), Kind: Null}, size: 1}
}

func (b *builder) build(n *yamlv3.Node, depth int) *built {
	switch {
	case depth > maxDepth:
		return b.wrong(n, errDeep)
	case n.Kind == yamlv3.AliasNode:
		return b.alias(n, depth)
	}
	v := &built{value: &Value{Position: b.position(n)}, size: 1}
	if n.Anchor != "" {
		b.anchors[n] = nil
		defer func() { b.anchors[n] = v }()
	}
	switch n.Kind {
	case yamlv3.SequenceNode:
		v.value.Kind = Sequence
		for _, item := range n.Content {
			v.value.Items = append(v.value.Items, v.add(b.build(item, depth+1)))
		}
	case yamlv3.MappingNode:
		v.value.Kind = Mapping
		b.mapping(v, n.Content, depth)
	default:
		b.scalar(v.value, n)
	}
	n.Content = nil // values take as much memory as nodes, which are not looked at again
	return v
}

func (b *builder) scalar(v *Value, n *yamlv3.Node) {
	v.Text = n.Value
	switch n.ShortTag() {
	case "!!null":
		v.Kind = Null
	case "!!str":
		v.Kind, v.IsText = Scalar, true
	default:
		v.Kind = Scalar
	}
}

func (b *builder) alias(n *yamlv3.Node, depth int) *built {
	target, known := b.anchors[n.Alias]
	switch {
	case !known: // or in an earlier document
		return b.wrong(n, errNoAnchor)
	case target == nil:
		return b.wrong(n, "this alias stands inside itself")
	case depth+target.height > maxDepth:
		return b.wrong(n, errDeep)
	case target.size > b.budget:
		return b.wrong(n, "aliases stand for too much in all")
	}
	b.budget -= target.size
	return target
}

// mapping reads keys and values, by turns. What is merged in (https://yaml.org/type/merge.html) yields to the mapping's own
// keys, and of several merged mappings the first counts.
func (b *builder) mapping(v *built, content []*yamlv3.Node, depth int) {
	var merged []*Value
	places := make(map[string]int, len(content)/2)
	for i := 0; i+1 < len(content); i += 2 {
		name := content[i]
		key, value := v.add(b.build(name, depth+1)), v.add(b.build(content[i+1], depth+1))
		if name.Kind == yamlv3.ScalarNode && name.ShortTag() == "!!merge" {
			merged = append(merged, b.merged(name, value)...)
			continue
		}
		f := Field{Key: key.Text, Position: b.position(name), Value: value}
		place, known := places[f.Key]
		switch {
		case (key.Kind == Sequence || key.Kind == Mapping) && !b.Lenient:
			b.wrong(name, "this key is %s, but a single value is expected", key.Kind)
		case key.Kind == Sequence || key.Kind == Mapping:
			v.value.Fields = append(v.value.Fields, f)
		case !known:
			places[f.Key] = len(v.value.Fields)
			v.value.Fields = append(v.value.Fields, f)
		case b.Lenient:
			v.value.Fields[place] = f
		default:
			b.wrong(name, "the key %.60q is there twice", f.Key)
		}
	}
	for _, source := range merged {
		for _, f := range source.Fields {
			if _, known := places[f.Key]; !known {
				places[f.Key] = len(v.value.Fields)
				v.value.Fields = append(v.value.Fields, f)
			}
		}
	}
}

// merged returns the mappings that a value under << stands for.
func (b *builder) merged(name *yamlv3.Node, v *Value) []*Value {
	sources := []*Value{v}
	if v.Kind == Sequence {
		sources = v.Items
	}
	for _, source := range sources {
		if source.Kind != Mapping {
			b.wrong(name, "<< takes a mapping, not %s", source.Kind)
			return nil
		}
	}
	return sources
}
