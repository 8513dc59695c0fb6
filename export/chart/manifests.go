package chart

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"airgap/export/yamltree"
)

// Bounds on rendered manifests, in bytes.
const (
	MaxManifests = 256 << 20
	maxDocument  = 4 << 20 // Kubernetes itself takes objects of some 1.5 MiB
)

// ErrManifests: there is too much of them, or they cannot be read at all.
var ErrManifests = errors.New("rendered manifests")

// FromManifests finds images in rendered manifests, a stream of YAML documents as "helm template" prints them: whatever
// stands under the key image, in any kind of object, custom resources included, and the references of image volumes. A
// document that is not YAML is among the unparsed, and the others are read all the same. file names the stream in Where.
func FromManifests(file string, r io.Reader) (Found, error) {
	var found Found
	d := documents{in: bufio.NewReaderSize(io.LimitReader(r, MaxManifests+1), 64<<10)}
	for {
		document, line, err := d.next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("%w: %s: %w", ErrManifests, file, err)
		}
		root, err := yamltree.Parse(document, yamltree.Options{File: file, Lenient: true})
		if err != nil {
			found.refuse("", fmt.Sprintf("%s, the document from line %d on", file, line), err.Error())
			continue
		}
		s := search{found: &found, file: file, line: line - 1}
		s.object(root)
	}
}

// documents takes a stream apart at the lines that begin documents.
type documents struct {
	in   *bufio.Reader
	line int // of what was read last
	read int64
	done bool
}

// next returns a document that has anything in it, and the line on which it begins.
func (d *documents) next() (document []byte, line int, err error) {
	for !d.done {
		var text bytes.Buffer
		line = d.line + 1
		for {
			part, err := d.in.ReadSlice('\n')
			d.read += int64(len(part))
			if d.read > MaxManifests {
				return nil, 0, fmt.Errorf("more than %d bytes", MaxManifests)
			}
			isStart := bytes.Equal(bytes.TrimRight(part, " \t\r\n"), []byte("---")) || bytes.HasPrefix(part, []byte("--- "))
			if !errors.Is(err, bufio.ErrBufferFull) {
				d.line++
			}
			if !isStart {
				text.Write(part)
			}
			if text.Len() > maxDocument {
				return nil, 0, fmt.Errorf("a document of more than %d bytes, from line %d on", maxDocument, line)
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				if !errors.Is(err, io.EOF) {
					return nil, 0, err
				}
				d.done = true
			}
			if isStart || d.done {
				break
			}
		}
		if len(bytes.TrimSpace(text.Bytes())) > 0 {
			return text.Bytes(), line, nil
		}
	}
	return nil, 0, io.EOF
}

// search looks for images in one document.
type search struct {
	found *Found
	file  string
	line  int    // what the document's own lines are to be added to
	what  string // the object, as in "Deployment web"
}

// object notes which object it is in, and looks for images. Lists hold objects.
func (s *search) object(v *yamltree.Value) {
	text := func(v *yamltree.Value, key string) string {
		if v == nil || v.Field(key) == nil {
			return ""
		}
		return v.Field(key).Text
	}
	kind, metadata := text(v, "kind"), v.Field("metadata")
	if items := v.Field("items"); strings.HasSuffix(kind, "List") && items != nil {
		for _, item := range items.Items {
			s.object(item)
		}
		return
	}
	s.what = strings.TrimSpace(kind + " " + text(metadata, "name"))
	if metadata != nil {
		if hook := text(metadata.Field("annotations"), "helm.sh/hook"); hook != "" {
			s.what += " (hook " + hook + ")"
		}
	}
	s.values(v, "")
}

// values looks through everything. label is the name of the container, or what else is nearest.
func (s *search) values(v *yamltree.Value, label string) {
	for _, item := range v.Items {
		s.values(item, label)
	}
	if name := v.Field("name"); name != nil && name.Kind == yamltree.Scalar {
		label = name.Text
	}
	for _, f := range v.Fields {
		switch {
		case f.Key == "image" && f.Value.Kind == yamltree.Mapping:
			s.split(f, label)
		case f.Key == "image" && f.Value.Kind != yamltree.Sequence:
			s.found.add(strings.TrimSpace(f.Value.Text), s.where(f, label))
		default:
			s.values(f.Value, label)
		}
	}
}

// split reads an image that is a mapping: the reference of an image volume
// (https://kubernetes.io/docs/concepts/storage/volumes/#image), or the parts of a reference as many charts' values and
// operators' resources have them. Of the latter only what can mean one thing is taken.
func (s *search) split(f yamltree.Field, label string) {
	text := func(keys ...string) string {
		for _, key := range keys {
			if v := f.Value.Field(key); v != nil && v.Kind == yamltree.Scalar {
				return strings.TrimSpace(v.Text)
			}
		}
		return ""
	}
	where := s.where(f, label)
	if reference := text("reference"); reference != "" {
		s.found.add(reference, where)
		return
	}
	repository := text("repository", "name")
	if repository == "" {
		s.values(f.Value, label) // another thing of that name
		return
	}
	ref := repository
	if registry := text("registry"); registry != "" && !strings.HasPrefix(repository, registry+"/") {
		ref = registry + "/" + repository
	}
	tag, digest := text("tag", "version"), text("digest", "sha")
	if digest != "" && !strings.Contains(digest, ":") {
		digest = "sha256:" + digest
	}
	switch {
	case tag != "":
		ref += ":" + tag
	case digest == "":
		s.found.refuse(ref, where, "its parts have neither tag nor digest: which one is used is decided elsewhere")
		return
	}
	if digest != "" {
		ref += "@" + digest
	}
	s.found.add(ref, where)
}

func (s *search) where(f yamltree.Field, label string) string {
	where := fmt.Sprintf("%s:%d", s.file, s.line+f.Position.Line)
	if s.what != "" {
		where += ", " + s.what
	}
	if label != "" && !strings.HasSuffix(s.what, " "+label) {
		where += ", " + label
	}
	return where
}
