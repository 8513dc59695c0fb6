package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/config"
	"airgap/export/registry"
)

// environment has a few variables and files.
func environment() config.Environment {
	return config.Environment{
		LookupEnv: func(name string) (string, bool) {
			v, ok := map[string]string{"ORG": "docker.io/acme", "TOKEN": "t0ken", "EMPTY": ""}[name]
			return v, ok
		},
		ReadFile: func(name string) ([]byte, error) {
			if name == "ca.pem" {
				return []byte("\nPEM\n"), nil
			}
			return nil, os.ErrNotExist
		},
		Now: func() time.Time { return time.Unix(1_700_000_000, 0).UTC() },
	}
}

func parse(t *testing.T, text string) *config.File {
	t.Helper()
	file, err := config.Parse("test.yaml", []byte(text), environment())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func parseFile(t *testing.T, name string) *config.File {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(content))
}

func TestDockersSample(t *testing.T) {
	file := parseFile(t, "dhi.yaml")
	if len(file.Notes) != 0 {
		t.Errorf("notes about Docker's own sample: %v", file.Notes)
	}
	if len(file.Entries) != 2 {
		t.Fatalf("%d entries", len(file.Entries))
	}
	e := file.Entries[0]
	if e.Kind != config.KindRepository || registry.DisplayName(e.Repo.Name()) != "docker.io/acme/dhi-node" || e.Target != "mirror/dhi-node" {
		t.Errorf("%+v", e)
	}
	s := e.Settings
	if s.NoReferrers || s.NoCosignTags || s.ReferrerPath != "mirror/dhi-node" || len(s.ReferrersFrom) != 1 || s.ReferrersFrom[0].Name() != "registry.scout.docker.com/acme/dhi-node" {
		t.Errorf("%+v", s)
	}
	selected, excluded := e.SelectTags([]string{"24", "24-debian13", "24-alpine3.22", "24.1-debian12-dev", "25", "latest"})
	if !slices.Equal(selected, []string{"24", "24-debian13"}) {
		t.Errorf("selected %v", selected)
	}
	rules := map[string]string{}
	for _, x := range excluded {
		rules[x.Tag] = x.Rule
	}
	for tag, want := range map[string]string{"24-alpine3.22": "deny .*alpine.*", "24.1-debian12-dev": "deny .*debian12.*", "25": "allow 24.*", "latest": "allow 24.*"} {
		if rules[tag] != want {
			t.Errorf("%s is excluded by %q, want %q", tag, rules[tag], want)
		}
	}
}

// The table is checked against regsync itself in testdata/interop.
func TestMatching(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("testdata", "matching.json"))
	if err != nil {
		t.Fatal(err)
	}
	var table []struct {
		Name, YAML     string
		Tags, Selected []string
	}
	if err := json.Unmarshal(content, &table); err != nil {
		t.Fatal(err)
	}
	for _, row := range table {
		t.Run(row.Name, func(t *testing.T) {
			text := "sync:\n- source: example.com/a\n  target: example.org/a\n  type: repository\n  " + strings.ReplaceAll(row.YAML, "\n", "\n  ")
			selected, excluded := parse(t, text).Entries[0].SelectTags(row.Tags)
			slices.Sort(selected)
			if !slices.Equal(selected, row.Selected) {
				t.Errorf("selected %q, want %q", selected, row.Selected)
			}
			if len(selected)+len(excluded) != len(row.Tags) {
				t.Errorf("of %d tags, %d are selected and %d excluded", len(row.Tags), len(selected), len(excluded))
			}
		})
	}
}

func TestDigestTagsAreNeverSelected(t *testing.T) {
	digest := "sha256-" + strings.Repeat("0a", 32)
	file := parse(t, "sync: [{source: example.com/a, target: example.org/a, type: repository, tags: {allow: ['.*']}}]")
	selected, excluded := file.Entries[0].SelectTags([]string{digest, digest + ".sig", digest + ".att", digest + ".sbom", digest + "-not", "sha256-abc"})
	if !slices.Equal(selected, []string{digest + "-not", "sha256-abc"}) || len(excluded) != 0 {
		t.Errorf("selected %q, excluded %v", selected, excluded)
	}
}

