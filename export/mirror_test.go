package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/export"
	"airgap/export/mirror"
	. "airgap/export/registry/registrytest"
	"airgap/export/registry/repository"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// mirrored is a registry whose images change from week to week, and the mirror that carries them.
type mirrored struct {
	*Server
	key    *signature.PrivateKey
	mirror *mirror.Mirror
	wishes mirror.Wishes
	dir    string
	images export.Requests

	volumes int64 // the size of each; 0: one file
}

// by believes bundles that one of the keys signed.
func by(keys ...signature.PublicKey) func(context.Context, *bundle.Head) error {
	return func(ctx context.Context, head *bundle.Head) error {
		_, err := verify.OpenHead(ctx, head, verify.Trust{Policy: policy.OfKeys(keys)})
		return err
	}
}

func newMirrored(t *testing.T, options ...Option) *mirrored {
	t.Helper()
	m := &mirrored{Server: New(t, options...), key: newKey(t), dir: t.TempDir()}
	m.mirror = &mirror.Mirror{
		Name: "dhi", Ledger: ledger.Ledger{Repository: ledger.Directory(filepath.Join(m.dir, "ledger"))}, Check: by(m.key.Public()),
	}
	m.image(t, "1", "base", "first")
	m.images = export.Requests{parse(t, m.Host()+"/acme/app:1")}
	return m
}

// image gives a tag an image with the given layers.
func (m *mirrored) image(t *testing.T, tag string, layers ...string) {
	t.Helper()
	config := m.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json", fmt.Appendf(nil, `{"architecture":"amd64","comment":%q}`, layers))
	image := bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config}
	for _, layer := range layers {
		image.Layers = append(image.Layers, m.AddBlob("acme/app", "application/vnd.oci.image.layer.v1.tar", contentOf(layer)))
	}
	content, err := json.Marshal(image)
	if err != nil {
		t.Fatal(err)
	}
	m.AddManifest("acme/app", tag, image.MediaType, content)
}

func contentOf(layer string) []byte { return []byte(strings.Repeat(layer+" ", 10_000)) }

func (m *mirrored) file(name string) string { return filepath.Join(m.dir, name) }

func (m *mirrored) options() export.Options {
	return export.Options{Created: time.Unix(1_700_000_000, 0), Mirror: m.mirror, Wishes: m.wishes}
}

func (m *mirrored) run(ctx context.Context, name string) (*export.Result, error) {
	return export.Run(ctx, patient(), m.images, export.SignedBy(m.key), export.ToFile(m.file(name)).InVolumes(m.volumes, nil), m.options())
}

// export makes the next bundle, and says which layers it stores.
func (m *mirrored) export(t *testing.T, name string) (*export.Result, string) {
	t.Helper()
	result, err := m.run(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return result, m.stored(t, name)
}

// stored says which layers a bundle stores, of those that are named after their numbers.
func (m *mirrored) stored(t *testing.T, name string) string {
	t.Helper()
	medium, err := bundle.OpenFile(m.file(name))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := bundle.Open(medium)
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Close()
	checked, err := verify.Open(t.Context(), sealed, verify.Trust{Policy: policy.OfKeys([]signature.PublicKey{m.key.Public()})})
	if err != nil {
		t.Fatal(err)
	}
	var layers []string
	for _, b := range checked.Contents().Blobs {
		for _, layer := range []string{"base", "first", "second", "third", "fourth"} {
			if b.Digest == bundle.DigestOf(contentOf(layer)) && b.IsStored() {
				layers = append(layers, layer)
			}
		}
	}
	slices.Sort(layers)
	return strings.Join(layers, " ")
}

func (m *mirrored) entries(t *testing.T) (sequences []uint64) {
	t.Helper()
	entries, err := m.mirror.Ledger.Entries(t.Context(), "dhi")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		sequences = append(sequences, e.Sequence)
	}
	return sequences
}

func basesOf(r *export.Result) string {
	var names []string
	for _, b := range r.Bases {
		names = append(names, b.Name())
	}
	return strings.Join(names, " ")
}

