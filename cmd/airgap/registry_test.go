package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/pflag"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/cmd/airgap/terminal"
	"airgap/export/access"
)

// resolve reads a command line of registry flags for the given hosts.
func (w *world) resolve(t *testing.T, hosts []string, args ...string) (*access.Access, error) {
	t.Helper()
	w.err.Reset()
	copied := *w.App
	copied.Screen = terminal.NewScreen(&w.err, nil)
	var f option.Registry
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.Add(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.Access(context.Background(), &copied, hosts, nil)
}

// writePair writes a self-signed certificate and its key.
func (w *world) writePair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true,
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = w.write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})))
	key = w.write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	return cert, key
}

var (
	one = []string{"harbor.example.com"}
	two = []string{"docker.io", "registry.lan:5000", "docker.io"}
)

func TestRegistryFlagErrors(t *testing.T) {
	w := newWorld(t)
	cert, key := w.writePair(t)
	empty := w.write(t, "empty.pem", "nothing")
	several := func(flag, form string) string {
		return fmt.Sprintf("several registries are in play, so --%s must say which one it is for: --%s=%s with one of docker.io, registry.lan:5000",
			flag, flag, form)
	}
	for _, test := range []struct {
		name  string
		hosts []string
		args  []string
		want  string
	}{
		{"user for nobody in particular", two, []string{"--username", "me"}, several("username", "HOST=VALUE")},
		{"authorities for nobody in particular", two, []string{"--ca-file", cert}, several("ca-file", "HOST=VALUE")},
		{"certificate for nobody in particular", two, []string{"--client-cert", cert}, several("client-cert", "HOST=VALUE")},
		{"key for nobody in particular", two, []string{"--client-key", key}, several("client-key", "HOST=VALUE")},
		{"no checks for nobody in particular", two, []string{"--insecure-skip-tls-verify"}, several("insecure-skip-tls-verify", "HOST")},
		{"plain http for nobody in particular", two, []string{"--plain-http"}, several("plain-http", "HOST")},
		{"no registry", nil, []string{"--plain-http"}, "--plain-http is given, but no registry is in play"},
		{"user for another", two, []string{"--username", "quay.io=me"}, "--username is given for quay.io, which is none of the registries in play: docker.io, registry.lan:5000"},
		{"user without a name", one, []string{"--username", ""}, "--username for harbor.example.com is empty"},
		{"user without a password", one, []string{"--username", "me"}, `there is no password for me at harbor.example.com: pass it with --password-stdin, or save it with "airgap login harbor.example.com"`},
		{"password without a user", one, []string{"--password-stdin"}, "--password-stdin needs --username"},
		{"one password for two", two, []string{"--username=docker.io=a", "--username=registry.lan:5000=b", "--password-stdin"}, `standard input can give one password only, but --username names 2 users: use "airgap login" for the others`},
		{"two users", one, []string{"--username=a", "--username=harbor.example.com=b"}, "--username is given twice for harbor.example.com"},
		{"empty password", one, []string{"--username=a", "--password-stdin"}, "the password on standard input is empty"},
		{"certificate without key", one, []string{"--client-cert", cert}, "--client-cert for harbor.example.com needs --client-key"},
		{"key without certificate", one, []string{"--client-key", key}, "--client-key for harbor.example.com needs --client-cert"},
		{"a pair that is none", one, []string{"--client-cert", key, "--client-key", key}, "--client-cert and --client-key for harbor.example.com: tls: failed to find certificate PEM data"},
		{"no such file", one, []string{"--ca-file", "nowhere.pem"}, "--ca-file: open nowhere.pem"},
		{"no certificates", one, []string{"--ca-file", empty}, "empty.pem holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"},
		{"plain http with certificates", one, []string{"--ca-file", cert, "--plain-http"}, "--plain-http for harbor.example.com contradicts the flags about certificates"},
		{"a URL as host", two, []string{"--plain-http=http://x:1/"}, `--plain-http: "http://x:1/" is a URL; the name of the registry alone is "x:1"`},
		{"a path as host", two, []string{"--plain-http=x.y/z"}, `--plain-http: "x.y/z" is more than the name of a registry, which is "x.y"`},
		{"nonsense as host", two, []string{"--plain-http=x y"}, `--plain-http: "x y" is not the name of a registry, such as docker.io or harbor.example.com:8443`},
		{"a strange registry", []string{""}, nil, `"" is not the name of a registry`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := w.resolve(t, test.hosts, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if !isUsage(err) {
				t.Errorf("%v is no error in the command line", err)
			}
		})
	}
}

// loginAt returns who we are at a registry.
func loginAt(t *testing.T, a *access.Access, host string) (*authn.AuthConfig, error) {
	t.Helper()
	repo, err := name.NewRepository(host + "/acme/app")
	if err != nil {
		t.Fatal(err)
	}
	authenticator, err := authn.Resolve(context.Background(), a.Config().Keychain, repo)
	if err != nil {
		t.Fatal(err)
	}
	return authenticator.Authorization()
}

