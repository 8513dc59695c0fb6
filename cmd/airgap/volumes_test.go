package main

import (
	"bytes"
	"os"
	"path/filepath"
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
	joined := filepath.Join(c.home, "joined.tar")
	c.expect(t, exitOK, "joined.tar", "join", media, "-o", joined)
	if got, err := os.ReadFile(joined); err != nil || !bytes.Equal(got, want) {
		t.Errorf("another file than was split (%v)", err)
	}

	// Damage is named by volume, and so is what is missing.
	second := filepath.Join(media, "monday.tar.0002")
	content, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := bytes.Clone(content)
	spoiled[len(spoiled)-700] ^= 1
	if err := os.WriteFile(second, spoiled, 0o600); err != nil {
		t.Fatal(err)
	}
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
	content, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := bytes.Clone(content)
	spoiled[len(spoiled)-700] ^= 1
	if err := os.WriteFile(second, spoiled, 0o600); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitDamaged, "airgap repair", "verify", second, "--key", c.public)
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitDamaged, "volume 2 of ", "verify", parity[0], "--key", c.public)
	repaired := filepath.Join(c.home, "repaired")
	c.expect(t, exitOK, "1 volume rebuilt", "repair", parity[0], "-o", repaired)
	if got, err := os.ReadFile(filepath.Join(repaired, "bundle.tar.0002")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the volume is not what it was (%v)", err)
	}
	c.expect(t, exitOK, "all digests are right", "verify", parity[0], repaired, "--key", c.public)
	c.expect(t, exitOK, "imported", "import", parity[0], repaired, bundletest.StartRegistry(t, true), "--key", c.public)
}
