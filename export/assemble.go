package export

import (
	"cmp"
	"fmt"
	"slices"

	"airgap/bundle"
	"airgap/export/registry"
)

func compareStrings(a, b string) int { return cmp.Compare(a, b) }

// assembly collects the rows of one root.
type assembly struct {
	graph         *graph
	state         *rootState
	rows          []bundle.ManifestRow
	left          []LeftOutReferrer
	warnings      []string
	perRepository map[string]int // referrers and cosign tags, also those that are left out
	problems      bundle.Problems
}

func newAssembly(g *graph, state *rootState) *assembly {
	return &assembly{graph: g, state: state, perRepository: map[string]int{}}
}

// image returns what the walk found for a root, or what is wrong with it.
func (a *assembly) image(request *Request) (bundle.Image, error) {
	if a.state.err != nil {
		return bundle.Image{}, a.state.err
	}
	n := a.state.node
	a.add(edge{to: n, via: bundle.ViaRoot, from: n.from}, bundle.Digest{})
	a.problems.Add(bundle.Traverse(n, a.follow))
	a.checkAttestations(request.Source)
	root := bundle.Root{
		Source: request.Source, Path: request.Path, Tag: request.Tag,
		MediaType: n.mediaType, Digest: n.digest, Size: n.size, ArtifactType: n.artifactType, Private: a.state.private,
		Platforms: n.platforms, UsedBy: request.UsedBy,
	}
	slices.Sort(root.Platforms)
	root.Platforms = slices.Compact(root.Platforms)
	if n.original != nil {
		root.Original = n.original.digest
	}
	if path := request.Settings.ReferrerPath; path != request.Path {
		root.ReferrerPath = path
	}
	return bundle.Image{Root: root, Manifests: a.rows, IncludeNondistributable: request.Settings.IncludeNondistributable}, a.problems.Err()
}

func (a *assembly) add(e edge, parent bundle.Digest) {
	row := bundle.ManifestRow{
		Digest: e.to.digest, MediaType: e.to.mediaType, Size: e.to.size, ArtifactType: e.to.artifactType,
		Via: e.via, Tag: e.tag, From: a.graph.one(registry.DisplayName(e.from.Name())),
	}
	if e.via.IsReferrer() || e.via == bundle.ViaCosignTag {
		row.Subject = parent
		a.perRepository[row.From]++
	}
	a.rows = append(a.rows, row)
}

// follow adds what hangs from n, and returns it.
func (a *assembly) follow(n *node) ([]*node, error) {
	if n.err != nil {
		a.problems.Add(n.err)
		return nil, nil //nolint:nilerr // problems are reported together
	}
	a.left = append(a.left, n.left...)
	for _, left := range n.left {
		a.perRepository[left.From]++
	}
	below := a.connect(n)
	if n == a.state.node && n.original != nil {
		below = append(below, a.connect(n.original)...)
	}
	return below, nil
}

// connect adds the edges of n, and returns where they lead.
func (a *assembly) connect(n *node) (below []*node) {
	for _, e := range n.edges {
		if e.via.IsReferrer() && e.to.err == nil && e.to.explore == nil && e.to.subject != n.digest {
			// Harbor lists cosign's .sig manifests, which have no subject, among the referrers; they are found by tag.
			if e.to.subject.IsZero() && slices.ContainsFunc(n.edges, func(o edge) bool { return o.to == e.to && o.via == bundle.ViaCosignTag }) {
				continue
			}
			a.problems.Add(fmt.Errorf("%w: %s lists %s as a referrer of %s, but its subject is %s", ErrSubject, registry.DisplayName(e.from.Name()), e.to.digest, n.digest, subjectName(e.to.subject)))
			continue
		}
		a.add(e, n.digest)
		below = append(below, e.to)
	}
	return below
}

func subjectName(d bundle.Digest) string {
	if d.IsZero() {
		return "missing"
	}
	return d.String()
}

// checkAttestations makes sure that every attestation repository that was configured for the root yielded something,
// and warns where nothing refers to the root at all.
func (a *assembly) checkAttestations(source string) {
	total := 0
	for _, n := range a.perRepository {
		total += n
	}
	for _, repository := range a.state.view.attestations {
		if a.perRepository[registry.DisplayName(repository.Name())] > 0 || a.problems.Err() != nil {
			continue
		}
		what := "holds nothing for it"
		if slices.Contains(a.state.node.missing, repository) {
			what = "does not exist"
		}
		if !a.graph.options.AllowNoReferrers {
			a.problems.Add(fmt.Errorf("%w: the attestation repository %s %s; check --referrers-from or referrerSource, or export without them (--allow-no-referrers)", ErrNoReferrers, registry.DisplayName(repository.Name()), what))
			continue
		}
		a.warnings = append(a.warnings, fmt.Sprintf("%s: the attestation repository %s %s", source, registry.DisplayName(repository.Name()), what))
	}
	if total == 0 {
		a.warnings = append(a.warnings, source+": no referrers found (no SBOM, attestation or signature)")
	}
}
