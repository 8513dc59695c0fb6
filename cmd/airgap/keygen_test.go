package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"airgap/cmd/airgap/option"
	"airgap/verify/signature"
)

// makeKeys runs keygen with a password in the environment and returns the paths and the fingerprint.
func (w *world) makeKeys(t *testing.T, args ...string) (private, public, fingerprint string) {
	t.Helper()
	t.Setenv("AIRGAP_PASSWORD", "s3cret")
	prefix := filepath.Join(w.home, "airgap")
	w.expect(t, exitOK, "airgap.key: the private key", append([]string{"keygen", "--output-key-prefix", prefix}, args...)...)
	if strings.Contains(w.err.String()+w.out.String(), "s3cret") {
		t.Error("the password is on the screen")
	}
	return prefix + ".key", prefix + ".pub", strings.TrimSpace(w.out.String())
}

func TestKeygen(t *testing.T) {
	for _, kind := range []string{"", "ecdsa-p256", "ed25519", "rsa-3072"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			var args []string
			if kind != "" {
				args = []string{"--type", kind}
			}
			privatePath, publicPath, fingerprint := w.makeKeys(t, args...)
			private, err := option.LoadPrivateKey(context.Background(), w.App, "--key", privatePath)
			if err != nil {
				t.Fatal(err)
			}
			public, err := option.LoadPublicKeys(w.App, "--key", []string{publicPath, publicPath})
			if err != nil {
				t.Fatal(err)
			}
			if len(public) != 2 || public[0].Fingerprint() != fingerprint || private.Public().Fingerprint() != fingerprint {
				t.Errorf("printed %q, wrote %v and %v", fingerprint, public, private)
			}
			if info, err := os.Stat(privatePath); runtime.GOOS != "windows" && (err != nil || info.Mode().Perm() != 0o600) {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestKeygenAsksTwice(t *testing.T) {
	w := newWorld(t)
	t.Chdir(w.home)
	w.atTerminal("one", "two")
	w.expect(t, exitFailure, "the two passwords are not the same; nothing was written", "keygen")
	w.atTerminal("")
	w.expect(t, exitFailure, "the password is empty; if the key is to have none, set AIRGAP_PASSWORD to the empty string", "keygen")
	if files, _ := filepath.Glob("airgap.*"); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	w.asked = nil
	w.atTerminal("one", "one")
	w.expect(t, exitOK, "", "keygen")
	if got := strings.Join(w.asked, "|"); got != "New password for airgap.key: |The same again: " {
		t.Errorf("asked %q", got)
	}
	w.atTerminal("one")
	if _, err := option.LoadPrivateKey(context.Background(), w.App, "--key", "airgap.key"); err != nil {
		t.Error(err)
	}
}

func TestKeygenWithoutAPassword(t *testing.T) {
	w := newWorld(t)
	w.expect(t, exitUsage, "there is no terminal to ask for one: set AIRGAP_PASSWORD (or COSIGN_PASSWORD)", "keygen")
	t.Setenv("COSIGN_PASSWORD", "")
	prefix := filepath.Join(w.home, "open")
	w.expect(t, exitOK, "", "keygen", "--output-key-prefix", prefix)
	if _, err := option.LoadPrivateKey(context.Background(), w.App, "--key", prefix+".key"); err != nil {
		t.Error(err)
	}
	t.Setenv("AIRGAP_PASSWORD", "first in line")
	_, err := option.LoadPrivateKey(context.Background(), w.App, "--key", prefix+".key")
	if !errors.Is(err, signature.ErrPassword) || !strings.Contains(err.Error(), "the password was taken from AIRGAP_PASSWORD") {
		t.Errorf("got %v", err)
	}
}

func TestKeygenNeverOverwrites(t *testing.T) {
	for _, name := range []string{"airgap.key", "airgap.pub"} {
		for how, occupy := range map[string]func(path string) error{
			"file":          func(path string) error { return os.WriteFile(path, []byte("mine"), 0o600) },
			"dangling link": func(path string) error { return os.Symlink("nowhere", path) },
			"folder":        func(path string) error { return os.Mkdir(path, 0o700) },
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				w := newWorld(t)
				t.Chdir(w.home)
				t.Setenv("AIRGAP_PASSWORD", "s3cret")
				if err := occupy(name); err != nil {
					t.Skip(err) // Windows, without the right to make links
				}
				w.expect(t, exitFailure, name+" is there already, and keys are never overwritten: move it away, or choose another name with --output-key-prefix", "keygen")
				if entries, _ := os.ReadDir("."); len(entries) != 1 {
					t.Errorf("left behind: %v", entries)
				}
			})
		}
	}
}

// Something that comes between the check and the writing.
func TestWritePairIsBothOrNone(t *testing.T) {
	dir := t.TempDir()
	private, public := filepath.Join(dir, "a.key"), filepath.Join(dir, "a.pub")
	if err := os.WriteFile(private, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writePair(context.Background(), private, []byte("x"), public, []byte("y")); err == nil {
		t.Fatal("overwritten")
	}
	if _, err := os.Lstat(public); err == nil {
		t.Error("the public key is left behind")
	}
	if content, _ := os.ReadFile(private); string(content) != "mine" {
		t.Errorf("the other private key is %q", content)
	}
}

func TestKeygenErrors(t *testing.T) {
	w := newWorld(t)
	t.Setenv("AIRGAP_PASSWORD", "s3cret")
	w.expect(t, exitUsage, `--type: there is no type of key "dsa": ecdsa-p256, ed25519, rsa-3072`, "keygen", "--type", "dsa")
	w.expect(t, exitFailure, "no such file or directory", "keygen", "--output-key-prefix", filepath.Join(w.home, "no", "where"))
}

func TestLoadKeyErrors(t *testing.T) {
	w := newWorld(t)
	private, public, _ := w.makeKeys(t)
	os.Unsetenv("AIRGAP_PASSWORD")
	load := func(path string) error {
		_, err := option.LoadPrivateKey(context.Background(), w.App, "--key", path)
		return err
	}
	loadPublic := func(path string) error {
		_, err := option.LoadPublicKeys(w.App, "--key", []string{path})
		return err
	}
	for _, test := range []struct {
		name string
		load func(string) error
		path string
		want string
	}{
		{"no private key", load, "airgap.key", `no such file or directory; "airgap keygen" makes a pair of keys`},
		{"no terminal", load, private, "there is no terminal to ask for it: set AIRGAP_PASSWORD (or COSIGN_PASSWORD)"},
		{"public for private", load, public, "this is a public key"},
		{"no public key", loadPublic, "airgap.pub", "open airgap.pub: no such file or directory"},
		{"private for public", loadPublic, private, private + ": unusable key"},
		{"too long", load, w.write(t, "long", strings.Repeat("a", signature.MaxKeyFileSize+1)), "too long to be a key file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.load(test.path); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}
