package export

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/platform"
)

// Settings say what of an image is carried. The zero value carries everything.
type Settings struct {
	// Platforms, where there are any, are the only ones of an index that are carried.
	Platforms []platform.Matcher
	Mode      PlatformMode // "" is PlatformsRewritten
	// OriginalReferrers carries, with a rewritten index, what refers to the original one. It cannot be checked against
	// anything at the target.
	OriginalReferrers bool

	NoReferrers     bool             // leave out referrers
	NoCosignTags    bool             // leave out what cosign keeps under tags
	ReferrerFilters []ReferrerFilter // where there are any, only referrers of the image that fit one of them, with all that refers to those
	ReferrersFrom   []name.Repository
	ReferrerPath    string // destination of referrers; "" is the image's own

	IncludeNondistributable bool     // carry layers that are marked as not to be distributed
	MediaTypes              []string // where there are any, an image of another media type is passed over
}

// ReferrerFilter fits referrers of an artifact type ("" is any) that have the annotations ("" is any value).
type ReferrerFilter struct {
	ArtifactType string
	Annotations  map[string]string
}

func (f *ReferrerFilter) fits(m *bundle.Manifest) bool {
	if f.ArtifactType != "" && f.ArtifactType != m.EffectiveArtifactType() {
		return false
	}
	for key, want := range f.Annotations {
		if value, ok := m.Annotations[key]; !ok || want != "" && want != value {
			return false
		}
	}
	return true
}

// selectionKey tells settings apart that make something else of an index; "" for those that leave it alone.
func (s *Settings) selectionKey() string {
	if len(s.Platforms) == 0 {
		return ""
	}
	return fmt.Sprint(s.Mode, s.OriginalReferrers, platformNames(s.Platforms))
}

// view is how manifests are looked at: where their referrers are looked for, and which of these are carried. Images
// with the same view share what is found.
type view struct {
	key          string
	own          name.Repository
	attestations []name.Repository
	noReferrers  bool
	noCosignTags bool
	filters      []ReferrerFilter
	// below is the view of what hangs from a referrer or cosign tag that is carried.
	below *view
}

func (v *view) all() []name.Repository {
	return append([]name.Repository{v.own}, v.attestations...)
}

// view returns the view for an image in a repository, the same one for the same settings.
func (g *graph) view(own name.Repository, attestations []name.Repository, s *Settings) *view {
	var names []string
	for _, r := range attestations {
		names = append(names, r.Name())
	}
	slices.Sort(names)
	v := &view{
		key:          fmt.Sprintf("%s %s %t %t %q", own.Name(), strings.Join(names, " "), s.NoReferrers, s.NoCosignTags, s.ReferrerFilters),
		own:          own,
		attestations: attestations, noReferrers: s.NoReferrers, noCosignTags: s.NoCosignTags, filters: s.ReferrerFilters,
	}
	v.below = v
	if len(v.filters) > 0 {
		whole := *s
		whole.ReferrerFilters = nil
		v.below = g.view(own, attestations, &whole)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if known, ok := g.views[v.key]; ok {
		return known
	}
	g.views[v.key] = v
	return v
}
