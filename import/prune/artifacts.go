package prune

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/parallel"
	"airgap/import/target"
)

// artifacts removes artifacts of Harbor that have no tag left, with their accessories. One that only shows its tags is to be removed
// where those are.
func (p *pruner) artifacts(ctx context.Context) error {
	p.options.Observer.Phase("look at artifacts", 0)
	going := map[key]bool{} // tags
	left := map[thing]bool{}
	for _, row := range p.report.Rows {
		repository := p.path(row.Repository)
		going[key{repository, row.Tag}] = row.Status == Remove
		if row.Status == Moved || row.Status == Failed {
			left[thing{repository, row.Digest}] = true
		}
	}
	rows := make([]Row, len(p.things))
	jobs := p.options.Jobs
	if jobs <= 0 {
		jobs = parallel.DefaultJobs
	}
	err := parallel.EachIndex(ctx, jobs, len(rows), func(ctx context.Context, i int) error {
		c := p.things[i]
		if left[thing{c.repository, c.digest}] {
			return nil
		}
		rows[i] = Row{Repository: p.options.Destination.Registry.Repo(c.repository).Name(), Digest: c.digest, Source: c.source, Bundle: c.bundle}
		err := p.artifact(ctx, c, going, &rows[i])
		if target.IsFinal(ctx, err) {
			return err
		}
		if errors.Is(err, harbor.ErrNotAllowed) && !errors.Is(err, harbor.ErrReadOnly) {
			err = fmt.Errorf(`%w; ask for an account that may delete artifacts (of a robot, the permissions "read" and "delete" of "artifact")`, err)
		}
		if err != nil {
			rows[i].Status, rows[i].Reason = Failed, err.Error()
		}
		return nil
	})
	for _, row := range rows {
		if row.Status != "" {
			p.report.Rows = append(p.report.Rows, row)
		}
	}
	return err
}

// path is a repository without its registry.
func (p *pruner) path(repository string) string {
	return repository[len(p.options.Destination.Registry.Name())+1:]
}

// artifact removes one, unless it has a tag that stays. The row has no status where there is nothing to be done.
func (p *pruner) artifact(ctx context.Context, c candidate, going map[key]bool, row *Row) error {
	project, repository := target.InHarbor(p.target, p.options.Destination.Registry.Repo(c.repository))
	found, err := p.options.Harbor.Artifact(ctx, project, repository, c.digest.String())
	if errors.Is(err, registry.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(found.Tags, func(t harbor.Tag) bool { return !going[key{c.repository, t.Name}] }) {
		return nil
	}
	if !p.options.Delete {
		row.Status = Remove
		return nil
	}
	err = p.options.Harbor.DeleteArtifact(ctx, project, repository, c.digest)
	switch {
	case errors.Is(err, harbor.ErrReferenced): // by an index that somebody else has there
		return nil
	case err != nil && !errors.Is(err, registry.ErrNotFound):
		return err
	}
	row.Status = Removed
	return nil
}
