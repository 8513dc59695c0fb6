package chart

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"airgap/bundle/yaml"
)

// ErrManifests: there is too much of them, or they cannot be read at all.
var ErrManifests = errors.New("rendered manifests")

// maxFound bounds how many images, and what looks like them, may be found in one stream.
const maxFound = 100_000

// FromManifests finds images in rendered manifests, a stream of YAML documents as "helm template" prints them: whatever
// stands under the key image, in any kind of object, custom resources included, and the references of image volumes. A
// document that cannot be read is among the unparsed, and the others are read all the same. file names the stream in
// Where. Errors wrap ErrManifests: the stream broke, has more than yaml.MaxStream bytes, or names too many images.
func FromManifests(file string, r io.Reader) (Found, error) {
	var found Found
	reader := yaml.NewReader(r, yaml.Options{File: file, Lenient: true})
	for {
		document, err := reader.Next()
		var wrong *yaml.Error
		switch {
		case errors.Is(err, io.EOF):
			return found, nil
		case errors.As(err, &wrong):
			where := fmt.Sprintf("%s, the document from line %d on", file, document.Line)
			found.refuse("", where, fmt.Sprintf("line %d: %s", wrong.Position.Line, wrong.Message))
		case err != nil:
			return found, fmt.Errorf("%w: %s: %w", ErrManifests, file, err)
		}
		if document.Root != nil {
			search{found: &found}.object(document.Root)
		}
		if len(found.Images)+len(found.Unparsed) > maxFound {
			return found, fmt.Errorf("%w: %s: more than %d images", ErrManifests, file, maxFound)
		}
	}
}

// search looks for images in one object.
type search struct {
	found *Found
	what  string // the object, as in "Deployment shop/web"
	name  string // of the object
}

// object looks for images in an object, or in each of a list. Objects of a kind like PodList hold objects, as kubectl prints
// several.
func (s search) object(v *yaml.Value) {
	for _, item := range v.Items {
		s.object(item)
	}
	kind, metadata := text(v, "kind"), v.Field("metadata")
	s.name = text(metadata, "name")
	s.what = short(s.name)
	if namespace := text(metadata, "namespace"); namespace != "" {
		s.what = short(namespace) + "/" + s.what
	}
	s.what = strings.TrimSpace(short(kind) + " " + s.what)
	if hook := text(metadata.Field("annotations"), "helm.sh/hook"); hook != "" {
		s.what += " (hook " + short(hook) + ")"
	}
	label := text(v, "name")
	for _, f := range v.Fields {
		if f.Key == "items" && strings.HasSuffix(kind, "List") {
			s.object(f.Value)
		} else {
			s.field(f, v, label)
		}
	}
}

// values looks through everything. label is the name of the container, or what else is nearest.
func (s search) values(v *yaml.Value, label string) {
	for _, item := range v.Items {
		s.values(item, label)
	}
	if name := text(v, "name"); name != "" {
		label = name
	}
	for _, f := range v.Fields {
		s.field(f, v, label)
	}
}

// field looks through one field of a mapping.
func (s search) field(f yaml.Field, mapping *yaml.Value, label string) {
	if f.Key == "image" {
		s.image(f.Value, mapping, s.where(f.Position, label), label)
	} else {
		s.values(f.Value, label)
	}
}

// image reads what stands under the key image. beside is the mapping that it stands in.
func (s search) image(v, beside *yaml.Value, where, label string) {
	ref := strings.TrimSpace(v.Text)
	switch {
	case v.Kind == yaml.Mapping:
		s.split(v, where)
		s.values(v, label) // there may be more of them inside
	case v.Kind == yaml.Sequence:
		s.found.refuse("", where, "it is a list, not a reference")
		s.values(v, label)
	case v.Kind == yaml.Null:
		s.found.refuse("", where, "it is empty")
	case !v.IsText:
		s.found.refuse(ref, where, "it is no text")
	case ref != "" && !isPinned(ref) && text(beside, "tag", "imageTag", "digest") != "":
		s.found.refuse(ref, where, "its tag or digest stands beside it: how they are put together is decided elsewhere")
	default:
		s.found.add(ref, where)
	}
}

// split reads an image that is a mapping: the reference of an image volume
// (https://kubernetes.io/docs/concepts/storage/volumes/#image), or the parts of a reference as many charts' values and
// operators' resources have them. Of the latter only what can mean one thing is taken.
func (s search) split(m *yaml.Value, where string) {
	reference, repository := text(m, "reference"), text(m, "repository", "name")
	tag, digest := text(m, "tag", "version"), text(m, "digest", "sha")
	switch {
	case reference != "":
		s.found.add(reference, where)
		return
	case repository == "" && (tag == "" && digest == "" || m.Field("image") != nil):
		return // another thing of that name, as in a schema, or something around it
	case repository == "":
		s.found.refuse(tag+digest, where, "it has no repository: which one is used is decided elsewhere")
		return
	}
	ref := repository
	if registry := strings.TrimSuffix(text(m, "registry"), "/"); registry != "" && !strings.HasPrefix(ref, registry+"/") {
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

// where describes a place.
func (s search) where(at yaml.Position, label string) string {
	where := fmt.Sprintf("%s:%d", at.File, at.Line)
	if s.what != "" {
		where += ", " + s.what
	}
	if label != "" && label != s.name {
		where += ", " + short(label)
	}
	return where
}

// text returns the value of the first of some fields that is a text, a number or the like; "" where none is. v may be nil.
func text(v *yaml.Value, keys ...string) string {
	for _, key := range keys {
		if field := v.Field(key); field != nil && field.Kind == yaml.Scalar {
			return strings.TrimSpace(field.Text)
		}
	}
	return ""
}
