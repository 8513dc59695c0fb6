package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle/bundletest"
	"airgap/export/registry/harbor/harbortest"
)

// The suite in this file runs against the fake Harbor always, and against a real one where these variables are set:
//
//	AIRGAP_TEST_HARBOR           its HOST[:PORT]
//	AIRGAP_TEST_HARBOR_USER      an account that may create and delete projects: an administrator or, where projects may be
//	                             created by everyone, any other person; robots may not delete what they create
//	AIRGAP_TEST_HARBOR_PASSWORD  its password
//	AIRGAP_TEST_HARBOR_CA        a file of certificate authorities (PEM), if it has a certificate of its own making
//	AIRGAP_TEST_HARBOR_HTTP      "1" if it speaks plain http
//
// as in
//
//	AIRGAP_TEST_HARBOR=harbor.example.com AIRGAP_TEST_HARBOR_USER=admin AIRGAP_TEST_HARBOR_PASSWORD=... \
//	  go test -count=1 -v -run TestRealHarbor ./cmd/airgap
//
// It makes a private project of its own, airgap-test-..., of less than 10 MB, and removes it again, also when it fails. What
// is in Harbor then is read with net/http alone.
const realHarbor = "AIRGAP_TEST_HARBOR"

func TestRealHarbor(t *testing.T) {
	host := os.Getenv(realHarbor)
	if host == "" {
		t.Skipf("there is no Harbor to test with: set $%s, and the other variables that harbor_real_test.go explains", realHarbor)
	}
	h := &harborSuite{host: host, user: os.Getenv(realHarbor + "_USER"), password: os.Getenv(realHarbor + "_PASSWORD"), ca: os.Getenv(realHarbor + "_CA"), scheme: "https"}
	if h.user == "" || h.password == "" {
		t.Fatalf("$%[1]s is set, but not $%[1]s_USER and $%[1]s_PASSWORD", realHarbor)
	}
	if os.Getenv(realHarbor+"_HTTP") == "1" {
		h.scheme = "http"
	}
	h.run(t)
}

// The fake takes the same suite, so that it works on the day on which there is a real one.
func TestFakeHarbor(t *testing.T) {
	server := harbortest.New(t)
	h := &harborSuite{host: server.Host(), user: harbortest.Admin.Name, password: harbortest.Admin.Secret, scheme: "http"}
	h.run(t)
	if left := server.Projects(); !slices.Equal(left, []string{"library"}) {
		t.Errorf("projects that were left behind: %q", left)
	}
}

type harborSuite struct {
	host, user, password, ca, scheme string

	client  *http.Client
	project string
	carried *carried
}

func (h *harborSuite) run(t *testing.T) {
	// Its own T, so that the project is removed when run returns.
	t.Run("import", func(t *testing.T) {
		h.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: h.tls(t), Proxy: http.ProxyFromEnvironment}}
		h.project = "airgap-test-" + strings.ToLower(rand.Text()[:8])
		h.carried = exportFixture(t)
		more := h.makeProject(t)
		report := filepath.Join(t.TempDir(), "report.json")
		h.airgap(t, "imported", append(more, "--report", report)...)
		checkReport(t, report, len(h.carried.fixture.Roots()))
		h.airgap(t, "nothing changed", more...)
		for _, root := range h.carried.fixture.Roots() {
			h.compare(t, root)
		}
		h.compareTags(t)
		h.chain(t)
	})
}

// chain imports three bundles of a mirror, each of which brings what is new, and none of them again.
func (h *harborSuite) chain(t *testing.T) {
	t.Helper()
	c := newChain(t, 3)
	f := &far{
		Target: bundletest.Target{URL: h.scheme + "://" + h.host, Prefix: h.project, User: h.user, Password: h.password, Client: h.client},
		host:   h.host, flags: h.flags(), writes: func() int { return 0 },
	}
	for n, w := range c.weeks {
		c.imports(t, f, exitOK, "", w.file)
		c.imports(t, f, exitOK, "", w.file)
		c.weeks[n].Compare(t, &f.Target)
	}
	c.imports(t, f, exitReplay, "weekly@3", c.weeks[0].file)
	c.weeks[2].Compare(t, &f.Target)
}

// flags are those with which an import reaches this Harbor.
func (h *harborSuite) flags() []string {
	flags := []string{"--username", h.user, "--password-stdin"}
	if h.scheme == "http" {
		flags = append(flags, "--plain-http")
	}
	if h.ca != "" {
		flags = append(flags, "--ca-file", h.ca)
	}
	return flags
}

func (h *harborSuite) tls(t *testing.T) *tls.Config {
	t.Helper()
	if h.ca == "" {
		return nil
	}
	content, err := os.ReadFile(h.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		t.Fatalf("%s has no certificates", h.ca)
	}
	return &tls.Config{RootCAs: pool}
}

// makeProject makes the project, or returns the flags with which import makes it; it will be removed.
func (h *harborSuite) makeProject(t *testing.T) (flags []string) {
	t.Helper()
	t.Cleanup(func() { h.removeProject(t) })
	const create = "create-projects"
	if newImport(h.carried.App).Flags().Lookup(create) != nil {
		return []string{"--" + create}
	}
	body := fmt.Sprintf(`{"project_name":%q,"metadata":{"public":"false"}}`, h.project)
	if status, answer := h.do(t, http.MethodPost, "/api/v2.0/projects", body); status != http.StatusCreated {
		t.Fatalf("making the project %s: %d %s", h.project, status, answer)
	}
	return nil
}

