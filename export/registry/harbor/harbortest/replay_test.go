package harbortest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/harbor/harbortest"
)

// recording is one recorded exchange.
type recording struct {
	title, method, path string
	status              int
	header              map[string]string
	body                string
}

var (
	requestLine = regexp.MustCompile(`^   ([A-Z]+) (\S+) -> (\d+) \{(.*)\}$`)
	headerField = regexp.MustCompile(`'([^']+)': '([^']*)'`)
)

// recordings reads one of the files in ../testdata/exchanges.
func recordings(t *testing.T, file string) []recording {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../testdata/exchanges", file))
	if err != nil {
		t.Fatal(err)
	}
	var list []recording
	lines := strings.Split(string(content), "\n")
	for i := 0; i+1 < len(lines); i++ {
		title, ok := strings.CutPrefix(lines[i], "## ")
		parts := requestLine.FindStringSubmatch(lines[i+1])
		if !ok || parts == nil {
			continue
		}
		one := recording{title: title, method: parts[1], path: parts[2], header: map[string]string{}}
		_, _ = fmt.Sscan(parts[3], &one.status)
		for _, field := range headerField.FindAllStringSubmatch(parts[4], -1) {
			one.header[field[1]] = field[2]
		}
		if i+2 < len(lines) {
			one.body = strings.TrimSpace(lines[i+2])
		}
		list = append(list, one)
	}
	if len(list) == 0 {
		t.Fatalf("%s has no recordings", file)
	}
	return list
}

// replay sends the recorded requests to the fake, in their order, and compares the answers.
type replay struct {
	t        *testing.T
	server   *harbortest.Server
	list     []recording
	digests  map[string]string // recorded, and what the same is here
	location string            // of the last answer that had one with a state
	replayed int
}

// newReplay ends with a check that nothing recorded was left out but what was skipped by name.
func newReplay(t *testing.T, server *harbortest.Server, file string) *replay {
	p := &replay{t: t, server: server, list: recordings(t, file), digests: map[string]string{}}
	t.Cleanup(func() {
		if len(p.list) > 0 && !t.Failed() {
			t.Errorf("%d recordings are left, first %q", len(p.list), p.list[0].title)
		}
		t.Logf("%d recorded exchanges replayed", p.replayed)
	})
	return p
}

// next takes the next recording, which has to have that title.
func (p *replay) next(title string) recording {
	p.t.Helper()
	if len(p.list) == 0 || p.list[0].title != title {
		p.t.Fatalf("next is not %q but %v", title, p.list[:min(1, len(p.list))])
	}
	one := p.list[0]
	p.list = p.list[1:]
	return one
}

// skip passes over recordings of what the fake does not do, for which the test does something else.
func (p *replay) skip(titles ...string) {
	p.t.Helper()
	for _, title := range titles {
		p.next(title)
	}
}

// sent is a request about to be sent.
type sent struct {
	*http.Request
	body     []byte
	fixed    bool     // the path is as it should be
	ignoring []string // headers, or "keys" for those of the body
}

type option func(*sent)

func as(a harbortest.Account) option {
	return func(s *sent) { s.SetBasicAuth(a.Name, a.Secret) }
}

var anonymous option = func(s *sent) { s.Header.Del("Authorization") }

func bearer(token string) option {
	return func(s *sent) { s.Header.Set("Authorization", "Bearer "+token) }
}

func header(key, value string) option {
	return func(s *sent) { s.Header.Set(key, value) }
}

func accept(types ...string) option { return header("Accept", strings.Join(types, ", ")) }

func body(content []byte) option { return func(s *sent) { s.body = content } }

func jsonBody(text string) option {
	return func(s *sent) {
		s.body = []byte(text)
		s.Header.Set("Content-Type", "application/json")
	}
}

// manifestBody pushes a manifest as what it says it is, or else as an OCI manifest.
func manifestBody(content []byte) option {
	return func(s *sent) {
		var m struct {
			MediaType string `json:"mediaType"`
		}
		_ = json.Unmarshal(content, &m)
		if m.MediaType == "" {
			m.MediaType = bundle.MediaTypeOCIManifest
		}
		s.body = content
		s.Header.Set("Content-Type", m.MediaType)
	}
}

// at sends the request elsewhere than was recorded: to a path with its query.
func at(uri string) option {
	return func(s *sent) {
		host := s.URL.Host
		u, err := s.URL.Parse(uri)
		if err != nil {
			panic(err)
		}
		u.Host = host // whatever host an upload's Location names
		s.URL, s.fixed = u, true
	}
}

func host(name string) option { return func(s *sent) { s.Host = name } }

// same keeps a digest in the path that is not that of the body.
var same option = func(s *sent) { s.fixed = true }

func ignoring(what ...string) option {
	return func(s *sent) { s.ignoring = append(s.ignoring, what...) }
}

// digestQuery adds the digest of an upload.
func digestQuery(uri, digest string) string { return uri + "&digest=" + digest }

// reply is an answer of the fake.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// decode decodes a JSON answer.
func (r reply) decode(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
}

var anyDigest = regexp.MustCompile(`sha(?:256[:-][0-9a-f]{64}|512:[0-9a-f]{128})`)

