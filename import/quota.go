package importer

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry/harbor"
	"airgap/import/finding"
)

func (c *preflight) readQuota(ctx context.Context, p *project) error {
	quota, err := c.harbor.Quota(ctx, p.name)
	if err != nil {
		return c.unchecked(ctx, finding.CheckQuota, p.subject(), "what is left of its quota",
			"for a robot account, ask for the permissions Project: Read and Quota: Read in this project", err)
	}
	p.quota = &quota
	return nil
}

// checkQuota compares what is left of the quota with what would be added. Only where that seems too much is it worth
// asking the project's other repositories, too.
func (c *preflight) checkQuota(ctx context.Context, p *project, need int64) error {
	if p.missing && c.options.ProjectQuota > 0 && need > c.options.ProjectQuota {
		c.block(finding.CheckQuota, p.subject(), fmt.Sprintf("the import adds %s, and --project-quota is %s", bytesText(need), bytesText(c.options.ProjectQuota)),
			"give it a larger --project-quota")
	}
	if p.quota == nil || p.quota.Left() == harbor.Unlimited || need <= p.quota.Left() {
		return nil
	}
	elsewhere, err := c.heldElsewhere(ctx, p, need-p.quota.Left())
	if final(ctx, err) {
		return err
	}
	words := "adds"
	if err != nil { // the others could not be asked
		words = "adds up to"
	}
	if need -= elsewhere; need > p.quota.Left() {
		c.block(finding.CheckQuota, p.subject(), fmt.Sprintf("the import %s %s, and its quota has %s left", words, bytesText(need), bytesText(p.quota.Left())),
			"let a system administrator raise it: Administration, Project Quotas; or delete what is not needed and collect garbage")
	}
	return nil
}

// needs returns for each project how many bytes would be added to it: each blob and manifest once that none of the
// repositories has to which the import goes.
func (c *preflight) needs() []int64 {
	needs := make([]int64, len(c.projects))
	for row, projects := range c.lackingRows() {
		for _, at := range projects {
			needs[at] += c.plan.contents.Blobs[row].Size
		}
	}
	return needs
}

// lackingRows yields the blobs and manifests that some projects lack, with those projects, which are good until the next.
func (c *preflight) lackingRows() iter.Seq2[int32, []int32] {
	return func(yield func(int32, []int32) bool) {
		holders := holders{projectOf: c.projectOf}
		next := make([]int, len(c.plan.repositories)) // places in repository.manifests
		for row := range int32(c.plan.graph.Manifests()) {
			for i := range c.plan.repositories {
				if r := &c.plan.repositories[i]; next[i] < len(r.manifests) && r.manifests[next[i]] == row {
					holders.note(int32(i), r.states[next[i]])
					next[i]++
				}
			}
			if lacking := holders.take(); len(lacking) > 0 && !yield(row, lacking) {
				return
			}
		}
		for blob := range c.plan.blobs() {
			for i, u := range blob.uses {
				holders.note(u.repo, blob.states[i])
			}
			if lacking := holders.take(); len(lacking) > 0 && !yield(blob.row, lacking) {
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

func (h *holders) note(repo int32, s state) {
	at := h.projectOf[repo]
	if at < 0 {
		return
	}
	list := &h.lack
	if s.isThere() {
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

// maxElsewhere is how many questions about other repositories are worth it.
const maxElsewhere = 20_000

// errElsewhere: not all of a project's repositories were asked.
var errElsewhere = fmt.Errorf("%w: too many repositories to ask for what they have", bundle.ErrLimit)

// heldElsewhere returns how many bytes of what a project's repositories lack lie in others of the project, where they count
// already. It stops once that is enough.
func (c *preflight) heldElsewhere(ctx context.Context, p *project, enough int64) (int64, error) {
	others, err := c.otherRepositories(ctx, p)
	if err != nil || len(others) == 0 {
		return 0, err
	}
	var rows []int32
	for row, projects := range c.lackingRows() {
		if slices.ContainsFunc(projects, func(at int32) bool { return c.projects[at] == p }) {
			rows = append(rows, row)
		}
	}
	if len(rows)*len(others) > maxElsewhere {
		return 0, errElsewhere
	}
	size := func(row int32) int64 { return c.plan.contents.Blobs[row].Size }
	slices.SortFunc(rows, func(a, b int32) int { return int(size(b) - size(a)) }) // large ones first
	var held atomic.Int64
	err = each(ctx, c.options.Jobs, slices.Values(rows), func(ctx context.Context, row int32) error {
		if held.Load() >= enough {
			return nil
		}
		found, err := c.anyHas(ctx, others, row)
		if found {
			held.Add(size(row))
		}
		return err
	})
	return held.Load(), err
}

// otherRepositories returns the repositories of a project to which nothing goes.
func (c *preflight) otherRepositories(ctx context.Context, p *project) ([]name.Repository, error) {
	first := c.plan.Repos[p.first]
	if c.path(p.first) != first.RepositoryStr() {
		return nil, errElsewhere // the listing knows nothing outside of the prefix
	}
	paths, err := c.harbor.Repositories(ctx, p.name)
	if err != nil {
		return nil, err
	}
	var others []name.Repository
	for _, path := range paths {
		_, ours := slices.BinarySearchFunc(c.plan.Repos, path, func(r name.Repository, path string) int { return strings.Compare(r.RepositoryStr(), path) })
		if !ours && strings.HasPrefix(path, p.name+"/") {
			others = append(others, first.Registry.Repo(path))
		}
	}
	return others, nil
}

func (c *preflight) anyHas(ctx context.Context, repos []name.Repository, row int32) (bool, error) {
	for _, repo := range repos {
		var found bool
		var err error
		if int(row) < c.plan.graph.Manifests() {
			found, err = c.hasManifest(ctx, &repository{name: repo}, row)
		} else {
			_, found, err = c.target.HasBlob(ctx, repo, c.plan.digest(row))
		}
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// bytesText returns a number of bytes for people, and whole: a quota may lack one byte.
func bytesText(n int64) string {
	const mebibyte = 1 << 20
	if n < mebibyte {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d bytes (%.1f MiB)", n, float64(n)/mebibyte)
}
