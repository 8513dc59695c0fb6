package export

import (
	"maps"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/verify/judge"
)

// Result is what an export did, or what a plan comes to, for people and for --json.
type Result struct {
	ManifestIndex bundle.Digest    `json:"manifestIndex,omitzero"` // not of a plan
	Size          int64            `json:"size,omitempty"`         // of the file, in bytes; not of a plan
	Continued     bool             `json:"continued,omitempty"`    // what an earlier run had found was finished
	Mirror        string           `json:"mirror,omitempty"`
	Sequence      uint64           `json:"sequence,omitempty"`
	Bases         []bundle.Base    `json:"bases,omitempty"`     // that store what was left out
	Completes     *bundle.Base     `json:"completes,omitempty"` // of a supplement
	Created       string           `json:"created"`
	Counts        bundle.Counts    `json:"counts"`
	Images        []ImageResult    `json:"images"`
	Judgement     *judge.Judgement `json:"judgement,omitempty"` // of all images that were found, those that fail among them
	Missing       []MissingResult  `json:"missing"`
	Excluded      []Excluded       `json:"excluded"`
	LeftOut       []LeftOutLayer   `json:"leftOut"`
	Found         []FoundImage     `json:"found,omitempty"`    // in charts and manifests
	Unparsed      []UnparsedImage  `json:"unparsed,omitempty"` // there
	Warnings      []string         `json:"warnings"`
}

// ImageResult is one image.
type ImageResult struct {
	Source      string            `json:"source"`
	Destination string            `json:"destination"`
	Entry       string            `json:"entry,omitempty"` // of the file that asks for it
	Digest      bundle.Digest     `json:"digest"`
	Original    bundle.Digest     `json:"original,omitzero"` // of the index of which this one is a part
	Sparse      bool              `json:"sparse,omitempty"`  // the index lists manifests that are not carried
	Private     bool              `json:"private"`
	Platforms   []string          `json:"platforms"`            // of an index: those that are carried
	Manifests   int               `json:"manifests"`            // distinct, referrers included
	Referrers   int               `json:"referrers"`            // distinct, cosign tags included
	ByType      map[string]int    `json:"referrersByType"`      // by predicate type, or else by artifact type
	FoundIn     map[string]int    `json:"foundIn"`              // referrers by repository
	NewBytes    int64             `json:"newBytes"`             // of content that no image before it needs
	SharedBytes int64             `json:"sharedBytes"`          // of content that one before it needs, too
	BasedBytes  int64             `json:"basedBytes,omitempty"` // of content that bases store
	LeftOut     []LeftOutReferrer `json:"leftOutReferrers"`
	UsedBy      []string          `json:"usedBy,omitempty"` // charts
}

// FoundImage is an image that a chart, or a rendered manifest, uses.
type FoundImage struct {
	Source string `json:"source"` // of the image that is carried
	Ref    string `json:"ref"`    // as written
	Where  string `json:"where"`
	More   int    `json:"more,omitempty"`  // how many more places there name it
	Chart  string `json:"chart,omitempty"` // source of the chart
}

// UnparsedImage is what looks like an image there, and cannot be read as one.
type UnparsedImage struct {
	Ref    string `json:"ref"`
	Where  string `json:"where"`
	Reason string `json:"reason"`
	Chart  string `json:"chart,omitempty"`
}

// MissingResult is something that was asked for and could not be had.
type MissingResult struct {
	Source string `json:"source"`
	Reason string `json:"reason"`
}

// LeftOutReferrer is something that refers to an image and that the user's own settings leave out.
type LeftOutReferrer struct {
	Digest       bundle.Digest `json:"digest"`
	ArtifactType string        `json:"artifactType"` // as the registry lists it
	Subject      bundle.Digest `json:"subject"`
	From         string        `json:"from"` // repository
	Rule         string        `json:"rule"` // which setting
}

// LeftOutLayer is a nondistributable layer that is not in the file.
type LeftOutLayer struct {
	Digest bundle.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// missing returns the failures as the bundle records them.
func (w *walked) missing() []bundle.Missing {
	var missing []bundle.Missing
	for _, f := range w.Failures {
		missing = append(missing, bundle.Missing{Source: f.Source, Path: f.Path, Tag: f.Tag, Reason: reason(f.Err)})
	}
	return missing
}

// maxReason bounds what is recorded of an error, in bytes: registries' answers can be long.
const maxReason = 300

// reason is an error as one line of text.
func reason(err error) string {
	text := strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(err.Error(), "?"))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "..."
	}
	return text
}

