package importer

import (
	"airgap/bundle"
	"airgap/import/placing"
)

// member is a row of the manifests table under one image, and the repository that it goes to.
type member struct {
	*bundle.ManifestRow

	row  int32 // of the blobs table
	repo int32
}

// members returns everything that hangs from an image. Nearly all images go to one repository as a whole. Where the
// bundle names another one for referrers, these go there with all that hangs from them, while what cosign keeps under
// tags stays beside what it belongs to, as that is where cosign looks.
func (p *plan) members(image placing.Image) []member {
	rows := p.contents.RootManifests(image.Root)
	members := make([]member, 0, len(rows))
	if image.ReferrerRepo == image.Repo {
		for i := range rows {
			members = append(members, member{&rows[i], p.row(rows[i].Digest), image.Repo})
		}
		return members
	}
	s := spread{plan: p, rows: map[bundle.Digest][]*bundle.ManifestRow{}, attached: map[bundle.Digest][]*bundle.ManifestRow{}, seen: map[placed]bool{}}
	for i := range rows {
		s.rows[rows[i].Digest] = append(s.rows[rows[i].Digest], &rows[i])
		if !rows[i].Subject.IsZero() {
			s.attached[rows[i].Subject] = append(s.attached[rows[i].Subject], &rows[i])
		}
	}
	root := &p.contents.Roots[image.Root]
	for _, m := range s.rows[root.Digest] {
		if m.Via == bundle.ViaRoot {
			s.add(m, image.Repo)
		}
	}
	s.follow(root.Original, image.Repo, image.ReferrerRepo)
	for at := 0; at < len(s.members); at++ {
		m := s.members[at]
		for _, child := range p.graph.Node(int(m.row)).Children {
			for _, row := range s.rows[p.digest(child)] {
				if row.Via == bundle.ViaChild {
					s.add(row, m.repo)
				}
			}
		}
		s.follow(m.Digest, m.repo, image.ReferrerRepo)
	}
	return s.members
}

type spread struct {
	plan     *plan
	rows     map[bundle.Digest][]*bundle.ManifestRow
	attached map[bundle.Digest][]*bundle.ManifestRow // by subject
	members  []member
	seen     map[placed]bool
}

type placed struct {
	row  *bundle.ManifestRow
	repo int32
}

func (s *spread) add(m *bundle.ManifestRow, repo int32) {
	if !s.seen[placed{m, repo}] {
		s.seen[placed{m, repo}] = true
		s.members = append(s.members, member{m, s.plan.row(m.Digest), repo})
	}
}

// follow adds what refers to a subject that is in repo.
func (s *spread) follow(subject bundle.Digest, repo, referrers int32) {
	for _, m := range s.attached[subject] {
		if m.Via == bundle.ViaCosignTag {
			s.add(m, repo)
		} else {
			s.add(m, referrers)
		}
	}
}
