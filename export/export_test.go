package export_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/export"
	"airgap/export/registry"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// loopback reaches the registries of a test.
func loopback() *registry.Client {
	return registry.New(registry.Config{Host: func(host string) registry.HostConfig {
		return registry.HostConfig{PlainHTTP: registry.IsLoopback(host)}
	}})
}

func newKey(t testing.TB) *signature.PrivateKey {
	t.Helper()
	key, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// requests asks for everything in the fixture that has a name of its own.
func requests(t testing.TB, fixture *bundletest.Fixture, host string) export.Requests {
	t.Helper()
	var requests export.Requests
	for _, root := range fixture.Roots() {
		requests = append(requests, parse(t, host+"/"+root.Reference()))
	}
	return requests
}

func parse(t testing.TB, s string) export.Request {
	t.Helper()
	request, err := export.ParseRequest(s)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// Everything that the fixture says hangs from its images is in the bundle, from registries with the referrers API and
// without, into a file and into a pipe, and both are the same bytes.
func TestEverythingIsCarried(t *testing.T) {
	fixture := bundletest.LoadFixture(t)
	for name, api := range map[string]bool{"referrers API": true, "fallback tags": false} {
		t.Run(name, func(t *testing.T) {
			images, attestations := bundletest.StartRegistry(t, api), bundletest.StartRegistry(t, api)
			fixture.Push(t, map[string]string{bundletest.Images: images, bundletest.Attestations: attestations})
			key := newKey(t)
			from, err := export.ParseAttestations([]string{images + "/acme/dhi-python=" + attestations + "/acme/dhi-python"}, false)
			if err != nil {
				t.Fatal(err)
			}
			options := export.Options{Walk: export.WalkOptions{Attestations: from}, Created: time.Unix(1_700_000_000, 0)}
			path := filepath.Join(t.TempDir(), "bundle.tar")
			ctx := context.Background()
			result, err := export.Run(ctx, loopback(), requests(t, fixture, images), export.SignedBy(key), export.ToFile(path), options)
			if err != nil {
				t.Fatal(err)
			}
			var piped bytes.Buffer
			if _, err := export.Run(ctx, loopback(), requests(t, fixture, images), export.SignedBy(key), export.ToStream(&piped), options); err != nil {
				t.Fatal(err)
			}
			written, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(written, piped.Bytes()) {
				t.Error("file and pipe differ")
			}
			medium, err := bundle.OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := bundle.Open(medium)
			if err != nil {
				t.Fatal(err)
			}
			defer sealed.Close()
			checked, err := verify.Open(ctx, sealed, verify.Trust{Policy: policy.OfKeys([]signature.PublicKey{key.Public()})})
			if err != nil {
				t.Fatal(err)
			}
			if err := checked.CheckBlobs(ctx, nil); err != nil {
				t.Fatal(err)
			}
			if result.ManifestIndex != checked.ManifestIndex() {
				t.Errorf("the export reports %s, the file has %s", result.ManifestIndex, checked.ManifestIndex())
			}
			compareWithFixture(t, fixture, images, checked.Contents())
		})
	}
}

// counts adds up the phases of a run.
type counts struct {
	mu    sync.Mutex
	phase string
	done  map[string]int64
}

func (c *counts) Phase(name string, _ int64) { c.Count(name, "", 0) }

func (c *counts) Count(name, thing string, _ int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = name + " " + thing
}

func (c *counts) Add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[c.phase] += n
}

func (*counts) Item(string) {}
func (*counts) Warn(string) {}

// Planning counts manifests, where bytes are not the work; fetching counts bytes.
func TestProgressCountsWhatIsWork(t *testing.T) {
	f := newFaulty(t)
	e := f.exporting(t, export.WalkOptions{}, "acme/app:1")
	c := &counts{done: map[string]int64{}}
	e.options.Observer = c
	result, err := e.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]int64{"find manifest": 2, "fetch ": result.Counts.StoredBytes}; !maps.Equal(c.done, want) {
		t.Errorf("%v, want %v", c.done, want)
	}
}

// compareWithFixture holds the tables against what the fixture's own reading of its manifests says.
func compareWithFixture(t *testing.T, fixture *bundletest.Fixture, host string, contents *bundle.Contents) {
	t.Helper()
	stored := map[string]bool{}
	for _, b := range contents.Blobs {
		if b.IsStored() {
			stored[b.Digest.String()] = true
		}
	}
	for _, root := range fixture.Roots() {
		at := -1
		for i, r := range contents.Roots() {
			if r.Source == host+"/"+root.Reference() {
				at = i
			}
		}
		if at < 0 {
			t.Errorf("%s is no root of the bundle", root.Reference())
			continue
		}
		closure := fixture.Closure(t, root)
		carried, tags := map[string]bool{}, map[string]string{root.Tag: contents.Root(at).Digest.String()}
		for _, row := range contents.RootManifests(at) {
			carried[row.Digest.String()] = true
			if row.Tag != "" {
				tags[row.Tag] = row.Digest.String()
			}
		}
		if !maps.Equal(tags, closure.Tags) {
			t.Errorf("%s: tags %v, want %v", root.Reference(), tags, closure.Tags)
		}
		if len(carried) != len(closure.Manifests) {
			t.Errorf("%s: %d manifests, want %d", root.Reference(), len(carried), len(closure.Manifests))
		}
		for _, m := range closure.Manifests {
			if !carried[m.Digest] {
				t.Errorf("%s: %s (%s) is not carried", root.Reference(), m.Digest, m.ArtifactType)
			}
		}
		for _, blob := range closure.Blobs {
			if !stored[blob] {
				t.Errorf("%s: blob %s is not stored", root.Reference(), blob)
			}
		}
	}
}
