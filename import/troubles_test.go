package importer_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
)

// once limits a fault to the first request of each kind: to that repository, about that content.
func once(fault registrytest.Fault) registrytest.Fault {
	var seen sync.Map
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		place, _, _ := strings.Cut(r.URL.Path, "/uploads/") // each upload has its own
		_, again := seen.LoadOrStore(r.Method+place+r.URL.Query().Get("digest"), true)
		return !again && fault(w, r, next)
	}
}

// onWrites limits a fault to what changes something.
func onWrites(fault registrytest.Fault) registrytest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodDelete && fault(w, r, next)
	}
}

// TestHarborsTroubles: what passes does not end an import, with several requests under way.
func TestHarborsTroubles(t *testing.T) {
	a := importtest.NewAcme(t)
	path := a.File()
	html := registrytest.Answer(http.StatusBadGateway, "<html>502 Bad Gateway</html>", "Content-Type", "text/html")
	contention := func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		w.Header().Set("Www-Authenticate", `Basic realm="harbor"`)
		return registrytest.Code(http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized: unauthorized")(w, r, next)
	}
	broken := registrytest.On("PATCH", "/uploads/", once(registrytest.BreakUpload(150<<10)))
	for title, test := range map[string]struct {
		set   func(*harbortest.Settings)
		fault func(*harbortest.Server) registrytest.Fault
	}{
		"realm of the wrong scheme": {set: func(set *harbortest.Settings) { set.RealmScheme = "https" }},
		"tokens expire": {
			set: func(set *harbortest.Settings) { set.TokenLifetime = 5 * time.Minute },
			fault: func(s *harbortest.Server) registrytest.Fault {
				return onWrites(once(func(http.ResponseWriter, *http.Request, http.Handler) bool {
					s.Advance(10 * time.Minute)
					return false
				}))
			},
		},
		"401 under contention": {fault: func(*harbortest.Server) registrytest.Fault { return onWrites(once(contention)) }},
		"401 to the first of all repositories": {fault: func(*harbortest.Server) registrytest.Fault {
			return onWrites(registrytest.On("", "/blobs/uploads/", registrytest.Times(6, contention)))
		}},
		"429":            {fault: func(*harbortest.Server) registrytest.Fault { return once(registrytest.Throttle("1")) }},
		"502 in HTML":    {fault: func(*harbortest.Server) registrytest.Fault { return once(html) }},
		"502, empty":     {fault: func(*harbortest.Server) registrytest.Fault { return once(registrytest.Answer(502, "")) }},
		"no answer":      {fault: func(*harbortest.Server) registrytest.Fault { return once(registrytest.Drop()) }},
		"broken uploads": {fault: func(*harbortest.Server) registrytest.Fault { return broken }},
		"broken uploads, strict": {
			set:   func(set *harbortest.Settings) { set.StrictUploads = true },
			fault: func(*harbortest.Server) registrytest.Fault { return broken },
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := acmeHarbor(t)
			if test.set != nil {
				s.Change(test.set)
			}
			c := importtest.HarborClient(t, pushers(s, harbortest.ListAccessories))
			o := intoHarbor(t, s, c)
			o.Jobs = 1
			if title != "tokens expire" { // there one would expire that was just renewed
				o.Jobs, o.JobsPerProject = 8, 8
			}
			if test.fault != nil {
				s.Inject(test.fault(s))
			}
			done, err := importer.Run(t.Context(), importtest.Open(t, path), c, o)
			if err != nil || !done.Complete {
				t.Fatal(err)
			}
			expectInHarbor(t, a, s)
		})
	}
}
