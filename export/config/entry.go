package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/bundle/platform"
	"airgap/bundle/yaml"
	"airgap/export"
	"airgap/export/registry"
)

// common are the keys that defaults and the entries of sync share, as written.
type common struct {
	digestTags, referrers, includeExternal     *bool
	referrerFilters                            []export.ReferrerFilter
	referrerSource, referrerTarget             string
	mediaTypes                                 []string
	rateLimit                                  RateLimit
	latest                                     *int
	minAge                                     *time.Duration
	platformMode                               string
	referrerSourceAt, referrerTargetAt, modeAt Position
}

// at keeps where a value stands, too.
func at(p *Position, read func(*yaml.Value)) func(*yaml.Value) {
	return func(v *yaml.Value) { *p = v.Position; read(v) }
}

// idle says why keys do nothing here.
const (
	idleSchedule = "an export runs when it is called; cron or a pipeline calls it again"
	idleAll      = "airgap carries everything that hangs from an image, always"
)

func (d *decoder) common(c *common) yaml.Keys {
	return yaml.Keys{
		"backup":          d.nothing("backup", "the import says which tags moved, and from where"),
		"interval":        d.nothing("interval", idleSchedule),
		"schedule":        d.nothing("schedule", idleSchedule),
		"hooks":           d.nothing("hooks", "regsync does not run them either"),
		"referrerSlow":    d.nothing("referrerSlow", idleAll),
		"forceRecursive":  d.nothing("forceRecursive", idleAll),
		"fastCheck":       silent,
		"fastCopy":        silent, // in Docker's documentation; regsync calls it fastCheck
		"ratelimit":       func(v *yaml.Value) { d.rateLimit(v, &c.rateLimit) },
		"digestTags":      d.Boolean(&c.digestTags),
		"referrers":       d.Boolean(&c.referrers),
		"includeExternal": d.Boolean(&c.includeExternal),
		"referrerFilters": func(v *yaml.Value) { c.referrerFilters = d.filters(v) },
		"referrerSource":  at(&c.referrerSourceAt, d.Text(&c.referrerSource)),
		"referrerTarget":  at(&c.referrerTargetAt, d.Text(&c.referrerTarget)),
		"mediaTypes":      d.Texts(&c.mediaTypes),
		"latest":          func(v *yaml.Value) { c.latest = new(0); d.Number(c.latest, 0)(v) },
		"minAge":          func(v *yaml.Value) { c.minAge = new(time.Duration(0)); d.duration(c.minAge)(v) },
		"platformMode":    at(&c.modeAt, d.Text(&c.platformMode)),
	}
}

func (d *decoder) rateLimit(v *yaml.Value, r *RateLimit) {
	d.Mapping(v, "ratelimit", yaml.Keys{"min": d.Number(&r.Min, 0), "retry": d.duration(&r.Retry)})
}

func (d *decoder) filters(v *yaml.Value) []export.ReferrerFilter {
	filters := []export.ReferrerFilter{} // an empty list in an entry takes those of defaults away, as in regsync
	for _, item := range d.Items(v) {
		var f export.ReferrerFilter
		d.Mapping(item, "referrerFilters", yaml.Keys{
			"artifactType": d.Text(&f.ArtifactType),
			"annotations":  func(v *yaml.Value) { f.Annotations = d.annotations(v) },
		})
		filters = append(filters, f)
	}
	return filters
}

func (d *decoder) annotations(v *yaml.Value) map[string]string {
	if v.Kind != yaml.Mapping && v.Kind != yaml.Null {
		d.Bad(v.Position, "annotations are a mapping, not %s", v.Kind)
	}
	annotations := map[string]string{}
	for _, f := range v.Fields {
		var text string
		d.Text(&text)(f.Value)
		annotations[f.Key] = text
	}
	return annotations
}

