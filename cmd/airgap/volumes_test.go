package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"airgap/bundle/bundletest"
)

func TestVolumesRoundTrip(t *testing.T) {
	c := exportFixture(t)
	index := strings.TrimSpace(c.out.String())
	want, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	media := filepath.Join(c.home, "media")
	if err := os.Mkdir(media, 0o700); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitUsage, "--volume-size is missing", "split", c.file)
	c.expect(t, exitUsage, "no size", "split", c.file, "--volume-size", "floppy")
	c.expect(t, exitOK, "volumes", "split", c.file, "--volume-size", "128KiB", "-o", filepath.Join(media, "monday.tar"))
	if err := os.Remove(c.file); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitOK, "all digests are right", "verify", media, "--key", c.public)
	if got := strings.TrimSpace(c.out.String()); got != index {
		t.Errorf("verify prints %q, export %q", got, index)
	}
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitOK, "imported", "import", filepath.Join(media, "monday.tar.0002"), target, "--key", c.public)
	for _, root := range c.fixture.Roots() {
		c.expect(t, exitOK, "", "inspect", target+"/"+root.Reference(), "--digest")
		if got := strings.TrimSpace(c.out.String()); got != c.fixture.Digest(t, root.Repository, root.Tag) {
			t.Errorf("%s is %s at the target", root.Reference(), got)
		}
	}
	c.expect(t, exitOK, "", "inspect", media, "--key", c.public)
	// Some of the volumes on another disk.
	other := filepath.Join(c.home, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range glob(filepath.Join(media, "*.0001")) {
		if err := os.Rename(file, filepath.Join(other, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	c.expect(t, exitOK, "", "inspect", media, other, "--key", c.public)
	c.expect(t, exitDamaged, "volume 1 of ", "inspect", media, "--key", c.public)
	for _, file := range glob(filepath.Join(other, "*.0001")) {
		if err := os.Rename(file, filepath.Join(media, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	joined := filepath.Join(c.home, "joined.tar")
	c.expect(t, exitOK, "joined.tar", "join", media, "-o", joined, "--json")
	var result volumesResult
	if err := json.Unmarshal(c.out.Bytes(), &result); err != nil || result.ManifestIndex.String() != index || result.Bytes != int64(len(want)) {
		t.Errorf("join --json: %s (%v)", c.out.String(), err)
	}
	if got, err := os.ReadFile(joined); err != nil || !bytes.Equal(got, want) {
		t.Errorf("another file than was split (%v)", err)
	}

	// Damage is named by volume, and so is what is missing.
	second := filepath.Join(media, "monday.tar.0002")
	content := scratch(t, second)
	c.expect(t, exitDamaged, "monday.tar.0002", "verify", media, "--key", c.public)
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitDamaged, "volume 2 of ", "import", media, target, "--key", c.public)
	// A volume of another bundle with the same name and size.
	if err := os.WriteFile(second, make([]byte, len(content)), 0o600); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitDamaged, "or a volume of another bundle", "verify", media, "--key", c.public)
}

// scratch damages a volume, and returns what was in it.
func scratch(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := bytes.Clone(content)
	spoiled[len(spoiled)-700] ^= 1
	if err := os.WriteFile(file, spoiled, 0o600); err != nil {
		t.Fatal(err)
	}
	return content
}

// A lost volume and scratches on others: verify says that they can be repaired, repair does, and import takes good and
// repaired volumes together.
func TestRepairOfAnExport(t *testing.T) {
	c := newKillable(t) // which is not killed here, and has layers of some size
	image := c.server.Host() + "/acme/app:1"
	c.export(t, exitUsage, "--parity needs --volume-size", image, "--parity", "1")
	c.export(t, exitOK, "1 image", image, "--volume-size", "200KiB", "--parity", "30%")
	parity := c.matches(t, "bundle.parity.????")
	if len(parity) == 0 || len(parity) > len(c.matches(t, "bundle.tar.????"))/2 {
		t.Fatalf("%d volumes of parity", len(parity))
	}
	second := filepath.Join(c.home, "bundle.tar.0002")
	content := scratch(t, second)
	c.expect(t, exitDamaged, "airgap repair", "verify", second, "--key", c.public)
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitDamaged, "volume 2 of ", "verify", parity[0], "--key", c.public)
	repaired := filepath.Join(c.home, "repaired")
	c.expect(t, exitOK, "1 volume rebuilt", "repair", parity[0], "-o", repaired, "--json")
	var result volumesResult
	if err := json.Unmarshal(c.out.Bytes(), &result); err != nil || !slices.Equal(result.Rebuilt, []string{filepath.Join(repaired, "bundle.tar.0002")}) {
		t.Errorf("repair --json: %s (%v)", c.out.String(), err)
	}
	if got, err := os.ReadFile(filepath.Join(repaired, "bundle.tar.0002")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the volume is not what it was (%v)", err)
	}
	c.expect(t, exitOK, "all digests are right", "verify", parity[0], repaired, "--key", c.public)
	c.expect(t, exitOK, "imported", "import", parity[0], repaired, bundletest.StartRegistry(t, true), "--key", c.public)
}

// Verify tells damage of volumes, and whether it can be repaired, from what was wrong before the bundle was
// cut, and speaks of parity that is not what it should be.
func TestVerifyTellsWhatIsDamaged(t *testing.T) {
	c := newKillable(t)
	image := c.server.Host() + "/acme/app:1"
	c.export(t, exitOK, "1 image", image)
	spoil := func(file string, at int64) {
		t.Helper()
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content[at] ^= 1
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	media := filepath.Join(c.home, "media")
	if err := os.Mkdir(media, 0o700); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitFailure, "is a directory", "split", c.file, "--volume-size", "300KiB", "-o", media)
	c.expect(t, exitOK, "", "split", c.file, "--volume-size", "300KiB", "--parity", "1", "-o", filepath.Join(media, "a.tar"))
	c.expect(t, exitFailure, "there are volumes of that name", "split", c.file, "--volume-size", "900KiB", "-o", filepath.Join(media, "a.tar"))
	spoil(filepath.Join(media, "a.parity.0001"), 5000)
	c.expect(t, exitOK, "a.parity.0001: bytes 0 to 307199 are damaged or missing; the bundle is whole", "verify", media, "--key", c.public)
	spoil(filepath.Join(media, "a.tar.0003"), 5000)
	c.expect(t, exitDamaged, "2 volumes are lost, and there is parity for 1", "repair", media, "-o", filepath.Join(c.home, "repaired"))
	c.expect(t, exitDamaged, "bytes 0 to 307199 are damaged, on too many volumes", "verify", media, "--key", c.public, "--repair")
	c.expect(t, exitUsage, "no such file", "verify", filepath.Join(media, "a.tar.0009"), "--key", c.public, "--repair")

	whole := filepath.Join(c.home, "whole")
	if err := os.Mkdir(whole, 0o700); err != nil {
		t.Fatal(err)
	}
	spoil(c.file, 1_000_000)
	c.expect(t, exitOK, "", "split", c.file, "--volume-size", "300KiB", "--parity", "1", "-o", filepath.Join(whole, "b.tar"))
	c.expect(t, exitDamaged, "the volumes are as they were cut", "verify", whole, "--key", c.public)
	if strings.Contains(c.err.String(), "can be repaired") {
		t.Errorf("nothing of that can be repaired:\n%s", c.err.String())
	}
	c.expect(t, exitDamaged, "on volume 4: ", "verify", whole, "--key", c.public, "--one-at-a-time")
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitDamaged, "on volume 4: ", "import", whole, target, "--key", c.public, "--one-at-a-time")
	c.expect(t, exitDamaged, "says which volumes are damaged", "import", whole, target, "--key", c.public)
	if err := os.Truncate(c.file, 900_000); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitDamaged, "it was cut short", "split", c.file, "--volume-size", "300KiB", "-o", filepath.Join(c.home, "short.tar"))
}

// Import reads through damage, and nothing is written: a lost volume, scratches on another, and a directory that is read-only.
func TestImportThroughDamage(t *testing.T) {
	c := newKillable(t)
	image := c.server.Host() + "/acme/app:1"
	c.export(t, exitOK, "1 image", image, "--volume-size", "200KiB", "--parity", "2")
	media := filepath.Join(c.home, "media")
	if err := os.Mkdir(media, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range append(append(c.matches(t, "bundle.tar.????"), c.matches(t, "bundle.volumes.????")...), c.matches(t, "bundle.parity.????")...) {
		if err := os.Rename(file, filepath.Join(media, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(media, "bundle.tar.0001")); err != nil {
		t.Fatal(err)
	}
	third := filepath.Join(media, "bundle.tar.0003")
	content, err := os.ReadFile(third)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(third, content, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly(t, media)
	target := bundletest.StartRegistry(t, true)
	c.expect(t, exitDamaged, "with --repair they are read through the damage", "import", media, target, "--key", c.public)
	c.expect(t, exitUsage, "is not in volumes", "import", "-", target, "--key", c.public, "--repair")
	c.expect(t, exitOK, "bundle.tar.0003: bytes 0 to ", "verify", media, "--key", c.public, "--repair")
	c.expect(t, exitOK, "bundle.tar.0001: bytes 0 to 204799 are damaged; rebuilt from the others", "import", media, target, "--key", c.public, "--repair")
	c.expect(t, exitOK, "", "inspect", target+"/acme/app:1", "--digest")
	got := c.out.String()
	c.expect(t, exitOK, "", "inspect", image, "--digest")
	if want := c.out.String(); got != want {
		t.Errorf("the target has %s, the source %s", got, want)
	}
}

// readOnly takes the right to write away from a directory and everything in it. A superuser has it all the same; a test that
// something is left behind belongs beside it.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	before, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range before {
		if err := os.Chmod(file, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if after, _ := filepath.Glob(filepath.Join(dir, "*")); !slices.Equal(before, after) {
			t.Errorf("the directory had %q, and has %q", before, after)
		}
		_ = os.Chmod(dir, 0o700)
	})
}

// drive is a place for one disk at a time, and a person who changes disks when asked to.
type drive struct {
	shelf, dir string
	screen     *bytes.Buffer
	asked      []string // volumes, in the order in which they were asked for
	patience   int      // how many disks the person changes; -1: any number
	mistakes   int      // how often the person first takes the wrong one
}

var insertPattern = regexp.MustCompile(`Insert volume (\d+)`)

// Read waits for the person, who has read what is on the screen.
func (d *drive) Read(p []byte) (int, error) {
	asked := insertPattern.FindAllStringSubmatch(d.screen.String(), -1)
	number := asked[len(asked)-1][1]
	if d.patience == 0 {
		return 0, io.EOF
	}
	d.patience--
	if d.mistakes > 0 {
		d.mistakes--
		number += "0" // there is none
	} else {
		d.asked = append(d.asked, number)
	}
	for _, file := range glob(filepath.Join(d.dir, "*")) {
		if err := os.Remove(file); err != nil {
			return 0, err
		}
	}
	for _, file := range glob(filepath.Join(d.shelf, fmt.Sprintf("*.%04s", number))) {
		if err := os.Link(file, filepath.Join(d.dir, filepath.Base(file))); err != nil {
			return 0, err
		}
	}
	return copy(p, "\n"), nil
}

func glob(pattern string) []string {
	files, err := filepath.Glob(pattern)
	if err != nil {
		panic(err) // the pattern is wrong
	}
	return files
}

// One drive for many disks: each is asked for once, in order, by verify and by import; an import that was given up goes on
// and does not ask for what the target has.
func TestOneVolumeAtATime(t *testing.T) {
	c := newKillable(t)
	image := c.server.Host() + "/acme/app:1"
	c.export(t, exitOK, "1 image", image, "--volume-size", "100KiB")
	d := &drive{shelf: c.home, dir: filepath.Join(c.home, "drive"), screen: &c.err, patience: -1}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var all []string
	for i := range c.matches(t, "bundle.tar.????") {
		all = append(all, strconv.Itoa(i+1))
	}
	if len(all) < 8 {
		t.Fatalf("%d volumes", len(all))
	}
	insert := func(patience, mistakes int) {
		for _, file := range glob(filepath.Join(d.dir, "*")) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		d.asked, d.patience, d.mistakes = nil, patience, mistakes
		c.Stdin = d
	}
	for _, deep := range [][]string{nil, {"--deep"}} {
		insert(-1, 1)
		c.expect(t, exitOK, "all digests are right", append([]string{"verify", d.dir, "--one-at-a-time", "--key", c.public}, deep...)...)
		if !slices.Equal(d.asked, all) {
			t.Errorf("verify %q asked for %q, want %q", deep, d.asked, all)
		}
	}
	insert(-1, 0)
	c.expect(t, exitUsage, "cannot go with", "verify", d.dir, "--one-at-a-time", "--repair", "--key", c.public)

	target := bundletest.StartRegistry(t, true)
	insert(5, 0)
	c.expect(t, exitFailure, "volume 6 of ", "import", d.dir, target, "--one-at-a-time", "--key", c.public)
	if !slices.Equal(d.asked, all[:5]) {
		t.Errorf("asked for %q, want %q", d.asked, all[:5])
	}
	insert(-1, 0)
	c.expect(t, exitOK, "imported", "import", d.dir, target, "--one-at-a-time", "--key", c.public)
	if d.asked[0] != "1" || slices.Contains(d.asked, "3") || !slices.Equal(d.asked[len(d.asked)-len(all)+5:], all[5:]) {
		t.Errorf("the second time asked for %q", d.asked)
	}
	c.Stdin = strings.NewReader("")
	c.expect(t, exitOK, "", "inspect", target+"/acme/app:1", "--digest")
	got := c.out.String()
	c.expect(t, exitOK, "", "inspect", image, "--digest")
	if want := c.out.String(); got != want {
		t.Errorf("the target has %s, the source %s", got, want)
	}

	// Somebody who answers and changes nothing is not asked for ever.
	insert(3, 0)
	c.Stdin = io.MultiReader(d, strings.NewReader(strings.Repeat("\n", 1000)))
	c.expect(t, exitFailure, "volume 4 of 12: not inserted: it was asked for 20 times", "verify", d.dir, "--one-at-a-time", "--key", c.public)

	// A damaged volume is named, and the right one can be put in its place.
	fourth := filepath.Join(c.home, "bundle.tar.0004")
	content, err := os.ReadFile(fourth)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := bytes.Clone(content)
	spoiled[len(spoiled)/2] ^= 1
	if err := os.WriteFile(fourth, spoiled, 0o600); err != nil {
		t.Fatal(err)
	}
	insert(6, 0)
	c.expect(t, exitFailure, "bundle.tar.0004 is damaged at its beginning", "verify", d.dir, "--one-at-a-time", "--key", c.public)
}
