package prune

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/import/placing"
	"airgap/import/record"
)

// key is a name at the target.
type key struct{ repository, tag string } // without the registry

// thing is a manifest at the target.
type thing struct {
	repository string
	digest     bundle.Digest
}

// candidate is what a bundle brought that does not keep its images.
type candidate struct {
	key
	digest bundle.Digest
	source string
	bundle string
	wanted bool // the newest bundle could not have it, or has it somewhere
	ours   bool // a record tells that it was brought, and not found there
}

// knowledge is what the record says.
type knowledge struct {
	kept       []string
	candidates []candidate // tags that are to go
	things     []candidate // manifests that are, too, unless they have tags that stay

	listed  map[key]bool                      // names that bundles that keep their images have
	needed  map[string]map[bundle.Digest]bool // by repository; "" for anywhere
	bare    map[thing]bool                    // of these, what has no tag to hold it: Harbor removes it along with what it hangs from
	nowhere map[string]bool                   // PATH:TAG or PATH@DIGEST of what such bundles list, of which it is not known where it is
	missing []bundle.Missing                  // what they could not have
}

// entry is an entry of the record with the imports that it tells of.
type entry struct {
	*record.Entry
	imports []*record.Imported
}

// read works out what is to go.
func read(ctx context.Context, h *record.History, o Options) (*knowledge, error) {
	o.Observer.Phase("read the record", 0)
	entries, err := h.Entries(ctx)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, e := range entries {
		imports, err := e.Imports(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, entry{e, imports})
	}
	k := &knowledge{listed: map[key]bool{}, needed: map[string]map[bundle.Digest]bool{"": {}}, bare: map[thing]bool{}, nowhere: map[string]bool{}}
	isOurs := func(e entry) bool { return e.Header.Mirror == o.Mirror && e.number() > 0 }
	if !slices.ContainsFunc(all, func(e entry) bool { return isOurs(e) && e.Header.Sequence > 0 }) {
		return nil, fmt.Errorf("record %s: %w: %s", h, ErrNothingKnown, o.Mirror)
	}
	here, err := destination(all, isOurs, o.Destination)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", h, err)
	}
	kept, old := divide(all, here, o.Keep)
	for _, e := range kept {
		if isOurs(e) && e.Header.Sequence > 0 {
			k.kept = append(k.kept, e.Base().Name())
		}
		if err := k.keep(ctx, e); err != nil {
			return nil, err
		}
	}
	f := finder{k, o, here, map[key]*candidate{}, map[thing]*candidate{}}
	for _, e := range slices.Backward(old) {
		if !isOurs(e) {
			continue
		}
		if err := f.add(ctx, e); err != nil {
			return nil, err
		}
	}
	f.choose()
	return k, nil
}

// destination returns that of the imports that are meant. A record may be of several: what one of them got says nothing of another.
func destination(all []entry, isOurs func(entry) bool, d placing.Destination) (string, error) {
	var overlapping []string
	for _, e := range all {
		for _, i := range e.imports {
			isInside := i.WentTo(d.Registry) && (d.Prefix == "" || strings.HasPrefix(i.Destination+"/", d.String()+"/"))
			if isAround := strings.HasPrefix(d.String(), i.Destination+"/"); isOurs(e) && (isInside || isAround) {
				overlapping = append(overlapping, i.Destination)
			}
		}
	}
	slices.Sort(overlapping)
	overlapping = slices.Compact(overlapping)
	switch {
	case len(overlapping) == 0 || slices.Contains(overlapping, d.String()):
		return d.String(), nil
	case len(overlapping) > 1:
		return "", fmt.Errorf("%w: %s", ErrSeveral, strings.Join(overlapping, ", "))
	}
	return overlapping[0], nil
}

// divide tells bundles that keep their images from others. Of each mirror, those are the newest ones of which everything was brought,
// all that are newer than these, and the one that was brought last, if that was an older one. A supplement goes with the bundle that it
// completes. What is of no mirror keeps them always.
func divide(all []entry, here string, keep int) (kept, old []entry) {
	whole := map[string][]uint64{} // the sequences of those that count, by mirror
	last := map[string]entry{}
	for _, e := range all {
		mirror := e.Header.Mirror
		before, known := last[mirror]
		if whole := e.wholeAt(here); e.Header.Sequence > 0 && whole != nil && (!known || whole.Finished.After(before.wholeAt(here).Finished)) {
			last[mirror] = e
		}
	}
	for _, e := range all {
		mirror, sequence := e.Header.Mirror, e.number()
		counted := whole[mirror]
		isLast := last[mirror].Entry != nil && last[mirror].number() == sequence
		if sequence > 0 && len(counted) >= keep && counted[len(counted)-1] != sequence && !isLast {
			old = append(old, e)
			continue
		}
		kept = append(kept, e)
		if e.Header.Sequence > 0 && e.wholeAt(here) != nil && !slices.Contains(counted, sequence) {
			whole[mirror] = append(counted, sequence)
		}
	}
	return kept, old
}

// number is that of the bundle or, of a supplement, of what it completes; 0 for none.
func (e entry) number() uint64 {
	if e.Header.Completes != nil {
		return e.Header.Completes.Sequence
	}
	return e.Header.Sequence
}

