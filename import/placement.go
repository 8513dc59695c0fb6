package importer

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
)

// placement is a root and where it goes.
type placement struct {
	root int   // row of the roots table
	repo int32 // place in placements.repos
	path string
	tag  string // "" for none: by digest only

	referrerRepo int32 // of what refers to the image; most often repo
	referrerPath string
}

// placements is what the mappings make of a bundle's roots.
type placements struct {
	repos    []name.Repository // sorted
	images   []placement       // in the order of the roots
	excluded []string          // sources that Options.Only left out
}

// fallbackTag is a name that clients of registries without the referrers API keep for lists of referrers.
var fallbackTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)

// place works out where every root goes. All problems are in one error, which wraps ErrMapping or ErrConflict.
func place(roots []bundle.Root, o Options) (*placements, error) {
	p := placer{options: o, mapUsed: make([]bool, len(o.Map)), onlyUsed: make([]bool, len(o.Only))}
	for _, pattern := range o.Only {
		p.only = append(p.only, newGlob(pattern))
	}
	for i := range roots {
		p.add(i, &roots[i])
	}
	p.checkPatterns()
	p.checkTags(roots)
	p.numberRepositories()
	return &p.placements, p.problems.Err()
}

type placer struct {
	placements
	options           Options
	only              []glob
	mapUsed, onlyUsed []bool
	problems          bundle.Problems
}

func (p *placer) add(row int, root *bundle.Root) {
	source := newSourceName(root.Source)
	path, tag := p.destination(source, root)
	if !p.wanted(source, root, path, tag) {
		p.excluded = append(p.excluded, root.Source)
		return
	}
	err := checkName(path, tag)
	switch {
	case err != nil:
		p.problems.Add(fmt.Errorf("%w: %s: %w", ErrMapping, root.Source, err))
	case fallbackTag.MatchString(tag):
		p.problems.Add(fmt.Errorf("%w: %s: registries keep the tag %s for a list of referrers; give the image another tag with --map", ErrMapping, root.Source, tag))
	default:
		image := placement{root: row, path: path, tag: tag, referrerPath: path}
		if root.ReferrerPath != "" {
			image.referrerPath = p.prefixed(root.ReferrerPath)
			if err := checkName(image.referrerPath, ""); err != nil {
				p.problems.Add(fmt.Errorf("%w: what refers to %s: %w", ErrMapping, root.Source, err))
			}
		}
		p.images = append(p.images, image)
	}
}

func (p *placer) prefixed(path string) string {
	if p.options.Flatten {
		path = flatten(path)
	}
	return strings.TrimPrefix(p.options.Destination.Prefix+"/"+path, "/")
}

// destination applies the most specific mapping, of equals the first, or else the prefix.
func (p *placer) destination(source sourceName, root *bundle.Root) (path, tag string) {
	path, tag = p.prefixed(root.Path), root.Tag
	best := -1
	for i, m := range p.options.Map {
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

// wanted tells whether Options.Only takes the root, whose names are its source, the destination recorded in the bundle
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
			p.problems.Add(fmt.Errorf("%w: the mapping %s matches no image in the bundle", ErrMapping, p.options.Map[i]))
		}
	}
	for i, used := range p.onlyUsed {
		if !used {
			p.problems.Add(fmt.Errorf("%w: --only %s matches no image in the bundle", ErrMapping, p.options.Only[i]))
		}
	}
}

// checkTags refuses to give two images one name.
func (p *placer) checkTags(roots []bundle.Root) {
	first := map[string]int{}
	for _, image := range p.images {
		if image.tag == "" {
			continue
		}
		key := image.path + ":" + image.tag
		other, taken := first[key]
		if !taken {
			first[key] = image.root
		} else if roots[other].Digest != roots[image.root].Digest {
			p.problems.Add(fmt.Errorf("%w: %s and %s would both become %s; give one of them another destination with --map",
				ErrConflict, roots[other].Source, roots[image.root].Source, key))
		}
	}
}

func (p *placer) numberRepositories() {
	var paths []string
	for _, image := range p.images {
		paths = append(paths, image.path, image.referrerPath)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	for _, path := range paths {
		p.repos = append(p.repos, p.options.Destination.Registry.Repo(path))
	}
	place := func(path string) int32 {
		at, _ := slices.BinarySearch(paths, path)
		return int32(at)
	}
	for i := range p.images {
		image := &p.images[i]
		image.repo, image.referrerRepo = place(image.path), place(image.referrerPath)
	}
}
