package registry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"

	"github.com/google/go-containerregistry/pkg/name"
)

// subjectWith stores an image with n referrers in repo, and returns it and their digests, sorted.
func subjectWith(t *testing.T, server *Server, repo string, n int) (name.Digest, []string) {
	t.Helper()
	subject := server.AddManifest(repo, "1.0", bundle.MediaTypeOCIManifest, manifest(t, "subject", nil))
	var digests []string
	for i := range n {
		d := server.AddManifest(repo, "", bundle.MediaTypeOCIManifest, manifest(t, fmt.Sprint("referrer ", i), &subject))
		digests = append(digests, d.Digest.String())
	}
	slices.Sort(digests)
	return server.Repo(repo).Digest(subject.Digest.String()), digests
}

func digestsOf(list registry.Referrers) []string {
	var digests []string
	for _, d := range list.Descriptors {
		digests = append(digests, d.Digest.String())
	}
	slices.Sort(digests)
	return digests
}

func TestReferrers(t *testing.T) {
	elsewhere := New(t)
	const link = "Link"
	next := func(target string) Fault { return Header(link, "<"+target+`>; rel="next"`) }
	page := func(body string) Fault { return Answer(200, body, "Content-Type", bundle.MediaTypeOCIIndex) }
	tests := map[string]struct {
		fault   Fault // of the referrers API
		err     error // errAny for no sentinel
		message string
		api     bool
		none    bool // the fallback tag has the answer, and there is none
	}{
		"ordinary":                  {api: true},
		"pages":                     {fault: Pages(2), api: true},
		"pages of one":              {fault: Pages(1), api: true},
		"429, then fine":            {fault: Times(1, Throttle("1")), api: true},
		"500 three times":           {fault: Times(3, Answer(500, "")), api: true},
		"broken body, then fine":    {fault: Times(1, DropAfter(30)), api: true},
		"distribution's 404":        {fault: NotFoundText(), none: true},
		"404 of an HTML page":       {fault: Answer(404, "<html>", "Content-Type", "text/html"), none: true},
		"404 of an empty body":      {fault: Answer(404, ""), none: true},
		"405":                       {fault: Answer(405, ""), none: true},
		"400 UNSUPPORTED":           {fault: Code(400, "UNSUPPORTED", "no"), none: true},
		"404 UNSUPPORTED":           {fault: Code(404, "UNSUPPORTED", "no"), none: true},
		"repository unknown":        {fault: NameUnknown(), err: registry.ErrRepositoryUnknown, message: "list referrers of"},
		"400":                       {fault: Code(400, "MANIFEST_INVALID", "what?"), err: errAny, message: "what?"},
		"401":                       {fault: Code(401, "UNAUTHORIZED", "who?"), err: registry.ErrUnauthorized, message: "airgap login 127.0.0.1"},
		"401 UNSUPPORTED":           {fault: Code(401, "UNSUPPORTED", "who?"), err: registry.ErrUnauthorized},
		"403":                       {fault: Code(403, "DENIED", "no"), err: registry.ErrForbidden},
		"403 UNSUPPORTED":           {fault: Code(403, "UNSUPPORTED", "no"), err: registry.ErrForbidden},
		"429 for ever":              {fault: Throttle(""), err: registry.ErrThrottled},
		"429 UNSUPPORTED":           {fault: Code(429, "UNSUPPORTED", ""), err: registry.ErrThrottled},
		"500 for ever":              {fault: Answer(500, ""), err: registry.ErrUnavailable},
		"500 UNSUPPORTED":           {fault: Code(500, "UNSUPPORTED", ""), err: registry.ErrUnavailable},
		"502 of an HTML page":       {fault: Answer(502, "<html>"), err: registry.ErrUnavailable},
		"204":                       {fault: Answer(204, ""), err: errAny},
		"truncated for ever":        {fault: DropAfter(100), err: registry.ErrUnavailable},
		"truncated JSON":            {fault: Cut(100), err: bundle.ErrFormat},
		"empty":                     {fault: page(""), err: bundle.ErrFormat},
		"HTML":                      {fault: Answer(200, "<html>welcome</html>", "Content-Type", "text/html"), err: bundle.ErrFormat},
		"JSON of another type":      {fault: Header("Content-Type", "application/json"), err: bundle.ErrFormat},
		"a Docker list":             {fault: Header("Content-Type", bundle.MediaTypeDockerList), err: bundle.ErrFormat},
		"no type":                   {fault: Header("Content-Type", ""), err: bundle.ErrFormat},
		"a key twice":               {fault: page(`{"schemaVersion":2,"manifests":[],"manifests":[]}`), err: bundle.ErrFormat},
		"a key in another case":     {fault: page(`{"schemaVersion":2,"Manifests":[]}`), err: bundle.ErrFormat},
		"a digest of no kind":       {fault: page(`{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"x","size":1}]}`), err: bundle.ErrFormat},
		"a digest with two sizes":   {fault: page(fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":%[1]q,"size":1},{"mediaType":"a","digest":%[1]q,"size":2}]}`, bundle.EmptyJSON)), err: bundle.ErrFormat},
		"too large":                 {fault: Extend(bundle.MaxManifestSize), err: bundle.ErrLimit},
		"a page is missing":         {fault: First(Between(1, 2, NotFoundText()), Pages(2)), err: errAny, message: "404"},
		"a page without repository": {fault: First(Between(1, 2, NameUnknown()), Pages(2)), err: registry.ErrRepositoryUnknown},
		"a page is truncated":       {fault: First(Between(1, 2, Cut(10)), Pages(2)), err: bundle.ErrFormat},
		"next page at another host": {fault: next(elsewhere.URL + "/v2/x"), err: errAny, message: "another host"},
		"next page with a password": {fault: next("http://a:b@127.0.0.1/"), err: errAny},
		"next page of another kind": {fault: next("file:///etc/passwd"), err: errAny},
		"next page is this":         {fault: next("?"), err: errAny, message: "circle"},
		"pages in a circle":         {fault: First(Between(0, 1, next("?a=1")), Between(0, 1, next("?a=2")), next("?a=1")), err: errAny, message: "circle"},
		"pages without end":         {fault: endless(), err: bundle.ErrLimit, message: "1000 pages"},
		"malformed link":            {fault: Header(link, "http://x/; rel=next"), err: errAny, message: "Link"},
		"malformed link parameter":  {fault: Header(link, `<?x>; rel="next`), err: errAny, message: "Link"},
		"empty link":                {fault: Header(link, `<>; rel="next"`), err: errAny, message: "Link"},
		"other links":               {fault: Header(link, `<?a>; rel="first", <https://x/>; rel=help; title="a, <b>; rel=next"`), api: true},
		"redirect to another host":  {fault: RedirectTo(elsewhere.URL), err: registry.ErrRepositoryUnknown},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			server := New(t)
			subject, digests := subjectWith(t, server, "acme/app", 5)
			if test.fault != nil {
				server.Inject(On("", "/referrers/", test.fault))
			}
			c := newClient(t, nil)
			got, err := c.Referrers(t.Context(), subject)
			if test.err != nil {
				if test.err == errAny {
					test.err = nil
				}
				wantError(t, err, test.err, "acme/app@sha256:", test.message)
				if n := server.Count("", "/manifests/"); n > 0 {
					t.Error("asked for the fallback tag")
				}
				return
			}
			ok(t, err)
			if got.API != test.api {
				t.Errorf("API %t", got.API)
			}
			if test.none {
				digests = nil
			}
			if !slices.Equal(digestsOf(got), digests) {
				t.Errorf("got %v, want %v", digestsOf(got), digests)
			}
		})
	}
	for _, r := range elsewhere.Requests() {
		if r.Header.Get("Authorization") != "" || strings.Contains(r.Path, "/v2/x") {
			t.Errorf("%s arrived elsewhere", r)
		}
	}
}

