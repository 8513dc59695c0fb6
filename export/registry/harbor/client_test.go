package harbor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/export/registry/retry"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newRegistryClient returns a client that does not really wait.
func newRegistryClient(t testing.TB, keychain authn.Keychain) *registry.Client {
	c := registry.New(registry.Config{
		Keychain: keychain,
		Host:     func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		Retry:    retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// find returns the Client of an account; the zero Account is nobody.
func find(t testing.TB, s *harbortest.Server, who harbortest.Account) *harbor.Client {
	t.Helper()
	var keychain authn.Keychain
	if who.Name != "" {
		keychain = who.Keychain()
	}
	c, err := harbor.Find(t.Context(), newRegistryClient(t, keychain), s.Registry())
	ok(t, err)
	if c == nil || c.Registry() != s.Registry() {
		t.Fatal("Harbor was not found")
	}
	return c
}

// wantError fails unless err is all of the targets, says what was tried, and has no secret.
func wantError(t testing.TB, err error, says string, targets ...error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("%q is not %q", err, target)
		}
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("%q does not say %q", err, says)
	}
	if strings.Contains(err.Error(), harbortest.Admin.Secret) || strings.Contains(err.Error(), "secret-") {
		t.Errorf("%q has a secret", err)
	}
	var e *registry.Error
	if !errors.As(err, &e) {
		t.Errorf("%q is no *registry.Error", err)
	}
}

func TestFind(t *testing.T) {
	s := harbortest.New(t)
	find(t, s, harbortest.Account{})
	if got := s.Requests(); len(got) != 1 || got[0].Header.Get("Authorization") != "" {
		t.Errorf("asked %v", got)
	}
	for label, other := range map[string]http.HandlerFunc{
		"another registry": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "404 page not found", http.StatusNotFound) },
		"a site":           func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat("<html>", 1000))) },
		"another Pong":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("Pong!")) },
		"a login":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
	} {
		server := httptest.NewServer(other)
		reg, err := name.NewRegistry(server.Listener.Addr().String())
		ok(t, err)
		c, err := harbor.Find(t.Context(), newRegistryClient(t, nil), reg)
		if c != nil || err != nil {
			t.Errorf("%s: %v, %v", label, c, err)
		}
		server.Close()
		if label != "a login" {
			continue
		}
		_, err = harbor.Find(t.Context(), newRegistryClient(t, nil), reg)
		wantError(t, err, "look for Harbor at", registry.ErrUnavailable)
	}
	s.Inject(registrytest.Answer(http.StatusBadGateway, "<html>"))
	_, err := harbor.Find(t.Context(), newRegistryClient(t, nil), s.Registry())
	wantError(t, err, "look for Harbor at", registry.ErrUnavailable)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := harbor.Find(done, newRegistryClient(t, nil), s.Registry()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSystem(t *testing.T) {
	s := harbortest.New(t, harbortest.With(func(set *harbortest.Settings) { set.ReadOnly, set.ProjectCreation = true, "adminonly" }))
	s.Advance(-time.Hour)
	robot := s.AddRobot("library", "imp", harbortest.Push)
	got, err := find(t, s, robot).System(t.Context())
	ok(t, err)
	if late := time.Since(got.Clock) - time.Hour; late < -2*time.Second || late > time.Minute {
		t.Errorf("the clock is %s", got.Clock)
	}
	got.Clock = time.Time{}
	want := harbor.System{
		Known: true, Version: "v2.14.4", ReadOnly: true, ProjectCreation: harbor.CreationAdminOnly, ExternalURL: s.URL,
	}
	if got != want {
		t.Errorf("%+v", got)
	}
	for _, who := range []harbortest.Account{{}, {Name: "admin", Secret: "wrong"}} {
		got, err := find(t, s, who).System(t.Context())
		ok(t, err)
		if got.Known || got.Version != "" || got.Clock.IsZero() {
			t.Errorf("%q sees %+v", who.Name, got)
		}
	}
}

func TestAccount(t *testing.T) {
	s := harbortest.New(t)
	ada := s.AddUser("ada")
	for who, want := range map[harbortest.Account]harbor.Account{
		harbortest.Admin: {Name: "admin", Admin: true}, ada: {Name: "ada"}, s.AddRobot("library", "imp"): {Robot: true},
	} {
		got, err := find(t, s, who).Account(t.Context())
		ok(t, err)
		if got != want {
			t.Errorf("%s: %+v", who.Name, got)
		}
	}
	for _, who := range []harbortest.Account{{}, {Name: "ada", Secret: "wrong"}} {
		_, err := find(t, s, who).Account(t.Context())
		wantError(t, err, "ask for the account at", harbor.ErrNotAllowed, registry.ErrUnauthorized)
	}
}

func TestMayCreateProject(t *testing.T) {
	s := harbortest.New(t)
	system := s.AddSystemRobot("imp", nil)
	creator := s.AddSystemRobot("make", map[string][]harbortest.Right{harbortest.TheSystem: {harbortest.CreateProject}})
	member, ada := s.AddRobot("library", "imp", harbortest.Push), s.AddUser("ada")
	for creation, may := range map[string]map[harbortest.Account]bool{
		"everyone":  {harbortest.Admin: true, system: true, creator: true, member: false, ada: true},
		"adminonly": {harbortest.Admin: true, system: false, creator: true, member: false, ada: false},
	} {
		s.Change(func(set *harbortest.Settings) { set.ProjectCreation = creation })
		for who, want := range may {
			got, err := find(t, s, who).MayCreateProject(t.Context())
			ok(t, err)
			if got != want {
				t.Errorf("%s, %s: %t", creation, who.Name, got)
			}
		}
	}
	if got := s.Projects(); !slices.Equal(got, []string{"library"}) {
		t.Errorf("projects %v", got)
	}
	_, err := find(t, s, harbortest.Account{}).MayCreateProject(t.Context())
	wantError(t, err, "401", harbor.ErrNotAllowed)
	s.Change(func(set *harbortest.Settings) { set.ReadOnly = true })
	_, err = find(t, s, harbortest.Admin).MayCreateProject(t.Context())
	wantError(t, err, "403", harbor.ErrReadOnly)
}

func TestAtLeast(t *testing.T) {
	for _, test := range []struct {
		version   string
		is, known bool // at least 2.8
	}{
		{"v2.14.4-1a2b3c4d", true, true}, {"v2.8.0", true, true}, {"v2.7.9", false, true}, {"v3.0", true, true}, {"v1.10.1", false, true},
		{"2.9.1", true, true}, {"v2.8", true, true}, {"dev", false, false}, {"", false, false}, {"v2", false, false}, {"v2.8x", false, false},
	} {
		is, known := harbor.System{Version: test.version}.AtLeast(2, 8)
		if is != test.is || known != test.known {
			t.Errorf("%q: %t, %t", test.version, is, known)
		}
	}
}

func TestProjectExists(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "hidden"})
	s.AddProject(harbortest.Project{Name: "2"})
	c := find(t, s, s.AddRobot("library", "imp", harbortest.Push))
	for project, want := range map[string]bool{"hidden": true, "2": true, "1": false, "absent": false, "library": true} {
		got, err := c.ProjectExists(t.Context(), project)
		ok(t, err)
		if got != want {
			t.Errorf("%s: %t", project, got)
		}
	}
	_, err := find(t, s, harbortest.Account{}).ProjectExists(t.Context(), "hidden")
	wantError(t, err, "look for project hidden at", harbor.ErrNotAllowed, registry.ErrUnauthorized)
	s.Change(func(set *harbortest.Settings) { set.HeadForMembers = true })
	for _, project := range []string{"hidden", "absent"} {
		_, err := c.ProjectExists(t.Context(), project)
		wantError(t, err, "403", harbor.ErrNotAllowed)
	}
	s.Forget()
	for _, wrong := range []string{"", "LAB", "a/b", "a..b", "-a", "a?b", "..", strings.Repeat("x", 256)} {
		if _, err := c.ProjectExists(t.Context(), wrong); !errors.Is(err, bundle.ErrFormat) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if len(s.Requests()) != 0 {
		t.Error("asked for names that are none")
	}
}