// document reads the whole file.
func (d *decoder) document(root *yaml.Value) {
	var defaults common
	var sync, charts *yaml.Value
	d.Mapping(root, "the file", yaml.Keys{
		"version": d.version,
		"mirror":  d.mirror,
		"policy":  d.Text(&d.file.Policy),
		"creds": func(v *yaml.Value) {
			for _, item := range d.Items(v) {
				d.credential(item)
			}
		},
		"defaults": func(v *yaml.Value) { d.defaults(v, &defaults) },
		"sync":     func(v *yaml.Value) { sync = v },
		"charts":   func(v *yaml.Value) { charts = v },
	})
	if sync != nil {
		for _, item := range d.Items(sync) {
			d.entry(item, &defaults)
		}
	}
	if charts != nil {
		for _, item := range d.Items(charts) {
			d.chart(item)
		}
	}
}

func (d *decoder) mirror(v *yaml.Value) {
	d.Text(&d.file.Mirror)(v)
	if err := bundle.CheckMirror(d.file.Mirror); v.Kind == yaml.Scalar && err != nil {
		d.Bad(v.Position, "%w", err)
	}
}

func (d *decoder) version(v *yaml.Value) {
	n, err := strconv.Atoi(v.Text)
	switch {
	case v.Kind == yaml.Null:
	case v.Kind != yaml.Scalar || err != nil || n < 0:
		d.Bad(v.Position, "the version is %s; 1 is expected", v.Shown())
	case n > 1:
		d.Bad(v.Position, "version %d of regsync's configuration is newer than what is understood here, which is 1", n)
	}
}

func (d *decoder) defaults(v *yaml.Value, c *common) {
	known := d.common(c)
	var skip *bool
	for key, read := range (yaml.Keys{
		"parallel": d.Number(&d.file.Parallel, 0), "userAgent": d.Text(&d.file.UserAgent), "skipDockerConfig": d.Boolean(&skip),
		"blobLimit":  d.nothing("blobLimit", "manifests have a limit of their own, and blobs none"),
		"cacheCount": d.nothing("cacheCount", "see --cache-dir"),
		"cacheTime":  d.nothing("cacheTime", "see --cache-dir"),
	}) {
		known[key] = read
	}
	d.Mapping(v, "defaults", known)
	d.file.SkipDockerConfig = skip != nil && *skip
}

// rawEntry is an entry as written. Templates see it as .Sync, with regsync's names.
type rawEntry struct {
	Source, Target, Type, Platform, ReferrerSrc, ReferrerTgt string
	Platforms, MediaTypes                                    []string

	common
	repos              rules
	tags               tagSet
	tagSets            []tagSet
	sourceAt, targetAt Position
}

func (d *decoder) entry(v *yaml.Value, defaults *common) {
	raw := rawEntry{sourceAt: v.Position, targetAt: v.Position}
	known := d.common(&raw.common)
	for key, read := range (yaml.Keys{
		"source": at(&raw.sourceAt, d.Text(&raw.Source)), "target": at(&raw.targetAt, d.Text(&raw.Target)), "type": d.Text(&raw.Type),
		"tags": func(v *yaml.Value) { raw.tags = d.tagSet(v, "tags") },
		"tagSets": func(v *yaml.Value) {
			for _, item := range d.Items(v) {
				raw.tagSets = append(raw.tagSets, d.tagSet(item, "tagSets"))
			}
		},
		"repos":    func(v *yaml.Value) { d.Mapping(v, "repos", d.rules(&raw.repos)) },
		"platform": d.Text(&raw.Platform), "platforms": d.Texts(&raw.Platforms),
	}) {
		known[key] = read
	}
	before := d.Problems.Err()
	d.Mapping(v, "an entry of sync", known)
	if v.Kind != yaml.Mapping {
		if v.Kind == yaml.Null {
			d.Bad(v.Position, "an empty entry of sync")
		}
		return
	}
	raw.apply(defaults)
	e := Entry{Position: v.Position, Kind: Kind(raw.Type), repos: raw.repos, RateLimit: raw.rateLimit}
	if raw.latest != nil {
		e.Latest = *raw.latest
	}
	if raw.minAge != nil {
		e.MinAge = *raw.minAge
	}
	expanded := d.expandEntry(&raw)
	d.settings(&e, &raw)
	if expanded {
		d.names(&e, &raw, v)
	}
	e.tagSets = raw.tagSets
	if raw.tags.said {
		e.tagSets = append(e.tagSets, raw.tags)
	}
	if after := d.Problems.Err(); before == nil && after == nil || before != nil && after.Error() == before.Error() {
		d.file.Entries = append(d.file.Entries, e)
	}
}

