package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry/registrytest"
)

// asAirgap makes the test binary behave as airgap itself, so that tests have a process to kill.
const asAirgap = "AIRGAP_TEST_AS_AIRGAP"

func TestMain(m *testing.M) {
	switch {
	case isAsSigner():
		if err := asSigner(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case os.Getenv(asAirgap) != "":
		main()
	}
	os.Exit(m.Run())
}

// killable is a registry that kills whoever exports from it.
type killable struct {
	*carried
	server  *registrytest.Server
	signing []string // flags

	mu      sync.Mutex
	after   int // blobs that are served before; -1 kills nobody
	process *os.Process
}

func newKillable(t *testing.T) *killable {
	t.Helper()
	k := &killable{carried: &carried{world: newWorld(t)}, after: -1}
	k.server = registrytest.New(t, registrytest.Faults(registrytest.On("GET", "/blobs/", k.kill)))
	t.Setenv("AIRGAP_PASSWORD", "secret")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	k.file, k.public = filepath.Join(k.home, "bundle.tar"), filepath.Join(k.home, "airgap.pub")
	k.writeKeys(t)
	k.signing = []string{"--key", filepath.Join(k.home, "airgap.key")}
	k.image(t, "1", "first")
	return k
}

const killableLayers = 12

// image gives a tag an image of its own layers.
func (k *killable) image(t *testing.T, tag, seed string) {
	t.Helper()
	m := bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest}
	var diffIDs []bundle.Digest
	for i := range killableLayers {
		content := bytes.Repeat(fmt.Appendf(nil, "%s layer %d\n", seed, i), 1000*(i+1))
		m.Layers = append(m.Layers, k.server.AddBlob("acme/app", "application/vnd.oci.image.layer.v1.tar", content))
		diffIDs = append(diffIDs, m.Layers[i].Digest)
	}
	config := k.server.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json",
		fmt.Appendf(nil, `{"rootfs":{"type":"layers","diff_ids":%s}}`, jsonOf(t, diffIDs)))
	m.Config = &config
	k.server.AddManifest("acme/app", tag, m.MediaType, jsonOf(t, m))
}

// kill kills the process in the middle of its last blob.
func (k *killable) kill(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.after != 0 {
		k.after--
		return false
	}
	k.after = -1
	_ = k.process.Kill()
	return registrytest.DropAfter(500)(w, r, next)
}

// start runs an export in a process of its own, which the registry kills after so many blobs. It returns whether it was.
func (k *killable) start(t *testing.T, after int, more ...string) (killed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := slices.Concat([]string{"export", k.server.Host() + "/acme/app:1", "-o", k.file}, k.signing, more)
	command := exec.CommandContext(ctx, os.Args[0], args...)
	command.Env = append(os.Environ(), asAirgap+"=1")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	k.mu.Lock()
	k.after = after
	err := command.Start()
	k.process = command.Process
	k.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	err = command.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != -1) {
		t.Fatalf("the export failed: %v\n%s", err, stderr.String())
	}
	return err != nil
}

