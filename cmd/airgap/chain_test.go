package main

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/verify/signature"
)

// chain is bundles of a source that changes from week to week, and what the source was in each.
type chain struct {
	*world
	key, public, ledger string
	weeks               []week
}

type week struct {
	*bundletest.Snapshot
	file     string // builds on the week before
	tolerant string // builds on what was known a week earlier: --tolerate 1
	whole    string // file, joined with all that it stands on
}

// newChain exports the first weeks of a series.
func newChain(t *testing.T, weeks int) *chain {
	t.Helper()
	c := &chain{world: newWorld(t)}
	c.key, c.public, c.ledger = filepath.Join(c.home, "airgap.key"), filepath.Join(c.home, "airgap.pub"), filepath.Join(c.home, "ledger")
	c.writeKeys(t)
	series := bundletest.NewSeries(bundletest.StartRegistry(t, true))
	for n := range weeks {
		w := week{Snapshot: series.Advance(t), file: c.path("week-%d.tar", n+1), tolerant: c.path("tolerant-%d.tar", n+1), whole: c.path("whole-%d.tar", n+1)}
		export := append([]string{"export", "--mirror", "weekly", "--key", c.key}, w.References()...)
		c.expect(t, exitOK, "", append(export, "--ledger", c.ledger, "-o", w.file)...)
		c.expect(t, exitOK, "", append(export, "--ledger", c.path("tolerant"), "--tolerate", "1", "-o", w.tolerant)...)
		join := []string{"join", w.file, "--key", c.key, "-o", w.whole}
		for _, base := range c.basesOf(t, w.file) {
			join = append(join, "--base", c.weeks[base.Sequence-1].file)
		}
		if len(join) == 6 { // it leaves nothing out
			w.whole = w.file
		} else {
			c.expect(t, exitOK, "", join...)
		}
		c.weeks = append(c.weeks, w)
	}
	return c
}

func (c *chain) path(format string, args ...any) string {
	return filepath.Join(c.home, fmt.Sprintf(format, args...))
}

// opened reads a bundle, whose signature does not matter here.
func opened(t *testing.T, file string) *bundle.Reader {
	t.Helper()
	medium, err := bundle.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := bundle.Open(medium)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sealed.Close() })
	reader, err := sealed.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

func (c *chain) basesOf(t *testing.T, file string) []bundle.Base {
	t.Helper()
	return opened(t, file).Contents().Header.Bases
}

// lacks tells whether a target that has the weeks up to one stands without what the bundle of a later one leaves out.
func (c *chain) lacks(has, wants int) bool {
	there := map[bundle.Digest]bool{}
	if has > 0 {
		there = c.weeks[has-1].Layers()
	}
	before := c.weeks[wants-2].Layers()
	for layer := range c.weeks[wants-1].Layers() {
		if before[layer] && !there[layer] {
			return true
		}
	}
	return false
}

// far is a registry on the other side.
type far struct {
	bundletest.Target

	host   string
	flags  []string                                                                    // of the import
	writes func() int                                                                  // how many requests were to write
	remove func(repository, tag string, manifest bundle.Digest, blobs []bundle.Digest) // and collect garbage
}

// fars are the registries that chains are imported into, each new for every use.
var fars = map[string]func(*testing.T) *far{
	"go-containerregistry": func(t *testing.T) *far {
		s := registrytest.New(t, registrytest.Faults(registrytest.BlobsPerRepository()))
		f := &far{Target: bundletest.Target{URL: s.URL, Prefix: "mirror"}, host: s.Host()}
		f.writes = func() int {
			n := 0
			for _, r := range s.Requests() {
				if r.Method != http.MethodGet && r.Method != http.MethodHead {
					n++
				}
			}
			return n
		}
		f.remove = func(repository, tag string, manifest bundle.Digest, blobs []bundle.Digest) {
			for _, reference := range []string{tag, manifest.String()} {
				f.Do(t, http.MethodDelete, "/v2/"+repository+"/manifests/"+reference)
			}
			for _, d := range blobs {
				f.Do(t, http.MethodDelete, "/v2/"+repository+"/blobs/"+d.String())
			}
		}
		return f
	},
	"Harbor": func(t *testing.T) *far {
		s := harbortest.New(t)
		s.AddProject(harbortest.Project{Name: "mirror"})
		f := &far{
			Target: bundletest.Target{URL: s.URL, Prefix: "mirror", User: harbortest.Admin.Name, Password: harbortest.Admin.Secret},
			host:   s.Host(), flags: []string{"--username", harbortest.Admin.Name, "--password-stdin"},
		}
		f.writes = func() int { return len(s.Writes()) }
		f.remove = func(repository, _ string, manifest bundle.Digest, _ []bundle.Digest) {
			project, name, _ := strings.Cut(repository, "/")
			f.Do(t, http.MethodDelete, "/api/v2.0/projects/"+project+"/repositories/"+escapeTwice(name)+"/artifacts/"+manifest.String())
			s.Advance(24 * time.Hour)
			s.CollectGarbage(true)
		}
		return f
	},
}

// imports runs an import into a far registry. What is refused, is before the first writing request.
func (c *chain) imports(t *testing.T, f *far, code int, message, file string, more ...string) {
	t.Helper()
	before := f.writes()
	c.Stdin = strings.NewReader(f.Password)
	args := append([]string{"import", file, f.host + "/" + f.Prefix, "--key", c.public}, f.flags...)
	if c.expect(t, code, message, append(args, more...)...); t.Failed() {
		t.FailNow() // the rest would only follow from it
	}
	if after := f.writes(); code != exitOK && after != before {
		t.Errorf("%s was refused, after %d writing requests", filepath.Base(file), after-before)
	}
}