func TestCredentialsGoToTheirHostOnly(t *testing.T) {
	w := newWorld(t)
	w.write(t, ".docker/config.json", `{"auths": {"https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="}}}`)
	w.Stdin = strings.NewReader("s3cret\r\n")
	found, err := w.resolve(t, two, "--username", "registry.lan:5000=me", "--password-stdin")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]authn.AuthConfig{
		"registry.lan:5000": {Username: "me", Password: "s3cret"},
		"docker.io":         {Username: "hub", Password: "secret"},
		"registry.lan":      {},
	} {
		got, err := loginAt(t, found, host)
		if err != nil || got.Username != want.Username || got.Password != want.Password {
			t.Errorf("%s: got %s/%s, %v", host, got.Username, got.Password, err)
		}
	}
}

func TestPasswordsAreAskedForAtTheTerminal(t *testing.T) {
	w := newWorld(t).atTerminal("first", "second")
	found, err := w.resolve(t, two, "--username=registry.lan:5000=b", "--username=docker.io=a")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.asked, "|"); got != "Password for a at docker.io: |Password for b at registry.lan:5000: " {
		t.Errorf("asked %q", got)
	}
	for host, want := range map[string]string{"docker.io": "first", "registry.lan:5000": "second"} {
		if got, err := loginAt(t, found, host); err != nil || got.Password != want {
			t.Errorf("%s: got %v, %v", host, got, err)
		}
	}
	if strings.Contains(w.err.String(), "first") {
		t.Error("the password is on the screen")
	}
}

func TestStandardInputHasOneUse(t *testing.T) {
	w := newWorld(t)
	if _, err := w.TakeStdin("the list of images (-f -)"); err != nil {
		t.Fatal(err)
	}
	_, err := w.resolve(t, one, "--username", "me", "--password-stdin")
	var usage app.UsageError
	if !errors.As(err, &usage) ||
		err.Error() != "standard input can be read once only: it cannot give both the list of images (-f -) and the password" {
		t.Errorf("got %v", err)
	}
}

func TestHostSettings(t *testing.T) {
	w := newWorld(t)
	cert, key := w.writePair(t)
	type want struct{ plain, insecure, authorities, certificate bool }
	for _, test := range []struct {
		name  string
		hosts []string
		args  []string
		want  map[string]want
	}{
		{"defaults", one, nil, map[string]want{
			"harbor.example.com": {}, "localhost:5000": {plain: true}, "127.0.0.1:5000": {plain: true}, "10.0.0.1:5000": {},
		}},
		{"one registry", one, []string{"--insecure-skip-tls-verify", "--client-cert", cert, "--client-key", key}, map[string]want{
			"harbor.example.com": {insecure: true, certificate: true}, "token.example.com": {},
		}},
		{"authorities count where the one registry sends us", one, []string{"--ca-file", cert}, map[string]want{
			"harbor.example.com": {authorities: true}, "minio.example.com": {authorities: true},
		}},
		{"authorities for one host", one, []string{"--ca-file", "minio.example.com=" + cert}, map[string]want{
			"harbor.example.com": {}, "minio.example.com": {authorities: true},
		}},
		{"several registries", two, []string{"--plain-http=registry.lan:5000", "--ca-file=docker.io=" + cert}, map[string]want{
			"registry.lan:5000": {plain: true}, "index.docker.io": {authorities: true}, "registry.lan": {},
		}},
		{"https on this machine", []string{"localhost:5000"}, []string{"--ca-file", cert}, map[string]want{
			"localhost:5000": {authorities: true}, "localhost:5001": {plain: true, authorities: true},
		}},
		{"switched off again", one, []string{"--plain-http=false"}, map[string]want{"harbor.example.com": {}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := w.resolve(t, test.hosts, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			for host, expected := range test.want {
				config := found.Config().Host(host)
				got := want{plain: config.PlainHTTP}
				if config.TLS != nil {
					got.insecure = config.TLS.InsecureSkipVerify
					got.authorities = config.TLS.RootCAs != nil
					got.certificate = len(config.TLS.Certificates) > 0
				}
				if got != expected {
					t.Errorf("%s: got %+v, want %+v", host, got, expected)
				}
			}
		})
	}
}

func TestFlagsForStrangersAreWarnedOf(t *testing.T) {
	w := newWorld(t)
	if _, err := w.resolve(t, one, "--plain-http=habor.example.com"); err != nil {
		t.Fatal(err)
	}
	want := "warning: habor.example.com is none of the registries in play (harbor.example.com): flags for it count only if one of them sends us there\n"
	if w.err.String() != want {
		t.Errorf("got %q", w.err.String())
	}
}
