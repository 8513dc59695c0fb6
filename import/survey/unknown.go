package survey

import (
	"context"
	"errors"
	"iter"

	"airgap/export/registry"
	"airgap/import/inventory"
	"airgap/import/target"
)

// quickBlob is the size in bytes up to which a blob is as quickly pushed as asked for.
const quickBlob = 64 << 10

// probes returns how many of a repository's tags are asked for before the others: one, where it may spare asking for them.
func (s *survey) probes(tags []inventory.Tag) int {
	if s.harbor != nil || s.thorough || len(tags) < leastNames {
		return 0
	}
	return 1
}

// probe asks for a tag, and where there is none whether the registry knows the repository: then it has no tags.
func (s *survey) probe(ctx context.Context, t *inventory.Tag) error {
	if err := s.mover.Look(ctx, t); err != nil || t.IsRight() || t.IsHidden() || t.Moves() {
		return err
	}
	_, err := s.target.HasTags(ctx, s.inv.Repos[t.Repo])
	switch {
	case target.IsFinal(ctx, err):
		return err
	case errors.Is(err, registry.ErrRepositoryUnknown):
		s.inv.Untagged[t.Repo] = true
	}
	return nil // what is wrong otherwise it will say to who asks for the other tags
}

// untagged looks into repositories without tags, which may have what an earlier run has left there. Where neither the first
// manifest is nor the first blob, nothing else is asked for but large blobs.
func (s *survey) untagged() iter.Seq[question] {
	return func(yield func(question) bool) {
		first := make([]inventory.Need, len(s.inv.Repos)) // blobs that can be pushed first; rows of blobs are never 0
		for n := range s.inv.BlobNeeds() {
			if first[n.Repo].Row == 0 && s.inv.Bundle.IsKept(int(n.Row)) && !inventory.IsLeftOut(s.inv, n.Row) {
				first[n.Repo] = n
			}
		}
		for i, blob := range first {
			repo := int32(i)
			if !s.inv.Untagged[repo] || blob.Row == 0 {
				continue
			}
			manifest := inventory.Need{Row: s.inv.ManifestsIn(repo)[0], Repo: repo}
			if !yield(question{repo, func(ctx context.Context) error { return s.look(ctx, manifest, blob) }}) {
				return
			}
		}
	}
}

// look asks for a manifest and a blob, and notes where neither is there.
func (s *survey) look(ctx context.Context, manifest, blob inventory.Need) error {
	if err := errors.Join(s.manifest(ctx, manifest), s.blob(ctx, blob)); err != nil {
		return err
	}
	if !s.inv.State(manifest).IsThere() && !s.inv.State(blob).IsThere() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.empty[manifest.Repo] = true
		s.first = append(s.first, blob)
	}
	return nil
}
