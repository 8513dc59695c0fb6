package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/pflag"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/cache"
	"airgap/export/catalogue"
	"airgap/export/chart"
	"airgap/export/config"
	"airgap/export/registry"
	"airgap/verify/signature"
)

// selectionFlags say which images, and what of them: the flags that export and plan share.
type selectionFlags struct {
	registryFlags

	files                   []string
	configs                 []string
	referrersFrom           []string
	noDefaultReferrers      bool
	allowNoReferrers        bool
	includeNondistributable bool
	platforms               []string
	platformMode            string
	originalReferrers       bool
	imagesFrom              []string
	chartImages             bool
	keepGoing               bool
	cacheDir                string
	jobs                    int
	json                    bool

	flags *pflag.FlagSet
}

// noCache is the value of --cache-dir that keeps nothing.
const noCache = "none"

func (s *selectionFlags) add(f *pflag.FlagSet) {
	s.flags = f
	f.StringArrayVarP(&s.configs, "config", "c", nil, "`FILE` like regsync.yaml that says what to mirror, or - for standard input")
	f.StringArrayVarP(&s.files, "file", "f", nil, "`FILE` with one REF[=PATH[:TAG]] per line and # comments, or - for standard input")
	f.StringArrayVar(&s.referrersFrom, "referrers-from", nil, "`SRC=ATT`: what refers to images at SRC or below is also looked for at ATT")
	f.BoolVar(&s.noDefaultReferrers, "no-default-referrers", false, "do not look at registry.scout.docker.com for what refers to docker.io/ORG/dhi-*")
	f.BoolVar(&s.allowNoReferrers, "allow-no-referrers", false, "go on where an attestation repository holds nothing for an image")
	f.BoolVar(&s.includeNondistributable, "include-nondistributable", false, "carry layers that are marked as not to be distributed")
	f.StringArrayVar(&s.platforms, "platform", nil, "`OS/ARCH[/VARIANT]`: carry only these platforms of each image (default: all)")
	f.StringVar(&s.platformMode, "platform-mode", "", "`MODE` of --platform: rewrite makes a new index of those platforms (default), sparse keeps the index and leaves its other manifests out")
	f.BoolVar(&s.originalReferrers, "original-referrers", false, "with a rewritten index, carry also what refers to the original one")
	f.StringArrayVar(&s.imagesFrom, "images-from", nil, "`FILE` of rendered manifests (\"helm template\"), or - for standard input: carry the images that they use")
	f.BoolVar(&s.chartImages, "chart-images", false, "carry also the images that charts name in their annotation artifacthub.io/images")
	f.BoolVar(&s.keepGoing, "keep-going", false, "export what can be had when some images cannot, and record the others as missing")
	f.StringVar(&s.cacheDir, "cache-dir", "", "`DIR` that keeps manifests for the next time; \"none\" keeps nothing (default: airgap in the user's cache directory)")
	f.IntVarP(&s.jobs, "jobs", "j", export.DefaultJobs, "`N` requests under way at once")
	f.BoolVar(&s.json, "json", false, "print the result as JSON on standard output")
	s.registryFlags.add(f)
}

// chosen is what the command line asks for, and how to get at it.
type chosen struct {
	a        *app
	flags    *selectionFlags
	requests []export.Request
	files    []*config.File
	contents [][]byte // of the files
	options  export.Options
	access   access
	client   *registry.Client

	manifests     []chart.Found   // of --images-from
	imageSettings export.Settings // of images that charts and manifests bring
	source        export.Source   // the client, with the cache in front of it
	cache         *cache.Source   // nil for none
	hosts         []string
}

