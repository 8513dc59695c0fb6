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
		"images of another kind":         {"image: {pullPolicy: Always}\nimages: [a, b]", 0, 0},
		"a list of them":                 {"image: [x, {image: a:1}]", 1, 1},
		"content on the first line":      {"--- {image: a:1}\n--- # b\nimage: b:1\n---x: {image: c:1}\n", 3, 0},
		"a directive":                    {"%YAML 1.1\n---\nimage: a:1\n", 1, 0},
		"a byte order mark":              {"\ufeffimage: a:1\n", 1, 0},
		"ends of documents":              {"image: a:1\n...\n---\nimage: b:1\n...\n", 2, 0},
		"JSON, and more of it":           {`{"image": "a:1"}` + "\n" + `{"image": "b:1"}`, 1, 1},
		"a long line, cut at ---":        {"a: " + strings.Repeat("x", 64<<10-3) + "--- x\nimage: a:1\n", 1, 0},
		"text in which there are images": {"a: |\n  image: a:1\n  ---\n  image: b:1\nimage: >-\n  c:1\n", 1, 0},
		"a list with something beside":   {"kind: AllowList\nimage: a:1\nitems: [{image: b:1}]", 2, 0},
		"no text":                        {"a: {image: true}\nb: {image: 12}\nc: {image: '12'}", 1, 2},
		"paths, pictures":                {"a: {image: /x/y}\nb: {image: ./x}\nc: {image: x/logo.PNG}\nd: {image: r.example.com//x}", 0, 4},
		"a tag with a picture's ending":  {"image: a/logo.png:1", 1, 0},
		"left to istio":                  {"image: auto", 0, 1},
		"left to a shell":                {"image: $(IMAGE)", 0, 1},
		"a tag beside it":                {"a: {image: nginx, tag: 1}\nb: {image: 'nginx:2', tag: 1}\nc: {image: {image: nginx, tag: 1}}", 1, 2},
		"a tag alone":                    {"image: {tag: 1}", 0, 1},
		"a repository with a tag":        {"image: {repository: 'r.example.com:5000/a:1'}", 1, 0},
		"a port is no tag":               {"image: {repository: 'r.example.com:5000/a'}", 0, 1},
		"a schema":                       {"properties: {image: {type: object, properties: {tag: {type: string}, image: {type: string}}}}", 0, 0},
		"a merge":                        {"a: &a {image: a:1}\nb: {<<: *a}\nc: {<<: [*a], image: b:1}\nd: {<<: {image: c:1}}", 3, 0},
		"an alias inside itself":         {"a: &a {b: *a, image: a:1}", 1, 1},
		"a merge of itself":              {"a: &a {<<: *a, image: a:1}", 1, 1},
		"a list inside itself":           {"kind: List\nitems: &a [{kind: List, items: *a}, {kind: List, items: *a}]", 0, 1},
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

// What is deep, long or stands for much more than it is takes neither time nor memory, and what stands around it is read.
func TestHostileDocuments(t *testing.T) {
	var aliases, merges strings.Builder
	aliases.WriteString("a0: &a0 {metadata: {name: x}}\n")
	for i := range 30 {
		fmt.Fprintf(&aliases, "a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	merges.WriteString("a0: &a0 {x: 1}\n")
	ended := strings.Builder{}
	ended.WriteString("a: b\n...\n")
	for i := range 100_000 {
		fmt.Fprintf(&ended, "%%TAG !a%d! b\n", i)
	}
	for i := range 30 {
		fmt.Fprintf(&merges, "a%d: &a%d {<<: [*a%d, *a%d]}\n", i+1, i+1, i, i)
	}
	for name, yaml := range map[string]string{
		"brackets":      strings.Repeat("[", 1<<20),
		"closed":        strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
		"dashes":        strings.Repeat("- ", 500_000),
		"nested":        strings.Repeat("{a: ", 1000) + strings.Repeat("}", 1000),
		"many values":   strings.Repeat("- {a: b, c: d}\n", 1<<20),
		"a long line":   strings.Repeat("x", 17<<20),
		"aliases":       aliases.String(),
		"merges":        merges.String(),
		"directives":    ended.String(),
		"aliased parts": "a: &a {" + strings.Repeat("a: 1, ", 100_000) + "}\nkind: List\nitems: [" + strings.Repeat("{metadata: *a}, ", 50_000) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			found, err := chart.FromManifests("x", strings.NewReader("image: a:1\n---\n"+yaml+"\n---\nimage: b:1\n"))
			if err != nil {
				t.Fatal(err)
			}
			images, unparsed := shown(found)
			if len(images) != 2 || len(unparsed) != 1 || !strings.Contains(unparsed[0], "the document from line 2 on") {
				t.Errorf("%q, %q", images, unparsed)
			}
		})
	}
	directives := strings.Builder{}
	for i := range 100_000 {
		fmt.Fprintf(&directives, "%%TAG !a%d! b\n", i)
	}
	found, err := chart.FromManifests("x", strings.NewReader(directives.String()+"---\nimage: a:1\n"))
	if images, _ := shown(found); err != nil || !slices.Equal(images, []string{"a:1 <- x:100002"}) {
		t.Errorf("directives: %q, %v", images, err)
	}
	m := chart.Metadata{Annotations: map[string]string{"artifacthub.io/images": strings.Repeat("[", 1<<20)}}
	if _, unparsed := shown(m.Images()); len(unparsed) != 1 {
		t.Errorf("annotation: %q", unparsed)
	}
}

