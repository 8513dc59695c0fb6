package strictjson

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

type shapeKind uint8

const (
	// shapeUnknown: scalars, any, and whatever the Go type does not have. Full rule at any depth.
	shapeUnknown shapeKind = iota
	// shapeOpaque: decoded by its own UnmarshalJSON. Keys may differ only in case, at any depth.
	shapeOpaque
	// shapeStruct: an object with known fields.
	shapeStruct
	// shapeMap: an object whose keys may differ only in case; elem is the shape of its values.
	shapeMap
	// shapeList: an array of elem.
	shapeList
	// shapeSpan: checked as opaque, and not decoded.
	shapeSpan
)

// shape is what the gate needs to know of a Go type.
type shape struct {
	kind   shapeKind
	elem   *shape
	fields map[string]*shape
	folded map[string]string // from the folded name to the name of each field
}

var (
	unknownShape = &shape{kind: shapeUnknown}
	opaqueShape  = &shape{kind: shapeOpaque}
	spanShape    = &shape{kind: shapeSpan}

	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()

	// shapes caches by reflect.Type: tables of 100,000 lines go through here line by line.
	shapes sync.Map
)

// userKeys tells whether keys of an object of this shape may differ only in case.
func (sh *shape) userKeys() bool { return sh.kind == shapeMap || sh.kind == shapeOpaque }

// element returns the shape of what is inside an array, or inside an object that is no struct.
func (sh *shape) element() *shape {
	switch sh.kind {
	case shapeMap, shapeList:
		return sh.elem
	case shapeOpaque:
		return opaqueShape
	}
	return unknownShape
}

func shapeOf(t reflect.Type) *shape {
	if sh, ok := shapes.Load(t); ok {
		return sh.(*shape)
	}
	// Published only when complete: types may refer to themselves.
	sh := build(t, map[reflect.Type]*shape{})
	shapes.Store(t, sh)
	return sh
}

// build returns the shape of t; begun holds those under construction.
func build(t reflect.Type, begun map[reflect.Type]*shape) *shape {
	for t.Kind() == reflect.Pointer {
		if t.Implements(unmarshalerType) {
			return opaqueShape
		}
		t = t.Elem()
	}
	if t == reflect.TypeFor[Span]() {
		return spanShape
	}
	if t.Implements(unmarshalerType) || reflect.PointerTo(t).Implements(unmarshalerType) {
		return opaqueShape
	}
	if sh, ok := begun[t]; ok {
		return sh
	}
	sh := &shape{}
	begun[t] = sh
	switch t.Kind() {
	case reflect.Map:
		sh.kind, sh.elem = shapeMap, build(t.Elem(), begun)
	case reflect.Slice, reflect.Array:
		sh.kind, sh.elem = shapeList, build(t.Elem(), begun)
	case reflect.Struct:
		sh.kind, sh.fields, sh.folded = shapeStruct, map[string]*shape{}, map[string]string{}
		sh.addFields(t, begun, map[reflect.Type]bool{})
	}
	return sh
}

// addFields adds the fields of the struct t by the rules of encoding/json: those of embedded structs count as t's
// own, and what is nearer to t wins.
func (sh *shape) addFields(t reflect.Type, begun map[reflect.Type]*shape, within map[reflect.Type]bool) {
	if within[t] {
		return
	}
	within[t] = true
	defer delete(within, t)
	var embedded []reflect.Type
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		inner := field.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case field.Tag.Get("json") == "-":
		case field.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			embedded = append(embedded, inner)
		case field.IsExported():
			if name == "" {
				name = field.Name
			}
			sh.addField(name, field.Type, begun)
		}
	}
	for _, inner := range embedded {
		sh.addFields(inner, begun, within)
	}
}

func (sh *shape) addField(name string, t reflect.Type, begun map[reflect.Type]*shape) {
	if _, nearer := sh.fields[name]; nearer {
		return
	}
	sh.fields[name] = build(t, begun)
	sh.folded[string(appendFolded(nil, []byte(name)))] = name
}