// The first bundle is whole, and those after it hold what is new; each names the bundles that store what it leaves out, and never one
// that left it out as well.
func TestNextBundleHoldsWhatIsNew(t *testing.T) {
	m := newMirrored(t)
	first, stored := m.export(t, "1.tar")
	if first.Sequence != 1 || stored != "base first" || len(first.Bases) > 0 || first.Mirror != "dhi" {
		t.Errorf("the first bundle is %s@%d, on %q, with %s", first.Mirror, first.Sequence, basesOf(first), stored)
	}
	m.image(t, "1", "base", "second")
	second, stored := m.export(t, "2.tar")
	if second.Sequence != 2 || stored != "second" || basesOf(second) != "dhi@1" || second.Bases[0].ManifestIndex != first.ManifestIndex {
		t.Errorf("the second bundle is %d, on %q, with %s", second.Sequence, basesOf(second), stored)
	}
	third, stored := m.export(t, "3.tar")
	if third.Sequence != 3 || stored != "" || basesOf(third) != "dhi@1 dhi@2" || third.Counts.Based != 3 || third.Images[0].NewBytes >= 10_000 || third.Images[0].BasedBytes == 0 {
		t.Errorf("the third bundle is %d, on %q, with %s: %+v %+v", third.Sequence, basesOf(third), stored, third.Counts, third.Images)
	}
	// What the newest bundle no longer lists may be gone at the target, and is carried again.
	m.image(t, "1", "first")
	fourth, stored := m.export(t, "4.tar")
	if stored != "first" {
		t.Errorf("the fourth bundle stands on %q, with %s", basesOf(fourth), stored)
	}
	m.wishes.Full = true
	if fifth, stored := m.export(t, "5.tar"); fifth.Sequence != 5 || len(fifth.Bases) > 0 || stored != "first" {
		t.Errorf("the full bundle is %d, on %q, with %s", fifth.Sequence, basesOf(fifth), stored)
	}
}

// A ledger in a registry and one in a directory make the same bundles, in files and in pipes.
func TestLedgersAreAlike(t *testing.T) {
	m := newMirrored(t)
	directory := m.mirror.Ledger
	inRegistry := ledger.Ledger{Repository: repository.New(patient(), New(t).Repo("airgap/ledger"))}
	for week, layer := range []string{"first", "second", "third"} {
		m.image(t, "1", "base", layer)
		m.mirror.Ledger = directory
		m.export(t, "directory.tar")
		m.mirror.Ledger = inRegistry
		var piped bytes.Buffer
		if _, err := export.Run(t.Context(), patient(), m.images, export.SignedBy(m.key), export.ToStream(&piped), m.options()); err != nil {
			t.Fatal(err)
		}
		if file, err := os.ReadFile(m.file("directory.tar")); err != nil || !bytes.Equal(file, piped.Bytes()) {
			t.Errorf("bundle %d is another one with the ledger in a registry (%v)", week+1, err)
		}
	}
}

// With tolerance any bundle may be lost: the next one leaves out only what was known before it, and is known since.
func TestTolerance(t *testing.T) {
	m := newMirrored(t)
	m.wishes.Tolerate = 1
	for i, week := range []struct{ layers, stored string }{
		{"base first", "base first"}, {"base first", "base first"}, {"base first second", "second"}, {"base first second", "second"}, {"base", ""},
		{"base second", "second"}, // which the newest bundle does not list, and so may be gone
	} {
		m.image(t, "1", strings.Fields(week.layers)...)
		if result, stored := m.export(t, "bundle.tar"); stored != week.stored {
			t.Errorf("bundle %d stores %q, want %q; it stands on %s", i+1, stored, week.stored, basesOf(result))
		}
	}
}

// failingPut is a ledger in which tags cannot be written, or after which something happens.
type failingPut struct {
	ledger.Directory
	before func() error
	after  func()
}

func (f *failingPut) PutManifest(ctx context.Context, o bundle.Object, tag string) error {
	if tag != "" && f.before != nil {
		if err := f.before(); err != nil {
			return err
		}
	}
	err := f.Directory.PutManifest(ctx, o, tag)
	if tag != "" && f.after != nil {
		f.after()
	}
	return err
}

