package catalogue

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/chart"
	"airgap/export/config"
)

// Wanted is what somebody asks for, before any registry has been asked.
type Wanted struct {
	Requests    export.Requests // images by name
	Files       []*config.File
	Manifests   []chart.Found   // of rendered manifests
	ChartImages bool            // also the images that charts among the rest name in their annotations
	Settings    export.Settings // of the images that charts and manifests bring
}

// IsEmpty tells whether nothing is asked for.
func (w *Wanted) IsEmpty() bool {
	return len(w.Requests) == 0 && len(w.Files) == 0 && len(w.Manifests) == 0
}

// Override applies settings to everything that is asked for: the platforms to what has none of its own, the mode where it is
// not "", and what else is to be carried or not.
func (w *Wanted) Override(o export.Settings) {
	for s := range w.settings() {
		if len(s.Platforms) == 0 {
			s.Platforms = o.Platforms
		}
		if o.Mode != "" {
			s.Mode = o.Mode
		}
		s.Mode = cmp.Or(s.Mode, export.PlatformsRewritten)
		s.OriginalReferrers = o.OriginalReferrers
		s.IncludeNondistributable = s.IncludeNondistributable || o.IncludeNondistributable
	}
}

// settings yields the settings of everything that is asked for.
func (w *Wanted) settings() func(yield func(*export.Settings) bool) {
	return func(yield func(*export.Settings) bool) {
		for i := range w.Requests {
			if !yield(&w.Requests[i].Settings) {
				return
			}
		}
		if !yield(&w.Settings) {
			return
		}
		for _, f := range w.Files {
			for i := range f.Entries {
				if !yield(&f.Entries[i].Settings) {
					return
				}
			}
		}
	}
}

// entries returns the entries of all files, with their settings as they are now.
func (w *Wanted) entries() []config.Entry {
	var entries []config.Entry
	for _, f := range w.Files {
		for _, e := range f.Entries {
			e.Image.Settings = e.Settings
			entries = append(entries, e)
		}
	}
	return entries
}

// Registries returns the registries that will be talked to, as package name spells them, as far as they are known before
// any of them has been asked: charts may name more. Errors wrap export.ErrReference.
func (w *Wanted) Registries(attestations export.Attestations) ([]string, error) {
	hosts := map[string]bool{}
	add := func(r name.Repository, s *export.Settings) error {
		hosts[r.RegistryStr()] = true
		repositories, err := attestations.For(r)
		if err != nil {
			return err
		}
		for _, more := range slices.Concat(repositories, s.ReferrersFrom) {
			hosts[more.RegistryStr()] = true
		}
		return nil
	}
	for _, r := range w.named() {
		if err := add(r.Ref.Context(), &r.Settings); err != nil {
			return nil, err
		}
	}
	for _, e := range w.entries() {
		repo := e.Repo
		switch e.Kind {
		case config.KindImage:
			repo = e.Image.Ref.Context()
		case config.KindRegistry: // the attestation repositories of what it has are known from such a name already
			repo = e.Registry.Repo(strings.Trim(e.Namespace+"/dhi-x", "/"))
		}
		if err := add(repo, &e.Settings); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(hosts)), nil
}

// named returns the requests, and others for what charts and manifests are known to need.
func (w *Wanted) named() []export.Request {
	named := slices.Clone(w.Requests)
	for _, f := range w.Files {
		for i := range f.Charts {
			named = append(named, export.Request{Ref: f.Charts[i].Repo.Tag(name.DefaultTag)})
		}
	}
	for _, found := range w.Manifests {
		for _, image := range found.Images {
			if request, err := export.ParseRequest(image.Ref); err == nil {
				named = append(named, request)
			}
		}
	}
	return named
}

// Choice chooses what is wanted at the registries. It implements export.Choice.
type Choice struct {
	Wanted

	Lister   Lister
	Source   export.Source
	Renderer Renderer         // of charts whose images are wanted
	Jobs     int              // lookups at once; 0: export.DefaultJobs
	Now      func() time.Time // nil: time.Now
}

var _ export.Choice = (*Choice)(nil)

func (c *Choice) jobs() int { return cmp.Or(max(c.Jobs, 0), export.DefaultJobs) }

func (c *Choice) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// Choose implements export.Choice.
func (c *Choice) Choose(ctx context.Context, o bundle.Observer) (*export.Selection, error) {
	o = bundle.Observe(o)
	all := &export.Selection{Requests: slices.Clone(c.Requests)}
	if entries := c.entries(); len(entries) > 0 {
		selection, err := c.selectEntries(ctx, entries, o)
		if err != nil {
			return nil, err
		}
		add(all, selection)
	}
	for _, f := range c.Files {
		if len(f.Charts) == 0 {
			continue
		}
		selection, err := c.selectCharts(ctx, f.Charts, o)
		if err != nil {
			return nil, err
		}
		add(all, selection)
	}
	if c.ChartImages {
		selection, err := c.annotated(ctx, all.Requests)
		if err != nil {
			return nil, err
		}
		add(all, selection)
	}
	for i := range c.Manifests {
		add(all, c.rendered(c.Manifests[i]))
	}
	slices.SortStableFunc(all.Failures, func(a, b export.Failure) int { return cmp.Compare(a.Source, b.Source) })
	return all, nil
}

// add adds a selection to others.
func add(all, more *export.Selection) {
	all.Requests = append(all.Requests, more.Requests...)
	all.Excluded = append(all.Excluded, more.Excluded...)
	all.Failures = append(all.Failures, more.Failures...)
	all.Warnings = append(all.Warnings, more.Warnings...)
	all.Found = append(all.Found, more.Found...)
	all.Unparsed = append(all.Unparsed, more.Unparsed...)
	if all.Tags == nil {
		all.Tags = more.Tags
	}
}

// Fingerprint implements export.Choice.
func (c *Choice) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%+v\n%+v\n%+v %t\n", c.Requests, c.Manifests, c.Settings, c.ChartImages)
	for _, f := range c.Files {
		fmt.Fprintf(h, "%q\n", f.Content)
	}
	for _, e := range c.entries() { // what templates have made of the files is in here
		fmt.Fprintf(h, "%q\n", e.Describe())
	}
	return hex.EncodeToString(h.Sum(nil))
}