func TestProject(t *testing.T) {
	s := harbortest.New(t)
	settings := harbortest.Project{
		Name: "lab", ContentTrust: true, ContentTrustNotary: true, PreventVulnerable: true, Severity: "high", AutoScan: true, ProxyCache: true,
	}
	s.AddProject(settings)
	s.AddProject(harbortest.Project{Name: "1"})
	admin := find(t, s, harbortest.Admin)
	got, err := admin.Project(t.Context(), "lab")
	ok(t, err)
	want := harbor.Project{
		ID: 2, Name: "lab", ContentTrust: true, ContentTrustNotary: true, PreventVulnerable: true, Severity: "high", AutoScan: true, ProxyCache: true,
	}
	if got != want {
		t.Errorf("%+v", got)
	}
	got, err = admin.Project(t.Context(), "1")
	ok(t, err)
	if got.ID != 3 || got.Public {
		t.Errorf("a name of digits: %+v", got)
	}
	got, err = find(t, s, harbortest.Account{}).Project(t.Context(), "library")
	ok(t, err)
	if !got.Public {
		t.Errorf("public: %+v", got)
	}
	_, err = admin.Project(t.Context(), "absent")
	wantError(t, err, "read project absent at", registry.ErrNotFound)
	if errors.Is(err, harbor.ErrNotAllowed) {
		t.Errorf("%v is no refusal", err)
	}
	robot := find(t, s, s.AddRobot("lab", "imp", harbortest.Push))
	for _, project := range []string{"lab", "absent"} {
		_, err = robot.Project(t.Context(), project)
		wantError(t, err, "403 Forbidden: FORBIDDEN: forbidden", harbor.ErrNotAllowed, registry.ErrForbidden)
	}
	_, err = find(t, s, harbortest.Account{Name: "admin", Secret: "wrong-secret-1"}).Project(t.Context(), "lab")
	wantError(t, err, "401", harbor.ErrNotAllowed, registry.ErrUnauthorized)
}

