package importtest

import (
	"testing"

	"airgap/bundle"
)

// BaseOf names the bundle in a file.
func BaseOf(t testing.TB, path string) bundle.Base {
	t.Helper()
	b := Open(t, path)
	return b.Contents().Header.Base(b.ManifestIndex())
}

// BuildOn makes File leave out what the bundles in files, of which the first that lists a blob counts, say is stored.
func (w *World) BuildOn(paths ...string) {
	w.T.Helper()
	type known struct {
		name     bundle.Base
		contents *bundle.Contents
	}
	var bases []known
	for _, path := range paths {
		bases = append(bases, known{BaseOf(w.T, path), Open(w.T, path).Contents()})
	}
	w.Plan.StoredBy = func(d bundle.Digest, size int64) (bundle.Base, bool) {
		for _, base := range bases {
			if stored, found := base.contents.StoredBy(base.name, d, size); found {
				return stored, true
			}
		}
		return bundle.Base{}, false
	}
}

// Number makes File one of the mirror's bundles.
func (w *World) Number(mirror string, sequence uint64) {
	w.Plan.Mirror, w.Plan.Sequence = mirror, sequence
}

// Weekly is a mirror of a tool and an app, which is rebuilt upon the same layer each time; the first build of it stays.
type Weekly struct {
	*World
	Base  bundle.Descriptor   // a layer of all images
	Tops  []bundle.Descriptor // layers, by the sequence from 1
	Built []bundle.Descriptor // images, likewise
	Files []string            // bundles, likewise: the first is full, others build on the one before
}

// NewWeekly makes the bundles of so many weeks.
func NewWeekly(t testing.TB, weeks int) *Weekly {
	t.Helper()
	w := &Weekly{World: NewWorld(t)}
	w.Base = w.Layer(100 << 10)
	tool := w.Image("tool", w.Layer(70<<10))
	for week := range weeks {
		w.Tops = append(w.Tops, w.Layer(1000))
		built := w.Image("app", w.Base, w.Tops[week])
		w.Referrer(built, SbomType, built.Digest.String())
		w.Built = append(w.Built, built)
		w.Images = nil
		w.Root("docker.io/acme/app:1", "acme/app", "1", built)
		w.Root("docker.io/acme/app:first", "acme/app", "first", w.Built[0])
		w.Root("docker.io/acme/tool:1", "acme/tool", "1", tool)
		w.Number("acme", uint64(week+1))
		if week > 0 {
			w.BuildOn(w.Files[week-1])
		}
		w.Files = append(w.Files, w.File())
	}
	return w
}

// Supplement makes a bundle that brings images without tags, with all of their blobs, for the bundle in a file.
func (w *World) Supplement(completes, path string, images ...bundle.Descriptor) string {
	w.T.Helper()
	base := BaseOf(w.T, completes)
	of := &World{T: w.T, Key: w.Key, Blobs: w.Blobs, Manifests: w.Manifests, Plan: bundle.PlanOptions{Mirror: base.Mirror, Completes: &base}}
	for _, image := range images {
		of.Root("docker.io/"+path+"@"+image.Digest.String(), path, "", image)
	}
	return of.File()
}
