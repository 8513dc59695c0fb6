package volume_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

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
			c.expectRebuilt(t, nil)
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
	through, err := volume.OpenRebuilding(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	p := make([]byte, 1000)
	if _, err := through.ReadAt(p, 0); err != nil || !bytes.Equal(p, c.content[:1000]) {
		t.Errorf("where two volumes are lost: %v", err)
	}
	if _, err := through.ReadAt(p, 1<<20-10); !errors.Is(err, volume.ErrVolumes) || !strings.Contains(err.Error(), "bytes 1048576 to 1114111 of monday.tar.0001 cannot be rebuilt") {
		t.Errorf("where three are lost: %v", err)
	}
	c.remove(t, "monday.tar.0003")
	if _, err := volume.OpenRebuilding(c.dir); !errors.Is(err, volume.ErrVolumes) || !strings.Contains(err.Error(), "3 are missing, those of parity counted, and there is parity for 2") || !strings.Contains(err.Error(), "volume 4 of 5 is missing") {
		t.Errorf("three volumes are missing: %v", err)
	}
	if _, err := volume.Open(c.dir); !errors.Is(err, volume.ErrVolumes) || !strings.Contains(err.Error(), "at least 1 more are needed") || strings.Contains(err.Error(), "--repair") {
		t.Errorf("three volumes are missing: %v", err)
	}
}

// expectRebuilt reads the bundle through its damage, by several readers at once and in pieces that have nothing to do with
// chunks, and returns what was said to be damaged.
func (c *cut) expectRebuilt(t *testing.T, spoil func(*volume.Set)) []volume.Damage {
	t.Helper()
	s, err := volume.OpenRebuilding(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if spoil != nil {
		spoil(s)
	}
	var group errgroup.Group
	for reader := range 3 {
		group.Go(func() error {
			got, err := io.ReadAll(bufio.NewReaderSize(io.NewSectionReader(s, 0, s.Size()), 70_001*(reader+1)))
			if err == nil && !bytes.Equal(got, c.content) {
				err = errors.New("other bytes than were cut")
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	return s.Rebuilt()
}

// Every volume is dropped, and every chunk of every volume spoilt, in turn.
func TestEveryVolumeAndChunk(t *testing.T) {
	c := newCutWithParity(t)
	for i, name := range []string{"monday.tar.0001", "monday.tar.0002", "monday.tar.0003", "monday.tar.0004", "monday.tar.0005"} {
		content, err := os.ReadFile(c.path(name))
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < int64(len(content)); at += 1 << 20 {
			to := min(at+1<<20, int64(len(content)))
			c.change(t, name, int(to-1))
			want := []volume.Damage{{Volume: i + 1, Path: c.path(name), From: at, To: to}}
			if s, err := volume.OpenDamaged(c.dir); err != nil {
				t.Error(err)
			} else {
				damage, err := s.Check(t.Context(), nil)
				if err := errors.Join(err, s.Close()); err != nil || !slices.Equal(damage, want) {
					t.Errorf("check: %v, %v; want %v", damage, err, want)
				}
			}
			if damage := c.expectRebuilt(t, nil); !slices.Equal(damage, want) {
				t.Errorf("rebuilt: %v, want %v", damage, want)
			}
			c.change(t, name, int(to-1))
		}
		c.remove(t, name)
		if damage, want := c.expectRebuilt(t, nil), (volume.Damage{Volume: i + 1, Path: name, To: int64(len(content))}); !slices.Equal(damage, []volume.Damage{want}) {
			t.Errorf("%v, want %v", damage, want)
		}
		if err := os.WriteFile(c.path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if damage := c.expectRebuilt(t, nil); len(damage) > 0 {
		t.Errorf("damage where none is left: %v", damage)
	}
}

// A device that cannot be read in places is damaged there and nowhere else, also where it could be read a moment ago.
func TestUnreadableSectors(t *testing.T) {
	c := newCutWithParity(t)
	scratches := func(s *volume.Set) {
		s.Scratch(1, 5, 6)
		s.Scratch(2, 1<<20-512, 1<<20+512)
		s.Scratch(6, 2<<20, 2<<20+1) // of parity
	}
	s, err := volume.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	scratches(s)
	if _, err := io.Copy(io.Discard, io.NewSectionReader(s, 0, s.Size())); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "monday.tar.0001") {
		t.Errorf("without repair: %v", err)
	}
	damage, err := s.Check(t.Context(), nil)
	if want := []volume.Damage{
		{Volume: 1, Path: c.path("monday.tar.0001"), From: 0, To: 1 << 20}, {Volume: 2, Path: c.path("monday.tar.0002"), From: 0, To: 2 << 20},
		{Volume: 6, Path: c.path("monday.parity.0001"), From: 2 << 20, To: 3 << 20},
	}; err != nil || !slices.Equal(damage, want) {
		t.Errorf("%v, %v; want %v", damage, err, want)
	}
	c.expectRebuilt(t, scratches)
	c.expectRebuilt(t, func(s *volume.Set) { // after all has been found to be fine
		if _, err := io.Copy(io.Discard, io.NewSectionReader(s, 0, s.Size())); err != nil {
			t.Error(err)
		}
		scratches(s)
	})
}

// A sector that could be read when the volumes were checked, and cannot be any more when they are repaired, is damage like any
// other: at its place another volume takes its part.
func TestRepairOfWhatGetsWorse(t *testing.T) {
	c := newCutWithParity(t)
	want, err := os.ReadFile(c.path("monday.tar.0003"))
	if err != nil {
		t.Fatal(err)
	}
	c.change(t, "monday.tar.0003", 5)
	s, err := volume.OpenDamaged(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := t.TempDir()
	worse := &atPhase{phase: "repair", do: func() { s.Scratch(1, 100, 101) }}
	if _, err := s.Repair(t.Context(), out, worse); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(out, "monday.tar.0003")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("not what it was (%v)", err)
	}
}

// atPhase does something when a phase begins.
type atPhase struct {
	phase string
	do    func()
}

func (a *atPhase) Count(name, _ string, total int64) { a.Phase(name, total) }

func (a *atPhase) Phase(name string, _ int64) {
	if name == a.phase {
		a.do()
	}
}
func (a *atPhase) Add(int64)   {}
func (a *atPhase) Item(string) {}
func (a *atPhase) Warn(string) {}

// Without volumes of parity damage is an error, and says where it is.
func TestRebuildingWithoutParity(t *testing.T) {
	c := newCut(t)
	c.change(t, "monday.tar.0002", 1<<20+5)
	s, err := volume.OpenRebuilding(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = io.Copy(io.Discard, io.NewSectionReader(s, 0, s.Size()))
	if !errors.Is(err, volume.ErrVolumes) || !strings.Contains(err.Error(), "monday.tar.0002 is damaged from byte 1048576 on") {
		t.Error(err)
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
