package harbortest

import "strings"

// CollectGarbage runs garbage collection now, over everything: Harbor's spares what is less than two hours old, which is
// less time than a large import takes. It deletes blobs that no artifact names and, if untagged is set, first those
// artifacts to which no tag leads: directly, through an index, or as an accessory of what stays. It returns how many
// artifacts and blobs it deleted; manifests count as both.
func (s *Server) CollectGarbage(untagged bool) (artifacts, blobs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := map[string]bool{}
	for _, p := range s.projects {
		named := map[string]bool{} // in this project
		for _, r := range p.repos {
			if untagged {
				artifacts += r.collect()
			}
			for _, a := range r.artifacts {
				a.names(named)
			}
		}
		p.forget(named)
		for digest := range named {
			live[digest] = true
		}
	}
	for digest := range s.blobs {
		if !live[digest] {
			delete(s.blobs, digest)
			blobs++
		}
	}
	return artifacts, blobs
}

// collect deletes artifacts to which no tag leads.
func (r *repository) collect() int {
	keep := map[string]bool{}
	for _, t := range r.tags {
		r.reach(t.digest, keep)
	}
	deleted := 0
	for digest := range r.artifacts {
		if !keep[digest] {
			delete(r.artifacts, digest)
			deleted++
		}
	}
	return deleted
}

// reach marks an artifact and what stays because of it.
func (r *repository) reach(digest string, keep map[string]bool) {
	a := r.artifacts[digest]
	if a == nil || keep[digest] {
		return
	}
	keep[digest] = true
	for _, child := range a.manifest.Manifests {
		r.reach(child.Digest, keep)
	}
	for _, accessory := range r.accessoriesOf(digest) {
		r.reach(accessory.digest, keep)
	}
}

// names marks the blobs that an artifact needs.
func (a *artifact) names(named map[string]bool) {
	named[a.digest] = true
	if a.manifest.Config != nil {
		named[a.manifest.Config.Digest] = true
	}
	for _, layer := range a.manifest.Layers {
		named[layer.Digest] = true
	}
}

// forget takes from a project the blobs that are not named in it. A blob that another project needs stays in the storage,
// and the registry still has it in this one's repositories too.
func (p *project) forget(named map[string]bool) {
	for digest := range p.counted {
		if !named[digest] && strings.HasPrefix(digest, "sha256:") {
			delete(p.counted, digest)
		}
	}
}
