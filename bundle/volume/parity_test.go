package volume_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/volume"
)

// newCutWithParity has five volumes, the last of which is smaller, and two of parity.
func newCutWithParity(t *testing.T) *cut {
	t.Helper()
	c := &cut{content: make([]byte, 4*volumeSize+1<<20+77), dir: t.TempDir()}
	random := rand.NewChaCha8([32]byte{2})
	_, _ = random.Read(c.content)
	table, err := volume.Split(t.Context(), bytes.NewReader(c.content), int64(len(c.content)), bundle.DigestOf(c.content), c.path("monday.tar"), volumeSize, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if table.Volumes() != 5 || table.Parity != 2 {
		t.Fatalf("%d volumes and %d of parity", table.Volumes(), table.Parity)
	}
	return c
}

func (c *cut) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(c.path(name)); err != nil {
		t.Fatal(err)
	}
}

// Whatever is lost, up to two volumes at any place, comes back byte for byte, parity volumes included.
func TestRepair(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*testing.T, *cut)
		want  []string // what is written anew
	}{
		"nothing":               {func(*testing.T, *cut) {}, nil},
		"one volume":            {func(t *testing.T, c *cut) { c.remove(t, "monday.tar.0002") }, []string{"monday.tar.0002"}},
		"two, the last of them": {func(t *testing.T, c *cut) { c.remove(t, "monday.tar.0001"); c.remove(t, "monday.tar.0005") }, []string{"monday.tar.0001", "monday.tar.0005"}},
		"parity":                {func(t *testing.T, c *cut) { c.remove(t, "monday.parity.0001"); c.remove(t, "monday.parity.0002") }, []string{"monday.parity.0001", "monday.parity.0002"}},
		"one of each":           {func(t *testing.T, c *cut) { c.remove(t, "monday.tar.0003"); c.remove(t, "monday.parity.0002") }, []string{"monday.tar.0003", "monday.parity.0002"}},
		"scratches on all of them": {func(t *testing.T, c *cut) {
			c.change(t, "monday.tar.0001", 5)
			c.change(t, "monday.tar.0002", 100)
			c.change(t, "monday.tar.0003", 1<<20+1)
			c.change(t, "monday.tar.0004", 2<<20+2)
			c.change(t, "monday.tar.0004", volumeSize-1)
			c.change(t, "monday.tar.0005", 1<<20+70)
			c.change(t, "monday.parity.0001", 2<<20+9)
		}, []string{"monday.tar.0001", "monday.tar.0002", "monday.tar.0003", "monday.tar.0004", "monday.tar.0005", "monday.parity.0001"}},
		"cut short": {func(t *testing.T, c *cut) {
			if err := os.Truncate(c.path("monday.tar.0002"), 1<<20); err != nil {
				t.Fatal(err)
			}
		}, []string{"monday.tar.0002"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCutWithParity(t)
			before := map[string][]byte{}
			for _, name := range test.want {
				content, err := os.ReadFile(c.path(name))
				if err != nil {
					t.Fatal(err)
				}
				before[name] = content
			}
			test.spoil(t, c)
			s, err := volume.OpenDamaged(c.dir)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			out := t.TempDir()
			repaired, err := s.Repair(t.Context(), out, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(repaired) != len(test.want) {
				t.Errorf("repaired %q, want %q", repaired, test.want)
			}
			for name, want := range before {
				if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not what it was (%v)", name, err)
				}
			}
			c.expect(t, c.dir, out) // good and repaired volumes together
		})
	}
}

func TestTooMuchIsLost(t *testing.T) {
	c := newCutWithParity(t)
	c.remove(t, "monday.tar.0001")
	c.remove(t, "monday.tar.0004")
	c.change(t, "monday.tar.0002", 1<<20+5)
	if _, err := volume.Open(c.dir); !errors.Is(err, volume.ErrVolumes) || !strings.Contains(err.Error(), "airgap repair") {
		t.Errorf("open: %v", err)
	}
	s, err := volume.OpenDamaged(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := t.TempDir()
	if _, err := s.Repair(t.Context(), out, nil); !errors.Is(err, volume.ErrVolumes) || !strings.Contains(err.Error(), "of bytes 1048576 to 2097151, 3 volumes are lost, and there is parity for 2") {
		t.Errorf("repair: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(out, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestParseParity(t *testing.T) {
	for text, want := range map[string]int{"2": 2, "10%": 3, "100%": 25, "1%": 1} {
		count, err := volume.ParseParity(text)
		if err != nil || count(25) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "x", "%"} {
		if _, err := volume.ParseParity(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	content := make([]byte, 300*volume.MinSize)
	if _, err := volume.Split(t.Context(), bytes.NewReader(content), int64(len(content)), bundle.DigestOf(content), filepath.Join(t.TempDir(), "x.tar"), volume.MinSize, 1, nil); !errors.Is(err, volume.ErrVolumes) {
		t.Errorf("301 volumes with parity: %v", err)
	}
}