// What fails before the number is taken takes none; and when another bundle has it meanwhile, the next run takes the next number,
// builds on that bundle, and fetches nothing twice.
func TestFailedExportTakesNoNumber(t *testing.T) {
	m := newMirrored(t)
	directory := m.mirror.Ledger.Repository.(ledger.Directory)
	broken := errors.New("the disk is broken")
	m.mirror.Ledger.Repository = &failingPut{Directory: directory, before: func() error { return broken }}
	if _, err := m.run(t.Context(), "a.tar"); !errors.Is(err, broken) || !strings.Contains(err.Error(), "run the same command again") {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.file("a.tar")); err == nil || len(m.entries(t)) > 0 {
		t.Errorf("a bundle without a number has its name (%v), or took one: %v", err, m.entries(t))
	}
	m.mirror.Ledger.Repository = directory
	other := m.images
	m.image(t, "other", "base", "second")
	m.images = export.Requests{parse(t, m.Host()+"/acme/app:other")}
	if b, stored := m.export(t, "b.tar"); b.Sequence != 1 || stored != "base second" {
		t.Errorf("the other bundle is %d, with %s", b.Sequence, stored)
	}
	m.images = other
	m.Forget()
	if a, stored := m.export(t, "a.tar"); a.Sequence != 2 || stored != "first" || basesOf(a) != "dhi@1" || a.Continued {
		t.Errorf("the bundle is %d, on %q, with %s (continued: %t)", a.Sequence, basesOf(a), stored, a.Continued)
	}
	if n := m.Count("GET", "/blobs/"); n > 0 {
		t.Errorf("%d blobs were fetched again", n)
	}
}

// What fails once the number is taken is finished by the same command, with that number; so it is where a later bundle has been made
// meanwhile, and where the images have changed.
func TestBundleWithNumberGetsItsName(t *testing.T) {
	m := newMirrored(t)
	directory := m.mirror.Ledger.Repository.(ledger.Directory)
	inTheWay := filepath.Join(m.file("a.tar"), "something")
	m.mirror.Ledger.Repository = &failingPut{Directory: directory, after: func() {
		if err := os.MkdirAll(inTheWay, 0o700); err != nil {
			t.Error(err)
		}
	}}
	if _, err := m.run(t.Context(), "a.tar"); err == nil {
		t.Fatal("no error")
	}
	m.mirror.Ledger.Repository = directory
	if got := m.entries(t); !slices.Equal(got, []uint64{1}) {
		t.Fatalf("the ledger has %v", got)
	}
	m.image(t, "1", "base", "second")
	if b, stored := m.export(t, "b.tar"); b.Sequence != 2 || stored != "second" {
		t.Errorf("the other bundle is %d, with %s", b.Sequence, stored)
	}
	if err := os.RemoveAll(m.file("a.tar")); err != nil {
		t.Fatal(err)
	}
	own := m.images
	m.images = export.Requests{parse(t, m.Host()+"/acme/app:1=elsewhere")}
	if _, err := m.run(t.Context(), "a.tar"); err == nil || !strings.Contains(err.Error(), "dhi@1, which is in the ledger") {
		t.Errorf("another command writes over a bundle that has a number: %v", err)
	}
	m.images = own
	a, stored := m.export(t, "a.tar")
	if a.Sequence != 1 || stored != "base first" || !a.Continued || !slices.Equal(m.entries(t), []uint64{1, 2}) {
		t.Errorf("the bundle is %d, with %s (continued: %t); the ledger has %v", a.Sequence, stored, a.Continued, m.entries(t))
	}
	if left, err := filepath.Glob(m.file("a.tar.*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if next, _ := m.export(t, "a.tar"); next.Sequence != 3 {
		t.Errorf("the next bundle is %d", next.Sequence)
	}
}

// A bundle in volumes gets its name as one in a file does, and its volumes can be built on.
func TestVolumesWithNumberGetTheirNames(t *testing.T) {
	m := newMirrored(t)
	directory := m.mirror.Ledger.Repository.(ledger.Directory)
	m.volumes = 1 << 16
	ctx, cancel := context.WithCancel(t.Context())
	m.mirror.Ledger.Repository = &failingPut{Directory: directory, after: cancel}
	if _, err := m.run(ctx, "a.tar"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.file("a.tar.0001")); err == nil || !slices.Equal(m.entries(t), []uint64{1}) {
		t.Fatalf("it was not cancelled when the ledger had the bundle: %v", m.entries(t))
	}
	m.mirror.Ledger.Repository = directory
	a, err := m.run(t.Context(), "a.tar")
	if err != nil || a.Sequence != 1 || !a.Continued || !slices.Equal(m.entries(t), []uint64{1}) {
		t.Fatalf("%+v, %v; the ledger has %v", a, err, m.entries(t))
	}
	if next, err := m.run(t.Context(), "b.tar"); err != nil || next.Sequence != 2 || basesOf(next) != "dhi@1" {
		t.Errorf("%+v, %v", next, err)
	}
}

// One number is for one bundle: of two exports at once the directory admits one, and of two that a registry could not tell apart the
// second fails, and takes the next number when it is run again.
func TestTwoExportsAtOnce(t *testing.T) {
	m := newMirrored(t)
	unlock, err := m.mirror.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.run(t.Context(), "a.tar"); !errors.Is(err, ledger.ErrBusy) {
		t.Errorf("%v, want %v", err, ledger.ErrBusy)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	server := New(t)
	m.mirror.Ledger.Repository = repository.New(patient(), server.Repo("airgap/ledger"))
	m.image(t, "other", "base", "second")
	m.Inject(On("GET", "/blobs/", Times(1, func(http.ResponseWriter, *http.Request, http.Handler) bool {
		faster := *m
		faster.images = export.Requests{parse(t, m.Host()+"/acme/app:other")}
		if _, err := faster.run(t.Context(), "faster.tar"); err != nil {
			t.Error(err)
		}
		return false
	})))
	if _, err := m.run(t.Context(), "slower.tar"); !errors.Is(err, ledger.ErrTaken) || !strings.Contains(err.Error(), "next number") {
		t.Fatalf("%v, want %v", err, ledger.ErrTaken)
	}
	if _, err := os.Stat(m.file("slower.tar")); err == nil {
		t.Error("the slower one has its name")
	}
	if slower, stored := m.export(t, "slower.tar"); slower.Sequence != 2 || stored != "first" {
		t.Errorf("the slower one is %d, with %s", slower.Sequence, stored)
	}
}

// since builds on what was named.
func since(t *testing.T, line string) mirror.Since {
	t.Helper()
	parsed, err := ledger.ParseLine(line)
	if err != nil {
		t.Fatal(err)
	}
	return mirror.Since{Line: parsed}
}

// head is a bundle to build on.
func (m *mirrored) head(t *testing.T, name string) mirror.Since {
	t.Helper()
	medium, err := bundle.OpenFile(m.file(name))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := bundle.Open(medium)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sealed.Close() })
	return mirror.Since{File: name, Head: &sealed.Head}
}

