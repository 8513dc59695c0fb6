package verify

import (
	"slices"
	"testing"

	"airgap/bundle"
)

func TestLargestFirst(t *testing.T) {
	var blobs []bundle.Blob
	for _, size := range []int64{5, largeBlob, largeBlob - 1, 3 * largeBlob, 0, largeBlob} {
		blobs = append(blobs, bundle.Blob{Size: size, Stored: bundle.StoredFull})
	}
	blobs = append(blobs, bundle.Blob{Size: 9 * largeBlob, Stored: bundle.StoredNondistributable})
	stored := func(row int) bool { return blobs[row].IsStored() }
	if got, want := slices.Collect(largestFirst(blobs, stored)), []int{3, 1, 5, 0, 2, 4}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for range largestFirst(blobs, stored) { // who stops is not yielded to again
		break
	}
}
