package registry

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"airgap/bundle"

	"github.com/google/go-containerregistry/pkg/name"
)

func TestParseNextLink(t *testing.T) {
	tests := []struct {
		fields []string
		want   string
		fails  bool
	}{
		{nil, "", false},
		{[]string{""}, "", false},
		{[]string{`</v2/x?n=1>; rel="next"`}, "/v2/x?n=1", false},
		{[]string{`</v2/x>;rel=next`}, "/v2/x", false},
		{[]string{`</v2/x> ; REL = "Next"`}, "/v2/x", false},
		{[]string{`</v2/x>; rel="prev next"`}, "/v2/x", false},
		{[]string{`</a>; rel="prev", </b>; rel="next"`}, "/b", false},
		{[]string{`</a>; rel="prev"`, `</b>; rel="next"`}, "/b", false},
		{[]string{`</a,b;c>; title="x, y; rel=next"; rel="next"`}, "/a,b;c", false},
		{[]string{`</a>; rel="prev"; rel="next"`}, "", false}, // the first counts, RFC 8288 section 3.3
		{[]string{`</a>; flag; rel=next`}, "/a", false},
		{[]string{`</a>; rel=next, </a>; rel=next`}, "/a", false},
		{[]string{`</a>; rel=next, </b>; rel=next`}, "", true},
		{[]string{`<>; rel=next`}, "", true},
		{[]string{`/a; rel=next`}, "", true},
		{[]string{`</a; rel=next`}, "", true},
		{[]string{`</a>; rel="next`}, "", true},
		{[]string{`</a> rel=next`}, "", true},
		{[]string{"<" + strings.Repeat("x", maxLink) + ">"}, "", true},
	}
	for _, test := range tests {
		got, err := parseNextLink(test.fields)
		if got != test.want || (err != nil) != test.fails {
			t.Errorf("%q: %q, %v", test.fields, got, err)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for s, want := range map[string]string{
		"bytes 0-9/10": "0 9 10 true", "bytes 5-9/*": "5 9 -1 true", "BYTES 0-0/1": "0 0 1 true",
		"": "false", "bytes */10": "false", "bytes 9-5/10": "false", "bytes 0-10/10": "false", "bytes 0-9": "false",
		"bytes -1-9/10": "false", "items 0-9/10": "false", "bytes 0-9/99999999999999999999": "false", "bytes +0-9/10": "false",
	} {
		first, last, total, ok := parseContentRange(s)
		got := fmt.Sprint(first, last, total, ok)
		if !ok {
			got = "false"
		}
		if got != want {
			t.Errorf("%q: %s", s, got)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"https://a", "https://a:443/x"}: true, {"http://a", "http://A:80"}: true, {"https://a", "http://a"}: false,
		{"https://a", "https://a:444"}: false, {"https://a", "https://b"}: false, {"https://[::1]:5", "https://[::1]:5/"}: true,
		{"https://a.b", "https://b"}: false,
	} {
		a, _ := url.Parse(pair[0])
		b, _ := url.Parse(pair[1])
		if sameOrigin(a, b) != want {
			t.Errorf("%v: not %t", pair, want)
		}
	}
}

func TestDisplay(t *testing.T) {
	if got := DisplayName("index.docker.io/library/alpine:3"); got != "docker.io/library/alpine:3" {
		t.Error(got)
	}
	if got := DisplayName("index.docker.io"); got != "docker.io" {
		t.Error(got)
	}
}

func FuzzNextPage(f *testing.F) {
	f.Add(`</v2/x/referrers/y?n=1>; rel="next"`)
	f.Add(`<http://a/>; rel=prev, <//b/>; title="x,y"; rel="next prev"`)
	home, _ := url.Parse("https://registry.example.com:5000")
	f.Fuzz(func(t *testing.T, field string) {
		req := &http.Request{URL: home.JoinPath("/v2/x/referrers/y")}
		next, err := nextPage(home, &http.Response{Request: req, Header: http.Header{"Link": {field}}})
		if next != nil && (err != nil || !sameOrigin(next, home) || next.User != nil) {
			t.Errorf("%q leads to %s", field, next)
		}
	})
}

func FuzzParseLimit(f *testing.F) {
	f.Add("76;w=21600")
	f.Add("100; q=1; w=60")
	f.Add("-1;w=99999999999999999999")
	f.Fuzz(func(t *testing.T, header string) {
		n, window, ok := parseLimit(header)
		if n < 0 || window < 0 || !ok && (n != 0 || window != 0) {
			t.Errorf("%q is %d in %v, %t", header, n, window, ok)
		}
	})
}

func FuzzReferrersPage(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"` + bundle.MediaTypeOCIIndex + `","manifests":[{"mediaType":"a","digest":"` + bundle.EmptyJSON.String() + `","size":2,"artifactType":"b","annotations":{"c":"d"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		list := referrersList{seen: make(map[bundle.Digest]int64)}
		if list.add(bundle.MediaTypeOCIIndex, body) != nil {
			return
		}
		again := referrersList{seen: make(map[bundle.Digest]int64)}
		if err := again.add(bundle.MediaTypeOCIIndex, body); err != nil || !reflect.DeepEqual(list.descriptors, again.descriptors) {
			t.Error("read in two ways")
		}
		if len(list.descriptors) != len(list.seen) {
			t.Error("a digest twice")
		}
	})
}

func FuzzErrorBody(f *testing.F) {
	f.Add("application/json", []byte(`{"errors":[{"code":"DENIED","message":"no","detail":{"digest":"x"}}]}`))
	f.Add("text/plain", []byte("not here\x1b[0m\n"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		e := Error{Op: "a", Ref: "b", Status: 400}
		e.readBody(contentType, body)
		if text := sanitize(e.Message, maxMessage); len(text) > maxMessage+3 || strings.ContainsAny(text, "\n\r\x1b\x00") {
			t.Errorf("message %q", text)
		}
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	c := New(Config{})
	for i := range 3 * maxSessions {
		repo, err := name.NewRepository(fmt.Sprintf("registry%d.example.com/acme/app", i%(3*maxHosts)))
		if err != nil {
			t.Fatal(err)
		}
		c.core.session(repo, strconv.Itoa(i))
	}
	hosts, sessions := 0, 0
	c.core.hosts.DeleteFunc(func(string, *host) bool { hosts++; return false })
	c.core.sessions.DeleteFunc(func(sessionKey, *session) bool { sessions++; return false })
	if hosts > 2*maxHosts || sessions > 2*maxSessions {
		t.Errorf("%d hosts and %d sessions are kept", hosts, sessions)
	}
}