// apply takes from the defaults what the entry does not say, as regsync does.
func (r *rawEntry) apply(defaults *common) {
	if r.rateLimit.Min == 0 {
		r.rateLimit.Min = defaults.rateLimit.Min
	}
	if r.rateLimit.Retry == 0 {
		r.rateLimit.Retry = defaults.rateLimit.Retry
	}
	r.rateLimit.Retry = max(r.rateLimit.Retry, minRetry)
	if len(r.mediaTypes) == 0 {
		r.mediaTypes = defaults.mediaTypes
	}
	if len(r.mediaTypes) == 0 {
		r.mediaTypes = bundle.ManifestMediaTypes
	}
	for _, b := range []struct {
		own  **bool
		then *bool
	}{{&r.digestTags, defaults.digestTags}, {&r.referrers, defaults.referrers}, {&r.includeExternal, defaults.includeExternal}} {
		if *b.own == nil {
			*b.own = b.then
		}
	}
	if r.referrerFilters == nil {
		r.referrerFilters = defaults.referrerFilters
	}
	if r.referrerSource == "" {
		r.referrerSource, r.referrerSourceAt = defaults.referrerSource, defaults.referrerSourceAt
	}
	if r.referrerTarget == "" {
		r.referrerTarget, r.referrerTargetAt = defaults.referrerTarget, defaults.referrerTargetAt
	}
	if r.latest == nil { // 0 in an entry takes that of defaults away
		r.latest = defaults.latest
	}
	if r.minAge == nil {
		r.minAge = defaults.minAge
	}
	if r.platformMode == "" {
		r.platformMode, r.modeAt = defaults.platformMode, defaults.modeAt
	}
	r.ReferrerSrc, r.ReferrerTgt, r.MediaTypes = r.referrerSource, r.referrerTarget, r.mediaTypes
}

// expandEntry evaluates the templates, in regsync's order, in which later ones see the results of earlier ones, and tells
// whether all of them can be.
func (d *decoder) expandEntry(raw *rawEntry) (ok bool) {
	ok = true
	x := expander{env: d.env}
	for _, f := range []struct {
		text *string
		at   Position
	}{{&raw.Source, raw.sourceAt}, {&raw.ReferrerSrc, raw.referrerSourceAt}, {&raw.Target, raw.targetAt}, {&raw.ReferrerTgt, raw.referrerTargetAt}} {
		expanded, err := x.expand(*f.text, struct{ Sync *rawEntry }{raw})
		if err != nil {
			d.Bad(f.at, "the template cannot be evaluated: %.200s", templateMessage(err))
			ok = false
		}
		*f.text = strings.TrimSpace(expanded)
	}
	return ok
}

func (d *decoder) settings(e *Entry, raw *rawEntry) {
	isFalse := func(b *bool) bool { return b != nil && !*b }
	e.Settings.NoReferrers = isFalse(raw.referrers)
	// Who does not want referrers does not want what cosign keeps under tags, unless the file says so.
	e.Settings.NoCosignTags = isFalse(raw.digestTags) || e.Settings.NoReferrers && raw.digestTags == nil
	e.Settings.ReferrerFilters = raw.referrerFilters
	e.Settings.IncludeNondistributable = raw.includeExternal != nil && *raw.includeExternal
	e.Settings.MediaTypes = raw.mediaTypes
	if raw.Platform != "" { // regsync looks at this one first, and then there is nothing left to choose from
		raw.Platforms = []string{raw.Platform}
	}
	for _, text := range raw.Platforms {
		p, err := platform.Parse(text)
		if err != nil {
			d.Bad(e.Position, "%s", err)
		}
		e.Settings.Platforms = append(e.Settings.Platforms, p)
	}
	var err error
	if raw.platformMode != "" {
		if e.Settings.Mode, err = export.ParsePlatformMode(raw.platformMode); err != nil {
			d.Bad(raw.modeAt, "platformMode: %s", err)
		}
	}
	if raw.ReferrerSrc != "" {
		repository, err := parseRepository(raw.ReferrerSrc)
		if err != nil {
			d.Bad(raw.referrerSourceAt, "referrerSource: %s", err)
		}
		e.Settings.ReferrersFrom = []name.Repository{repository}
	}
	if raw.ReferrerTgt != "" {
		path, _, err := splitTarget(raw.ReferrerTgt)
		if err == nil {
			err = bundle.CheckPath(path)
		}
		if err != nil {
			d.Bad(raw.referrerTargetAt, "referrerTarget: %s", err)
		}
		e.Settings.ReferrerPath = path
	}
}

