package main

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"airgap/cmd/airgap/option"
)

// kept returns what the default keychain, which all commands use, has for a host.
func kept(t *testing.T, host string) string {
	t.Helper()
	reg, err := option.ParseRegistry(host)
	if err != nil {
		t.Fatal(err)
	}
	authenticator, err := authn.Resolve(context.Background(), authn.DefaultKeychain, reg)
	if err != nil {
		t.Fatal(err)
	}
	c, err := authenticator.Authorization()
	if err != nil {
		t.Fatal(err)
	}
	return c.Username + ":" + c.Password
}

func (w *world) loginTo(t *testing.T, host string, args ...string) {
	t.Helper()
	w.Stdin = strings.NewReader("s3cret\n")
	w.expect(t, exitOK, "logged in to "+host+" as me; credentials saved in ",
		append([]string{"login", host, "-u", "me", "--password-stdin", "--skip-check"}, args...)...)
	if w.out.Len() > 0 {
		t.Errorf("on standard output: %q", w.out.String())
	}
	if strings.Contains(w.err.String(), "s3cret") {
		t.Error("the password is on the screen")
	}
}

// The file that login writes is the one that the keychain reads, wherever that is.
func TestLoginWritesWhereTheKeychainReads(t *testing.T) {
	const other = `{"auths": {"quay.io": {"auth": "cXVheTpzZWNyZXQ="}}, "psFormat": "x"}`
	for _, test := range []struct {
		name    string
		prepare func(w *world)
		path    string
	}{
		{"nothing there", func(*world) {}, ".docker/config.json"},
		{"Docker's", func(w *world) { w.write(t, ".docker/config.json", other) }, ".docker/config.json"},
		{"DOCKER_CONFIG", func(w *world) { t.Setenv("DOCKER_CONFIG", filepath.Join(w.home, "d")) }, "d/config.json"},
		{"REGISTRY_AUTH_FILE", func(w *world) { t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(w.home, "r.json")) }, "r.json"},
		{"Podman's", func(w *world) { w.write(t, ".config/containers/auth.json", other) }, ".config/containers/auth.json"},
		{"Podman's at run time", func(w *world) {
			t.Setenv("XDG_RUNTIME_DIR", filepath.Join(w.home, "run"))
			w.write(t, ".config/containers/auth.json", "{}")
			w.write(t, "run/containers/auth.json", other)
		}, "run/containers/auth.json"},
		{"both", func(w *world) {
			w.write(t, ".config/containers/auth.json", "{}")
			w.write(t, ".docker/config.json", other)
		}, ".docker/config.json"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.prepare(w)
			before := kept(t, "quay.io")
			for _, host := range []string{"docker.io", "harbor.example.com:8443"} {
				w.loginTo(t, host)
				if got := kept(t, host); got != "me:s3cret" {
					t.Errorf("%s: the keychain has %q", host, got)
				}
			}
			path := filepath.Join(w.home, filepath.FromSlash(test.path))
			content, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(content), `"https://index.docker.io/v1/"`) {
				t.Errorf("%s: %v", content, err)
			}
			if after := kept(t, "quay.io"); after != before {
				t.Errorf("quay.io had %q and has %q", before, after)
			}
			w.expect(t, exitOK, "logged out from docker.io; credentials removed in "+path, "logout", "docker.io")
			if got := kept(t, "docker.io"); got != ":" {
				t.Errorf("after logout: %q", got)
			}
			w.expect(t, exitOK, "not logged in to docker.io", "logout", "docker.io")
			if got := kept(t, "harbor.example.com:8443"); got != "me:s3cret" {
				t.Errorf("logout from another registry left %q", got)
			}
		})
		for _, name := range []string{"DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"} {
			t.Setenv(name, "")
		}
	}
}

func TestLoginKeepsTheFilePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no file modes")
	}
	w := newWorld(t)
	path := w.write(t, ".docker/config.json", `{"psFormat": "table"}`)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	w.loginTo(t, "harbor.example.com")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if content, _ := os.ReadFile(path); !strings.Contains(string(content), `"psFormat": "table"`) {
		t.Errorf("settings are gone: %s", content)
	}
}

func TestLoginDoesNotChangeAFileThatItCannotRead(t *testing.T) {
	w := newWorld(t)
	path := w.write(t, ".docker/config.json", `{"auths": `)
	w.Stdin = strings.NewReader("s3cret")
	w.expect(t, exitFailure, "config.json cannot be read, and so is not changed",
		"login", "harbor.example.com", "-u", "me", "--password-stdin", "--skip-check")
	if content, _ := os.ReadFile(path); string(content) != `{"auths": ` {
		t.Errorf("got %s", content)
	}
}