func TestQuota(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab", Quota: 1000})
	s.AddBlob("lab/app", "", make([]byte, 300))
	s.AddBlob("lab/other", "", make([]byte, 300))
	admin := find(t, s, harbortest.Admin)
	got, err := admin.Quota(t.Context(), "lab")
	ok(t, err)
	if got != (harbor.Quota{Hard: 1000, Used: 300}) || got.Left() != 700 {
		t.Errorf("%+v", got)
	}
	s.ChangeProject("lab", func(p *harbortest.Project) { p.Quota = 100 })
	got, err = admin.Quota(t.Context(), "lab")
	ok(t, err)
	if got.Left() != 0 {
		t.Errorf("%+v", got)
	}
	got, err = admin.Quota(t.Context(), "library")
	ok(t, err)
	if got.Hard != harbor.Unlimited || got.Left() != harbor.Unlimited {
		t.Errorf("%+v", got)
	}
	_, err = find(t, s, s.AddRobot("lab", "imp", harbortest.Push)).Quota(t.Context(), "lab")
	wantError(t, err, "403", harbor.ErrNotAllowed)
	_, err = find(t, s, s.AddRobot("lab", "see", harbortest.ReadProject)).Quota(t.Context(), "lab")
	wantError(t, err, "its answer has no quota", harbor.ErrNotAllowed)
	got, err = find(t, s, s.AddRobot("lab", "all", harbortest.ReadProject, harbortest.ReadQuota)).Quota(t.Context(), "lab")
	ok(t, err)
	if got.Hard != 100 {
		t.Errorf("%+v", got)
	}
}

