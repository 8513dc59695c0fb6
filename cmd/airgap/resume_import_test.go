package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
)

// moment says what becomes of the request at which the import is killed.
type moment int

const (
	beforeIt moment = iota // it is never carried out
	withinIt               // half of its body has arrived; if it has none, of the next that has one
	afterIt                // it is carried out, and nobody hears of it
	moments
)

func (m moment) String() string { return [...]string{"before", "within", "after"}[m] }

// killer stands in front of a target and kills whoever imports into it.
type killer struct {
	busy sync.WaitGroup // requests that are being answered

	mu        sync.Mutex
	armed     bool
	after     int // writing requests, of those that count, that are answered before
	moment    moment
	method    string // of the requests that count; empty for all that write
	path      string // in that of the requests that count; empty for all
	process   *os.Process
	dead      bool // killed: nothing arrives any more
	writes    int
	committed map[string]int // what was uploaded and put, by repository and digest or tag
}

// lookHeader marks requests of the test itself.
const lookHeader = "Airgap-Test-Looks"

// fault goes before everything else at the target.
func (k *killer) fault(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	if r.Header.Get(lookHeader) != "" {
		return false
	}
	writing := r.Method != http.MethodGet && r.Method != http.MethodHead
	k.mu.Lock()
	if k.dead {
		k.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	k.busy.Add(1)
	defer k.busy.Done()
	if writing {
		k.writes++
	}
	k.dead = writing && k.isTheOne(r)
	dead, when := k.dead, k.moment
	k.mu.Unlock()
	switch {
	case dead:
		k.kill(r, next, when)
	case writing:
		answer := registrytest.Real(r, next)
		k.count(r, answer)
		answer.Send(w)
	default:
		next.ServeHTTP(w, r)
	}
	return true
}

// isTheOne tells whether this is the request to kill at. The lock is held.
func (k *killer) isTheOne(r *http.Request) bool {
	if !k.armed || k.method != "" && r.Method != k.method || !strings.Contains(r.URL.Path, k.path) {
		return false
	}
	k.after--
	return k.after < 0 && (k.moment != withinIt || r.ContentLength != 0)
}

func (k *killer) kill(r *http.Request, next http.Handler, when moment) {
	switch when {
	case withinIt:
		half := r.ContentLength / 2
		if r.ContentLength < 0 { // a stream
			half = 50_000
		}
		_, _ = io.CopyN(io.Discard, r.Body, half)
	case afterIt:
		k.count(r, registrytest.Real(r, next))
	case beforeIt, moments:
	}
	_ = k.process.Kill()
	panic(http.ErrAbortHandler)
}

// fallbackTag matches lists of referrers, which may grow.
var fallbackTag = regexp.MustCompile("/manifests/sha256-[0-9a-f]{64}$")

// count notes what a request has brought for good.
func (k *killer) count(r *http.Request, answer registrytest.RealAnswer) {
	what := r.URL.Path
	if answer.Status != http.StatusCreated || r.Method != http.MethodPut || fallbackTag.MatchString(what) {
		return
	}
	if repo, _, ok := strings.Cut(what, "/blobs/uploads/"); ok {
		what = repo + "/blobs/" + r.URL.Query().Get("digest")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.committed[what]++
}

// expectSentOnce checks that nothing was brought more than once, in all runs so far, and how many blobs there were; -1 for
// whatever.
func (k *killer) expectSentOnce(t *testing.T, want int) (blobs int) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for what, times := range k.committed {
		if times > 1 {
			t.Errorf("%s was brought %d times", what, times)
		}
		if strings.Contains(what, "/blobs/") {
			blobs++
		}
	}
	if want >= 0 && blobs != want {
		t.Errorf("%d blobs were uploaded, want %d", blobs, want)
	}
	return blobs
}

// killableTarget is a target that kills who imports into it, with what was there before.
type killableTarget struct {
	*killer
	corpus  *killableImport
	host    string
	content func(t *testing.T) map[string]string // everything that it has, as the target itself says
}

// store is what both kinds of targets have for tests.
type store interface {
	Host() string
	AddBlob(repo, mediaType string, content []byte) bundle.Descriptor
	AddManifest(repo, tag, mediaType string, body []byte) bundle.Descriptor
}

// killableImport is a bundle with several repositories, layers that they share, referrers of referrers and tags of cosign.
type killableImport struct {
	*carried
	manifests, blobs []string // all digests in the bundle
}

func newKillableImport(t *testing.T) *killableImport {
	t.Helper()
	k := &killableImport{carried: newSource(t)}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	source := registrytest.New(t)
	args := []string{"export", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file, "--referrers-from", k.images + "/acme/dhi-python=" + k.attestations + "/acme/dhi-python"}
	for _, root := range k.fixture.Roots() {
		args = append(args, k.images+"/"+root.Reference())
		closure := k.fixture.Closure(t, root)
		for _, m := range closure.Manifests {
			k.manifests = append(k.manifests, m.Digest)
		}
		k.blobs = append(k.blobs, closure.Blobs...)
	}
	for _, repo := range []string{"team/one", "team/two"} {
		k.add(t, source, repo)
		args = append(args, source.Host()+"/"+repo+":1")
	}
	k.expect(t, exitOK, "", args...)
	for _, list := range []*[]string{&k.manifests, &k.blobs} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return k
}

// add makes an image with layers that are large enough to be sent in pieces, of which it shares the half with others, an
// SBOM, and a signature on that.
func (k *killableImport) add(t *testing.T, source *registrytest.Server, repo string) {
	t.Helper()
	blob := func(mediaType string, content []byte) bundle.Descriptor {
		d := source.AddBlob(repo, mediaType, content)
		k.blobs = append(k.blobs, d.Digest.String())
		return d
	}
	manifest := func(tag string, m bundle.Manifest) bundle.Descriptor {
		m.SchemaVersion, m.MediaType = 2, bundle.MediaTypeOCIManifest
		d := source.AddManifest(repo, tag, m.MediaType, jsonOf(t, m))
		k.manifests = append(k.manifests, d.Digest.String())
		return d
	}
	config := blob("application/vnd.oci.image.config.v1+json", fmt.Appendf(nil, `{"os":"linux","config":{"Labels":{"n":%q}}}`, repo))
	image := bundle.Manifest{Config: &config}
	for i, seed := range []string{"shared", repo, "common", repo + " again"} {
		content := make([]byte, (1100+70*i)<<10)
		_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(content)
		image.Layers = append(image.Layers, blob("application/vnd.oci.image.layer.v1.tar", content))
	}
	subject := manifest("1", image)
	empty := blob(bundle.MediaTypeEmptyJSON, []byte("{}"))
	for _, artifactType := range []string{"application/spdx+json", "application/vnd.example.signature"} {
		subject = manifest("", bundle.Manifest{
			ArtifactType: artifactType, Config: &empty, Subject: &subject,
			Layers: []bundle.Descriptor{blob(artifactType, fmt.Appendf(nil, "%s of %s", artifactType, subject.Digest))},
		})
	}
}

// old is what person's tags point to before.
func (k *killableImport) old(s store) {
	config := s.AddBlob("mirror/acme/notation", "application/vnd.oci.image.config.v1+json", []byte(`{"os":"linux","old":true}`))
	body, _ := json.Marshal(bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config, Layers: []bundle.Descriptor{}})
	s.AddManifest("mirror/acme/notation", "1.0", bundle.MediaTypeOCIManifest, body)
}

