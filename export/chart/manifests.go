package chart

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFound bounds how many images, and what looks like them, may be found in one stream.
const maxFound = 100_000

// FromManifests finds images in rendered manifests, a stream of YAML documents as "helm template" prints them: whatever
// stands under the key image, in any kind of object, custom resources included, and the references of image volumes. A
// document that cannot be read is among the unparsed, and the others are read all the same. file names the stream in
// Where. Errors wrap ErrManifests: the stream broke, has more than MaxManifests bytes, or names too many images.
func FromManifests(file string, r io.Reader) (Found, error) {
	var found Found
	d := newDocuments(r)
	reader := newReader()
	for {
		text, line, err := d.next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil && !errors.Is(err, errDocument) {
			return found, fmt.Errorf("%w: %s: %w", ErrManifests, file, err)
		}
		s := search{found: &found, reader: reader, file: file, before: line - 1}
		s.document(text, err)
		if len(found.Images)+len(found.Unparsed) > maxFound {
			return found, fmt.Errorf("%w: %s: more than %d images", ErrManifests, file, maxFound)
		}
	}
}

// search looks for images in one document.
type search struct {
	found  *Found
	reader *reader
	file   string
	before int    // lines before the document
	what   string // the object, as in "Deployment shop/web"
	name   string // of the object
}

// document searches the text, and reports what is wrong with it.
func (s *search) document(text []byte, err error) {
	if err == nil {
		var roots []*yaml.Node
		roots, err = parse(text, s.before)
		for _, root := range roots {
			s.object(root, 0)
		}
	}
	if err == nil {
		err = s.reader.err
	}
	if err != nil {
		s.found.refuse("", fmt.Sprintf("%s, the document from line %d on", s.file, s.before+1), err.Error())
	}
	s.reader.err = nil
}

// object notes which object it is in, and looks for images. Lists hold objects, as kubectl prints several.
func (s *search) object(n *yaml.Node, depth int) {
	if n.Kind == yaml.SequenceNode {
		s.items(n, depth, s.object)
		return
	}
	m := s.reader.mapping(n)
	kind := m.text("kind")
	var metadata, annotations fields
	if v := m.get("metadata"); v != nil {
		metadata = s.reader.mapping(v)
	}
	if v := metadata.get("annotations"); v != nil {
		annotations = s.reader.mapping(v)
	}
	s.name = metadata.text("name")
	name := short(s.name)
	if namespace := metadata.text("namespace"); namespace != "" {
		name = short(namespace) + "/" + name
	}
	s.what = strings.TrimSpace(short(kind) + " " + name)
	if hook := annotations.text("helm.sh/hook"); hook != "" {
		s.what += " (hook " + short(hook) + ")"
	}
	if !strings.HasSuffix(kind, "List") {
		s.values(n, "", depth)
		return
	}
	s.fields(m, "", depth, "items")
	if items := m.get("items"); items != nil {
		s.reader.follow(items, func(items *yaml.Node) { s.items(items, depth, s.object) })
	}
}

// items calls read with each of a list.
func (s *search) items(list *yaml.Node, depth int, read func(*yaml.Node, int)) {
	if depth > maxDepth {
		s.reader.err = errUnfolded
		return
	}
	for _, item := range list.Content {
		s.reader.follow(item, func(item *yaml.Node) {
			if s.reader.spend(1) {
				read(item, depth+1)
			}
		})
	}
}

// values looks through everything. label is the name of the container, or what else is nearest.
func (s *search) values(n *yaml.Node, label string, depth int) {
	s.reader.follow(n, func(n *yaml.Node) {
		switch {
		case n.Kind == yaml.SequenceNode:
			s.items(n, depth, func(item *yaml.Node, depth int) { s.values(item, label, depth) })
		case n.Kind != yaml.MappingNode:
		case depth > maxDepth:
			s.reader.err = errUnfolded
		default:
			m := s.reader.mapping(n)
			if name := m.text("name"); name != "" {
				label = name
			}
			s.fields(m, label, depth, "")
		}
	})
}

// fields looks through a mapping, but for one key.
func (s *search) fields(m fields, label string, depth int, except string) {
	for _, f := range m {
		switch f.key {
		case except:
		case "image":
			s.reader.follow(f.value, func(v *yaml.Node) { s.image(v, m, s.where(f.line, label), label, depth+1) })
		default:
			s.values(f.value, label, depth+1)
		}
	}
}

// image reads what stands under the key image. beside is the mapping that it stands in.
func (s *search) image(v *yaml.Node, beside fields, where, label string, depth int) {
	text := strings.TrimSpace(v.Value)
	switch {
	case v.Kind == yaml.MappingNode:
		s.split(s.reader.mapping(v), where)
		s.values(v, label, depth) // there may be more of them inside
	case v.Kind == yaml.SequenceNode:
		s.found.refuse("", where, "it is a list, not a reference")
		s.values(v, label, depth)
	case v.ShortTag() == "!!null":
		s.found.refuse("", where, "it is empty")
	case v.ShortTag() != "!!str":
		s.found.refuse(text, where, "it is no text")
	case text != "" && !isPinned(text) && beside.text("tag", "imageTag", "digest") != "":
		s.found.refuse(text, where, "its tag or digest stands beside it: how they are put together is decided elsewhere")
	default:
		s.found.add(text, where)
	}
}

// split reads an image that is a mapping: the reference of an image volume
// (https://kubernetes.io/docs/concepts/storage/volumes/#image), or the parts of a reference as many charts' values and
// operators' resources have them. Of the latter only what can mean one thing is taken.
func (s *search) split(m fields, where string) {
	reference, repository := m.text("reference"), m.text("repository", "name")
	tag, digest := m.text("tag", "version"), m.text("digest", "sha")
	switch {
	case reference != "":
		s.found.add(reference, where)
		return
	case repository == "" && (tag == "" && digest == "" || m.get("image") != nil):
		return // another thing of that name, as in a schema, or something around it
	case repository == "":
		s.found.refuse(tag+digest, where, "it has no repository: which one is used is decided elsewhere")
		return
	}
	ref := repository
	if registry := strings.TrimSuffix(m.text("registry"), "/"); registry != "" && !strings.HasPrefix(ref, registry+"/") {
		ref = registry + "/" + ref
	}
	if tag == "" && digest == "" && !isPinned(ref) {
		s.found.refuse(ref, where, "its parts have neither tag nor digest: which one is used is decided elsewhere")
		return
	}
	if tag != "" {
		ref += ":" + tag
	}
	if digest != "" && !strings.Contains(digest, ":") {
		digest = "sha256:" + digest
	}
	if digest != "" {
		ref += "@" + digest
	}
	s.found.add(ref, where)
}

// where describes a place. line counts in the document, from 1.
func (s *search) where(line int, label string) string {
	where := fmt.Sprintf("%s:%d", s.file, s.before+line)
	if s.what != "" {
		where += ", " + s.what
	}
	if label != "" && label != s.name {
		where += ", " + short(label)
	}
	return where
}