func TestImmutableRules(t *testing.T) {
	s := harbortest.New(t)
	rules := make([]harbortest.Rule, 250)
	for i := range rules {
		rules[i] = harbortest.Rule{Tag: "t" + strconv.Itoa(i), Repository: "**"}
	}
	rules[249] = harbortest.Rule{Tag: "{v*,stable}", Repository: "team/**", RepositoryExcludes: true, Disabled: true}
	s.AddProject(harbortest.Project{Name: "lab", Rules: rules})
	admin := find(t, s, harbortest.Admin)
	s.Forget()
	got, err := admin.ImmutableRules(t.Context(), "lab")
	ok(t, err)
	if len(got) != 250 || s.Count("GET", "/immutabletagrules") != 3 {
		t.Fatalf("%d rules with %d requests", len(got), s.Count("GET", "/immutabletagrules"))
	}
	want := harbor.ImmutableRule{
		ID: 250, Disabled: true, Tag: &harbor.Selector{Kind: "doublestar", Decoration: "matches", Pattern: "{v*,stable}"},
		Repository: &harbor.Selector{Kind: "doublestar", Decoration: "repoExcludes", Pattern: "team/**"},
	}
	if !reflect.DeepEqual(got[249], want) {
		t.Errorf("%+v", got[249])
	}
	if text := want.String(); text != `tags that match "{v*,stable}", in repositories that do not match "team/**"` {
		t.Error(text)
	}
	none, err := admin.ImmutableRules(t.Context(), "library")
	ok(t, err)
	if len(none) != 0 {
		t.Errorf("%v", none)
	}
	_, err = find(t, s, s.AddRobot("lab", "imp", harbortest.Push)).ImmutableRules(t.Context(), "lab")
	wantError(t, err, "list the immutable tags of project lab at", harbor.ErrNotAllowed)
}

