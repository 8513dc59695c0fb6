package importer_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
)

// phases is an observer that does something when a phase begins.
type phases struct {
	at string
	do func()
}

func (p phases) Count(name, _ string, total int64) { p.Phase(name, total) }

func (p phases) Phase(name string, _ int64) {
	if name == p.at {
		p.do()
	}
}
func (phases) Add(int64)   {}
func (phases) Item(string) {}
func (phases) Warn(string) {}

// TestCancelWhereNobodyAnswers: in each phase of an import into Harbor, from a file and from a pipe, cancelling ends it though
// Harbor does not answer, leaves nothing that looks finished, and the import can be run again.
func TestCancelWhereNobodyAnswers(t *testing.T) {
	h := newAtHarbor(t)
	h.path = h.File()
	projectIs := map[string]bool{"check target": false, "create projects": false, "push": true, "list referrers": true, "check everything": true, "tag": true, "read back": true}
	for phase, made := range projectIs {
		for _, piped := range []bool{false, true} {
			t.Run(phase, func(t *testing.T) {
				h := &atHarbor{Acme: h.Acme, t: t, s: harbortest.New(t), path: h.path}
				c := importtest.HarborClient(t, harbortest.Admin)
				o := intoHarbor(t, h.s, c)
				o.Destination.Prefix, o.CreateProjects = "new", true
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var silent atomic.Bool
				h.s.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
					if !silent.Load() {
						return false
					}
					cancel()
					return registrytest.Hang()(w, r, next)
				})
				o.Observer = phases{phase, func() { silent.Store(true) }}
				b := importtest.Open(t, h.path)
				if piped {
					b = importtest.OpenPipe(t, h.path)
				}
				began := time.Now()
				done, err := importer.Run(ctx, b, c, o)
				if err != context.Canceled || done.Complete || time.Since(began) > 20*time.Second {
					t.Errorf("%v, %+v, %s", err, done, time.Since(began))
				}
				if _, tagged := h.s.Tags("new/acme/tool")["2"]; tagged != (phase == "read back") {
					t.Errorf("a person's tag is there: %t", tagged)
				}
				if there := len(h.s.Projects()) > 1; there != made {
					t.Errorf("%v", h.s.Projects())
				}
				silent.Store(false)
				h.works(harbortest.Admin, "new", createProjects)
				if h.s.Tags("new/acme/tool")["2"] != h.Tool.Digest {
					t.Errorf("%v", h.s.Tags("new/acme/tool"))
				}
			})
		}
	}
}
