package catalogue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/platform"
	"airgap/export"
	"airgap/export/catalogue"
	"airgap/export/config"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
	"airgap/export/registry/repositories"
	"airgap/export/registry/retry"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func nowFunc() time.Time { return now }

// image adds an image that was made so long ago; "" does not say when.
func image(t *testing.T, s *Server, repo, tag, age string) {
	t.Helper()
	created := ""
	if age != "" {
		d, err := time.ParseDuration(age)
		if err != nil {
			t.Fatal(err)
		}
		created = fmt.Sprintf(`,"created":%q`, now.Add(-d).Format(time.RFC3339))
	}
	config := s.AddBlob(repo, "application/vnd.oci.image.config.v1+json", fmt.Appendf(nil, `{"os":"linux","n":%q%s}`, tag, created))
	m := bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config, Layers: []bundle.Descriptor{}}
	content, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	d := s.AddManifest(repo, "platform-of-"+tag, m.MediaType, content)
	d.Platform = &platform.Platform{OS: "linux", Architecture: "amd64"}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": []bundle.Descriptor{d}, "annotations": map[string]string{"tag": tag}})
	if err != nil {
		t.Fatal(err)
	}
	s.AddManifest(repo, tag, bundle.MediaTypeOCIIndex, index)
}

func choose(t *testing.T, text string) *export.Selection {
	t.Helper()
	file, err := config.Parse("regsync.yaml", []byte(text), config.Environment{})
	if err != nil {
		t.Fatal(err)
	}
	client := registry.New(registry.Config{
		Host:  func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		Retry: retry.Policy{Attempts: 1},
	})
	choice := &catalogue.Choice{Wanted: catalogue.Wanted{Files: []*config.File{file}}, Lister: repositories.Lister{Client: client}, Source: client, Now: nowFunc}
	s, err := choice.Choose(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// chosen is a choice that has been made.
type chosen struct{ *export.Selection }

func (c chosen) Choose(context.Context, bundle.Observer) (*export.Selection, error) {
	return c.Selection, nil
}

func (chosen) Fingerprint() string { return "" }

// names are the sources of the requests, without the host.
func names(s *export.Selection, host string) (all []string) {
	for _, r := range s.Requests {
		all = append(all, strings.TrimPrefix(r.Source, host+"/")+"="+r.Path+":"+r.Tag)
	}
	slices.Sort(all)
	return all
}

func rules(s *export.Selection, host string) map[string]string {
	all := map[string]string{}
	for _, x := range s.Excluded {
		all[strings.TrimPrefix(x.Source, host+"/")] = x.Rule
	}
	return all
}

func TestRepository(t *testing.T) {
	s := New(t)
	for _, tag := range []string{"1.0", "1.1", "2.0", "latest"} {
		image(t, s, "acme/app", tag, "1h")
	}
	signature := "sha256-" + strings.Repeat("0", 64) + ".sig"
	s.AddManifest("acme/app", signature, bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+bundle.MediaTypeOCIIndex+`","manifests":[]}`))
	got := choose(t, fmt.Sprintf("sync: [{source: %s/acme/app, target: harbor/mirror/app, type: repository, tags: {allow: ['[0-9].*'], deny: ['2.*']}}]", s.Host()))
	if want := []string{"acme/app:1.0=harbor/mirror/app:1.0", "acme/app:1.1=harbor/mirror/app:1.1"}; !slices.Equal(names(got, s.Host()), want) {
		t.Errorf("%q, want %q", names(got, s.Host()), want)
	}
	if r := rules(got, s.Host()); r["acme/app:2.0"] != "deny 2.*" || r["acme/app:latest"] != "allow [0-9].*" || r["acme/app:"+signature] != "" {
		t.Errorf("excluded: %v", r)
	}
	if got.Requests[0].Entry != "regsync.yaml:1:8" {
		t.Errorf("entry %q", got.Requests[0].Entry)
	}
	if tags := got.Tags[s.Repo("acme/app").Name()]; len(tags) != 1 {
		t.Errorf("digest tags: %v", tags)
	}
}

func TestRegistry(t *testing.T) {
	s := New(t, Faults(On("GET", "/v2/_catalog", Answer(200, `{"repositories":["acme/app","acme/test","other/app"]}`, "Content-Type", "application/json"))))
	for _, repo := range []string{"acme/app", "acme/test", "other/app"} {
		image(t, s, repo, "1", "1h")
	}
	got := choose(t, fmt.Sprintf("sync: [{source: %s/acme, target: harbor.example.com/all, type: registry, repos: {deny: ['.*test']}, tags: {allow: ['1']}}]", s.Host()))
	if want := []string{"acme/app:1=all/acme/app:1"}; !slices.Equal(names(got, s.Host()), want) {
		t.Errorf("%q, want %q", names(got, s.Host()), want)
	}
	if r := rules(got, s.Host()); r["acme/test"] != "deny .*test" {
		t.Errorf("excluded: %v", r)
	}
}

func TestLatest(t *testing.T) {
	s := New(t)
	for tag, age := range map[string]string{"1.9": "1h", "1.10": "2h", "1.2": "3h", "1.10-rc1": "1m"} {
		image(t, s, "acme/versions", tag, age)
	}
	for tag, age := range map[string]string{"main": "1h", "feature": "3h", "release": "2h"} {
		image(t, s, "acme/branches", tag, age)
	}
	got := choose(t, fmt.Sprintf(`sync:
- {source: %[1]s/acme/versions, target: v, type: repository, latest: 2, tags: {deny: ['platform.*']}}
- {source: %[1]s/acme/branches, target: b, type: repository, latest: 2, tags: {deny: ['platform.*']}}`, s.Host()))
	if want := []string{"acme/branches:main=b:main", "acme/branches:release=b:release", "acme/versions:1.10-rc1=v:1.10-rc1", "acme/versions:1.10=v:1.10"}; !slices.Equal(names(got, s.Host()), want) {
		t.Errorf("%q, want %q", names(got, s.Host()), want)
	}
	if r := rules(got, s.Host()); r["acme/versions:1.9"] != "latest 2" || r["acme/branches:feature"] != "latest 2" {
		t.Errorf("excluded: %v", r)
	}
}

// The newest that are old enough are chosen, not the newest if they are old enough.
func TestMinAge(t *testing.T) {
	s := New(t)
	for tag, age := range map[string]string{"3": "1h", "2": "100h", "1": "200h", "0.1": "", "4": "71h59m"} {
		image(t, s, "acme/app", tag, age)
	}
	got := choose(t, fmt.Sprintf("sync: [{source: %s/acme/app, target: b, type: repository, latest: 1, minAge: 72h, tags: {deny: ['platform.*']}}]", s.Host()))
	if want := []string{"acme/app:2=b:2"}; !slices.Equal(names(got, s.Host()), want) {
		t.Errorf("%q, want %q", names(got, s.Host()), want)
	}
	waiting := map[string]bool{}
	for _, x := range got.Excluded {
		waiting[strings.TrimPrefix(x.Source, s.Host()+"/")] = x.Waiting
	}
	if !waiting["acme/app:3"] || !waiting["acme/app:4"] || waiting["acme/app:1"] {
		t.Errorf("waiting: %v", waiting)
	}
	if r := rules(got, s.Host()); !strings.Contains(r["acme/app:3"], "waits until 2026-11-23T11:00:00Z") {
		t.Errorf("excluded: %v", r)
	}
	got = choose(t, fmt.Sprintf("sync: [{source: '%s/acme/app:0.1', target: b, type: image, minAge: 72h}]", s.Host()))
	if len(got.Requests) != 0 || !got.Excluded[0].Waiting {
		t.Errorf("an image that does not say when it was made: %v %v", got.Requests, got.Excluded)
	}
}

func TestOneFailureDoesNotEndTheOthers(t *testing.T) {
	s := New(t, Faults(On("GET", "/acme/broken/tags/", Answer(500, ""))))
	image(t, s, "acme/app", "1", "1h")
	got := choose(t, fmt.Sprintf(`sync:
- {source: %[1]s/acme/broken, target: x/broken, type: repository}
- {source: %[1]s/acme/none, target: x/none, type: repository}
- {source: 'localhost:1', target: x, type: registry}
- {source: %[1]s/acme/app, target: y, type: repository, tags: {allow: ['1']}}`, s.Host()))
	if want := []string{"acme/app:1=y:1"}; !slices.Equal(names(got, s.Host()), want) {
		t.Errorf("%q, want %q", names(got, s.Host()), want)
	}
	var failed []string
	for _, f := range got.Failures {
		failed = append(failed, f.Path)
	}
	slices.Sort(failed)
	if want := []string{"x", "x/broken", "x/none"}; !slices.Equal(failed, want) {
		t.Errorf("failed: %q, want %q", failed, want)
	}
}

// walk walks what was selected, one request after the other, with the lists of tags.
func walk(t *testing.T, got *export.Selection) *export.Plan {
	t.Helper()
	return walkWith(t, got, nil, now)
}

// walkWith is walk for an hour from some time on, with what earlier plans have found out.
func walkWith(t *testing.T, got *export.Selection, facts export.Facts, at time.Time) *export.Plan {
	t.Helper()
	client := registry.New(registry.Config{
		Host:  func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		Retry: retry.Policy{Attempts: 1},
	})
	times := []time.Time{at, at.Add(time.Hour)}
	clock := func() time.Time {
		at := times[0]
		times = times[len(times)-1:]
		return at
	}
	o := export.Options{Walk: export.WalkOptions{Facts: facts}, Created: now, Now: clock, Jobs: 1}
	plan, err := export.MakePlan(t.Context(), client, chosen{got}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plan.Close() })
	return plan
}

