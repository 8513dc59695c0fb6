package export_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"airgap/export"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
	"airgap/export/registry/retry"
)

// gathering holds answers back until so many requests are under way.
type gathering struct {
	mu      sync.Mutex
	waiting int
	enough  int
	all     chan struct{}
}

func (g *gathering) hold(http.ResponseWriter, *http.Request, http.Handler) bool {
	g.mu.Lock()
	if g.waiting++; g.waiting == g.enough {
		close(g.all)
	}
	g.mu.Unlock()
	<-g.all
	return false
}

// paced is a client that keeps to a pace.
func paced() export.Source {
	pace := export.NewPace(export.MostLookups)
	return pace.Of(registry.New(registry.Config{
		Host:       func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		Retry:      retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
		Overloaded: pace.Overloaded,
	}))
}

// More manifests than blobs are asked for at once where nobody has said how many: as many as the pace begins with.
func TestManifestsAreAskedForAtTheRegistrysPace(t *testing.T) {
	f := newFaulty(t)
	var requests export.Requests
	for i := range 20 {
		f.AddManifest("acme/app", fmt.Sprintf("t%d", i), f.image.MediaType, append(f.StoredManifest("acme/app", "1"), fmt.Appendf(nil, "%*s", i+1, "")...))
		requests = append(requests, parse(t, fmt.Sprintf("%s/acme/app:t%d", f.Host(), i)))
	}
	g := &gathering{enough: 8, all: make(chan struct{})}
	f.Inject(On("GET", "/manifests/t", g.hold))
	source := paced()
	plan, err := export.MakePlan(t.Context(), source, requests, export.Options{Lookups: export.MostLookups})
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	if err := plan.Err(); err != nil {
		t.Error(err)
	}
}

// A registry that says that it cannot take so much is asked for less at once.
func TestAnOverloadedRegistryIsAskedForLess(t *testing.T) {
	f := newFaulty(t, Faults(Times(1, Throttle("1"))))
	source := paced()
	request := parse(t, f.Host()+"/acme/app:1")
	if _, _, err := source.Manifest(t.Context(), request.Ref); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	underWay, worst := 0, 0
	f.Inject(On("GET", "/manifests/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		mu.Lock()
		underWay++
		worst = max(worst, underWay)
		mu.Unlock()
		next.ServeHTTP(w, r)
		mu.Lock()
		underWay--
		mu.Unlock()
		return true
	}))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, _, err := source.Manifest(context.Background(), request.Ref); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if worst > 4 {
		t.Errorf("%d requests at once", worst)
	}
}
