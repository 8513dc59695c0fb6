package export

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/bundle/platform"
)

// PlatformMode says what becomes of an index of which only some platforms are carried.
type PlatformMode string

// The two honest forms.
const (
	// PlatformsRewritten makes a new index of the platforms that are carried.
	PlatformsRewritten PlatformMode = "rewrite"
	// PlatformsSparse carries the index as it is, without the manifests of the other platforms, for targets that accept it.
	PlatformsSparse PlatformMode = "sparse"
)

// ParsePlatformMode reads a mode; "" is the default, rewrite. Errors wrap platform.ErrPlatform.
func ParsePlatformMode(s string) (PlatformMode, error) {
	switch mode := PlatformMode(s); mode {
	case "":
		return PlatformsRewritten, nil
	case PlatformsRewritten, PlatformsSparse:
		return mode, nil
	}
	return "", fmt.Errorf("%w: mode %.40q; rewrite or sparse expected", platform.ErrPlatform, s)
}

// selection is which entries of an index are carried.
type selection struct {
	kept   []bool             // by place in the index
	left   []string           // platforms of the others
	absent []platform.Matcher // asked for, and not there
}

func (s *selection) everything() bool { return !slices.Contains(s.kept, false) }

// BuildKit keeps what it attests of an image in the same index, as a manifest that says by annotations which one it is
// about. https://github.com/moby/buildkit/blob/v0.20.0/docs/attestations/attestation-storage.md
const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	attestationReference      = "attestation-manifest"
)

// selectPlatforms chooses the entries for the given platforms, and BuildKit's attestations of them. platform.ErrPlatform where
// there is none.
func selectPlatforms(index *bundle.Manifest, platforms []platform.Matcher) (*selection, error) {
	s := &selection{kept: make([]bool, len(index.Manifests))}
	isAbout := func(d bundle.Descriptor) string {
		if d.Annotations[annotationReferenceType] == attestationReference {
			return d.Annotations[annotationReferenceDigest]
		}
		return ""
	}
	found := make([]bool, len(platforms))
	carried := map[string]bool{}
	for i, d := range index.Manifests {
		for j, p := range platforms {
			if isAbout(d) == "" && p.Matches(d.Platform) {
				s.kept[i], found[j], carried[d.Digest.String()] = true, true, true
			}
		}
	}
	for i, d := range index.Manifests {
		switch about := isAbout(d); {
		case about != "":
			s.kept[i] = carried[about]
		case !s.kept[i]:
			s.left = append(s.left, platformName(d.Platform))
		}
	}
	for j, p := range platforms {
		if !found[j] {
			s.absent = append(s.absent, p)
		}
	}
	if len(carried) == 0 {
		return nil, fmt.Errorf("%w: it has %s, and nothing for %s", platform.ErrPlatform, strings.Join(s.left, ", "), platformNames(platforms))
	}
	return s, nil
}

func platformName(p *platform.Platform) string {
	if p == nil {
		return "no platform"
	}
	return p.String()
}

func platformNames(platforms []platform.Matcher) string {
	var names []string
	for _, p := range platforms {
		names = append(names, cmp.Or(p.String(), "no platform"))
	}
	return strings.Join(names, ", ")
}

// rewriteIndex returns an index without the entries that are not kept; everything else is as it was, in its order.
func rewriteIndex(content []byte, kept []bool) ([]byte, error) {
	fields, err := objectFields(content)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for i, f := range fields {
		out.WriteByte("{,"[min(i, 1)])
		key, err := json.Marshal(f.key)
		if err != nil {
			return nil, err
		}
		out.Write(key)
		out.WriteByte(':')
		value := f.value
		if f.key == "manifests" {
			if value, err = keepElements(value, kept); err != nil {
				return nil, err
			}
		}
		if err := json.Compact(&out, value); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

type field struct {
	key   string
	value json.RawMessage
}

// objectFields takes a JSON object apart, in its own order. It must have passed bundle.ParseManifest.
func objectFields(content []byte) ([]field, error) {
	d := json.NewDecoder(bytes.NewReader(content))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var fields []field
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := field{key: fmt.Sprint(key)}
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

func keepElements(array json.RawMessage, kept []bool) (json.RawMessage, error) {
	var elements, rest []json.RawMessage
	if err := json.Unmarshal(array, &elements); err != nil {
		return nil, err
	}
	for i, e := range elements {
		if kept[i] {
			rest = append(rest, e)
		}
	}
	return json.Marshal(rest)
}
