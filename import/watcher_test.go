package importer_test

import (
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry/registrytest"
	"airgap/import/importtest"
)

// watcher sees in which order manifests arrive.
type watcher struct {
	mu      sync.Mutex
	arrived map[string]bool // repository@digest
	busy    map[string]bool // repository@subject
	early   int             // referrers that arrived before their subject
}

var manifestPath = regexp.MustCompile(`^/v2/(.+)/manifests/(sha256:.+)$`)

func (o *watcher) fault(t *testing.T, a *importtest.Acme) registrytest.Fault {
	o.arrived, o.busy = map[string]bool{}, map[string]bool{}
	return registrytest.On("PUT", "/manifests/sha256:", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		parts := manifestPath.FindStringSubmatch(r.URL.Path)
		repo := parts[1]
		digest, err := bundle.ParseDigest(parts[2])
		if err != nil {
			t.Error(err)
			return false
		}
		m := a.Parse(digest)
		o.mu.Lock()
		for _, child := range m.Children() {
			o.expect(t, repo, digest, child.Digest)
		}
		var list string
		if m.Subject != nil {
			if !o.arrived[repo+"@"+m.Subject.Digest.String()] {
				o.early++
			}
			list = repo + "@" + m.Subject.Digest.String()
			if o.busy[list] {
				t.Errorf("two referrers of %s at once", list)
			}
			o.busy[list] = true
		}
		o.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		next.ServeHTTP(w, r)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.arrived[repo+"@"+digest.String()] = true
		o.busy[list] = false
		return true
	})
}

func (o *watcher) expect(t *testing.T, repo string, digest, before bundle.Digest) {
	if !o.arrived[repo+"@"+before.String()] {
		t.Errorf("%s: %s arrived before %s", repo, digest, before)
	}
}