// names reads source and target.
func (d *decoder) names(e *Entry, raw *rawEntry, v *yaml.Value) {
	e.Source = raw.Source
	switch e.Kind {
	case KindRegistry, KindRepository, KindImage:
	case "":
		d.Bad(v.Position, "an entry of sync without type: registry, repository or image")
		return
	default:
		d.Bad(v.Field("type").Position, "type is %.40q; registry, repository or image is expected", raw.Type)
		return
	}
	for _, missing := range []struct{ key, text string }{{"source", raw.Source}, {"target", raw.Target}} {
		if missing.text == "" {
			d.Bad(v.Position, "an entry of sync without %s", missing.key)
			return
		}
	}
	if err := d.source(e, raw.Source); err != nil {
		d.Bad(raw.sourceAt, "source: %s", err)
		return
	}
	if err := e.target(raw.Target); err != nil {
		d.Bad(raw.targetAt, "target: %s", err)
		return
	}
	if e.Kind == KindImage {
		e.Image.Path, e.Image.Tag = e.Target, e.TargetTag
		e.Image.Entry, e.Image.Settings = e.Position.String(), e.Settings
	}
}

func (d *decoder) source(e *Entry, s string) (err error) {
	if strings.HasPrefix(s, "ocidir://") || strings.HasPrefix(s, "ocifile://") {
		return fmt.Errorf("%.100q is a directory; airgap exports from registries", s)
	}
	switch e.Kind {
	case KindRegistry:
		host, path, _ := strings.Cut(strings.TrimSuffix(s, "/"), "/")
		registry, err := parseRegistry(host)
		if err != nil || !looksLikeHost(host) {
			return fmt.Errorf("%.100q is not the name of a registry, such as harbor.example.com", s)
		}
		if path != "" {
			if err := bundle.CheckPath(path); err != nil {
				return err
			}
		}
		e.Registry, err = name.NewRegistry(registry)
		e.Namespace = path
		return err
	case KindRepository:
		path := s[strings.LastIndexByte(s, '/')+1:]
		if strings.ContainsAny(path, ":@") {
			return fmt.Errorf("%.100q has a tag or a digest, but a repository is expected: choose its tags with tags, or write type: image", s)
		}
		e.Repo, err = parseRepository(s)
	case KindImage:
		if e.Image, err = export.ParseRequest(registry.DisplayName(s)); err == nil && strings.Contains(s, "=") {
			err = fmt.Errorf("%.100q is not the name of an image", s)
		}
	}
	return err
}

func parseRepository(s string) (name.Repository, error) {
	s, _, _ = strings.Cut(registry.DisplayName(s), "@")
	tag, err := name.NewTag(s)
	if err != nil {
		return name.Repository{}, err
	}
	return tag.Context(), bundle.CheckPath(tag.RepositoryStr())
}

// looksLikeHost tells a registry from the first part of a path, as all clients do.
func looksLikeHost(s string) bool { return strings.ContainsAny(s, ".:") || s == "localhost" }

