package readback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/target"
)

// Accessories compares what Harbor shows under each subject with what was sent, jobs at a time, and returns what it shows
// otherwise, each in a sentence. What is listed of that already is not asked for. None of it is a failure: the registry lists
// everything, or Run would have said so.
func Accessories(ctx context.Context, inv *inventory.Inventory, t target.Pather, h *harbor.Client, listed target.Accessories, jobs int) (notes []string, err error) {
	c := accessoryCheck{inv: inv, target: t, harbor: h, listed: listed, withheld: map[string]bool{}}
	subjects := c.subjects()
	err = parallel.Each(ctx, jobs, slices.Values(subjects), c.compare)
	if err == nil && len(subjects) > 0 {
		notes = c.tell(ctx)
	}
	return notes, err
}

// sigstoreBundle begins the artifact types of all versions of Sigstore's bundles.
const sigstoreBundle = "application/vnd.dev.sigstore.bundle."

// subjectIn is what others refer to in a repository.
type subjectIn struct {
	repo    int32
	subject bundle.Digest
}

// shownUnder is what Harbor should show under one subject.
type shownUnder struct {
	subjectIn

	referrers  []int32 // rows
	signatures []int32 // rows that cosign has under .sig tags
}

// tally is a number of things, one of which is named.
type tally struct {
	n       int
	example string
}

func (t *tally) add(example string) {
	if t.n++; t.n == 1 || example < t.example {
		t.example = example
	}
}

// accessoryCheck counts what is shown otherwise than it was sent.
type accessoryCheck struct {
	inv    *inventory.Inventory
	target target.Pather
	harbor *harbor.Client
	listed target.Accessories

	mu         sync.Mutex
	plain      tally           // Sigstore bundles that are plain accessories
	apart      tally           // referrers that are no accessories
	unsigned   tally           // .sig tags that are no accessories of type signature.cosign
	noSubjects tally           // referrers of what Harbor does not have
	failed     tally           // subjects about which Harbor could not be asked
	withheld   map[string]bool // projects whose accessories the account may not see
}

// subjects returns what Harbor should show under which subjects, in the order of the repositories.
func (c *accessoryCheck) subjects() []shownUnder {
	var subjects []shownUnder
	places := map[subjectIn]int{}
	at := func(s subjectIn) *shownUnder {
		place, found := places[s]
		if !found {
			place = len(subjects)
			places[s], subjects = place, append(subjects, shownUnder{subjectIn: s})
		}
		return &subjects[place]
	}
	for _, l := range c.inv.Lists {
		at(subjectIn{l.Repo, l.Subject}).referrers = l.Rows
	}
	for i := range c.inv.Tags {
		t := &c.inv.Tags[i]
		if subject, ok := signedBy(t); ok {
			signed := at(subjectIn{t.Repo, subject})
			signed.signatures = append(signed.signatures, t.Row)
		}
	}
	slices.SortFunc(subjects, func(a, b shownUnder) int {
		return cmp.Or(cmp.Compare(a.repo, b.repo), slices.Compare(a.subject[:], b.subject[:]))
	})
	return subjects
}

// signedBy returns what a tag of cosign's is the signature of.
func signedBy(t *inventory.Tag) (bundle.Digest, bool) {
	hex, ok := strings.CutSuffix(strings.TrimPrefix(t.Name, "sha256-"), ".sig")
	if !t.Cosign || !ok {
		return bundle.Digest{}, false
	}
	subject, err := bundle.ParseDigest("sha256:" + hex)
	return subject, err == nil
}

// compare looks at one subject.
func (c *accessoryCheck) compare(ctx context.Context, s shownUnder) error {
	repo := c.inv.Repos[s.repo]
	name := repo.Digest(s.subject.String()).Name()
	if listed := c.listed.Of(s.repo, s.subject); c.isWhole(s, listed) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.count(s, name, listed)
		return nil
	}
	project, repository := target.InHarbor(c.target, repo)
	if c.isWithheld(project) {
		return nil
	}
	shown, err := c.harbor.Accessories(ctx, project, repository, s.subject.String())
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, harbor.ErrNotAllowed):
		c.withheld[project] = true
	case errors.Is(err, registry.ErrNotFound):
		c.noSubjects.add(name)
	case err != nil:
		c.failed.add(bundle.OneLine(err))
	default:
		c.count(s, name, shown)
	}
	return nil
}

