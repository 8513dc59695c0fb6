package access_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"airgap/export/access"
	"airgap/export/config"
)

// newPair makes a self-signed certificate and its key, in PEM.
func newPair(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// environment has variables, and no files.
func environment(variables map[string]string) config.Environment {
	return config.Environment{
		LookupEnv: func(name string) (string, bool) { value, ok := variables[name]; return value, ok },
		ReadFile:  func(string) ([]byte, error) { return nil, os.ErrNotExist },
		Now:       time.Now,
	}
}

func parse(t *testing.T, env config.Environment, texts ...string) (files []*config.File) {
	t.Helper()
	for _, text := range texts {
		f, err := config.Parse("regsync.yaml", []byte(text), env)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// always has the same credentials for everybody.
type always string

func (a always) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: string(a)}), nil
}

// user returns who we are at a registry.
func user(t *testing.T, a *access.Access, host string) (string, error) {
	t.Helper()
	registry, err := name.NewRegistry(host)
	if err != nil {
		t.Fatal(err)
	}
	authenticator, err := authn.Resolve(t.Context(), a.Config().Keychain, registry)
	if err != nil {
		return "", err
	}
	c, err := authenticator.Authorization()
	return c.Username + ":" + c.Password + c.IdentityToken, err
}

// What a person says counts more than files, and these more than the keychain.
func TestWhoWeAre(t *testing.T) {
	t.Setenv("PATH", t.TempDir()+string(filepath.ListSeparator)+os.Getenv("PATH"))
	dir, _, _ := strings.Cut(os.Getenv("PATH"), string(filepath.ListSeparator))
	for helper, answer := range map[string]string{"docker-credential-plain": "me", "docker-credential-token": "<token>"} {
		script := fmt.Sprintf("#!/bin/sh\nread server\necho '{\"ServerURL\":\"x\",\"Username\":\"%s\",\"Secret\":\"'$server'\"}'\n", answer)
		if err := os.WriteFile(filepath.Join(dir, helper), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	env := environment(map[string]string{"SECRET": "s3cret"})
	const creds = `creds:
- {registry: said.example.com, user: file, pass: file}
- {registry: file.example.com, user: file, pass: '{{env "SECRET"}}'}
- {registry: token.example.com, token: identity}
- {registry: nobody.example.com, reqConcurrent: 2}
- {registry: plain.example.com, credHelper: docker-credential-plain, credHost: other.example.com}
- {registry: docker.io, credHelper: docker-credential-token}
- {registry: target.example.com, pass: '{{env "ON_THE_OTHER_SIDE"}}'}
`
	settings := access.Settings{
		Hosts:       map[string]access.Host{"said.example.com": {Login: &authn.AuthConfig{Username: "said", Password: "so"}}},
		Files:       parse(t, env, creds),
		Environment: env, Keychain: always("keychain"),
	}
	a, err := access.New(settings, []string{"file.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"said.example.com": "said:so", "file.example.com": "file:s3cret", "token.example.com": ":identity", "nobody.example.com": "keychain:",
		"unknown.example.com": "keychain:", "plain.example.com": "me:other.example.com", "docker.io": ":" + authn.DefaultAuthKey,
	} {
		if got, err := user(t, a, host); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", host, got, err, want)
		}
	}
	// What is not on this side is an error only where it is needed.
	if _, err := user(t, a, "target.example.com"); !errors.Is(err, config.ErrConfig) {
		t.Errorf("a variable that is missing: %v", err)
	}
	if _, err := access.New(settings, []string{"target.example.com"}); !errors.Is(err, config.ErrConfig) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a variable that is missing at a registry in play: %v", err)
	}
	settings.Files = parse(t, env, "{defaults: {skipDockerConfig: true, userAgent: mirror/1}}")
	settings.UserAgent = "airgap"
	if a, err = access.New(settings, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := user(t, a, "unknown.example.com"); err != nil || got != ":" || a.Config().UserAgent != "mirror/1" {
		t.Errorf("without the Docker configuration: %s as %s, %v", got, a.Config().UserAgent, err)
	}
}

func TestHowRegistriesAreReached(t *testing.T) {
	cert, key := newPair(t)
	inline := func(pem []byte) string {
		b, err := json.Marshal(string(pem))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	env := environment(nil)
	text := fmt.Sprintf(`creds:
- {registry: plain.example.com, tls: disabled}
- {registry: insecure.example.com, tls: insecure}
- {registry: pair.example.com, regcert: %[1]s, clientCert: %[1]s, clientKey: %[2]s}
- {registry: 'localhost:5000', tls: enabled}
- {registry: source.example.com, mirrors: [far.example.com, near.example.com], reqPerSec: 2.5, reqConcurrent: 3, pathPrefix: proxy}
- {registry: far.example.com, priority: 9, reqConcurrent: 1}
- {registry: near.example.com}
sync:
- {source: source.example.com/a/b, target: x/b, type: repository, ratelimit: {min: 10, retry: 6m}}
- {source: source.example.com/a/c, target: x/c, type: repository, ratelimit: {min: 5}}
`, inline(cert), inline(key))
	certificates := access.Certificates{Insecure: true}
	said, err := certificates.TLS()
	if err != nil {
		t.Fatal(err)
	}
	certificates = access.Certificates{Authorities: cert}
	elsewhere, err := certificates.TLS()
	if err != nil {
		t.Fatal(err)
	}
	a, err := access.New(access.Settings{
		Hosts: map[string]access.Host{"said.example.com": {TLS: said}, "pair.example.com": {PlainHTTP: true}, "localhost:1": {TLS: said}},
		Files: parse(t, env, text), Environment: env, Elsewhere: elsewhere,
	}, []string{"plain.example.com", "source.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	type reached struct{ plain, insecure, authorities, pair bool }
	for host, want := range map[string]reached{
		"plain.example.com": {plain: true}, "insecure.example.com": {insecure: true}, "pair.example.com": {plain: true, authorities: true},
		"localhost:5000": {}, "localhost:1": {insecure: true}, "localhost:2": {plain: true, authorities: true},
		"said.example.com": {insecure: true}, "storage.example.com": {authorities: true},
	} {
		h := a.Config().Host(host)
		got := reached{plain: h.PlainHTTP}
		if h.TLS != nil {
			got.insecure, got.authorities, got.pair = h.TLS.InsecureSkipVerify, h.TLS.RootCAs != nil, len(h.TLS.Certificates) > 0
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", host, got, want)
		}
	}
	h := a.Config().Host("source.example.com")
	if !slices.Equal(h.Mirrors, []string{"near.example.com", "far.example.com"}) || h.ReqPerSec != 2.5 || h.PathPrefix != "proxy" ||
		h.RateLimitMin != 10 || h.RateLimitRetry != 6*time.Minute {
		t.Errorf("the source: %+v", h)
	}
	for limit, hosts := range map[int][]string{6: {"plain.example.com"}, 3: {"source.example.com", "unknown.example.com"}, 1: {"source.example.com", "far.example.com"}} {
		if got := a.MaxConcurrent(hosts, 6); got != limit {
			t.Errorf("%v: %d at once, want %d", hosts, got, limit)
		}
	}
}

func TestCertificatesThatAreNone(t *testing.T) {
	cert, key := newPair(t)
	for _, c := range []access.Certificates{{Authorities: []byte{}}, {Authorities: key}} {
		if _, err := c.TLS(); !errors.Is(err, access.ErrNoCertificate) {
			t.Errorf("authorities %q: %v", c.Authorities, err)
		}
	}
	for _, c := range []access.Certificates{{Client: cert}, {ClientKey: key}, {Client: key, ClientKey: cert}} {
		if _, err := c.TLS(); err == nil {
			t.Error("half a pair was taken for one")
		}
	}
	env := environment(nil)
	_, err := access.New(access.Settings{Files: parse(t, env, "creds: [{registry: x.example.com, regcert: none}]"), Environment: env}, []string{"x.example.com"})
	if !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), "x.example.com") {
		t.Errorf("regcert: %v", err)
	}
}

// What is wrong with a file of credentials is said in words of JSON, and not of Go.
func TestStoreThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"auths": 5}`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := access.Environment{Getenv: func(name string) string { return map[string]string{"DOCKER_CONFIG": dir}[name] }}
	_, err := access.OpenStore("registry.example.com", env)
	if err == nil || !strings.Contains(err.Error(), `"auths" is a JSON number`) || strings.Contains(err.Error(), "types.") {
		t.Errorf("got %v", err)
	}
}
