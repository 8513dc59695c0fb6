//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/verify/signature"
)

// The corpus of the memory benchmark: one large layer and many small blobs.
const (
	largeLayer     = 2 << 30 // bytes
	smallImages    = 1000
	layersPerImage = 100
	smallLayer     = 1 << 10 // bytes
	maxPeakRSS     = 80 << 20
)

// measured is the binary, run in a directory of its own.
type measured struct {
	b           *testing.B
	binary, dir string
}

func newMeasured(b *testing.B) *measured {
	m := &measured{b: b, dir: b.TempDir()}
	m.binary = filepath.Join(m.dir, "airgap")
	build := exec.Command("go", "build", "-o", m.binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return m
}

// run reports the time and the peak resident size of a command in MiB, and fails where that is over limit bytes.
func (m *measured) run(limit int64, args ...string) {
	m.b.Helper()
	cmd := exec.Command(m.binary, append(args, "--quiet")...)
	cmd.Dir, cmd.Env = m.dir, append(os.Environ(), "AIRGAP_PASSWORD=x")
	began := time.Now()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &out
	if err := cmd.Start(); err != nil {
		m.b.Fatal(err)
	}
	peaks := watchPeak(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		m.b.Fatalf("airgap %s: %v\n%s", args[0], err, out.String())
	}
	peak := <-peaks
	if peak == 0 {
		m.b.Fatalf("airgap %s ended before anybody looked at it", args[0])
	}
	m.b.ReportMetric(float64(peak)/(1<<20), args[0]+"-MiB")
	m.b.ReportMetric(time.Since(began).Seconds(), args[0]+"-s")
	if peak > limit {
		m.b.Errorf("airgap %s took %d bytes of memory, more than %d", args[0], peak, limit)
	}
}

// BenchmarkPeakMemory is "make bench-memory": it reports the peak resident size of export, verify and import in MiB, and
// fails where one is over the limit that the project has set itself. It takes 2 GiB of disk.
func BenchmarkPeakMemory(b *testing.B) {
	m := newMeasured(b)
	source, target := newGenerated(), &sink{blobs: map[string]bool{}, manifests: map[string][]byte{}}
	from, to := httptest.NewServer(source), httptest.NewServer(target)
	defer from.Close()
	defer to.Close()
	if err := os.WriteFile(filepath.Join(m.dir, "images.txt"), source.list(host(from)), 0o600); err != nil {
		b.Fatal(err)
	}
	m.run(maxPeakRSS, "keygen")
	for b.Loop() {
		m.run(maxPeakRSS, "export", "-f", "images.txt", "--key", "airgap.key", "-o", "bundle.tar")
		m.run(maxPeakRSS, "verify", "bundle.tar", "--key", "airgap.pub")
		m.run(maxPeakRSS, "import", "bundle.tar", host(to)+"/mirror", "--key", "airgap.pub")
	}
	if got, want := len(target.blobs), len(source.blobs); got != want {
		b.Errorf("the target has %d blobs, want %d", got, want)
	}
}

// The catalogue of the second memory benchmark: names for few images.
const (
	manyRoots     = 1_000_000
	rootsPerImage = 100
	maxTablesRSS  = 300 << 20
)

// BenchmarkPeakMemoryOfTables has a bundle of a million roots verified and inspected.
func BenchmarkPeakMemoryOfTables(b *testing.B) {
	m := newMeasured(b)
	m.run(maxPeakRSS, "keygen")
	private, err := os.ReadFile(filepath.Join(m.dir, "airgap.key"))
	if err != nil {
		b.Fatal(err)
	}
	key, err := signature.ParsePrivateKey(private, func() ([]byte, error) { return []byte("x"), nil })
	if err != nil {
		b.Fatal(err)
	}
	writeRoots(b, filepath.Join(m.dir, "bundle.tar"), key)
	runtime.GC()
	for b.Loop() {
		m.run(maxTablesRSS, "verify", "bundle.tar", "--key", "airgap.pub")
		m.run(maxTablesRSS, "inspect", "bundle.tar", "--key", "airgap.pub")
	}
}

// writeRoots writes a bundle of manyRoots names.
func writeRoots(b *testing.B, file string, key *signature.PrivateKey) {
	b.Helper()
	blobs := map[bundle.Digest][]byte{}
	add := func(mediaType string, content []byte) bundle.Descriptor {
		d := bundle.DigestOf(content)
		blobs[d] = content
		return bundle.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
	}
	var images []bundle.Image
	var image bundle.Descriptor
	for i := range manyRoots {
		if i%rootsPerImage == 0 {
			config := add("application/vnd.oci.image.config.v1+json", fmt.Appendf(nil, `{"n":%d}`, i))
			manifest, err := json.Marshal(bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config})
			if err != nil {
				b.Fatal(err)
			}
			image = add(bundle.MediaTypeOCIManifest, manifest)
		}
		path, tag := fmt.Sprintf("team%03d/app%03d", i/100_000, i/rootsPerImage%1000), fmt.Sprintf("1.%d", i)
		images = append(images, bundle.Image{
			Root:      bundle.Root{Source: "docker.io/" + path + ":" + tag, Path: path, Tag: tag, MediaType: image.MediaType, Digest: image.Digest, Size: image.Size},
			Manifests: []bundle.ManifestRow{{Digest: image.Digest, MediaType: image.MediaType, Size: image.Size, Via: bundle.ViaRoot, From: "docker.io/" + path}},
		})
	}
	contents, err := bundle.Plan(images, func(d bundle.Digest) (*bundle.Manifest, error) {
		return bundle.ParseManifest(bundle.MediaTypeOCIManifest, blobs[d])
	}, bundle.PlanOptions{Created: time.Unix(1, 0)})
	if err != nil {
		b.Fatal(err)
	}
	layout, err := bundle.NewLayout(contents, func(d bundle.Digest) ([]byte, error) { return signature.Sign(key, d) })
	if err != nil {
		b.Fatal(err)
	}
	out, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	writer, err := bundle.Create(bundle.NewStream(out), layout)
	if err != nil {
		b.Fatal(err)
	}
	for row := range contents.Blobs {
		if !layout.HasEntry(row) {
			continue
		}
		w, err := writer.Blob(row)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(blobs[contents.Blobs[row].Digest]); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	if err := writer.Commit(b.Context(), bundle.Observe(nil)); err != nil {
		b.Fatal(err)
	}
}

// watchPeak gives the peak resident size of a process, in bytes, once it has ended. (What wait4 says of a child counts the
// size that its parent had when it was made.)
func watchPeak(pid int) <-chan int64 {
	peaks := make(chan int64, 1)
	go func() {
		var peak int64
		for {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, rest, found := strings.Cut(string(status), "VmHWM:")
			if err != nil || !found { // it has ended
				peaks <- peak
				return
			}
			text, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if kib, err := strconv.ParseInt(text, 10, 64); err == nil {
				peak = max(peak, kib<<10)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return peaks
}

func host(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

// generated is a registry whose blobs are made when they are asked for.
type generated struct {
	manifests map[string][]byte                // by tag and by digest
	blobs     map[string]func(io.Writer) error // by digest
	sizes     map[string]int64
	tags      []string
}

func newGenerated() *generated {
	g := &generated{manifests: map[string][]byte{}, blobs: map[string]func(io.Writer) error{}, sizes: map[string]int64{}}
	block := bytes.Repeat([]byte("airgap"), 1<<17)
	g.image("large", g.blob(largeLayer, func(w io.Writer) error {
		for left := largeLayer; left > 0; left -= len(block) {
			if _, err := w.Write(block[:min(left, len(block))]); err != nil {
				return err
			}
		}
		return nil
	}))
	for i := range smallImages {
		var layers []bundle.Descriptor
		for j := range layersPerImage {
			content := bytes.Repeat([]byte(fmt.Sprintf("%08d", i*layersPerImage+j)), smallLayer/8)
			layers = append(layers, g.blob(smallLayer, writeAll(content)))
		}
		g.image(fmt.Sprintf("small-%d", i), layers...)
	}
	return g
}

func writeAll(content []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
}

func (g *generated) blob(size int64, write func(io.Writer) error) bundle.Descriptor {
	h := sha256.New()
	_ = write(h)
	d := bundle.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: bundle.Digest(h.Sum(nil)), Size: size}
	g.blobs[d.Digest.String()], g.sizes[d.Digest.String()] = write, size
	return d
}

func (g *generated) image(tag string, layers ...bundle.Descriptor) {
	config := []byte(fmt.Sprintf(`{"tag":%q}`, tag))
	configDescriptor := g.blob(int64(len(config)), writeAll(config))
	content, _ := json.Marshal(bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &configDescriptor, Layers: layers})
	g.manifests[tag], g.manifests[bundle.DigestOf(content).String()] = content, content
	g.tags = append(g.tags, tag)
}

func (g *generated) list(host string) []byte {
	var list bytes.Buffer
	for _, tag := range g.tags {
		fmt.Fprintf(&list, "%s/app:%s\n", host, tag)
	}
	return list.Bytes()
}

func (g *generated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, name := splitPath(r.URL.Path)
	switch manifest, write := g.manifests[name], g.blobs[name]; {
	case r.URL.Path == "/v2/":
	case kind == "referrers":
		writeDocument(w, bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+bundle.MediaTypeOCIIndex+`","manifests":[]}`))
	case kind == "manifests" && manifest != nil:
		writeDocument(w, bundle.MediaTypeOCIManifest, manifest)
	case kind == "blobs" && write != nil:
		w.Header().Set("Content-Length", strconv.FormatInt(g.sizes[name], 10))
		_ = write(w)
	default:
		http.NotFound(w, r)
	}
}

func writeDocument(w http.ResponseWriter, mediaType string, content []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", bundle.DigestOf(content).String())
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content)
}

// splitPath returns the last two elements of /v2/REPOSITORY/KIND/NAME.
func splitPath(path string) (kind, name string) {
	elements := strings.Split(path, "/")
	if len(elements) < 2 {
		return "", ""
	}
	return elements[len(elements)-2], elements[len(elements)-1]
}

// sink is a registry that checks what is uploaded and keeps only the digests of blobs.
type sink struct {
	mu        sync.Mutex
	uploads   int
	hashes    map[string]bundle.Digest
	blobs     map[string]bool
	manifests map[string][]byte
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, name := splitPath(r.URL.Path)
	switch {
	case r.URL.Path == "/v2/":
	case kind == "manifests":
		s.manifest(w, r, name)
	case kind == "blobs" && r.Method == http.MethodHead:
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.blobs[name] {
			http.NotFound(w, r)
		}
	case strings.Contains(r.URL.Path, "/blobs/uploads/"):
		s.upload(w, r, name)
	case kind == "referrers":
		writeDocument(w, bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+bundle.MediaTypeOCIIndex+`","manifests":[]}`))
	default:
		http.NotFound(w, r)
	}
}