// The client's idea of what is immutable is the server's.
func TestImmutableRulesApply(t *testing.T) {
	s := harbortest.New(t)
	for _, rule := range []harbortest.Rule{
		{Tag: "v*"}, {Tag: "v*", TagExcludes: true}, {Tag: "*.*.*", Repository: "team/**"}, {Tag: "**", Repository: "*"},
		{Repository: "{app,x/**}", RepositoryExcludes: true}, {Tag: "**", Disabled: true}, {Tag: "?1", Repository: "**/web"},
	} {
		name := "p" + strconv.Itoa(len(s.Projects()))
		s.AddProject(harbortest.Project{Name: name})
		c := find(t, s, harbortest.Admin)
		for _, repo := range []string{"app", "team/web", "x/y/z"} {
			for _, tag := range []string{"v1", "1.2.3", "latest"} {
				s.ChangeProject(name, func(p *harbortest.Project) { p.Rules = nil })
				s.AddManifest(name+"/"+repo, tag, bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
				s.ChangeProject(name, func(p *harbortest.Project) { p.Rules = []harbortest.Rule{rule} })
				rules, err := c.ImmutableRules(t.Context(), name)
				ok(t, err)
				artifact, err := c.Artifact(t.Context(), name, repo, tag)
				ok(t, err)
				i := slices.IndexFunc(artifact.Tags, func(have harbor.Tag) bool { return have.Name == tag })
				if got := rules[0].Matches(repo, tag); got != artifact.Tags[i].Immutable {
					t.Errorf("%+v, %s:%s: %t", rule, repo, tag, got)
				}
			}
		}
	}
}

// labelled is an image's answer with labels that differ in case alone, which is their author's affair.
const labelled = `{"accessories":null,"annotations":{"Title":"a","title":"b"},"artifact_type":"application/vnd.oci.image.config.v1+json",` +
	`"digest":"sha256:2c4cedbdbfe6b0133e04b0c6c3efbe20123370a251a0be867e6c71a62d6bdffa",` +
	`"extra_attrs":{"config":{"Labels":{"Maintainer":"x","maintainer":"y"}}},"labels":null,` +
	`"manifest_media_type":"application/vnd.oci.image.manifest.v1+json","media_type":"application/vnd.oci.image.config.v1+json","size":694,"tags":null}`

func TestArtifact(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab", ContentTrust: true, Rules: []harbortest.Rule{{Tag: "v*"}}})
	image := s.AddManifest("lab/team/web", "v1", bundle.MediaTypeOCIManifest, imageBody("1"))
	s.AddManifest("lab/team/web", "w1", bundle.MediaTypeOCIManifest, imageBody("1"))
	signature := s.AddManifest("lab/team/web", "", bundle.MediaTypeOCIManifest, referrerBody("application/vnd.dev.sigstore.bundle.v0.3+json", image))
	c := find(t, s, s.AddRobot("lab", "see", harbortest.ReadArtifacts, harbortest.ListAccessories))
	want := harbor.Artifact{
		Digest: image.Digest, Size: image.Size + 2, MediaType: bundle.MediaTypeOCIManifest, ConfigMediaType: typeConfig, ArtifactType: typeConfig,
		Tags:        []harbor.Tag{{Name: "v1", Immutable: true}, {Name: "w1"}},
		Accessories: []harbor.Accessory{{Type: harbor.AccessoryPlain, Digest: signature.Digest, Size: signature.Size + 2, SubjectDigest: image.Digest}},
	}
	for _, reference := range []string{"v1", image.Digest.String()} {
		got, err := c.Artifact(t.Context(), "lab", "team/web", reference)
		ok(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", reference, got)
		}
	}
	for repository, reference := range map[string]string{"team/web": "none", "none": "v1"} {
		_, err := c.Artifact(t.Context(), "lab", repository, reference)
		wantError(t, err, "read lab/"+repository+":"+reference+" at", registry.ErrNotFound)
	}
	_, err := find(t, s, s.AddRobot("lab", "imp", harbortest.Push)).Artifact(t.Context(), "lab", "team/web", "v1")
	wantError(t, err, "403", harbor.ErrNotAllowed)

	s.Inject(registrytest.Answer(http.StatusOK, labelled))
	_, err = c.Artifact(t.Context(), "lab", "team/web", "v1")
	ok(t, err)
	_, err = c.Artifact(t.Context(), "lab", "team/web", image.Digest.String())
	wantError(t, err, "read lab/team/web@sha256:", bundle.ErrDigest)
	s.Forget()
	for _, wrong := range [][3]string{{"LAB", "web", "v1"}, {"lab", "../web", "v1"}, {"lab", "web", "a/b"}, {"lab", "web", "sha256:12"}, {"lab", "", "v1"}} {
		if _, err := c.Artifact(t.Context(), wrong[0], wrong[1], wrong[2]); err == nil {
			t.Errorf("%q: no error", wrong)
		}
	}
	if len(s.Requests()) != 0 {
		t.Error("asked for names that are none")
	}
}

// TestArtifacts: all pages are read, with what belongs to each artifact, and what one cannot see is an error.
func TestArtifacts(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab"})
	for i := range 120 {
		s.AddManifest("lab/team/web", "v"+strconv.Itoa(i), bundle.MediaTypeOCIManifest, imageBody(strconv.Itoa(i)))
	}
	image := s.AddManifest("lab/team/web", "w1", bundle.MediaTypeOCIManifest, imageBody("7"))
	signature := s.AddManifest("lab/team/web", "", bundle.MediaTypeOCIManifest, referrerBody("application/vnd.example", image))
	c := find(t, s, s.AddRobot("lab", "see", harbortest.ListArtifacts))
	got, err := c.Artifacts(t.Context(), "lab", "team/web", 120)
	ok(t, err)
	i := slices.IndexFunc(got, func(a harbor.Artifact) bool { return a.Digest == image.Digest })
	want := harbor.Artifact{
		Digest: image.Digest, Size: image.Size + 2, MediaType: bundle.MediaTypeOCIManifest, ConfigMediaType: typeConfig, ArtifactType: typeConfig,
		Tags:        []harbor.Tag{{Name: "v7"}, {Name: "w1"}},
		Accessories: []harbor.Accessory{{Type: harbor.AccessoryPlain, Digest: signature.Digest, Size: signature.Size + 2, SubjectDigest: image.Digest}},
	}
	if len(got) != 120 || i < 0 || !reflect.DeepEqual(got[i], want) {
		t.Errorf("%d artifacts, %+v", len(got), got[max(i, 0)])
	}
	s.Forget()
	_, err = c.Artifacts(t.Context(), "lab", "team/web", 119)
	wantError(t, err, "list the artifacts of lab/team/web at", bundle.ErrLimit)
	if n := len(s.Requests()); n != 1 {
		t.Errorf("%d requests for too much", n)
	}
	_, err = find(t, s, s.AddRobot("lab", "imp", harbortest.Push)).Artifacts(t.Context(), "lab", "team/web", 120)
	wantError(t, err, "403", harbor.ErrNotAllowed)
	if _, err := c.Artifacts(t.Context(), "lab", "../web", 120); err == nil {
		t.Error("no error")
	}
	for label, body := range map[string]string{"no digest": `[{"tags":null}]`, "no tag": `[` + strings.Replace(labelled, `"tags":null`, `"tags":[{"name":"a/b"}]`, 1) + `]`, "no list": `{}`} {
		s.Inject(registrytest.On("GET", "/artifacts", registrytest.Answer(200, body, "X-Total-Count", "1")))
		if _, err := c.Artifacts(t.Context(), "lab", "team/web", 120); err == nil {
			t.Errorf("%s: no error", label)
		}
	}
	s.Inject(registrytest.On("GET", "/artifacts", registrytest.Answer(200, "["+labelled+"]", "X-Total-Count", "1")))
	got, err = c.Artifacts(t.Context(), "lab", "team/web", 120)
	ok(t, err)
	if len(got) != 1 {
		t.Errorf("%d artifacts", len(got))
	}
}

func TestAccessories(t *testing.T) {
	s := harbortest.New(t, harbortest.Version("v2.15.0"))
	s.AddProject(harbortest.Project{Name: "lab"})
	image := s.AddManifest("lab/app", "v1", bundle.MediaTypeOCIManifest, imageBody("1"))
	for i := range 205 {
		s.AddManifest("lab/app", "", bundle.MediaTypeOCIManifest, referrerBody("application/vnd.example."+strconv.Itoa(i), image))
	}
	s.AddManifest("lab/app", "", bundle.MediaTypeOCIManifest, referrerBody("application/vnd.dev.sigstore.bundle.v0.3+json", image))
	c := find(t, s, harbortest.Admin)
	got, err := c.Accessories(t.Context(), "lab", "app", image.Digest.String())
	ok(t, err)
	if len(got) != 206 || got[205].Type != harbor.AccessoryCosign || got[0].Type != harbor.AccessoryPlain || got[7].SubjectDigest != image.Digest {
		t.Fatalf("%d accessories", len(got))
	}
	whole, err := c.Artifact(t.Context(), "lab", "app", "v1")
	ok(t, err)
	if !reflect.DeepEqual(whole.Accessories, got) {
		t.Error("the artifact has others than the list")
	}
	_, err = c.Accessories(t.Context(), "lab", "app", "none")
	wantError(t, err, "list the accessories of lab/app:none at", registry.ErrNotFound)
	// One more between two pages: the listing is read again.
	grow := func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		s.AddManifest("lab/app", "", bundle.MediaTypeOCIManifest, referrerBody("application/vnd.late."+r.URL.RawQuery, image))
		return false
	}
	s.Inject(registrytest.On("GET", "/accessories", registrytest.Between(1, 2, grow)))
	got, err = c.Accessories(t.Context(), "lab", "app", "v1")
	ok(t, err)
	if len(got) != 207 {
		t.Errorf("%d accessories", len(got))
	}
	for label, fault := range map[string]registrytest.Fault{
		"no total":      registrytest.Header("X-Total-Count", ""),
		"wrong total":   registrytest.Header("X-Total-Count", "-1"),
		"larger total":  registrytest.Header("X-Total-Count", "500"),
		"smaller total": registrytest.Header("X-Total-Count", "5"),
		"huge total":    registrytest.Header("X-Total-Count", "500000"),
		"not JSON":      registrytest.Answer(200, "<html>", "X-Total-Count", "1"),
		"no digest":     registrytest.Answer(200, `[{"type":"x"}]`, "X-Total-Count", "1"),
		"no list":       registrytest.Answer(200, `{}`, "X-Total-Count", "1"),
	} {
		s.Inject(registrytest.On("GET", "/accessories", fault))
		_, err := c.Accessories(t.Context(), "lab", "app", "v1")
		if err == nil {
			t.Errorf("%s: no error", label)
			continue
		}
		wantError(t, err, "its answer: ")
	}
}

