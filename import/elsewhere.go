package importer

import (
	"context"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
)

const (
	// worthAsking is the size, in bytes, from which on it is worth a question whether a blob lies in yet another repository.
	worthAsking = 1 << 20
	// maxMountQuestions bounds these questions for the whole import: a few seconds.
	maxMountQuestions = 4000
)

// lookElsewhere looks for blobs that no repository has to which the import goes, the largest first, in the other repositories
// of the projects that need them: from there they are mounted and need not be sent. Where the account may not list
// repositories, they are sent.
func (c *preflight) lookElsewhere(ctx context.Context) error {
	rows := make([][]int32, len(c.projects))
	for row, projects := range c.lackingRows() {
		if int(row) < c.plan.graph.Manifests() || c.plan.contents.Blobs[row].Size < worthAsking || c.plan.usesOf(row).holder() >= 0 {
			continue
		}
		for _, at := range projects {
			rows[at] = append(rows[at], row)
		}
	}
	left := maxMountQuestions
	for at, p := range c.projects {
		if len(rows[at]) == 0 || c.unasked[p.first] {
			continue
		}
		others, err := c.otherRepositories(ctx, p)
		if final(ctx, err) {
			return err
		}
		if err == nil {
			err = c.lookFor(ctx, rows[at], others, &left)
		}
		if final(ctx, err) {
			return err
		}
	}
	return nil
}

// lookFor looks for blobs in repositories, until so many questions have been asked. Where one was found, the next is looked for
// first: layers come together.
func (c *preflight) lookFor(ctx context.Context, rows []int32, others []name.Repository, left *int) error {
	size := func(row int32) int64 { return c.plan.contents.Blobs[row].Size }
	slices.SortFunc(rows, func(a, b int32) int { return int(size(b) - size(a)) })
	for _, row := range rows {
		if _, found := c.plan.elsewhere[row]; found {
			continue
		}
		for i, repo := range others {
			if *left--; *left < 0 {
				return nil
			}
			_, found, err := c.target.HasBlob(ctx, repo, c.plan.digest(row))
			if err != nil {
				return err
			}
			if found {
				c.plan.elsewhere[row] = repo
				others[0], others[i] = others[i], others[0]
				break
			}
		}
	}
	return nil
}

// mountable returns the repository that a blob can be mounted from, if there is one.
func (p *plan) mountable(blob blobUses) (from name.Repository, ok bool) {
	if holder := blob.holder(); holder >= 0 {
		return p.Repos[blob.uses[holder].repo], true
	}
	from, ok = p.elsewhere[blob.row]
	return from, ok
}
