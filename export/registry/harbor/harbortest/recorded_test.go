package harbortest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/harbor/harbortest"
)

// Each of these replays one file of recorded exchanges: what was asked, by whom and with what content. What the server has
// to have beforehand is put there by its own methods.

func sameActions(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%s: %q, recorded %q", what, got, want)
	}
}

func TestRecordedProjects(t *testing.T) {
	p := newReplay(t, harbortest.New(t), "01-t1.txt")
	wrong := as(harbortest.Account{Name: "admin", Secret: "wrong"})
	var answer struct {
		Token string `json:"token"`
	}
	p.do("token for missing project (admin)").decode(t, &answer)
	if _, ok := granted(t, answer.Token)["lab1/x"]; !ok {
		t.Error("a scope that is not granted is not in the token")
	}
	p.do("v2 with token", bearer(answer.Token))
	p.do("v2 with basic auth")
	p.do("v2 basic wrong pw", wrong)
	p.do("token wrong pw", wrong)
	p.do("token anonymous", anonymous)
	p.do("token wrong service")
	missing, actions := p.token(as(harbortest.Admin), "repository:missing/x:pull,push")
	sameActions(t, "missing project", actions["missing/x"])
	p.do("push blob to missing project (bearer)", bearer(missing))
	p.do("push blob to missing project (basic)")
	p.do("push manifest to missing project", bearer(missing))
	p.do("HEAD manifest missing project", bearer(missing))
	p.do("GET manifest missing project", bearer(missing))
	p.do("HEAD blob missing project", bearer(missing))
	p.do("push to repo w/o project")
	p.do("HEAD project missing")
	p.do("GET project missing")
	p.do("create project", jsonBody(`{"project_name":"lab1"}`))
	p.do("GET project")
	p.do("HEAD project exists")
	p.do("create project again", jsonBody(`{"project_name":"lab1"}`))
	for _, name := range []string{"1lab", "a", "lab-4", "lab.3", "lab_2", strings.Repeat("x", 255)} {
		p.server.AddProject(harbortest.Project{Name: name})
	}
	p.do("create public", jsonBody(`{"project_name":"pub1","metadata":{"public":"true"}}`))
	p.do("metadatas")
	p.do("create public legacy field", jsonBody(`{"project_name":"pub2","public":true}`))
	p.do("metadatas pub2")
	p.do("create public w/ bool", jsonBody(`{"project_name":"pub3","metadata":{"public":true}}`))
	p.do("create with quota", jsonBody(`{"project_name":"q1","metadata":{"public":"false"},"storage_limit":20000}`))
	p.do("q1")
	p.do("metadatas lab1")
	p.do("anonymous private project", anonymous)
	p.do("anonymous public project", anonymous, ignoring("keys")) // there it has no role at all, here null
	p.do("anonymous missing project", anonymous)
	p.do("anonymous HEAD private", anonymous)
	p.do("list projects", ignoring("X-Total-Count"))
	p.do("list by name")
	p.do("create anonymously", anonymous, jsonBody(`{"project_name":"no"}`))
	if got := p.server.Project("q1").Quota; got != 20000 {
		t.Errorf("quota %d", got)
	}
}

// The names that were tried, and what became of them.
func TestRecordedProjectNames(t *testing.T) {
	p := newReplay(t, harbortest.New(t), "01-t1.txt")
	p.list = nil
	for name, want := range map[string]int{
		"LAB": 400, "a": 201, "lab_2": 201, "lab.3": 201, "lab-4": 201, "1lab": 201, "a..b": 400, "a__b": 400, "lab/sub": 400, "-a": 400,
		strings.Repeat("x", 255): 201, strings.Repeat("x", 256): 422,
	} {
		p.list = []recording{{title: "create", method: "POST", path: "/api/v2.0/projects", status: want, header: map[string]string{}}}
		p.do("create", jsonBody(fmt.Sprintf(`{"project_name":%q}`, name)), ignoring("Content-Type", "Location", "keys"))
	}
}

