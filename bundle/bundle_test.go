package bundle_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/archive"
	"airgap/bundle/disk"
	"airgap/bundle/platform"
)

// world is a small set of images, with their blobs.
type world struct {
	blobs   map[bundle.Digest][]byte
	images  []bundle.Image
	missing []bundle.Missing
	options bundle.PlanOptions // but for Created and Missing
}

func (w *world) add(content []byte) bundle.Descriptor {
	d := bundle.DigestOf(content)
	w.blobs[d] = content
	return bundle.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(len(content))}
}

// manifest adds a manifest and returns its descriptor.
func (w *world) manifest(m any, mediaType string) bundle.Descriptor {
	content, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	d := w.add(content)
	d.MediaType = mediaType
	return d
}

type object = map[string]any

func image(config bundle.Descriptor, layers ...bundle.Descriptor) object {
	return object{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIManifest, "config": config, "layers": layers}
}

// newWorld has an index with two platforms that share a layer, a referrer of one of them, a signature of the
// referrer, a cosign tag, and a second root that shares everything with the first.
func newWorld() *world {
	w := &world{blobs: map[bundle.Digest][]byte{}}
	shared := w.add(bytes.Repeat([]byte("layer "), 5000))
	foreign := bundle.Descriptor{MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar", Digest: bundle.DigestOf([]byte("foreign")), Size: 7}
	var platforms []bundle.Descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		m := w.manifest(image(w.add([]byte(`{"architecture":"`+arch+`"}`)), shared, foreign, w.add([]byte("own "+arch))), bundle.MediaTypeOCIManifest)
		m.Platform = &platform.Platform{OS: "linux", Architecture: arch}
		platforms = append(platforms, m)
	}
	index := w.manifest(object{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": platforms}, bundle.MediaTypeOCIIndex)
	empty := w.add([]byte("{}"))
	empty.MediaType = bundle.MediaTypeEmptyJSON
	referTo := func(subject bundle.Descriptor, artifactType, payload string) bundle.Descriptor {
		m := image(empty, w.add([]byte(payload)))
		m["artifactType"], m["subject"] = artifactType, subject
		d := w.manifest(m, bundle.MediaTypeOCIManifest)
		d.ArtifactType = artifactType
		return d
	}
	sbom := referTo(platforms[0], "application/spdx+json", "sbom")
	signature := referTo(sbom, "application/vnd.example.signature", "signature")
	tagged := w.manifest(image(empty, w.add([]byte("cosign"))), bundle.MediaTypeOCIManifest)

	row := func(d bundle.Descriptor, via bundle.Via, subject bundle.Digest, tag string) bundle.ManifestRow {
		return bundle.ManifestRow{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, ArtifactType: d.ArtifactType, Via: via, Subject: subject, Tag: tag, From: "docker.io/acme/app"}
	}
	rows := []bundle.ManifestRow{
		row(index, bundle.ViaRoot, bundle.Digest{}, ""),
		row(platforms[0], bundle.ViaChild, bundle.Digest{}, ""),
		row(platforms[1], bundle.ViaChild, bundle.Digest{}, ""),
		row(sbom, bundle.ViaReferrersAPI, platforms[0].Digest, ""),
		row(signature, bundle.ViaReferrersTag, sbom.Digest, ""),
		row(tagged, bundle.ViaCosignTag, index.Digest, index.Digest.FallbackTag()+".sig"),
	}
	for _, tag := range []string{"1", "latest"} {
		w.images = append(w.images, bundle.Image{
			Root:      bundle.Root{Source: "docker.io/acme/app:" + tag, Path: "acme/app", Tag: tag, MediaType: index.MediaType, Digest: index.Digest, Size: index.Size, Private: true},
			Manifests: rows,
		})
	}
	return w
}

func (w *world) plan(t testing.TB) *bundle.Layout {
	t.Helper()
	layout, err := w.tryPlan()
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

func (w *world) tryPlan() (*bundle.Layout, error) {
	options := w.options
	options.Created, options.Missing = time.Unix(1_700_000_000, 0), w.missing
	contents, err := bundle.Plan(w.images, w.parse, options)
	if err != nil {
		return nil, err
	}
	return bundle.NewLayout(contents, func(d bundle.Digest) ([]byte, error) { return []byte("signature of " + d.String()), nil })
}

// parse returns a manifest of the world.
func (w *world) parse(d bundle.Digest) (*bundle.Manifest, error) {
	mediaType := bundle.MediaTypeOCIManifest
	if bytes.Contains(w.blobs[d], []byte(`"manifests"`)) {
		mediaType = bundle.MediaTypeOCIIndex
	}
	return bundle.ParseManifest(mediaType, w.blobs[d])
}

// tryFile plans, writes and checks a bundle, and returns what is wrong with it.
func (w *world) tryFile(t testing.TB) error {
	t.Helper()
	if _, err := w.tryPlan(); err != nil {
		return err
	}
	return checkFile(w.stream(t))
}

// write writes all blobs in the given order of rows.
func (w *world) write(t testing.TB, writer *bundle.Writer, layout *bundle.Layout, backwards bool) {
	t.Helper()
	blobs := layout.Contents().Blobs
	for i := range blobs {
		row := i
		if backwards {
			row = len(blobs) - 1 - i
		}
		if !layout.HasEntry(row) {
			continue
		}
		out, err := writer.Blob(row)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(w.blobs[blobs[row].Digest]); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Commit(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
}

// createFile begins a bundle in a file.
func createFile(path string, l *bundle.Layout) (*bundle.Writer, error) {
	f, err := bundle.CreateFile(path)
	if err != nil {
		return nil, err
	}
	return bundle.Create(f, l)
}

func (w *world) stream(t testing.TB) []byte {
	t.Helper()
	layout := w.plan(t)
	var out bytes.Buffer
	writer, err := bundle.Create(bundle.NewStream(&out), layout)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, writer, layout, false)
	return out.Bytes()
}

// check reads a bundle as verify does, without the signature.
func check(sealed *bundle.Sealed) error {
	ctx := context.Background()
	r, err := sealed.Reader(ctx)
	if err != nil {
		return err
	}
	if _, err := r.Walk(ctx); err != nil {
		return err
	}
	if r.Sequential() {
		for {
			_, blob, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, blob); err != nil {
				return err
			}
		}
	}
	for row, b := range r.Contents().Blobs {
		if !b.IsStored() {
			continue
		}
		blob, err := r.Open(row)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, blob); err != nil {
			return err
		}
	}
	return nil
}

func checkFile(b []byte) error {
	sealed, err := bundle.Open(bundle.FromReaderAt(bytes.NewReader(b), int64(len(b))))
	if err != nil {
		return err
	}
	return check(sealed)
}

func checkPipe(b []byte) error {
	sealed, err := bundle.Open(bundle.FromReader(io.MultiReader(bytes.NewReader(b))))
	if err != nil {
		return err
	}
	return errors.Join(check(sealed), sealed.Close())
}

func TestFileAndStreamAreTheSameBytesAndReadBack(t *testing.T) {
	w := newWorld()
	streamed := w.stream(t)
	path := filepath.Join(t.TempDir(), "bundle.tar")
	layout := w.plan(t)
	writer, err := createFile(path, layout)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file has its name before it is complete: %v", err)
	}
	w.write(t, writer, layout, true)
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(streamed, written) {
		t.Error("file and stream differ")
	}
	if int64(len(written)) != layout.Size() {
		t.Errorf("the file has %d bytes, %d were planned", len(written), layout.Size())
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := checkFile(written); err != nil {
		t.Errorf("as a file: %v", err)
	}
	if err := checkPipe(written); err != nil {
		t.Errorf("as a pipe: %v", err)
	}
}

func TestTarIsReadByTheStandardLibrary(t *testing.T) {
	w := newWorld()
	r := tar.NewReader(bytes.NewReader(w.stream(t)))
	entries := map[string][]byte{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if entries[h.Name] != nil {
			t.Errorf("%s is stored twice", h.Name)
		}
		if entries[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	for d, content := range w.blobs {
		if !bytes.Equal(entries["blobs/sha256/"+d.Hex()], content) {
			t.Errorf("%s is not in the tar", d)
		}
	}
	var index struct {
		Manifests []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	if err := json.Unmarshal(entries["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range index.Manifests {
		names[m.Annotations["org.opencontainers.image.ref.name"]] = true
		if _, ok := entries["blobs/sha256/"+m.Digest[len("sha256:"):]]; !ok {
			t.Errorf("index.json lists %s, which is not in the tar", m.Digest)
		}
	}
	for _, want := range []string{"docker.io/acme/app:1", "docker.io/acme/app:latest"} {
		if !names[want] {
			t.Errorf("index.json does not name %s: %v", want, names)
		}
	}
}

// Every byte of a bundle is decided by the signed object, its signature and the blobs. So a change of any byte must
// be refused, except in the signature itself, which package verify checks.
func TestEveryChangedByteIsRefused(t *testing.T) {
	good := newWorld().stream(t)
	indexAt := bytes.Index(good, []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.airgap.bundle.v1"`))
	for at := range good {
		// After the first entries one byte in some is enough: every kind of entry and field is still hit.
		if at > 4<<10 && at%13 != 0 {
			continue
		}
		bad := bytes.Clone(good)
		bad[at] ^= 0x01
		err := checkFile(bad)
		if err == nil {
			t.Errorf("byte %d changed, and nothing noticed", at)
		} else if !errors.Is(err, bundle.ErrFormat) && !errors.Is(err, bundle.ErrDigest) && !errors.Is(err, bundle.ErrLimit) && !errors.Is(err, bundle.ErrUnsupported) {
			t.Errorf("byte %d changed: %v is none of the documented errors", at, err)
		}
		if at%31 == 0 {
			if err := checkPipe(bad); err == nil {
				t.Errorf("byte %d changed, and nothing noticed in a pipe", at)
			}
		}
	}
	if indexAt < 0 {
		t.Error("the manifest index is not where it should be")
	}
}

func TestLengthsAreRefused(t *testing.T) {
	good := newWorld().stream(t)
	for _, cut := range []int{1, 511, 512, 1024, 1536, 4096, len(good) / 2, len(good) - 512, len(good)} {
		bad := good[:len(good)-cut]
		if err := checkFile(bad); !errors.Is(err, bundle.ErrFormat) {
			t.Errorf("%d bytes short: %v", cut, err)
		}
		if err := checkPipe(bad); !errors.Is(err, bundle.ErrFormat) {
			t.Errorf("%d bytes short in a pipe: %v", cut, err)
		}
	}
	for _, more := range []int{1, 512, 1024} {
		bad := append(bytes.Clone(good), make([]byte, more)...)
		if err := checkFile(bad); !errors.Is(err, bundle.ErrFormat) {
			t.Errorf("%d bytes too many: %v", more, err)
		}
		if err := checkPipe(bad); !errors.Is(err, bundle.ErrFormat) {
			t.Errorf("%d bytes too many in a pipe: %v", more, err)
		}
	}
}

func TestWriterRefusesWrongContent(t *testing.T) {
	w := newWorld()
	layout := w.plan(t)
	path := filepath.Join(t.TempDir(), "bundle.tar")
	writer, err := createFile(path, layout)
	if err != nil {
		t.Fatal(err)
	}
	row := len(layout.Contents().Blobs) - 1
	size := layout.Contents().Blobs[row].Size
	for name, content := range map[string][]byte{"short": make([]byte, size-1), "wrong": make([]byte, size), "long": make([]byte, size+1)} {
		out, err := writer.Blob(row)
		if err != nil {
			t.Fatal(err)
		}
		_, err = out.Write(content)
		if err := errors.Join(err, out.Close()); !errors.Is(err, bundle.ErrDigest) {
			t.Errorf("%s content: %v", name, err)
		}
	}
	if err := writer.Commit(t.Context(), nil); err == nil {
		t.Error("a bundle without its blobs was committed")
	}
	if err := writer.Abort(); err != nil {
		t.Error(err)
	}
	left, _ := filepath.Glob(path + "*")
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCreateFollowsNoLinksAndLocks(t *testing.T) {
	w := newWorld()
	layout := w.plan(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "bundle.tar")
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, link := range map[string]func(string, string) error{"symbolic": os.Symlink, "hard": os.Link} {
		if err := link(victim, path+bundle.PartialSuffix); err != nil {
			t.Fatal(err)
		}
		if _, err := createFile(path, layout); err == nil {
			t.Errorf("a %s link was followed", name)
		}
		if content, _ := os.ReadFile(victim); string(content) != "precious" {
			t.Fatalf("a %s link led to the loss of another file", name)
		}
		_ = os.Remove(path + bundle.PartialSuffix)
	}
	writer, err := createFile(path, layout)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := createFile(path, layout); !errors.Is(err, disk.ErrBusy) {
		t.Errorf("two exports wrote the same file: %v", err)
	}
	if err := writer.Abort(); err != nil {
		t.Error(err)
	}
}

func TestWhatDoesNotBeginLikeABundle(t *testing.T) {
	good := newWorld().stream(t)
	expect := func(change, message string, at int) {
		t.Helper()
		b := bytes.Clone(good)
		copy(b[at:], change)
		if err := checkFile(b); !errors.Is(err, bundle.ErrFormat) || !strings.Contains(err.Error(), message) {
			t.Errorf("%v, want %q", err, message)
		}
	}
	expect(string(archive.Header("oci-layers", 30, 0)), `the first entry is "oci-layers", not oci-layout`, 0)
	expect(`{"imageLayoutVersion":"1.0.1"}`, `oci-layout says "{\"imageLayoutVersion\":\"1.0.1\"}"`, 512)
}

func TestPlanFindsCollisionsAndTwoSizes(t *testing.T) {
	manifest := func(bundle.Digest) (*bundle.Manifest, error) { return &bundle.Manifest{}, nil }
	a, b := newWorld().images[0], newWorld().images[1]
	b.Root.Tag, b.Root.Source, b.Root.Digest = a.Root.Tag, "docker.io/other/app:1", bundle.DigestOf([]byte("other"))
	if _, err := bundle.Plan([]bundle.Image{a, b}, manifest, bundle.PlanOptions{}); !errors.Is(err, bundle.ErrCollision) {
		t.Errorf("collision: %v", err)
	}
	tagged := newWorld().images[1]
	i := slices.IndexFunc(tagged.Manifests, func(r bundle.ManifestRow) bool { return r.Tag != "" })
	tagged.Manifests[i].Digest = bundle.DigestOf([]byte("another signature"))
	if _, err := bundle.Plan([]bundle.Image{a, tagged}, manifest, bundle.PlanOptions{}); !errors.Is(err, bundle.ErrCollision) {
		t.Errorf("one cosign tag for two manifests: %v", err)
	}
	c := newWorld().images[1]
	c.Manifests[0].Size++
	if _, err := bundle.Plan([]bundle.Image{newWorld().images[0], c}, manifest, bundle.PlanOptions{}); !errors.Is(err, bundle.ErrDigest) {
		t.Errorf("one digest with two sizes: %v", err)
	}
}

func ExampleParseDigest() {
	d, err := bundle.ParseDigest("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
	fmt.Println(d == bundle.EmptyJSON, err)
	// Output: true <nil>
}

func TestCreateNeedsRoomForAllOfIt(t *testing.T) {
	w := newWorld()
	w.images[0].Manifests = w.images[0].Manifests[:0:0]
	huge := w.add([]byte("huge"))
	huge.Size = 1 << 43 // more than any test machine has
	m := w.manifest(image(w.add([]byte("{}")), huge), bundle.MediaTypeOCIManifest)
	w.images = w.images[:1]
	w.images[0].Root.Digest, w.images[0].Root.Size, w.images[0].Root.MediaType = m.Digest, m.Size, m.MediaType
	w.images[0].Manifests = []bundle.ManifestRow{{Digest: m.Digest, MediaType: m.MediaType, Size: m.Size, Via: bundle.ViaRoot, From: "docker.io/acme/app"}}
	path := filepath.Join(t.TempDir(), "bundle.tar")
	if _, err := createFile(path, w.plan(t)); !errors.Is(err, disk.ErrNoSpace) {
		t.Errorf("8 TiB: %v", err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// gate lets so many bytes of a pipe through, and counts who asks for more before it is opened.
type gate struct {
	in     io.Reader
	left   int64
	closed bool
	asked  int
}

func (g *gate) Read(p []byte) (int, error) {
	if g.closed && g.left == 0 {
		g.asked++
		return 0, errors.New("the layers have not arrived")
	}
	if g.closed {
		p = p[:min(int64(len(p)), g.left)]
	}
	n, err := g.in.Read(p)
	g.left -= int64(n)
	return n, err
}

// What proves what an image is can be read from a pipe before its layers have arrived, and again afterwards.
func TestProofsOfAStreamPrecedeItsLayers(t *testing.T) {
	w := newWorld()
	content, layout := w.stream(t), w.plan(t)
	proofs := slices.IndexFunc(layout.Contents().Blobs, func(b bundle.Blob) bool { return b.Role == bundle.RoleLayer })
	g := &gate{in: bytes.NewReader(content), left: layout.EntryStart(proofs), closed: true}
	sealed, err := bundle.Open(bundle.FromReader(g))
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Close()
	r, err := sealed.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Walk(t.Context()); err != nil {
		t.Fatal(err)
	}
	openProofs := func() {
		t.Helper()
		for row, b := range r.Contents().Blobs[:proofs] {
			blob, err := r.Open(row)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(blob); err != nil || !bytes.Equal(got, w.blobs[b.Digest]) {
				t.Errorf("%s %s: %q, %v", b.Role, b.Digest, got, err)
			}
			if !r.IsKept(row) {
				t.Errorf("%s %s cannot be opened", b.Role, b.Digest)
			}
		}
	}
	openProofs()
	openProofs()
	if _, err := r.Open(proofs); !errors.Is(err, bundle.ErrPassedBy) || r.IsKept(proofs) {
		t.Errorf("a layer: got %v", err)
	}
	if g.asked > 0 {
		t.Error("layers were asked for")
	}
	g.closed = false
	expectNext(t, w, r)
	openProofs()
}

// expectNext expects of Next all blobs that are no manifests, in file order, and then the end.
func expectNext(t *testing.T, w *world, r *bundle.Reader) {
	t.Helper()
	for row, b := range r.Contents().Blobs {
		if b.Role == bundle.RoleManifest || !r.Layout().HasEntry(row) {
			continue
		}
		got, blob, err := r.Next()
		if err != nil || got != row {
			t.Fatalf("row %d: got %d, %v", row, got, err)
		}
		if row%2 == 0 { // what is not read is read by the next one
			continue
		}
		if content, err := io.ReadAll(blob); err != nil || !bytes.Equal(content, w.blobs[b.Digest]) {
			t.Errorf("%s: %q, %v", b.Digest, content, err)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

// What is kept of a stream is bounded: what comes behind the bound can be read once and in order, like layers.
func TestKeptOfAStreamIsBounded(t *testing.T) {
	w := newWorld()
	content := w.stream(t)
	most := 0
	for limit := int64(0); limit < 8<<10; limit += 512 {
		sealed, err := bundle.Open(bundle.FromReader(bytes.NewReader(content)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := sealed.Reader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.KeepOnly(limit)
		kept := 0
		for row, b := range r.Contents().Blobs {
			if b.Role != bundle.RoleManifest && r.Layout().HasEntry(row) && r.IsKept(row) {
				kept++
			}
		}
		if kept < most || int64(kept) > limit/1024 { // each takes a header and a block
			t.Errorf("%d are kept in %d bytes, and %d in fewer", kept, limit, most)
		}
		most = kept
		if _, err := r.Walk(t.Context()); err != nil {
			t.Fatal(err)
		}
		expectNext(t, w, r)
		if err := sealed.Close(); err != nil {
			t.Error(err)
		}
	}
	if most != 5 {
		t.Errorf("at most %d are kept, want all configs and attestations", most)
	}
}

// disks is a bundle on parts of which one is there at a time.
type disks struct {
	*bytes.Reader

	current  int
	inserted []int
}

const diskSize = 4 << 10

func (d *disks) Access() bundle.Access { return bundle.Access{Removable: d} }
func (*disks) Close() error            { return nil }

func (d *disks) Part(offset int64) (part int, end int64) {
	part = int(offset / diskSize)
	return part, min(int64(part+1)*diskSize, d.Size())
}

func (d *disks) Insert(_ context.Context, part int) error {
	if part != d.current {
		d.current, d.inserted = part, append(d.inserted, part)
	}
	return nil
}

func (d *disks) ReadAt(p []byte, offset int64) (n int, err error) {
	for n < len(p) && err == nil {
		part, end := d.Part(offset + int64(n))
		_ = d.Insert(context.Background(), part)
		var read int
		read, err = d.Reader.ReadAt(p[n:min(int64(len(p)), end-offset)], offset+int64(n))
		n += read
	}
	return n, err
}

// What proves what an image is can be read from changed disks before the disks with its layers are needed, and again afterwards,
// when the first ones have been taken out.
func TestProofsOnDisksPrecedeTheLayers(t *testing.T) {
	w := newWorld()
	content, layout := w.stream(t), w.plan(t)
	proofs := slices.IndexFunc(layout.Contents().Blobs, func(b bundle.Blob) bool { return b.Role == bundle.RoleLayer })
	d := &disks{Reader: bytes.NewReader(content), current: -1}
	sealed, err := bundle.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Close()
	r, err := sealed.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Walk(t.Context()); err != nil {
		t.Fatal(err)
	}
	read := func(row int) {
		t.Helper()
		blob, err := r.Open(row)
		if err != nil {
			t.Fatal(err)
		}
		want := w.blobs[r.Contents().Blobs[row].Digest]
		if got, err := io.ReadAll(blob); err != nil || !bytes.Equal(got, want) {
			t.Errorf("row %d: %q, %v", row, got, err)
		}
	}
	readProofs := func() {
		t.Helper()
		for row := range proofs {
			if !r.IsKept(row) {
				t.Errorf("row %d is not kept", row)
			}
			read(row)
		}
	}
	readProofs()
	last, _ := d.Part(layout.EntryStart(proofs) - 1)
	if slices.Max(d.inserted) != last || !slices.IsSorted(d.inserted) {
		t.Errorf("for what precedes the layers disks %v were inserted; the last of it is on %d", d.inserted, last)
	}
	asked := len(d.inserted)
	for batch := range r.Batches(func(row int) bool { return row >= proofs }) {
		if err := r.Prepare(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		for _, row := range batch.Rows {
			if r.IsKept(row) {
				t.Errorf("the layer in row %d is kept", row)
			}
			read(row)
		}
	}
	if len(d.inserted) == asked || !slices.IsSorted(d.inserted) {
		t.Fatalf("for the layers disks %v were inserted", d.inserted[asked:])
	}
	asked = len(d.inserted)
	readProofs()
	if len(d.inserted) > asked {
		t.Errorf("once they had been read, disks %v were inserted again", d.inserted[asked:])
	}
}
