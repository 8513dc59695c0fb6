package survey

import (
	"context"
	"errors"
	"iter"

	"airgap/bundle"
	"airgap/export/registry/harbor"
	"airgap/import/inventory"
	"airgap/import/target"
)

const (
	// leastNames is how many tags and referrers go to a repository at least whose listing is worth its requests.
	leastNames = 4
	// mostListed is how many artifacts a listing may have for each of them: Harbor looks up each one's tags and accessories, so that
	// a page of a hundred costs as much as many requests for one manifest.
	mostListed = 10
)

// listings asks Harbor for what it lists in the repositories to which enough goes.
func (s *survey) listings() iter.Seq[question] {
	return func(yield func(question) bool) {
		if s.harbor == nil || s.thorough {
			return
		}
		tags, referrers := make([]int, len(s.inv.Repos)), make([]int, len(s.inv.Repos))
		for i := range s.inv.Tags {
			tags[s.inv.Tags[i].Repo]++
		}
		for _, l := range s.inv.Lists {
			referrers[l.Repo] += len(l.Rows)
		}
		next := s.inv.Tags // which are sorted; each repository's are marked side by side
		for repo, n := range tags {
			own := next[:n]
			next = next[n:]
			n += referrers[repo]
			if n >= leastNames && !yield(question{int32(repo), func(ctx context.Context) error { return s.listing(ctx, int32(repo), own, n) }}) {
				return
			}
		}
	}
}

// listing marks what Harbor lists in a repository, and which of its tags are right. Where there is no listing, everything is
// asked for.
func (s *survey) listing(ctx context.Context, repo int32, tags []inventory.Tag, names int) error {
	project, repository := target.InHarbor(s.target, s.inv.Repos[repo])
	s.mu.Lock()
	isUnlisted := s.unlisted[project]
	s.mu.Unlock()
	if isUnlisted {
		return nil
	}
	artifacts, err := s.harbor.Artifacts(ctx, project, repository, names*mostListed)
	switch {
	case err == nil:
		return s.take(ctx, repo, tags, artifacts)
	case errors.Is(err, harbor.ErrNotAllowed), target.IsFinal(ctx, err):
		s.mu.Lock()
		s.unlisted[project] = true
		s.mu.Unlock()
	}
	return ctx.Err() // what is wrong otherwise the registry will say
}

// take marks what is listed in a repository, and tags that are right: all else is asked for. Harbor lists what its database has.
// So that a storage which was lost or replaced is noticed, the registry is asked for one of the manifests first.
func (s *survey) take(ctx context.Context, repo int32, tags []inventory.Tag, artifacts []harbor.Artifact) error {
	manifests, accessories := s.wanted(repo, artifacts)
	if len(manifests) == 0 {
		return nil
	}
	found, err := target.HasManifest(ctx, s.target, s.inv.Name(manifests[0]), s.inv.Size(manifests[0].Row))
	switch {
	case target.IsFinal(ctx, err):
		return err
	case !found:
		return nil
	}
	for _, n := range manifests {
		s.inv.Mark(n, inventory.Present)
	}
	s.listed[repo] = accessories
	tagged := tagged(artifacts)
	for i := range tags {
		if t := &tags[i]; tagged[t.Name] == s.inv.Digest(t.Row) {
			s.inv.Saw(t, tagged[t.Name])
		}
	}
	return nil
}

// wanted returns the manifests that a repository needs and that are listed there, and those of them that are accessories by what
// they belong to.
func (s *survey) wanted(repo int32, artifacts []harbor.Artifact) (manifests []inventory.Need, accessories map[bundle.Digest][]harbor.Accessory) {
	accessories = map[bundle.Digest][]harbor.Accessory{}
	add := func(d bundle.Digest) bool {
		row, found := s.inv.Contents.Find(d)
		n := inventory.Need{Row: int32(row), Repo: repo}
		if !found || !s.inv.IsManifest(n.Row) || !s.inv.Needs(n) {
			return false
		}
		manifests = append(manifests, n)
		return true
	}
	for _, artifact := range artifacts {
		add(artifact.Digest)
		for _, a := range artifact.Accessories {
			if add(a.Digest) {
				accessories[a.SubjectDigest] = append(accessories[a.SubjectDigest], a)
			}
		}
	}
	return manifests, accessories
}

// tagged returns where tags point; zero for one that was moved from page to page meanwhile.
func tagged(artifacts []harbor.Artifact) map[string]bundle.Digest {
	tags := map[string]bundle.Digest{}
	for _, artifact := range artifacts {
		for _, tag := range artifact.Tags {
			if _, twice := tags[tag.Name]; twice {
				tags[tag.Name] = bundle.Digest{}
			} else {
				tags[tag.Name] = artifact.Digest
			}
		}
	}
	return tags
}
