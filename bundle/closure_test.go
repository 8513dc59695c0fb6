package bundle_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"airgap/bundle"
	"airgap/bundle/platform"
	"airgap/bundle/tree"
)

// nested has an image under a chain of indexes of the given length, all of which one more index may list as well.
func nested(depth int, listed bool) *world {
	w := &world{blobs: map[bundle.Digest][]byte{}}
	chain := []bundle.Descriptor{w.manifest(image(w.add([]byte("{}")), w.add([]byte("layer"))), bundle.MediaTypeOCIManifest)}
	index := func(children ...bundle.Descriptor) bundle.Descriptor {
		return w.manifest(object{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": children}, bundle.MediaTypeOCIIndex)
	}
	for range depth {
		chain = append(chain, index(chain[len(chain)-1]))
	}
	if listed {
		chain = append(chain, index(chain...))
	}
	root := chain[len(chain)-1]
	image := bundle.Image{Root: bundle.Root{Source: "docker.io/acme/deep:1", Path: "acme/deep", Tag: "1", MediaType: root.MediaType, Digest: root.Digest, Size: root.Size}}
	for _, d := range chain {
		via := bundle.ViaChild
		if d.Digest == root.Digest {
			via = bundle.ViaRoot
		}
		image.Manifests = append(image.Manifests, bundle.ManifestRow{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, Via: via, From: "docker.io/acme/deep"})
	}
	w.images = append(w.images, image)
	return w
}

func graphOf(t *testing.T, b []byte) (*bundle.Graph, error) {
	t.Helper()
	sealed, err := bundle.Open(bundle.FromReaderAt(bytes.NewReader(b), int64(len(b))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sealed.Close() })
	r, err := sealed.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Walk(t.Context())
}

func TestDepthIsLimited(t *testing.T) {
	if _, err := graphOf(t, nested(bundle.MaxDepth, false).stream(t)); err != nil {
		t.Errorf("as deep as is allowed: %v", err)
	}
	if _, err := graphOf(t, nested(bundle.MaxDepth+1, false).stream(t)); !errors.Is(err, bundle.ErrLimit) {
		t.Errorf("one deeper: %v", err)
	}
}

// The tree is drawn where things are nearest: were it drawn along the first way found, it would be as deep as the chain.
func TestTreeIsDrawnWhereThingsAreNearest(t *testing.T) {
	graph, err := graphOf(t, nested(2*bundle.MaxDepth, true).stream(t))
	if err != nil {
		t.Fatal(err)
	}
	tree := tree.Of(graph, 0)
	if len(tree.Children) != 2*bundle.MaxDepth+1 {
		t.Errorf("%d branches", len(tree.Children))
	}
	for i, child := range tree.Children {
		if child.Repeated || i > 0 && (len(child.Children) != 1 || !child.Children[0].Repeated || len(child.Children[0].Children) > 0) {
			t.Fatalf("branch %d: %+v", i, child)
		}
	}
}

// What one manifest has of branches is shown up to a number; the rest is counted.
func TestTreeCountsWhatItLeavesOut(t *testing.T) {
	w := newWorld()
	root := w.images[0].Root
	empty := w.add([]byte("{}"))
	for i := range 1200 {
		m := image(empty, w.add(fmt.Appendf(nil, "proof %d", i)))
		m["artifactType"], m["subject"] = "application/vnd.example", bundle.Descriptor{MediaType: root.MediaType, Digest: root.Digest, Size: root.Size}
		d := w.manifest(m, bundle.MediaTypeOCIManifest)
		w.images[0].Manifests = append(w.images[0].Manifests, bundle.ManifestRow{
			Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, ArtifactType: "application/vnd.example", Via: bundle.ViaReferrersAPI, Subject: root.Digest, From: "docker.io/acme/app",
		})
	}
	w.images = w.images[:1]
	graph, err := graphOf(t, w.stream(t))
	if err != nil {
		t.Fatal(err)
	}
	tree := tree.Of(graph, 0)
	if shown := len(tree.Children) + len(tree.Referrers); shown != 1000 || shown+tree.Omitted != 1203 {
		t.Errorf("%d branches are shown, %d left out", shown, tree.Omitted)
	}
}

// A graph with a way back to where it began is gone through once.
func TestTraverseEnds(t *testing.T) {
	next := map[string][]string{"subject": {"referrer", "subject"}, "referrer": {"child"}, "child": {"subject"}}
	var order []string
	err := bundle.Traverse("subject", func(node string) ([]string, error) {
		order = append(order, node)
		return next[node], nil
	})
	if fmt.Sprint(order) != "[subject referrer child]" || err != nil {
		t.Errorf("%v, %v", order, err)
	}
	stop := errors.New("stop")
	if err := bundle.Traverse(0, func(n int) ([]int, error) { return []int{n + 1}, stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// A bundle may have a million names: what each of them costs is bounded.
func TestNamesAreHeldPacked(t *testing.T) {
	const names = 50_000
	w := &world{blobs: map[bundle.Digest][]byte{}}
	m := w.manifest(image(w.add([]byte("{}")), w.add([]byte("layer"))), bundle.MediaTypeOCIManifest)
	for i := range names {
		path, tag := fmt.Sprintf("acme/app%05d", i/100), fmt.Sprintf("1.%d", i)
		w.images = append(w.images, bundle.Image{
			Root:      bundle.Root{Source: "docker.io/" + path + ":" + tag, Path: path, Tag: tag, MediaType: m.MediaType, Digest: m.Digest, Size: m.Size},
			Manifests: []bundle.ManifestRow{{Digest: m.Digest, MediaType: m.MediaType, Size: m.Size, Via: bundle.ViaRoot, From: "docker.io/" + path}},
		})
	}
	b := w.stream(t)
	sealed, err := bundle.Open(bundle.FromReaderAt(bytes.NewReader(b), int64(len(b))))
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	r, err := sealed.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	graph, err := r.Walk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if each := int64(heap()-before) / names; each > 150 {
		t.Errorf("%d bytes for each name", each)
	} else {
		t.Logf("%d bytes for each name", each)
	}
	if last := r.Contents().Root(names - 1); last.Source != w.images[names-1].Root.Source || last.Path != w.images[names-1].Root.Path || last.Tag != w.images[names-1].Root.Tag {
		t.Errorf("the last name is %+v", last)
	}
	runtime.KeepAlive(graph)
}

// heap is how much is held, in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestPlatformsAreFoundInTheTree(t *testing.T) {
	graph, err := graphOf(t, newWorld().stream(t))
	if err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[string]string{"linux/arm64/v8": "linux/arm64", "linux/x86_64": "linux/amd64", "linux/arm/v7": ""} {
		matcher, err := platform.Parse(asked)
		if err != nil {
			t.Fatal(err)
		}
		found := tree.Of(graph, 0).FindPlatform(matcher)
		if found == nil && want != "" || found != nil && found.Platform != want {
			t.Errorf("%s: %+v, want %q", asked, found, want)
		}
	}
}
