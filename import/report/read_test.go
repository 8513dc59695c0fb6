package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/registrytest"
	"airgap/import/importtest"
	"airgap/import/placing"
	"airgap/import/report"
	"airgap/import/rollback"
)

// realReport is what an import writes: version 2 of an image after version 1, into mirror at 127.0.0.1:5000.
func realReport(t testing.TB) []byte {
	t.Helper()
	if keptReport == nil {
		_, first := importtest.Release(t, 1)
		_, second := importtest.Release(t, 2)
		s := registrytest.New(t)
		first.Into(importtest.Client(), s.Host()+"/mirror")
		done := second.ReportOf(importtest.Client(), s.Host()+"/mirror")
		keptReport = bytes.ReplaceAll(done, []byte(s.Host()), []byte("127.0.0.1:5000"))
	}
	return slices.Clone(keptReport)
}

var keptReport []byte

func TestReadReport(t *testing.T) {
	imported, err := report.Read(bytes.NewReader(realReport(t)))
	if err != nil {
		t.Fatal(err)
	}
	if imported.Registry().RegistryStr() != "127.0.0.1:5000" || imported.Target() != "127.0.0.1:5000/mirror" {
		t.Errorf("%s of %s", imported.Target(), imported.Registry())
	}
	asked := &asked{}
	if _, err := rollback.Run(t.Context(), imported, asked, rollback.Options{DryRun: true, Jobs: 1}); err != nil {
		t.Error(err)
	}
	slices.Sort(asked.names)
	for i, want := range []string{"app:1", "app:sha256-", "tool:1", "tool:latest"} {
		if len(asked.names) != 4 || !strings.HasPrefix(asked.names[i], "127.0.0.1:5000/mirror/acme/"+want) {
			t.Errorf("%q are looked at", asked.names)
		}
	}
	// What a later version has to say besides does not matter.
	if _, err := report.Read(bytes.NewReader(changedReport(t, func(done, _ map[string]any) { done["news"] = []any{1} }))); err != nil {
		t.Error(err)
	}
}

// asked is a registry that has nothing, and remembers what it was asked for.
type asked struct {
	rollback.Target // nothing else is asked of it
	names           []string
}

func (a *asked) Resolve(_ context.Context, ref name.Reference) (bundle.Descriptor, error) {
	a.names = append(a.names, ref.Name())
	return bundle.Descriptor{}, registry.ErrNotFound
}

