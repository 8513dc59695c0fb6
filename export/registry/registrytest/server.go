// Package registrytest runs a registry inside a test, which can be made to misbehave.
//
// New starts go-containerregistry's registry on loopback. In front of it stand faults: small functions that answer a
// request themselves, spoil the real answer, or let it pass. They compose:
//
//	server := registrytest.New(t, registrytest.Faults(
//		registrytest.On("GET", "/blobs/", registrytest.Times(2, registrytest.DropAfter(1000))),
//		registrytest.On("", "/manifests/", registrytest.Times(1, registrytest.Throttle("1"))),
//	))
//	image := server.AddManifest("acme/app", "1.0", bundle.MediaTypeOCIManifest, body)
//
// Add methods and Stored... look behind the faults and behind the login (Login, in token.go), so that a test can fill the
// registry and look into it whatever it does to its clients. Requests has all that arrived.
package registrytest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"airgap/bundle"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// Server is a registry in a test.
type Server struct {
	*httptest.Server
	inner http.Handler // go-containerregistry's, without faults or login
	t     testing.TB

	mu       sync.Mutex
	faults   []Fault
	requests []Request
}

// Request is what arrived.
type Request struct {
	Method, Path, Query string
	Host                string
	Header              http.Header
}

// String returns method and path.
func (r Request) String() string { return r.Method + " " + r.Path }

// Option changes what New starts.
type Option func(*settings)

type settings struct {
	faults  []Fault
	wrap    []func(http.Handler) http.Handler
	tls     bool
	noRefs  bool
	subject bool
}

// Faults puts faults before the registry, the first outermost: what each takes for the registry has the later ones in it.
func Faults(faults ...Fault) Option {
	return func(s *settings) { s.faults = append(s.faults, faults...) }
}

// TLS makes the server speak https; see Server.TLSConfig.
func TLS() Option { return func(s *settings) { s.tls = true } }

// NoReferrersAPI makes the server answer as distribution does, which does not have it: 404, in plain text.
func NoReferrersAPI() Option { return func(s *settings) { s.noRefs = true } }

// AcknowledgeSubjects makes the server answer the push of a manifest that has a subject with OCI-Subject, as the
// specification wants and go-containerregistry does not.
func AcknowledgeSubjects() Option { return func(s *settings) { s.subject = true } }

// Wrap puts a handler between the faults and the registry.
func Wrap(wrap func(http.Handler) http.Handler) Option {
	return func(s *settings) { s.wrap = append(s.wrap, wrap) }
}

// New starts a registry, with a referrers API, that is closed at the end of the test.
func New(t testing.TB, options ...Option) *Server {
	t.Helper()
	var set settings
	for _, option := range options {
		option(&set)
	}
	s := &Server{t: t, faults: set.faults}
	s.inner = ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(!set.noRefs))
	visible := s.inner
	if set.noRefs {
		visible = Then(On("", "/referrers/", NotFoundText()), visible)
	}
	if set.subject {
		visible = Then(On("PUT", "/manifests/", acknowledgeSubject), visible)
	}
	for _, wrap := range set.wrap {
		visible = wrap(visible)
	}
	s.Server = httptest.NewUnstartedServer(s.record(visible))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // dropped connections are meant
	if set.tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *Server) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, Request{
			Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host, Header: r.Header.Clone(),
		})
		faults := s.faults
		s.mu.Unlock()
		handler := next
		for i := len(faults) - 1; i >= 0; i-- {
			handler = Then(faults[i], handler)
		}
		handler.ServeHTTP(w, r)
	})
}

// Host returns the server's "host:port", which is the registry part of references to it.
func (s *Server) Host() string { return s.Listener.Addr().String() }

// TLSConfig returns a configuration that trusts the server's certificate; nil without TLS.
func (s *Server) TLSConfig() *tls.Config {
	if s.Certificate() == nil {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{RootCAs: pool}
}

// Repo returns the repository with that path.
func (s *Server) Repo(path string) name.Repository {
	s.t.Helper()
	repo, err := name.NewRepository(s.Host()+"/"+path, name.StrictValidation)
	if err != nil {
		s.t.Fatal(err)
	}
	return repo
}

// Inject replaces the faults; without arguments it removes them.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

// Requests returns what has arrived since the start or the last Forget, in that order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
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

// Forget empties Requests.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// direct sends a request to the registry itself.
func (s *Server) direct(method, path, contentType string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	s.inner.ServeHTTP(w, r)
	return w
}

// AddBlob stores content and returns its descriptor. (All repositories share their blobs: see BlobsPerRepository.)
func (s *Server) AddBlob(repo, mediaType string, content []byte) bundle.Descriptor {
	s.t.Helper()
	d := bundle.DigestOf(content)
	if w := s.direct("POST", fmt.Sprintf("/v2/%s/blobs/uploads/?digest=%s", repo, d), "", content); w.Code != http.StatusCreated {
		s.t.Fatalf("registrytest: blob: %d %s", w.Code, w.Body)
	}
	return bundle.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

// AddManifest stores a manifest under its digest, and under a tag unless that is empty, and returns its descriptor.
func (s *Server) AddManifest(repo, tag, mediaType string, body []byte) bundle.Descriptor {
	s.t.Helper()
	d := bundle.DigestOf(body)
	if tag == "" {
		tag = d.String()
	}
	if w := s.direct("PUT", fmt.Sprintf("/v2/%s/manifests/%s", repo, tag), mediaType, body); w.Code != http.StatusCreated {
		s.t.Fatalf("registrytest: manifest: %d %s", w.Code, w.Body)
	}
	return bundle.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(body))}
}

// StoredManifest returns what is stored under a tag or digest; nil if nothing is.
func (s *Server) StoredManifest(repo, identifier string) []byte {
	if w := s.direct("GET", fmt.Sprintf("/v2/%s/manifests/%s", repo, identifier), "", nil); w.Code == http.StatusOK {
		return w.Body.Bytes()
	}
	return nil
}

// StoredBlob returns a stored blob; nil if it is not there.
func (s *Server) StoredBlob(repo string, d bundle.Digest) []byte {
	if w := s.direct("GET", fmt.Sprintf("/v2/%s/blobs/%s", repo, d), "", nil); w.Code == http.StatusOK {
		return w.Body.Bytes()
	}
	return nil
}