// sampled is for how many digests of a registry the walk asks whatever the list says.
const sampled = 100

// A repository that several entries are about is listed once. Once the lists have been checked against some digests, the walk
// does not ask for tags that they lack.
func TestListsAreSharedWithTheWalk(t *testing.T) {
	s := New(t)
	for i := range sampled {
		image(t, s, "acme/app", fmt.Sprintf("t%03d", i), "1h") // two digests each
	}
	image(t, s, "acme/other", "1", "1h")
	got := choose(t, fmt.Sprintf(`sync:
- {source: %[1]s/acme/other, target: z, type: repository, tags: {allow: ['1']}}
- {source: %[1]s/acme/app, target: x, type: repository, tags: {allow: ['t.*']}}
- {source: %[1]s/acme/app, target: y, type: repository, tags: {allow: ['t.*']}}`, s.Host()))
	if n := s.Count(http.MethodGet, "/acme/app/tags/list"); n != 1 {
		t.Errorf("listed %d times", n)
	}
	s.Forget()
	walk(t, got)
	if n := s.Count(http.MethodHead, ".sig"); n != sampled+1 {
		t.Errorf("%d digests were asked for although the list lacks them, want %d, and the first of the other repository", n, sampled)
	}
}

// sign puts something under the tag under which cosign keeps signatures.
func sign(t *testing.T, s *Server, repo, tag string) bundle.Digest {
	t.Helper()
	subject := bundle.DigestOf(s.StoredManifest(repo, tag))
	config := s.AddBlob(repo, "application/vnd.oci.image.config.v1+json", []byte(`{}`))
	content, err := json.Marshal(bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config, Layers: []bundle.Descriptor{},
		Annotations: map[string]string{"signs": subject.String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.AddManifest(repo, subject.FallbackTag()+".sig", bundle.MediaTypeOCIManifest, content).Digest
}

// Where tags and digests are routed to different stores, a signature is found by its tag alone, and no list has it.
func TestSignaturesThatOnlyTheirTagsLeadTo(t *testing.T) {
	s := New(t)
	var signatures []bundle.Digest
	image(t, s, "acme/last", "1", "1h")
	signatures = append(signatures, sign(t, s, "acme/last", "1"))
	for i := range sampled {
		image(t, s, "acme/app", fmt.Sprintf("t%03d", i), "1h")
	}
	signatures = append(signatures, sign(t, s, "acme/app", "t000")) // not among the first digests: the walk begins at the last tag
	s.Inject(RoutesApart())
	got := choose(t, fmt.Sprintf(`sync:
- {source: %[1]s/acme/last, target: y, type: repository, tags: {allow: ['1']}}
- {source: %[1]s/acme/app, target: x, type: repository, tags: {allow: ['t.*']}}`, s.Host()))
	s.Forget()
	plan := walk(t, got)
	if err := plan.Err(); err != nil {
		t.Fatal(err)
	}
	for i, d := range signatures {
		if _, found := plan.Contents.Find(d); !found {
			t.Errorf("signature %d is not carried", i)
		}
	}
	if n := s.Count(http.MethodHead, ".sig"); n != 2*sampled+2+2 { // and the signatures' own
		t.Errorf("%d digests were asked for", n)
	}
}

// A registry that sends on to another is a front of several, whose list is that of one of them.
func TestListsOfAFrontProveNothing(t *testing.T) {
	s := New(t)
	for i := range sampled {
		image(t, s, "acme/app", fmt.Sprintf("t%03d", i), "1h")
	}
	signature := sign(t, s, "acme/app", "t000")
	s.Inject(RoutesApart())
	front := New(t, Faults(On("", "/manifests/", RedirectTo(s.URL)), On("", "/tags/list", RedirectTo(s.URL)), On("", "/referrers/", RedirectTo(s.URL))))
	plan := walk(t, choose(t, fmt.Sprintf("sync: [{source: %s/acme/app, target: x, type: repository, tags: {allow: ['t.*']}}]", front.Host())))
	if err := plan.Err(); err != nil {
		t.Fatal(err)
	}
	if _, found := plan.Contents.Find(signature); !found {
		t.Error("the signature is not carried")
	}
}

// The referrers API is asked for each digest, unless nobody there but the web server has ever answered, and the list of tags is
// believed. A 404 of the registry's own may be about the digest alone.
func TestReferrersOfARegistryWithoutTheirPath(t *testing.T) {
	for name, test := range map[string]struct {
		answer Fault
		asked  int
	}{
		"the web server's 404": {Answer(404, "404 page not found\n", "Content-Type", "text/plain"), sampled},
		"the registry's 404":   {Code(404, "MANIFEST_UNKNOWN", "manifest unknown"), 2 * sampled},
		"both":                 {First(Times(1, Code(404, "MANIFEST_UNKNOWN", "manifest unknown")), Answer(404, "404 page not found\n")), 2 * sampled},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(t)
			for i := range sampled {
				image(t, s, "acme/app", fmt.Sprintf("t%03d", i), "1h") // two digests each
			}
			got := choose(t, fmt.Sprintf("sync: [{source: %s/acme/app, target: x, type: repository, tags: {allow: ['t.*']}}]", s.Host()))
			s.Inject(On("GET", "/referrers/", test.answer))
			s.Forget()
			if err := walk(t, got).Err(); err != nil {
				t.Fatal(err)
			}
			if n := s.Count(http.MethodGet, "/referrers/"); n != test.asked {
				t.Errorf("asked %d times, want %d", n, test.asked)
			}
		})
	}
}