func (s *sink) upload(w http.ResponseWriter, r *http.Request, id string) {
	switch r.Method {
	case http.MethodPost:
		s.mu.Lock()
		s.uploads++
		w.Header().Set("Location", fmt.Sprintf("%s%d", r.URL.Path, s.uploads))
		s.mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPatch:
		h := sha256.New()
		_, _ = io.Copy(h, r.Body)
		s.mu.Lock()
		if s.hashes == nil {
			s.hashes = map[string]bundle.Digest{}
		}
		s.hashes[id] = bundle.Digest(h.Sum(nil))
		s.mu.Unlock()
		w.Header().Set("Location", r.URL.Path)
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPut:
		digest := r.URL.Query().Get("digest")
		content, _ := io.ReadAll(r.Body) // small blobs come with the request that commits them
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.hashes[id].String() != digest && bundle.DigestOf(content).String() != digest {
			http.Error(w, "wrong digest", http.StatusBadRequest)
			return
		}
		s.blobs[digest] = true
		w.WriteHeader(http.StatusCreated)
	}
}

func (s *sink) manifest(w http.ResponseWriter, r *http.Request, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPut {
		content, _ := io.ReadAll(r.Body)
		s.manifests[name], s.manifests[bundle.DigestOf(content).String()] = content, content
		w.WriteHeader(http.StatusCreated)
		return
	}
	if s.manifests[name] == nil {
		http.NotFound(w, r)
		return
	}
	writeDocument(w, bundle.MediaTypeOCIManifest, s.manifests[name])
}

// The benchmark's own registries must be right, or its figures mean nothing: they are run with a small corpus always.
func TestMemoryBenchmarkRegistries(t *testing.T) {
	g := newGeneratedSmall()
	server := httptest.NewServer(g)
	defer server.Close()
	w := newWorld(t)
	t.Setenv("AIRGAP_PASSWORD", "x")
	key, file := filepath.Join(w.home, "airgap"), filepath.Join(w.home, "b.tar")
	w.expect(t, exitOK, "", "keygen", "--output-key-prefix", key)
	w.expect(t, exitOK, "", "export", host(server)+"/app:one", "--key", key+".key", "-o", file)
	w.expect(t, exitOK, "", "verify", file, "--key", key+".pub")
}

func newGeneratedSmall() *generated {
	g := &generated{manifests: map[string][]byte{}, blobs: map[string]func(io.Writer) error{}, sizes: map[string]int64{}}
	g.image("one", g.blob(5, writeAll([]byte("layer"))))
	return g
}
