package export_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/registry"
)

var someDigest = bundle.EmptyJSON.String()

func TestParseRequest(t *testing.T) {
	for _, test := range []struct{ in, source, path, tag, ref string }{
		{"alpine", "docker.io/library/alpine:latest", "library/alpine", "latest", "index.docker.io/library/alpine:latest"},
		{"docker.io/acme/dhi-python:3.13", "docker.io/acme/dhi-python:3.13", "acme/dhi-python", "3.13", "index.docker.io/acme/dhi-python:3.13"},
		{"localhost:5000/a/b:1", "localhost:5000/a/b:1", "a/b", "1", "localhost:5000/a/b:1"},
		{"r.example/a@" + someDigest, "r.example/a@" + someDigest, "a", "", "r.example/a@" + someDigest},
		{"r.example/a:1@" + someDigest, "r.example/a:1@" + someDigest, "a", "1", "r.example/a@" + someDigest},
		{"r.example/a:1=mirror/b", "r.example/a:1", "mirror/b", "1", "r.example/a:1"},
		{"r.example/a:1=mirror/b:2", "r.example/a:1", "mirror/b", "2", "r.example/a:1"},
		{"r.example/a@" + someDigest + "=mirror/b:2", "r.example/a@" + someDigest, "mirror/b", "2", "r.example/a@" + someDigest},
	} {
		r, err := export.ParseRequest(test.in)
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		if r.Source != test.source || r.Path != test.path || r.Tag != test.tag || r.Ref.Name() != test.ref {
			t.Errorf("%s: source %s, path %s, tag %s, reference %s", test.in, r.Source, r.Path, r.Tag, r.Ref.Name())
		}
	}
	for _, bad := range []string{
		"", "r.example/A:1", "r.example/a:1=", "r.example/a:1=UPPER", "r.example/a:1=b:", "r.example/a:1=../b", "r.example/a:1=b:-x",
		"r.example/a@sha256:123", "r.example/a@sha512:" + strings.Repeat("0", 128), "r.example/a:1 ", "https://r.example/a:1",
	} {
		if _, err := export.ParseRequest(bad); !errors.Is(err, export.ErrReference) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAttestations(t *testing.T) {
	for _, test := range []struct {
		name      string
		rules     []string
		noDefault bool
		image     string
		want      []string
	}{
		{"default for hardened images", nil, false, "docker.io/acme/dhi-python:3", []string{"registry.scout.docker.com/acme/dhi-python"}},
		{"default switched off", nil, true, "docker.io/acme/dhi-python:3", nil},
		{"default is for dhi- only", nil, false, "docker.io/acme/python:3", nil},
		{"default is for Docker Hub only", nil, false, "r.example/acme/dhi-python:3", nil},
		{"a rule replaces the default", []string{"docker.io/acme=p.example/acme"}, false, "docker.io/acme/dhi-python:3", []string{"p.example/acme/dhi-python"}},
		{"index.docker.io is docker.io", []string{"index.docker.io/acme=p.example/acme"}, false, "acme/app:3", []string{"p.example/acme/app"}},
		{"no registry is Docker Hub", []string{"acme=p.example/acme"}, false, "acme/app:3", []string{"p.example/acme/app"}},
		{"the rest of the path is kept", []string{"r.example=p.example/x"}, false, "r.example/a/b/c:1", []string{"p.example/x/a/b/c"}},
		{"the most specific wins", []string{"r.example=p.example", "r.example/a=q.example/a", "r.example/a/b=s.example"}, false, "r.example/a/b:1", []string{"s.example/library/x"}},
		{"whole path elements only", []string{"r.example/acme=p.example/acme"}, false, "r.example/acmecorp/app:1", nil},
		{"several of the same", []string{"r.example=p.example", "r.example=q.example"}, false, "r.example/a:1", []string{"p.example/a", "q.example/a"}},
	} {
		a, err := export.ParseAttestations(test.rules, test.noDefault)
		if err != nil {
			t.Fatal(err)
		}
		repositories, err := a.For(parse(t, test.image).Ref.Context())
		if test.name == "the most specific wins" { // a registry alone names no repository
			if !errors.Is(err, export.ErrReference) {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		var got []string
		for _, r := range repositories {
			got = append(got, registry.DisplayName(r.Name()))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	for _, bad := range []string{"", "a", "=b", "a=", "r.example/a@sha256:1=b"} {
		if _, err := export.ParseAttestations([]string{bad}, false); !errors.Is(err, export.ErrReference) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A tag that registries keep for lists of referrers is no image's, at the destination.
func TestFallbackTagIsNoDestination(t *testing.T) {
	f := newFaulty(t)
	reserved := f.image.Digest.FallbackTag()
	_, err := f.exporting(t, export.WalkOptions{}, "acme/app:1=acme/app:"+reserved).run(t.Context())
	if !errors.Is(err, export.ErrReference) || !strings.Contains(err.Error(), "another destination") {
		t.Errorf("%v", err)
	}
	// What cosign kept there may be carried as an image.
	if _, err := f.exporting(t, export.WalkOptions{}, "acme/app:1=acme/app:"+reserved+".sig").run(t.Context()); err != nil {
		t.Error(err)
	}
}