// registry is a target with the referrers API or without.
func (k *killableImport) registry(api bool) func(t *testing.T) *killableTarget {
	return func(t *testing.T) *killableTarget {
		t.Helper()
		target := &killableTarget{corpus: k, killer: &killer{committed: map[string]int{}}}
		options := []registrytest.Option{registrytest.Faults(target.fault), registrytest.Wrap(func(next http.Handler) http.Handler {
			return registrytest.Then(registrytest.BlobsPerRepository(), registrytest.Then(registrytest.Mounts(), next))
		})}
		if !api {
			options = append(options, registrytest.NoReferrersAPI())
		}
		server := registrytest.New(t, options...)
		k.old(server)
		target.host = server.Host()
		target.content = func(t *testing.T) map[string]string { return k.look(t, server.Host()) }
		return target
	}
}

// harbor is a target that is Harbor, with the project that the images go to.
func (k *killableImport) harbor(t *testing.T) *killableTarget {
	t.Helper()
	target := &killableTarget{corpus: k, killer: &killer{committed: map[string]int{}}}
	server := harbortest.New(t, harbortest.Faults(target.fault))
	server.AddProject(harbortest.Project{Name: "mirror"})
	robot := server.AddRobot("mirror", "imp", harbortest.Push)
	login := base64.StdEncoding.EncodeToString([]byte(robot.Name + ":" + robot.Secret))
	k.write(t, ".docker/config.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, server.Host(), login))
	k.old(server)
	target.host = server.Host()
	target.content = func(*testing.T) map[string]string { return k.lookAtHarbor(server) }
	return target
}

// look reads everything from a registry, with nothing of airgap: what is in it by tag and, of all that is in the bundle, by
// digest, and all lists of referrers.
func (k *killableImport) look(t *testing.T, host string) map[string]string {
	t.Helper()
	found := map[string]string{}
	var catalog struct{ Repositories []string }
	k.readJSON(t, host, "/v2/_catalog?n=1000", &catalog)
	for _, repo := range catalog.Repositories {
		var list struct{ Tags []string }
		k.readJSON(t, host, "/v2/"+repo+"/tags/list?n=1000", &list)
		for _, tag := range list.Tags {
			found[repo+":"+tag] = k.sum(t, host, "/v2/"+repo+"/manifests/"+tag)
		}
		for _, digest := range k.manifests {
			found[repo+" manifest "+digest] = k.sum(t, host, "/v2/"+repo+"/manifests/"+digest)
			found[repo+" referrers "+digest] = k.referrers(t, host, "/v2/"+repo+"/referrers/"+digest)
		}
		for _, digest := range k.blobs {
			found[repo+" blob "+digest] = k.sum(t, host, "/v2/"+repo+"/blobs/"+digest)
		}
	}
	maps.DeleteFunc(found, func(_, what string) bool { return what == "" })
	return found
}

func (k *killableImport) get(t *testing.T, host, path string) (status int, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(lookHeader, "yes")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

func (k *killableImport) readJSON(t *testing.T, host, path string, v any) {
	t.Helper()
	status, body := k.get(t, host, path)
	if err := json.Unmarshal(body, v); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, body)
	}
}

