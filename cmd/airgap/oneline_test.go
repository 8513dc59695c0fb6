package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/bundle/platform"
	"airgap/export/registry/registrytest"
)

// forgery tries to begin a line of its own in every way that a terminal or a viewer of logs knows.
const forgery = "x\nsigned by FORGED\r\nairgap: FORGED\v\f\x1b[2J\u0085FORGED\u2028FORGED\u2029FORGED\u202eFORGED\u2066\u200b\x7f\n├─ FORGED\n  FORGED\n\nFORGED\n"

// ours is how the lines begin that airgap begins: with an indent or the branch of a tree, or with words of its own.
var ours = regexp.MustCompile(`^($| |[│├└]|airgap: |warning: |signed by sha256:[0-9a-f]{64}$|bundle sha256:|THE SIGNATURE WAS NOT CHECKED|sha256:[0-9a-f]{64}$|` +
	`[0-9]+ images?, |index  |image  |total: |pulls: |missing: |127\.0\.0\.1:[0-9]+(/|: )|/[A-Za-z0-9/.]+tar: |would import |imported |blobs: |manifests: |if nothing |` +
	`[a-z ]+(: (ended|stopped|[0-9.]+ ([KMG]?i?B|[a-z]+)).*)?$)`) // phases

func checkLines(t *testing.T, what, output string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSuffix(output, "\n"), "\n") {
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: unprintable %q in %q", what, line[i:], line)
		}
		begin := strings.TrimLeft(line, " │├└─")
		if !ours.MatchString(line) || strings.HasPrefix(begin, "FORGED") || strings.HasPrefix(begin, "signed by FORGED") || strings.HasPrefix(begin, "airgap: FORGED") {
			t.Errorf("%s: a line that is not ours: %q", what, line)
		}
	}
}

