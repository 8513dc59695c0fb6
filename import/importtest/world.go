// Package importtest makes bundles and clients for the tests of import and of its stages.
package importtest

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
	"airgap/bundle/platform"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// Media types of what the tests bring.
const (
	LayerType    = "application/vnd.oci.image.layer.v1.tar"
	ForeignType  = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	ConfigType   = "application/vnd.oci.image.config.v1+json"
	SigstoreType = bundle.MediaTypeSigstore
	SbomType     = "application/spdx+json"
)

// World is content in memory from which bundles are made.
type World struct {
	T         testing.TB
	Key       *signature.PrivateKey // that signs; Open believes the one of all tests
	Blobs     map[bundle.Digest][]byte
	Manifests map[bundle.Digest]bundle.Descriptor
	order     []bundle.Digest                       // of manifests
	cosign    map[bundle.Digest][]bundle.Descriptor // by subject
	suffixes  map[bundle.Digest]string              // of cosign tags, by manifest
	Images    []bundle.Image
	Plan      bundle.PlanOptions // of File; what is not set is as in a full bundle
	Random    *rand.ChaCha8
}

// NewWorld returns an empty World.
func NewWorld(t testing.TB) *World {
	return &World{
		Key: key, T: t, Blobs: map[bundle.Digest][]byte{}, Manifests: map[bundle.Digest]bundle.Descriptor{},
		cosign: map[bundle.Digest][]bundle.Descriptor{}, suffixes: map[bundle.Digest]string{},
		Random: rand.NewChaCha8([32]byte{}),
	}
}

// Blob keeps content.
func (w *World) Blob(mediaType string, content []byte) bundle.Descriptor {
	d := bundle.DigestOf(content)
	w.Blobs[d] = content
	return bundle.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

// Layer makes a layer of random bytes.
func (w *World) Layer(size int) bundle.Descriptor {
	content := make([]byte, size)
	_, _ = w.Random.Read(content)
	return w.Blob(LayerType, content)
}

// Manifest makes a manifest or an index.
func (w *World) Manifest(mediaType string, m bundle.Manifest) bundle.Descriptor {
	m.SchemaVersion, m.MediaType = 2, mediaType
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		w.T.Fatal(err)
	}
	d := w.Blob(mediaType, content)
	w.Manifests[d.Digest] = d
	w.order = append(w.order, d.Digest)
	return d
}

// Image makes an image whose config holds the given text.
func (w *World) Image(config string, layers ...bundle.Descriptor) bundle.Descriptor {
	c := w.Blob(ConfigType, fmt.Appendf(nil, `{"os":"linux","config":{"Labels":{"n":%q}}}`, config))
	return w.Manifest(bundle.MediaTypeOCIManifest, bundle.Manifest{Config: &c, Layers: layers})
}

// Referrer makes an artifact with the empty config, which lies in the head of every bundle.
func (w *World) Referrer(subject bundle.Descriptor, artifactType, content string) bundle.Descriptor {
	empty := w.Blob(bundle.MediaTypeEmptyJSON, []byte("{}"))
	m := bundle.Manifest{
		ArtifactType: artifactType, Config: &empty, Layers: []bundle.Descriptor{w.Blob(artifactType, []byte(content))},
		Annotations: map[string]string{"org.example.content": content},
	}
	if !subject.Digest.IsZero() {
		m.Subject = &bundle.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	}
	return w.Manifest(bundle.MediaTypeOCIManifest, m)
}

// CosignTag puts a manifest under the tag of cosign for a subject; suffix is .sig, .att or .sbom.
func (w *World) CosignTag(subject, manifest bundle.Descriptor, suffix string) {
	w.cosign[subject.Digest] = append(w.cosign[subject.Digest], manifest)
	w.suffixes[manifest.Digest] = suffix
}

// Root takes a manifest, with everything that hangs from it, into the bundle.
func (w *World) Root(source, path, tag string, d bundle.Descriptor) {
	image := bundle.Image{Root: bundle.Root{
		Source: source, Path: path, Tag: tag, MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
		ArtifactType: w.Parse(d.Digest).RecordedArtifactType(),
	}}
	reach := walk{World: w, image: &image, seen: map[string]bool{}}
	reach.add(d, bundle.ManifestRow{Via: bundle.ViaRoot})
	w.Images = append(w.Images, image)
}

// Parse reads a manifest of the world.
func (w *World) Parse(d bundle.Digest) *bundle.Manifest {
	m, err := bundle.ParseManifest(w.Manifests[d].MediaType, w.Blobs[d])
	if err != nil {
		w.T.Fatal(err)
	}
	return m
}

type walk struct {
	*World
	image *bundle.Image
	seen  map[string]bool
}