// Killed after any number of blobs, once or again and again, the export that is run again makes the file that one run
// makes; and what is there is not fetched again.
func TestKilledExportIsContinued(t *testing.T) {
	k := newKillable(t)
	if k.start(t, -1) {
		t.Fatal("killed without being asked for")
	}
	want, err := os.ReadFile(k.file)
	if err != nil {
		t.Fatal(err)
	}
	for after := range killableLayers + 1 {
		if err := os.Remove(k.file); err != nil {
			t.Fatal(err)
		}
		if !k.start(t, after) {
			t.Fatalf("not killed after %d blobs", after)
		}
		if _, err := os.Stat(k.file); err == nil {
			t.Fatal("something looks finished")
		}
		again := k.start(t, after/2)
		k.server.Forget()
		if again && k.start(t, -1) {
			t.Fatal("killed without being asked for")
		}
		got, err := os.ReadFile(k.file)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("after %d blobs: the finished file is another one (%v)", after, err)
		}
		// The blobs that were under way when it was killed are the most that is fetched twice.
		if fetched := k.server.Count("GET", "/blobs/"); again && fetched > killableLayers+1 {
			t.Errorf("after %d blobs: %d more were fetched", after, fetched)
		}
		if left := k.matches(t, "bundle.tar.*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// The same in volumes, which joined by cat are the one file.
func TestKilledExportInVolumes(t *testing.T) {
	k := newKillable(t)
	if k.start(t, -1) {
		t.Fatal("killed without being asked for")
	}
	want, err := os.ReadFile(k.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(k.file); err != nil {
		t.Fatal(err)
	}
	// A run with smaller volumes, which is not continued, and leaves nothing that is in the way.
	if !k.start(t, 4, "--volume-size", "70KiB") || !k.start(t, 6, "--volume-size", "200KiB") {
		t.Fatal("not killed")
	}
	if found := k.matches(t, "bundle.tar.????"); len(found) > 0 {
		t.Fatalf("something looks finished: %v", found)
	}
	k.server.Forget()
	if k.start(t, -1, "--volume-size", "200KiB") {
		t.Fatal("killed without being asked for")
	}
	if fetched := k.server.Count("GET", "/blobs/"); fetched > killableLayers {
		t.Errorf("%d blobs were fetched, though some were there", fetched)
	}
	var joined []byte
	volumes := k.matches(t, "bundle.tar.????")
	for _, name := range volumes {
		part, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		joined = append(joined, part...)
	}
	if !bytes.Equal(joined, want) || len(volumes) < 3 {
		t.Errorf("%d volumes, joined they are another file", len(volumes))
	}
	if tables, left := k.matches(t, "bundle.volumes.????"), k.matches(t, "*.partial*"); len(tables) != len(volumes) || len(left) > 0 {
		t.Errorf("%d tables for %d volumes; left behind: %v", len(tables), len(volumes), left)
	}
	k.expect(t, exitOK, "all digests are right", "verify", volumes[1], "--key", k.public)
	k.expect(t, exitFailure, "there are volumes of that name", "export", k.server.Host()+"/acme/app:1", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file, "--volume-size", "200KiB")
}

// An export that is killed while it makes tables and parity, or gives the volumes their names, is continued like any other.
func TestExportKilledAtItsEnd(t *testing.T) {
	k := newKillable(t)
	volumes := []string{"--volume-size", "200KiB", "--parity", "1"}
	if !k.start(t, 4, volumes...) {
		t.Fatal("not killed")
	}
	for _, name := range []string{"bundle.parity.0001.partial", "bundle.tar.0002.partial.old", "bundle.volumes.0002.partial"} {
		if err := os.WriteFile(filepath.Join(k.home, name), []byte("begun"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	note := k.file + ".partial.json"
	noted, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	again := append([]string{"export", k.server.Host() + "/acme/app:1", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file}, volumes...)
	k.expect(t, exitOK, "continuing", again...)
	if left := k.matches(t, "*.partial*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// Killed when so many of the files had got their names.
	names := slices.Concat(k.matches(t, "bundle.volumes.*"), k.matches(t, "bundle.parity.*"), k.matches(t, "bundle.tar.*"))
	if len(names) < 10 {
		t.Fatalf("only %v", names)
	}
	k.server.Forget()
	for given := range len(names) + 1 {
		if err := os.WriteFile(note, noted, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range names[given:] {
			if err := os.Rename(name, name+".partial"); err != nil {
				t.Fatal(err)
			}
		}
		k.expect(t, exitOK, "1 image", again...)
		if left := k.matches(t, "*.partial*"); len(left) > 0 {
			t.Errorf("killed after %d names: left behind: %v", given, left)
		}
		for _, name := range names {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("killed after %d names: %v", given, err)
			}
		}
	}
	if fetched := k.server.Count("GET", "/blobs/"); fetched > 0 {
		t.Errorf("%d blobs were fetched, though all were there", fetched)
	}
	k.expect(t, exitOK, "all digests are right", "verify", k.home, "--key", k.public)
	if err := os.Remove(k.file + ".0002"); err != nil {
		t.Fatal(err)
	}
	k.expect(t, exitOK, "rebuilt from the others", "verify", k.home, "--key", k.public, "--repair")
}

// The images are those that were found when the export was begun, unless it is told to look again.
func TestContinuedExportKeepsItsSnapshot(t *testing.T) {
	k := newKillable(t)
	if !k.start(t, 3) {
		t.Fatal("not killed")
	}
	first := bundle.DigestOf(k.server.StoredManifest("acme/app", "1"))
	k.image(t, "1", "second")
	args := []string{"export", k.server.Host() + "/acme/app:1", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file}
	k.expect(t, exitOK, "even where tags have moved since", args...)
	if !strings.Contains(k.err.String(), first.String()) || len(k.inspected(t)) != 1 || k.inspected(t)["acme/app:1"].Digest != first {
		t.Errorf("not the image that was found first:\n%s", k.err.String())
	}
	if !k.start(t, 3) {
		t.Fatal("not killed")
	}
	k.image(t, "1", "third")
	k.expect(t, exitOK, "", append(args, "--replan")...)
	if left := k.matches(t, "*.partial*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if want := bundle.DigestOf(k.server.StoredManifest("acme/app", "1")); k.inspected(t)["acme/app:1"].Digest != want {
		t.Error("--replan did not look again")
	}
	// Another command does not take it up, and neither does another key.
	if !k.start(t, 3) {
		t.Fatal("not killed")
	}
	k.expect(t, exitOK, "2 images", append(args, k.server.Host()+"/acme/app:1=other:1")...)
}

// --replan takes the blobs that are there, in one file and in volumes, and nothing that is spoilt.
func TestReplanReusesBlobs(t *testing.T) {
	for name, more := range map[string][]string{"one file": nil, "volumes": {"--volume-size", "200KiB"}} {
		t.Run(name, func(t *testing.T) {
			k := newKillable(t)
			if !k.start(t, 8, append(more, "-j", "1")...) {
				t.Fatal("not killed")
			}
			for _, partial := range k.matches(t, "*.partial") {
				content, err := os.ReadFile(partial)
				if err != nil {
					t.Fatal(err)
				}
				if at := bytes.Index(content, []byte("first layer 11")); at >= 0 {
					content[at] ^= 1
					if err := os.WriteFile(partial, content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			// The same layers under another plan: there is one image more.
			k.server.AddManifest("acme/app", "2", bundle.MediaTypeOCIManifest, append(k.server.StoredManifest("acme/app", "1"), ' '))
			k.server.Forget()
			args := append([]string{"export", k.server.Host() + "/acme/app:1", k.server.Host() + "/acme/app:2", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file, "--replan"}, more...)
			k.expect(t, exitOK, "2 images", args...)
			// 13 blobs, of which 8 were there, the largest first; the one that was spoilt is fetched again.
			if fetched := k.server.Count("GET", "/blobs/"); fetched != 6 {
				t.Errorf("%d blobs were fetched, want 6", fetched)
			}
			file := k.file
			if more != nil {
				file += ".0001"
			}
			k.expect(t, exitOK, "all digests are right", "verify", file, "--key", k.public)
			if left := k.matches(t, "*.partial*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A layer that fails after the plan was signed fails the export, and running it again continues.
func TestFailedLayerIsContinued(t *testing.T) {
	k := newKillable(t)
	k.server.Inject(registrytest.On("GET", "/blobs/", registrytest.Times(1, registrytest.Code(404, "BLOB_UNKNOWN", "gone"))))
	args := []string{"export", k.server.Host() + "/acme/app:1", "--key", filepath.Join(k.home, "airgap.key"), "-o", k.file}
	k.expect(t, exitMissing, "run the same command again to continue", args...)
	if _, err := os.Stat(k.file); err == nil {
		t.Fatal("something looks finished")
	}
	if err := os.WriteFile(k.file+".partial.old", []byte("of a --replan that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.expect(t, exitOK, "continuing", args...)
	k.expect(t, exitOK, "all digests are right", "verify", k.file, "--key", k.public)
	if left := k.matches(t, "bundle.tar.*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
