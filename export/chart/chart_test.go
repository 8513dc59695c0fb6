package chart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"airgap/export/chart"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// shown is what was found, a line for each.
func shown(f chart.Found) (images, unparsed []string) {
	for _, i := range f.Images {
		line := i.Ref + " <- " + i.Where
		if i.More > 0 {
			line += fmt.Sprintf(" and %d more", i.More)
		}
		images = append(images, line)
	}
	for _, p := range f.Unparsed {
		unparsed = append(unparsed, fmt.Sprintf("%q <- %s: %s", p.Ref, p.Where, p.Reason))
	}
	return images, unparsed
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What helm really rendered, from a chart with a dependency, a hook and an operator's resource.
func TestRenderedByHelm(t *testing.T) {
	found, err := chart.FromManifests("rendered.yaml", bytes.NewReader(read(t, "rendered.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	images, unparsed := shown(found)
	const digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	compare(t, "images", images, []string{
		"registry.example.com/shop/web:1.2.0 <- rendered.yaml:12, Deployment web, migrate and 1 more",
		"nginx:1.27 <- rendered.yaml:17, Deployment web, proxy and 1 more",
		"docker.io/library/busybox:1 <- rendered.yaml:19, Deployment web, debug",
		"registry.example.com/models/shop:3 <- rendered.yaml:22, Deployment web, model",
		"redis@" + digest + " <- rendered.yaml:33, StatefulSet store, redis",
		"registry.example.com/db/postgres:17 <- rendered.yaml:56, Database shop",
		"docker.io/curlimages/curl:8.10.1 <- rendered.yaml:74, Pod shop-test (hook test), curl",
	})
	compare(t, "unparsed", unparsed, []string{
		`"" <- rendered.yaml:47, CronJob backup, broken: it is empty`,
		`"registry.example.com/db/exporter" <- rendered.yaml:60, Database shop: its parts have neither tag nor digest: which one is used is decided elsewhere`,
		`"https://example.com/logo.png" <- rendered.yaml:62, Database shop: it is an address, not an image`,
	})
}

func TestAnnotation(t *testing.T) {
	m, err := chart.ParseConfig([]byte(`{"name":"shop","version":"1.2.0","annotations":{"artifacthub.io/images":"- name: web\n  image: a.example.com/web:1\n- image: a.example.com/b:1\n- name: none\n- {name: bad, image: '{{ .Values.image }}'}\n"}}`))
	if err != nil {
		t.Fatal(err)
	}
	images, unparsed := shown(m.Images())
	compare(t, "images", images, []string{"a.example.com/web:1 <- artifacthub.io/images web", "a.example.com/b:1 <- artifacthub.io/images"})
	compare(t, "unparsed", unparsed, []string{
		`"" <- artifacthub.io/images none: an entry without image`, `"{{ .Values.image }}" <- artifacthub.io/images bad: it is a template`,
	})
	for _, text := range []string{"not: a list", "[", "&a [*a]"} {
		m.Annotations["artifacthub.io/images"] = text
		if _, unparsed := shown(m.Images()); len(unparsed) != 1 {
			t.Errorf("%q: %q", text, unparsed)
		}
	}
	if _, err := chart.ParseConfig([]byte(`{"name":"a","name":"b"}`)); err == nil {
		t.Error("a config with a key twice was read")
	}
}

func TestOddManifests(t *testing.T) {
	for name, test := range map[string]struct {
		yaml             string
		images, unparsed int
	}{
		"nothing":                        {"", 0, 0},
		"comments only":                  {"---\n# nothing\n---\n", 0, 0},
		"a list":                         {"kind: List\nitems:\n- {kind: Pod, spec: {containers: [{image: a:1}]}}\n- {kind: Pod, spec: {containers: [{image: b:1}]}}\n", 2, 0},
		"a key twice, the last counts":   {"image: a:1\nimage: b:1\n", 1, 0},
		"one document is broken":         {"image: a:1\n---\na: [\n---\nimage: b:1\n", 2, 1},
		"Windows line ends":              {"image: a:1\r\n---\r\nimage: b:1\r\n", 2, 0},
		"a digest without its algorithm": {"image: {repository: a, digest: " + strings.Repeat("0", 64) + "}", 1, 0},
		"a registry of its own":          {"image: {registry: r.example.com, repository: a, tag: 1}", 1, 0},
		"images of another kind":         {"image: {pullPolicy: Always}\nimages: [a, b]\nspec: {image: [x]}", 0, 0},
		"not given":                      {"image:\n", 0, 1},
		"a template is left":             {"image: '{{ .Values.x }}'", 0, 1},
		"an alias":                       {"a: &a {image: a:1}\nb: *a", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := chart.FromManifests("x", strings.NewReader(test.yaml))
			if err != nil || len(found.Images) != test.images || len(found.Unparsed) != test.unparsed {
				t.Errorf("%+v, %v", found, err)
			}
		})
	}
}

// endless is a stream that does not end.
type endless struct{ line string }

func (e endless) Read(p []byte) (int, error) { return copy(p, e.line), nil }

func TestManifestsAreBounded(t *testing.T) {
	for name, line := range map[string]string{"one document": "a: b # x\n", "one line": "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "many documents": "---\n"} {
		if _, err := chart.FromManifests("x", endless{line}); !errors.Is(err, chart.ErrManifests) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// standIn writes a program in helm's place.
func standIn(t *testing.T, script string) chart.Helm {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a shell script cannot stand in for helm here")
	}
	path := filepath.Join(t.TempDir(), "helm")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return chart.Helm{Path: path, Dir: t.TempDir(), Env: os.Environ()}
}

func TestHelmIsCalled(t *testing.T) {
	t.Setenv("HELM_CACHE_HOME", "/home/somebody") // who may have repositories there
	h := standIn(t, `echo "image: args.example.com/x:$#"; [ "$HELM_CACHE_HOME" != /home/somebody ] || echo "image: a:1"`)
	found, err := h.Render(t.Context(), "chart.tgz", "demo", []string{"a.yaml", "b.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	images, _ := shown(found)
	compare(t, "images", images, []string{"args.example.com/x:7 <- demo:1"})
	if left, _ := os.ReadDir(h.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestHelmFails(t *testing.T) {
	h := standIn(t, `echo "image: a:1"; echo "Error: values don't meet the schema" >&2; exit 1`)
	if _, err := h.Render(t.Context(), "chart.tgz", "demo", nil); err == nil || !strings.Contains(err.Error(), "values don't meet the schema") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := standIn(t, "sleep 60").Render(ctx, "chart.tgz", "demo", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := (chart.Helm{}).Render(t.Context(), "chart.tgz", "demo", nil); !errors.Is(err, chart.ErrNoHelm) {
		t.Errorf("no helm: %v", err)
	}
}

// The real helm renders what is in testdata, wherever there is one. "make interop" has one.
func TestRealHelm(t *testing.T) {
	path := filepath.Join(os.Getenv("AIRGAP_TOOLS"), "helm")
	if os.Getenv("AIRGAP_TOOLS") == "" {
		var err error
		if path, err = exec.LookPath("helm"); err != nil {
			t.Skip("no helm here; testdata has what it rendered")
		}
	}
	h := chart.Helm{Path: path, Dir: t.TempDir(), Env: os.Environ()}
	found, err := h.Render(t.Context(), filepath.Join("testdata", "shop-1.2.0.tgz"), "rendered.yaml", []string{filepath.Join("testdata", "values.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	want, err := chart.FromManifests("rendered.yaml", bytes.NewReader(read(t, "rendered.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	gotImages, gotUnparsed := shown(found)
	wantImages, wantUnparsed := shown(want)
	compare(t, "images", gotImages, wantImages)
	compare(t, "unparsed", gotUnparsed, wantUnparsed)
}

func FuzzFromManifests(f *testing.F) {
	f.Add(read(f, "rendered.yaml"))
	f.Add([]byte("kind: List\nitems: [{image: {repository: a, tag: b}}]\n---\n}{\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		found, err := chart.FromManifests("f", bytes.NewReader(content))
		if err != nil && !errors.Is(err, chart.ErrManifests) {
			t.Fatal(err)
		}
		for _, image := range found.Images {
			if image.Ref == "" || image.Where == "" {
				t.Fatalf("%+v", image)
			}
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"name":"shop","version":"1.2.0","annotations":{"artifacthub.io/images":"- {name: web, image: a:1}"}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if m, err := chart.ParseConfig(content); err == nil {
			m.Images()
		}
	})
}
