package importer_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"airgap/export/registry/concurrency"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
)

// crowd holds requests up until so many are under way at once, once, and counts how many there are at most.
type crowd struct {
	t         *testing.T
	wanted    int
	mu        sync.Mutex
	now, most int
	enough    chan struct{}
}

func (c *crowd) fault(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	if r.Method != http.MethodHead {
		return false
	}
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	if c.most == c.wanted {
		c.wanted = 0
		close(c.enough)
	}
	c.mu.Unlock()
	select {
	case <-c.enough:
	case <-time.After(20 * time.Second):
		c.t.Errorf("no more than %d requests are under way at once", c.most)
	}
	next.ServeHTTP(w, r)
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	return true
}

// TestPace: where nobody says how many requests are to be under way at once, it begins with as many as a Limit does, which is told
// of overload; a number that was given is kept.
func TestPace(t *testing.T) {
	w := importtest.NewWorld(t)
	for i := range 60 {
		name := fmt.Sprint("app", i)
		w.Root("example.com/"+name+":1", name, "1", w.Image(name))
	}
	path := w.File()
	for _, c := range []struct{ jobs, most int }{{0, concurrency.Begin}, {3, 3}} {
		t.Run(fmt.Sprint(c.jobs, " jobs"), func(t *testing.T) {
			s := registrytest.New(t)
			crowd := &crowd{t: t, wanted: c.most, enough: make(chan struct{})}
			s.Inject(crowd.fault)
			o := options(t, s)
			stopped := time.Unix(0, 0) // so that nothing is measured, and the number stays
			o.Jobs, o.Pace = c.jobs, importer.NewPace(func() time.Time { return stopped })
			if _, err := importer.Run(t.Context(), importtest.Open(t, path), importtest.Client(), o); err != nil {
				t.Fatal(err)
			}
			if crowd.most != c.most {
				t.Errorf("%d requests under way at once, want %d", crowd.most, c.most)
			}
		})
	}
}
