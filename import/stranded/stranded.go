// Package stranded says what an import cannot bring: blobs that the bundle leaves out, since another one stores them, and that are
// nowhere at the target.
package stranded

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/import/inventory"
)

// ErrStranded: the target lacks what the bundle stands on. It was found before anything was written.
var ErrStranded = errors.New("the target lacks what the bundle stands on")

// Want returns what was looked for and not found, as a list that export answers; nil where nothing is lacking. Nothing is said of
// repositories that are unasked.
func Want(inv *inventory.Inventory, unasked []bool) *ledger.Want {
	manifests := map[int32][]bundle.Digest{} // by row of the blob
	for blob := range inv.Blobs() {
		if isLost(inv, blob, unasked) {
			manifests[blob.Row] = nil
		}
	}
	if len(manifests) == 0 {
		return nil
	}
	for manifest := range inv.Manifests() {
		for _, row := range inv.Graph.Node(int(manifest.Row)).Blobs {
			if _, isWanted := manifests[row]; isWanted {
				manifests[row] = append(manifests[row], inv.Digest(manifest.Row))
			}
		}
	}
	header := &inv.Contents.Header
	want := &ledger.Want{Completes: header.Base(inv.Bundle.ManifestIndex())}
	if header.Completes != nil {
		want.Completes = *header.Completes
	}
	for row, listing := range manifests {
		slices.SortFunc(listing, compareDigests)
		b := inv.Contents.Blobs[row]
		want.Blobs = append(want.Blobs, ledger.WantedBlob{
			Digest: b.Digest, Size: b.Size, StoredBy: header.Bases[b.Base], Manifests: slices.Compact(listing),
		})
	}
	slices.SortFunc(want.Blobs, func(a, b ledger.WantedBlob) int { return compareDigests(a.Digest, b.Digest) })
	return want
}

func compareDigests(a, b bundle.Digest) int { return bytes.Compare(a[:], b[:]) }

// isLost tells whether a blob is left out, lacking, and found nowhere.
func isLost(inv *inventory.Inventory, blob inventory.Blob, unasked []bool) bool {
	if !inventory.IsLeftOut(inv, blob.Row) {
		return false
	}
	if _, found := inv.Mountable(blob); found {
		return false
	}
	return slices.ContainsFunc(blob.Needs, func(n inventory.Need) bool { return !unasked[n.Repo] })
}

// Err says what is wanted, by the bundles that store it; nil for nothing.
func Err(want *ledger.Want) error {
	if want == nil {
		return nil
	}
	type total struct {
		blobs int
		bytes int64
	}
	totals := map[bundle.Base]total{}
	for _, blob := range want.Blobs {
		t := totals[blob.StoredBy]
		totals[blob.StoredBy] = total{t.blobs + 1, t.bytes + blob.Size}
	}
	var problems bundle.Problems
	for _, base := range slices.SortedFunc(maps.Keys(totals), bundle.CompareBases) {
		problems.Add(fmt.Errorf("%s stores %d blobs of it (%d bytes), which were found nowhere", base, totals[base].blobs, totals[base].bytes))
	}
	return errors.Join(fmt.Errorf("%w: import what stores it first, or a supplement, for which --want FILE writes a list that airgap export --want FILE answers", ErrStranded), problems.Err())
}
