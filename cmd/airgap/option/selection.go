package option

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"airgap/bundle/ledger"
	"airgap/bundle/platform"
	"airgap/cmd/airgap/app"
	"airgap/export"
	"airgap/export/cache"
	"airgap/export/catalogue"
	"airgap/export/chart"
	"airgap/export/config"
	"airgap/export/registry"
	"airgap/export/registry/repositories"
	"airgap/verify/party"
)

// Selection says which images, and what of them: the flags that export and plan share.
type Selection struct {
	Registry
	Mirror
	Policy

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
	JSON                    bool

	flags *pflag.FlagSet
}

// noCache is the value of --cache-dir that keeps nothing.
const noCache = "none"

// Add defines the flags.
func (s *Selection) Add(f *pflag.FlagSet) {
	s.AddChoice(f)
	f.BoolVar(&s.keepGoing, "keep-going", false, "export what can be had when some images cannot, and record the others as missing")
	f.BoolVar(&s.JSON, "json", false, "print the result as JSON on standard output")
	s.Mirror.Add(f)
	s.Policy.Add(f, "an image that fails is not exported (see --keep-going)")
}

// AddChoice defines the flags that say which images are meant, and how they are reached.
func (s *Selection) AddChoice(f *pflag.FlagSet) {
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
	f.StringVar(&s.cacheDir, "cache-dir", "", "`DIR` that keeps manifests, and what was found out about registries, for the next time; \"none\" keeps nothing (default: airgap in the user's cache directory)")
	f.IntVarP(&s.jobs, "jobs", "j", export.DefaultJobs, "`N` requests under way at once (for manifests, by default, as many as a registry turns out to take)")
	s.Registry.Add(f)
}

// Chooses tells whether files say which images are meant.
func (s *Selection) Chooses() bool { return len(s.configs)+len(s.files)+len(s.imagesFrom) > 0 }

// Asked is what the command line asks for, and how to get at it.
type Asked struct {
	Choice     *catalogue.Choice
	Options    export.Options
	Registries []string // in play
	Client     *registry.Client
	Source     export.Source // the client, with the cache in front of it
	Cache      *cache.Source // nil for none
	// InOrder is how many requests may be under way into a pipe, where blobs wait for those before them: were there more of
	// them than a registry is asked at once, the first might wait for the others.
	InOrder int

	packers *party.Party // who may have signed what is in the ledger
	opened  []io.Closer  // files to build on
}

// Close closes what was opened to be built on.
func (c *Asked) Close() error {
	var errs []error
	for _, o := range c.opened {
		errs = append(errs, o.Close())
	}
	return errors.Join(errs...)
}