// choose reads arguments and files. It contacts nobody.
func (s *selectionFlags) choose(ctx context.Context, a *app, args []string) (*chosen, error) {
	c := &chosen{a: a, flags: s}
	var err error
	if c.requests, err = s.requests(a, args); err != nil {
		return nil, err
	}
	for _, file := range s.configs {
		parsed, err := readConfig(a, file)
		if err != nil {
			return nil, err
		}
		showNotes(a, parsed)
		c.files = append(c.files, parsed)
		c.contents = append(c.contents, parsed.Content)
	}
	for _, file := range s.imagesFrom {
		found, err := readManifests(a, file)
		if err != nil {
			return nil, err
		}
		c.manifests = append(c.manifests, found)
	}
	if len(c.requests) == 0 && len(c.files) == 0 && len(c.manifests) == 0 {
		return nil, usagef("no image is given: name one, as in docker.io/library/alpine:3.22, a list with -f FILE, or a regsync.yaml with -c FILE")
	}
	if err := c.applySettings(); err != nil {
		return nil, err
	}
	attestations, err := export.ParseAttestations(s.referrersFrom, s.noDefaultReferrers)
	if err != nil {
		return nil, usageError{err}
	}
	created, err := creationTime(a)
	if err != nil {
		return nil, err
	}
	c.options = export.Options{
		Walk:      export.WalkOptions{Attestations: attestations, AllowNoReferrers: s.allowNoReferrers},
		KeepGoing: s.keepGoing, Created: created, Jobs: c.jobs(),
	}
	if c.options.Jobs < 1 {
		return nil, usagef("--jobs must be at least 1")
	}
	if c.hosts, err = hostsInPlay(c.named(), c.entries(), attestations); err != nil {
		return nil, err
	}
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// jobs is what the flag says, or else the file.
func (c *chosen) jobs() int {
	if !c.flags.flags.Changed("jobs") {
		for _, f := range c.files {
			if f.Parallel > 0 {
				return f.Parallel
			}
		}
	}
	return c.flags.jobs
}

// applySettings adds what the flags say to what the images carry. A file's own word on platforms stands.
func (c *chosen) applySettings() error {
	var platforms []export.Platform
	for _, text := range c.flags.platforms {
		p, err := export.ParsePlatform(text)
		if err != nil {
			return usageError{err}
		}
		platforms = append(platforms, p)
	}
	mode, err := export.ParsePlatformMode(c.flags.platformMode)
	if err != nil {
		return usageError{err}
	}
	if len(platforms) == 0 && c.flags.originalReferrers {
		c.a.warn("--original-referrers does nothing without --platform, unless the file names platforms")
	}
	for s := range c.settings() {
		if len(s.Platforms) == 0 {
			s.Platforms = platforms
		}
		if s.Mode == "" || c.flags.platformMode != "" {
			s.Mode = mode
		}
		s.OriginalReferrers = c.flags.originalReferrers
		s.IncludeNondistributable = s.IncludeNondistributable || c.flags.includeNondistributable
	}
	return nil
}

// settings yields the settings of everything that is asked for.
func (c *chosen) settings() func(yield func(*export.Settings) bool) {
	return func(yield func(*export.Settings) bool) {
		for i := range c.requests {
			if !yield(&c.requests[i].Settings) {
				return
			}
		}
		if !yield(&c.imageSettings) {
			return
		}
		for _, f := range c.files {
			for i := range f.Entries {
				if e := &f.Entries[i]; !yield(&e.Settings) {
					return
				}
			}
		}
	}
}

// entries returns the entries of all files, with their settings as the flags leave them.
func (c *chosen) entries() []config.Entry {
	var entries []config.Entry
	for _, f := range c.files {
		for _, e := range f.Entries {
			e.Image.Settings = e.Settings
			entries = append(entries, e)
		}
	}
	return entries
}

// named returns the requests, and others for everything else of which the registry is known already.
func (c *chosen) named() []export.Request {
	named := slices.Clone(c.requests)
	for _, f := range c.files {
		for i := range f.Charts {
			named = append(named, export.Request{Ref: f.Charts[i].Repo.Tag(name.DefaultTag)})
		}
	}
	for _, found := range c.manifests {
		for _, image := range found.Images {
			if request, err := export.ParseRequest(image.Ref); err == nil {
				named = append(named, request)
			}
		}
	}
	return named
}

// hostsInPlay returns the registries that will be talked to.
func hostsInPlay(requests []export.Request, entries []config.Entry, attestations export.Attestations) ([]string, error) {
	hosts := map[string]bool{}
	add := func(r name.Repository, s *export.Settings) error {
		hosts[r.RegistryStr()] = true
		repositories, err := attestations.For(r)
		if err != nil {
			return usageError{err}
		}
		for _, more := range slices.Concat(repositories, s.ReferrersFrom) {
			hosts[more.RegistryStr()] = true
		}
		return nil
	}
	for i := range requests {
		if err := add(requests[i].Ref.Context(), &requests[i].Settings); err != nil {
			return nil, err
		}
	}
	for i := range entries {
		e := &entries[i]
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

// connect makes the client.
func (c *chosen) connect(ctx context.Context) error {
	access, err := c.flags.resolve(ctx, c.a, c.hosts)
	if err != nil {
		return err
	}
	if err := access.addFiles(c.a, c.files, c.hosts); err != nil {
		return err
	}
	c.access = access
	c.client = access.client(c.a)
	c.source = c.client
	dir := c.flags.cacheDirectory(c.a)
	if dir == "" {
		return nil
	}
	if c.cache, err = cache.New(c.client, dir, c.a.now); err != nil {
		return fmt.Errorf("--cache-dir: %w", err)
	}
	c.source = c.cache
	return nil
}

// cacheDirectory returns "" for none.
func (s *selectionFlags) cacheDirectory(a *app) string {
	switch s.cacheDir {
	case noCache:
		return ""
	case "":
		dir, err := os.UserCacheDir()
		if err != nil {
			a.log.Warn("manifests are not kept for the next time: there is no cache directory", "error", err)
			return ""
		}
		return filepath.Join(dir, "airgap", "manifests")
	}
	return s.cacheDir
}

// fingerprint stands for everything that the command line and its files ask for, so that an export that was interrupted is
// continued by the same command only. Registries' answers are no part of it.
func (c *chosen) fingerprint(key signature.PublicKey) string {
	h := sha256.New()
	f := c.flags
	fmt.Fprintf(h, "%s\n%+v\n%q\n%+v\n", key.Fingerprint(), c.requests, c.contents, c.manifests)
	fmt.Fprintf(h, "%q %t %t %t %+v %t %q\n", f.referrersFrom, f.noDefaultReferrers, f.allowNoReferrers, f.keepGoing, c.imageSettings, f.chartImages, c.a.getenv("SOURCE_DATE_EPOCH"))
	for _, e := range c.entries() { // what templates have made of the files is in here
		fmt.Fprintf(h, "%q\n", e.Describe())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// readInOrder bounds the requests under way by what a configuration allows at any one registry. In a pipe blobs wait for
// those before them: were there more of them than a registry is asked at once, the first might wait for the others.
func (c *chosen) readInOrder() {
	for _, host := range c.hosts {
		if r := c.access.files.of(host); r != nil && r.host.ReqConcurrent > 0 {
			c.options.Jobs = min(c.options.Jobs, r.host.ReqConcurrent)
		}
	}
}

// plan lists, chooses and walks.
func (c *chosen) plan(ctx context.Context, o bundle.Observer) (*export.Plan, error) {
	options, requests := c.options, c.requests
	options.Observer = o
	selection, err := c.selection(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, warning := range selection.Warnings {
		o.Warn(warning)
	}
	requests = slices.Concat(requests, selection.Requests)
	for _, r := range selection.Requests { // registries that nobody has named, of the images of charts
		if host := r.Ref.Context().RegistryStr(); !slices.Contains(c.hosts, host) {
			c.hosts = append(c.hosts, host)
		}
	}
	options.Failures, options.Excluded, options.Walk.Tags = selection.Failures, selection.Excluded, selection.Tags
	options.Found, options.Unparsed = selection.Found, selection.Unparsed
	plan, err := export.MakePlan(ctx, c.source, requests, options)
	if err == nil && c.cache != nil {
		if pruned := c.cache.Prune(); pruned != nil {
			c.a.log.Warn("old manifests were not removed from the cache", "error", pruned)
		}
	}
	return plan, err
}

// selection is what the files and the charts come to.
func (c *chosen) selection(ctx context.Context, o bundle.Observer) (*catalogue.Selection, error) {
	all := &catalogue.Selection{}
	source := c.source
	if c.cache != nil {
		source = c.cache.WithBlobs()
	}
	if entries := c.entries(); len(entries) > 0 {
		selection, err := catalogue.Select(ctx, c.client, source, entries, catalogue.Options{Jobs: c.options.Jobs, Now: c.a.now(), Observer: o})
		if err != nil {
			return nil, err
		}
		all.Add(selection)
	}
	charts := catalogue.ChartOptions{Renderer: chart.Helm{Env: os.Environ()}, Settings: c.imageSettings, Observer: o}
	for _, f := range c.files {
		if len(f.Charts) == 0 {
			continue
		}
		selection, err := catalogue.SelectCharts(ctx, c.client, source, f.Charts, charts)
		if err != nil {
			return nil, err
		}
		all.Add(selection)
	}
	if c.flags.chartImages {
		selection, err := catalogue.ChartImages(ctx, source, slices.Concat(c.requests, all.Requests), charts)
		if err != nil {
			return nil, err
		}
		all.Add(selection)
	}
	for i := range c.manifests {
		all.Add(catalogue.FromManifests(c.manifests[i], "", charts))
	}
	return all, nil
}

// requests reads the arguments and the files that list more of them.
func (s *selectionFlags) requests(a *app, args []string) ([]export.Request, error) {
	var requests []export.Request
	for _, arg := range args {
		request, err := export.ParseRequest(arg)
		if err != nil {
			return nil, usageError{err}
		}
		requests = append(requests, request)
	}
	for _, file := range s.files {
		more, err := readRequests(a, file)
		if err != nil {
			return nil, err
		}
		requests = append(requests, more...)
	}
	return requests, nil
}

// readManifests finds the images in rendered manifests.
func readManifests(a *app, file string) (chart.Found, error) {
	in, closeInput, err := openInput(a, file, "the rendered manifests")
	if err != nil {
		return chart.Found{}, fmt.Errorf("--images-from: %w", err)
	}
	defer closeInput()
	if file == "-" {
		file = "standard input"
	}
	found, err := chart.FromManifests(file, in)
	if err == nil && len(found.Images) == 0 {
		a.warn("%s names no image", file)
	}
	return found, err
}

// maxListLine bounds a line of a list of images, in bytes.
const maxListLine = 4 << 10

// readRequests reads a list of images. All lines that are wrong are reported together.
func readRequests(a *app, file string) ([]export.Request, error) {
	in, closeList, err := openInput(a, file, "the list of images")
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	defer closeList()
	var requests []export.Request
	var problems bundle.Problems
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxListLine)
	for number := 1; lines.Scan(); number++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		request, err := export.ParseRequest(line)
		if err != nil {
			problems.Add(fmt.Errorf("%s, line %d: %w", file, number, err))
			continue
		}
		requests = append(requests, request)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := problems.Err(); err != nil {
		return nil, usageError{err}
	}
	return requests, nil
}

// openInput opens a file, or standard input for "-".
func openInput(a *app, file, what string) (in io.Reader, closeInput func(), err error) {
	if file == "-" {
		in, err := a.takeStdin(what)
		return in, func() {}, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil
}

// creationTime is now, or SOURCE_DATE_EPOCH for reproducible bundles.
// https://reproducible-builds.org/specs/source-date-epoch/
func creationTime(a *app) (time.Time, error) {
	epoch := a.getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return a.now(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH is %q; seconds since 1970 expected", epoch)
	}
	return time.Unix(seconds, 0), nil
}

// errMissing: the bundle was written, without images that could not be had.
var errMissing = errors.New("images are missing from the bundle")

// missingImages is the error of an export that kept going.
func missingImages(r *export.Result) error {
	if len(r.Missing) == 0 {
		return nil
	}
	var lines []string
	for _, m := range r.Missing {
		lines = append(lines, "  "+m.Source+": "+m.Reason)
	}
	return fmt.Errorf("%w, as --keep-going allows:\n%s", errMissing, strings.Join(lines, "\n"))
}

// withKeepGoing says what can be done about images that cannot be had.
func withKeepGoing(err error) error {
	if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrRepositoryUnknown) || errors.Is(err, export.ErrNoReferrers) {
		return fmt.Errorf("%w\nnothing was written; --keep-going exports the other images and records these as missing", err)
	}
	return err
}
