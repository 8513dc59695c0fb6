package harbortest_test

import (
	"crypto/sha512"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/harbor/harbortest"
)

func sha512Of(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:])
}

// uploadRequest is one that was not recorded.
func uploadRequest(t *testing.T, p *replay, method, uri string, content []byte) *sent {
	t.Helper()
	request, err := http.NewRequest(method, uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &sent{Request: request, body: content}
	as(harbortest.Admin)(s)
	return s
}

// startUpload begins an upload and returns its Location.
func startUpload(t *testing.T, p *replay) string {
	t.Helper()
	got := p.send(uploadRequest(t, p, "POST", p.server.URL+"/v2/lab1/app/blobs/uploads/", nil))
	if got.status != 202 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	return got.header.Get("Location")
}

// current returns where an upload goes on, by its status, which an old state is enough for.
func (p *replay) current(t *testing.T, location string) string {
	t.Helper()
	got := p.send(uploadRequest(t, p, "GET", location, nil))
	if got.status != 204 || got.header.Get("Range") != "0-999" {
		t.Fatalf("%d %v", got.status, got.header)
	}
	return got.header.Get("Location")
}

// putBlob pushes a blob as anybody would, in two requests, and returns the status.
func putBlob(t *testing.T, p *replay, repo string, content []byte) int {
	t.Helper()
	got := p.send(uploadRequest(t, p, "POST", p.server.URL+"/v2/"+repo+"/blobs/uploads/", nil))
	if got.status != 202 {
		return got.status
	}
	return p.send(uploadRequest(t, p, "PUT", digestQuery(got.header.Get("Location"), bundle.DigestOf(content).String()), content)).status
}

func TestRecordedArtifacts(t *testing.T) {
	s := harbortest.New(t)
	for _, name := range []string{"misc", "lab1"} {
		s.AddProject(harbortest.Project{Name: name})
	}
	p := newReplay(t, s, "05-t4.txt")
	a := image(s, "misc/dup", "a").json()
	s.AddManifest("misc/dup", "a", bundle.MediaTypeOCIManifest, a)
	p.do("dup child, two platforms", manifestBody(index(a, a).json()))
	p.do("dup again", manifestBody(index(a, a).json()))
	p.do("tags")
	twice := image(s, "misc/dup", "twice")
	layer := desc(s.AddBlob("misc/dup", typeLayer, []byte("twice")))
	p.do("same layer twice", manifestBody(twice.with("layers", []doc{layer, layer}).json()))

	amd64 := image(s, "misc/att", "amd64").json()
	attestation := image(s, "misc/att", "attestation")
	p.do("attestation manifest", manifestBody(attestation.json()))
	s.AddManifest("misc/att", "", bundle.MediaTypeOCIManifest, amd64)
	second := desc(descOf(bundle.MediaTypeOCIManifest, attestation.json()))
	second["platform"] = doc{"architecture": "unknown", "os": "unknown"}
	second["annotations"] = doc{"vnd.docker.reference.type": "attestation-manifest"}
	buildkit := index(amd64)
	buildkit["manifests"] = append(buildkit["manifests"].([]doc), second)
	p.do("buildkit index", manifestBody(buildkit.json()))
	p.do("artifacts of buildkit index")
	p.digests["sha256:0b464629b31b1f5e88ee4cc0554337d05536eec0d220129c17e1e5935459f69b"] = bundle.DigestOf(amd64).String()
	p.do("referrers of the amd64 child")

	const art = "misc/art"
	thing := referrer(s, art, "application/vnd.example.thing", nil).with("subject", nil)
	p.do("artifactType + empty config, no subject", manifestBody(thing.json()))
	p.do("artifact thing")
	p.do("layers []", manifestBody(thing.with("layers", []doc{}).json()))
	p.do("empty layer descriptor", manifestBody(thing.with("annotations", doc{"x": "y"}).json()))
	withData := desc(s.AddBlob(art, bundle.MediaTypeEmptyJSON, []byte("{}"))).with("data", "e30=")
	p.do("with data field", manifestBody(thing.with("config", withData).json()))
	p.do("oci artifact manifest (RC)", manifestBody(thing.with("mediaType", "application/vnd.oci.artifact.manifest.v1+json").json()))
	longer := thing.with("config", doc{"mediaType": typeConfig, "digest": "sha512:" + sha512Of("{}"), "size": 2})
	p.do("sha512 config descriptor", manifestBody(longer.json()))

	chart := image(s, "misc/charts/mychart", "chart").with("annotations", doc{"org.opencontainers.image.title": "mychart"})
	chart["config"] = desc(s.AddBlob("misc/charts/mychart", "application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"mychart"}`)))
	p.do("helm chart", manifestBody(chart.json()))
	p.do("helm artifact (double-encoded repo)")
	p.do("single-encoded repo")
	p.do("raw slash repo")
	p.do("helm + as _", manifestBody(chart.json()))
	recordedDockerImages(t, p, s)
	recordedMounts(t, p, s)
}

func recordedDockerImages(t *testing.T, p *replay, s *harbortest.Server) {
	t.Helper()
	const repo = "misc/dock"
	docker := image(s, repo, "docker").with("mediaType", bundle.MediaTypeDockerManifest)
	docker["config"] = desc(s.AddBlob(repo, "application/vnd.docker.container.image.v1+json", []byte(`{"os":"linux"}`)))
	p.do("docker schema2", manifestBody(docker.json()))
	list := doc{"schemaVersion": 2, "mediaType": bundle.MediaTypeDockerList, "manifests": []doc{desc(descOf(bundle.MediaTypeDockerManifest, docker.json()))}}
	p.do("docker list", manifestBody(list.json()))
	absent := func(mediaType string) doc { return desc(descOf(mediaType, []byte("elsewhere"))) }
	urls := []string{"https://example.com/layer"}
	foreign := absent("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").with("urls", urls)
	p.do("foreign layer w/ urls, blob absent", manifestBody(docker.with("layers", []doc{foreign}).json()))
	oci := image(s, repo, "oci")
	nondist := absent("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
	p.do("OCI nondistributable w/ urls", manifestBody(oci.with("layers", []doc{nondist.with("urls", urls)}).json()))
	p.do("OCI nondistributable no urls, blob absent", manifestBody(oci.with("layers", []doc{nondist}).json()))
	zstd := desc(s.AddBlob(repo, "application/vnd.oci.image.layer.v1.tar+zstd", []byte("zstd")))
	p.do("zstd", manifestBody(oci.with("layers", []doc{zstd}).json()))
	p.do("wrong size in descriptor", manifestBody(oci.with("layers", []doc{zstd.with("size", 999)}).json()))
	p.do("image config that is no JSON", manifestBody(oci.with("config", desc(s.AddBlob(repo, typeConfig, []byte("no JSON")))).json()))
	// What has such a type may be had by anybody, whatever they accept.
	for _, tag := range []string{"d2", "dlist"} {
		got := p.send(uploadRequest(t, p, "GET", s.URL+"/v2/"+repo+"/manifests/"+tag, nil))
		if got.status != 200 {
			t.Errorf("%s without Accept: %d", tag, got.status)
		}
	}
}

func recordedMounts(t *testing.T, p *replay, s *harbortest.Server) {
	t.Helper()
	blob := s.AddBlob("misc/src", typeLayer, []byte("to be mounted"))
	orphan := s.AddBlob("misc/src", typeLayer, []byte("to be mounted, without a manifest"))
	p.digests["sha256:7d84d8b5da2e8d92c65b6fa83ead4fdaeec6b28750abb167455483264030f129"] = blob.Digest.String()
	p.digests["sha256:3e4ea81f478b2c0ecdf8736062faa6cad6f0ae61bdde997ee788f308a581b842"] = orphan.Digest.String()
	one := func(scopes ...string) option {
		token, _ := p.token(as(harbortest.Admin), scopes...)
		return bearer(token)
	}
	p.do("mount same project", one("repository:misc/dst:pull,push", "repository:misc/src:pull"))
	p.do("mount without src scope", one("repository:misc/dst:pull,push"))
	p.do("mount of blob w/o manifest", one("repository:misc/dst2:pull,push"))
	both := one("repository:lab1/dst:pull,push", "repository:misc/src:pull")
	p.do("mount cross project", both)
	p.do("mount from missing project", both)
	p.do("mount token for other repo", both)
	p.do("mount from wrong repo", both)
	p.do("mount of unknown blob", one("repository:lab1/dst:pull,push"))
	p.do("mount without from", one("repository:lab1/dst:pull,push"))
	p.do("HEAD mounted", both)
	p.do("HEAD blob that exists only elsewhere", both)
}

func TestRecordedQuotaAndRobots(t *testing.T) {
	s := harbortest.New(t)
	s.AddProject(harbortest.Project{Name: "lab1"})
	for _, name := range []string{"pub1", "pub2"} {
		s.AddProject(harbortest.Project{Name: name, Public: true})
	}
	for len(s.Projects()) < 11 { // so that q1 is number 12
		s.AddProject(harbortest.Project{Name: "filler" + strings.Repeat("x", len(s.Projects()))})
	}
	s.AddProject(harbortest.Project{Name: "q1", Quota: 20000})
	s.AddProject(harbortest.Project{Name: "misc"})
	p := newReplay(t, s, "06-t5.txt")
	big := make([]byte, 30000)
	digest := bundle.DigestOf(big).String()
	p.do("quota of q1")
	p.do("blob over quota (30000 > 20000) POST")
	p.do("blob over quota (30000 > 20000) PUT", at(digestQuery(p.location, digest)), body(big))
	got := p.send(uploadRequest(t, p, "POST", s.URL+"/v2/q1/app/blobs/uploads/", nil))
	p.location = got.header.Get("Location")
	p.do("PATCH over quota", body(big))
	p.do("PUT end over quota", at(digestQuery(p.location, digest)))
	for _, c := range []string{"a", "b"} {
		if status := putBlob(t, p, "q1/app", []byte(strings.Repeat(c, 9000))); status != 201 {
			t.Errorf("blob: %d", status)
		}
	}
	if s.Used("q1") != 18000 {
		t.Errorf("%d bytes count", s.Used("q1"))
	}
	p.do("quota use after 2x9000 blobs w/o manifests")
	// Whatever the first image was, it and its blobs had 685 bytes.
	small := image(s, "q1/app", "small")
	missing := 18685 - int(s.Used("q1")) - len(small.with("annotations", doc{"x": ""}).json())
	p.do("small image in quota", manifestBody(small.with("annotations", doc{"x": strings.Repeat("x", missing)}).json()))
	p.do("summary")
	large := small.with("annotations", doc{"x": ""})
	large["annotations"] = doc{"x": strings.Repeat("x", 19456-len(large.json()))}
	p.do("manifest over quota", manifestBody(large.json()))
	mounted := func(recorded string, size int) {
		p.digests[recorded] = s.AddBlob("misc/src", typeLayer, make([]byte, size)).Digest.String()
	}
	mounted("sha256:3a2f5cb1a6f70b2e3ce3b4b777c3f8b2635e9b2787fdfb013396c3dd9e9f414d", 30000)
	mounted("sha256:caa77683ba43b187e6ceb6f4ca7977301534cfb62d25495384ecf7176b740580", 5<<20)
	p.do("mount over quota")
	p.do("mount 5MiB over quota")
	p.do("5MiB blob over quota POST")
	p.do("5MiB blob over quota PUT", at(digestQuery(p.location, digest)), body(make([]byte, 5<<20)))
	p.do("summary")
	if s.Used("q1") != 18685 || s.Uploads() != 3 {
		t.Errorf("%d bytes count, %d uploads are open", s.Used("q1"), s.Uploads())
	}
	recordedRobots(t, p, s)
	recordedImmutability(t, p, s)
}

func recordedRobots(t *testing.T, p *replay, s *harbortest.Server) {
	t.Helper()
	p.skip("project robot via /robots", "system robot", "robot push only")
	imp := s.AddRobot("lab1", "imp2", harbortest.Pull, harbortest.Push)
	sys := s.AddSystemRobot("sys", map[string][]harbortest.Right{
		harbortest.TheSystem:   {harbortest.CreateProject},
		harbortest.AllProjects: {harbortest.Pull, harbortest.Push, harbortest.ListRepositories, harbortest.ListArtifacts},
	})
	po := s.AddRobot("lab1", "po", harbortest.Push)
	_, actions := p.token(as(po), "repository:lab1/po:pull,push")
	sameActions(t, "push alone", actions["lab1/po"], "pull", "push")
	token, actions := p.token(as(imp), "repository:lab1/byrobot:pull,push")
	sameActions(t, "robot", actions["lab1/byrobot"], "pull", "push")
	by, all := bearer(token), accept(bundle.ManifestMediaTypes...)
	p.do("robot push", by, manifestBody(image(s, "lab1/byrobot", "v1").json()))
	p.do("robot tags list", by)
	p.do("robot head", by, all)
	p.do("robot referrers", by)
	other, actions := p.token(as(imp), "repository:misc/byrobot:pull,push")
	sameActions(t, "robot elsewhere", actions["misc/byrobot"])
	p.do("robot push to other project", bearer(other))
	p.do("robot push to missing project", bearer(other))
	p.do("robot delete w/o permission", by)

	s.AddManifest("lab1/app", "v1", bundle.MediaTypeOCIManifest, image(s, "lab1/app", "app").json())
	for _, one := range []harbortest.Account{imp, sys} {
		p.do("GET project", as(one))
		p.do("HEAD project", as(one))
		p.do("HEAD absent", as(one))
		p.do("GET absent project", as(one))
		p.do("create project", as(one), jsonBody(`{"project_name":"mks"}`))
		p.do("list repos", as(one))
		p.do("list artifacts", as(one))
		p.do("current user", as(one))
		p.do("systeminfo", as(one))
		p.do("catalog", as(one))
		p.do("list projects", as(one), ignoring("X-Total-Count"))
		p.do("quotas", as(one))
	}
	token, actions = p.token(as(sys), "repository:mks/app:pull,push")
	sameActions(t, "the robot's own project", actions["mks/app"], "pull", "push")
	p.do("push into own project", bearer(token), manifestBody(image(s, "mks/app", "v").json()))
	p.do("mks as admin")
	if got := s.Project("mks"); got.Quota != 0 || got.Public {
		t.Errorf("%+v", got)
	}
	p.do("robot wrong secret", as(harbortest.Account{Name: imp.Name, Secret: "wrong"}))
	p.do("robot token wrong secret", as(harbortest.Account{Name: imp.Name, Secret: "wrong"}))
}

func recordedImmutability(t *testing.T, p *replay, s *harbortest.Server) {
	t.Helper()
	p.skip("rule")
	s.ChangeProject("lab1", func(l *harbortest.Project) { l.Rules = []harbortest.Rule{{Tag: "v*", Repository: "**"}} })
	_, v1 := s.Manifest("lab1/byrobot", "v1")
	other := image(s, "lab1/byrobot", "other").json()
	p.do("same digest to immutable tag", manifestBody(v1))
	p.do("other digest to immutable tag", manifestBody(other))
	p.do("by digest fine?", manifestBody(other))
	p.do("new tag matching rule", manifestBody(other))
	p.do("tag outside the rule", manifestBody(other))
	p.do("delete immutable artifact")
	p.do("immutable flag")
}

func TestRecordedRest(t *testing.T) {
	s := harbortest.New(t)
	for _, name := range []string{"lab1", "misc", "ref"} {
		s.AddProject(harbortest.Project{Name: name})
	}
	p := newReplay(t, s, "07-t6.txt")
	cookie := header("Cookie", "sid=0123456789")
	p.do("create with basic auth + sid cookie", cookie, jsonBody(`{"project_name":"csrf"}`))
	p.do("create with the cookie only", cookie, anonymous, jsonBody(`{"project_name":"csrf"}`))

	p.skip("create user")
	alice := s.AddUser("alice")
	by := as(alice)
	p.do("current", by)
	p.do("other private project as user", by)
	p.do("absent project as user", by)
	p.do("HEAD other private project as user", by)
	p.do("user creates project", by, jsonBody(`{"project_name":"alicep"}`))
	p.do("user creates project with storage_limit", by, jsonBody(`{"project_name":"alicep2","storage_limit":1000}`))
	p.do("its quota", by)
	if got := s.Project("alicep2").Quota; got != 0 {
		t.Errorf("quota %d", got)
	}
	p.do("user creates a project that exists but that they cannot see", by, jsonBody(`{"project_name":"misc"}`))
	token, actions := p.token(by, "repository:misc/app:pull,push")
	sameActions(t, "no member", actions["misc/app"])
	p.do("user push to foreign project", bearer(token))
	p.skip("alice guest of misc")
	s.AddMember("misc", alice, harbortest.Guest...)
	token, actions = p.token(by, "repository:misc/app:pull,push")
	sameActions(t, "guest", actions["misc/app"], "pull")
	p.do("guest push", bearer(token))
	p.do("guest push w/ basic auth", by)

	p.skip("adminonly")
	s.Change(func(set *harbortest.Settings) { set.ProjectCreation = "adminonly" })
	p.do("user creates project under adminonly", by, jsonBody(`{"project_name":"no"}`))
	p.skip("set read only")
	s.Change(func(set *harbortest.Settings) { set.ReadOnly, set.ProjectCreation = true, "everyone" })
	p.do("push in read only")
	p.do("manifest in read only")
	p.do("create project in read only", jsonBody(`{"project_name":"no"}`))
	s.Change(func(set *harbortest.Settings) { set.ReadOnly = false })

	p.skip("registry", "proxy project")
	s.AddProject(harbortest.Project{Name: "proxy", ProxyCache: true})
	p.do("push to proxy project")

	p.skip("set public")
	s.AddManifest("lab1/app", "v1", bundle.MediaTypeOCIManifest, image(s, "lab1/app", "v1").json())
	s.ChangeProject("lab1", func(l *harbortest.Project) { l.Public = true })
	p.skip("metadata public")
	token, actions = p.token(anonymous, "repository:lab1/app:pull")
	sameActions(t, "anybody", actions["lab1/app"], "pull")
	all := accept(bundle.ManifestMediaTypes...)
	p.do("anonymous pull public", bearer(token), all)
	p.do("HEAD w/o any auth", anonymous, all)
	p.skip("set private", "PUT metadatas")
	s.ChangeProject("lab1", func(l *harbortest.Project) { l.Public = false })

	for _, repo := range []string{"lab1/byrobot", "misc/art", "misc/att", "misc/dup"} {
		s.AddManifest(repo, "x", bundle.MediaTypeOCIManifest, image(s, repo, "x").json())
	}
	p.do("catalog admin basic")
	admin, _ := p.token(as(harbortest.Admin), "registry:catalog:*")
	p.do("catalog with token", bearer(admin))
	p.do("catalog alice", by)
	p.do("all repos API", ignoring("X-Total-Count"))
	p.do("repos of misc", ignoring("X-Total-Count"))
	p.do("page_size 1000")
	recordedUntagged(t, p, s)
	p.skip("delete non-empty project")

	p.skip("cosign enforcement on")
	s.ChangeProject("ref", func(r *harbortest.Project) { r.ContentTrust = true })
	p.do("push under enforcement", manifestBody(image(s, "ref/unsigned", "v").json()))
	p.do("HEAD unsigned", all)
	p.do("GET unsigned", all)
}

func recordedUntagged(t *testing.T, p *replay, s *harbortest.Server) {
	t.Helper()
	const repo = "misc/untag"
	all := accept(bundle.ManifestMediaTypes...)
	old, moved := image(s, repo, "old"), image(s, repo, "moved")
	s.AddManifest(repo, "", bundle.MediaTypeOCIManifest, old.json())
	p.digests["sha256:e7861be274deaee42418c9eea36fb0d86c40b097d57f1bd4d2a4123cc29e7653"] = bundle.DigestOf(old.json()).String()
	p.do("artifacts with only an untagged image")
	p.do("q=tags=*")
	p.do("tags/list untagged")
	p.do("move tag", manifestBody(moved.json()))
	p.do("head moved tag", all)
	p.do("old digest still there", all)
	p.do("add tag by API", jsonBody(`{"name":"t2"}`))
	p.do("add tag again", jsonBody(`{"name":"t2"}`), ignoring("keys")) // which names the repository by number
	p.do("delete tag")
	p.do("delete artifact by digest")
	p.do("after delete", all)
	layer := func(d doc) string { return d["layers"].([]doc)[0]["digest"].(string) }
	p.digests["sha256:d3dfeb71d89505b0d09693f229f58d90972cf9861501aa1430bd4011d5e32bea"] = layer(old)
	p.do("blob after delete artifact")
	p.do("re-push manifest after delete without blobs", manifestBody(old.json()))
	p.do("delete repo")
	p.do("after delete repo", all)
	p.digests["sha256:e4eaeb95660b462951f34f7af33e903d4c4d39c99c3c97adace38d59c76081e4"] = layer(moved)
	p.do("blob after delete repo")
	p.do("re-push manifest after repo delete w/o blobs", manifestBody(moved.json()))
}