// sum is the digest of what is there; empty for nothing.
func (k *killableImport) sum(t *testing.T, host, path string) string {
	t.Helper()
	status, body := k.get(t, host, path)
	if status != http.StatusOK {
		return ""
	}
	return sumOf(body)
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// referrers are the digests in a list of the API; empty where there is none.
func (k *killableImport) referrers(t *testing.T, host, path string) string {
	t.Helper()
	status, body := k.get(t, host, path)
	var index struct{ Manifests []struct{ Digest string } }
	if status != http.StatusOK || json.Unmarshal(body, &index) != nil {
		return ""
	}
	var digests []string
	for _, m := range index.Manifests {
		digests = append(digests, m.Digest)
	}
	slices.Sort(digests)
	return strings.Join(digests, " ")
}

// lookAtHarbor is look, past Harbor's login.
func (k *killableImport) lookAtHarbor(s *harbortest.Server) map[string]string {
	found := map[string]string{}
	for _, repo := range s.Repositories() {
		for tag, digest := range s.Tags(repo) {
			found[repo+":"+tag] = digest.String()
		}
		for _, digest := range s.Artifacts(repo) {
			_, body := s.Manifest(repo, digest.String())
			found[repo+" manifest "+digest.String()] = sumOf(body)
			var accessories []string
			for _, a := range s.Accessories(repo, digest) {
				accessories = append(accessories, a.Digest.String()+" "+a.Type)
			}
			slices.Sort(accessories)
			found[repo+" referrers "+digest.String()] = strings.Join(accessories, " ")
		}
		for _, digest := range k.blobs {
			d, err := bundle.ParseDigest(digest)
			if body := s.Blob(repo, d); err == nil && body != nil {
				found[repo+" blob "+digest] = sumOf(body)
			}
		}
	}
	return found
}

// start runs an import in a process of its own, which the target kills at the writing request of that number, from 0, or
// never (-1). It returns whether it was killed.
func (k *killableTarget) start(t *testing.T, after int, when moment, source []string) (killed bool) {
	t.Helper()
	return k.run(t, after, when, slices.Concat([]string{"import"}, source, []string{k.host + "/mirror", "--key", k.corpus.public}))
}

// run runs a command in a process of its own, as start does an import.
func (k *killer) run(t *testing.T, after int, when moment, args []string) (killed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, os.Args[0], args...)
	command.Env = append(os.Environ(), asAirgap+"=1")
	command.Stdin = strings.NewReader(harbortest.Admin.Secret)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	k.mu.Lock()
	k.armed, k.after, k.moment, k.dead, k.writes = after >= 0, after, when, false, 0
	err := command.Start()
	k.process = command.Process
	k.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	err = command.Wait()
	k.busy.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != -1) {
		t.Fatalf("%s failed: %v\n%s", args[0], err, stderr.String())
	}
	return err != nil
}

