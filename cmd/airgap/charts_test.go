package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/export/chart"
	"airgap/export/registry/registrytest"
)

// chartSource is a registry with a chart in two versions and the images that it uses.
type chartSource struct {
	*carried
	server  *registrytest.Server
	archive []byte
}

func newChartSource(t *testing.T) *chartSource {
	t.Helper()
	c := &chartSource{carried: &carried{world: newWorld(t)}, server: registrytest.New(t)}
	c.images = c.server.Host()
	t.Setenv("AIRGAP_PASSWORD", "secret")
	c.file, c.public = filepath.Join(c.home, "bundle.tar"), filepath.Join(c.home, "airgap.pub")
	c.writeKeys(t)
	for _, repo := range []string{"shop/web", "shop/worker", "shop/db"} {
		config := c.server.AddBlob(repo, "application/vnd.oci.image.config.v1+json", []byte("{}"))
		c.add(t, repo, "1", bundle.Manifest{Config: &config, Annotations: map[string]string{"of": repo}})
	}
	c.archive = tgz(t, "shop/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.0\n",
		"shop/templates/pods.yaml", fmt.Sprintf("kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: web, image: '%[1]s/shop/web:1'}, {name: odd, image: ''}]}\n---\nkind: Pod\nmetadata: {name: b}\nspec: {containers: [{image: '%[1]s/shop/db:1'}]}\n", c.images))
	for _, version := range []string{"1.1.0", "1.2.0", "2.0.0"} {
		config := c.server.AddBlob("charts/shop", chart.ConfigMediaType, fmt.Appendf(nil, `{"name":"shop","version":%q,"annotations":{"artifacthub.io/images":"- {name: worker, image: '%s/shop/worker:1'}"}}`, version, c.images))
		layer := c.server.AddBlob("charts/shop", chart.ContentMediaType, c.archive)
		provenance := c.server.AddBlob("charts/shop", "application/vnd.cncf.helm.chart.provenance.v1.prov", []byte("-----BEGIN PGP SIGNED MESSAGE-----"))
		c.add(t, "charts/shop", version, bundle.Manifest{Config: &config, Layers: []bundle.Descriptor{layer, provenance}})
	}
	return c
}

func (c *chartSource) add(t *testing.T, repo, tag string, m bundle.Manifest) {
	t.Helper()
	m.SchemaVersion, m.MediaType = 2, bundle.MediaTypeOCIManifest
	c.server.AddManifest(repo, tag, m.MediaType, jsonOf(t, m))
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// tgz packs names and contents, as helm package does.
func tgz(t *testing.T, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	packed := tar.NewWriter(zipped)
	for i := 0; i < len(files); i += 2 {
		if err := packed.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := packed.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// standInHelm puts a helm on the PATH that unpacks the chart and prints its templates as they are.
func standInHelm(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a shell script cannot stand in for helm here")
	}
	dir := t.TempDir()
	script := "#!/bin/sh\n[ \"$1\" = template ] || exit 3\ntar -xzOf \"$3\" shop/templates/pods.yaml\n"
	if err := os.WriteFile(filepath.Join(dir, "helm"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestChartsOfAConfiguration(t *testing.T) {
	c := newChartSource(t)
	config := c.config(t, "charts.yaml", `charts:
- source: oci://IMAGES/charts/shop
  target: registry.example.com/mirror/charts/shop
  versions: "<2"
  latest: 1
  images: true
  imagesTarget: registry.example.com/from-charts
`)
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir())
	c.export(t, exitFailure, "helm is needed", "-c", config)
	t.Setenv("PATH", path)
	standInHelm(t)
	c.export(t, exitOK, `not an image: "" in `+c.images+"/charts/shop:1.2.0, shop 1.2.0:3, Pod a, odd: it is empty", "-c", config)
	if !strings.Contains(c.err.String(), "found: "+c.images+"/shop/web:1 in "+c.images+"/charts/shop:1.2.0, shop 1.2.0:3, Pod a, web") {
		t.Errorf("the image is not listed with where it was found:\n%s", c.err.String())
	}
	var destinations []string
	for destination := range c.inspected(t) {
		destinations = append(destinations, destination)
	}
	slices.Sort(destinations)
	want := []string{"from-charts/shop/db:1", "from-charts/shop/web:1", "from-charts/shop/worker:1", "mirror/charts/shop:1.2.0"}
	if !slices.Equal(destinations, want) {
		t.Errorf("carried %q, want %q", destinations, want)
	}
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitOK, "imported", "import", c.file, target, "--key", c.public)
	line := fmt.Sprintf("chart %[1]s/charts/shop:1.2.0 uses\n  %[1]s/shop/db:1 -> %[2]s/from-charts/shop/db:1\n", c.images, target)
	if !strings.Contains(c.out.String(), line) {
		t.Errorf("the summary lacks\n%s\n%s", line, c.out.String())
	}
	// The chart is there byte for byte, its provenance included.
	c.expect(t, exitOK, "", "inspect", target+"/mirror/charts/shop:1.2.0", "--digest")
	if got, want := strings.TrimSpace(c.out.String()), bundle.DigestOf(c.server.StoredManifest("charts/shop", "1.2.0")).String(); got != want {
		t.Errorf("the chart is %s, want %s", got, want)
	}
}

func TestImagesFromManifests(t *testing.T) {
	c := newChartSource(t)
	c.Stdin = strings.NewReader("kind: Pod\nspec: {containers: [{image: '" + c.images + "/shop/web:1'}]}\n")
	c.export(t, exitOK, "found: "+c.images+"/shop/web:1 in standard input:2, Pod", c.images+"/charts/shop:1.1.0", "--images-from", "-")
	if images := c.inspected(t); images["shop/web:1"] == nil || images["charts/shop:1.1.0"] == nil || len(images) != 2 {
		t.Errorf("carried %v", images)
	}
	c.export(t, exitOK, "found: "+c.images+"/shop/worker:1", c.images+"/charts/shop:1.1.0", "--chart-images")
	if images := c.inspected(t); images["shop/worker:1"] == nil || len(images) != 2 {
		t.Errorf("carried %v", images)
	}
}
