package bundle

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"airgap/bundle/platform"
	"airgap/bundle/strictjson"
)

// Root is a row of the roots table: something that the user asked for by name.
type Root struct {
	Source       string `json:"source"`        // full reference, as in docker.io/acme/app:1 or docker.io/acme/app@sha256:...
	Path         string `json:"path"`          // repository at the destination, without a registry
	Tag          string `json:"tag,omitempty"` // tag at the destination; none: by digest only
	MediaType    string `json:"mediaType"`
	Digest       Digest `json:"digest"`
	Size         int64  `json:"size"`
	ArtifactType string `json:"artifactType,omitempty"`
	Private      bool   `json:"private"` // an anonymous HEAD was refused at the source

	// Platforms, where there are any, are those of the source's index that were asked for. Without Original the index is
	// the source's own and its other children are missing; with it, the index is a selection made at export.
	Platforms []string `json:"platforms,omitempty"`
	Original  Digest   `json:"original,omitzero"` // of the index at the source
	// ReferrerPath is the repository at the destination for what refers to the root, where that is another one.
	ReferrerPath string `json:"referrerPath,omitempty"`
	// UsedBy are the sources of the charts that use this image, sorted.
	UsedBy []string `json:"usedBy,omitempty"`
}

// IsSparse tells whether the root is an index that lists manifests which the bundle need not hold.
func (r *Root) IsSparse() bool { return len(r.Platforms) > 0 && r.Original.IsZero() }

// Missing is a row of the missing table: something that the user asked for and that could not be had, in a bundle that
// was made all the same (export --keep-going).
type Missing struct {
	Source string `json:"source"`
	Path   string `json:"path,omitempty"` // none: a whole registry
	Tag    string `json:"tag,omitempty"`
	Reason string `json:"reason"` // for people
}

// Destination returns where the image would have gone: PATH or PATH:TAG; "" for a whole registry.
func (m *Missing) Destination() string {
	if m.Tag == "" {
		return m.Path
	}
	return m.Path + ":" + m.Tag
}

// Destination returns what import calls the root: PATH:TAG, or PATH@DIGEST where there is no tag.
func (r *Root) Destination() string {
	if r.Tag == "" {
		return r.Path + "@" + r.Digest.String()
	}
	return r.Path + ":" + r.Tag
}

// RefName returns the name under which other tools find the root in index.json: its full source reference, without
// the digest where there is a tag as well.
func (r *Root) RefName() string {
	name, _, pinned := strings.Cut(r.Source, "@")
	if tagged := strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, '/'); pinned && tagged {
		return name
	}
	return r.Source
}

// Via is the way in which the walk from a root found a manifest.
type Via string

// The ways, one of which is in each row of the manifests table.
const (
	ViaRoot         Via = "root"          // it is the root
	ViaChild        Via = "child"         // an index that was reached lists it
	ViaReferrersAPI Via = "referrers-api" // the referrers API lists it for its subject
	ViaReferrersTag Via = "referrers-tag" // the fallback tag's index lists it for its subject
	ViaCosignTag    Via = "cosign-tag"    // a tag sha256-<hex>.sig, .att or .sbom names it
)

// vias are all of them; a reader refuses any other.
var vias = []Via{ViaRoot, ViaChild, ViaReferrersAPI, ViaReferrersTag, ViaCosignTag}

// IsReferrer tells whether v is one of the two ways of a referrer in the sense of OCI 1.1.
func (v Via) IsReferrer() bool { return v == ViaReferrersAPI || v == ViaReferrersTag }

// provesSomething tells whether what was found in the way v hangs from something else as a proof of it: a referrer, or a
// cosign tag.
func (v Via) provesSomething() bool { return v.IsReferrer() || v == ViaCosignTag }

// ManifestRow is a row of the manifests table: one way in which a root reaches a manifest.
type ManifestRow struct {
	Root         int    `json:"root"` // row of the roots table, from 0
	Digest       Digest `json:"digest"`
	MediaType    string `json:"mediaType"`
	Size         int64  `json:"size"`
	ArtifactType string `json:"artifactType,omitempty"`
	Via          Via    `json:"via"`
	Subject      Digest `json:"subject,omitzero"` // of referrers and cosign tags: what they refer to
	Tag          string `json:"tag,omitempty"`    // of cosign tags: the tag
	From         string `json:"from"`             // repository in which it was found, with its registry
}

// compareRoots is the order of the roots table.
func compareRoots(a, b Root) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Tag, b.Tag), bytes.Compare(a.Digest[:], b.Digest[:]))
}

// compareMissing is the order of the missing table.
func compareMissing(a, b Missing) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Source, b.Source))
}

// compareManifests is the order of the manifests table. The two ways of a referrer compare as equal: one is enough.
func compareManifests(a, b ManifestRow) int {
	class := func(v Via) Via {
		if v == ViaReferrersTag {
			return ViaReferrersAPI
		}
		return v
	}
	return cmp.Or(cmp.Compare(a.Root, b.Root), bytes.Compare(a.Digest[:], b.Digest[:]),
		cmp.Compare(class(a.Via), class(b.Via)), cmp.Compare(a.Tag, b.Tag))
}

