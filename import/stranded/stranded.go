// Package stranded says what an import cannot bring: blobs that the bundle leaves out, since another one stores them, and that are
// nowhere at the target.
package stranded

import (
	"bytes"
	"cmp"
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
// repositories that are unasked. Manifests that list what is lacking are all that a supplement has of the images, so the list names as
// well what these need and their own repositories lack, wherever else it was found.
func Want(inv *inventory.Inventory, unasked []bool) *ledger.Want {
	lost := map[int32]bool{} // rows of blobs
	for blob := range inv.Blobs() {
		if isLost(inv, blob, unasked) {
			lost[blob.Row] = true
		}
	}
	if len(lost) == 0 {
		return nil
	}
	wanted := map[int32][]bundle.Digest{} // manifests that list it, by row of the blob
	for row, suppliers := range suppliersOf(inv, lost) {
		for _, s := range least(suppliers) {
			wanted[row] = append(wanted[row], inv.Digest(s.manifest))
			for blob, listing := range s.also {
				wanted[blob] = append(wanted[blob], inv.Digest(listing))
			}
		}
	}
	header := &inv.Contents.Header
	want := &ledger.Want{Completes: header.Base(inv.Bundle.ManifestIndex())}
	if header.Completes != nil {
		want.Completes = *header.Completes
	}
	for row, manifests := range wanted {
		b := inv.Contents.Blobs[row]
		storedBy := want.Completes
		if inventory.IsLeftOut(inv, row) {
			storedBy = header.Bases[b.Base]
		}
		slices.SortFunc(manifests, compareDigests)
		want.Blobs = append(want.Blobs, ledger.WantedBlob{Digest: b.Digest, Size: b.Size, StoredBy: storedBy, Manifests: slices.Compact(manifests)})
	}
	slices.SortFunc(want.Blobs, func(a, b ledger.WantedBlob) int { return compareDigests(a.Digest, b.Digest) })
	return want
}

// supplier is a manifest by which a supplement can bring what is lost.
type supplier struct {
	manifest int32
	also     map[int32]int32 // rows of blobs that have to come along, and the manifests that list them
	bytes    int64           // of these
}

// suppliersOf returns, by row, the manifests that list what is lost.
func suppliersOf(inv *inventory.Inventory, lost map[int32]bool) map[int32][]*supplier {
	repos := map[int32][]int32{}
	for manifest := range inv.Manifests() {
		if slices.ContainsFunc(inv.Graph.Node(int(manifest.Row)).Blobs, func(row int32) bool { return lost[row] }) {
			repos[manifest.Row] = append(repos[manifest.Row], manifest.Repo)
		}
	}
	suppliers := map[int32][]*supplier{}
	for _, manifest := range slices.Sorted(maps.Keys(repos)) {
		s := &supplier{manifest: manifest, also: map[int32]int32{}}
		s.add(inv, manifest, repos[manifest], lost)
		for _, row := range inv.Graph.Node(int(manifest)).Blobs {
			if lost[row] {
				suppliers[row] = append(suppliers[row], s)
			}
		}
	}
	return suppliers
}

// add takes in what a manifest and its children need and none of the repositories has. What the bundle stores comes with the bundle,
// but not with the next supplement of the same one.
func (s *supplier) add(inv *inventory.Inventory, manifest int32, repos []int32, lost map[int32]bool) {
	isSupplement := inv.Contents.Header.Completes != nil
	node := inv.Graph.Node(int(manifest))
	for _, row := range node.Blobs {
		isHeld := slices.ContainsFunc(repos, func(repo int32) bool { return inv.State(inventory.Need{Row: row, Repo: repo}).IsThere() })
		comes := !inventory.IsLeftOut(inv, row) && !isSupplement || !inv.Contents.Blobs[row].IsNeeded()
		if _, known := s.also[row]; !known && !lost[row] && !isHeld && !comes {
			s.also[row] = manifest
			s.bytes += inv.Size(row)
		}
	}
	for _, child := range node.Children {
		s.add(inv, child, repos, lost)
	}
}

// least returns the suppliers that need nothing else or, if there are none, the one that needs least.
func least(suppliers []*supplier) []*supplier {
	best := slices.MinFunc(suppliers, func(a, b *supplier) int { return cmp.Compare(a.bytes, b.bytes) })
	if len(best.also) > 0 {
		return []*supplier{best}
	}
	return slices.DeleteFunc(suppliers, func(s *supplier) bool { return len(s.also) > 0 })
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
		if blob.StoredBy == want.Completes {
			continue // it came with the supplement that lacks the rest
		}
		t := totals[blob.StoredBy]
		totals[blob.StoredBy] = total{t.blobs + 1, t.bytes + blob.Size}
	}
	var problems bundle.Problems
	for _, base := range slices.SortedFunc(maps.Keys(totals), bundle.CompareBases) {
		problems.Add(fmt.Errorf("%s stores %d blobs of it (%d bytes), which are lacking where they are needed", base, totals[base].blobs, totals[base].bytes))
	}
	return errors.Join(fmt.Errorf("%w: import what stores it first, or a supplement, for which --want FILE writes a list that airgap export --want FILE answers", ErrStranded), problems.Err())
}