// What is named to build on is used, all of it together, and nothing else is.
func TestSince(t *testing.T) {
	m := newMirrored(t)
	first, _ := m.export(t, "1.tar") // base first
	m.image(t, "1", "base", "second")
	second, _ := m.export(t, "2.tar") // second
	m.image(t, "1", "third")
	m.export(t, "3.tar")
	m.image(t, "1", "base", "first", "second", "third")
	foreign := *m
	foreign.mirror = &mirror.Mirror{Name: "other", Ledger: m.mirror.Ledger, Check: m.mirror.Check}
	foreign.image(t, "foreign", "first")
	foreign.images = export.Requests{parse(t, m.Host()+"/acme/app:foreign")}
	foreign.export(t, "other.tar")
	for name, test := range map[string]struct {
		since         []mirror.Since
		stored, bases string
	}{
		"last":                {[]mirror.Since{{}}, "base first second", "dhi@3"},
		"by number":           {[]mirror.Since{since(t, "dhi@2")}, "first third", "dhi@1 dhi@2"},
		"by line":             {[]mirror.Since{since(t, ledger.LineOf("dhi", 1, first.ManifestIndex).String())}, "second third", "dhi@1"},
		"several":             {[]mirror.Since{since(t, "dhi@1"), since(t, "dhi@2"), {}}, "", "dhi@1 dhi@2 dhi@3"},
		"a file":              {[]mirror.Since{m.head(t, "2.tar")}, "first third", "dhi@1 dhi@2"},
		"of another mirror":   {[]mirror.Since{m.head(t, "other.tar")}, "base second third", "other@1"},
		"of another, by name": {[]mirror.Since{since(t, "other@1")}, "base second third", "other@1"},
	} {
		t.Run(name, func(t *testing.T) {
			planned := *m
			planned.wishes.Since = test.since
			plan, err := export.MakePlan(t.Context(), patient(), m.images, planned.options())
			if err != nil {
				t.Fatal(err)
			}
			defer plan.Close()
			var stored []string
			for _, layer := range []string{"base", "first", "second", "third"} {
				if row, _ := plan.Contents.Find(bundle.DigestOf(contentOf(layer))); plan.Contents.Blobs[row].IsStored() {
					stored = append(stored, layer)
				}
			}
			result, err := plan.Result()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(stored, " "); got != test.stored || basesOf(result) != test.bases || result.Sequence != 4 {
				t.Errorf("it stores %q on %q, want %q on %q", got, basesOf(result), test.stored, test.bases)
			}
		})
	}
	for name, test := range map[string]struct {
		since   mirror.Since
		problem error
		says    string
	}{
		"not in the ledger": {since(t, "dhi@9"), mirror.ErrUnknown, "dhi@9"},
		"another identity":  {since(t, ledger.LineOf("dhi", 1, second.ManifestIndex).String()), mirror.ErrBase, "not from this ledger"},
	} {
		m.wishes.Since = []mirror.Since{test.since}
		if _, err := m.run(t.Context(), "no.tar"); !errors.Is(err, test.problem) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
	}
	// A file says itself which number it has, and the ledger must know as much.
	m.wishes.Since = []mirror.Since{m.head(t, "3.tar")}
	m.mirror.Ledger.Repository = ledger.Directory(m.file("lost"))
	if _, err := m.run(t.Context(), "no.tar"); !errors.Is(err, mirror.ErrBase) || !strings.Contains(err.Error(), "only what is older") {
		t.Errorf("a lost ledger: %v", err)
	}
	m.wishes.Since = []mirror.Since{m.head(t, "1.tar")}
	m.key = newKey(t)
	m.mirror.Check = by(m.key.Public())
	if _, err := m.run(t.Context(), "no.tar"); !errors.Is(err, signature.ErrUntrustedKey) {
		t.Errorf("signed by somebody else: %v", err)
	}
}

