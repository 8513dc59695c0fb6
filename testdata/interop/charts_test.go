package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
)

// A chart with a dependency and a provenance file, made, signed for and pushed by helm, goes across with the images that
// helm says it uses, and helm pulls the same bytes on the other side and finds its signature right.
func TestChartWithItsImages(t *testing.T) {
	f, b := bundletest.LoadFixture(t), newBench(t)
	from := bundletest.StartRegistry(t, true)
	to := startDistribution(t)
	f.Push(t, map[string]string{bundletest.Images: from, bundletest.Attestations: from})
	chart := filepath.Join(b.dir, "shop")
	for name, content := range map[string]string{
		"shop/Chart.yaml":          "apiVersion: v2\nname: shop\nversion: 1.2.0\ndependencies: [{name: store, version: 0.1.0, repository: file://../store}]\n",
		"shop/values.yaml":         "image: nothing.example.com/replaced-by-values:1\n",
		"shop/templates/pod.yaml":  "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: web, image: {{ .Values.image }}}]}\n",
		"store/Chart.yaml":         "apiVersion: v2\nname: store\nversion: 0.1.0\n",
		"store/templates/pod.yaml": fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: store}\nspec: {containers: [{name: db, image: %s/acme/docker:1}]}\n", from),
		"values.yaml":              fmt.Sprintf("image: %s/acme/dhi-python:3.13\n", from),
	} {
		path := filepath.Join(b.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.run(t, "helm", "dependency", "update", chart)
	b.run(t, "helm", "package", chart)
	b.run(t, "helm", "push", "shop-1.2.0.tgz", "oci://"+from+"/charts", "--plain-http")

	config := b.writeConfig(t, "charts.yaml", "version: 1\ncharts:\n- source: "+from+"/charts/shop\n  target: registry.example.com/mirror/shop\n  versions: ^1.0\n  images: true\n  values: [values.yaml]\n")
	b.run(t, "airgap", "keygen")
	b.env = append(b.env, "PATH="+filepath.Dir(findTool(t, "helm"))+string(os.PathListSeparator)+os.Getenv("PATH"))
	b.run(t, "airgap", "export", "-c", config, "--key", "airgap.key", "-o", "charts.tar")
	summary := b.run(t, "airgap", "import", "charts.tar", to, "--key", "airgap.pub")
	for _, image := range []string{"acme/dhi-python:3.13", "acme/docker:1"} {
		if want := from + "/" + image + " -> " + to + "/" + image; !strings.Contains(summary, want) {
			t.Errorf("the summary lacks %q:\n%s", want, summary)
		}
		if got, want := b.run(t, "crane", "digest", to+"/"+image), b.run(t, "crane", "digest", from+"/"+image); got != want {
			t.Errorf("%s is %s, want %s", image, got, want)
		}
	}
	if err := os.Mkdir(filepath.Join(b.dir, "pulled"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.run(t, "helm", "pull", "oci://"+to+"/mirror/shop", "--version", "1.2.0", "--plain-http", "-d", "pulled")
	pulled, err := os.ReadFile(filepath.Join(b.dir, "pulled", "shop-1.2.0.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := os.ReadFile(filepath.Join(b.dir, "shop-1.2.0.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	if string(pulled) != string(pushed) {
		t.Error("helm pulls another chart than it pushed")
	}
}

// The chart of the fixture was signed with a key ring of its own: its provenance file is right on the other side.
func TestChartsProvenance(t *testing.T) {
	f, b := bundletest.LoadFixture(t), newBench(t)
	from, to := bundletest.StartRegistry(t, true), startDistribution(t)
	f.Push(t, map[string]string{bundletest.Images: from, bundletest.Attestations: from})
	b.run(t, "airgap", "keygen")
	b.run(t, "airgap", "export", from+"/charts/demo:0.1.0", "--key", "airgap.key", "-o", "chart.tar")
	b.run(t, "airgap", "import", "chart.tar", to, "--key", "airgap.pub")
	b.run(t, "helm", "pull", "oci://"+to+"/charts/demo", "--version", "0.1.0", "--plain-http", "--verify", "--keyring", fixtureFile(t, "helm.gpg"))
}