func TestGarbageCollection(t *testing.T) {
	s := harbortest.New(t)
	admin := find(t, s, harbortest.Admin)
	got, err := admin.GarbageCollection(t.Context())
	ok(t, err)
	if got != (harbor.GCSchedule{Type: harbor.ScheduleNone}) {
		t.Errorf("%+v", got)
	}
	next := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	s.Change(func(set *harbortest.Settings) {
		set.GC = harbortest.GC{Type: "Daily", Cron: "0 0 0 * * *", DeleteUntagged: true, Next: next}
	})
	want := harbor.GCSchedule{Type: "Daily", Cron: "0 0 0 * * *", DeleteUntagged: true, Next: next}
	for _, who := range []harbortest.Account{
		harbortest.Admin, s.AddSystemRobot("gc", map[string][]harbortest.Right{harbortest.TheSystem: {harbortest.ReadGC}}),
	} {
		got, err = find(t, s, who).GarbageCollection(t.Context())
		ok(t, err)
		if got != want {
			t.Errorf("%s: %+v", who.Name, got)
		}
	}
	_, err = find(t, s, s.AddUser("ada")).GarbageCollection(t.Context())
	wantError(t, err, "read the schedule of garbage collection at", harbor.ErrNotAllowed)
	s.Inject(registrytest.On("GET", "/schedule", registrytest.Answer(200, `{"job_parameters":"{","schedule":{"type":"Daily"}}`)))
	_, err = admin.GarbageCollection(t.Context())
	wantError(t, err, "job_parameters")
}

