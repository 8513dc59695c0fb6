package prune_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger/ledgertest"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/export/registry/repository"
	"airgap/import/importtest"
	"airgap/import/placing"
	"airgap/import/prune"
	"airgap/import/record"
	"airgap/import/target"
	"airgap/verify/signature"
)

type image = ledgertest.Image

// server is what both kinds of registries can do.
type server interface {
	Host() string
	AddBlob(repo, mediaType string, content []byte) bundle.Descriptor
	AddManifest(repo, tag, mediaType string, content []byte) bundle.Descriptor
}

// world is a target to which bundles are brought as import does it, in few words.
type world struct {
	t      *testing.T
	server server
	client *registry.Client
	harbor *harbor.Client
	repo   *repository.Repository // of the record
	brings int
}

func destination(t *testing.T, s server) placing.Destination {
	t.Helper()
	d, err := placing.ParseDestination(s.Host() + "/lab")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newWorld(t *testing.T, s server, c *registry.Client, h *harbor.Client) *world {
	t.Helper()
	where, err := record.Place(destination(t, s), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, s, c, h, repository.New(c, where), 0}
}

// bundles are for one test.
type carried struct {
	mirror   string
	sequence uint64
	missing  []bundle.Missing
	images   []image
	key      *signature.PrivateKey // nil: ledgertest.Key
	partial  bool
	killed   bool   // before it recorded what it did
	into     string // prefix; "" for lab
	failing  string // the tag of what did not meet the policy, and was left out
	// completes is the number of the bundle, if this is a supplement.
	completes uint64
}

// tags are those of a repository, as any client sees them.
func (w *world) tags(path string) map[string]bundle.Digest {
	w.t.Helper()
	found := map[string]bundle.Digest{}
	repo := w.repo.Name().Registry.Repo(path)
	tags, err := w.client.Tags(w.t.Context(), repo)
	if err != nil && !target.Absent(err) {
		w.t.Fatal(err)
	}
	for _, tag := range tags {
		d, err := w.client.Resolve(w.t.Context(), repo.Tag(tag))
		if err != nil {
			w.t.Fatal(err)
		}
		found[tag] = d.Digest
	}
	return found
}

// bring imports a bundle.
func (w *world) bring(c carried) {
	w.t.Helper()
	if c.key == nil {
		c.key = ledgertest.Key
	}
	header := &bundle.Header{Mirror: c.mirror, Sequence: c.sequence}
	if c.completes > 0 {
		header.Completes = &bundle.Base{ManifestIndex: bundle.DigestOf([]byte("completed")), Mirror: c.mirror, Sequence: c.completes, Created: "2023-11-07T00:00:00Z"}
	}
	a := ledgertest.Of(w.t, c.key, bundle.PlanOptions{Mirror: c.mirror, Sequence: c.sequence, Completes: header.Completes, Missing: c.missing}, c.images...)
	if err := record.Keep(w.t.Context(), w.repo, a, header); err != nil {
		w.t.Fatal(err)
	}
	var rows []record.Placed
	key := func(i image) string { return i.Path + "\x00" + i.Tag + "\x00" + i.Digest().String() }
	slices.SortFunc(c.images, func(a, b image) int { return strings.Compare(key(a), key(b)) })
	for i, image := range c.images {
		path := cmp.Or(c.into, "lab") + "/" + image.Path
		if c.failing == image.Tag && c.failing != "" {
			rows = append(rows, record.Placed{Root: i, Digest: image.Digest(), Outcome: record.LeftOut, Failing: true})
			continue
		}
		row := record.Placed{Root: i, Repository: path, Tag: image.Tag, Digest: image.Digest(), Outcome: record.New}
		switch old := w.tags(path)[image.Tag]; {
		case old == image.Digest():
			row.Outcome = record.Unchanged
		case !old.IsZero():
			row.Outcome, row.Before = record.Moved, old
		}
		w.put(path, image.Tag, image)
		rows = append(rows, row)
	}
	if c.killed {
		return
	}
	w.brings++
	i := record.Import{
		Bundle: a.Index.Digest, Mirror: c.mirror, Sequence: c.sequence, Destination: w.server.Host() + "/" + cmp.Or(c.into, "lab"),
		Finished: time.Unix(int64(1_700_000_000+w.brings), 0), Complete: true, Partial: c.partial,
	}
	if err := record.Done(w.t.Context(), w.repo, a.Index.Descriptor, i, slices.Values(rows)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(path, tag string, image image) {
	for _, child := range image.Children {
		w.put(path, "", child)
	}
	w.server.AddBlob(path, "application/vnd.oci.image.config.v1+json", image.Config())
	w.server.AddManifest(path, tag, image.MediaType(), image.Manifest())
}

func (w *world) run(o prune.Options) (*prune.Report, error) {
	w.t.Helper()
	h, err := record.Open(w.t.Context(), w.repo, ledgertest.Trust, "")
	if err != nil {
		w.t.Fatal(err)
	}
	o.Destination, o.Harbor = destination(w.t, w.server), w.harbor
	if o.Mirror == "" {
		o.Mirror = "dhi"
	}
	return prune.Run(w.t.Context(), h, w.client, o)
}

// expect prunes, and wants these tags to be left in lab/acme/app, and these to be reported.
func (w *world) expect(o prune.Options, tags string, statuses map[string]prune.Status) *prune.Report {
	w.t.Helper()
	r, err := w.run(o)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := strings.Join(slices.Sorted(maps.Keys(w.tags("lab/acme/app"))), " "); got != tags {
		w.t.Errorf("tags %s, want %s", got, tags)
	}
	found := map[string]prune.Status{}
	for _, row := range r.Rows {
		if row.Tag != "" {
			found[row.Tag] = row.Status
		}
	}
	if fmt.Sprint(found) != fmt.Sprint(statuses) {
		w.t.Errorf("%v, want %v", found, statuses)
	}
	return r
}

// at runs a test at both kinds of registries.
func at(t *testing.T, test func(*testing.T, *world)) {
	t.Run("registry", func(t *testing.T) {
		test(t, newWorld(t, registrytest.New(t, registrytest.AcknowledgeSubjects()), importtest.Client(), nil))
	})
	t.Run("Harbor", func(t *testing.T) {
		s := harbortest.New(t)
		s.AddProject(harbortest.Project{Name: "lab"})
		c := importtest.HarborClient(t, s.AddRobot("lab", "imp", harbortest.Push, harbortest.DeleteTag, harbortest.ReadArtifacts, harbortest.Delete))
		test(t, newWorld(t, s, c, importtest.HarborOf(t, c, s)))
	})
}

func named(tag, text string) image { return image{Path: "acme/app", Tag: tag, Text: text} }

func app(tag string) image { return named(tag, "app "+tag) }

func TestPruneRemovesWhatIsListedNoMore(t *testing.T) {
	at(t, func(t *testing.T, w *world) {
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1"), app("2"), named("latest", "old")}})
		w.bring(carried{mirror: "dhi", sequence: 2, images: []image{app("2"), app("3"), named("latest", "new")}})
		w.bring(carried{mirror: "dhi", sequence: 3, images: []image{app("3"), named("latest", "new")}})
		w.put("lab/acme/app", "theirs", named("theirs", "theirs"))

		shown := w.expect(prune.Options{}, "1 2 3 latest theirs", map[string]prune.Status{"1": prune.Remove})
		if !shown.DryRun || shown.Changed || !slices.Equal(shown.Kept, []string{"dhi@3", "dhi@2"}) || shown.Rows[0].Bundle != "dhi@1" {
			t.Errorf("%+v", shown)
		}
		done := w.expect(prune.Options{Delete: true}, "2 3 latest theirs", map[string]prune.Status{"1": prune.Removed})
		if !done.Changed {
			t.Error("nothing changed")
		}
		again := w.expect(prune.Options{Delete: true}, "2 3 latest theirs", map[string]prune.Status{"1": prune.Gone})
		if again.Changed {
			t.Error("it changed something again")
		}
		w.expect(prune.Options{Delete: true, Keep: 1}, "3 latest theirs", map[string]prune.Status{"1": prune.Gone, "2": prune.Removed})
		w.expectArtifacts(app("3"), named("", "new"), named("", "theirs"))
	})
}

// expectArtifacts wants no others to be in Harbor.
func (w *world) expectArtifacts(want ...image) {
	w.t.Helper()
	s, isHarbor := w.server.(*harbortest.Server)
	if !isHarbor {
		return
	}
	left := map[bundle.Digest]bool{}
	for _, d := range s.Artifacts("lab/acme/app") {
		left[d] = true
	}
	for _, image := range want {
		if !left[image.Digest()] {
			w.t.Errorf("the artifact of %q is gone", image.Text)
		}
		delete(left, image.Digest())
	}
	if len(left) > 0 {
		w.t.Errorf("%d artifacts are left that nobody lists", len(left))
	}
}

func TestPruneLeavesAlone(t *testing.T) {
	for what, test := range map[string]struct {
		more  []carried // between the first bundle, of 1 and 2, and the last two, which list 2 alone
		last  carried   // what is different in the last
		and   func(*world)
		tags  string
		moved bool
	}{
		"what a person has moved": {and: func(w *world) { w.put("lab/acme/app", "1", named("1", "theirs")) }, tags: "1 2", moved: true},
		"what another mirror lists": {
			more: []carried{{mirror: "other", sequence: 7, images: []image{app("1")}}}, tags: "1 2",
		},
		"what a bundle without a mirror lists": {more: []carried{{images: []image{app("1")}}}, tags: "1 2"},
		"an image that could not be had":       {last: carried{missing: []bundle.Missing{{Source: "docker.io/acme/app:1", Path: "acme/app", Tag: "1", Reason: "throttled"}}}, tags: "1 2"},
		"a repository that could not be listed": {
			last: carried{missing: []bundle.Missing{{Source: "docker.io/acme/app", Path: "acme/app", Reason: "throttled"}}}, tags: "1 2",
		},
		"a registry that could not be listed": {last: carried{missing: []bundle.Missing{{Source: "docker.io", Reason: "gone"}}}, tags: "1 2"},
		"what an import listed that was killed": {
			more: []carried{{mirror: "dhi", sequence: 9, killed: true, images: []image{app("1"), app("2")}}}, tags: "1 2",
		},
	} {
		t.Run(what, func(t *testing.T) {
			at(t, func(t *testing.T, w *world) {
				w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1"), app("2")}})
				for _, c := range test.more {
					w.bring(c)
				}
				w.bring(carried{mirror: "dhi", sequence: 2, images: []image{app("2")}})
				test.last.mirror, test.last.sequence, test.last.images = "dhi", 3, []image{app("2")}
				w.bring(test.last)
				if test.and != nil {
					test.and(w)
				}
				want := map[string]prune.Status{}
				if test.moved {
					want["1"] = prune.Moved
				}
				w.expect(prune.Options{Delete: true}, test.tags, want)
			})
		})
	}
}

// Neighbours of what could not be had are no reason to keep something.
func TestPruneIsNotFooledByNames(t *testing.T) {
	at(t, func(t *testing.T, w *world) {
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1"), app("2")}})
		missing := []bundle.Missing{{Source: "docker.io/acme/application", Path: "acme/application", Reason: "x"}, {Source: "docker.io/acme/app:11", Path: "acme/app", Tag: "11", Reason: "x"}, {Source: "docker.io.example", Reason: "x"}}
		w.bring(carried{mirror: "dhi", sequence: 2, images: []image{app("2")}, missing: missing})
		w.expect(prune.Options{Delete: true, Keep: 1}, "2", map[string]prune.Status{"1": prune.Removed})
	})
}

// A tag goes, what it names stays where something that is listed needs it, and what was at the target before is not ours.
func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	at(t, func(t *testing.T, w *world) {
		w.put("lab/acme/app", "theirs", app("1"))
		same := named("one", "app 1")
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1"), same, named("theirs", "app 1")}})
		w.bring(carried{mirror: "dhi", sequence: 2, images: []image{same}})
		w.expect(prune.Options{Delete: true, Keep: 1}, "one theirs", map[string]prune.Status{"1": prune.Removed})
		w.expectArtifacts(same)
	})
}

// Harbor removes the children of an index with it, unless something holds them: a bundle that lists one by its digest alone does not.
func TestPruneKeepsWhatHasNoTag(t *testing.T) {
	at(t, func(t *testing.T, w *world) {
		child := image{Path: "acme/app", Text: "child"}
		index := named("1", "index")
		index.Children = []image{child}
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{index, app("2")}})
		w.bring(carried{mirror: "dhi", sequence: 2, images: []image{child}})
		w.expect(prune.Options{Delete: true, Keep: 1}, "", map[string]prune.Status{"1": prune.Removed, "2": prune.Removed})
		w.expectArtifacts(child, index)
	})
}

