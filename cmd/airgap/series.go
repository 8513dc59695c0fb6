package main

import (
	"fmt"
	"strings"

	"airgap/bundle"
	"airgap/cmd/airgap/terminal"
)

// seriesFacts is where a bundle stands in a mirror, for --json.
type seriesFacts struct {
	Mirror    string        `json:"mirror,omitempty"`
	Sequence  uint64        `json:"sequence,omitempty"`
	Completes *bundle.Base  `json:"completes,omitempty"`
	Joined    bundle.Digest `json:"joined,omitzero"`
}

func seriesOf(h *bundle.Header) seriesFacts {
	return seriesFacts{h.Mirror, h.Sequence, h.Completes, h.Joined}
}

// lines says the same for people; nothing of a bundle without a mirror.
func (s seriesFacts) lines() (lines []string) {
	if s.Sequence > 0 {
		lines = append(lines, fmt.Sprintf("number %d of the mirror %s", s.Sequence, s.Mirror))
	}
	if s.Completes != nil {
		lines = append(lines, fmt.Sprintf("a supplement, with what was missing for %s", s.Completes))
	}
	if !s.Joined.IsZero() {
		lines = append(lines, fmt.Sprintf("the whole of %s, joined with what that stands on", s.Joined))
	}
	return lines
}

// basesShown is how many bundles a line names.
const basesShown = 10

// leftTo says what bases store in the stead of a bundle.
func leftTo(bases []bundle.LeftOut) string {
	var names []string
	blobs, size := 0, int64(0)
	for _, base := range bases {
		if blobs += base.Blobs; len(names) < basesShown {
			names = append(names, base.String())
		}
		size += base.Bytes
	}
	if more := len(bases) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%s: %s, %s", strings.Join(names, "; "), terminal.Count(blobs, "blob"), terminal.Bytes(size))
}
