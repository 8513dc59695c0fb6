package dockerhub

import "testing"

func FuzzPage(f *testing.F) {
	f.Add([]byte(`{"count":2,"next":null,"results":[{"name":"app","is_private":true}]}`))
	f.Add([]byte(`{"count":2,"next":"https://hub.docker.com/x","results":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if page, _, err := parsePage(body); err == nil && len(page.Entries) > len(body) {
			t.Errorf("%d names in %d bytes", len(page.Entries), len(body))
		}
	})
}