// wholeAt is the last import that brought everything to a destination; nil where there was none.
func (e entry) wholeAt(destination string) *record.Imported {
	for _, i := range slices.Backward(e.imports) {
		if i.IsWhole() && i.Destination == destination {
			return i
		}
	}
	return nil
}

// keep protects what a bundle lists.
func (k *knowledge) keep(ctx context.Context, e entry) error {
	contents, err := e.Contents(ctx)
	if err != nil {
		return err
	}
	k.missing = append(k.missing, contents.Missing...)
	placed := make([]bool, contents.Header.Counts.Roots)
	for _, i := range e.imports {
		err := i.Placed(ctx, contents, func(p record.Placed) error {
			if p.Outcome == record.LeftOut {
				return nil
			}
			placed[p.Root] = true
			if p.Tag != "" {
				k.listed[key{p.Repository, p.Tag}] = true
			} else {
				k.bare[thing{p.Repository, p.Digest}] = true
			}
			k.need(p.Repository, contents, p.Root)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for row, root := range contents.Roots() {
		if !placed[row] {
			k.nowhere[root.Destination()] = true
			k.bare[thing{"", root.Digest}] = root.Tag == ""
			k.need("", contents, row)
		}
	}
	return nil
}

// need protects what hangs from a root in a repository.
func (k *knowledge) need(repository string, contents *bundle.Contents, root int) {
	if k.needed[repository] == nil {
		k.needed[repository] = map[bundle.Digest]bool{}
	}
	for _, m := range contents.RootManifests(root) {
		k.needed[repository][m.Digest] = true
	}
}

func (k *knowledge) isNeeded(repository string, d bundle.Digest) bool {
	return k.needed[repository][d] || k.needed[""][d]
}

// isMissing tells whether a bundle that keeps its images could not have what a root names.
func (k *knowledge) isMissing(root *bundle.Root) bool {
	return slices.ContainsFunc(k.missing, func(m bundle.Missing) bool {
		below := func(name, of string) bool {
			rest, found := strings.CutPrefix(name, of)
			return found && (rest == "" || strings.ContainsAny(rest[:1], "/:@"))
		}
		switch {
		case m.Tag != "":
			return m.Path == root.Path && m.Tag == root.Tag || m.Source == root.Source
		case m.Path != "":
			return below(root.Path, m.Path) || below(root.Source, m.Source)
		}
		return below(root.Source, m.Source)
	})
}

// finder finds what old bundles brought.
type finder struct {
	*knowledge
	options Options
	here    string // see destination
	tags    map[key]*candidate
	all     map[thing]*candidate
}

// add takes in what a bundle brought; the oldest comes first.
func (f *finder) add(ctx context.Context, e entry) error {
	if !slices.ContainsFunc(e.imports, f.wentHere) {
		return nil
	}
	contents, err := e.Contents(ctx)
	if err != nil {
		return err
	}
	for _, i := range e.imports {
		if !f.wentHere(i) {
			continue
		}
		err := i.Placed(ctx, contents, func(p record.Placed) error {
			if p.Outcome != record.LeftOut && f.isBelow(p.Repository) {
				f.addPlaced(e, contents, p)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *finder) wentHere(i *record.Imported) bool { return i.Destination == f.here }

func (f *finder) isBelow(repository string) bool {
	prefix := f.options.Destination.Prefix
	return prefix == "" || strings.HasPrefix(repository, prefix+"/")
}

// addPlaced takes in a root.
func (f *finder) addPlaced(e entry, contents *bundle.Contents, p record.Placed) {
	root := contents.Root(p.Root)
	c := candidate{
		key: key{p.Repository, p.Tag}, digest: p.Digest, source: root.Source, bundle: e.Base().Name(),
		wanted: f.isMissing(&root) || f.nowhere[root.Destination()],
	}
	if p.Tag != "" {
		f.tags[c.key] = c.after(f.tags[c.key], p)
	}
	at := thing{p.Repository, p.Digest}
	c.wanted = c.wanted || slices.ContainsFunc(contents.RootManifests(p.Root), func(m bundle.ManifestRow) bool {
		return f.bare[thing{p.Repository, m.Digest}] || f.bare[thing{"", m.Digest}]
	})
	f.all[at] = c.after(f.all[at], p)
}

// after tells whether c was brought, given what is known of it from earlier imports: what was found at the target belongs to somebody
// else, unless one of these had brought it.
func (c candidate) after(before *candidate, p record.Placed) *candidate {
	same := before != nil && before.digest == c.digest
	c.ours = p.Outcome != record.Unchanged || same && before.ours
	c.wanted = c.wanted || same && before.wanted
	return &c
}

// choose decides what goes. A tag may go though something needs what it names, as that stays; an artifact may not.
func (f *finder) choose() {
	for _, c := range f.tags {
		if c.ours && !c.wanted && !f.listed[c.key] {
			f.candidates = append(f.candidates, *c)
		}
	}
	for _, c := range f.all {
		if c.ours && !c.wanted && !f.isNeeded(c.repository, c.digest) {
			f.things = append(f.things, *c)
		}
	}
	order := func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.repository, b.repository), cmp.Compare(a.tag, b.tag), bytes.Compare(a.digest[:], b.digest[:]))
	}
	slices.SortFunc(f.candidates, order)
	slices.SortFunc(f.things, order)
}
