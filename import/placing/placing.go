package placing

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
)

// Rules say where images go. The zero value of all but Destination is valid.
type Rules struct {
	Destination Destination // required
	Map         []Mapping   // of sources to paths; the most specific that matches counts, of equals the first
	Only        []string    // patterns; take only images that match one by source or destination; none: all

	// Flatten makes one path element of each recorded path, and puts it below the prefix: a/b becomes a--b, and a--b becomes
	// a---b. What Map gives another destination stays as it is.
	Flatten bool

	// Fails tells of images that are left out because they do not meet a policy, by row of the roots table; nil: none.
	Fails func(root int) bool
}

// Image is a root and where it goes.
type Image struct {
	Root int   // row of the roots table
	Repo int32 // place in Placements.Repos
	Path string
	Tag  string // "" for none: by digest only

	ReferrerRepo int32 // of what refers to the image; most often repo
	ReferrerPath string
}

// Placements is what the mappings make of a bundle's roots.
type Placements struct {
	Repos    []name.Repository // sorted
	Images   []Image           // in the order of the roots
	Excluded []string          // sources that Rules.Only left out
	Failing  []int             // rows of the roots table that Rules.Fails left out
}

// Roots are those of a bundle: *bundle.Contents has them.
type Roots interface {
	Root(row int) bundle.Root
	Roots() iter.Seq2[int, bundle.Root]
}

// Place works out where every root goes. All problems are in one error, which wraps ErrMapping or ErrCollision.
func Place(roots Roots, rules Rules) (*Placements, error) {
	p := placer{rules: rules, mapUsed: make([]bool, len(rules.Map)), onlyUsed: make([]bool, len(rules.Only))}
	for _, pattern := range rules.Only {
		p.only = append(p.only, newGlob(pattern))
	}
	for i, root := range roots.Roots() {
		p.add(i, &root)
	}
	p.checkPatterns()
	p.checkTags(roots)
	p.numberRepositories()
	return &p.Placements, p.problems.Err()
}

type placer struct {
	Placements
	rules             Rules
	only              []glob
	mapUsed, onlyUsed []bool
	problems          bundle.Problems
}

func (p *placer) add(row int, root *bundle.Root) {
	source := newSourceName(root.Source)
	path, tag := p.destination(source, root)
	if !p.wanted(source, root, path, tag) {
		p.Excluded = append(p.Excluded, root.Source)
		return
	}
	if p.rules.Fails != nil && p.rules.Fails(row) {
		p.Failing = append(p.Failing, row)
		return
	}
	err := CheckName(path, tag)
	switch {
	case err != nil:
		p.problems.Add(fmt.Errorf("%w: %s: %w", ErrMapping, root.Source, err))
	case bundle.IsFallbackTag(tag):
		p.problems.Add(fmt.Errorf("%w: %s: registries keep the tag %s for a list of referrers; give the image another tag with --map", ErrMapping, root.Source, tag))
	default:
		image := Image{Root: row, Path: path, Tag: tag, ReferrerPath: path}
		if root.ReferrerPath != "" {
			image.ReferrerPath = p.prefixed(root.ReferrerPath)
			if err := CheckName(image.ReferrerPath, ""); err != nil {
				p.problems.Add(fmt.Errorf("%w: what refers to %s: %w", ErrMapping, root.Source, err))
			}
		}
		p.Images = append(p.Images, image)
	}
}

func (p *placer) prefixed(path string) string {
	if p.rules.Flatten {
		path = flatten(path)
	}
	return strings.TrimPrefix(p.rules.Destination.Prefix+"/"+path, "/")
}

// destination applies the most specific mapping, of equals the first, or else the prefix.
func (p *placer) destination(source sourceName, root *bundle.Root) (path, tag string) {
	path, tag = p.prefixed(root.Path), root.Tag
	best := -1
	for i, m := range p.rules.Map {
		mapped, mappedTag, ok := m.apply(source, root.Tag)
		if !ok {
			continue
		}
		p.mapUsed[i] = true
		if m.specificity > best {
			best, path, tag = m.specificity, mapped, mappedTag
		}
	}
	return path, tag
}

// wanted tells whether Rules.Only takes the root, whose names are its source, the destination recorded in the bundle
// and the one at this target, each with and without tag.
func (p *placer) wanted(source sourceName, root *bundle.Root, path, tag string) bool {
	if len(p.only) == 0 {
		return true
	}
	names := append(source.spellings(), root.Path, path)
	if root.Tag != "" {
		names = append(names, root.Path+":"+root.Tag)
	}
	if tag != "" {
		names = append(names, path+":"+tag)
	}
	wanted := false
	for i, pattern := range p.only {
		if slices.ContainsFunc(names, pattern.MatchString) {
			p.onlyUsed[i], wanted = true, true
		}
	}
	return wanted
}

// checkPatterns refuses patterns that are about nothing in the bundle: most are spelling mistakes, and what they were
// meant for would go elsewhere or be left out.
func (p *placer) checkPatterns() {
	for i, used := range p.mapUsed {
		if !used {
			p.problems.Add(fmt.Errorf("%w: the mapping %s matches no image in the bundle", ErrMapping, p.rules.Map[i]))
		}
	}
	for i, used := range p.onlyUsed {
		if !used {
			p.problems.Add(fmt.Errorf("%w: --only %s matches no image in the bundle", ErrMapping, p.rules.Only[i]))
		}
	}
}

// checkTags refuses to give two images one name.
func (p *placer) checkTags(roots Roots) {
	first := map[string]int{}
	for _, image := range p.Images {
		if image.Tag == "" {
			continue
		}
		key := image.Path + ":" + image.Tag
		other, taken := first[key]
		if !taken {
			first[key] = image.Root
			continue
		}
		if one, two := roots.Root(other), roots.Root(image.Root); one.Digest != two.Digest {
			p.problems.Add(fmt.Errorf("%w: %s and %s would both become %s; give one of them another destination with --map",
				ErrCollision, one.Source, two.Source, key))
		}
	}
}

// Add takes a repository, to which no image need go, among the others, and returns its place.
func (p *Placements) Add(repo name.Repository) int32 {
	byPath := func(a, b name.Repository) int { return strings.Compare(a.RepositoryStr(), b.RepositoryStr()) }
	found, isThere := slices.BinarySearchFunc(p.Repos, repo, byPath)
	at := int32(found)
	if isThere {
		return at
	}
	p.Repos = slices.Insert(p.Repos, found, repo)
	for i := range p.Images {
		for _, place := range []*int32{&p.Images[i].Repo, &p.Images[i].ReferrerRepo} {
			if *place >= at {
				*place++
			}
		}
	}
	return at
}

func (p *placer) numberRepositories() {
	var paths []string
	for _, image := range p.Images {
		paths = append(paths, image.Path, image.ReferrerPath)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	for _, path := range paths {
		p.Repos = append(p.Repos, p.rules.Destination.Registry.Repo(path))
	}
	place := func(path string) int32 {
		at, _ := slices.BinarySearch(paths, path)
		return int32(at)
	}
	for i := range p.Images {
		image := &p.Images[i]
		image.Repo, image.ReferrerRepo = place(image.Path), place(image.ReferrerPath)
	}
}