// put puts a head into the ledger under any tag.
func (m *mirrored) put(t *testing.T, tag, mirrorName string, sequence uint64, key *signature.PrivateKey) {
	t.Helper()
	plan, err := export.MakePlan(t.Context(), patient(), m.images, export.Options{Created: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	plan.Contents.Header.Mirror, plan.Contents.Header.Sequence = mirrorName, sequence
	layout, err := bundle.NewLayout(plan.Contents, export.SignedBy(key).Sign)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.mirror.Ledger.Put(t.Context(), tag, layout.Artifact()); err != nil {
		t.Fatal(err)
	}
}

// What somebody else has put into the ledger is not built on, nor passed over in silence.
func TestHostileLedgers(t *testing.T) {
	for name, test := range map[string]struct {
		put     func(*mirrored)
		problem error
	}{
		"another key":    {func(m *mirrored) { m.put(t, "dhi-000001", "dhi", 1, newKey(t)) }, signature.ErrUntrustedKey},
		"another mirror": {func(m *mirrored) { m.put(t, "dhi-000001", "other", 1, m.key) }, bundle.ErrFormat},
		"another number": {func(m *mirrored) { m.put(t, "dhi-000007", "dhi", 1, m.key) }, bundle.ErrFormat},
		"no signature": {func(m *mirrored) {
			m.put(t, "dhi-000001", "dhi", 1, m.key)
			index, err := filepath.Glob(m.file("ledger/index.json"))
			if err != nil || len(index) != 1 {
				t.Fatal(index, err)
			}
			content, err := os.ReadFile(index[0])
			if err != nil {
				t.Fatal(err)
			}
			_, indexed, err := m.mirror.Ledger.Manifest(t.Context(), "dhi-000001")
			if err != nil {
				t.Fatal(err)
			}
			content = bytes.ReplaceAll(content, []byte(bundle.DigestOf(indexed).FallbackTag()), []byte("x"))
			if err := os.WriteFile(index[0], content, 0o600); err != nil {
				t.Fatal(err)
			}
		}, signature.ErrMissing},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirrored(t)
			test.put(m)
			if _, err := m.run(t.Context(), "bundle.tar"); !errors.Is(err, test.problem) {
				t.Errorf("%v, want %v", err, test.problem)
			}
			if left, _ := filepath.Glob(m.file("bundle.tar*")); len(left) > 0 {
				t.Errorf("%v is there", left)
			}
		})
	}
	m := newMirrored(t)
	m.put(t, bundle.SequenceTag("dhi", math.MaxUint64), "dhi", math.MaxUint64, m.key)
	if _, err := m.run(t.Context(), "bundle.tar"); err == nil || !strings.Contains(err.Error(), "last number") {
		t.Errorf("after the last number: %v", err)
	}
	// A key that was changed is named.
	m = newMirrored(t)
	m.export(t, "1.tar")
	old := m.key.Public()
	m.key = newKey(t)
	m.mirror.Check = by(m.key.Public(), old)
	if second, stored := m.export(t, "2.tar"); second.Sequence != 2 || stored != "" {
		t.Errorf("with a new key the bundle is %d, with %s", second.Sequence, stored)
	}
}