// Two destinations may share a record: what one of them got says nothing of the other.
func TestPruneOfOneDestination(t *testing.T) {
	s := registrytest.New(t, registrytest.AcknowledgeSubjects())
	w := newWorld(t, s, importtest.Client(), nil)
	for sequence := range uint64(3) {
		w.bring(carried{mirror: "dhi", sequence: sequence + 1, images: []image{app("all"), app(strconv.FormatUint(sequence+1, 10))}})
	}
	for sequence := range uint64(3) {
		w.bring(carried{mirror: "dhi", sequence: sequence + 4, images: []image{app("all")}, into: "prod"})
	}
	w.expect(prune.Options{Delete: true}, "2 3 all", map[string]prune.Status{"1": prune.Removed})
	h, err := record.Open(t.Context(), w.repo, ledgertest.Trust, "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := placing.ParseDestination(s.Host())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prune.Run(t.Context(), h, w.client, prune.Options{Mirror: "dhi", Destination: d, Delete: true}); !errors.Is(err, prune.ErrSeveral) || !strings.Contains(err.Error(), s.Host()+"/prod") {
		t.Error(err)
	}
}

// A supplement keeps its images as long as the bundle that it completes keeps those.
func TestPruneOfSupplements(t *testing.T) {
	at(t, func(t *testing.T, w *world) {
		bare := func(text string) image { return image{Path: "acme/app", Text: text} }
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1"), app("both")}})
		w.bring(carried{mirror: "dhi", sequence: 2, images: []image{app("2"), app("both")}})
		w.bring(carried{mirror: "dhi", sequence: 3, images: []image{app("3")}})
		w.bring(carried{mirror: "dhi", completes: 4, images: []image{bare("app 4")}})
		w.bring(carried{mirror: "dhi", completes: 2, images: []image{bare("app 2")}})
		w.bring(carried{mirror: "dhi", completes: 1, images: []image{bare("app 1"), bare("app both")}})
		w.expect(prune.Options{Delete: true}, "2 3 both", map[string]prune.Status{"1": prune.Removed})
		w.expectArtifacts(bare("app 2"), bare("app 3"), bare("app 4"), bare("app both"))
		w.expect(prune.Options{Delete: true, Keep: 1}, "3", map[string]prune.Status{"1": prune.Gone, "2": prune.Removed, "both": prune.Removed})
		w.expectArtifacts(bare("app 3"), bare("app 4"))
	})
}

