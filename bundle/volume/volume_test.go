package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/volume"
)

const volumeSize = 3<<20 + 512

// cut is some content in volumes. What it is does not matter here.
type cut struct {
	content []byte
	dir     string
}

func newCut(t *testing.T) *cut {
	t.Helper()
	c := &cut{content: make([]byte, 10<<20+12345), dir: t.TempDir()}
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(c.content)
	if _, err := volume.Split(t.Context(), bytes.NewReader(c.content), int64(len(c.content)), bundle.DigestOf(c.content), c.path("monday.tar"), volumeSize, 0, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cut) path(name string) string { return filepath.Join(c.dir, name) }

func (c *cut) move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.path(to)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.path(from), c.path(to)); err != nil {
		t.Fatal(err)
	}
}

// change changes a byte of a file.
func (c *cut) change(t *testing.T, name string, at int) {
	t.Helper()
	content, err := os.ReadFile(c.path(name))
	if err != nil {
		t.Fatal(err)
	}
	content[at] ^= 1
	if err := os.WriteFile(c.path(name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// expect opens volumes and compares what they give.
func (c *cut) expect(t *testing.T, paths ...string) {
	t.Helper()
	s, err := volume.Open(paths...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
	if err != nil || !bytes.Equal(got, c.content) {
		t.Errorf("%d bytes, %v; want the %d that were cut", len(got), err, len(c.content))
	}
	if s.ManifestIndex() != bundle.DigestOf(c.content) {
		t.Error("another manifest index")
	}
}

func TestVolumesAreFoundHoweverTheyAreNamed(t *testing.T) {
	c := newCut(t)
	var joined []byte
	for _, name := range []string{"0001", "0002", "0003", "0004"} {
		part, err := os.ReadFile(c.path("monday.tar." + name))
		if err != nil {
			t.Fatal(err)
		}
		joined = append(joined, part...)
	}
	if !bytes.Equal(joined, c.content) {
		t.Error("joined by cat, the volumes are not the bundle")
	}
	c.expect(t, c.dir)
	c.expect(t, c.path("monday.tar.0003"))
	c.expect(t, c.path("monday.volumes.0002"))
	c.expect(t, c.path("monday.tar.0001"), c.path("monday.tar.0004"), c.dir)

	c.move(t, "monday.tar.0002", "other/monday.tar.0002")
	c.move(t, "monday.tar.0004", "other/monday.tar.0004")
	for i := 2; i <= 4; i++ {
		if err := os.Remove(c.path("monday.volumes.000" + string(rune('0'+i)))); err != nil {
			t.Fatal(err)
		}
	}
	c.expect(t, c.path("other"), c.dir)
	if _, err := volume.Open(c.dir); !errors.Is(err, volume.ErrVolumes) || !strings.Contains(err.Error(), "volume 2 of 4 is missing") || !strings.Contains(err.Error(), "volume 4 of 4 is missing") {
		t.Errorf("two are missing: %v", err)
	}
}

// Reading across the borders of volumes gives the same as reading the whole.
func TestReadAt(t *testing.T) {
	c := newCut(t)
	s, err := volume.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	whole := bytes.NewReader(c.content)
	for _, at := range []int64{0, 1, volumeSize - 1, volumeSize, 2*volumeSize - 7, s.Size() - 3, s.Size(), s.Size() + 5} {
		for _, n := range []int{0, 1, 8, volumeSize + 20} {
			want, got := make([]byte, n), make([]byte, n)
			wantN, wantErr := whole.ReadAt(want, at)
			gotN, gotErr := s.ReadAt(got, at)
			if n == 0 {
				wantErr, gotErr = nil, nil // readers differ
			}
			if gotN != wantN || !bytes.Equal(got, want) || !errors.Is(gotErr, wantErr) {
				t.Errorf("%d bytes at %d: %d, %v; want %d, %v", n, at, gotN, gotErr, wantN, wantErr)
			}
		}
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*testing.T, *cut)
		want  string
	}{
		"exchanged": {func(t *testing.T, c *cut) {
			c.move(t, "monday.tar.0001", "x")
			c.move(t, "monday.tar.0002", "monday.tar.0001")
			c.move(t, "x", "monday.tar.0002")
		}, "monday.tar.0001 is volume 2, not 1"},
		"cut short": {func(t *testing.T, c *cut) {
			if err := os.Truncate(c.path("monday.tar.0003"), 1<<20); err != nil {
				t.Fatal(err)
			}
		}, "monday.tar.0003 has 1048576 bytes; it should have"},
		"of another bundle": {func(t *testing.T, c *cut) {
			if err := os.WriteFile(c.path("monday.tar.0002"), make([]byte, volumeSize), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "monday.tar.0002 is damaged at its beginning, or a volume of another bundle"},
		"too many": {func(t *testing.T, c *cut) {
			if err := os.WriteFile(c.path("monday.tar.0005"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "the bundle has only 4 volumes and 0 of parity"},
		"no table": {func(t *testing.T, c *cut) {
			for _, n := range []string{"1", "2", "3", "4"} {
				if err := os.Remove(c.path("monday.volumes.000" + n)); err != nil {
					t.Fatal(err)
				}
			}
		}, "no table"},
		"two bundles": {func(t *testing.T, c *cut) { c.move(t, "monday.tar.0001", "tuesday.tar.0001") }, `["monday" "tuesday"]`},
		"tables of two bundles": {func(t *testing.T, c *cut) {
			other := bytes.Repeat([]byte("other"), 1<<20)
			if _, err := volume.Split(t.Context(), bytes.NewReader(other), int64(len(other)), bundle.DigestOf(other), filepath.Join(c.dir, "other", "x.tar"), volumeSize, 0, nil); err != nil {
				t.Fatal(err)
			}
			c.move(t, "other/x.volumes.0001", "monday.volumes.0002")
		}, "are of different bundles"},
		"nothing": {func(t *testing.T, c *cut) {
			if err := os.RemoveAll(c.dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(c.dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "there are none"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCut(t)
			if err := os.MkdirAll(c.path("other"), 0o700); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, c)
			_, err := volume.Open(c.dir)
			if !errors.Is(err, volume.ErrVolumes) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\nwant %q", err, test.want)
			}
		})
	}
}

// One good table is enough, and damage is found to the chunk.
func TestDamageIsLocated(t *testing.T) {
	c := newCut(t)
	c.change(t, "monday.volumes.0001", 100)
	c.change(t, "monday.tar.0002", 2<<20)
	c.change(t, "monday.tar.0002", 3<<20)
	c.change(t, "monday.tar.0004", 1<<20+99)
	s, err := volume.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	damage, err := s.Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	last := int64(len(c.content) - 3*volumeSize)
	want := []volume.Damage{{Volume: 2, Path: c.path("monday.tar.0002"), From: 2 << 20, To: volumeSize}, {Volume: 4, Path: c.path("monday.tar.0004"), From: 1 << 20, To: last}}
	if len(damage) != len(want) || damage[0] != want[0] || damage[1] != want[1] {
		t.Errorf("damage: %v, want %v", damage, want)
	}
	out := filepath.Join(t.TempDir(), "joined.tar")
	if err := volume.Join(t.Context(), s, out, nil); !errors.Is(err, bundle.ErrDigest) || !strings.Contains(err.Error(), "monday.tar.0002: bytes 2097152 to") {
		t.Errorf("join: %v", err)
	}
	if left, _ := filepath.Glob(out + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestJoin(t *testing.T) {
	c := newCut(t)
	s, err := volume.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := filepath.Join(t.TempDir(), "joined.tar")
	if err := volume.Join(t.Context(), s, out, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, c.content) {
		t.Errorf("another file than was cut (%v)", err)
	}
	if err := volume.Join(t.Context(), s, out, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
}

func TestSplitOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "monday.tar.0002")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 3<<20)
	_, err := volume.Split(t.Context(), bytes.NewReader(content), int64(len(content)), bundle.DigestOf(content), filepath.Join(dir, "monday.tar"), 1<<20, 0, nil)
	if !errors.Is(err, os.ErrExist) {
		t.Errorf("%v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"4000MiB": 4000 << 20, "4GB": 4e9, "fat32": 4<<30 - 64<<10, "DVD": volume.Sizes["dvd"], "1048576": 1 << 20, "2g": 2 << 30} {
		if got, err := volume.ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "floppy", "-1", "1KiB", "99999999999999GiB", "1.5GB"} {
		if n, err := volume.ParseSize(text); err == nil {
			t.Errorf("%s: %d", text, n)
		}
	}
}

// Whatever a table says, it is refused, or all its numbers are within bounds.
func FuzzTable(f *testing.F) {
	dir := f.TempDir()
	content := make([]byte, 3<<20)
	if _, err := volume.Split(f.Context(), bytes.NewReader(content), int64(len(content)), bundle.DigestOf(content), filepath.Join(dir, "x.tar"), 1<<20, 0, nil); err != nil {
		f.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "x.volumes.0001"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(table)
	f.Fuzz(func(t *testing.T, table []byte) {
		parsed, err := volume.ParseTable(bytes.NewReader(table))
		if err != nil {
			if !errors.Is(err, volume.ErrTable) {
				t.Fatalf("undocumented error: %v", err)
			}
			return
		}
		if n := parsed.Volumes(); n < 1 || n > volume.MaxVolumes || len(parsed.Chunks) < n || len(parsed.Chunks) > volume.MaxChunks {
			t.Fatalf("%d volumes, %d chunks", n, len(parsed.Chunks))
		}
	})
}

// More than a hundred volumes: read together, joined, and one at a time.
func TestManyVolumes(t *testing.T) {
	c := &cut{content: make([]byte, 130*volume.MinSize+1), dir: t.TempDir()}
	random := rand.NewChaCha8([32]byte{3})
	_, _ = random.Read(c.content)
	if _, err := volume.Split(t.Context(), bytes.NewReader(c.content), int64(len(c.content)), bundle.DigestOf(c.content), c.path("monday.tar"), volume.MinSize, 0, nil); err != nil {
		t.Fatal(err)
	}
	c.expect(t, c.dir)
	c.expectOneByOne(t, 131)
}

// Volumes that end a byte before, at and after the end of the bundle.
func TestVolumesAtTheEnd(t *testing.T) {
	for size, want := range map[int]int{volumeSize - 1: 1, volumeSize: 1, volumeSize + 1: 2, 2*volumeSize - 1: 2, 2 * volumeSize: 2, 2*volumeSize + 1: 3} {
		c := &cut{content: make([]byte, size), dir: t.TempDir()}
		random := rand.NewChaCha8([32]byte{4})
		_, _ = random.Read(c.content)
		table, err := volume.Split(t.Context(), bytes.NewReader(c.content), int64(size), bundle.DigestOf(c.content), c.path("monday.tar"), volumeSize, 1, nil)
		if err != nil || table.Volumes() != want {
			t.Fatalf("%d bytes: %d volumes, %v; want %d", size, table.Volumes(), err, want)
		}
		c.expect(t, c.dir)
		c.expectOneByOne(t, want)
		c.remove(t, fmt.Sprintf("monday.tar.%04d", want))
		if damage := c.expectRebuilt(t, nil); len(damage) != 1 || damage[0].Volume != want {
			t.Errorf("%d bytes: %v", size, damage)
		}
	}
}

// expectOneByOne reads the bundle with one volume there at a time, and each of them once.
func (c *cut) expectOneByOne(t *testing.T, volumes int) {
	t.Helper()
	dir := t.TempDir()
	inserted := 0
	drive, err := volume.OpenDrive(t.Context(), []string{dir}, func(_ context.Context, w volume.Wanted) error {
		if w.Number != inserted+1 {
			return fmt.Errorf("asked for volume %d after %d", w.Number, inserted)
		}
		old, next := fmt.Sprintf("monday.tar.%04d", inserted), fmt.Sprintf("monday.tar.%04d", w.Number)
		inserted = w.Number
		if inserted == 1 {
			if err := os.Link(c.path("monday.volumes.0001"), filepath.Join(dir, "monday.volumes.0001")); err != nil {
				return err
			}
		} else if err := os.Remove(filepath.Join(dir, old)); err != nil {
			return err
		}
		return os.Link(c.path(next), filepath.Join(dir, next))
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(drive, 0, drive.Size()))
	if err := errors.Join(err, drive.Close()); err != nil || !bytes.Equal(got, c.content) || inserted != volumes {
		t.Errorf("%d bytes, %v, after %d volumes; want %d from %d", len(got), err, inserted, len(c.content), volumes)
	}
}

// A person who does not come is waited for until the work is cancelled, which says nothing of who asks later.
func TestInsertIsCancelled(t *testing.T) {
	c := newCut(t)
	c.move(t, "monday.tar.0002", "elsewhere/monday.tar.0002")
	asked := make(chan struct{}, 1)
	drive, err := volume.OpenDrive(t.Context(), []string{c.dir}, func(ctx context.Context, w volume.Wanted) error {
		asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer drive.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if err := drive.Insert(ctx, 1); !errors.Is(err, context.Canceled) || errors.Is(err, bundle.ErrNotInserted) {
		t.Errorf("cancelled: %v", err)
	}
	c.move(t, "elsewhere/monday.tar.0002", "monday.tar.0002")
	if err := drive.Insert(t.Context(), 1); err != nil {
		t.Errorf("then it is there: %v", err)
	}
}
