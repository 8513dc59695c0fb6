package export

import (
	"airgap/bundle"
)

// Result is what an export did, for people and for --json.
type Result struct {
	ManifestIndex bundle.Digest  `json:"manifestIndex"`
	Size          int64          `json:"size"` // of the file, in bytes
	Created       string         `json:"created"`
	Counts        bundle.Counts  `json:"counts"`
	Images        []ImageResult  `json:"images"`
	LeftOut       []LeftOutLayer `json:"leftOut"`
	Warnings      []string       `json:"warnings"`
}

// ImageResult is one exported image.
type ImageResult struct {
	Source      string         `json:"source"`
	Destination string         `json:"destination"`
	Digest      bundle.Digest  `json:"digest"`
	Private     bool           `json:"private"`
	Manifests   int            `json:"manifests"` // distinct, referrers included
	Referrers   int            `json:"referrers"` // distinct, cosign tags included
	FoundIn     map[string]int `json:"foundIn"`   // referrers by repository
}

// LeftOutLayer is a nondistributable layer that is not in the file.
type LeftOutLayer struct {
	Digest bundle.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

func newResult(l *bundle.Layout, w *Walked) *Result {
	contents := l.Contents()
	r := &Result{
		ManifestIndex: l.ManifestIndex(), Size: l.Size(), Created: contents.Header.Created, Counts: contents.Header.Counts,
		LeftOut: []LeftOutLayer{}, Warnings: append([]string{}, w.warnings...),
	}
	for i, root := range contents.Roots {
		image := ImageResult{Source: root.Source, Destination: root.Destination(), Digest: root.Digest, Private: root.Private, FoundIn: map[string]int{}}
		manifests := map[bundle.Digest]bool{}
		referrers := map[bundle.Digest]bool{}
		for _, m := range contents.RootManifests(i) {
			manifests[m.Digest] = true
			if !m.Subject.IsZero() && !referrers[m.Digest] {
				referrers[m.Digest] = true
				image.FoundIn[m.From]++
			}
		}
		image.Manifests, image.Referrers = len(manifests), len(referrers)
		r.Images = append(r.Images, image)
	}
	for _, b := range contents.Blobs {
		if b.Stored == bundle.StoredNondistributable {
			r.LeftOut = append(r.LeftOut, LeftOutLayer{b.Digest, b.Size})
		}
	}
	return r
}