func TestEveryKey(t *testing.T) {
	file := parseFile(t, "everything.yaml")
	if file.Parallel != 4 || file.UserAgent != "acme-mirror" || !file.SkipDockerConfig {
		t.Errorf("%+v", file)
	}
	var idle []string
	for _, note := range file.Notes {
		if note.Unknown {
			t.Errorf("a known key is unknown: %s", note.Message)
		}
		key, rest, _ := strings.Cut(note.Message, " ")
		if strings.HasPrefix(rest, "does nothing") {
			idle = append(idle, key)
		} else if !strings.Contains(rest, "is empty on this side") {
			t.Errorf("a note that nobody expects: %s", note.Message)
		}
	}
	slices.Sort(idle)
	if want := []string{"apiOpts", "backup", "blobChunk", "blobLimit", "blobMax", "cacheCount", "cacheTime", "credExpire", "forceRecursive", "hooks", "interval", "referrerSlow", "schedule"}; !slices.Equal(idle, want) {
		t.Errorf("keys that do nothing: %q, want %q", idle, want)
	}
	for i, want := range []string{
		`registry harbor.example.com/library -> all
repositories: allow library/.*; deny .*test
tags: allow latest
the newest 3 of these
not younger than 72h
referrers: only application/spdx+json, org.example.kind=proof, with what refers to these
nondistributable layers: carried
only of media type application/vnd.oci.image.index.v1+json
waits 15m whenever fewer than 100 pulls are left`,
		`repository docker.io/acme/app -> docker.io/acme/app
tags: semverRange >=1
not younger than 168h
referrers: all
platforms: linux/amd64, linux/arm64
nondistributable layers: carried
only of media type application/vnd.oci.image.index.v1+json
waits 5m whenever fewer than 5 pulls are left`,
		`image docker.io/library/busybox:1@` + bundle.EmptyJSON.String() + ` -> busybox:latest
not younger than 72h
referrers: left out, also from proofs.example.com/busybox, to proofs; cosign tags: left out
platforms: linux/arm/v7
nondistributable layers: carried
only of media type application/vnd.oci.image.index.v1+json
waits 15m whenever fewer than 100 pulls are left`,
	} {
		got := strings.Join(file.Entries[i].Describe(), "\n")
		if got != want {
			t.Errorf("entry %d:\n%s\nwant:\n%s", i, got, want)
		}
	}
	modes := []export.PlatformMode{file.Entries[0].Settings.Mode, file.Entries[1].Settings.Mode, file.Entries[2].Settings.Mode}
	if want := []export.PlatformMode{export.PlatformsSparse, export.PlatformsSparse, export.PlatformsRewritten}; !slices.Equal(modes, want) {
		t.Errorf("modes %q, want %q", modes, want)
	}
	c := file.Charts[0]
	if c.Repo.Name() != "dhi.io/redis-chart" || c.Target != "charts/redis" || !c.Images || c.Latest != 2 || c.ImagesTarget != "from-charts" || !slices.Equal(c.Values, []string{"values.yaml"}) {
		t.Errorf("%+v", c)
	}
}

func TestCredentials(t *testing.T) {
	file := parseFile(t, "everything.yaml")
	if len(file.Creds) != 4 {
		t.Fatalf("%d credentials; that of the target is for nobody here", len(file.Creds))
	}
	hub := file.Creds[0]
	if hub.Registry != "index.docker.io" || hub.ReqPerSec != 2.5 || hub.ReqConcurrent != 3 || !slices.Equal(hub.Mirrors, []string{"mirror.example.com", "other.example.com:5000"}) {
		t.Errorf("%+v", hub)
	}
	if _, err := hub.Evaluate(environment()); !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), "/run/secrets/hub") || !strings.Contains(err.Error(), "test.yaml:6:5") {
		t.Errorf("a missing file: %v", err)
	}
	mirror := file.Creds[1]
	login, err := mirror.Evaluate(environment())
	if err != nil || mirror.TLS != config.TLSInsecure || mirror.PathPrefix != "proxy" || mirror.Priority != 5 || login.CredHelper != "docker-credential-acme" || login.CredHost != "mirror" {
		t.Errorf("%+v %+v %v", mirror, login, err)
	}
	local := file.Creds[2]
	if login, err = local.Evaluate(environment()); err != nil || local.Registry != "localhost:5000" || local.TLS != config.TLSDisabled || login.IdentityToken != "t0ken" {
		t.Errorf("%+v %+v %v", local, login, err)
	}
	if login, err = file.Creds[3].Evaluate(environment()); err != nil || login.RegCert != "PEM" || !strings.HasPrefix(login.ClientKey, "-----BEGIN") {
		t.Errorf("%+v %v", login, err)
	}
}

