package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"airgap/bundle/bundletest"
)

// A bundle that is spoilt in any way is refused by verify and import, from a file and from a pipe, with the right exit
// code. The target gets no tag; and where the head is spoilt, not a single request that writes.
func TestSpoiledBundlesAreRefused(t *testing.T) {
	w, file, public := exportOne(t)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := bundletest.Entries(good)
	lastOfHead := indexOf(entries, "index.json")
	n := 0
	for name, spoiled := range bundletest.Spoiled(good) {
		n++
		var entry int
		_, err := fmt.Sscanf(name, "entry %d,", &entry)
		inHead := err == nil && entry <= lastOfHead
		if !inHead && entry%3 != 0 { // of the many blobs some are enough
			continue
		}
		bad := w.write(t, "spoiled.tar", string(spoiled))
		w.refused(t, name, "verify", bad, "--key", public)
		w.Stdin = bytes.NewReader(spoiled)
		w.refused(t, name+" in a pipe", "verify", "-", "--key", public)

		target, writes := countingTarget(t)
		w.refused(t, name, "import", bad, target+"/mirror", "--key", public)
		if inHead && writes.Load() > 0 {
			t.Errorf("%s: %d requests that write were made before the head was refused", name, writes.Load())
		}
		w.Stdin = bytes.NewReader(spoiled)
		w.refused(t, name+" in a pipe", "import", "-", target+"/mirror", "--key", public)
		w.expect(t, exitMissing, "", "inspect", target+"/mirror/acme/dhi-python:3.13")
	}
	if n < 100 {
		t.Errorf("only %d ways to spoil a bundle", n)
	}
}

func indexOf(entries []bundletest.Entry, name string) int {
	for i, e := range entries {
		if e.Name == name {
			return i
		}
	}
	return -1
}

// refused runs a command that must fail because of the bundle: damaged, or not signed by a trusted key.
func (w *world) refused(t *testing.T, name string, args ...string) {
	t.Helper()
	if code := w.run(args...); code != exitDamaged && code != exitUntrusted {
		t.Errorf("%s: airgap %s: exit code %d\n%s", name, args[0], code, w.err.String())
	}
	if w.out.Len() > 0 {
		t.Errorf("%s: airgap %s printed %q", name, args[0], w.out.String())
	}
}

// exportOne exports the fixture's hardened image.
func exportOne(t *testing.T) (w *world, file, public string) {
	t.Helper()
	w = newWorld(t)
	fixture := bundletest.LoadFixture(t)
	images, attestations := bundletest.StartRegistry(t, true), bundletest.StartRegistry(t, true)
	fixture.Push(t, map[string]string{bundletest.Images: images, bundletest.Attestations: attestations})
	t.Setenv("AIRGAP_PASSWORD", "secret")
	prefix := filepath.Join(w.home, "airgap")
	file = filepath.Join(w.home, "good.tar")
	w.expect(t, exitOK, "", "keygen", "--output-key-prefix", prefix)
	w.expect(t, exitOK, "", "export", images+"/acme/dhi-python:3.13", "--referrers-from", images+"="+attestations, "--key", prefix+".key", "-o", file)
	w.expect(t, exitOK, "", "verify", file, "--key", prefix+".pub")
	return w, file, prefix + ".pub"
}

// countingTarget is an empty registry that counts requests that write.
func countingTarget(t *testing.T) (host string, writes *atomic.Int64) {
	t.Helper()
	writes = &atomic.Int64{}
	behind, err := url.Parse("http://" + bundletest.StartRegistry(t, true))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // requests that an import gives up are meant
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			writes.Add(1)
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), writes
}