func TestLogoutRemovesOldSpellings(t *testing.T) {
	w := newWorld(t)
	w.write(t, ".docker/config.json", `{"auths": {"https://harbor.example.com/v2/": {"auth": "bWU6eA=="}}}`)
	w.expect(t, exitOK, "logged out from harbor.example.com", "logout", "harbor.example.com")
	if got := kept(t, "harbor.example.com"); got != ":" {
		t.Errorf("got %q", got)
	}
}

// fakeHelper is a credential helper that keeps one entry in a file.
// https://github.com/docker/docker-credential-helpers#development
const fakeHelper = `#!/bin/sh
case "$1" in
store) cat > "$FAKE_STORE" ;;
get) cat "$FAKE_STORE" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm "$FAKE_STORE" ;;
esac
`

func TestLoginUsesCredentialHelpers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the fake helper is a shell script")
	}
	for name, config := range map[string]string{
		"for all":          `{"credsStore": "fake"}`,
		"for one registry": `{"credHelpers": {"harbor.example.com": "fake"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if err := os.Chmod(w.write(t, "docker-credential-fake", fakeHelper), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", w.home+":"+os.Getenv("PATH"))
			t.Setenv("FAKE_STORE", filepath.Join(w.home, "store"))
			path := w.write(t, ".docker/config.json", config)

			w.loginTo(t, "harbor.example.com")
			if !strings.Contains(w.err.String(), "saved in docker-credential-fake") {
				t.Errorf("got %q", w.err.String())
			}
			if got := kept(t, "harbor.example.com"); got != "me:s3cret" {
				t.Errorf("the keychain has %q", got)
			}
			encoded := base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
			if content, _ := os.ReadFile(path); strings.Contains(string(content), encoded) {
				t.Errorf("the password is in the file, too: %s", content)
			}
			w.expect(t, exitOK, "logged out from harbor.example.com", "logout", "harbor.example.com")
			w.expect(t, exitOK, "not logged in to harbor.example.com", "logout", "harbor.example.com")
		})
	}
}

func TestLoginAsks(t *testing.T) {
	w := newWorld(t).atTerminal("s3cret")
	w.Stdin = strings.NewReader("me\n")
	w.expect(t, exitOK, "logged in to docker.io as me", "login", "docker.io", "--skip-check")
	if got := strings.Join(w.asked, "|"); got != "User at docker.io: Password for me at docker.io: " {
		t.Errorf("asked %q", got)
	}
	if got := kept(t, "docker.io"); got != "me:s3cret" {
		t.Errorf("the keychain has %q", got)
	}
}

func TestLoginErrors(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct{ args, want string }{
		{"docker.io", "--username is missing"},
		{"docker.io --password-stdin", "--username is missing"},
		{"docker.io -u me", "there is no password for me at docker.io: pass it with --password-stdin"},
		{"docker.io -u quay.io=me --password-stdin", "--username is given for quay.io, which is none of the registries in play: docker.io"},
		{"https://docker.io/v2/ -u me", `"https://docker.io/v2/" is a URL; the name of the registry alone is "docker.io"`},
		{"docker.io/acme -u me", `"docker.io/acme" is more than the name of a registry, which is "docker.io"`},
		{"docker.io -u me -p x --password-stdin", "if any flags in the group [password password-stdin] are set none of the others can be"},
	} {
		w.expect(t, exitUsage, test.want, append([]string{"login"}, strings.Fields(test.args)...)...)
	}
}

func TestLoginWarnsOfPasswordsOnTheCommandLine(t *testing.T) {
	w := newWorld(t)
	w.expect(t, exitOK, "warning: a password on the command line can be seen", "login", "docker.io", "-u", "me", "-p", "s3cret", "--skip-check", "-q")
	if strings.Contains(w.err.String(), "s3cret") {
		t.Error("the password is on the screen")
	}
}

func TestLoginChecksTheCredentials(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		if user, password, _ := in.BasicAuth(); user != "me" || password != "s3cret" {
			out.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			out.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")

	w := newWorld(t)
	w.Stdin = strings.NewReader("wrong")
	w.expect(t, exitUnauthorized, "not logged in to "+host, "login", host, "-u", "me", "--password-stdin")
	if said := w.err.String(); !strings.Contains(said, "check the user's name") || strings.Contains(said, "airgap login") {
		t.Errorf("what to do next is not said: %s", said)
	}
	if got := kept(t, host); got != ":" {
		t.Errorf("wrong credentials were saved: %s", got)
	}
	w.Stdin = strings.NewReader("s3cret")
	w.expect(t, exitOK, "logged in to "+host, "login", host, "-u", "me", "--password-stdin")
	if got := kept(t, host); got != "me:s3cret" {
		t.Errorf("the keychain has %q", got)
	}
}
