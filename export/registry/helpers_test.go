package registry_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry"
	"airgap/export/registry/registrytest"
	"airgap/export/registry/retry"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// naps records the pauses that a client makes, and makes none.
type naps struct {
	mu   sync.Mutex
	list []time.Duration
}

func (n *naps) sleep(ctx context.Context, d time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, d)
	return ctx.Err()
}

func (n *naps) taken() []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.list)
}

// clock is a settable time.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// setup is a client and what a test wants of it.
type setup struct {
	*registry.Client
	naps  *naps
	clock *clock
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const (
	user     = "ada"
	password = "s3cret-pa55"
)

// keychain has one account for everything.
type keychain struct{ config authn.AuthConfig }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(k.config), nil
}

var ada = keychain{authn.AuthConfig{Username: user, Password: password}}

// newClient returns a client that speaks plain http with everything but the servers in secure.
func newClient(t testing.TB, change func(*registry.Config), secure ...*registrytest.Server) *setup {
	t.Helper()
	s := &setup{naps: &naps{}, clock: &clock{t: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}, log: &lockedBuffer{}}
	cfg := registry.Config{
		Host: func(host string) registry.HostConfig {
			for _, server := range secure {
				if server.Host() == host {
					return registry.HostConfig{TLS: server.TLSConfig()}
				}
			}
			return registry.HostConfig{PlainHTTP: true, TLS: &tls.Config{}}
		},
		Logger:       slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Retry:        retry.Policy{Sleep: s.naps.sleep},
		StallTimeout: 5 * time.Second,
		Now:          s.clock.now,
	}
	if change != nil {
		change(&cfg)
	}
	s.Client = registry.New(cfg)
	t.Cleanup(s.CloseIdleConnections)
	t.Cleanup(func() { noSecrets(t, "log", s.log.String()) })
	return s
}

func withKeychain(k authn.Keychain) func(*registry.Config) {
	return func(c *registry.Config) { c.Keychain = k }
}

// anyToken finds what a token service of registrytest has issued (crypto/rand.Text), and what is sent as one.
var anyToken = regexp.MustCompile(`[A-Z2-7]{26}|(Bearer|Basic) [^*" r][^ ]*`)

// noSecrets fails if text has any of the secrets of these tests.
func noSecrets(t testing.TB, where, text string) {
	t.Helper()
	for _, secret := range []string{password, "YWRhOnMzY3JldC1wYTU1", registrytest.SignedQuery, "X-Signature"} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s has the secret %q: ...%s", where, secret, text[max(0, i-200):min(len(text), i+100)])
		}
	}
	if token := anyToken.FindString(text); token != "" {
		t.Errorf("%s has the token %q", where, token)
	}
}

// wantError fails unless err is target, names the operation and has no secret.
func wantError(t testing.TB, err, target error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if target != nil && !errors.Is(err, target) {
		t.Fatalf("error %q is not %q", err, target)
	}
	var e *registry.Error
	if !errors.As(err, &e) {
		t.Fatalf("%q is a %T", err, err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
	noSecrets(t, "error", fmt.Sprintf("%v %+v", err, *e))
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// manifest returns an image manifest that is unique to text, with a subject unless that is nil.
func manifest(t testing.TB, text string, subject *bundle.Descriptor) []byte {
	t.Helper()
	m := bundle.Manifest{
		SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, ArtifactType: "application/vnd.test",
		Config:  &bundle.Descriptor{MediaType: bundle.MediaTypeEmptyJSON, Digest: bundle.EmptyJSON, Size: 2},
		Layers:  []bundle.Descriptor{{MediaType: bundle.MediaTypeEmptyJSON, Digest: bundle.EmptyJSON, Size: 2}},
		Subject: subject, Annotations: map[string]string{"text": text},
	}
	b, err := json.Marshal(m)
	ok(t, err)
	return b
}

// index returns an image index of these manifests.
func index(t testing.TB, manifests ...bundle.Descriptor) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": bundle.MediaTypeOCIIndex, "manifests": append([]bundle.Descriptor{}, manifests...),
	})
	ok(t, err)
	return b
}

// content returns n bytes that look like nothing in particular.
func content(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func readBlob(c *setup, ref name.Digest, size int64) ([]byte, error) {
	r, err := c.Blob(context.Background(), ref, size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// opener gives content from its beginning each time, as bundle's readers do, and counts.
type opener struct {
	content []byte
	opened  int
	closed  int
	err     error // at the end, instead of io.EOF
}

func (o *opener) open() (io.ReadCloser, error) {
	o.opened++
	var r io.Reader = bytes.NewReader(o.content)
	if o.err != nil {
		r = io.MultiReader(r, errReader{o.err})
	}
	return &openedContent{Reader: r, opener: o}, nil
}

type openedContent struct {
	io.Reader
	opener *opener
}

func (c *openedContent) Close() error {
	c.opener.closed++
	return nil
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// replaceHost makes messages comparable.
func replaceHost(text, host string) string { return strings.ReplaceAll(text, host, "HOST") }