// At a registry without the referrers API the fallback tags are in the list, too: those that are there are read, and no
// other is asked for.
func TestFallbackTagsAreTakenFromTheList(t *testing.T) {
	s := New(t, NoReferrersAPI())
	image(t, s, "acme/app", "1", "1h")
	index := bundle.DigestOf(s.StoredManifest("acme/app", "1"))
	empty := s.AddBlob("acme/app", bundle.MediaTypeEmptyJSON, []byte("{}"))
	content, err := json.Marshal(bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, ArtifactType: "application/spdx+json", Config: &empty, Layers: []bundle.Descriptor{empty},
		Subject: &bundle.Descriptor{MediaType: bundle.MediaTypeOCIIndex, Digest: index, Size: int64(len(s.StoredManifest("acme/app", "1")))},
	})
	if err != nil {
		t.Fatal(err)
	}
	sbom := s.AddManifest("acme/app", "", bundle.MediaTypeOCIManifest, content)
	list, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": []bundle.Descriptor{sbom}})
	if err != nil {
		t.Fatal(err)
	}
	s.AddManifest("acme/app", index.FallbackTag(), bundle.MediaTypeOCIIndex, list)

	for i := range sampled {
		image(t, s, "acme/other", fmt.Sprintf("t%03d", i), "1h")
	}
	got := choose(t, fmt.Sprintf(`sync:
- {source: %[1]s/acme/app, target: x, type: repository, tags: {allow: ['1']}}
- {source: %[1]s/acme/other, target: y, type: repository, tags: {allow: ['t.*']}}`, s.Host()))
	s.Forget()
	plan := walk(t, got)
	if _, found := plan.Contents.Find(sbom.Digest); !found {
		t.Error("the SBOM under the fallback tag is not carried")
	}
	if n := s.Count(http.MethodGet, "/acme/app/manifests/sha256-"); n != 1 {
		t.Errorf("%d fallback tags were read, want the one that there is", n)
	}
}
