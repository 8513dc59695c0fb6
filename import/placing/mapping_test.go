package placing

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
)

func TestParseDestination(t *testing.T) {
	for s, want := range map[string]string{
		"harbor.example.com":                "harbor.example.com",
		"harbor.example.com/":               "harbor.example.com",
		"harbor.example.com/mirror":         "harbor.example.com/mirror",
		"harbor.example.com:8443/a/b/":      "harbor.example.com:8443/a/b",
		"harbor/mirror":                     "harbor/mirror",
		"[::1]:5000/mirror":                 "[::1]:5000/mirror",
		"https://harbor.example.com/mirror": "",
		"":                                  "",
		"/mirror":                           "",
		"harbor.example.com/Mirror":         "",
		"harbor.example.com/a//b":           "",
		"harbor.example.com/mirror:tag":     "",
		"user@harbor.example.com/mirror":    "",
	} {
		d, err := ParseDestination(s)
		switch {
		case want == "" && !errors.Is(err, ErrMapping):
			t.Errorf("%q: %v, %v", s, d, err)
		case want != "" && (err != nil || d.String() != want):
			t.Errorf("%q: %v, %v", s, d, err)
		}
	}
}

func TestParseMapping(t *testing.T) {
	for _, s := range []string{
		"", "=", "a=", "=b", "docker.io/acme/*", "docker.io/acme/app=mirror/*", "*=*/*", "*=Mirror/*", "*=mirror//*",
		"*=mirror/*:!", "a=harbor.example.com:443/b",
	} {
		if m, err := ParseMapping(s); !errors.Is(err, ErrMapping) {
			t.Errorf("%q: %v, %v", s, m, err)
		}
	}
}

// list is Roots of a slice.
type list []bundle.Root

func (l list) Root(row int) bundle.Root           { return l[row] }
func (l list) Roots() iter.Seq2[int, bundle.Root] { return slices.All(l) }

// roots that the tables below are about, in the order of a bundle.
var mappingRoots = list{
	{Source: "docker.io/acme/app:1", Path: "acme/app", Tag: "1", Digest: bundle.Digest{1}},
	{Source: "docker.io/acme/app:2", Path: "acme/app", Tag: "2", Digest: bundle.Digest{2}},
	{Source: "docker.io/acme/dhi-python:3.13@sha256:" + strings.Repeat("03", 32), Path: "acme/dhi-python", Tag: "3.13", Digest: bundle.Digest{3}},
	{Source: "localhost:5000/x@sha256:" + strings.Repeat("04", 32), Path: "x", Digest: bundle.Digest{4}},
}

func TestPlace(t *testing.T) {
	cases := map[string]struct {
		prefix     string
		maps, only []string
		want       []string // PATH:TAG of the images, in order
		problems   []string // parts of the error
		is         error
	}{
		"recorded": {want: []string{"acme/app:1", "acme/app:2", "acme/dhi-python:3.13", "x:"}},
		"prefix":   {prefix: "m/n", want: []string{"m/n/acme/app:1", "m/n/acme/app:2", "m/n/acme/dhi-python:3.13", "m/n/x:"}},
		"a mapping replaces the path and the prefix": {
			prefix: "m", maps: []string{"docker.io/acme/*=mirror/*"},
			want: []string{"mirror/app:1", "mirror/app:2", "mirror/dhi-python:3.13", "m/x:"},
		},
		"the most specific wins": {
			maps: []string{"docker.io/*=all/*", "docker.io/acme/dhi-*=hardened/*", "docker.io/acme/*=acme-mirror/*"},
			want: []string{"acme-mirror/app:1", "acme-mirror/app:2", "hardened/python:3.13", "x:"},
		},
		"of equals the first": {
			maps: []string{"*/acme/app=one", "docker.io/*=two/*", "*o/acme/app=three", "o*/acme/app=never", "*acme/ap*=four/a*"},
			is:   ErrMapping, problems: []string{"o*/acme/app=never"},
		},
		"stars cross slashes, and may be left out": {
			maps: []string{"docker.io/*=hub/*", "localhost:5000/*=local"},
			want: []string{"hub/acme/app:1", "hub/acme/app:2", "hub/acme/dhi-python:3.13", "local:"},
		},
		"tags": {
			maps: []string{"docker.io/acme/app:*=app:v*", "docker.io/acme/dhi-*:3.*=p/*:py3.*", "localhost:5000/x=x:new"},
			want: []string{"app:v1", "app:v2", "p/python:py3.13", "x:new"},
		},
		"digests": {
			maps: []string{"*@sha256:04*=by-digest"},
			want: []string{"acme/app:1", "acme/app:2", "acme/dhi-python:3.13", "by-digest:"},
		},
		"only, by source":          {only: []string{"docker.io/acme/app"}, want: []string{"acme/app:1", "acme/app:2"}},
		"only, by source with tag": {only: []string{"docker.io/acme/*:3*"}, want: []string{"acme/dhi-python:3.13"}},
		"only, by destination":     {prefix: "m", only: []string{"m/acme/app:2", "x"}, want: []string{"m/acme/app:2", "m/x:"}},
		"only, by mapped path":     {maps: []string{"localhost:5000/*=y/*"}, only: []string{"y/*"}, want: []string{"y/x:"}},
		"a mapping of what only leaves out": {
			maps: []string{"localhost:5000/*=y/*"}, only: []string{"*/app:1"}, want: []string{"acme/app:1"},
		},
		"all problems at once": {
			prefix: "m", maps: []string{"quay.io/*=q/*", "docker.io/acme/app:*=app:one"}, only: []string{"*", "nothing"},
			is: ErrCollision, problems: []string{
				"mapping quay.io/*=q/* matches no image", "--only nothing matches no image",
				"docker.io/acme/app:1 and docker.io/acme/app:2 would both become app:one",
			},
		},
		"too long": {
			prefix: strings.Repeat("p", 250), only: []string{"x", "*/app:1"}, want: nil,
			is: ErrMapping, problems: []string{"docker.io/acme/app:1", "is not a repository name"},
		},
		"a tag that lists referrers": {
			maps: []string{"localhost:5000/x=x:sha256-" + strings.Repeat("0", 64)}, is: ErrMapping, problems: []string{"another tag"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := Rules{Only: c.only}
			var err error
			if o.Destination, err = ParseDestination("registry.example.com/" + c.prefix); err != nil {
				t.Fatal(err)
			}
			for _, s := range c.maps {
				m, err := ParseMapping(s)
				if err != nil {
					t.Fatal(err)
				}
				o.Map = append(o.Map, m)
			}
			placed, err := Place(mappingRoots, o)
			if !errors.Is(err, c.is) {
				t.Fatalf("%v, want %v", err, c.is)
			}
			for _, part := range c.problems {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
			if err != nil {
				return
			}
			var got []string
			for _, image := range placed.Images {
				got = append(got, placed.Repos[image.Repo].RepositoryStr()+":"+image.Tag)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
			if len(got)+len(placed.Excluded) != len(mappingRoots) {
				t.Errorf("excluded: %v", placed.Excluded)
			}
		})
	}
}
