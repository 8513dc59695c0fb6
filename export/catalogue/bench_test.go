package catalogue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/bundle/platform"
	"airgap/export"
	"airgap/export/cache"
	"airgap/export/catalogue"
	"airgap/export/config"
	"airgap/export/mirror"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
	"airgap/export/registry/repositories"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// The catalogue of the benchmark: every tag is an index of two platforms with a layer of its own and one that all share,
// and a signature; every third tag is another name of the one before.
const (
	benchRepositories = 300
	benchTags         = 5000
)

type benchCatalogue struct {
	*Server
	b *testing.B
}

func newBenchCatalogue(b *testing.B) *benchCatalogue {
	c := &benchCatalogue{b: b}
	var names []string
	for i := range benchRepositories {
		names = append(names, fmt.Sprintf("%q", fmt.Sprintf("team%02d/app%03d", i%20, i)))
	}
	catalog := fmt.Sprintf(`{"repositories":[%s]}`, strings.Join(names, ","))
	c.Server = New(b, Faults(On("GET", "/v2/_catalog", Answer(200, catalog, "Content-Type", "application/json"))))
	for i := range benchTags {
		r := i % benchRepositories
		c.add(fmt.Sprintf("team%02d/app%03d", r%20, r), i/benchRepositories)
	}
	return c
}

func (c *benchCatalogue) add(repo string, n int) {
	build := n - n%3/2 // 0, 1, 1, 3, 4, 4, ...
	shared := bundle.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: bundle.DigestOf([]byte("base")), Size: 30 << 20}
	var platforms []bundle.Descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		own := bundle.Descriptor{MediaType: shared.MediaType, Digest: bundle.DigestOf(fmt.Append(nil, repo, build, arch)), Size: 5 << 20}
		configBlob := bundle.Descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: bundle.DigestOf(fmt.Append(nil, "config", repo, build, arch)), Size: 2000}
		d := c.manifest(repo, "", bundle.Manifest{Config: &configBlob, Layers: []bundle.Descriptor{shared, own}})
		d.Platform = &platform.Platform{OS: "linux", Architecture: arch}
		platforms = append(platforms, d)
	}
	index := c.manifest(repo, fmt.Sprintf("1.%d", n), bundle.Manifest{Manifests: platforms})
	empty := bundle.Descriptor{MediaType: bundle.MediaTypeEmptyJSON, Digest: bundle.EmptyJSON, Size: 2}
	c.manifest(repo, "", bundle.Manifest{ArtifactType: bundle.MediaTypeSigstore, Config: &empty, Layers: []bundle.Descriptor{empty}, Subject: &index})
}

func (c *benchCatalogue) manifest(repo, tag string, m bundle.Manifest) bundle.Descriptor {
	m.SchemaVersion, m.MediaType = 2, bundle.MediaTypeOCIManifest
	if len(m.Manifests) > 0 {
		m.MediaType = bundle.MediaTypeOCIIndex
	}
	content, err := json.Marshal(m)
	if err != nil {
		c.b.Fatal(err)
	}
	return c.AddManifest(repo, tag, m.MediaType, content)
}

// BenchmarkPlan plans 5,000 tags over 300 repositories against a registry in the same process, which takes its share of
// the time: with an empty cache, with the one that the first plan has left, and with that as the next bundle of a mirror, of which the
// one before was the same.
func BenchmarkPlan(b *testing.B) {
	c := newBenchCatalogue(b)
	file, err := config.Parse("regsync.yaml", fmt.Appendf(nil, "sync: [{source: '%s', target: harbor.example.com/all, type: registry}]", c.Host()), config.Environment{})
	if err != nil {
		b.Fatal(err)
	}
	key, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		b.Fatal(err)
	}
	dir := ""
	series := &mirror.Mirror{Name: "bench", Ledger: ledger.Ledger{Repository: ledger.Directory(b.TempDir())}, Check: func(ctx context.Context, head *bundle.Head) error {
		_, err := verify.OpenHead(ctx, head, verify.Trust{Policy: policy.OfKeys([]signature.PublicKey{key.Public()})})
		return err
	}}
	for _, name := range []string{"cold", "warm", "delta"} {
		outer := b // whose directories outlive the plan that fills them
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				switch name {
				case "cold":
					dir = outer.TempDir()
					c.plan(b, file, dir, nil, nil)
				case "warm":
					c.plan(b, file, dir, nil, nil)
				default:
					c.plan(b, file, dir, series, nil)
				}
			}
		})
		if name == "warm" {
			c.plan(b, file, dir, series, key)
		}
	}
}

// plan plans everything, of a mirror as well, whose ledger gets the head if there is a key to sign it.
func (c *benchCatalogue) plan(b *testing.B, file *config.File, dir string, series *mirror.Mirror, key *signature.PrivateKey) {
	client := registry.New(registry.Config{Host: func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} }})
	defer client.CloseIdleConnections()
	source, err := cache.New(client, dir, nowFunc)
	if err != nil {
		b.Fatal(err)
	}
	before := heap()
	choice := &catalogue.Choice{Wanted: catalogue.Wanted{Files: []*config.File{file}}, Lister: repositories.Lister{Client: client}, Source: source.WithBlobs(), Now: nowFunc}
	plan, err := export.MakePlan(b.Context(), source, choice, export.Options{Created: now, Mirror: series})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(c.Requests())), "requests/plan")
	b.ReportMetric(float64(c.Count("GET", "/manifests/")), "pulls/plan")
	c.Forget()
	b.ReportMetric(float64(heap()-before)/(1<<20), "MiB-held")
	if err := plan.Err(); err != nil {
		b.Fatal(err)
	}
	result, err := plan.Result()
	if err != nil {
		b.Fatal(err)
	}
	if len(result.Images) != benchTags || len(result.Missing) > 0 {
		b.Fatalf("%d images, %d missing", len(result.Images), len(result.Missing))
	}
	b.ReportMetric(float64(result.Counts.Blobs), "blobs")
	b.ReportMetric(float64(result.Counts.StoredBytes), "bytes-stored")
	if key != nil {
		layout, err := bundle.NewLayout(plan.Contents, export.SignedBy(key).Sign)
		if err != nil {
			b.Fatal(err)
		}
		if err := series.Put(b.Context(), layout); err != nil {
			b.Fatal(err)
		}
	}
	if err := plan.Close(); err != nil {
		b.Fatal(err)
	}
}

// heap is how much is held, in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
