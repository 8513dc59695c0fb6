package inventory

import (
	"airgap/bundle"
	"airgap/import/placing"
)

// Member is a row of the manifests table under one image, and the repository that it goes to.
type Member struct {
	*bundle.ManifestRow

	Row  int32 // of the blobs table
	Repo int32
}

// Members returns everything that hangs from an image. Nearly all images go to one repository as a whole. Where the
// bundle names another one for referrers, these go there with all that hangs from them, while what cosign keeps under
// tags stays beside what it belongs to, as that is where cosign looks.
func (inv *Inventory) Members(image placing.Image) []Member {
	type placed struct{ row, repo int32 }
	var members []Member
	seen := map[Member]bool{}
	add := func(e bundle.Edge, repo int32) placed {
		if m := (Member{e.Row, e.Node, repo}); !seen[m] {
			seen[m] = true
			members = append(members, m)
		}
		return placed{e.Node, repo}
	}
	closure := inv.Graph.Closure(image.Root)
	root, _ := closure.Start()
	// The depth was checked with the graph.
	_ = bundle.Traverse(add(root, image.Repo), func(from placed) (below []placed, err error) {
		for e := range closure.From(from.row) {
			repo := from.repo
			if e.Row.Via.IsReferrer() {
				repo = image.ReferrerRepo
			}
			below = append(below, add(e, repo))
		}
		return below, nil
	})
	return members
}