// disarm lets whatever follows pass.
func (k *killer) disarm() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.armed, k.dead = false, false
}

// expectUnmoved checks that a tag that a person uses is what it was, or that everything is there.
func (k *killableTarget) expectUnmoved(t *testing.T, before, want map[string]string) {
	t.Helper()
	got, moved := k.content(t), ""
	for what, digest := range got {
		if isPersonsTag(what) && before[what] != digest {
			moved = what
		}
	}
	for what, digest := range before {
		if isPersonsTag(what) && got[what] == "" {
			t.Errorf("%s, which was %s, is gone", what, digest)
		}
	}
	if moved == "" {
		return
	}
	for what, digest := range want {
		if !isPersonsTag(what) && got[what] != digest {
			t.Errorf("%s has moved, but %s is %q, want %q", moved, what, got[what], digest)
		}
	}
}

// isPersonsTag tells entries such as "mirror/app:1" from all others, digest tags among them.
func isPersonsTag(what string) bool {
	return !strings.Contains(what, " ") && !strings.Contains(what, ":sha256-")
}

func expectSame(t *testing.T, got, want map[string]string) {
	t.Helper()
	for what := range want {
		if got[what] != want[what] {
			t.Errorf("%s is %q, after one run without a break %q", what, got[what], want[what])
		}
	}
	for what := range got {
		if _, ok := want[what]; !ok {
			t.Errorf("%s, which one run without a break does not make", what)
		}
	}
}

// points are n of the requests from 0 to all-1, drawn from all parts of them, and the last, with which tags move.
func points(seed uint64, n, all int) []int {
	random := rand.New(rand.NewPCG(seed, 0))
	var chosen []int
	for i := range n {
		from, to := i*all/n, (i+1)*all/n
		chosen = append(chosen, min(from+random.IntN(max(to-from, 1)), all-1))
	}
	chosen = append(chosen, all-3, all-1)
	slices.Sort(chosen)
	return slices.Compact(chosen)
}

