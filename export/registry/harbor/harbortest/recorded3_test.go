package harbortest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry/harbor/harbortest"
)

func TestRecordedOddities(t *testing.T) {
	s := harbortest.New(t)
	for _, name := range []string{"lab1", "misc", "par", "ref"} {
		s.AddProject(harbortest.Project{Name: name})
	}
	p := newReplay(t, s, "09-t8.txt")
	p.do("create project named 2", jsonBody(`{"project_name":"2"}`))
	for _, test := range []struct {
		option option
		want   string
	}{{as(harbortest.Admin), "lab1"}, {header("X-Is-Resource-Name", "true"), "2"}} {
		r := uploadRequest(t, p, "GET", s.URL+"/api/v2.0/projects/2", nil)
		test.option(r)
		var project struct{ Name string }
		if p.send(r).decode(t, &project); project.Name != test.want {
			t.Errorf("project 2 is %q, not %q", project.Name, test.want)
		}
	}
	p.do("numeric name, no such id")
	a := image(s, "misc/dup", "a").json()
	twice := index(a, a).json()
	s.AddManifest("misc/dup", "a", bundle.MediaTypeOCIManifest, a)
	p.digests["sha256:456b6ff5d5ccd3aa5c34bf1f419672f50a1f553609362a007938d1845469edce"] = bundle.DigestOf(twice).String()
	p.do("GET by digest", accept(bundle.ManifestMediaTypes...))
	p.do("basic auth POST")
	// Vulnerabilities hide nothing that was not scanned.
	s.ChangeProject("ref", func(r *harbortest.Project) { r.PreventVulnerable, r.Severity = true, "low" })
	v := image(s, "ref/sig", "v")
	s.AddManifest("ref/sig", "v", bundle.MediaTypeOCIManifest, v.json())
	p.digests["sha256:c83df6aca667555875eb093a8a5e97dca3e053c0bb1f79630f6f1409689476d6"] = v["layers"].([]doc)[0]["digest"].(string)
	all := accept(bundle.ManifestMediaTypes...)
	p.do("GET under prevent_vul, unscanned", all, ignoring("keys"))
	p.do("HEAD blob under policy")
	p.do("HEAD digest under policy", all)
	p.skip("1 minute tokens")
	s.Change(func(set *harbortest.Settings) { set.TokenLifetime = time.Minute })
	token, _ := p.token(as(harbortest.Admin), "repository:par/a:pull,push")
	s.Advance(63 * time.Second)
	p.do("expired token 63 s", bearer(token))
	s.Advance(62 * time.Second)
	p.do("expired token 125 s", bearer(token))
	p.do("garbage token", bearer("garbage"))
}

func TestRecordedOddities2(t *testing.T) {
	s := harbortest.New(t)
	for _, name := range []string{"lab1", "misc"} {
		s.AddProject(harbortest.Project{Name: name})
	}
	alice := s.AddUser("alice")
	s.AddProject(harbortest.Project{Name: "alicep"})
	s.AddMember("alicep", alice, harbortest.ProjectAdmin...)
	p := newReplay(t, s, "11-t10.txt")
	p.do("POST token (oauth)", ignoring("keys"))
	_, actions := p.token(as(harbortest.Admin), "repository:lab1/app:pull+repository:misc/src:pull")
	sameActions(t, "two scopes in one", actions["misc/src"], "delete", "pull", "push")
	token, actions := p.token(as(alice), "repository:alicep/x:pull,push", "repository:lab1/app:pull")
	sameActions(t, "no member", actions["lab1/app"])
	p.do("mount from a project without permission", bearer(token))
	p.skip("backend registry down") // which is a fault: registrytest.Answer(502, "")
}