// What is repeated in reports has a length.
func TestLongTexts(t *testing.T) {
	long := strings.Repeat("é", 100_000)
	yaml := fmt.Sprintf("kind: %s\nmetadata: {name: %s, namespace: %s}\nspec: {name: %s, image: %s}\n---\n*%s\n", long, long, long, long, long, long)
	found, err := chart.FromManifests("x", strings.NewReader(yaml))
	if err != nil || len(found.Unparsed) != 2 {
		t.Fatalf("%d, %v", len(found.Unparsed), err)
	}
	for _, p := range found.Unparsed {
		if n := len(p.Ref) + len(p.Where) + len(p.Reason); n > 2000 {
			t.Errorf("%d bytes", n)
		}
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
	h := standIn(t, `for arg; do echo "arg: '$arg'"; done >"$OUT"; env | grep ^HELM_ >>"$OUT"; echo "image: a:1"`)
	out := filepath.Join(t.TempDir(), "out")
	h.Env = append(h.Env, "OUT="+out, "HELM_CACHE_HOME=/home/somebody", "HELM_REGISTRY_CONFIG=/home/somebody/r", "HELM_PLUGINS=/p")
	found, err := h.Render(t.Context(), "chart.tgz", "demo", []string{"a.yaml", "https://example.com/b,\".yaml", "-"})
	if err != nil {
		t.Fatal(err)
	}
	images, _ := shown(found)
	compare(t, "images", images, []string{"a:1 <- demo:1"})
	if left, _ := os.ReadDir(h.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	compare(t, "arguments", lines[:len(lines)-3], []string{
		"arg: 'template'", "arg: 'airgap'",
		"arg: '--values'", "arg: '" + here + "/a.yaml'",
		"arg: '--values'", `arg: '"` + here + `/https:/example.com/b,"".yaml"'`,
		"arg: '--values'", "arg: '" + here + "/-'",
		"arg: '" + here + "/chart.tgz'",
	})
	for _, line := range lines[len(lines)-3:] {
		if _, value, _ := strings.Cut(line, "="); !strings.HasPrefix(value, h.Dir) {
			t.Errorf("helm gets %s", line)
		}
	}
}

func TestHelmFails(t *testing.T) {
	h := standIn(t, `echo "image: a:1"; echo "Error: values don't meet the schema" >&2; exit 1`)
	if _, err := h.Render(t.Context(), "chart.tgz", "demo", nil); err == nil || !strings.Contains(err.Error(), "values don't meet the schema") {
		t.Errorf("%v", err)
	}
	h = standIn(t, `yes "much to say" | head -c 1000000 >&2; echo "the end" >&2; exit 1`)
	if _, err := h.Render(t.Context(), "chart.tgz", "demo", nil); err == nil || !strings.HasSuffix(err.Error(), "the end") || len(err.Error()) > 10_000 {
		t.Errorf("%.200v", err)
	}
	h = standIn(t, "exec yes '{image: a}'")
	if _, err := h.Render(t.Context(), "chart.tgz", "demo", nil); !errors.Is(err, chart.ErrManifests) {
		t.Errorf("endless: %v", err)
	}
}

func TestHelmIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := standIn(t, "exec sleep 60").Render(ctx, "chart.tgz", "demo", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("before: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	started := filepath.Join(t.TempDir(), "started")
	if err := exec.CommandContext(t.Context(), "mkfifo", started).Run(); err != nil {
		t.Fatal(err)
	}
	h := standIn(t, `: >"$STARTED"; exec sleep 60`)
	h.Env = append(h.Env, "STARTED="+started)
	go func() {
		_, _ = os.ReadFile(started) // until helm has opened it
		cancel()
	}()
	if _, err := h.Render(ctx, "chart.tgz", "demo", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("while it runs: %v", err)
	}
}

func TestNoHelm(t *testing.T) {
	h := chart.Helm{Path: filepath.Join(t.TempDir(), "helm"), Dir: t.TempDir()}
	if _, err := h.Render(t.Context(), "chart.tgz", "demo", nil); !errors.Is(err, chart.ErrNoHelm) {
		t.Errorf("nothing at the path: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := (chart.Helm{Dir: t.TempDir()}).Render(t.Context(), "chart.tgz", "demo", nil); !errors.Is(err, chart.ErrNoHelm) {
		t.Errorf("nothing on the PATH: %v", err)
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
	f.Add([]byte("%YAML 1.1\n--- {a: &a {image: b:1}, b: *a, <<: [*a, {image: c:1}], image: {tag: 1}}\n...\n--- # x\n- {<<: *a}\n"))
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