// Whatever an image says in any of its strings stays on the line on which it is shown.
func TestTextFromOutsideIsOneLine(t *testing.T) {
	server := registrytest.New(t)
	pushForged(t, server, "acme/app", "1")
	w := newWorld(t)
	t.Setenv("AIRGAP_PASSWORD", "x")
	key, file := filepath.Join(w.home, "airgap"), filepath.Join(w.home, "b.tar")
	w.expect(t, exitOK, "", "keygen", "--output-key-prefix", key)
	show := func(code int, args ...string) {
		t.Helper()
		w.expect(t, code, "", args...)
		what := "airgap " + strings.Join(args, " ")
		checkLines(t, what, w.out.String())
		checkLines(t, what, w.err.String())
	}
	ref := server.Host() + "/acme/app:1"
	show(exitOK, "plan", ref)
	show(exitOK, "export", ref, "--key", key+".key", "-o", file)
	show(exitOK, "inspect", ref)
	show(exitOK, "inspect", file)
	show(exitUsage, "inspect", file, "--platform", forgery+"/y")
	show(exitOK, "inspect", file, "--key", key+".pub")
	if !strings.Contains(w.out.String(), `FORGED`) {
		t.Errorf("the forgeries are not shown at all:\n%s", w.out.String())
	}
	show(exitOK, "verify", file, "--key", key+".pub", "--deep")
	target := bundletest.StartRegistry(t, true)
	show(exitOK, "import", file, target+"/mirror", "--key", key+".pub", "--dry-run")
	show(exitOK, "import", file, target+"/mirror", "--key", key+".pub")

	// Errors name the platform of what is damaged.
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Replace(content, []byte("a layer"), []byte("A LAYER"), 1)
	badFile := w.write(t, "bad.tar", string(bad))
	show(exitDamaged, "verify", badFile, "--key", key+".pub")
	if !strings.Contains(w.err.String(), "FORGED") {
		t.Errorf("the error does not name the platform: %s", w.err.String())
	}
	show(exitDamaged, "import", badFile, bundletest.StartRegistry(t, true)+"/mirror", "--key", key+".pub")
	w.Stdin = bytes.NewReader(bad)
	show(exitDamaged, "verify", "-", "--key", key+".pub", "--deep")

	// JSON is data, and stays what it was.
	w.expect(t, exitOK, "", "inspect", file, "--json")
	var found inspection
	if err := json.Unmarshal(w.out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	if got, want := found.Images[0].Tree.Children[0].Platform, forgery+"/"+forgery+"/"+forgery; got != want {
		t.Errorf("the platform in JSON is %q, want %q", got, want)
	}
}

// What a registry, or content that is refused, says in an error stays in its line as well.
func TestErrorsFromOutsideAreOneLine(t *testing.T) {
	w := newWorld(t)
	server := registrytest.New(t, registrytest.Faults(registrytest.On("GET", "/v2/denied/", func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		rw.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(rw).Encode(map[string]any{"errors": []any{
			map[string]any{"code": "DENIED" + forgery, "message": forgery, "detail": forgery},
			map[string]any{"code": "DENIED", "message": "denied\nforbidden\n" + forgery},
		}})
		return true
	})))
	quoted := quote(t, forgery)
	config := server.AddBlob("acme/bad", bundle.MediaTypeEmptyJSON, []byte("{}"))
	forged := config
	forged.MediaType = forgery
	for tag, manifest := range map[string]string{
		"type":    fmt.Sprintf(`{"schemaVersion":2,"artifactType":%s,"config":%s}`, quoted, quote(t, config)),
		"config":  fmt.Sprintf(`{"schemaVersion":2,"config":%s}`, quote(t, forged)),
		"itself":  fmt.Sprintf(`{"schemaVersion":2,"mediaType":%s}`, quoted),
		"key":     fmt.Sprintf(`{"schemaVersion":2,%s:1,%s:2}`, quoted, quoted),
		"digest":  fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%s}}`, quoted),
		"version": `{"schemaVersion":"x\nFORGED"}`,
		"number":  `{"schemaVersion":2,"config":{"digest":5}}`,
	} {
		server.AddManifest("acme/bad", tag, bundle.MediaTypeOCIManifest, []byte(manifest))
		w.run("plan", server.Host()+"/acme/bad:"+tag, "--allow-no-referrers")
		checkLines(t, tag, w.out.String())
		checkLines(t, tag, w.err.String())
		if shown := w.out.String() + w.err.String(); strings.Contains(shown, "Go ") || strings.Contains(shown, "json:") {
			t.Errorf("%s: the names of Go's types say nothing here: %s", tag, shown)
		}
	}
	for _, args := range [][]string{
		{"plan", server.Host() + "/denied/app:1"},
		{"inspect", server.Host() + "/denied/app:1"},
		{"inspect", forgery},
		{"verify", forgery, "--key", forgery},
		{"plan", "-f", forgery},
		{"plan", server.Host() + "/denied/app:1", server.Host() + "/denied/app:2"},
	} {
		if code := w.run(args...); code == exitOK {
			t.Errorf("airgap %q went well", args)
		}
		checkLines(t, strings.Join(args, " "), w.out.String())
		checkLines(t, strings.Join(args, " "), w.err.String())
	}
}

// pushForged makes an index with a platform and attestations in which every string that can be is a forgery.
func pushForged(t *testing.T, server *registrytest.Server, repository, tag string) {
	annotations := map[string]string{"predicateType": forgery, "in-toto.io/predicate-type": forgery, "org.opencontainers.image.title": forgery, forgery: forgery}
	blob := func(mediaType, content string) bundle.Descriptor {
		d := server.AddBlob(repository, mediaType, []byte(content))
		d.Annotations = annotations
		return d
	}
	manifest := func(tag, mediaType string, m bundle.Manifest) bundle.Descriptor {
		m.SchemaVersion, m.Annotations = 2, annotations
		d := server.AddManifest(repository, tag, mediaType, []byte(quote(t, m)))
		d.Annotations = annotations
		return d
	}
	config := blob("application/vnd.oci.image.config.v1+json", `{"rootfs":{"type":"layers","diff_ids":["`+bundle.DigestOf([]byte("a layer")).String()+`"]}}`)
	image := manifest("", bundle.MediaTypeOCIManifest, bundle.Manifest{Config: &config, Layers: []bundle.Descriptor{blob("application/vnd.oci.image.layer.v1.tar", "a layer")}})
	image.Platform = &platform.Platform{OS: forgery, Architecture: forgery, Variant: forgery, OSVersion: forgery, OSFeatures: []string{forgery}}
	index := manifest(tag, bundle.MediaTypeOCIIndex, bundle.Manifest{Manifests: []bundle.Descriptor{image}})
	empty := blob(bundle.MediaTypeEmptyJSON, "{}")
	for _, subject := range []bundle.Descriptor{image, index} {
		manifest("", bundle.MediaTypeOCIManifest, bundle.Manifest{
			ArtifactType: "application/vnd.example+json", Config: &empty, Layers: []bundle.Descriptor{blob(forgery, "a proof")}, Subject: &subject,
		})
	}
}

func quote(t *testing.T, v any) string {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