// The table of what is accepted, as it was printed.
func TestRecordedAccept(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "misc"})
	child := s.AddManifest("misc/x", "", bundle.MediaTypeOCIManifest, image(s, "misc/x", "child").json())
	s.AddManifest("misc/x", "index", bundle.MediaTypeOCIIndex, index().with("manifests", []doc{desc(child)}).json())
	text, err := os.ReadFile("../testdata/exchanges/09-t8.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^index, Accept (.*) HEAD (\d+) .* GET (\d+) `).FindAllStringSubmatch(string(text), -1)
	if len(rows) != 8 {
		t.Fatalf("%d rows", len(rows))
	}
	p := &replay{t: t, server: s}
	for _, row := range rows {
		for i, method := range []string{"HEAD", "GET"} {
			r := uploadRequest(t, p, method, s.URL+"/v2/misc/x/manifests/index", nil)
			if row[1] != "None" {
				r.Header.Set("Accept", row[1])
			}
			if got := p.send(r).status; strconv.Itoa(got) != row[2+i] {
				t.Errorf("%s, Accept %s: %d, recorded %s", method, row[1], got, row[2+i])
			}
		}
	}
}

// The types that accessories were seen to have, by their artifactType and by the type of their configuration.
func TestRecordedAccessoryTypes(t *testing.T) {
	kinds := []string{
		"application/vnd.cncf.notary.signature", "application/vnd.dev.cosign.artifact.sig.v1+json",
		"application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.in-toto+json", "application/vnd.goharbor.harbor.sbom.v1",
		"application/spdx+json",
	}
	text, err := os.ReadFile("../testdata/exchanges/09-t8.txt")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\[\('signature.*$`).FindString(string(text))
	recorded := regexp.MustCompile(`\('([a-z.]+)'`).FindAllStringSubmatch(row, -1)
	if len(recorded) != 2*len(kinds) {
		t.Fatalf("%d recorded types", len(recorded))
	}
	for version, bundles := range map[string]string{"v2.14.4": recorded[4][1], "v2.8.0": recorded[4][1], "v2.15.0": "signature.cosign", "v3.0.0": "signature.cosign"} {
		s := harbortest.New(t, harbortest.Version(version))
		s.AddProject(harbortest.Project{Name: "ref"})
		subject := image(s, "ref/sig", "v").json()
		for _, kind := range kinds {
			byConfig := referrer(s, "ref/sig", "", subject).with("artifactType", nil)
			byConfig["config"] = desc(s.AddBlob("ref/sig", kind, []byte("{}")))
			s.AddManifest("ref/sig", "", bundle.MediaTypeOCIManifest, referrer(s, "ref/sig", kind, subject).json())
			s.AddManifest("ref/sig", "", bundle.MediaTypeOCIManifest, byConfig.json())
		}
		for i, got := range s.Accessories("ref/sig", bundle.DigestOf(subject)) {
			want := recorded[i][1]
			if i/2 == 2 {
				want = bundles
			}
			if got.Type != want {
				t.Errorf("%s: %s is %s, recorded %s", version, kinds[i/2], got.Type, want)
			}
		}
	}
}

// Parallel requests had these results.
func TestRecordedRaces(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "par"})
	s.AddProject(harbortest.Project{Name: "small", Quota: 10_000})
	p := &replay{t: t, server: s}
	parallel := func(n int, one func(i int) int) map[int]int {
		var wait sync.WaitGroup
		statuses := make([]int, n)
		for i := range n {
			wait.Go(func() { statuses[i] = one(i) })
		}
		wait.Wait()
		count := map[int]int{}
		for _, status := range statuses {
			count[status]++
		}
		return count
	}
	if got := parallel(16, func(int) int { return putBlob(t, p, "par/a", []byte("the same")) }); got[201] != 16 {
		t.Errorf("the same blob: %v", got)
	}
	if got := parallel(8, func(i int) int { return putBlob(t, p, "small/a", []byte(strings.Repeat(strconv.Itoa(i), 5000))) }); got[201] != 2 || got[403] != 6 {
		t.Errorf("over quota: %v", got)
	}
	if s.Used("small") != 10_000 {
		t.Errorf("%d bytes count", s.Used("small"))
	}
	create := func(int) int {
		r := uploadRequest(t, p, "POST", s.URL+"/api/v2.0/projects", []byte(`{"project_name":"race"}`))
		return p.send(r).status
	}
	if got := parallel(8, create); got[201] != 1 || got[409] != 7 {
		t.Errorf("the same project: %v", got)
	}
}