// writeLines writes rows as JSON Lines (https://jsonlines.org): each row one compact JSON object and a newline.
func writeLines[Row any](w io.Writer, rows iter.Seq2[int, Row]) error {
	buffered := bufio.NewWriterSize(w, 64<<10)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	for _, row := range rows {
		if err := encoder.Encode(row); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// readLines reads JSON Lines and gives each row to add, which checks it; the row must not be kept. An error names table
// and line.
func readLines[Row any](r io.Reader, table string, want int, add func(*Row) error) error {
	lines := bufio.NewReaderSize(r, MaxLineSize)
	var row, empty Row
	read := 0
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		bad := func(err error) error { return fmt.Errorf("%w: %s table, line %d: %w", ErrFormat, table, read+1, err) }
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return bad(fmt.Errorf("%w of %d bytes", ErrLimit, MaxLineSize))
		case errors.Is(err, io.EOF):
			return bad(errors.New("the last line does not end"))
		case err != nil:
			return err
		case read == want:
			return bad(fmt.Errorf("the header counts only %d", want))
		}
		row = empty
		if err := strictjson.Unmarshal(line, &row); err != nil {
			return bad(err)
		}
		if err := add(&row); err != nil {
			return bad(err)
		}
		read++
	}
	if read != want {
		return fmt.Errorf("%w: %s table: %d lines, but the header counts %d", ErrFormat, table, read, want)
	}
	return nil
}

// checkText refuses what must not be in a string of a table: see FORMAT.md, "Strings".
func checkText(what, s string) error {
	switch {
	case len(s) > MaxStringSize:
		return fmt.Errorf("%s: %w of %d bytes: it begins %.60q", what, ErrLimit, MaxStringSize, s)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s %.60q is not UTF-8", what, s)
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fmt.Errorf("%s %.60q has control characters", what, s)
	}
	return nil
}

func (r *Root) check() error {
	if err := checkSource(r.Source, r.Digest); err != nil {
		return err
	}
	if err := CheckPath(r.Path); err != nil {
		return err
	}
	if r.Tag != "" {
		if err := CheckTag(r.Tag); err != nil {
			return err
		}
	}
	if IsFallbackTag(r.Tag) {
		return fmt.Errorf("registries keep the tag %s for a list of referrers: give the image another destination", r.Tag)
	}
	if err := r.checkSelection(); err != nil {
		return err
	}
	return checkManifestFields(r.MediaType, r.ArtifactType, r.Size, r.Digest)
}

// checkSelection checks the columns that belong to features.
func (r *Root) checkSelection() error {
	if r.ReferrerPath != "" {
		if err := CheckPath(r.ReferrerPath); err != nil {
			return fmt.Errorf("repository for referrers: %w", err)
		}
		if r.ReferrerPath == r.Path {
			return errors.New("the repository for referrers is the image's own")
		}
	}
	if err := checkSorted("platform", r.Platforms); err != nil {
		return err
	}
	if err := checkSorted("chart", r.UsedBy); err != nil {
		return err
	}
	for _, p := range r.Platforms {
		if _, err := platform.Parse(p); p == "" || err != nil && p != platform.None {
			return fmt.Errorf("the platform %.60q is none", p)
		}
	}
	switch {
	case len(r.Platforms) == 0 && !r.Original.IsZero():
		return errors.New("an original, but no platforms that were selected from it")
	case len(r.Platforms) > 0 && !IsIndex(r.MediaType):
		return errors.New("platforms of what is no index")
	case r.Original == r.Digest:
		return errors.New("it is its own original")
	}
	return nil
}

func checkSorted(what string, texts []string) error {
	for i, text := range texts {
		if err := checkText(what, text); err != nil {
			return err
		}
		if text == "" {
			return fmt.Errorf("a %s without a name", what)
		}
		if i > 0 && texts[i-1] >= text {
			return fmt.Errorf("%ss are out of order at %.60q", what, text)
		}
	}
	return nil
}

func (m *Missing) check() error {
	if err := checkText("source", m.Source); err != nil {
		return err
	}
	if err := checkText("reason", m.Reason); err != nil {
		return err
	}
	if m.Source == "" || m.Reason == "" {
		return errors.New("no source or no reason")
	}
	if m.Path != "" || m.Tag != "" {
		if err := CheckPath(m.Path); err != nil {
			return err
		}
	}
	if m.Tag != "" {
		return CheckTag(m.Tag)
	}
	return nil
}

func (r *ManifestRow) check(roots int) error {
	if r.Root < 0 || r.Root >= roots {
		return fmt.Errorf("root %d of %d", r.Root, roots)
	}
	if err := checkRepository(r.From); err != nil {
		return err
	}
	if !slices.Contains(vias, r.Via) {
		return fmt.Errorf("%w: found via %.40q", ErrUnsupported, r.Via)
	}
	if refers := r.Via.provesSomething(); refers == r.Subject.IsZero() {
		return fmt.Errorf("found via %s with subject %s", r.Via, r.Subject)
	}
	if r.Via == ViaCosignTag != isCosignTagOf(r.Subject, r.Tag) || (r.Via != ViaCosignTag && r.Tag != "") {
		return fmt.Errorf("found via %s of %s with the tag %.80q", r.Via, r.Subject, r.Tag)
	}
	return checkManifestFields(r.MediaType, r.ArtifactType, r.Size, r.Digest)
}

func checkManifestFields(mediaType, artifactType string, size int64, digest Digest) error {
	if !IsManifest(mediaType) {
		return fmt.Errorf("%w: media type %.100q", ErrUnsupported, mediaType)
	}
	if err := checkText("artifact type", artifactType); err != nil {
		return err
	}
	if size < 0 || size > MaxManifestSize {
		return fmt.Errorf("%w: a manifest of %d bytes", ErrLimit, size)
	}
	if digest.IsZero() {
		return errors.New("no digest")
	}
	return nil
}