// arrives imports the bundle of a week, with a supplement where it leaves out what the registry lacks.
func (c *chain) arrives(t *testing.T, f *far, n int, isStranded bool) {
	t.Helper()
	if isStranded {
		want, supplement := c.path("want.json"), filepath.Join(t.TempDir(), "supplement.tar")
		c.imports(t, f, exitStranded, "weekly@", c.weeks[n-1].file, "--want", want)
		c.expect(t, exitOK, "", "export", "--want", want, "--ledger", c.ledger, "--key", c.key, "-o", supplement)
		c.expect(t, exitOK, "a supplement, with what was missing for weekly@"+strconv.Itoa(n)+" of ", "verify", supplement, "--key", c.public)
		c.imports(t, f, exitOK, "", supplement)
	}
	c.imports(t, f, exitOK, "", c.weeks[n-1].file)
	c.weeks[n-1].Compare(t, &f.Target)
}

// A chain of ten bundles over a source that changes. After every step the target is compared with a direct copy of the source at
// that time.
func TestChain(t *testing.T) {
	c := newChain(t, bundletest.Weeks)
	for name, start := range fars {
		t.Run(name, func(t *testing.T) {
			t.Run("in order, each twice, and none again", func(t *testing.T) { c.inOrder(t, start(t)) })
			for lost := 1; lost < len(c.weeks); lost++ {
				t.Run(fmt.Sprintf("without the %d. or too late", lost), func(t *testing.T) { c.without(t, start(t), lost) })
			}
			t.Run("any one lost, with --tolerate 1", func(t *testing.T) {
				for lost := 1; lost < len(c.weeks); lost++ {
					c.tolerates(t, start(t), lost)
				}
			})
			t.Run("by another key", func(t *testing.T) { c.byAnotherKey(t, start(t)) })
			t.Run("with deletions", func(t *testing.T) { c.withDeletions(t, start(t)) })
		})
	}
}

func (c *chain) inOrder(t *testing.T, f *far) {
	for n, w := range c.weeks {
		c.imports(t, f, exitOK, "", w.file)
		c.weeks[n].Compare(t, &f.Target)
		before := f.writes()
		c.imports(t, f, exitOK, "", w.file)
		if n := f.writes() - before; n > 0 {
			t.Errorf("%s for the second time took %d writing requests", filepath.Base(w.file), n)
		}
		if w.whole != w.file {
			c.imports(t, f, exitOK, "", w.whole) // the same bundle of the mirror
		}
	}
	for _, w := range c.weeks[:len(c.weeks)-1] {
		c.imports(t, f, exitReplay, "weekly@"+strconv.Itoa(len(c.weeks)), w.file)
	}
	c.weeks[len(c.weeks)-1].Compare(t, &f.Target)
}

// without has the weeks before one, and then those after it; when it is found in a drawer, it is too late for it.
func (c *chain) without(t *testing.T, f *far, lost int) {
	if lost > 1 {
		c.imports(t, f, exitOK, "", c.weeks[lost-2].whole)
		c.weeks[lost-2].Compare(t, &f.Target)
	}
	c.arrives(t, f, lost+1, c.lacks(lost-1, lost+1))
	c.imports(t, f, exitReplay, "weekly@"+strconv.Itoa(lost+1), c.weeks[lost-1].whole)
	c.weeks[lost].Compare(t, &f.Target)
	if lost+2 <= len(c.weeks) {
		c.arrives(t, f, lost+2, false)
	}
}

// tolerates has the weeks before one, and then those after it, which were made for that.
func (c *chain) tolerates(t *testing.T, f *far, lost int) {
	if lost > 1 {
		c.imports(t, f, exitOK, "", c.weeks[lost-2].whole)
	}
	for n := lost + 1; n <= min(lost+2, len(c.weeks)); n++ {
		c.imports(t, f, exitOK, "", c.weeks[n-1].tolerant)
		c.weeks[n-1].Compare(t, &f.Target)
	}
}

func (c *chain) byAnotherKey(t *testing.T, f *far) {
	other, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	resigned := func(file string) string {
		r := opened(t, file)
		contents := r.Contents()
		self := contents.Header.Base(r.ManifestIndex())
		remade := bundletest.Remake(t, read(t, file), func(d bundle.Digest) ([]byte, error) { return signature.Sign(other, d) }, bundle.PlanOptions{
			Mirror: contents.Header.Mirror, Sequence: contents.Header.Sequence, StoredBy: func(d bundle.Digest, size int64) (bundle.Base, bool) {
				base, found := contents.StoredBy(self, d, size)
				return base, found && base != self
			},
		})
		return c.write(t, "other.tar", string(remade.Bytes))
	}
	c.imports(t, f, exitOK, "", c.weeks[0].file)
	c.imports(t, f, exitUntrusted, "not signed by a trusted key", resigned(c.weeks[1].file))
	c.weeks[0].Compare(t, &f.Target)
	c.imports(t, f, exitOK, "", c.weeks[1].file)
	c.weeks[1].Compare(t, &f.Target)
}

// withDeletions loses an image between two bundles, with the layers that no other image of its repository needs.
func (c *chain) withDeletions(t *testing.T, f *far) {
	c.imports(t, f, exitOK, "", c.weeks[0].file)
	c.imports(t, f, exitOK, "", c.weeks[1].file)
	var blobs []bundle.Digest
	others := map[bundle.Digest]bool{}
	maps.Copy(others, c.weeks[0].Layers())
	for d := range c.weeks[1].Layers() {
		if !others[d] {
			blobs = append(blobs, d)
		}
	}
	f.remove("mirror/acme/db", "1", c.weeks[1].Images["acme/db:1"], blobs)
	c.arrives(t, f, 3, true)
	c.arrives(t, f, 4, false)
}
