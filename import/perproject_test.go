package importer_test

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/export/registry"
	"airgap/export/registry/harbor"
	"airgap/export/registry/harbor/harbortest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/parallel"
	"airgap/import/placing"
)

// intoHarbor are options for an import into a Harbor.
func intoHarbor(t testing.TB, s *harbortest.Server, c *registry.Client) importer.Options {
	t.Helper()
	d, err := placing.ParseDestination(s.Host())
	if err != nil {
		t.Fatal(err)
	}
	found, err := harbor.Find(t.Context(), c, s.Registry())
	if err != nil || found == nil {
		t.Fatalf("%v, %v", found, err)
	}
	return importer.Options{Rules: placing.Rules{Destination: d}, Recording: importer.Recording{Trust: importtest.Trust()}, TempDir: t.TempDir(), Harbor: found}
}

// underWay counts the writes that are under way in each project, and holds those into one project up until everything is in
// another.
type underWay struct {
	t         *testing.T
	mu        sync.Mutex
	now, most map[string]int
	manifests int           // of the other project, to come
	done      chan struct{} // there are none to come
}

func (u *underWay) fault(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return false
	}
	project := strings.Split(r.URL.Path, "/")[2]
	u.mu.Lock()
	u.now[project]++
	u.most[project] = max(u.most[project], u.now[project])
	u.mu.Unlock()
	if project == "slow" {
		select {
		case <-u.done:
		case <-time.After(20 * time.Second):
			u.t.Error("the other project had to wait for the slow one")
		}
	}
	next.ServeHTTP(w, r)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now[project]--
	if project == "other" && strings.Contains(r.URL.Path, "/manifests/sha256:") {
		if u.manifests--; u.manifests == 0 {
			close(u.done)
		}
	}
	return true
}

// TestParallelismPerProject: no more than so many writes are under way in one project, and a slow project keeps no other one
// from getting on. Blobs that both need are brought into one after the other.
func TestParallelismPerProject(t *testing.T) {
	const images = 12
	w := importtest.NewWorld(t)
	for i := range images {
		for _, project := range []string{"slow", "other"} {
			name := fmt.Sprintf("%s/app%d", project, i)
			w.Root("example.com/"+name+":1", name, "1", w.Image(name, w.Layer(1000), w.Layer(200<<10)))
		}
	}
	path := w.File()
	for _, limit := range []int{0, 2} {
		for _, way := range []string{"file", "pipe"} {
			t.Run(fmt.Sprintf("%s, %d", way, limit), func(t *testing.T) {
				s := harbortest.New(t)
				s.AddProject(harbortest.Project{Name: "slow"})
				s.AddProject(harbortest.Project{Name: "other"})
				c := importtest.HarborClient(t, harbortest.Admin)
				u := &underWay{t: t, now: map[string]int{}, most: map[string]int{}, manifests: images, done: make(chan struct{})}
				s.Inject(u.fault)
				b := importtest.Open(t, path)
				if way == "pipe" {
					b = importtest.OpenPipe(t, path)
				}
				o := intoHarbor(t, s, c)
				o.Jobs, o.JobsPerProject = 16, limit
				want := cmp.Or(limit, parallel.DefaultJobs)
				done, err := importer.Run(t.Context(), b, c, o)
				if err != nil || !done.Complete {
					t.Fatal(err)
				}
				if u.most["slow"] != want || u.most["other"] > want {
					t.Errorf("writes under way: %v, may be %d", u.most, want)
				}
			})
		}
	}
}

// TestBlobOfManyProjects: a blob that several projects need is uploaded once, and mounted into the others.
func TestBlobOfManyProjects(t *testing.T) {
	w := importtest.NewWorld(t)
	shared := w.Layer(3 << 20)
	s := harbortest.New(t)
	for i := range 5 {
		project := fmt.Sprintf("p%d", i)
		s.AddProject(harbortest.Project{Name: project})
		name := project + "/app"
		w.Root("example.com/"+name+":1", name, "1", w.Image(name, shared))
	}
	path := w.File()
	c := importtest.HarborClient(t, harbortest.Admin)
	done, err := importer.Run(t.Context(), importtest.OpenPipe(t, path), c, intoHarbor(t, s, c))
	if err != nil {
		t.Fatal(err)
	}
	if done.Done.BlobsMounted != 4 {
		t.Errorf("%+v", done.Done)
	}
	if n := s.Count("PATCH", "/uploads/"); n != 1 {
		t.Errorf("%d uploads", n)
	}
}