// isWhole tells whether everything that was sent is listed for its subject.
func (c *accessoryCheck) isWhole(s shownUnder, listed []harbor.Accessory) bool {
	isUnlisted := func(row int32) bool {
		return !slices.ContainsFunc(listed, func(a harbor.Accessory) bool { return a.Digest == c.inv.Digest(row) })
	}
	return !slices.ContainsFunc(s.referrers, isUnlisted) && !slices.ContainsFunc(s.signatures, isUnlisted)
}

func (c *accessoryCheck) isWithheld(project string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.withheld[project]
}

// count compares one subject's accessories with what was sent.
func (c *accessoryCheck) count(s shownUnder, subject string, shown []harbor.Accessory) {
	types := map[bundle.Digest]string{}
	for _, a := range shown {
		types[a.Digest] = a.Type
	}
	for _, row := range s.referrers {
		kind, isShown := types[c.inv.Digest(row)]
		switch {
		case !isShown:
			c.apart.add(c.inv.Digest(row).String() + " of " + subject)
		case kind == harbor.AccessoryPlain && strings.HasPrefix(c.inv.Graph.Node(int(row)).ArtifactType, sigstoreBundle):
			c.plain.add(c.inv.Digest(row).String())
		}
	}
	for _, row := range s.signatures {
		if types[c.inv.Digest(row)] != harbor.AccessoryCosign {
			c.unsigned.add(subject)
		}
	}
}

// tell says what was counted.
func (c *accessoryCheck) tell(ctx context.Context) (notes []string) {
	note := func(n int, format string, args ...any) {
		if n > 0 {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	is, hasReferrers, knowsBundles := c.version(ctx)
	const plain = "%s shows %d Sigstore bundles as plain accessories (" + harbor.AccessoryPlain + "), not as signatures: "
	if knowsBundles {
		note(c.plain.n, plain+"it takes for signatures what was pushed since it is 2.15; cosign verifies them all the same", is, c.plain.n)
	} else {
		note(c.plain.n, plain+"before 2.15 it does not know them, and its content trust does not count them; cosign verifies them all the same", is, c.plain.n)
	}
	if hasReferrers {
		note(c.apart.n, "%s lists %d referrers for their subjects in its registry, and does not show them there in its own pages: %s is the first", is, c.apart.n, c.apart.example)
	} else {
		note(c.apart.n, "%s shows %d referrers as artifacts of their own, as before 2.8 it has no referrers API; clients find them by the fallback tags", is, c.apart.n)
	}
	note(c.unsigned.n, "%s does not show the signatures under %d .sig tags with what they sign; cosign finds them by their tags: that of %s is the first", is, c.unsigned.n, c.unsigned.example)
	note(c.noSubjects.n, "%d images or artifacts that others refer to are not in %s, so that it cannot show these under them: %s is the first", c.noSubjects.n, is, c.noSubjects.example)
	kept := c.keptTags()
	note(kept, "%s shows what is under %d .att and .sbom tags as artifacts of their own; cosign finds them by their tags", is, kept)
	note(c.failed.n, "not checked for %d images or artifacts: what %s shows under them: %s", c.failed.n, is, c.failed.example)
	withheld := slices.Sorted(maps.Keys(c.withheld))
	note(len(withheld), "not checked: what %s shows under images in %s: the account needs the permission accessory:list there", is, strings.Join(withheld, ", "))
	return notes
}

// version returns what to call this Harbor, and what it can do as far as that is known.
func (c *accessoryCheck) version(ctx context.Context) (is string, hasReferrers, knowsBundles bool) {
	system, err := c.harbor.System(ctx)
	if err != nil || system.Version == "" {
		return "this Harbor", true, false
	}
	hasReferrers, known := system.AtLeast(2, 8)
	knowsBundles, _ = system.AtLeast(2, 15)
	return "Harbor " + system.Version, hasReferrers || !known, knowsBundles
}

// keptTags returns how many of cosign's tags are not for signatures.
func (c *accessoryCheck) keptTags() (n int) {
	for i := range c.inv.Tags {
		t := &c.inv.Tags[i]
		if _, signature := signedBy(t); t.Cosign && !signature {
			n++
		}
	}
	return n
}