func TestSecretsAreInNoError(t *testing.T) {
	for _, pass := range []string{`hunter2{{nonsense}}`, `hunter2{{`, `hunter2{{env "GONE"}}`, `{{file "hunter2` + "\n" + `"}}`, `{{ index "hunter2" 99 }}`} {
		quoted, err := json.Marshal(pass)
		if err != nil {
			t.Fatal(err)
		}
		file := parse(t, fmt.Sprintf("creds: [{registry: example.com, pass: %s}]", quoted))
		if _, err := file.Creds[0].Evaluate(environment()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", pass, err)
		}
	}
	for _, text := range []string{"creds: [{registry: example.com, pass: 'hunter2'", "creds:\n - registry: example.com\n   pass: hunter2\n  bad"} {
		if _, err := config.Parse("f", []byte(text), environment()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReferrersAreCarriedUnlessTheFileSaysNo(t *testing.T) {
	for text, want := range map[string][2]bool{ // left out: referrers, cosign tags
		"":                                    {false, false},
		"referrers: true":                     {false, false},
		"referrers: false":                    {true, true},
		"referrers: false, digestTags: true":  {true, false},
		"digestTags: false":                   {false, true},
		"referrers: false, digestTags: false": {true, true},
	} {
		for _, where := range []string{"entry", "defaults"} {
			entry, defaults := ", "+text, ""
			if where == "defaults" {
				entry, defaults = "", text
			}
			file := parse(t, fmt.Sprintf("defaults: {%s}\nsync: [{source: example.com/a, target: b, type: repository%s}]", defaults, strings.TrimSuffix(entry, ", ")))
			if s := file.Entries[0].Settings; s.NoReferrers != want[0] || s.NoCosignTags != want[1] {
				t.Errorf("%s in %s: left out %t, %t; want %v", text, where, s.NoReferrers, s.NoCosignTags, want)
			}
		}
	}
}

func TestDefaultsCanBeTakenAway(t *testing.T) {
	file := parse(t, "defaults: {minAge: 72h, latest: 3}\nsync:\n- {source: example.com/a, target: b, type: repository}\n- {source: example.com/a, target: b, type: repository, minAge: 0s, latest: 0}\n")
	if e := file.Entries[0]; e.MinAge != 72*time.Hour || e.Latest != 3 {
		t.Errorf("%+v", e)
	}
	if e := file.Entries[1]; e.MinAge != 0 || e.Latest != 0 {
		t.Errorf("%+v", e)
	}
}

func TestTargets(t *testing.T) {
	for _, test := range []struct{ kind, source, target, path, tag string }{
		{"repository", "example.com/a/b", "harbor.example.com/p/b", "p/b", ""},
		{"repository", "example.com/a/b", "localhost/p", "p", ""},
		{"repository", "example.com/a/b", "registry:5000/p/q/r", "p/q/r", ""},
		{"repository", "example.com/a/b", "{{env \"TARGET\"}}/p", "p", ""},
		{"repository", "example.com/a/b", "p/q", "p/q", ""},
		{"image", "example.com/a:1", "harbor.example.com/p:2", "p", "2"},
		{"image", "example.com/a:1", "harbor.example.com:443/p", "p", "latest"},
		{"image", "busybox", "harbor.example.com/p:x", "p", "x"},
		{"registry", "example.com", "harbor.example.com", "", ""},
		{"registry", "example.com/", "harbor.example.com/p/q/", "p/q", ""},
		{"registry", "example.com:5000/team", "p", "p", ""},
	} {
		e := parse(t, fmt.Sprintf("sync: [{source: %q, target: %q, type: %s}]", test.source, test.target, test.kind)).Entries[0]
		if e.Target != test.path || e.TargetTag != test.tag {
			t.Errorf("%s: %q %q, want %q %q", test.target, e.Target, e.TargetTag, test.path, test.tag)
		}
	}
}

func TestUnknownKeys(t *testing.T) {
	file := parse(t, "mine: 1\nx-mine: 2\nsync:\n- source: example.com/a\n  target: b\n  type: repository\n  colour: red\n  x-y: 1\n")
	var got []string
	for _, n := range file.Notes {
		if !n.Unknown {
			t.Errorf("%+v", n)
		}
		got = append(got, n.Position.String()+" "+n.Message)
	}
	if len(got) != 2 || !strings.HasPrefix(got[0], `test.yaml:1:1 unknown key "mine"`) || !strings.HasPrefix(got[1], `test.yaml:7:3 unknown key "colour"`) {
		t.Errorf("%q", got)
	}
}

func TestMistakes(t *testing.T) {
	entry := func(more string) string {
		return "sync:\n- source: example.com/a\n  target: b\n  type: repository\n  " + more + "\n"
	}
	for name, test := range map[string]struct{ text, want string }{
		"a key that is nearly right":     {entry("refererrs: true"), `test.yaml:5:3: unknown key "refererrs" in an entry of sync: did you mean "referrers"?`},
		"a key in other case":            {entry("Referrers: true"), `did you mean "referrers"?`},
		"a short key that is off by one": {entry("tag: {allow: [a]}"), `did you mean "tags"?`},
		"nearly right further down":      {entry("tags: {alow: [a]}"), `test.yaml:5:10: unknown key "alow" in tags: did you mean "allow"?`},
		"a duplicate key":                {entry("type: image"), "test.yaml:5:3: "},
		"a bad expression":               {entry("tags: {allow: ['(']}"), `test.yaml:5:18: "(" is not a regular expression`},
		"a bad range":                    {entry("tags: {semverRange: ['>=x']}"), `test.yaml:5:24: ">=x" is not a range`},
		"a newer version":                {"version: 2", "test.yaml:1:10: version 2"},
		"a version that is none":         {"version: one", `the version is "one"`},
		"a list that is none":            {entry("tags: {allow: latest}"), "test.yaml:5:17: this is a single value, but a list is expected"},
		"a mapping that is none":         {entry("tags: [latest]"), "test.yaml:5:9: tags is a list, but a mapping is expected"},
		"a boolean that is none":         {entry("referrers: maybe"), `test.yaml:5:14: "maybe": true or false`},
		"a duration without a unit":      {entry("minAge: 72"), `test.yaml:5:11: "72": a time with its unit`},
		"latest of less than nothing":    {entry("latest: -1"), `"-1": a whole number from 0 on`},
		"a tag at a repository's source": {"sync: [{source: 'example.com:5000/a:1', target: b, type: repository}]", "has a tag or a digest"},
		"a platform that is none":        {entry("platforms: [amd64]"), "no such platform"},
		"a mode that is none":            {entry("platformMode: fat"), "rewrite or sparse"},
		"a type that is none":            {"sync: [{source: a, target: b, type: repo}]", `type is "repo"`},
		"no type":                        {"sync: [{source: a, target: b}]", "without type"},
		"no source":                      {"sync: [{target: b, type: image}]", "without source"},
		"no target":                      {"sync: [{source: b, type: image}]", "without target"},
		"a directory":                    {"sync: [{source: 'ocidir:///a', target: b, type: image}]", "is a directory"},
		"a registry that is none":        {"sync: [{source: library, target: b, type: registry}]", "not the name of a registry"},
		"a tag for a repository":         {"sync: [{source: example.com/a, target: 'example.com/b:1', type: repository}]", "has a tag"},
		"a bad target":                   {"sync: [{source: example.com/a, target: 'example.com/UPPER', type: repository}]", "target: "},
		"a bad template":                 {"sync: [{source: '{{nope}}', target: b, type: image}]", "template cannot be evaluated"},
		"tls that is none":               {"creds: [{registry: a, tls: off}]", `tls is "off"`},
		"two documents":                  {"version: 1\n---\nversion: 1", "more than one document"},
		"not YAML":                       {"sync: [", "test.yaml:1:7: "},
		"an anchor inside itself":        {"x-a: &a [*a]", "stands inside itself"},
		"no such anchor":                 {"x-a: *b", "no anchor"},
		"a merge of a scalar":            {"x-a: {<<: 1}", "<< takes a mapping"},
		"a bad chart range":              {"charts: [{source: example.com/c, versions: '>>1'}]", "not a range of versions"},
		"a classic chart repository":     {"charts: [{source: 'https://example.com/charts'}]", "classic chart repository"},
		"too deep":                       {"x-a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested too deep"},
		"too much by aliases": {"x-a: &a [1,1,1,1,1,1,1,1,1,1]\nx-b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nx-c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
			"x-d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\nx-e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nx-f: [*e,*e,*e,*e,*e]", "too much in all"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("test.yaml", []byte(test.text), environment())
			if !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\nwant something with %q", err, test.want)
			}
		})
	}
}

// Bounds are on what a file stands for, and not on how often a mark stands in it.
func TestLongListsAreRead(t *testing.T) {
	e := parse(t, "x-tag: &tag latest\nsync:\n- source: example.com/a\n  target: b\n  type: repository\n  tags:\n    allow:\n"+
		strings.Repeat("    - *tag\n", 51)+strings.Repeat("    - 'v\\[1'\n", 101)).Entries[0]
	if selected, _ := e.SelectTags([]string{"latest", "v[1", "v1"}); !slices.Equal(selected, []string{"latest", "v[1"}) {
		t.Errorf("%q", selected)
	}
}

// What package template says has names of Go's in it, and where it lists values their addresses.
func TestMistakesInTemplates(t *testing.T) {
	for text, want := range map[string]string{
		`{{.Sync.Nope}}`:         `the template cannot be evaluated: at <.Sync.Nope>: can't evaluate field Nope`,
		`{{.Nope}}`:              `the template cannot be evaluated: at <.Nope>: can't evaluate field Nope`,
		`{{range .Sync}}{{end}}`: `the template cannot be evaluated: at <.Sync>: range can't iterate`,
		`{{file .Sync}}`:         `the template cannot be evaluated: at <.Sync>: wrong type for value; expected string`,
		`{{env 1}}`:              `the template cannot be evaluated: at <1>: expected string; found 1`,
		`{{index .Sync 1}}`:      `the template cannot be evaluated: at <index .Sync 1>: error calling index: can't index item`,
		`{{nope}}`:               `the template cannot be evaluated: function "nope" not defined`,
		`{{`:                     `the template cannot be evaluated: unclosed action`,
	} {
		_, err := config.Parse("f", fmt.Appendf(nil, "sync: [{source: '%s', target: b, type: image}]", text), environment())
		if message, _ := strings.CutPrefix(fmt.Sprint(err), config.ErrConfig.Error()+": f:1:17: "); message != want {
			t.Errorf("%s: %s\nwant %s", text, message, want)
		}
	}
}

func TestMistakesAreReportedTogether(t *testing.T) {
	_, err := config.Parse("test.yaml", []byte("version: 3\nsync:\n- {source: a, target: b, type: repo}\n- {source: a, target: b}\n"), environment())
	for _, want := range []string{"version 3", `type is "repo"`, "without type"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
}

func TestOpenAlternativesAreNoted(t *testing.T) {
	for text, want := range map[string]bool{"a|b": true, "(a|b)": false, "[|]": false, `a\|b`: false, "(a)|b": true, "[]|]x": false} {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		file := parse(t, fmt.Sprintf("sync: [{source: example.com/a, target: b, type: repository, tags: {allow: [%s]}}]", quoted))
		if noted := len(file.Notes) > 0; noted != want {
			t.Errorf("%s: noted %t", text, noted)
		}
	}
}

func TestNewestVersions(t *testing.T) {
	newest, ok := config.NewestVersions([]string{"1.9", "1.10", "1.10-rc1", "2.0-rc.2", "2.0-rc.10", "0.1"})
	if want := []string{"2.0-rc.10", "2.0-rc.2", "1.10", "1.10-rc1", "1.9", "0.1"}; !ok || !slices.Equal(newest, want) {
		t.Errorf("%q, want %q", newest, want)
	}
	if _, ok := config.NewestVersions([]string{"1.0", "latest"}); ok {
		t.Error("latest is not a version")
	}
}

func TestChartVersions(t *testing.T) {
	file := parse(t, "charts:\n- {source: example.com/c, versions: '>=1.0, <3', latest: 2}\n- {source: example.com/c}")
	tags := []string{"0.9.0", "1.0.0", "1.2.0_build.1", "2.0.0", "2.1.0-rc.1", "3.0.0", "main"}
	selected, excluded := file.Charts[0].SelectVersions(tags)
	if !slices.Equal(selected, []string{"2.0.0", "1.2.0_build.1"}) || len(excluded) != 5 {
		t.Errorf("%q, %v", selected, excluded)
	}
	if selected, _ = file.Charts[1].SelectVersions(tags); !slices.Equal(selected, []string{"3.0.0", "2.0.0", "1.2.0_build.1", "1.0.0", "0.9.0"}) {
		t.Errorf("%q", selected)
	}
}

// Whatever the bytes, the parser ends with a file or with an error that says where.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"dhi.yaml", "everything.yaml"} {
		content, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte("x-a: &a {b: *a}\n<<: [*a]\n? [1]\n: 2\n"))
	f.Add([]byte("sync:\n- &x {source: a, target: b, type: image}\n- *x\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if strings.Contains(string(content), "range") || strings.Contains(string(content), "print") {
			return // templates of the user's own can count for a long time
		}
		file, err := config.Parse("f", content, environment())
		if (file == nil) == (err == nil) || err != nil && !errors.Is(err, config.ErrConfig) {
			t.Fatalf("%v, %v", file, err)
		}
		if err != nil {
			return
		}
		for _, e := range file.Entries {
			if e.Kind != config.KindRegistry && bundle.CheckPath(e.Target) != nil {
				t.Fatalf("target %q", e.Target)
			}
			e.SelectTags([]string{"1.2", "latest"})
			e.Describe()
		}
	})
}

