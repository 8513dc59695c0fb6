package importtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"airgap/export/registry"
	importer "airgap/import"
	"airgap/import/placing"
	"airgap/import/report"
)

// Release is a bundle of two images, of which the second is new in version 2. It has cosign tags, of which one is taken
// over by version 2.
func Release(t testing.TB, version int) (*World, *Carried) {
	w := NewWorld(t)
	app := w.Image(fmt.Sprint("app ", version), w.Layer(1000))
	w.CosignTag(app, w.Image(fmt.Sprint("sig ", version)), ".sig")
	w.Root("docker.io/acme/app:1", "acme/app", "1", app)
	w.Root("docker.io/acme/app:same", "acme/app", "same", w.Image("same"))
	if version == 2 {
		tool := w.Image("tool", w.Layer(2000))
		w.Root("docker.io/acme/tool:1", "acme/tool", "1", tool)
		w.Root("docker.io/acme/tool:latest", "acme/tool", "latest", tool)
	}
	return w, &Carried{T: t, path: w.File()}
}

// Carried is a bundle to be imported.
type Carried struct {
	T    testing.TB
	path string
}

// Into imports the bundle, and returns the report as it is read back from a file.
func (b *Carried) Into(c *registry.Client, destination string) *report.Imported {
	b.T.Helper()
	imported, err := report.Read(bytes.NewReader(b.ReportOf(c, destination)))
	if err != nil {
		b.T.Fatal(err)
	}
	return imported
}

// ReportOf imports the bundle, and returns the report as it is written to a file.
func (b *Carried) ReportOf(c *registry.Client, destination string) []byte {
	b.T.Helper()
	d, err := placing.ParseDestination(destination)
	if err != nil {
		b.T.Fatal(err)
	}
	done, err := importer.Run(b.T.Context(), Open(b.T, b.path), c, importer.Options{Rules: placing.Rules{Destination: d}, TempDir: b.T.TempDir()})
	if err != nil {
		b.T.Fatal(err)
	}
	content, err := json.MarshalIndent(done, "", "  ")
	if err != nil {
		b.T.Fatal(err)
	}
	return content
}