// A body of unknown length was not counted.
func TestRecordedTransferEncoding(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab1", Quota: 10})
	p := &replay{t: t, server: s}
	content := strings.Repeat("x", 1000)
	location := startUpload(t, p)
	r, err := http.NewRequest("PUT", digestQuery(location, bundle.DigestOf([]byte(content)).String()), io.MultiReader(strings.NewReader(content)))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(harbortest.Admin.Name, harbortest.Admin.Secret)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 201 || s.Used("lab1") != 0 {
		t.Errorf("%d; %d bytes count", resp.StatusCode, s.Used("lab1"))
	}
}

// What has come of a chunk that breaks off is kept.
func TestBrokenUpload(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab1"})
	p := &replay{t: t, server: s}
	location := startUpload(t, p)
	body := io.MultiReader(strings.NewReader(strings.Repeat("x", 1000)), errorReader{})
	r, err := http.NewRequestWithContext(context.Background(), "PATCH", location, io.NopCloser(body))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 2000
	r.SetBasicAuth(harbortest.Admin.Name, harbortest.Admin.Secret)
	if resp, err := http.DefaultTransport.RoundTrip(r); err == nil {
		_ = resp.Body.Close()
		t.Fatal("no error")
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		got := p.send(uploadRequest(t, p, "GET", location, nil))
		if got.header.Get("Range") == "0-999" {
			p.location = got.header.Get("Location")
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d %v", got.status, got.header)
		}
		time.Sleep(time.Millisecond)
	}
	s.Change(func(set *harbortest.Settings) { set.StrictUploads = true })
	if got := p.send(uploadRequest(t, p, "GET", location, nil)); got.status != 404 || !strings.Contains(string(got.body), "BLOB_UPLOAD_INVALID") {
		t.Errorf("strictly: %d %s", got.status, got.body)
	}
	if got := p.send(uploadRequest(t, p, "GET", p.location, nil)); got.status != 204 {
		t.Errorf("strictly, with the right state: %d %s", got.status, got.body)
	}
	whole := strings.Repeat("x", 2000)
	got := p.send(uploadRequest(t, p, "PUT", digestQuery(p.location, bundle.DigestOf([]byte(whole)).String()), []byte(whole[1000:])))
	if got.status != 201 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestContentTrust(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "ref", ContentTrust: true})
	p := &replay{t: t, server: s}
	subject := image(s, "ref/app", "v").json()
	s.AddManifest("ref/app", "v", bundle.MediaTypeOCIManifest, subject)
	look := func(path string) int {
		r := uploadRequest(t, p, "HEAD", s.URL+path, nil)
		accept(bundle.ManifestMediaTypes...)(r)
		return p.send(r).status
	}
	if got := look("/v2/ref/app/manifests/v"); got != 412 {
		t.Errorf("unsigned: %d", got)
	}
	if got := look("/v2/ref/app/manifests/none"); got != 404 {
		t.Errorf("not there: %d", got)
	}
	signature := s.AddManifest("ref/app", "", bundle.MediaTypeOCIManifest, referrer(s, "ref/app", "application/vnd.dev.cosign.artifact.sig.v1+json", subject).json())
	for _, reference := range []string{"v", bundle.DigestOf(subject).String(), signature.Digest.String()} {
		if got := look("/v2/ref/app/manifests/" + reference); got != 200 {
			t.Errorf("signed, %s: %d", reference, got)
		}
	}
}