func (w walk) add(d bundle.Descriptor, row bundle.ManifestRow) {
	key := d.Digest.String() + string(row.Via) + row.Tag
	if w.seen[key] {
		return
	}
	w.seen[key] = true
	m := w.Parse(d.Digest)
	row.Digest, row.MediaType, row.Size = d.Digest, d.MediaType, d.Size
	row.ArtifactType, row.From = m.RecordedArtifactType(), "example.com/from"
	w.image.Manifests = append(w.image.Manifests, row)
	for _, child := range m.Children() {
		w.add(child, bundle.ManifestRow{Via: bundle.ViaChild})
	}
	for _, digest := range w.order {
		if s := w.Parse(digest).Subject; s != nil && s.Digest == d.Digest {
			w.add(w.Manifests[digest], bundle.ManifestRow{Via: bundle.ViaReferrersAPI, Subject: d.Digest})
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

// File makes the bundle.
func (w *World) File() string {
	w.T.Helper()
	options := w.Plan
	options.Created = time.Unix(1_700_000_000+int64(options.Sequence), 0)
	contents, err := bundle.Plan(w.Images, func(d bundle.Digest) (*bundle.Manifest, error) { return w.Parse(d), nil }, options)
	if err != nil {
		w.T.Fatal(err)
	}
	layout, err := bundle.NewLayout(contents, func(d bundle.Digest) ([]byte, error) { return signature.Sign(w.Key, d) })
	if err != nil {
		w.T.Fatal(err)
	}
	path := filepath.Join(w.T.TempDir(), "bundle.tar")
	file, err := bundle.CreateFile(path)
	if err != nil {
		w.T.Fatal(err)
	}
	out, err := bundle.Create(file, layout)
	if err != nil {
		w.T.Fatal(err)
	}
	for row, b := range contents.Blobs {
		if !layout.HasEntry(row) {
			continue
		}
		blob, err := out.Blob(row)
		if err != nil {
			w.T.Fatal(err)
		}
		if _, err := blob.Write(w.Blobs[b.Digest]); err != nil {
			w.T.Fatal(err)
		}
		if err := blob.Close(); err != nil {
			w.T.Fatal(err)
		}
	}
	if err := out.Commit(w.T.Context(), nil); err != nil {
		w.T.Fatal(err)
	}
	return path
}

// Open checks a bundle in a file.
func Open(t testing.TB, path string) *verify.Bundle {
	t.Helper()
	return OpenSignedBy(t, path, key)
}

// OpenSignedBy is Open of a bundle of another key.
func OpenSignedBy(t testing.TB, path string, by *signature.PrivateKey) *verify.Bundle {
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
	return check(t, sealed, verify.Trust{Policy: policy.OfKeys([]signature.PublicKey{by.Public()})})
}

// OpenPipe checks a bundle that comes through a pipe.
func OpenPipe(t testing.TB, path string) *verify.Bundle {
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
	return check(t, sealed, Trust())
}

// Trust believes the key of all tests.
func Trust() verify.Trust {
	return verify.Trust{Policy: policy.OfKeys([]signature.PublicKey{key.Public()})}
}

func check(t testing.TB, sealed *bundle.Sealed, trust verify.Trust) *verify.Bundle {
	t.Helper()
	b, err := verify.Open(t.Context(), sealed, trust)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Spoil changes a byte of content in a bundle.
func Spoil(t testing.TB, path string, content []byte) {
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

// Acme is a world with one of everything.
type Acme struct {
	*World
	Index, Amd64, Arm64, Tool, Report bundle.Descriptor
	Shared, Large, Foreign            bundle.Descriptor
	Sbom, sbomSignature, Signature    bundle.Descriptor
	CosignSig, cosignAtt              bundle.Descriptor
}

// NewAcme makes an Acme.
func NewAcme(t testing.TB) *Acme {
	a := &Acme{World: NewWorld(t)}
	w := a.World
	a.Shared, a.Large = w.Layer(200<<10), w.Layer(1200<<10)
	a.Foreign = bundle.Descriptor{MediaType: ForeignType, Digest: bundle.DigestOf([]byte("elsewhere")), Size: 9, URLs: []string{"https://example.com/layer"}}
	a.Amd64 = w.Image("amd64", a.Shared, a.Large, a.Foreign)
	a.Arm64 = w.Image("arm64", a.Shared, w.Layer(10<<10), a.Shared) // twice the same layer
	attestation := w.Image("attestation", w.Blob("application/vnd.in-toto+json", []byte(`{"attestation":true}`)))
	platform := func(d bundle.Descriptor, os, arch string) bundle.Descriptor {
		d.Platform = &platform.Platform{OS: os, Architecture: arch}
		return d
	}
	a.Index = w.Manifest(bundle.MediaTypeOCIIndex, bundle.Manifest{Manifests: []bundle.Descriptor{
		platform(a.Amd64, "linux", "amd64"), platform(a.Arm64, "linux", "arm64"), platform(attestation, "unknown", "unknown"),
	}})
	a.Sbom = w.Referrer(a.Amd64, SbomType, `{"sbom":"amd64"}`)
	a.sbomSignature = w.Referrer(a.Sbom, SigstoreType, `{"signature":"of the sbom"}`)
	for i := range 4 {
		a.Signature = w.Referrer(a.Index, SigstoreType, fmt.Sprintf(`{"signature":%d}`, i))
	}
	w.Manifest(bundle.MediaTypeOCIIndex, bundle.Manifest{ // an index that refers to what its child refers to
		ArtifactType: "application/vnd.example.collection", Subject: &bundle.Descriptor{MediaType: a.Index.MediaType, Digest: a.Index.Digest, Size: a.Index.Size},
		Manifests: []bundle.Descriptor{a.Signature},
	})
	a.CosignSig = w.Image("sig", w.Blob("application/vnd.dev.cosign.simplesigning.v1+json", []byte(`{"critical":{}}`)))
	a.cosignAtt = w.Image("att", w.Blob("application/vnd.dsse.envelope.v1+json", []byte(`{"payload":""}`)))
	w.CosignTag(a.Index, a.CosignSig, ".sig")
	w.CosignTag(a.Arm64, a.cosignAtt, ".att")
	a.Tool = w.Image("tool", a.Shared, w.Layer(50<<10))
	a.Report = w.Referrer(bundle.Descriptor{}, "application/vnd.example.report", "report")

	w.Root("docker.io/acme/app:1", "acme/app", "1", a.Index)
	w.Root("docker.io/acme/app:latest", "acme/app", "latest", a.Index)
	w.Root("ghcr.io/other/app:1", "other/app", "1", a.Index)
	w.Root("docker.io/acme/tool:2", "acme/tool", "2", a.Tool)
	w.Root("docker.io/acme/report@"+a.Report.Digest.String(), "acme/report", "", a.Report)
	return a
}