func TestRecordedUploads(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab1"})
	s.AddProject(harbortest.Project{Name: "pub1", Public: true})
	p := newReplay(t, s, "02-t2.txt")
	p.do("token no scope wrong pw", as(harbortest.Account{Name: "admin", Secret: "wrong"}))
	powerless, _ := p.token(anonymous, "repository:lab1/x:pull,push")
	p.do("push existing project with powerless token", bearer(powerless))
	p.do("push existing project w/o auth", anonymous)
	p.do("anonymous pull private", anonymous)
	p.do("anonymous pull public project, missing repo", anonymous)
	p.do("anonymous pull missing project", anonymous)
	token, actions := p.token(as(harbortest.Admin), "repository:lab1/app:pull,push")
	sameActions(t, "administrator", actions["lab1/app"], "delete", "pull", "push")
	by := bearer(token)
	p.do("GET missing tag in missing repo", by)
	p.do("HEAD missing", by)
	p.do("HEAD missing blob", by)
	p.do("tags list of missing repo", by)
	p.do("referrers for missing repo/digest", by)
	p.do("referrers bad digest", by)
	blob := []byte("a blob")
	digest := bundle.DigestOf(blob).String()
	p.do("blob POST", by)
	p.do("blob PUT", by, at(digestQuery(p.location, digest)), body(blob))
	p.do("blob again POST", by)
	p.do("blob again PUT", by, at(digestQuery(p.location, digest)), body(blob))
	p.do("single POST monolithic", by, body([]byte("another")))
	p.do("is mono there?", by)
	p.do("start upload", by)
	p.do("PATCH 1", by, body(make([]byte, 1000)))
	p.do("upload status", by)
	stale := p.location
	p.do("PATCH out of order", by, body(make([]byte, 1000)), header("Content-Range", "5000-5999"))
	p.do("PATCH 2", by, body(make([]byte, 1000)), at(stale))
}

func TestRecordedManifests(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab1"})
	p := newReplay(t, s, "03-t2b.txt")
	first, second := make([]byte, 1000), []byte(strings.Repeat("x", 1000))
	whole := append(slices.Clone(first), second...)
	whole = append(whole, "end"...)
	// A chunk was sent before the first recorded request.
	start := func() (before string) {
		before = startUpload(t, p)
		p.send(uploadRequest(t, p, "PATCH", before, first))
		return before
	}
	old := start()
	p.do("repeat PATCH 1 with stale state", at(old), body(first))
	p.location = p.current(t, old)
	p.do("PATCH 2 with good state", body(second))
	p.do("PUT last chunk", at(digestQuery(p.location, bundle.DigestOf(whole).String())), body([]byte("end")))
	p.do("HEAD")
	p.do("Range GET", header("Range", "bytes=10-19"))
	p.location = startUpload(t, p)
	p.do("PUT wrong digest", at(digestQuery(p.location, bundle.DigestOf([]byte("other")).String())), body([]byte("x")))
	p.location = startUpload(t, p)
	cancelled := p.location
	p.do("cancel upload")
	p.do("status after cancel", at(cancelled))
	p.location = startUpload(t, p)
	p.do("PUT sha512", at(digestQuery(p.location, "sha512:"+sha512Of("text"))), body([]byte("text")))
	p.do("location with other Host", host("harbor.lab:8085"))
	p.do("location with https xfp", host("h.example"), header("X-Forwarded-Proto", "https"))
	p.do("challenge with other Host", anonymous, host("harbor.lab:8085"))

	v1 := image(s, "lab1/app", "v1")
	p.do("PUT image v1", manifestBody(v1.json()))
	p.do("HEAD by tag")
	p.do("HEAD by tag accept OCI", accept(bundle.MediaTypeOCIManifest))
	p.do("GET with only docker accept", accept(bundle.MediaTypeDockerManifest, bundle.MediaTypeDockerList))
	p.do("GET by digest")
	unknown := v1.with("config", desc(descOf(typeConfig, []byte("no")))).with("layers", []doc{desc(descOf(typeLayer, []byte("neither")))})
	p.do("PUT manifest w/ missing blobs", manifestBody(unknown.json()))
	p.do("PUT by digest", manifestBody(image(s, "lab1/app", "other").json()))
	p.do("PUT by wrong digest", manifestBody(v1.json()), same)
	p.do("PUT broken JSON", manifestBody(v1.json()[:40]), header("Content-Type", bundle.MediaTypeOCIManifest))
	p.do("content type vs mediaType mismatch", body(v1.with("mediaType", bundle.MediaTypeDockerManifest).json()), header("Content-Type", bundle.MediaTypeOCIManifest))
	p.do("no mediaType field", manifestBody(v1.with("mediaType", nil).json()))
	p.do("bogus content type", body(v1.json()), header("Content-Type", "application/x-bogus"))
	p.do("PUT upper case tag", manifestBody(v1.json()))
	p.do("tag 129 long", manifestBody(v1.json()), at("/v2/lab1/app/manifests/"+strings.Repeat("x", 129)))
	p.do("PUT again v1 same", manifestBody(v1.json()))
	p.do("tags")
	p.do("tags n=2")
	p.do("tags last")
	p.do("4MiB+ manifest", manifestBody(v1.with("annotations", doc{"x": strings.Repeat("x", 4<<20)}).json()))
	p.do("3MiB manifest", manifestBody(v1.with("annotations", doc{"x": strings.Repeat("x", 3<<20)}).json()))
}

