// Package catalogue turns what configurations, charts and rendered manifests ask for into requests: it lists what there is
// at the registries, and chooses by the rules of the configuration. Start with [Choice].
package catalogue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/config"
	"airgap/export/registry"
	"airgap/export/registry/repositories"
)

// Lister is what choosing needs of registries besides reading manifests. repositories.Lister is the real one.
type Lister interface {
	// Tags lists the tags of a repository, all of them.
	Tags(ctx context.Context, repo name.Repository) ([]string, error)
	// Repositories lists the repositories of a registry or, with a namespace, below that.
	Repositories(ctx context.Context, reg name.Registry, namespace string) (repositories.Listing, error)
}

var _ Lister = repositories.Lister{}

// selectEntries chooses the images of entries. What fails for one entry is among the failures.
func (c *Choice) selectEntries(ctx context.Context, entries []config.Entry, o bundle.Observer) (*export.Selection, error) {
	s := &selector{
		lister: c.Lister, source: limited{c.Source, make(chan struct{}, c.jobs())}, jobs: c.jobs(), now: c.now(),
		observer: o, lists: map[string]*tagList{},
	}
	s.observer.Count("list", "repository", 0)
	parts := make([]*part, 0, len(entries))
	for i := range entries {
		parts = append(parts, s.expand(ctx, &entries[i])...)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(s.jobs)
	for _, p := range parts {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error {
			s.choose(groupCtx, p)
			return groupCtx.Err()
		})
	}
	if err := errors.Join(group.Wait(), ctx.Err()); err != nil {
		return nil, err
	}
	return s.result(parts), nil
}

type selector struct {
	lister   Lister
	source   export.Source
	jobs     int // lookups at once
	now      time.Time
	observer bundle.Observer
	times    sync.Map // when images were made, by reference

	mu       sync.Mutex
	lists    map[string]*tagList // by repository
	excluded []export.Excluded   // repositories
	warnings []string
	failures []export.Failure
}

// limited keeps to a number of requests at once, whoever makes them.
type limited struct {
	export.Source

	slots chan struct{}
}

// Manifest implements export.Source.
func (l limited) Manifest(ctx context.Context, ref name.Reference) (bundle.Descriptor, []byte, error) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
		return l.Source.Manifest(ctx, ref)
	case <-ctx.Done():
		return bundle.Descriptor{}, nil, ctx.Err()
	}
}

// part is a repository, or an image, of one entry.
type part struct {
	entry  *config.Entry
	repo   name.Repository
	target string
	// image is set for image entries, which need no list.
	image *export.Request

	requests []export.Request
	excluded []export.Excluded
	warnings []string
	failure  *export.Failure
}

// expand returns the parts of an entry.
func (s *selector) expand(ctx context.Context, e *config.Entry) []*part {
	switch e.Kind {
	case config.KindImage:
		return []*part{{entry: e, image: &e.Image, target: e.Target}}
	case config.KindRepository:
		return []*part{{entry: e, repo: e.Repo, target: e.Target}}
	}
	s.observer.Item(e.Source)
	listing, err := s.lister.Repositories(ctx, e.Registry, e.Namespace)
	if err != nil {
		s.failures = append(s.failures, export.Failure{Source: e.Source, Path: e.Target, Err: err})
		return nil
	}
	if listing.PublicOnly {
		s.warnings = append(s.warnings, e.Source+": without credentials only public repositories are listed")
	}
	var parts []*part
	for _, path := range listing.Repositories {
		repo := e.Registry.Repo(path)
		if rule := e.SelectRepository(path); rule != "" {
			s.excluded = append(s.excluded, export.Excluded{Source: registry.DisplayName(repo.Name()), Rule: rule, Entry: e.Position.String(), Repository: true})
			continue
		}
		parts = append(parts, &part{entry: e, repo: repo, target: strings.TrimPrefix(e.Target+"/"+path, "/")})
	}
	if len(parts) == 0 {
		s.warnings = append(s.warnings, fmt.Sprintf("%s: %s selects no repository", e.Position, e.Source))
	}
	return parts
}

// tagList is the tags of a repository, listed once however many entries are about it.
type tagList struct {
	once sync.Once
	tags []string
	err  error
}

func (s *selector) tags(ctx context.Context, repo name.Repository) ([]string, error) {
	s.mu.Lock()
	l, ok := s.lists[repo.Name()]
	if !ok {
		l = &tagList{}
		s.lists[repo.Name()] = l
	}
	s.mu.Unlock()
	l.once.Do(func() { l.tags, l.err = s.lister.Tags(ctx, repo) })
	return l.tags, l.err
}

// choose fills in what of a part is selected.
func (s *selector) choose(ctx context.Context, p *part) {
	err := s.chooseTags(ctx, p)
	if err == nil {
		return
	}
	p.failure, p.requests = &export.Failure{Path: p.target, Err: err}, nil
	if p.image != nil {
		p.failure.Source, p.failure.Tag = p.image.Source, p.image.Tag
	} else {
		p.failure.Source = registry.DisplayName(p.repo.Name())
	}
}