// target takes the path at the destination from a target, of which the host is for the other side to say.
func (e *Entry) target(s string) (err error) {
	if e.Kind == KindRegistry {
		host, path, hasPath := strings.Cut(strings.TrimSuffix(s, "/"), "/")
		if !looksLikeHost(host) && host != "" {
			path, hasPath = strings.TrimSuffix(s, "/"), true
		}
		if e.Target = path; hasPath {
			return bundle.CheckPath(path)
		}
		return nil
	}
	if e.Target, e.TargetTag, err = splitTarget(s); err != nil {
		return err
	}
	switch {
	case e.Kind == KindImage:
		if e.TargetTag == "" && !strings.Contains(s, "@") {
			e.TargetTag = name.DefaultTag // as regsync
		}
	case e.TargetTag != "":
		return fmt.Errorf("%.100q has a tag, but the source is a repository", s)
	}
	return bundle.CheckPath(e.Target)
}

// splitTarget returns path and tag of a reference without its host, which may be empty where it comes from a variable
// that only the other side has.
func splitTarget(s string) (path, tag string, err error) {
	if strings.Contains(s, "://") {
		return "", "", fmt.Errorf("%.100q is no reference to a registry", s)
	}
	s, _, _ = strings.Cut(s, "@")
	host, rest, hasRest := strings.Cut(s, "/")
	if hasRest && (host == "" || looksLikeHost(host)) {
		s = rest
	}
	if !hasRest && host == "" {
		return "", "", errors.New("empty")
	}
	path, tag, tagged := strings.Cut(s, ":")
	if tagged {
		err = bundle.CheckTag(tag)
	}
	return path, tag, err
}

// Describe says in lines what was understood of an entry.
func (e *Entry) Describe() []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	target := e.Target
	if e.TargetTag != "" {
		target += ":" + e.TargetTag
	}
	if target == "" {
		target = "the same paths"
	}
	add("%s %s -> %s", e.Kind, e.Source, target)
	if rules := e.repos.String(); rules != "" {
		add("repositories: %s", rules)
	}
	for i := range e.tagSets {
		add("tags: %s", e.tagSets[i].String())
	}
	if e.Kind != KindImage && len(e.tagSets) == 0 {
		add("tags: all")
	}
	if e.Latest > 0 {
		add("the newest %d of these", e.Latest)
	}
	if e.MinAge > 0 {
		add("not younger than %s", Span(e.MinAge))
	}
	add("%s", e.describeReferrers())
	if len(e.Settings.Platforms) > 0 {
		var names []string
		for _, p := range e.Settings.Platforms {
			names = append(names, p.String())
		}
		add("platforms: %s", strings.Join(names, ", "))
	}
	if e.Settings.IncludeNondistributable {
		add("nondistributable layers: carried")
	}
	if !slices.Equal(e.Settings.MediaTypes, bundle.ManifestMediaTypes) {
		add("only of media type %s", strings.Join(e.Settings.MediaTypes, ", "))
	}
	if e.RateLimit.Min > 0 {
		add("waits %s whenever fewer than %d pulls are left", Span(e.RateLimit.Retry), e.RateLimit.Min)
	}
	return lines
}

func (e *Entry) describeReferrers() string {
	s := &e.Settings
	text := "referrers: all"
	switch {
	case s.NoReferrers:
		text = "referrers: left out"
	case len(s.ReferrerFilters) > 0:
		var types []string
		for _, f := range s.ReferrerFilters {
			types = append(types, strings.TrimSpace(fmt.Sprint(f.ArtifactType, " ", annotationText(f.Annotations))))
		}
		text = "referrers: only " + strings.Join(types, ", ") + ", with what refers to these"
	}
	if len(s.ReferrersFrom) > 0 {
		text += ", also from " + registry.DisplayName(s.ReferrersFrom[0].Name())
	}
	if s.ReferrerPath != "" {
		text += ", to " + s.ReferrerPath
	}
	if s.NoCosignTags {
		text += "; cosign tags: left out"
	}
	return text
}

func annotationText(annotations map[string]string) string {
	var parts []string
	for key, want := range annotations {
		parts = append(parts, key+"="+want)
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
