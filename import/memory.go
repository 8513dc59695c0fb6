package importer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry/repository"
	"airgap/import/finding"
	"airgap/import/inventory"
	"airgap/import/placing"
	"airgap/import/record"
	"airgap/import/target"
	"airgap/verify"
)

// Recording says which bundles are refused, and what is kept of those that are not, in the record of the target.
type Recording struct {
	None  bool            // keep no record
	In    name.Repository // zero: of bundles of mirrors, where package record says; of others there is none
	Trust verify.Trust    // whose bundles are believed that the record has

	Mirror     string        // the only one whose bundles are imported; "" for any
	MaxAge     time.Duration // since the bundle was made; 0 for any
	AllowOlder bool          // import what the record speaks against

	Account string // who imports; "" where that is not known
	Version string // of this program
}

// place finds where the record is to be, and takes that among the repositories that something goes to; -1 where none is kept.
func (r Recording) place(header *bundle.Header, d placing.Destination, placed *placing.Placements) (at int32, err error) {
	where := r.In
	switch {
	case r.None, where == name.Repository{} && header.Mirror == "":
		return -1, nil
	case where == name.Repository{}:
		if where, err = record.Place(d, placed.Repos); err != nil {
			return -1, err
		}
	}
	return placed.Add(where), nil
}

// memory is what a target knows of earlier imports, and is told of this one.
type memory struct {
	inv       *inventory.Inventory
	options   Options
	started   time.Time
	at        int32 // place in inv.Repos; -1: no record is kept
	noPlace   error // why it could not be found out where the record is to be
	repo      *repository.Repository
	history   *record.History // nil where the record cannot be there yet
	overruled bool            // it spoke against the bundle
	kept      bool            // the bundle is in it
	planned   bundle.Digest   // what it was told of this import before tags moved; zero: nothing
	changed   bool            // something was written
}

func newMemory(inv *inventory.Inventory, t Target, at int32, noPlace error, o Options, started time.Time) *memory {
	m := &memory{inv: inv, options: o, started: started, at: at, noPlace: noPlace}
	if at >= 0 {
		m.repo = repository.New(t, inv.Repos[at])
	}
	return m
}

func (m *memory) header() *bundle.Header { return &m.inv.Contents.Header }

// admit refuses bundles that are not to be imported, and says what of the record is not believed.
func (m *memory) admit(ctx context.Context, unasked []bool, found *finding.List) (err error) {
	r := m.options.Recording
	if m.noPlace != nil {
		found.Block(finding.CheckRecord, m.options.Destination.String(), "the images go to several projects, and so the record of what is imported has no place by itself",
			"name its repository with --record, or keep none with --no-record")
	}
	if m.repo != nil && !unasked[m.at] {
		if m.history, err = record.Open(ctx, m.repo, r.Trust, ""); err != nil {
			return m.unreadable(err)
		}
	}
	m.overruled, err = m.history.Admit(ctx, m.header(), m.inv.Bundle.ManifestIndex(), record.Rules{
		Mirror: r.Mirror, MaxAge: r.MaxAge, Now: m.started, AllowOlder: r.AllowOlder,
	})
	if m.history == nil {
		return err
	}
	for _, doubt := range m.history.Doubts() {
		found.Warn(finding.CheckRecord, m.repo.String()+":"+doubt.Tag, "this bundle in the record is not believed: "+doubt.Reason.Error(),
			"name the key that signed it with --key as well, or find out who put it there")
	}
	if m.overruled {
		found.Warn(finding.CheckRecord, m.repo.String(), "the record has a newer bundle, or another one under this number, and it is imported all the same (--allow-older)", "")
	}
	return err
}

func (m *memory) unreadable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: without the record it is not known whether the bundle takes the target back: mend that, name another repository with --record, or do without (--no-record)", err)
}

// bytes returns about how many bytes the record grows by; 0 where nothing has to be done but, perhaps, to tell of this import.
func (m *memory) bytes() int64 {
	if m.repo == nil || m.inv.IsComplete() {
		return 0
	}
	const told, toldOfRoot = 4 << 10, 256 // more than most take
	return m.inv.Bundle.Artifact().Size() + told + toldOfRoot*int64(m.header().Counts.Roots)
}