// do sends the next recorded request, with this server's digests for the recorded ones and as the administrator, and
// compares the answer.
func (p *replay) do(title string, options ...option) reply {
	p.t.Helper()
	one := p.next(title)
	p.replayed++
	path := anyDigest.ReplaceAllStringFunc(one.path, func(digest string) string {
		if own := p.digests[strings.Replace(digest, "-", ":", 1)]; own != "" {
			return strings.Replace(own, ":", digest[6:7], 1)
		}
		return digest
	})
	request, err := http.NewRequest(one.method, p.server.URL+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	s := &sent{Request: request}
	as(harbortest.Admin)(s)
	for _, option := range options {
		option(s)
	}
	if strings.Contains(one.path, "?_state=") && !s.fixed {
		at(p.location)(s)
	}
	if recorded := anyDigest.FindString(one.path); one.method == "PUT" && recorded != "" && strings.Contains(one.path, "/manifests/sha256:") && !s.fixed {
		p.digests[recorded] = bundle.DigestOf(s.body).String()
		s.URL.Path = strings.Replace(s.URL.Path, recorded, p.digests[recorded], 1)
	}
	got := p.send(s)
	p.learn(one, got)
	p.compare(one, s, got)
	return got
}

func (p *replay) send(s *sent) reply {
	p.t.Helper()
	s.Body, s.ContentLength = io.NopCloser(bytes.NewReader(s.body)), int64(len(s.body))
	resp, err := http.DefaultTransport.RoundTrip(s.Request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, content}
}

// learn notes what recorded digests are here, and where uploads go on.
func (p *replay) learn(one recording, got reply) {
	if recorded, own := one.header["Docker-Content-Digest"], got.header.Get("Docker-Content-Digest"); recorded != "" && own != "" {
		p.digests[recorded] = own
	}
	if location := got.header.Get("Location"); strings.Contains(location, "_state=") {
		p.location = location
	}
}

// decisive are the headers that are compared. Those that go with every answer of Harbor were not recorded.
var decisive = []string{
	"Content-Type", "Docker-Distribution-Api-Version", "Www-Authenticate", "Link", "Range", "Location", "X-Total-Count", "Oci-Subject",
	"Oci-Filters-Applied", "Docker-Content-Digest", "Docker-Upload-Uuid", "X-Harbor-Csrf-Token",
}

func (p *replay) compare(one recording, s *sent, got reply) {
	p.t.Helper()
	fail := func(what string, want, have any) {
		p.t.Helper()
		p.t.Errorf("%s: %s %s: %s is\n%v, recorded\n%v", one.title, one.method, one.path, what, have, want)
	}
	if got.status != one.status {
		fail("status", one.status, fmt.Sprintf("%d %s", got.status, got.body))
		return
	}
	for _, key := range decisive {
		recorded, wanted := one.header[key]
		values, have := got.header[key]
		if slices.Contains(s.ignoring, key) {
			continue
		}
		if value := strings.Join(values, ", "); wanted != have || p.neutral(key, recorded) != p.neutral(key, value) {
			fail("header "+key, recorded, fmt.Sprint(have, " ", value))
		}
	}
	if one.method == "HEAD" || slices.Contains(s.ignoring, "keys") {
		return
	}
	p.compareBody(one, got, fail)
}

// compareBody compares errors by all that they say, and other documents by which keys they have.
func (p *replay) compareBody(one recording, got reply, fail func(string, any, any)) {
	var want, have any
	if json.Unmarshal([]byte(one.body), &want) != nil {
		if !strings.HasPrefix(one.body, "{") && !strings.HasPrefix(one.body, "[") && strings.TrimSpace(string(got.body)) != one.body && one.status != 206 {
			fail("text", one.body, string(got.body))
		}
		return // recorded only in part
	}
	if err := json.Unmarshal(got.body, &have); err != nil {
		fail("body", one.body, string(got.body))
		return
	}
	if one.status >= 400 {
		if recorded, own := p.neutral("", mustMarshal(want)), p.neutral("", mustMarshal(have)); recorded != own {
			fail("error", recorded, own)
		}
		return
	}
	if recorded, own := keys(want), keys(have); recorded != own {
		fail("keys", recorded, own)
	}
}

func mustMarshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// keys describes a document: the keys of an object, or those of the first entry of a list.
func keys(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return strings.Join(slices.Sorted(maps.Keys(v)), " ")
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		return "[" + keys(v[0]) + "]"
	}
	return fmt.Sprintf("%T", v)
}

var (
	anyUUID    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyState   = regexp.MustCompile(`_state=[A-Za-z0-9_\-%=]+`)
	anyProject = regexp.MustCompile(`/projects/\d+$`)
)

// neutral takes out of a text what differs from server to server.
func (p *replay) neutral(key, text string) string {
	if key == "X-Harbor-Csrf-Token" {
		return ""
	}
	text = strings.NewReplacer("127.0.0.1:8085", "HOST", p.server.Host(), "HOST").Replace(text)
	for recorded, own := range p.digests {
		text = strings.ReplaceAll(text, own, recorded)
	}
	text = anyUUID.ReplaceAllString(text, "UUID")
	text = anyState.ReplaceAllString(text, "STATE")
	text = anyProject.ReplaceAllString(text, "/projects/N")
	return anyDigest.ReplaceAllString(text, "DIGEST")
}

// token gets a token from the token service, by no recorded request, and returns it with what it allows.
func (p *replay) token(who option, scopes ...string) (token string, actions map[string][]string) {
	p.t.Helper()
	query := strings.Join(append([]string{"service=harbor-registry"}, scopes...), "&scope=")
	request, err := http.NewRequest("GET", p.server.URL+"/service/token?"+query, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	s := &sent{Request: request}
	who(s)
	var answer struct {
		Token string `json:"token"`
	}
	p.send(s).decode(p.t, &answer)
	return answer.Token, granted(p.t, answer.Token)
}