func TestPruneCountsWholeBundles(t *testing.T) {
	at(t, func(t *testing.T, w *world) {
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1")}})
		w.bring(carried{mirror: "dhi", sequence: 2, images: []image{app("2")}})
		w.bring(carried{mirror: "dhi", sequence: 3, images: []image{app("3")}, partial: true})
		w.expect(prune.Options{Delete: true}, "1 2 3", map[string]prune.Status{})
		w.bring(carried{mirror: "dhi", sequence: 4, images: []image{app("4")}})
		w.expect(prune.Options{Delete: true}, "2 3 4", map[string]prune.Status{"1": prune.Removed})
		// An older bundle that was let in is what is there now.
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1")}})
		w.expect(prune.Options{Delete: true, Keep: 1}, "1 4", map[string]prune.Status{"2": prune.Removed, "3": prune.Removed})
	})
}

// What was left out because it did not meet the policy is not withdrawn: what is there of it from before stays, and the bundle counts as
// one that was brought.
func TestPruneKeepsWhatFailed(t *testing.T) {
	at(t, func(t *testing.T, w *world) {
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1"), app("2")}})
		w.bring(carried{mirror: "dhi", sequence: 2, images: []image{named("1", "fails")}, failing: "1"})
		w.bring(carried{mirror: "dhi", sequence: 3, images: []image{named("1", "fails again"), app("3")}, failing: "1"})
		w.expect(prune.Options{Delete: true, Keep: 1}, "1 3", map[string]prune.Status{"2": prune.Removed})
		w.expectArtifacts(app("1"), app("3"))
	})
}