func TestCreateProject(t *testing.T) {
	s := harbortest.New(t)
	admin := find(t, s, harbortest.Admin)
	for _, project := range []harbor.NewProject{{Name: "private"}, {Name: "public", Public: true}, {Name: "small", StorageLimit: 1000}, {Name: "123"}} {
		created, err := admin.CreateProject(t.Context(), project)
		ok(t, err)
		if got := s.Project(project.Name); !created || got.Public != project.Public || got.Quota != project.StorageLimit {
			t.Errorf("created %t: %+v", created, got)
		}
	}
	robot := find(t, s, s.AddSystemRobot("imp", map[string][]harbortest.Right{harbortest.TheSystem: {harbortest.CreateProject}}))
	created, err := robot.CreateProject(t.Context(), harbor.NewProject{Name: "private"})
	ok(t, err)
	if created {
		t.Error("created what was there")
	}
	created, err = robot.CreateProject(t.Context(), harbor.NewProject{Name: "robots"})
	ok(t, err)
	if !created {
		t.Error("not created")
	}
	_, err = find(t, s, s.AddRobot("private", "imp", harbortest.Push)).CreateProject(t.Context(), harbor.NewProject{Name: "no"})
	wantError(t, err, "Only system level robot can create project", harbor.ErrNotAllowed)
	_, err = find(t, s, harbortest.Account{}).CreateProject(t.Context(), harbor.NewProject{Name: "no"})
	wantError(t, err, "create project no at", harbor.ErrNotAllowed)
	s.Change(func(set *harbortest.Settings) { set.ProjectCreation = "adminonly" })
	_, err = find(t, s, s.AddUser("ada")).CreateProject(t.Context(), harbor.NewProject{Name: "no"})
	wantError(t, err, "Only system admin can create project", harbor.ErrNotAllowed)
	s.Change(func(set *harbortest.Settings) { set.ReadOnly = true })
	_, err = admin.CreateProject(t.Context(), harbor.NewProject{Name: "no"})
	wantError(t, err, "read only mode", harbor.ErrReadOnly, registry.ErrForbidden)
	if errors.Is(err, harbor.ErrNotAllowed) {
		t.Errorf("%v is not about the account", err)
	}
	if slices.Contains(s.Projects(), "no") {
		t.Error("created")
	}
	_, err = admin.CreateProject(t.Context(), harbor.NewProject{Name: "No"})
	if !errors.Is(err, bundle.ErrFormat) {
		t.Errorf("%v", err)
	}
}