// paddedNumber is a number with zeros in front, which makes two tags one version.
var paddedNumber = regexp.MustCompile(`(^|[^0-9])0[0-9]`)

// Which tags are the newest does not depend on the order in which a registry lists them.
func FuzzNewestVersions(f *testing.F) {
	f.Add("1.9", "1.10-rc1", "v1.10")
	f.Add("2.0-rc.2", "2.0-rc.10", "2.0-rc")
	f.Add("24-alpine3.22", "24.1-debian12-dev", "24")
	f.Add("1.0", "1", "1.0.0+x")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if paddedNumber.MatchString(a) || paddedNumber.MatchString(b) || paddedNumber.MatchString(c) {
			return
		}
		want, wantOK := config.NewestVersions([]string{a, b, c})
		for _, tags := range [][]string{{a, c, b}, {b, a, c}, {b, c, a}, {c, a, b}, {c, b, a}} {
			if got, ok := config.NewestVersions(tags); ok != wantOK || !slices.Equal(got, want) {
				t.Fatalf("%q, %t; listed otherwise: %q, %t", want, wantOK, got, ok)
			}
		}
	})
}

func TestPolicy(t *testing.T) {
	if got := parse(t, "version: 1\npolicy: trust.yaml\nsync: []\n").Policy; got != "trust.yaml" {
		t.Errorf("the policy is %q", got)
	}
	if _, err := config.Parse("test.yaml", []byte("policy: [a, b]"), environment()); !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), "test.yaml:1:9") {
		t.Errorf("two policies: %v", err)
	}
}

func TestMirror(t *testing.T) {
	if got := parse(t, "version: 1\nmirror: dhi\nsync: []\n").Mirror; got != "dhi" {
		t.Errorf("the mirror is %q", got)
	}
	if got := parse(t, "version: 1\nsync: []\n").Mirror; got != "" {
		t.Errorf("the mirror is %q, and the file names none", got)
	}
	for _, name := range []string{"DHI", "'a b'", "''", "[dhi]"} {
		if _, err := config.Parse("test.yaml", []byte("mirror: "+name), environment()); !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), "test.yaml:1:9") {
			t.Errorf("mirror: %s: %v", name, err)
		}
	}
}