// endless has ever another page.
func endless() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return Header("Link", "<?"+r.URL.RawQuery+"x>; rel=next")(w, r, next)
	}
}

func TestFallbackTag(t *testing.T) {
	tests := map[string]struct {
		fault   Fault  // of manifests
		body    string // of the fallback tag; empty is an index with all referrers
		typ     string
		absent  bool
		err     error
		message string
	}{
		"index":           {},
		"none":            {absent: true},
		"unknown":         {fault: NameUnknown(), err: registry.ErrRepositoryUnknown},
		"401":             {fault: Code(401, "UNAUTHORIZED", ""), err: registry.ErrUnauthorized},
		"403":             {fault: Code(403, "DENIED", ""), err: registry.ErrForbidden},
		"429":             {fault: Throttle(""), err: registry.ErrThrottled},
		"500":             {fault: Answer(500, ""), err: registry.ErrUnavailable},
		"truncated":       {fault: DropAfter(10), err: registry.ErrUnavailable},
		"truncated JSON":  {fault: Cut(50), err: bundle.ErrDigest},
		"an image":        {body: "image", typ: bundle.MediaTypeOCIManifest, err: bundle.ErrFormat, message: "fallback tag sha256-"},
		"a Docker list":   {typ: bundle.MediaTypeDockerList, err: bundle.ErrFormat},
		"a key twice":     {body: `{"schemaVersion":2,"manifests":[],"manifests":[]}`, err: bundle.ErrFormat},
		"not JSON at all": {body: `{"manifests":[`, err: bundle.ErrFormat},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			server := New(t, NoReferrersAPI())
			subject, digests := subjectWith(t, server, "acme/app", 3)
			d, err := bundle.ParseDigest(subject.DigestStr())
			ok(t, err)
			if test.typ == "" {
				test.typ = bundle.MediaTypeOCIIndex
			}
			var descriptors []bundle.Descriptor
			for _, digest := range digests {
				d, err := bundle.ParseDigest(digest)
				ok(t, err)
				descriptors = append(descriptors, bundle.Descriptor{MediaType: bundle.MediaTypeOCIManifest, Digest: d, Size: 1})
			}
			body := index(t, descriptors...)
			switch test.body {
			case "":
			case "image":
				body = manifest(t, "x", nil)
			default:
				body = []byte(test.body)
			}
			faults := []Fault{}
			switch {
			case test.fault != nil:
				faults = append(faults, On("GET", "/manifests/", test.fault))
				fallthrough
			case !test.absent && test.body == "":
				server.AddManifest("acme/app", d.FallbackTag(), test.typ, body)
			case !test.absent:
				// What the registry itself would not take.
				faults = append(faults, On("GET", "/manifests/", Answer(200, string(body), "Content-Type", test.typ)))
			}
			server.Inject(faults...)
			c := newClient(t, nil)
			got, err := c.Referrers(t.Context(), subject)
			if test.err != nil {
				wantError(t, err, test.err, test.message)
				return
			}
			ok(t, err)
			if test.absent {
				digests = nil
			}
			if got.API || !slices.Equal(digestsOf(got), digests) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestReferrersBothWays(t *testing.T) {
	t.Run("404 after the API", func(t *testing.T) {
		server := New(t, Faults(On("", "/b/referrers/", NotFoundText())))
		a, _ := subjectWith(t, server, "a", 1)
		b, _ := subjectWith(t, server, "b", 1)
		c := newClient(t, nil)
		_, err := c.Referrers(t.Context(), a)
		ok(t, err)
		_, err = c.Referrers(t.Context(), b)
		wantError(t, err, nil, "both ways")
	})
	t.Run("the API after 404", func(t *testing.T) {
		server := New(t, Faults(On("", "/b/referrers/", NotFoundText())))
		a, _ := subjectWith(t, server, "a", 1)
		b, _ := subjectWith(t, server, "b", 1)
		c := newClient(t, nil)
		_, err := c.Referrers(t.Context(), b)
		ok(t, err)
		_, err = c.Referrers(t.Context(), a)
		wantError(t, err, nil, "both ways")
	})
	t.Run("a missing repository decides nothing", func(t *testing.T) {
		server := New(t)
		a, _ := subjectWith(t, server, "a", 1)
		c := newClient(t, nil)
		_, err := c.Referrers(t.Context(), server.Repo("missing").Digest(a.DigestStr()))
		wantError(t, err, registry.ErrRepositoryUnknown)
		_, err = c.Referrers(t.Context(), a)
		ok(t, err)
		_, err = c.Referrers(t.Context(), server.Repo("missing").Digest(a.DigestStr()))
		wantError(t, err, registry.ErrRepositoryUnknown)
	})
	t.Run("a token service's 404 is not the registry's", func(t *testing.T) {
		login := &Login{User: user, Password: password}
		server := New(t, Wrap(login.Guard), Faults(On("", "/token", Answer(404, ""))))
		a, _ := subjectWith(t, server, "a", 1)
		c := newClient(t, withKeychain(ada))
		_, err := c.Referrers(t.Context(), a)
		wantError(t, err, nil, "token service", "404")
	})
}

// A Link, or a redirect, from https must not lead to http, even at the same host.
func TestLinkDowngrade(t *testing.T) {
	secure := New(t, TLS())
	subject, _ := subjectWith(t, secure, "acme/app", 1)
	secure.Inject(On("", "/referrers/", Header("Link", "<http://"+secure.Host()+"/v2/next>; rel=next")))
	c := newClient(t, nil, secure)
	_, err := c.Referrers(t.Context(), subject)
	wantError(t, err, nil, "from https to http")
}

func TestTags(t *testing.T) {
	server := New(t)
	body := manifest(t, "x", nil)
	var want []string
	for i := range 25 {
		tag := fmt.Sprintf("v%02d", i)
		want = append(want, tag)
		server.AddManifest("acme/app", tag, bundle.MediaTypeOCIManifest, body)
	}
	c := newClient(t, nil)
	got, err := c.Tags(t.Context(), server.Repo("acme/app"))
	ok(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	server.Inject(On("", "/tags/", First(
		Times(1, Answer(200, `{"name":"x","tags":["a","b"]}`, "Link", `</v2/acme/app/tags/list?last=b&n=2>; rel="next"`)),
		Times(1, Answer(200, `{"name":"x","tags":["b","c"]}`, "Link", `</v2/acme/app/tags/list?last=c&n=2>; rel="next"`)),
		Times(1, Answer(200, `{"name":"x","tags":null}`)),
		Times(1, Answer(200, `{"name":"x","tags":["../etc"]}`)),
		Times(1, Answer(200, `{"name":"x","tags":["a"]`)),
		NameUnknown(),
	)))
	got, err = c.Tags(t.Context(), server.Repo("acme/app"))
	ok(t, err)
	if !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %v", got)
	}
	_, err = c.Tags(t.Context(), server.Repo("acme/app"))
	wantError(t, err, bundle.ErrFormat, "is not a tag")
	_, err = c.Tags(t.Context(), server.Repo("acme/app"))
	wantError(t, err, nil)
	_, err = c.Tags(t.Context(), server.Repo("acme/app"))
	wantError(t, err, registry.ErrRepositoryUnknown)
}

func TestHasTags(t *testing.T) {
	server := New(t)
	c := newClient(t, nil)
	for _, test := range []struct {
		fault Fault
		want  bool
		err   error
	}{
		{fault: NameUnknown(), err: registry.ErrRepositoryUnknown},
		{fault: Code(http.StatusForbidden, "DENIED", ""), err: registry.ErrForbidden},
		{fault: Answer(200, `{"name":"x","tags":null}`)},
		{fault: Answer(200, `{"name":"x","tags":[]}`)},
		{fault: Answer(200, `{"name":"x","tags":[]}`, "Link", `</v2/acme/app/tags/list?last=a&n=1>; rel="next"`), want: true},
		{fault: Answer(200, `{"name":"x","tags":["a"]}`), want: true},
	} {
		server.Inject(On("", "/tags/", test.fault))
		server.Forget()
		has, err := c.HasTags(t.Context(), server.Repo("acme/app"))
		if has != test.want || !errors.Is(err, test.err) {
			t.Errorf("%t, %v; want %t, %v", has, err, test.want, test.err)
		}
		if n := len(server.Requests()); test.err == nil && n > 1 {
			t.Errorf("%d requests", n)
		}
	}
	server.Inject(On("", "/tags/", Answer(200, `{"tags":`)))
	if _, err := c.HasTags(t.Context(), server.Repo("acme/app")); err == nil {
		t.Error("half a listing was taken")
	}
}

// A registry without the referrers API costs one request for each subject, once its web server has said often enough that it
// knows no such path.
func TestReferrersWithoutThePathOfTheAPI(t *testing.T) {
	const subjects, asked = 30, 20
	server := New(t, NoReferrersAPI())
	c := newClient(t, nil)
	list := func(i int) {
		t.Helper()
		subject := server.AddManifest("acme/app", "", bundle.MediaTypeOCIManifest, manifest(t, strconv.Itoa(i), nil))
		referrer := server.AddManifest("acme/app", "", bundle.MediaTypeOCIManifest, manifest(t, "sbom", &subject))
		content, err := json.Marshal(bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIIndex, Manifests: []bundle.Descriptor{referrer}})
		ok(t, err)
		server.AddManifest("acme/app", subject.Digest.FallbackTag(), bundle.MediaTypeOCIIndex, content)
		got, err := c.Referrers(t.Context(), server.Repo("acme/app").Digest(subject.Digest.String()))
		ok(t, err)
		if got.API || len(got.Descriptors) != 1 || got.Descriptors[0].Digest != referrer.Digest {
			t.Fatalf("subject %d: %+v", i, got)
		}
	}
	for i := range subjects {
		list(i)
	}
	if n := server.Count("GET", "/referrers/"); n != asked {
		t.Errorf("the API was asked for %d times, want %d", n, asked)
	}
	c.clock.advance(longAfter)
	list(subjects)
	if n := server.Count("GET", "/referrers/"); n != asked+1 {
		t.Errorf("after a long time the API was asked for %d times, want %d", n, asked+1)
	}
}
