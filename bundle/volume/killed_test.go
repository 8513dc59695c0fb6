package volume_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/volume"
)

// inOrderOfNames returns the files of a bundle in the order in which they get their names.
func (c *cut) inOrderOfNames(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"monday.volumes.*", "monday.parity.*", "monday.tar.*"} {
		found, err := filepath.Glob(c.path(pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return names
}

func contents(t *testing.T, names []string) (all [][]byte) {
	t.Helper()
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, content)
	}
	return all
}

// Wherever split was killed, running it again makes the same files, and nothing else is left.
func TestSplitThatWasKilled(t *testing.T) {
	c := newCutWithParity(t)
	names := c.inOrderOfNames(t)
	want := contents(t, names)
	again := func(content []byte, volumeSize int64) error {
		_, err := volume.Split(t.Context(), bytes.NewReader(content), int64(len(content)), bundle.DigestOf(content), c.path("monday.tar"), volumeSize, 2, nil)
		return err
	}
	expect := func(what any) {
		t.Helper()
		if left, _ := filepath.Glob(c.path("*.partial")); len(left) > 0 {
			t.Errorf("%v: left behind: %v", what, left)
		}
		if got := c.inOrderOfNames(t); !slices.Equal(got, names) || !slices.EqualFunc(contents(t, got), want, bytes.Equal) {
			t.Errorf("%v: the files are others than one run makes", what)
		}
	}
	interrupt := func(given int) {
		for _, name := range names[given:] {
			if err := os.Rename(name, name+bundle.PartialSuffix); err != nil {
				t.Fatal(err)
			}
		}
	}
	// While the files got their names. Another bundle does not get them, nor this one in other volumes.
	interrupt(3)
	if err := again(c.content[:len(c.content)-1], volumeSize); !errors.Is(err, os.ErrExist) {
		t.Errorf("another bundle in place of this one: %v", err)
	}
	interrupt(3)
	if err := again(c.content, volumeSize+1); !errors.Is(err, os.ErrExist) {
		t.Errorf("larger volumes in place of these: %v", err)
	}
	for given := range names {
		interrupt(given)
		if err := again(c.content, volumeSize); err != nil {
			t.Fatalf("killed after %d names: %v", given, err)
		}
		expect(given)
	}
	// While they were written, then with larger volumes than before, and some of them are of another run.
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range append(slices.Clone(names), c.path("monday.tar.0006"), c.path("monday.volumes.0009")) {
		if err := os.WriteFile(name+bundle.PartialSuffix, []byte("begun"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := again(c.content, volumeSize); err != nil {
		t.Fatal(err)
	}
	expect("in the middle")
}

// What is half there under both names is of two runs, and nobody's to overwrite.
func TestFinishedVolumesAreNotOverwritten(t *testing.T) {
	c := newCutWithParity(t)
	names := c.inOrderOfNames(t)
	want := contents(t, names)
	first := slices.Index(names, c.path("monday.tar.0001"))
	begun := slices.Concat(want[first][:1<<20], make([]byte, len(want[first])-1<<20)) // begins like it
	if err := os.WriteFile(names[first]+bundle.PartialSuffix, begun, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := volume.Split(t.Context(), bytes.NewReader(c.content), int64(len(c.content)), bundle.DigestOf(c.content), c.path("monday.tar"), volumeSize, 2, nil)
	if !errors.Is(err, os.ErrExist) {
		t.Errorf("%v", err)
	}
	if !slices.EqualFunc(contents(t, names), want, bytes.Equal) {
		t.Error("something was overwritten")
	}
}

// Wherever repair was killed, running it again makes the volumes that are lacking, and names all of them.
func TestRepairThatWasKilled(t *testing.T) {
	c := newCutWithParity(t)
	for _, name := range []string{"monday.tar.0002", "monday.parity.0001"} {
		c.remove(t, name)
	}
	out := t.TempDir()
	repair := func() ([]string, error) {
		s, err := volume.OpenDamaged(c.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Repair(t.Context(), out, nil)
	}
	repaired, err := repair()
	if err != nil || len(repaired) != 2 {
		t.Fatalf("%q, %v", repaired, err)
	}
	names := []string{filepath.Join(out, "monday.volumes.0002"), filepath.Join(out, "monday.volumes.0006"), repaired[0], repaired[1]}
	want := contents(t, names)
	for given := range len(names) + 1 {
		for _, name := range names[given:] {
			if err := os.Rename(name, name+bundle.PartialSuffix); err != nil {
				t.Fatal(err)
			}
		}
		again, err := repair()
		if err != nil || !slices.Equal(again, repaired) {
			t.Fatalf("killed after %d names: %q, %v", given, again, err)
		}
		if left, _ := filepath.Glob(filepath.Join(out, "*")); len(left) != len(names) || !slices.EqualFunc(contents(t, names), want, bytes.Equal) {
			t.Errorf("killed after %d names: %v are there, or are others than one run makes", given, left)
		}
	}
	// What is no volume and no table of this bundle stays.
	for _, name := range []string{repaired[0], names[0]} {
		if err := os.WriteFile(name, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := repair(); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), "is something else") {
			t.Errorf("over something else: %v", err)
		}
		if content, _ := os.ReadFile(name); string(content) != "precious" {
			t.Error("it was overwritten")
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(out, "*.partial")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A join that was killed is in nobody's way.
func TestJoinThatWasKilled(t *testing.T) {
	c := newCut(t)
	s, err := volume.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := filepath.Join(t.TempDir(), "joined.tar")
	if err := os.WriteFile(out+bundle.PartialSuffix, []byte("begun"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := volume.Join(t.Context(), s, out, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, c.content) {
		t.Errorf("another file than was cut (%v)", err)
	}
}

// What follows the end of a volume is said, is not read, and is gone from what repair writes.
func TestVolumeThatIsTooLong(t *testing.T) {
	c := newCutWithParity(t)
	names := []string{"monday.tar.0002", "monday.tar.0005", "monday.parity.0001"}
	for _, name := range names {
		f, err := os.OpenFile(c.path(name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("more"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	damage := c.expectRebuilt(t, nil)
	if len(damage) != len(names) {
		t.Errorf("with repair: %v", damage)
	}
	for _, d := range damage {
		if !d.TooLong || d.To != d.From+4 {
			t.Errorf("%+v", d)
		}
	}
	s, err := volume.OpenDamaged(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if damage, err := s.Check(t.Context(), nil); err != nil || len(damage) != len(names) {
		t.Errorf("check: %v, %v", damage, err)
	}
	out := t.TempDir()
	repaired, err := s.Repair(t.Context(), out, nil)
	if err != nil || len(repaired) != len(names) {
		t.Fatalf("repaired %q, %v", repaired, err)
	}
	c.expect(t, c.dir, out)
}

// Where a name cannot be given, nothing is left, under whatever name.
func TestSplitThatCannotGiveNames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "monday.tar")
	content := make([]byte, 3<<20)
	blocked := &blocking{name: path + ".0002"}
	_, err := volume.Split(t.Context(), bytes.NewReader(content), int64(len(content)), bundle.DigestOf(content), path, 1<<20, 1, blocked)
	if err == nil {
		t.Fatal("a directory was overwritten")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); !slices.Equal(left, []string{blocked.name}) {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// blocking puts a directory where a file is to be, once parity is made.
type blocking struct {
	bundle.Observer

	name string
}

func (b *blocking) Phase(name string, _ int64) {
	if name == "parity" {
		if err := os.MkdirAll(filepath.Join(b.name, "full"), 0o700); err != nil {
			panic(err)
		}
	}
}
func (*blocking) Item(string) {}
func (*blocking) Add(int64)   {}