// Several requests on one client: Harbor's session cookie must not come back, or it takes the later ones for forged.
func TestNoCookies(t *testing.T) {
	s := harbortest.New(t)
	c := find(t, s, harbortest.Admin)
	for _, name := range []string{"one", "two"} {
		created, err := c.CreateProject(t.Context(), harbor.NewProject{Name: name})
		ok(t, err)
		if !created {
			t.Errorf("%s was not created", name)
		}
	}
}

const typeConfig = "application/vnd.oci.image.config.v1+json"

func imageBody(salt string) []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + bundle.MediaTypeOCIManifest + `","config":{"mediaType":"` + typeConfig + `","digest":"` +
		bundle.EmptyJSON.String() + `","size":2},"layers":[],"annotations":{"salt":"` + salt + `"}}`)
}

func referrerBody(kind string, subject bundle.Descriptor) []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + bundle.MediaTypeOCIManifest + `","artifactType":"` + kind + `","config":{"mediaType":"` +
		bundle.MediaTypeEmptyJSON + `","digest":"` + bundle.EmptyJSON.String() + `","size":2},"layers":[],"subject":{"mediaType":"` + subject.MediaType +
		`","digest":"` + subject.Digest.String() + `","size":` + strconv.FormatInt(subject.Size, 10) + `}}`)
}

// Tokens that are older than a project are refused in it: whoever makes one fetches new ones.
func TestTokensOlderThanTheProject(t *testing.T) {
	for _, forget := range []bool{false, true} {
		s := harbortest.New(t)
		c, h := newRegistryClient(t, harbortest.Admin.Keychain()), find(t, s, harbortest.Admin)
		repo := s.Repo("new/app")
		_, _, err := c.Granted(t.Context(), repo) // the token is kept
		ok(t, err)
		created, err := h.CreateProject(t.Context(), harbor.NewProject{Name: "new"})
		ok(t, err)
		if forget {
			c.ForgetTokens(repo.Registry)
		}
		refused := 0
		s.Inject(registrytest.On(http.MethodPost, "/blobs/uploads/", registrytest.Change(func(a *registrytest.RealAnswer) {
			if a.Status == http.StatusUnauthorized {
				refused++
			}
		})))
		content := []byte("{}")
		desc := bundle.Descriptor{Digest: bundle.DigestOf(content), Size: int64(len(content))}
		ok(t, c.PushBlob(t.Context(), repo, desc, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }))
		if !created || (refused == 0) != forget {
			t.Errorf("created: %t; tokens forgotten: %t, refused: %d", created, forget, refused)
		}
	}
}