func TestRecordedReferrers(t *testing.T) {
	const repo = "ref/app"
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "ref"})
	p := newReplay(t, s, "04-t3.txt")
	all := accept(bundle.ManifestMediaTypes...)
	a, b := image(s, repo, "a").json(), image(s, repo, "b").json()
	multi := index(a, b).json()
	p.do("index before its children", manifestBody(multi))
	p.do("child a by digest", manifestBody(a))
	s.AddManifest(repo, "", bundle.MediaTypeOCIManifest, b)
	p.do("index push", manifestBody(multi))
	p.do("HEAD index", all)
	p.do("GET index with image-only accept", accept(bundle.MediaTypeOCIManifest))
	p.do("empty index", manifestBody(index().json()))
	p.do("index with the same child twice", manifestBody(index(a, a).json()))
	nested := index().with("manifests", []doc{desc(descOf(bundle.MediaTypeOCIIndex, multi))}).json()
	p.do("nested index", manifestBody(nested))

	sbom := referrer(s, repo, "application/vnd.example.sbom", a).with("annotations", doc{"org.example": "one"}).json()
	p.do("referrer by digest (empty config, artifactType)", manifestBody(sbom))
	p.do("referrer of index", manifestBody(referrer(s, repo, "application/vnd.example.sig", multi).json()))
	untyped := referrer(s, repo, "", a).with("artifactType", nil)
	untyped["config"] = desc(s.AddBlob(repo, "application/vnd.example.cfgtype+json", []byte(`{"x":1}`)))
	p.do("referrer with tag, no artifactType", manifestBody(untyped.json()))
	p.do("referrers of image a")
	p.do("filtered")
	p.do("referrers of index")
	p.do("n=1")
	p.do("page_size=1")
	p.do("tags list")
	p.do("artifacts")
	p.do("sig on sbom", manifestBody(referrer(s, repo, "application/vnd.example.sigofsbom", sbom).json()))
	p.do("referrers of sbom")
	p.do("index as a referrer", manifestBody(index().with("artifactType", "application/vnd.example.bundle").with("subject", desc(descOf(bundle.MediaTypeOCIManifest, a))).json()))
	p.do("referrers of a with index referrer")

	c := image(s, repo, "c").json()
	early := referrer(s, repo, "application/vnd.example.early", c).json()
	p.digests["sha256:39804476a826d33d29ddd5cf12c069a3e6c66d16be5ccf142621ab2b6c4f2bae"] = bundle.DigestOf(c).String()
	p.do("referrer before subject", manifestBody(early))
	p.do("referrers before subject")
	p.do("now subject", manifestBody(c))
	p.do("referrers after subject")
	p.do("accessories API of c")
	p.do("re-push early referrer with tag", manifestBody(early))
	p.do("dangling referrer", manifestBody(referrer(s, repo, "application/vnd.example.never", []byte("never")).json()))
	p.do("referrers dangling")
	invalid := referrer(s, repo, "application/vnd.example.never", a).with("subject", doc{"mediaType": bundle.MediaTypeOCIManifest, "digest": "sha256:zz", "size": 1})
	p.do("subject invalid digest", manifestBody(invalid.json()))

	// Cosign's tags name the digest of image a.
	signature := image(s, repo, "signature").json()
	p.do("cosign .sig tag", manifestBody(signature))
	p.do("cosign .att tag", manifestBody(image(s, repo, "attestation").json()))
	p.do("cosign .sbom tag", manifestBody(image(s, repo, "sbom").json()))
	p.do("cosign .sig for missing subject (same manifest)", manifestBody(signature))
	p.do("cosign .sig for missing subject, other manifest", manifestBody(image(s, repo, "signature 2").json()))
	p.do("referrers of a after cosign tags")
	p.do("tags")
	p.do("referrers fallback tag index", manifestBody(index(sbom).json()))
	want := []harbortest.Accessory{
		{Type: "subject.accessory", Digest: bundle.DigestOf(sbom)}, {Type: "subject.accessory", Digest: bundle.DigestOf(untyped.json())},
	}
	got := s.Accessories(repo, bundle.DigestOf(a))
	if len(got) != 4 || !slices.Equal(got[:2], want) || got[3] != (harbortest.Accessory{Type: "signature.cosign", Digest: bundle.DigestOf(signature)}) {
		t.Errorf("accessories %v", got)
	}
	p.do("delete artifact c with accessory")
	p.do("referrers after delete")
	p.do("accessory after delete", all)
	p.do("delete child referenced by index")
	p.do("v2 DELETE by tag")
	p.do("v2 DELETE by digest")
}