func TestCollectGarbage(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "par"})
	const repo = "par/app"
	tagged, child, untagged := image(s, repo, "tagged").json(), image(s, repo, "child").json(), image(s, repo, "untagged").json()
	keep := []bundle.Digest{}
	add := func(tag, mediaType string, content []byte) {
		keep = append(keep, s.AddManifest(repo, tag, mediaType, content).Digest)
	}
	add("tagged", bundle.MediaTypeOCIManifest, tagged)
	add("", bundle.MediaTypeOCIManifest, child)
	add("index", bundle.MediaTypeOCIIndex, index(child).json())
	add("", bundle.MediaTypeOCIManifest, referrer(s, repo, "application/vnd.example", tagged).json())
	gone := s.AddManifest(repo, "", bundle.MediaTypeOCIManifest, untagged)
	dangling := s.AddManifest(repo, "", bundle.MediaTypeOCIManifest, referrer(s, repo, "application/vnd.example", untagged).json())
	orphan := s.AddBlob(repo, typeLayer, []byte("orphan"))
	used := s.Used("par")

	if artifacts, blobs := s.CollectGarbage(false); artifacts != 0 || blobs != 1 {
		t.Errorf("collected %d artifacts and %d blobs", artifacts, blobs)
	}
	if s.Blob(repo, orphan.Digest) != nil || s.Used("par") != used-orphan.Size {
		t.Errorf("the orphan is there, or counts: %d", s.Used("par"))
	}
	if artifacts, blobs := s.CollectGarbage(true); artifacts != 2 || blobs != 4 {
		t.Errorf("collected %d artifacts and %d blobs", artifacts, blobs)
	}
	left := s.Artifacts(repo)
	for _, d := range keep {
		if !slices.Contains(left, d) {
			t.Errorf("%s is gone", d)
		}
	}
	if len(left) != len(keep) || slices.Contains(left, gone.Digest) || slices.Contains(left, dangling.Digest) {
		t.Errorf("left are %v", left)
	}
}

// What garbage collection has taken cannot be named any more, though the repository once had it.
func TestCollectedBlobsAreMissing(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab1"})
	p := &replay{t: t, server: s}
	m := image(s, "lab1/app", "v1").json()
	s.CollectGarbage(false)
	put := func() reply {
		r := uploadRequest(t, p, "PUT", s.URL+"/v2/lab1/app/manifests/v1", nil)
		manifestBody(m)(r)
		return p.send(r)
	}
	if got := put(); got.status != 400 || !strings.Contains(string(got.body), "MANIFEST_BLOB_UNKNOWN") {
		t.Errorf("%d %s", got.status, got.body)
	}
	image(s, "lab1/app", "v1")
	if got := put(); got.status != 201 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestOldVersions(t *testing.T) {
	for version, want := range map[string]struct {
		status       int
		acknowledged bool
		accessories  int
	}{"v2.7.4": {404, false, 0}, "v2.8.4": {200, false, 1}, "v2.9.0": {200, true, 1}} {
		s := harbortest.New(t, harbortest.Version(version))
		s.AddProject(harbortest.Project{Name: "lab1"})
		p := &replay{t: t, server: s}
		subject := image(s, "lab1/app", "v1").json()
		sbom := referrer(s, "lab1/app", "application/vnd.example.sbom", subject).json()
		r := uploadRequest(t, p, "PUT", s.URL+"/v2/lab1/app/manifests/sbom", nil)
		manifestBody(sbom)(r)
		if got := p.send(r); got.status != 201 || (got.header.Get("Oci-Subject") != "") != want.acknowledged {
			t.Errorf("%s: %d %v", version, got.status, got.header)
		}
		list := p.send(uploadRequest(t, p, "GET", s.URL+"/v2/lab1/app/referrers/"+bundle.DigestOf(subject).String(), nil))
		if got := len(s.Accessories("lab1/app", bundle.DigestOf(subject))); list.status != want.status || got != want.accessories {
			t.Errorf("%s: %d, %d accessories", version, list.status, got)
		}
	}
}

func TestHealth(t *testing.T) {
	p := &replay{t: t, server: harbortest.New(t)}
	for path, want := range map[string]string{"/api/v2.0/ping": "Pong", "/api/v2.0/health": `"healthy"`, "/": "Harbor"} {
		r := uploadRequest(t, p, "GET", p.server.URL+path, nil)
		anonymous(r)
		if got := p.send(r); got.status != 200 || !strings.Contains(string(got.body), want) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}