func (s *selector) chooseTags(ctx context.Context, p *part) error {
	if p.image != nil {
		s.observer.Item(p.image.Source)
		if p.entry.MinAge == 0 {
			p.requests = []export.Request{*p.image}
			return nil
		}
		return s.chooseOld(ctx, p, []export.Request{*p.image})
	}
	s.observer.Item(registry.DisplayName(p.repo.Name()))
	defer s.observer.Add(1)
	tags, err := s.tags(ctx, p.repo)
	if err != nil {
		return err
	}
	selected, excluded := p.entry.SelectTags(tags)
	for _, x := range excluded {
		p.exclude(p.request(x.Tag).Source, x.Rule)
	}
	if len(selected) == 0 {
		p.warnings = append(p.warnings, fmt.Sprintf("%s: none of the %d tags of %s is selected", p.entry.Position, len(tags), registry.DisplayName(p.repo.Name())))
	}
	if selected, err = s.newestFirst(ctx, p, selected); err != nil {
		return err
	}
	var requests []export.Request
	for _, tag := range selected {
		requests = append(requests, p.request(tag))
	}
	return s.chooseOld(ctx, p, requests)
}

func (p *part) exclude(source, rule string) {
	p.excluded = append(p.excluded, export.Excluded{Source: source, Rule: rule, Entry: p.entry.Position.String()})
}

func (p *part) request(tag string) export.Request {
	return export.Request{
		Ref: p.repo.Tag(tag), Source: registry.DisplayName(p.repo.Name()) + ":" + tag, Path: p.target, Tag: tag,
		Entry: p.entry.Position.String(), Settings: p.entry.Settings,
	}
}

// newestFirst puts tags in order where the entry wants the newest of them: by version where all are versions, or else by
// the time that the images were made.
func (s *selector) newestFirst(ctx context.Context, p *part, tags []string) ([]string, error) {
	if p.entry.Latest == 0 {
		return tags, nil
	}
	if newest, ok := config.NewestVersions(tags); ok {
		return newest, nil
	}
	var requests []export.Request
	for _, tag := range tags {
		requests = append(requests, p.request(tag))
	}
	if err := s.lookAhead(ctx, requests); err != nil {
		return nil, err
	}
	made := map[string]time.Time{}
	for i, tag := range tags {
		at, err := s.made(ctx, requests[i].Ref)
		if err != nil {
			return nil, err
		}
		made[tag] = at
	}
	tags = slices.Clone(tags)
	slices.SortStableFunc(tags, func(a, b string) int { return made[b].Compare(made[a]) })
	return tags, nil
}

// lookAhead finds out side by side when images were made, where one after the other would take long.
func (s *selector) lookAhead(ctx context.Context, requests []export.Request) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(s.jobs)
	for _, r := range requests {
		group.Go(func() error {
			_, err := s.made(groupCtx, r.Ref)
			return err
		})
	}
	return group.Wait()
}

// made returns when an image was made, and asks for that once.
func (s *selector) made(ctx context.Context, ref name.Reference) (time.Time, error) {
	if at, known := s.times.Load(ref.Name()); known {
		return at.(time.Time), nil //nolint:forcetypeassert // nothing else is stored
	}
	at, err := s.created(ctx, ref)
	if err != nil {
		return at, fmt.Errorf("when %s was made: %w", ref, err)
	}
	s.times.Store(ref.Name(), at)
	return at, nil
}

// chooseOld takes the first Latest requests of images that are old enough.
func (s *selector) chooseOld(ctx context.Context, p *part, requests []export.Request) error {
	if p.entry.MinAge > 0 && p.entry.Latest == 0 { // otherwise the first few are enough
		if err := s.lookAhead(ctx, requests); err != nil {
			return err
		}
	}
	for _, r := range requests {
		if p.entry.Latest > 0 && len(p.requests) == p.entry.Latest {
			p.exclude(r.Source, fmt.Sprintf("latest %d", p.entry.Latest))
			continue
		}
		if p.entry.MinAge > 0 {
			rule, err := s.tooYoung(ctx, p.entry.MinAge, r.Ref)
			if err != nil {
				return err
			}
			if rule != "" {
				p.exclude(r.Source, rule)
				p.excluded[len(p.excluded)-1].Waiting = true
				continue
			}
		}
		p.requests = append(p.requests, r)
	}
	return nil
}

func (s *selector) tooYoung(ctx context.Context, minAge time.Duration, ref name.Reference) (rule string, err error) {
	made, err := s.made(ctx, ref)
	switch {
	case err != nil:
		return "", err
	case made.IsZero():
		return fmt.Sprintf("minAge %s: it does not say when it was made", config.Span(minAge)), nil
	case s.now.Sub(made) < minAge:
		return fmt.Sprintf("minAge %s: made %s, waits until %s", config.Span(minAge), made.UTC().Format(time.RFC3339), made.Add(minAge).UTC().Format(time.RFC3339)), nil
	}
	return "", nil
}

// result puts the parts together, in their order.
func (s *selector) result(parts []*part) *export.Selection {
	r := &export.Selection{Excluded: s.excluded, Failures: s.failures, Warnings: s.warnings, Tags: map[string]export.DigestTags{}}
	for _, p := range parts {
		r.Requests = append(r.Requests, p.requests...)
		r.Excluded = append(r.Excluded, p.excluded...)
		r.Warnings = append(r.Warnings, p.warnings...)
		if p.failure != nil {
			r.Failures = append(r.Failures, *p.failure)
		}
	}
	for repo, l := range s.lists {
		if l.err != nil {
			continue
		}
		digestTags := export.DigestTags{}
		for _, tag := range l.tags {
			if strings.HasPrefix(tag, "sha256-") {
				digestTags[tag] = struct{}{}
			}
		}
		r.Tags[repo] = digestTags
	}
	return r
}
