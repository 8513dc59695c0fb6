package harbortest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/export/registry/repositories"
	"airgap/export/registry/retry"

	"github.com/google/go-containerregistry/pkg/authn"
)

// What airgap's own client makes of the fake.

func newClient(t *testing.T, who harbortest.Account) *registry.Client {
	var keychain authn.Keychain
	if who.Name != "" {
		keychain = who.Keychain()
	}
	c := registry.New(registry.Config{
		Keychain: keychain,
		Host:     func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		Retry:    retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func push(t *testing.T, c *registry.Client, s *harbortest.Server, repo string, content []byte) error {
	t.Helper()
	return c.PushBlob(t.Context(), s.Repo(repo), descOf(typeLayer, content), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
}

func TestClientPushes(t *testing.T) {
	for label, secure := range map[string]bool{"realm as it is": false, "realm of the wrong scheme": true} {
		t.Run(label, func(t *testing.T) {
			s := harbortest.New(t)
			if secure {
				s.Change(func(set *harbortest.Settings) { set.RealmScheme = "https" })
			}
			s.AddProject(harbortest.Project{Name: "lab"})
			s.AddProject(harbortest.Project{Name: "other"})
			robot := s.AddRobot("lab", "imp", harbortest.Push)
			c := newClient(t, robot)
			layer, config := bytes.Repeat([]byte("layer"), 100_000), []byte(`{"os":"linux"}`)
			for _, content := range [][]byte{layer, config} {
				if err := push(t, c, s, "lab/app", content); err != nil {
					t.Fatal(err)
				}
			}
			m := doc{"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIManifest, "config": desc(descOf(typeConfig, config)), "layers": []doc{desc(descOf(typeLayer, layer))}}.json()
			if _, err := c.PushManifest(t.Context(), s.Repo("lab/app").Tag("v1"), bundle.MediaTypeOCIManifest, m); err != nil {
				t.Fatal(err)
			}
			sbom := referrer(s, "lab/app", "application/vnd.example.sbom", m).json()
			known, err := c.PushManifest(t.Context(), s.Repo("lab/app").Digest(bundle.DigestOf(sbom).String()), bundle.MediaTypeOCIManifest, sbom)
			if err != nil || !known {
				t.Errorf("referrer: known %t, %v", known, err)
			}
			if got, err := c.Resolve(t.Context(), s.Repo("lab/app").Tag("v1")); err != nil || got.Digest != bundle.DigestOf(m) {
				t.Errorf("%v, %v", got, err)
			}
			if mounted, err := c.Mount(t.Context(), s.Repo("lab/second"), s.Repo("lab/app"), bundle.DigestOf(layer)); err != nil || !mounted {
				t.Errorf("mounted %t, %v", mounted, err)
			}
			if mounted, err := c.Mount(t.Context(), s.Repo("lab/second"), s.Repo("other/app"), bundle.DigestOf(layer)); err != nil || mounted {
				t.Errorf("mounted %t from what the robot may not read, %v", mounted, err)
			}
			if !bytes.Equal(s.Blob("lab/second", bundle.DigestOf(layer)), layer) || s.Tags("lab/app")["v1"] != bundle.DigestOf(m) || s.Uploads() != 0 {
				t.Errorf("tags %v, %d uploads are open", s.Tags("lab/app"), s.Uploads())
			}
		})
	}
}

// A token expires between two pushes: Harbor then asks for Basic, and the client knows better.
func TestClientRenewsTokens(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab"})
	c := newClient(t, s.AddRobot("lab", "imp", harbortest.Push))
	if err := push(t, c, s, "lab/app", []byte("first")); err != nil {
		t.Fatal(err)
	}
	s.Advance(time.Hour)
	if err := push(t, c, s, "lab/app", []byte("second")); err != nil {
		t.Fatal(err)
	}
	if n := s.Count("GET", "/service/token"); n != 2 {
		t.Errorf("%d tokens", n)
	}
}

func TestClientIsRefused(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "small", Quota: 10})
	s.AddProject(harbortest.Project{Name: "proxy", ProxyCache: true})
	content := []byte("more than ten bytes")
	for project, want := range map[string]error{"small": registry.ErrForbidden, "proxy": registry.ErrForbidden, "absent": registry.ErrUnauthorized} {
		err := push(t, newClient(t, harbortest.Admin), s, project+"/app", content)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", project, err)
		}
	}
	if err := push(t, newClient(t, s.AddUser("ada")), s, "small/app", content); !errors.Is(err, registry.ErrUnauthorized) {
		t.Errorf("no member: %v", err)
	}
	s.Change(func(set *harbortest.Settings) { set.ReadOnly = true })
	if err := push(t, newClient(t, harbortest.Admin), s, "library/app", content); !errors.Is(err, registry.ErrForbidden) || !strings.Contains(err.Error(), "read only") {
		t.Errorf("read only: %v", err)
	}
	if s.Blob("small/app", bundle.DigestOf(content)) != nil || s.Used("small") != 0 || len(s.Repositories()) != 0 {
		t.Error("something was stored")
	}
}

func TestClientSeesWhatIsGranted(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab"})
	robot := s.AddRobot("lab", "imp", harbortest.Push)
	reader := s.AddRobot("lab", "see", harbortest.Pull)
	wrong := harbortest.Account{Name: robot.Name, Secret: "secret-wrong"}
	for _, test := range []struct {
		who  harbortest.Account
		repo string
		want []string
	}{
		{robot, "lab/app", []string{"pull", "push"}}, {reader, "lab/app", []string{"pull"}}, {wrong, "lab/app", nil},
		{robot, "absent/app", nil}, {robot, "library/app", []string{"pull"}}, {harbortest.Account{}, "lab/app", nil},
		{harbortest.Admin, "lab/app", []string{"pull", "push", "delete"}},
	} {
		got, known, err := newClient(t, test.who).Granted(t.Context(), s.Repo(test.repo))
		if err != nil || !known || !slices.Equal(got, test.want) {
			t.Errorf("%s, %s: %q, known %t, %v", test.who.Name, test.repo, got, known, err)
		}
	}
	s.Disable(robot)
	if got, _, _ := newClient(t, robot).Granted(t.Context(), s.Repo("lab/app")); len(got) != 0 {
		t.Errorf("a robot that is disabled may %q", got)
	}
}

func TestClientListsReferrersAndRepositories(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab"})
	subject := image(s, "lab/app", "v1").json()
	s.AddManifest("lab/app", "v1", bundle.MediaTypeOCIManifest, subject)
	sbom := s.AddManifest("lab/app", "", bundle.MediaTypeOCIManifest, referrer(s, "lab/app", "application/vnd.example.sbom", subject).json())
	robot := s.AddRobot("lab", "see", harbortest.Pull, harbortest.ListRepositories)
	listing, err := repositories.Lister{Client: newClient(t, robot)}.Repositories(t.Context(), s.Registry(), "lab")
	if err != nil || !slices.Equal(listing.Repositories, []string{"lab/app"}) {
		t.Errorf("%v, %v", listing, err)
	}
	list, err := newClient(t, robot).Referrers(t.Context(), s.Repo("lab/app").Digest(bundle.DigestOf(subject).String()))
	if err != nil || len(list.Descriptors) != 1 || list.Descriptors[0].Digest != sbom.Digest {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestFaultsAndRequests(t *testing.T) {
	s := harbortest.New(t, harbortest.Faults(registrytest.On("POST", "/blobs/", registrytest.Times(2, registrytest.Answer(http.StatusBadGateway, "")))))
	s.AddProject(harbortest.Project{Name: "lab"})
	if err := push(t, newClient(t, harbortest.Admin), s, "lab/app", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Writes()); n != 4 || s.Count("POST", "/uploads/") != 3 {
		t.Errorf("%d writes: %v", n, s.Writes())
	}
	s.Forget()
	s.Inject(registrytest.Drop())
	if err := push(t, newClient(t, harbortest.Admin), s, "lab/app", []byte("x")); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func TestTLS(t *testing.T) {
	s := harbortest.New(t, harbortest.TLS())
	c := registry.New(registry.Config{
		Keychain: harbortest.Admin.Keychain(),
		Host:     func(string) registry.HostConfig { return registry.HostConfig{TLS: s.TLSConfig()} },
	})
	t.Cleanup(c.CloseIdleConnections)
	if err := push(t, c, s, "library/app", []byte("x")); err != nil {
		t.Fatal(err)
	}
}
