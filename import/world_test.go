package importer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/verify"
	"airgap/verify/signature"
)

const (
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	foreignType  = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	configType   = "application/vnd.oci.image.config.v1+json"
	sigstoreType = bundle.MediaTypeSigstore
	sbomType     = "application/spdx+json"
)

// world is content in memory from which bundles are made.
type world struct {
	t         testing.TB
	blobs     map[bundle.Digest][]byte
	manifests map[bundle.Digest]bundle.Descriptor
	order     []bundle.Digest                       // of manifests
	cosign    map[bundle.Digest][]bundle.Descriptor // by subject
	suffixes  map[bundle.Digest]string              // of cosign tags, by manifest
	images    []bundle.Image
	random    *rand.ChaCha8
}

func newWorld(t testing.TB) *world {
	return &world{
		t: t, blobs: map[bundle.Digest][]byte{}, manifests: map[bundle.Digest]bundle.Descriptor{},
		cosign: map[bundle.Digest][]bundle.Descriptor{}, suffixes: map[bundle.Digest]string{},
		random: rand.NewChaCha8([32]byte{}),
	}
}

func (w *world) blob(mediaType string, content []byte) bundle.Descriptor {
	d := bundle.DigestOf(content)
	w.blobs[d] = content
	return bundle.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

func (w *world) layer(size int) bundle.Descriptor {
	content := make([]byte, size)
	_, _ = w.random.Read(content)
	return w.blob(layerType, content)
}

func (w *world) manifest(mediaType string, m bundle.Manifest) bundle.Descriptor {
	m.SchemaVersion, m.MediaType = 2, mediaType
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		w.t.Fatal(err)
	}
	d := w.blob(mediaType, content)
	w.manifests[d.Digest] = d
	w.order = append(w.order, d.Digest)
	return d
}

func (w *world) image(config string, layers ...bundle.Descriptor) bundle.Descriptor {
	c := w.blob(configType, fmt.Appendf(nil, `{"os":"linux","config":{"Labels":{"n":%q}}}`, config))
	return w.manifest(bundle.MediaTypeOCIManifest, bundle.Manifest{Config: &c, Layers: layers})
}

// referrer makes an artifact with the empty config, which lies in the head of every bundle.
func (w *world) referrer(subject bundle.Descriptor, artifactType, content string) bundle.Descriptor {
	empty := w.blob(bundle.MediaTypeEmptyJSON, []byte("{}"))
	m := bundle.Manifest{
		ArtifactType: artifactType, Config: &empty, Layers: []bundle.Descriptor{w.blob(artifactType, []byte(content))},
		Annotations: map[string]string{"org.example.content": content},
	}
	if !subject.Digest.IsZero() {
		m.Subject = &bundle.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	}
	return w.manifest(bundle.MediaTypeOCIManifest, m)
}

func (w *world) cosignTag(subject, manifest bundle.Descriptor, suffix string) {
	w.cosign[subject.Digest] = append(w.cosign[subject.Digest], manifest)
	w.suffixes[manifest.Digest] = suffix
}

// root takes a manifest, with everything that hangs from it, into the bundle.
func (w *world) root(source, path, tag string, d bundle.Descriptor) {
	image := bundle.Image{Root: bundle.Root{
		Source: source, Path: path, Tag: tag, MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
		ArtifactType: w.parse(d.Digest).RecordedArtifactType(),
	}}
	reach := walk{world: w, image: &image, seen: map[string]bool{}}
	reach.add(d, bundle.ManifestRow{Via: bundle.ViaRoot})
	w.images = append(w.images, image)
}

func (w *world) parse(d bundle.Digest) *bundle.Manifest {
	m, err := bundle.ParseManifest(w.manifests[d].MediaType, w.blobs[d])
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

type walk struct {
	*world
	image *bundle.Image
	seen  map[string]bool
}

func (w walk) add(d bundle.Descriptor, row bundle.ManifestRow) {
	key := d.Digest.String() + string(row.Via) + row.Tag
	if w.seen[key] {
		return
	}
	w.seen[key] = true
	m := w.parse(d.Digest)
	row.Digest, row.MediaType, row.Size = d.Digest, d.MediaType, d.Size
	row.ArtifactType, row.From = m.RecordedArtifactType(), "example.com/from"
	w.image.Manifests = append(w.image.Manifests, row)
	for _, child := range m.Children() {
		w.add(child, bundle.ManifestRow{Via: bundle.ViaChild})
	}
	for _, digest := range w.order {
		if s := w.parse(digest).Subject; s != nil && s.Digest == d.Digest {
			w.add(w.manifests[digest], bundle.ManifestRow{Via: bundle.ViaReferrersAPI, Subject: d.Digest})
		}
	}
	for _, tagged := range w.cosign[d.Digest] {
		w.add(tagged, bundle.ManifestRow{Via: bundle.ViaCosignTag, Subject: d.Digest, Tag: d.Digest.FallbackTag() + w.suffixes[tagged.Digest]})
	}
}

// key signs all bundles of the tests.
var key = func() *signature.PrivateKey {
	k, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		panic(err)
	}
	return k
}()