// changedReport is the real report with something else in it.
func changedReport(t testing.TB, change func(done map[string]any, tag map[string]any)) []byte {
	t.Helper()
	var done map[string]any
	if err := json.Unmarshal(realReport(t), &done); err != nil {
		t.Fatal(err)
	}
	tags := done["tags"].([]any)
	at := slices.IndexFunc(tags, func(tag any) bool {
		return tag.(map[string]any)["status"] == "moved" && tag.(map[string]any)["old"] != nil
	})
	change(done, tags[at].(map[string]any))
	content, err := json.Marshal(done)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestReadReportRefuses(t *testing.T) {
	tag := func(field string, value any) []byte {
		return changedReport(t, func(_, tag map[string]any) { tag[field] = value })
	}
	field := func(field string, value any) []byte {
		return changedReport(t, func(done, _ map[string]any) { done[field] = value })
	}
	host := "127.0.0.1:5000"
	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"nothing":                {nil, "JSON refused"},
		"null":                   {[]byte("null"), "JSON refused"},
		"another document":       {[]byte(`{"schemaVersion":2}`), "--report FILE"},
		"two documents":          {append(realReport(t), "{}"...), "JSON refused"},
		"a key twice":            {[]byte(`{"target":"a.example","target":"b.example"}`), "JSON refused"},
		"a key in capitals":      {[]byte(`{"Target":"a.example"}`), "JSON refused"},
		"a list":                 {[]byte("[" + string(realReport(t)) + "]"), "JSON refused"},
		"a dry run":              {field("dryRun", true), "dry run"},
		"a number for a target":  {field("target", 5), "JSON refused"},
		"no target":              {field("target", ""), "bundle and target"},
		"a URL":                  {field("target", "https://harbor.example.com/mirror"), "leave out the https://"},
		"a path that climbs":     {field("target", host+"/../mirror"), "not a repository name"},
		"a host that is none":    {field("target", "harbor.example.com@evil.example/mirror"), "its target"},
		"another host":           {field("target", "harbor.example.com/mirror"), "to which the import went"},
		"tags of one other host": {tag("repository", "evil.example/mirror/acme/app"), "to which the import went"},
		"a longer host":          {tag("repository", host+"0/mirror/acme/app"), "to which the import went"},
		"traversal":              {tag("repository", host+"/mirror/../../etc"), "not a repository name"},
		"a query":                {tag("repository", host+"/mirror/acme/app?x=y"), "not a repository name"},
		"a long name":            {tag("repository", host+"/"+strings.Repeat("a", 300)), "not a repository name"},
		"no repository":          {tag("repository", host+"/"), "not a repository name"},
		"a number for a name":    {tag("repository", 5), "JSON refused"},
		"a tag that climbs":      {tag("tag", "../../../blobs/uploads"), "not a tag"},
		"a digest for a tag":     {tag("tag", bundle.EmptyJSON.String()), "not a tag"},
		"a list of referrers":    {tag("tag", bundle.EmptyJSON.FallbackTag()), "list of referrers"},
		"no tag":                 {tag("tag", ""), "no name"},
		"an object for a tag":    {tag("tag", map[string]any{}), "JSON refused"},
		"no new digest":          {tag("new", nil), "what the import made of it"},
		"another algorithm":      {tag("old", "sha512:00"), "JSON refused"},
		"an old tag for digest":  {tag("old", "latest"), "JSON refused"},
		"a move to itself":       {changedReport(t, func(_, tag map[string]any) { tag["old"] = tag["new"] }), "moved to where it was"},
		"a tag twice":            {changedReport(t, func(done, tag map[string]any) { done["tags"] = append(done["tags"].([]any), tag) }), "twice"},
	} {
		imported, err := report.Read(bytes.NewReader(c.content))
		if !errors.Is(err, report.ErrReport) || imported != nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want: %s", name, err, c.says)
		}
		if errors.Is(err, placing.ErrMapping) {
			t.Errorf("%s: %v is said of an argument", name, err)
		}
	}
}

// FuzzReport: whatever is accepted leads to tags with valid names at the one registry of the report, each once.
func FuzzReport(f *testing.F) {
	f.Add(realReport(f))
	f.Add([]byte(`{"bundle":"` + bundle.EmptyJSON.String() + `","target":"a.example","tags":[{"repository":"a.example/x","tag":"1","new":"` +
		bundle.EmptyJSON.String() + `","status":"moved"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		imported, err := report.Read(bytes.NewReader(content))
		if err != nil {
			if !errors.Is(err, report.ErrReport) {
				t.Errorf("%v", err)
			}
			return
		}
		asked := &asked{}
		done, err := rollback.Run(t.Context(), imported, asked, rollback.Options{DryRun: true, Jobs: 1})
		if err != nil || len(asked.names) != len(done.Tags) {
			t.Fatalf("%d tags, %q, %v", len(done.Tags), asked.names, err)
		}
		seen := map[string]bool{}
		for i, row := range done.Tags {
			path, here := strings.CutPrefix(row.Repository, imported.Registry().RegistryStr()+"/")
			if !here || bundle.CheckPath(path) != nil || bundle.CheckTag(row.Tag) != nil || row.New.IsZero() || row.New == row.Old {
				t.Errorf("%+v", row)
			}
			if full := row.Repository + ":" + row.Tag; asked.names[i] != full || seen[full] {
				t.Errorf("%q was asked for, and not %q", asked.names[i], full)
			}
			seen[asked.names[i]] = true
		}
	})
}