// Result returns what the plan comes to.
func (p *Plan) Result() (*Result, error) {
	w := p.walk
	r := &Result{
		Created: p.options.Created.UTC().Format("2006-01-02T15:04:05Z"),
		Images:  []ImageResult{}, Missing: []MissingResult{}, LeftOut: []LeftOutLayer{},
		Found: p.chosen.Found, Unparsed: p.chosen.Unparsed,
		Excluded: append([]Excluded{}, w.Excluded...), Warnings: slices.Concat([]string{}, p.chosen.Warnings, w.Warnings),
	}
	r.Judgement = p.Judgement
	for _, f := range w.Failures {
		r.Missing = append(r.Missing, MissingResult{f.Source, reason(f.Err)})
	}
	if p.Contents == nil {
		return r, nil
	}
	header := &p.Contents.Header
	r.Mirror, r.Sequence, r.Bases, r.Completes = header.Mirror, header.Sequence, header.Bases, header.Completes
	r.Created, r.Counts = header.Created, header.Counts
	summary := newSummary(p)
	for i, root := range p.Contents.Roots() {
		r.Images = append(r.Images, summary.image(i, &root))
	}
	for _, b := range p.Contents.Blobs {
		if b.Stored == bundle.StoredNondistributable {
			r.LeftOut = append(r.LeftOut, LeftOutLayer{b.Digest, b.Size})
		}
	}
	return r, nil
}

// summary works out what the images come to, in their order.
type summary struct {
	contents *bundle.Contents
	graph    *bundle.Graph
	walk     *walked
	kinds    map[bundle.Digest]string
	needed   []bool  // blobs, by an image before
	last     []int32 // by blob: the last image that needs it, counted from 1
}

func newSummary(p *Plan) *summary {
	s := &summary{
		contents: p.Contents, graph: p.Graph, walk: p.walk, kinds: map[bundle.Digest]string{},
		needed: make([]bool, len(p.Contents.Blobs)), last: make([]int32, len(p.Contents.Blobs)),
	}
	for _, n := range p.walk.graph.nodes {
		s.kinds[n.digest] = n.kinds
	}
	return s
}

func (s *summary) image(i int, root *bundle.Root) ImageResult {
	notes := s.walk.notes[keyOf(root)]
	image := ImageResult{
		Source: root.Source, Destination: root.Destination(), Entry: notes.entry, Digest: root.Digest, Original: root.Original, Sparse: root.IsSparse(),
		Private: root.Private, UsedBy: root.UsedBy, Platforms: []string{}, ByType: map[string]int{}, FoundIn: map[string]int{}, LeftOut: []LeftOutReferrer{},
	}
	manifests, referrers := map[bundle.Digest]bool{}, map[bundle.Digest]bool{}
	for _, m := range s.contents.RootManifests(i) {
		if !m.Subject.IsZero() && !referrers[m.Digest] {
			referrers[m.Digest] = true
			image.FoundIn[m.From]++
			image.ByType[s.kinds[m.Digest]]++
		}
		if manifests[m.Digest] {
			continue
		}
		manifests[m.Digest] = true
		s.count(&image, i, m.Digest)
	}
	image.Manifests, image.Referrers = len(manifests), len(referrers)
	for _, left := range notes.left {
		if !manifests[left.Digest] { // another request for the same image may carry it
			image.LeftOut = append(image.LeftOut, left)
		}
	}
	image.Platforms = append(image.Platforms, s.platforms(root, manifests)...)
	return image
}

// count adds the bytes that an image needs for a manifest.
func (s *summary) count(image *ImageResult, i int, manifest bundle.Digest) {
	at, _ := s.contents.Find(manifest)
	for _, row := range append(slices.Clone(s.graph.Node(at).Blobs), int32(at)) {
		blob := &s.contents.Blobs[row]
		if s.last[row] == int32(i)+1 || !blob.IsNeeded() {
			continue
		}
		s.last[row] = int32(i) + 1
		switch {
		case !blob.IsStored():
			image.BasedBytes += blob.Size
		case s.needed[row]:
			image.SharedBytes += blob.Size
		default:
			image.NewBytes += blob.Size
		}
		s.needed[row] = true
	}
}

// platforms names what of an index is carried.
func (s *summary) platforms(root *bundle.Root, carried map[bundle.Digest]bool) []string {
	at, _ := s.contents.Find(root.Digest)
	node := s.graph.Node(at)
	names := map[string]bool{}
	for i, child := range node.Children {
		if p := node.Platform(i); p != nil && p.OS != "unknown" && carried[s.contents.Blobs[child].Digest] {
			names[p.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