// Killed at any request, the import that is run again makes of the target what one run makes of it, and sends nothing that
// had arrived. $AIRGAP_TEST_KILLS may say at how many requests it is killed; with 1000 it is at each.
func TestKilledImportIsContinued(t *testing.T) {
	k := newKillableImport(t)
	media := filepath.Join(k.home, "media")
	if err := os.Mkdir(media, 0o700); err != nil {
		t.Fatal(err)
	}
	k.expect(t, exitOK, "volumes", "split", k.file, "--volume-size", "2MiB", "-o", filepath.Join(media, "monday.tar"))
	for _, test := range []struct {
		name   string
		source []string
		target func(*testing.T) *killableTarget
		points int
	}{
		{"file", []string{k.file}, k.registry(true), 14},
		{"file, fallback tags", []string{k.file}, k.registry(false), 6},
		{"volumes", []string{media}, k.registry(true), 6},
		{"Harbor", []string{k.file}, k.harbor, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			whole := test.target(t)
			before := whole.content(t)
			if whole.start(t, -1, beforeIt, test.source) {
				t.Fatal("killed without being asked for")
			}
			want, all := whole.content(t), whole.writes
			blobs := whole.expectSentOnce(t, -1)
			if len(want) < len(k.manifests)+len(k.blobs) || len(before) == 0 {
				t.Fatalf("%d things were imported to where %d were, of %d manifests and %d blobs", len(want), len(before), len(k.manifests), len(k.blobs))
			}
			if n, err := strconv.Atoi(os.Getenv("AIRGAP_TEST_KILLS")); err == nil {
				test.points = n
			}
			killedAt := points(1, test.points, all)
			t.Logf("%d writing requests; killed at %v", all, killedAt)
			for i, after := range killedAt {
				target, when := test.target(t), moment(i)%moments
				if !target.start(t, after, when, test.source) {
					t.Fatalf("not killed at request %d of %d", after, all)
				}
				target.expectUnmoved(t, before, want)
				if target.start(t, -1, beforeIt, test.source) {
					t.Fatal("killed without being asked for")
				}
				expectSame(t, target.content(t), want)
				target.expectSentOnce(t, blobs)
				if t.Failed() {
					t.Fatalf("killed %s request %d of %d", when, after, all)
				}
			}
		})
	}
	t.Run("again and again", func(t *testing.T) { killAgainAndAgain(t, k) })
	t.Run("within large layers", func(t *testing.T) { killWithinLayers(t, k) })
}

// killAgainAndAgain never lets an import come far: it arrives all the same.
func killAgainAndAgain(t *testing.T, k *killableImport) {
	target := k.registry(true)(t)
	before := target.content(t)
	whole := k.registry(true)(t)
	if whole.start(t, -1, beforeIt, []string{k.file}) {
		t.Fatal("killed without being asked for")
	}
	want, random, runs := whole.content(t), rand.New(rand.NewPCG(2, 0)), 1
	for target.start(t, 20+random.IntN(60), moment(runs)%moments, []string{k.file}) {
		target.expectUnmoved(t, before, want)
		if runs++; runs > whole.writes/20+10 {
			t.Fatalf("not done after %d runs", runs)
		}
	}
	if runs < 4 {
		t.Errorf("killed only %d times", runs-1)
	}
	t.Logf("done after %d runs", runs)
	expectSame(t, target.content(t), want)
	target.expectSentOnce(t, whole.expectSentOnce(t, -1))
}

// killWithinLayers kills an import in each of the layers that are sent as a stream, one after the other.
func killWithinLayers(t *testing.T, k *killableImport) {
	whole, target := k.registry(true)(t), k.registry(true)(t)
	before := target.content(t)
	if whole.start(t, -1, beforeIt, []string{k.file}) {
		t.Fatal("killed without being asked for")
	}
	want, runs := whole.content(t), 1
	for target.method = http.MethodPatch; target.start(t, 0, withinIt, []string{k.file, "-j", "1"}); runs++ {
		target.expectUnmoved(t, before, want)
		// What one run could not send is the first that the next one sends: let that pass.
		if target.start(t, 1, withinIt, []string{k.file, "-j", "1"}) {
			runs++
		}
		if runs > 20 {
			t.Fatal("it does not come further")
		}
	}
	if runs < 4 {
		t.Errorf("killed only %d times", runs-1)
	}
	expectSame(t, target.content(t), want)
	target.expectSentOnce(t, whole.expectSentOnce(t, -1))
}
