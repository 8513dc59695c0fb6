package projects

import (
	"context"

	"airgap/import/elsewhere"
	"airgap/import/inventory"
	"airgap/import/target"
)

// worthMounting is the size, in bytes, from which on it is worth a question whether a blob lies in yet another repository.
const worthMounting = 1 << 20

// lookForMounts looks for blobs that no repository has to which the import goes, the largest first, in the other repositories of
// the projects that need them: from there they are mounted and need not be sent. Where the account may not list repositories,
// they are sent. What the bundle leaves out is looked for whatever its size.
func (p *Projects) lookForMounts(ctx context.Context, unasked []bool) error {
	rows := make([][]int32, len(p.list))
	for row, projects := range p.lacking() {
		if p.inv.IsManifest(row) || p.inv.Size(row) < worthMounting && !inventory.IsLeftOut(p.inv, row) || p.inv.Blob(row).IsHeld() {
			continue
		}
		for _, at := range projects {
			rows[at] = append(rows[at], row)
		}
	}
	search := elsewhere.New(p.inv, p.target, p.options.Jobs)
	for at, one := range p.list {
		if len(rows[at]) == 0 || unasked[one.first] {
			continue
		}
		others, err := p.others(ctx, one)
		if err == nil {
			p.largestFirst(rows[at])
			err = search.Look(ctx, rows[at], others)
		}
		if target.IsFinal(ctx, err) {
			return err
		}
	}
	return nil
}