// weigh says what the record, and what is lacking in it, means for what the survey has found.
func (m *memory) weigh(ctx context.Context, found *finding.List) error {
	if m.history == nil || m.header().Sequence == 0 {
		return nil
	}
	newest, err := m.history.Newest(ctx, m.header().Mirror)
	if err != nil {
		return m.unreadable(err)
	}
	isThere := func(t inventory.Tag) bool { return !t.Cosign && (!t.Old().IsZero() || t.IsRight()) }
	if len(newest) == 0 && slices.ContainsFunc(m.inv.Tags, isThere) {
		found.Warn(finding.CheckRecord, m.repo.String(), fmt.Sprintf("it has no bundle of %s, and tags of its images are at the target: whether this bundle is older than they are is not known", m.header().Mirror),
			"expect it of the first import that is recorded; otherwise find out who deleted the record, or whether it is elsewhere (--record)")
	}
	return m.returns(ctx, newest, found)
}

// maxReturns is how many bundles are looked at for images that are listed again.
const maxReturns = 10

// returns notes the tags that lead again to what an older bundle listed under them: that is for the source to decide.
func (m *memory) returns(ctx context.Context, newest []*record.Entry, found *finding.List) error {
	back := map[string]bundle.Digest{} // by path and tag in the bundle: what is at the target already, and tags move to
	for i := range m.inv.Images {
		image := &m.inv.Images[i]
		root := m.inv.Contents.Root(image.Root)
		t := inventory.FindTag(m.inv, image.Repo, image.Tag)
		if t != nil && t.Moves() && m.inv.State(inventory.Need{Row: t.Row, Repo: t.Repo}).IsThere() {
			back[root.Path+":"+root.Tag] = root.Digest
		}
	}
	if len(back) == 0 || len(newest) == 0 {
		return nil
	}
	entries, err := m.history.Entries(ctx)
	if err != nil {
		return m.unreadable(err)
	}
	entries = slices.DeleteFunc(entries, func(e *record.Entry) bool {
		return e.Header.Mirror != m.header().Mirror || e.Header.Sequence == 0 || e.Header.Sequence >= newest[0].Header.Sequence
	})
	for _, e := range entries[:min(len(entries), maxReturns)] {
		contents, err := e.Contents(ctx)
		if err != nil {
			return m.unreadable(err)
		}
		for _, root := range contents.Roots() {
			tag := root.Path + ":" + root.Tag
			if d, is := back[tag]; is && d == root.Digest {
				found.Note(finding.CheckRecord, tag, fmt.Sprintf("it is again what %s listed", e.Base().Name()))
				delete(back, tag)
			}
		}
	}
	return nil
}

// Bounds on what is asked of a record about where bundles went: so many bundles, and so many repositories, each of which costs
// questions.
const (
	maxEarlier      = 20
	maxEarlierRepos = 4000
)