// removeProject removes the project with everything in it.
func (h *harborSuite) removeProject(t *testing.T) {
	const project = "/api/v2.0/projects/"
	for {
		status, body := h.do(t, http.MethodGet, project+h.project+"/repositories?page_size=100", "")
		var repositories []struct{ Name string }
		if status == http.StatusForbidden || status == http.StatusNotFound {
			t.Errorf("the project %s was never made", h.project)
			return
		}
		if err := json.Unmarshal(body, &repositories); err != nil || status != http.StatusOK {
			t.Errorf("the project %s could not be removed: %d %s", h.project, status, body)
			return
		}
		if len(repositories) == 0 {
			break
		}
		for _, r := range repositories {
			name := strings.TrimPrefix(r.Name, h.project+"/")
			if status, body := h.do(t, http.MethodDelete, project+h.project+"/repositories/"+escapeTwice(name), ""); status != http.StatusOK {
				t.Errorf("%s could not be removed: %d %s", r.Name, status, body)
				return
			}
		}
	}
	if status, body := h.do(t, http.MethodDelete, project+h.project, ""); status != http.StatusOK {
		t.Errorf("the project %s could not be removed: %d %s", h.project, status, body)
	}
}

// escapeTwice is how Harbor's API wants the slashes in names of repositories.
func escapeTwice(name string) string { return url.PathEscape(url.PathEscape(name)) }

// airgap imports the fixture.
func (h *harborSuite) airgap(t *testing.T, message string, more ...string) {
	t.Helper()
	args := append([]string{"import", h.carried.file, h.host + "/" + h.project, "--key", h.carried.public}, h.flags()...)
	h.carried.Stdin = strings.NewReader(h.password)
	h.carried.expect(t, exitOK, message, append(args, more...)...)
}

// do sends a request with Basic authentication. It works in cleanups, too.
func (h *harborSuite) do(t *testing.T, method, path, body string) (status int, answer []byte) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, method, h.scheme+"://"+h.host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(h.user, h.password)
	request.Header.Set("X-Is-Resource-Name", "true")
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(path, "/v2/") { // without these, it does not find manifests
		for _, mediaType := range []string{"oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2", "docker.distribution.manifest.list.v2"} {
			request.Header.Add("Accept", "application/vnd."+mediaType+"+json")
		}
	}
	response, err := h.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

// compare reads everything that hangs from a root, and what Harbor shows under each of its manifests.
func (h *harborSuite) compare(t *testing.T, root bundletest.Root) {
	t.Helper()
	f := h.carried.fixture
	closure := f.Closure(t, root)
	path := "/v2/" + h.project + "/" + root.Repository
	for tag, digest := range closure.Tags {
		h.expect(t, path+"/manifests/"+tag, f.Manifest(t, digest).Bytes)
	}
	for _, digest := range closure.Blobs {
		h.expect(t, path+"/blobs/"+digest, f.Blob(t, digest))
	}
	for _, m := range closure.Manifests {
		h.expect(t, path+"/manifests/"+m.Digest, m.Bytes)
		referrers := f.Referrers(m.Digest)
		if len(referrers) == 0 {
			continue
		}
		var listed struct{ Manifests []struct{ Digest string } }
		h.read(t, path+"/referrers/"+m.Digest, &listed)
		var accessories []struct{ Digest string }
		h.read(t, "/api/v2.0/projects/"+h.project+"/repositories/"+escapeTwice(root.Repository)+"/artifacts/"+m.Digest+"/accessories?page_size=100", &accessories)
		for _, referrer := range referrers {
			is := func(d struct{ Digest string }) bool { return d.Digest == referrer.Digest }
			if !slices.ContainsFunc(listed.Manifests, is) || !slices.ContainsFunc(accessories, is) {
				t.Errorf("%s: %s (%s) is not listed, or not shown, under %s", root.Reference(), referrer.Digest, referrer.ArtifactType, m.Digest)
			}
		}
	}
}

// compareTags checks that the repositories have no other tags than the fixture; those of cosign that are shown as accessories
// may be missing in Harbor's list.
func (h *harborSuite) compareTags(t *testing.T) {
	t.Helper()
	want := map[string][]string{}
	for _, root := range h.carried.fixture.Roots() {
		for tag := range h.carried.fixture.Closure(t, root).Tags {
			want[root.Repository] = append(want[root.Repository], tag)
		}
	}
	for repository, tags := range want {
		var list struct{ Tags []string }
		h.read(t, "/v2/"+h.project+"/"+repository+"/tags/list", &list)
		for _, tag := range list.Tags {
			if !slices.Contains(tags, tag) {
				t.Errorf("%s has the tag %s, which the fixture has not", repository, tag)
			}
		}
	}
}

func (h *harborSuite) expect(t *testing.T, path string, want []byte) {
	t.Helper()
	if status, got := h.do(t, http.MethodGet, path, ""); status != http.StatusOK || !bytes.Equal(got, want) {
		t.Errorf("%s: %d, %d bytes; want %d bytes", path, status, len(got), len(want))
	}
}

func (h *harborSuite) read(t *testing.T, path string, v any) {
	t.Helper()
	status, body := h.do(t, http.MethodGet, path, "")
	if err := json.Unmarshal(body, v); err != nil || status != http.StatusOK {
		t.Errorf("%s: %d %.200s (%v)", path, status, body, err)
	}
}