// Read reads arguments and files. It contacts nobody.
func (s *Selection) Read(ctx context.Context, a *app.App, args []string) (*Asked, error) {
	wanted, err := s.wanted(a, args)
	if err != nil {
		return nil, err
	}
	settings, err := s.settings(a)
	if err != nil {
		return nil, err
	}
	wanted.Override(settings)
	attestations, err := export.ParseAttestations(s.referrersFrom, s.noDefaultReferrers)
	if err != nil {
		return nil, err
	}
	created, err := creationTime(a)
	if err != nil {
		return nil, err
	}
	jobs, isGiven, err := s.parallel(wanted.Files)
	if err != nil {
		return nil, err
	}
	c := &Asked{
		Choice: &catalogue.Choice{Wanted: *wanted, Renderer: chart.Helm{Env: os.Environ()}, Jobs: jobs, Now: a.Now},
		Options: export.Options{
			Walk:      export.WalkOptions{Attestations: attestations, AllowNoReferrers: s.allowNoReferrers},
			KeepGoing: s.keepGoing, Created: created, Now: a.Now, Jobs: jobs,
		},
	}
	if c.Registries, err = wanted.Registries(attestations); err != nil {
		return nil, err
	}
	if !isGiven {
		c.Options.Lookups = export.MostLookups
	}
	if c.Options.Policy, err = s.Policy.of(wanted.Files); err != nil {
		return nil, err
	}
	if c.Options.Mirror, err = s.read(wanted.Files); err != nil {
		return nil, err
	}
	if c.packers, err = s.packers(a, c.Options.Policy); err != nil {
		return nil, err
	}
	if err := s.connect(ctx, a, c); err != nil {
		return nil, err
	}
	if c.Options.Wishes, c.opened, err = s.wishes(ctx, a); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// wanted reads what is asked for.
func (s *Selection) wanted(a *app.App, args []string) (*catalogue.Wanted, error) {
	w := &catalogue.Wanted{ChartImages: s.chartImages}
	for _, arg := range args {
		request, err := export.ParseRequest(arg)
		if err != nil {
			return nil, err
		}
		w.Requests = append(w.Requests, request)
	}
	for _, file := range s.files {
		requests, err := readRequests(a, file)
		if err != nil {
			return nil, err
		}
		w.Requests = append(w.Requests, requests...)
	}
	for _, file := range s.configs {
		parsed, err := ReadConfig(a, file)
		if err != nil {
			return nil, err
		}
		ShowNotes(a, parsed)
		w.Files = append(w.Files, parsed)
	}
	for _, file := range s.imagesFrom {
		found, err := readManifests(a, file)
		if err != nil {
			return nil, err
		}
		w.Manifests = append(w.Manifests, found)
	}
	if w.IsEmpty() {
		return nil, app.Usagef("no image is given: name one, as in docker.io/library/alpine:3.22, a list with -f FILE, or a regsync.yaml with -c FILE")
	}
	return w, nil
}

// settings are what the flags say of all images.
func (s *Selection) settings(a *app.App) (settings export.Settings, err error) {
	for _, text := range s.platforms {
		p, err := platform.Parse(text)
		if err != nil {
			return settings, app.Usagef("%w", err)
		}
		settings.Platforms = append(settings.Platforms, p)
	}
	if s.platformMode != "" {
		if settings.Mode, err = export.ParsePlatformMode(s.platformMode); err != nil {
			return settings, app.Usagef("%w", err)
		}
	}
	if len(s.platforms) == 0 && s.originalReferrers {
		a.Warn("--original-referrers does nothing without --platform, unless the file names platforms")
	}
	settings.OriginalReferrers, settings.IncludeNondistributable = s.originalReferrers, s.includeNondistributable
	return settings, nil
}

// parallel is how many requests may be under way at once: what the flag says, or else the first file that does. Where neither
// does, manifests may be asked for as each registry takes it.
func (s *Selection) parallel(files []*config.File) (jobs int, isGiven bool, err error) {
	switch {
	case s.jobs < 1:
		return 0, false, app.Usagef("--jobs must be at least 1")
	case s.flags.Changed("jobs"):
		return s.jobs, true, nil
	}
	for _, f := range files {
		if f.Parallel > 0 {
			return f.Parallel, true, nil
		}
	}
	return s.jobs, false, nil
}

// connect makes the client.
func (s *Selection) connect(ctx context.Context, a *app.App, c *Asked) error {
	inPlay, openLedger := c.Registries, func(*registry.Client) ledger.Ledger { return ledger.Ledger{} }
	if c.Options.Mirror != nil {
		host, open, err := s.Place(a)
		if err != nil {
			return err
		}
		if openLedger = open; host != "" {
			inPlay = append(slices.Clip(inPlay), host)
		}
	}
	reached, err := s.Access(ctx, a, inPlay, c.Choice.Files)
	if err != nil {
		return err
	}
	config, pace := ClientConfig(a, reached), export.NewPace(export.MostLookups)
	config.Overloaded = pace.Overloaded
	c.Client = registry.New(config)
	if c.Options.Mirror != nil {
		c.Options.Mirror.Ledger = openLedger(c.Client)
		believe(c.Options.Mirror, c.packers)
	}
	var source cache.Registries = c.Client
	if c.Options.Lookups > 0 {
		source = pace.Of(c.Client)
	}
	c.InOrder = reached.MaxConcurrent(c.Registries, c.Options.Jobs)
	c.Source, c.Choice.Source, c.Choice.Lister = source, source, repositories.Lister{Client: c.Client}
	dir := s.cacheDirectory(a)
	if dir == "" {
		return nil
	}
	if c.Cache, err = cache.New(source, dir, a.Now); err != nil {
		return fmt.Errorf("--cache-dir: %w", err)
	}
	c.Source, c.Choice.Source, c.Options.Walk.Facts = c.Cache, c.Cache.WithBlobs(), c.Cache
	c.Options.Proofs = c.Choice.Source
	return nil
}

// cacheDirectory returns "" for none.
func (s *Selection) cacheDirectory(a *app.App) string {
	switch s.cacheDir {
	case noCache:
		return ""
	case "":
		dir, err := os.UserCacheDir()
		if err != nil {
			a.Log.Warn("manifests are not kept for the next time: there is no cache directory", "error", err)
			return ""
		}
		return filepath.Join(dir, "airgap", "manifests")
	}
	return s.cacheDir
}

// Prune removes what is old from the cache.
func (c *Asked) Prune(a *app.App) {
	if c.Cache == nil {
		return
	}
	if err := c.Cache.Prune(); err != nil {
		a.Log.Warn("old manifests were not removed from the cache", "error", err)
	}
}

// readRequests reads a list of images.
func readRequests(a *app.App, file string) ([]export.Request, error) {
	in, closeList, err := app.OpenInput(a, file, "the list of images")
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	defer closeList()
	return export.ReadRequests(file, in)
}

// readManifests finds the images in rendered manifests.
func readManifests(a *app.App, file string) (chart.Found, error) {
	in, closeInput, err := app.OpenInput(a, file, "the rendered manifests")
	if err != nil {
		return chart.Found{}, fmt.Errorf("--images-from: %w", err)
	}
	defer closeInput()
	if file == "-" {
		file = "standard input"
	}
	found, err := chart.FromManifests(file, in)
	if err == nil && len(found.Images) == 0 {
		a.Warn("%s names no image", file)
	}
	return found, err
}

// creationTime is SOURCE_DATE_EPOCH, for reproducible bundles, or zero.
// https://reproducible-builds.org/specs/source-date-epoch/
func creationTime(a *app.App) (time.Time, error) {
	epoch := a.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, app.Usagef("SOURCE_DATE_EPOCH is %q; seconds since 1970 expected", epoch)
	}
	return time.Unix(seconds, 0), nil
}