// earlier returns the repositories to which earlier bundles went, first those on which this one stands. Nobody signs where they went:
// it is good for questions only.
func (m *memory) earlier(ctx context.Context) (repos []name.Repository, err error) {
	if m.history == nil {
		return nil, nil
	}
	entries, err := m.history.Entries(ctx)
	if err != nil {
		return nil, m.unreadable(err)
	}
	isBase := func(e *record.Entry) int {
		if slices.Contains(m.header().Bases, e.Base()) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(entries, func(a, b *record.Entry) int { return isBase(a) - isBase(b) })
	seen := map[string]bool{}
	for _, e := range entries[:min(len(entries), maxEarlier)] {
		err := m.placesOf(ctx, e, func(path string) {
			if !seen[path] && len(repos) < maxEarlierRepos {
				seen[path] = true
				repos = append(repos, m.repo.Name().Registry.Repo(path))
			}
		})
		if target.IsFinal(ctx, err) {
			return nil, err
		}
	}
	return repos, nil
}

// placesOf calls add for the repositories to which a bundle went, perhaps several times.
func (m *memory) placesOf(ctx context.Context, e *record.Entry, add func(path string)) error {
	imports, err := record.Imports(ctx, m.repo, e.ManifestIndex)
	if err != nil || len(imports) == 0 {
		return err
	}
	contents, err := e.Contents(ctx)
	if err != nil {
		return err
	}
	for _, i := range imports {
		err = errors.Join(err, i.Placed(ctx, contents, func(p record.Placed) error {
			if p.Outcome != record.LeftOut {
				add(p.Repository)
			}
			return nil
		}))
	}
	return err
}

// keep puts the bundle into the record, once: from now on older ones are refused.
func (m *memory) keep(ctx context.Context) error {
	if m.repo == nil || m.kept {
		return nil
	}
	m.options.Observer.Phase("record", 0)
	err := record.Keep(ctx, m.repo, m.inv.Bundle.Artifact(), m.header())
	m.kept = err == nil
	return err
}

// plan tells the record, before tags move, what this import is about to change: what it has moved would else look, if it is killed and
// run again, as if it had been there before.
func (m *memory) plan(ctx context.Context) error {
	if m.repo == nil {
		return nil
	}
	if err := m.keep(ctx); err != nil {
		return err
	}
	for p := range m.rows() {
		if p.Outcome == record.New || p.Outcome == record.Moved {
			var err error
			m.planned, err = record.Plan(ctx, m.repo, m.inv.Bundle.Artifact().Index.Descriptor, m.told(), m.rows())
			return err
		}
	}
	return nil
}

// told is what the record is told of this import.
func (m *memory) told() record.Import {
	header := m.header()
	return record.Import{
		Bundle: m.inv.Bundle.Artifact().Index.Digest, Mirror: header.Mirror, Sequence: header.Sequence, Destination: m.options.Destination.String(),
		Started: m.started, Finished: m.options.Now(), Account: m.options.Recording.Account, Version: m.options.Recording.Version,
		Partial: len(m.inv.Excluded) > 0, AllowedOlder: m.overruled, Plan: m.planned,
	}
}

// tell adds this import to the record, unless nothing was changed and that is told already. isComplete: everything was read back.
func (m *memory) tell(ctx context.Context, changed, isComplete bool) error {
	if m.repo == nil {
		return nil
	}
	artifact := m.inv.Bundle.Artifact()
	index := artifact.Index.Descriptor
	if !changed && isComplete {
		known, err := m.isTold(ctx, index.Digest)
		if err == nil && known && len(artifact.Beside) > 0 { // which may be new
			err = m.keep(ctx)
		}
		if err != nil || known {
			return err
		}
	}
	if err := m.keep(ctx); err != nil {
		return err
	}
	m.changed = true
	told := m.told()
	told.Complete = isComplete
	return record.Done(ctx, m.repo, index, told, m.rows())
}

// isTold tells whether the record has an import that brought as much of the bundle to the same destination.
func (m *memory) isTold(ctx context.Context, index bundle.Digest) (bool, error) {
	imports, err := record.Imports(ctx, m.repo, index)
	if err != nil {
		return false, err
	}
	var leftOut []int
	for p := range m.rows() {
		if p.Outcome == record.LeftOut {
			leftOut = append(leftOut, p.Root)
		}
	}
	for _, i := range imports {
		if !i.Complete || i.Destination != m.options.Destination.String() {
			continue
		}
		var there []int
		err := i.Placed(ctx, m.inv.Contents, func(p record.Placed) error {
			if p.Outcome == record.LeftOut {
				there = append(there, p.Root)
			}
			return nil
		})
		if err == nil && slices.Equal(there, leftOut) {
			return true, nil
		}
	}
	return false, nil
}

// rows yields where the roots of the bundle went, and what became of them.
func (m *memory) rows() iter.Seq[record.Placed] {
	return func(yield func(record.Placed) bool) {
		images := m.inv.Images
		for row, root := range m.inv.Contents.Roots() {
			p := record.Placed{Root: row, Digest: root.Digest, Outcome: record.LeftOut}
			_, p.Failing = slices.BinarySearch(m.inv.Failing, row)
			if len(images) > 0 && images[0].Root == row {
				m.fill(&p, images[0])
				images = images[1:]
			}
			if !yield(p) {
				return
			}
		}
	}
}

// fill says where an image went.
func (m *memory) fill(p *record.Placed, image placing.Image) {
	p.Repository, p.Tag, p.Outcome = m.inv.Repos[image.Repo].RepositoryStr(), image.Tag, record.Moved
	t := inventory.FindTag(m.inv, image.Repo, image.Tag)
	switch {
	case t == nil && m.inv.State(inventory.Need{Row: m.inv.Row(p.Digest), Repo: image.Repo}) == inventory.Present, t != nil && t.IsRight() && !t.IsMoved():
		p.Outcome = record.Unchanged
	case t == nil, t.Old().IsZero() && !t.IsHidden():
		p.Outcome = record.New
	default:
		p.Before = t.Old()
	}
}