// file makes the bundle.
func (w *world) file() string {
	w.t.Helper()
	contents, err := bundle.Plan(w.images, func(d bundle.Digest) (*bundle.Manifest, error) { return w.parse(d), nil },
		bundle.PlanOptions{Created: time.Unix(1_700_000_000, 0)})
	if err != nil {
		w.t.Fatal(err)
	}
	layout, err := bundle.NewLayout(contents, func(d bundle.Digest) ([]byte, error) { return signature.Sign(key, d) })
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "bundle.tar")
	file, err := bundle.CreateFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := bundle.Create(file, layout)
	if err != nil {
		w.t.Fatal(err)
	}
	for row, b := range contents.Blobs {
		if !layout.HasEntry(row) {
			continue
		}
		blob, err := out.Blob(row)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := blob.Write(w.blobs[b.Digest]); err != nil {
			w.t.Fatal(err)
		}
		if err := blob.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := out.Commit(w.t.Context(), nil); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// open checks a bundle in a file.
func open(t testing.TB, path string) *verify.Bundle {
	t.Helper()
	medium, err := bundle.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := bundle.Open(medium)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sealed.Close() })
	return check(t, sealed)
}

// openPipe checks a bundle that comes through a pipe.
func openPipe(t testing.TB, path string) *verify.Bundle {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	sealed, err := bundle.Open(bundle.FromReader(f))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sealed.Close() })
	return check(t, sealed)
}

func check(t testing.TB, sealed *bundle.Sealed) *verify.Bundle {
	t.Helper()
	b, err := verify.Open(t.Context(), sealed, verify.Policy{Keys: []signature.PublicKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spoil changes a byte of content in a bundle.
func spoil(t testing.TB, path string, content []byte) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(file, content)
	if at < 0 {
		t.Fatal("the content to be spoiled is not in the bundle")
	}
	file[at+len(content)/2] ^= 1
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
}

// acme is a world with one of everything.
type acme struct {
	*world
	index, amd64, arm64, tool, report bundle.Descriptor
	shared, large, foreign            bundle.Descriptor
	sbom, sbomSignature, signature    bundle.Descriptor
	cosignSig, cosignAtt              bundle.Descriptor
}

func newAcme(t testing.TB) *acme {
	a := &acme{world: newWorld(t)}
	w := a.world
	a.shared, a.large = w.layer(200<<10), w.layer(1200<<10)
	a.foreign = bundle.Descriptor{MediaType: foreignType, Digest: bundle.DigestOf([]byte("elsewhere")), Size: 9, URLs: []string{"https://example.com/layer"}}
	a.amd64 = w.image("amd64", a.shared, a.large, a.foreign)
	a.arm64 = w.image("arm64", a.shared, w.layer(10<<10), a.shared) // twice the same layer
	attestation := w.image("attestation", w.blob("application/vnd.in-toto+json", []byte(`{"attestation":true}`)))
	platform := func(d bundle.Descriptor, os, arch string) bundle.Descriptor {
		d.Platform = &bundle.Platform{OS: os, Architecture: arch}
		return d
	}
	a.index = w.manifest(bundle.MediaTypeOCIIndex, bundle.Manifest{Manifests: []bundle.Descriptor{
		platform(a.amd64, "linux", "amd64"), platform(a.arm64, "linux", "arm64"), platform(attestation, "unknown", "unknown"),
	}})
	a.sbom = w.referrer(a.amd64, sbomType, `{"sbom":"amd64"}`)
	a.sbomSignature = w.referrer(a.sbom, sigstoreType, `{"signature":"of the sbom"}`)
	for i := range 4 {
		a.signature = w.referrer(a.index, sigstoreType, fmt.Sprintf(`{"signature":%d}`, i))
	}
	w.manifest(bundle.MediaTypeOCIIndex, bundle.Manifest{ // an index that refers to what its child refers to
		ArtifactType: "application/vnd.example.collection", Subject: &bundle.Descriptor{MediaType: a.index.MediaType, Digest: a.index.Digest, Size: a.index.Size},
		Manifests: []bundle.Descriptor{a.signature},
	})
	a.cosignSig = w.image("sig", w.blob("application/vnd.dev.cosign.simplesigning.v1+json", []byte(`{"critical":{}}`)))
	a.cosignAtt = w.image("att", w.blob("application/vnd.dsse.envelope.v1+json", []byte(`{"payload":""}`)))
	w.cosignTag(a.index, a.cosignSig, ".sig")
	w.cosignTag(a.arm64, a.cosignAtt, ".att")
	a.tool = w.image("tool", a.shared, w.layer(50<<10))
	a.report = w.referrer(bundle.Descriptor{}, "application/vnd.example.report", "report")

	w.root("docker.io/acme/app:1", "acme/app", "1", a.index)
	w.root("docker.io/acme/app:latest", "acme/app", "latest", a.index)
	w.root("ghcr.io/other/app:1", "other/app", "1", a.index)
	w.root("docker.io/acme/tool:2", "acme/tool", "2", a.tool)
	w.root("docker.io/acme/report@"+a.report.Digest.String(), "acme/report", "", a.report)
	return a
}