func TestPruneWantsToKnowAllKeys(t *testing.T) {
	stranger, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	at(t, func(t *testing.T, w *world) {
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1")}})
		w.bring(carried{mirror: "dhi", sequence: 2, images: []image{app("2")}})
		w.bring(carried{mirror: "other", sequence: 1, images: []image{app("1")}, key: stranger})
		shown, err := w.run(prune.Options{Keep: 1})
		if err != nil || !slices.Equal(shown.Doubts, []string{"other-000001"}) {
			t.Error(shown, err)
		}
		if _, err := w.run(prune.Options{Keep: 1, Delete: true}); !errors.Is(err, prune.ErrDoubtful) || len(w.tags("lab/acme/app")) != 2 {
			t.Error(err)
		}
		if _, err := w.run(prune.Options{Mirror: "none"}); !errors.Is(err, prune.ErrNothingKnown) {
			t.Error(err)
		}
	})
}

// An interrupted prune is run again, and comes to the same end.
func TestInterruptedPrune(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab"})
	robot := s.AddRobot("lab", "imp", harbortest.Push, harbortest.DeleteTag, harbortest.ReadArtifacts, harbortest.Delete)
	client := importtest.HarborClient(t, robot)
	for deletions := range 4 {
		w := newWorld(t, s, client, importtest.HarborOf(t, client, s))
		w.repo = repository.New(client, w.repo.Name().Registry.Repo("lab", fmt.Sprint("record", deletions)))
		w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1"), app("2"), app("3")}})
		w.bring(carried{mirror: "dhi", sequence: 2, images: []image{app("3")}})
		ctx, kill := context.WithCancel(t.Context())
		left := deletions
		s.Inject(registrytest.On("DELETE", "", func(http.ResponseWriter, *http.Request, http.Handler) bool {
			if left--; left < 0 {
				kill()
			}
			return false
		}))
		h, err := record.Open(t.Context(), w.repo, ledgertest.Trust, "")
		if err != nil {
			t.Fatal(err)
		}
		o := prune.Options{Mirror: "dhi", Destination: destination(t, s), Harbor: w.harbor, Keep: 1, Delete: true, Jobs: 1}
		_, err = prune.Run(ctx, h, client, o)
		kill()
		if deletions < 4 && err == nil && left < 0 {
			t.Error("not interrupted")
		}
		if _, err := w.run(prune.Options{Keep: 1, Delete: true}); err != nil {
			t.Fatal(err)
		}
		if tags := s.Tags("lab/acme/app"); len(tags) != 1 {
			t.Errorf("after %d deletions: %v", deletions, tags)
		}
		w.expectArtifacts(app("3"))
	}
}

func TestPruneSaysWhatItMayNot(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab"})
	c := importtest.HarborClient(t, s.AddRobot("lab", "imp", harbortest.Push))
	w := newWorld(t, s, c, importtest.HarborOf(t, c, s))
	w.bring(carried{mirror: "dhi", sequence: 1, images: []image{app("1")}})
	w.bring(carried{mirror: "dhi", sequence: 2, images: []image{app("2")}})
	r, err := w.run(prune.Options{Keep: 1, Delete: true})
	if !errors.Is(err, prune.ErrNotPruned) || !strings.Contains(err.Error(), `permission "delete" of "tag"`) || r.Rows[0].Status != prune.Failed {
		t.Error(err)
	}
	if len(s.Tags("lab/acme/app")) != 2 {
		t.Error("something is gone")
	}
}
