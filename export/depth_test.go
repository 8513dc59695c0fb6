package export_test

import (
	"errors"
	"testing"

	"airgap/bundle"
	"airgap/export"
)

// What hangs from an image is followed as deep as a bundle may hold it, and not a request further: a registry could make up
// referrers of referrers for ever.
func TestReferrersAreFollowedToALimit(t *testing.T) {
	for _, length := range []int{bundle.MaxDepth, bundle.MaxDepth + 1, 3 * bundle.MaxDepth} {
		f := newFaulty(t)
		config := f.layer
		chain := f.image
		for range length {
			chain = f.add(t, "", bundle.Manifest{Config: &config, ArtifactType: "application/vnd.example.signature", Subject: &chain})
		}
		e := f.exporting(t, export.WalkOptions{}, "acme/app:1")
		f.Forget()
		_, err := e.run(t.Context())
		if tooDeep := length > bundle.MaxDepth; errors.Is(err, bundle.ErrLimit) != tooDeep || !tooDeep && err != nil {
			t.Errorf("%d steps: %v", length, err)
		}
		if pulled := f.Count("GET", "/manifests/"); pulled > bundle.MaxDepth+2 {
			t.Errorf("%d steps: %d manifests were pulled", length, pulled)
		}
	}
}

// How far a manifest is away is told by the shortest way to it, whichever way was gone first: an index may list all of a
// long chain of indexes.
func TestTheShortestWayCounts(t *testing.T) {
	f := newFaulty(t)
	list := []bundle.Descriptor{f.image}
	for range 2 * bundle.MaxDepth {
		list = append(list, f.index(t, "", list[len(list)-1]))
	}
	f.index(t, "all", list...)
	if _, err := f.exporting(t, export.WalkOptions{}, "acme/app:all").run(t.Context()); err != nil {
		t.Error(err)
	}
	f.index(t, "deep", list[len(list)-1])
	if _, err := f.exporting(t, export.WalkOptions{}, "acme/app:deep").run(t.Context()); !errors.Is(err, bundle.ErrLimit) {
		t.Errorf("%d nested indexes: %v", len(list), err)
	}
}
