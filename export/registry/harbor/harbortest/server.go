// Package harbortest runs a Harbor inside a test: its registry, its token service and its API, as a Harbor 2.14.4 was
// recorded to answer (../testdata/exchanges, with which its tests compare it).
//
//	server := harbortest.New(t)
//	server.AddProject(harbortest.Project{Name: "lab", Quota: 20_000})
//	robot := server.AddRobot("lab", "imp", harbortest.Push)
//	keychain := robot.Keychain()
//
// The server begins with an administrator (Admin) and one public project, library. Projects are changed with
// ChangeProject, the system with Change, its clock with Advance; CollectGarbage runs when it is called. Faults of package
// registrytest stand before everything (Inject). Add methods and those that look (Projects, Tags, Artifacts, ...) go past
// faults, logins and policies.
//
// Everything is in memory. What is not recorded follows Harbor's description of its API, or is marked as assumed.
package harbortest

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/export/registry/registrytest"

	"github.com/google/go-containerregistry/pkg/name"
)

// Server is a Harbor in a test.
type Server struct {
	*httptest.Server
	t   testing.TB
	key []byte // signs tokens

	mu       sync.Mutex // guards what follows
	set      Settings
	ahead    time.Duration // of the machine's clock
	accounts map[string]*account
	projects map[string]*project
	blobs    map[string][]byte // the storage of the registry, by digest
	uploads  map[string]*upload
	lastID   map[string]int
	faults   []registrytest.Fault
	requests []registrytest.Request
}

// Settings are those of the system as a whole.
type Settings struct {
	Version         string // "v2.14.4"
	ReadOnly        bool
	ProjectCreation string        // "everyone" or "adminonly"
	TokenLifetime   time.Duration // 30 minutes; tokens are honoured for a minute more
	// RealmScheme is that of the address in Bearer challenges, which Harbor takes from its configuration, while the host is
	// that of the request; empty for the scheme that the server speaks.
	RealmScheme string
	// HeadForMembers refuses HEAD of projects that the account may not see, existing or not, as the source of Harbor after
	// 2.14 does.
	HeadForMembers bool
	// StrictUploads answers 404 BLOB_UPLOAD_INVALID also to who looks at an upload with an old state, so that one that broke
	// off within a chunk cannot be continued. Of the registry behind Harbor, that is how the source of distribution 2.8.3 has
	// it, and Debian's docker-registry 2.8.2 was seen to do it; distribution 3.1.2 tells how far it is, at times before it has
	// written all that had come. Which of both Harbor 2.14.4 does was not recorded. Importers have to live with either.
	StrictUploads bool
	GC            GC
}

// GC is the schedule of garbage collection, as the API shows it.
type GC struct {
	Type, Cron     string // empty for no schedule
	DeleteUntagged bool
	Next           time.Time
}

// Option changes what New starts.
type Option func(*options)

type options struct {
	set    Settings
	faults []registrytest.Fault
	tls    bool
}

// With changes the settings that the server begins with.
func With(change func(*Settings)) Option { return func(o *options) { change(&o.set) } }

// Version makes the server one of that version, such as "v2.7.4". From 2.15 on, a Sigstore bundle is an accessory of type
// signature.cosign, and before a plain one; before 2.9 a subject is not acknowledged, and before 2.8 there is no referrers
// API and what has a subject is an artifact like any other. (All but 2.14, assumed.)
func Version(version string) Option { return With(func(s *Settings) { s.Version = version }) }

// Faults puts faults before the server, see Inject.
func Faults(faults ...registrytest.Fault) Option {
	return func(o *options) { o.faults = append(o.faults, faults...) }
}

// TLS makes the server speak https; see Server.TLSConfig.
func TLS() Option { return func(o *options) { o.tls = true } }

// New starts a Harbor that is closed at the end of the test.
func New(t testing.TB, opts ...Option) *Server {
	t.Helper()
	o := options{set: Settings{Version: "v2.14.4", ProjectCreation: "everyone", TokenLifetime: 30 * time.Minute}}
	for _, option := range opts {
		option(&o)
	}
	s := &Server{
		t: t, key: []byte(rand.Text()), set: o.set, faults: o.faults,
		accounts: map[string]*account{}, projects: map[string]*project{}, blobs: map[string][]byte{}, uploads: map[string]*upload{},
		lastID: map[string]int{},
	}
	s.accounts[Admin.Name] = &account{Account: Admin, id: s.id("user"), admin: true, rights: map[string][]Right{}}
	s.AddProject(Project{Name: "library", Public: true})
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.faulty))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // dropped connections are meant
	if o.tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// Host returns the server's "host:port".
func (s *Server) Host() string { return s.Listener.Addr().String() }

// Registry returns the server as a registry.
func (s *Server) Registry() name.Registry {
	s.t.Helper()
	registry, err := name.NewRegistry(s.Host(), name.StrictValidation)
	if err != nil {
		s.t.Fatal(err)
	}
	return registry
}

// Repo returns the repository with that path, such as "lab/app".
func (s *Server) Repo(path string) name.Repository {
	s.t.Helper()
	return s.Registry().Repo(strings.Split(path, "/")...)
}

// TLSConfig returns a configuration that trusts the server's certificate; nil without TLS.
func (s *Server) TLSConfig() *tls.Config {
	if s.Certificate() == nil {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{RootCAs: pool}
}

// Change changes the settings of the system.
func (s *Server) Change(change func(*Settings)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.set)
}

// Advance moves the server's clock, by which tokens expire and answers are dated.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// Inject replaces the faults; without arguments it removes them.
func (s *Server) Inject(faults ...registrytest.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

// Requests returns what has arrived since the start or the last Forget, in that order.
func (s *Server) Requests() []registrytest.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Count returns how many requests have arrived with that method ("" for any) and part of a path.
func (s *Server) Count(method, part string) int {
	n := 0
	for _, r := range s.Requests() {
		if (method == "" || r.Method == method) && strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// Writes returns the requests so far that would change something, whatever became of them.
func (s *Server) Writes() []registrytest.Request {
	return slices.DeleteFunc(s.Requests(), func(r registrytest.Request) bool { return r.Method == "GET" || r.Method == "HEAD" })
}

// Forget empties Requests.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// faulty records a request and lets the faults have it first.
func (s *Server) faulty(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, registrytest.Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host, Header: r.Header.Clone(),
	})
	fault := registrytest.First(s.faults...)
	s.mu.Unlock()
	registrytest.Then(fault, http.HandlerFunc(s.serve)).ServeHTTP(w, r)
}

// serve answers a request. The answer is made under the lock, and sent without it: who is slow to read it may have other
// requests under way.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	x := &exchange{Server: s, r: r, body: body, broken: err != nil}
	x.answer().send(w, r)
}

// now is the server's time; id makes numbers for things of one kind. Both want the lock.
func (s *Server) now() time.Time { return time.Now().Add(s.ahead) }

func (s *Server) id(kind string) int {
	s.lastID[kind]++
	return s.lastID[kind]
}
