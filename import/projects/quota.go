package projects

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"airgap/export/registry/harbor"
	"airgap/import/finding"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/target"
)

// weighQuota compares what is left of the quota with what would be added. Only where that seems too much is it worth asking
// the project's other repositories, too.
func (p *Projects) weighQuota(ctx context.Context, one *project, need int64, findings *finding.List) error {
	if one.missing && p.options.Quota > 0 && need > p.options.Quota {
		findings.Block(finding.CheckQuota, one.subject(), fmt.Sprintf("the import adds %s, and --project-quota is %s", bytesText(need), bytesText(p.options.Quota)),
			"give it a larger --project-quota")
	}
	if one.quota == nil || one.quota.Left() == harbor.Unlimited || need <= one.quota.Left() {
		return nil
	}
	held, err := p.heldByOthers(ctx, one, need-one.quota.Left())
	if target.IsFinal(ctx, err) {
		return err
	}
	words := "adds"
	if err != nil { // the others could not be asked
		words = "adds up to"
	}
	if need -= held; need > one.quota.Left() {
		findings.Block(finding.CheckQuota, one.subject(), fmt.Sprintf("the import %s %s, and its quota has %s left", words, bytesText(need), bytesText(one.quota.Left())),
			"let a system administrator raise it: Administration, Project Quotas; or delete what is not needed and collect garbage")
	}
	return nil
}

// needs returns for each project how many bytes would be added to it: each blob and manifest once that none of the
// repositories has to which the import goes.
func (p *Projects) needs() []int64 {
	needs := make([]int64, len(p.list))
	for row, projects := range p.lacking() {
		for _, at := range projects {
			needs[at] += p.inv.Size(row)
		}
	}
	return needs
}

// lacking yields the blobs and manifests that some projects lack, with those projects, which are good until the next.
func (p *Projects) lacking() iter.Seq2[int32, []int32] {
	return func(yield func(int32, []int32) bool) {
		holders := holders{projectOf: p.of}
		next := make([]int, len(p.inv.Repos)) // places in ManifestsIn
		for row := range int32(p.inv.Graph.Manifests()) {
			for i := range next {
				if rows := p.inv.ManifestsIn(int32(i)); next[i] < len(rows) && rows[next[i]] == row {
					holders.note(int32(i), p.inv.State(inventory.Need{Row: row, Repo: int32(i)}))
					next[i]++
				}
			}
			if lacking := holders.take(); len(lacking) > 0 && !yield(row, lacking) {
				return
			}
		}
		for blob := range p.inv.Blobs() {
			for i, need := range blob.Needs {
				holders.note(need.Repo, blob.State(i))
			}
			if lacking := holders.take(); len(lacking) > 0 && !yield(blob.Row, lacking) {
				return
			}
		}
	}
}

// holders are the projects that need one blob or manifest. Repositories are noted in their order, which is also that of
// the projects.
type holders struct {
	projectOf  []int32
	have, lack []int32
}

func (h *holders) note(repo int32, s inventory.State) {
	at := h.projectOf[repo]
	if at < 0 {
		return
	}
	list := &h.lack
	if s.IsThere() {
		list = &h.have
	}
	if n := len(*list); n == 0 || (*list)[n-1] != at {
		*list = append(*list, at)
	}
}

// take returns the projects of which no repository has it, and begins anew.
func (h *holders) take() (lacking []int32) {
	lacking = slices.DeleteFunc(h.lack, func(at int32) bool {
		_, found := slices.BinarySearch(h.have, at)
		return found
	})
	h.have, h.lack = h.have[:0], lacking[:0]
	return lacking
}

// maxQuotaQuestions is how many questions about other repositories are worth it.
const maxQuotaQuestions = 20_000

// heldByOthers returns how many bytes of what a project's repositories lack lie in others of the project, where they count
// already. It stops once that is enough.
func (p *Projects) heldByOthers(ctx context.Context, one *project, enough int64) (int64, error) {
	others, err := p.others(ctx, one)
	if err != nil || len(others) == 0 {
		return 0, err
	}
	var rows []int32
	for row, projects := range p.lacking() {
		if slices.ContainsFunc(projects, func(at int32) bool { return p.list[at] == one }) {
			rows = append(rows, row)
		}
	}
	if len(rows)*len(others) > maxQuotaQuestions {
		return 0, errTooMany
	}
	p.largestFirst(rows)
	var held atomic.Int64
	err = parallel.Each(ctx, p.options.Jobs, slices.Values(rows), func(ctx context.Context, row int32) error {
		if held.Load() >= enough {
			return nil
		}
		for _, repo := range others {
			found, err := p.has(ctx, repo, row)
			if err != nil {
				return err
			}
			if found {
				held.Add(p.inv.Size(row))
				break
			}
		}
		return nil
	})
	return held.Load(), err
}

func (p *Projects) largestFirst(rows []int32) {
	slices.SortFunc(rows, func(a, b int32) int { return int(p.inv.Size(b) - p.inv.Size(a)) })
}

// bytesText returns a number of bytes for people, and whole: a quota may lack one byte.
func bytesText(n int64) string {
	const mebibyte = 1 << 20
	if n < mebibyte {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d bytes (%.1f MiB)", n, float64(n)/mebibyte)
}
