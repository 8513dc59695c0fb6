package judge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/platform"
	"airgap/verify/judge"
	"airgap/verify/party"
	"airgap/verify/signature"
)

// world is images in memory, and evidence of them.
type world struct {
	t         testing.TB
	blobs     map[bundle.Digest][]byte
	manifests map[bundle.Digest]bundle.Descriptor
	referrers map[bundle.Digest][]bundle.Descriptor // by subject
	images    []bundle.Image
	graph     *bundle.Graph
	reads     atomic.Int64 // of proofs
}

func newWorld(t testing.TB) *world {
	return &world{t: t, blobs: map[bundle.Digest][]byte{}, manifests: map[bundle.Digest]bundle.Descriptor{}, referrers: map[bundle.Digest][]bundle.Descriptor{}}
}

func (w *world) Graph() *bundle.Graph { return w.graph }

func (w *world) Manifest(d bundle.Digest) ([]byte, error) { return w.blobs[d], nil }

func (w *world) Proof(_ context.Context, row int) (io.ReadCloser, error) {
	w.reads.Add(1)
	return io.NopCloser(bytes.NewReader(w.blobs[w.graph.Contents().Blobs[row].Digest])), nil
}

func (w *world) blob(mediaType string, content []byte) bundle.Descriptor {
	d := bundle.DigestOf(content)
	w.blobs[d] = content
	return bundle.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

func (w *world) manifest(mediaType string, m bundle.Manifest) bundle.Descriptor {
	w.t.Helper()
	m.SchemaVersion, m.MediaType = 2, mediaType
	content, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	d := w.blob(mediaType, content)
	w.manifests[d.Digest] = d
	if m.Subject != nil {
		w.referrers[m.Subject.Digest] = append(w.referrers[m.Subject.Digest], d)
	}
	return d
}

// image makes an image, for linux/ARCH if arch is given.
func (w *world) image(name, arch string) bundle.Descriptor {
	config := w.blob("application/vnd.oci.image.config.v1+json", []byte(`{"name":"`+name+arch+`"}`))
	d := w.manifest(bundle.MediaTypeOCIManifest, bundle.Manifest{Config: &config, Layers: []bundle.Descriptor{w.blob("application/vnd.oci.image.layer.v1.tar", []byte("layer of "+name))}})
	if arch != "" {
		d.Platform = &platform.Platform{OS: "linux", Architecture: arch}
	}
	return d
}

func (w *world) index(children ...bundle.Descriptor) bundle.Descriptor {
	return w.manifest(bundle.MediaTypeOCIIndex, bundle.Manifest{Manifests: children})
}

// refer attaches blobs to a subject.
func (w *world) refer(subject bundle.Digest, layers ...bundle.Descriptor) bundle.Descriptor {
	config := w.blob(bundle.MediaTypeEmptyJSON, []byte("{}"))
	s := bundle.Descriptor{MediaType: bundle.MediaTypeOCIManifest, Digest: subject, Size: 1}
	if known, found := w.manifests[subject]; found {
		s = bundle.Descriptor{MediaType: known.MediaType, Digest: subject, Size: known.Size}
	}
	return w.manifest(bundle.MediaTypeOCIManifest, bundle.Manifest{ArtifactType: bundle.MediaTypeSigstore, Config: &config, Layers: layers, Subject: &s})
}

// sign attaches a signature.
func (w *world) sign(key *signature.PrivateKey, subject bundle.Digest) bundle.Descriptor {
	w.t.Helper()
	content, err := signature.Sign(key, subject)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.refer(subject, w.blob(bundle.MediaTypeSigstore, content))
}

// attest attaches a signed statement.
func (w *world) attest(key *signature.PrivateKey, subject bundle.Digest, predicateType, predicate string) bundle.Descriptor {
	w.t.Helper()
	content, err := signature.Attest(key, subject, predicateType, json.RawMessage(predicate))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.refer(subject, w.blob(bundle.MediaTypeSigstore, content))
}

// statement makes a BuildKit attestation manifest, as an index lists it.
func (w *world) statement(subject bundle.Digest, predicateType, predicate string) bundle.Descriptor {
	config := w.blob("application/vnd.oci.image.config.v1+json", []byte("{}"))
	layer := w.blob("application/vnd.in-toto+json", fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":[{"name":"x","digest":{"sha256":%q}}],"predicate":%s}`,
		predicateType, subject.Hex(), predicate))
	d := w.manifest(bundle.MediaTypeOCIManifest, bundle.Manifest{Config: &config, Layers: []bundle.Descriptor{layer}})
	d.Platform = &platform.Platform{OS: "unknown", Architecture: "unknown"}
	d.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject.String()}
	return d
}

// root takes an image, with all that hangs from it, as one that was asked for.
func (w *world) root(source string, d bundle.Descriptor) *bundle.Root {
	return w.selected(source, d, bundle.Digest{})
}

// selected is root for an index that was made of platforms of another one.
func (w *world) selected(source string, d bundle.Descriptor, original bundle.Digest) *bundle.Root {
	image := bundle.Image{Root: bundle.Root{Source: source, Path: "x/" + strconv.Itoa(len(w.images)), Tag: "1", MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Original: original}}
	if !original.IsZero() {
		image.Root.Platforms = []string{"linux/amd64"}
	}
	seen := map[bundle.Digest]bool{}
	var add func(d bundle.Descriptor, row bundle.ManifestRow)
	add = func(d bundle.Descriptor, row bundle.ManifestRow) {
		row.Digest, row.MediaType, row.Size, row.From = d.Digest, d.MediaType, d.Size, "example.com/x"
		m, err := bundle.ParseManifest(d.MediaType, w.blobs[d.Digest])
		if err != nil {
			w.t.Fatal(err)
		}
		row.ArtifactType = m.RecordedArtifactType()
		image.Manifests = append(image.Manifests, row)
		if seen[d.Digest] {
			return
		}
		seen[d.Digest] = true
		for _, child := range m.Manifests {
			if _, here := w.manifests[child.Digest]; here {
				add(child, bundle.ManifestRow{Via: bundle.ViaChild})
			}
		}
		for _, r := range w.referrers[d.Digest] {
			add(r, bundle.ManifestRow{Via: bundle.ViaReferrersAPI, Subject: d.Digest})
		}
	}
	add(d, bundle.ManifestRow{Via: bundle.ViaRoot})
	for _, r := range w.referrers[original] {
		add(r, bundle.ManifestRow{Via: bundle.ViaReferrersAPI, Subject: original})
	}
	w.images = append(w.images, image)
	return &w.images[len(w.images)-1].Root
}

// plan makes the tables and the graph.
func (w *world) plan() {
	w.t.Helper()
	read := func(d bundle.Digest) (*bundle.Manifest, error) {
		return bundle.ParseManifest(w.manifests[d].MediaType, w.blobs[d])
	}
	contents, err := bundle.Plan(w.images, read, bundle.PlanOptions{Created: time.Unix(1, 0)})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.graph, err = bundle.NewGraph(w.t.Context(), contents, read); err != nil {
		w.t.Fatal(err)
	}
}

func generate(t testing.TB) *signature.PrivateKey {
	t.Helper()
	key, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func partyOf(name string, keys ...*signature.PrivateKey) party.Party {
	p := party.Party{Name: name}
	for _, key := range keys {
		p.Keys = append(p.Keys, party.Key{PublicKey: key.Public()})
	}
	return p
}

var _ judge.Evidence = &world{}
