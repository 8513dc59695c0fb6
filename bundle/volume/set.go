package volume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"airgap/bundle"
	"airgap/bundle/disk"
)

// Set is all volumes of a bundle, read where they lie: a bundle.Medium with random access.
type Set struct {
	table     *Table
	files     []*member // by volume, those of parity last; nil where there is none
	closers   []io.Closer
	path      string     // of the bundle of which the volumes have their names, without directory
	rebuilder *rebuilder // nil: damage is an error
}

// member is the file that a volume is in.
type member struct {
	io.ReaderAt

	path string
	size int64 // in bytes
}

// openMember opens a volume. A file that cannot be opened is an error, too.
func openMember(path string) (*member, io.Closer, error) {
	file, info, err := disk.OpenRegular(path)
	if err != nil {
		return nil, nil, err
	}
	return &member{file, path, info.Size()}, file, nil
}

// Size returns the size of the bundle, in bytes.
func (s *Set) Size() int64 { return s.table.Size }

// Access implements bundle.Medium.
func (s *Set) Access() bundle.Access { return bundle.Access{Random: s} }

// ManifestIndex returns the digest of the signed object of which these are the volumes, by the word of the table.
func (s *Set) ManifestIndex() bundle.Digest { return s.table.ManifestIndex }

// ReadAt implements io.ReaderAt.
func (s *Set) ReadAt(p []byte, offset int64) (int, error) {
	return s.table.each(p, offset, func(i int, part []byte, at int64) (int, error) {
		if s.rebuilder != nil {
			return s.rebuilder.readAt(i, part, at)
		}
		n, err := s.files[i].ReadAt(part, at)
		if err != nil && !errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s: %w", s.files[i].path, err)
		}
		return n, err
	})
}

// Close closes the volumes.
func (s *Set) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// Open finds the volumes of one bundle: each path is a directory that has some of them, a table, or a volume, beside which
// the others are looked for; of several copies of a volume the last counts, so that a repaired one can be named after a
// damaged one. All must be there, with their sizes and their beginnings as the table says (ErrVolumes, which
// names each that is not); nothing else is read.
func Open(paths ...string) (*Set, error) { return open(paths, false) }

// OpenDamaged is Open where volumes may be missing or damaged, to be repaired. Only Check, Repairable, Repair and Close may
// be called of the Set.
func OpenDamaged(paths ...string) (*Set, error) { return open(paths, true) }

func open(paths []string, lenient bool) (*Set, error) {
	f := newFinder()
	for _, path := range paths {
		if err := f.look(path); err != nil {
			return nil, err
		}
	}
	if err := f.onlyOne(); err != nil {
		return nil, err
	}
	table, err := f.readTables()
	if err != nil {
		return nil, err
	}
	s := &Set{table: table, files: make([]*member, table.members()), path: f.name() + ".tar"}
	if err := f.assign(s, lenient); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// finder gathers files by their names.
type finder struct {
	sets    map[string]bool // the NAMEs of NAME.tar.0001
	volumes []part
	tables  []part
	seen    map[string]bool // paths
}

func newFinder() *finder { return &finder{sets: map[string]bool{}, seen: map[string]bool{}} }

type part struct {
	path   string
	what   kind
	number int
}

// name returns the NAME of the one set.
func (f *finder) name() string {
	for set := range f.sets {
		return set
	}
	return ""
}

func (f *finder) look(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return f.directory(path, "")
	}
	set, _, _, ok := parseName(filepath.Base(path))
	if !ok {
		return fmt.Errorf("%w: %s is neither a directory nor named like a volume (NAME.tar.0001) or a table (NAME.volumes.0001)", ErrVolumes, path)
	}
	return f.directory(filepath.Dir(path), set)
}

// directory takes what is in a directory, of one set only where that is given.
func (f *finder) directory(dir, only string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		set, what, number, ok := parseName(e.Name())
		path := filepath.Join(dir, e.Name())
		if !ok || only != "" && set != only || f.seen[path] {
			continue
		}
		f.seen[path] = true
		f.sets[set] = true
		if what == kindTable {
			f.tables = append(f.tables, part{path, what, number})
		} else {
			f.volumes = append(f.volumes, part{path, what, number})
		}
	}
	return nil
}

func (f *finder) onlyOne() error {
	var names []string
	for set := range f.sets {
		names = append(names, set)
	}
	slices.Sort(names)
	switch len(names) {
	case 0:
		return fmt.Errorf("%w: there are none: volumes are named NAME.tar.0001, NAME.tar.0002 and so on", ErrVolumes)
	case 1:
		return nil
	}
	return fmt.Errorf("%w: there are volumes of several bundles, %q: name one of the volumes", ErrVolumes, names)
}

// readTables returns the one table; copies that differ are of different bundles, or damaged.
func (f *finder) readTables() (*Table, error) {
	if len(f.tables) == 0 {
		return nil, fmt.Errorf("%w: no table (NAME.volumes.0001) lies beside them", ErrVolumes)
	}
	var table *Table
	var from string
	var problems []error
	for _, p := range f.tables {
		t, err := readTable(p.path)
		switch {
		case err != nil:
			problems = append(problems, err) // one good copy is enough
		case table == nil:
			table, from = t, p.path
		case t.Root != table.Root:
			return nil, fmt.Errorf("%w: the tables %s and %s are of different bundles, or of one that was cut twice", ErrVolumes, from, p.path)
		}
	}
	if table == nil {
		return nil, errors.Join(problems...)
	}
	return table, nil
}

func readTable(path string) (*Table, error) {
	in, _, err := disk.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	t, err := parseTable(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// assign opens the volumes. All that is wrong with them is in one error; of several copies of a volume the last one that
// looks right counts. With lenient whatever is there is taken, a copy that looks right before one that does not.
func (f *finder) assign(s *Set, lenient bool) error {
	var problems bundle.Problems
	wrong := make([]error, len(s.files))
	fine := make([]bool, len(s.files))
	for _, p := range slices.Backward(f.volumes) {
		i, last := p.number-1, s.table.Volumes()
		if p.what == kindParity {
			i, last = i+last, s.table.members()
		}
		if i >= last {
			problems.Add(fmt.Errorf("%w: %s: the bundle has only %d volumes and %d of parity", ErrVolumes, p.path, s.table.Volumes(), s.table.Parity))
			continue
		}
		if fine[i] {
			continue
		}
		file, closer, err := openMember(p.path)
		if err != nil {
			wrong[i] = fmt.Errorf("%w: %w", ErrVolumes, err)
			continue
		}
		s.closers = append(s.closers, closer)
		if err := s.table.checkBeginning(i, file); err != nil {
			wrong[i] = fmt.Errorf("%w: %w", ErrVolumes, err)
			if lenient {
				s.files[i] = file
			}
			continue
		}
		s.files[i], fine[i] = file, true
	}
	for i, file := range s.files {
		switch {
		case file != nil || lenient || i >= s.table.Volumes(): // of parity there may be less
		case wrong[i] != nil:
			problems.Add(wrong[i])
		default:
			problems.Add(fmt.Errorf("%w: volume %d of %d is missing", ErrVolumes, i+1, s.table.Volumes()))
		}
	}
	err := problems.Err()
	if err == nil || s.table.Parity == 0 {
		return err
	}
	missing := 0
	for i, file := range s.files {
		if file == nil && wrong[i] == nil {
			missing++
		}
	}
	if missing > s.table.Parity {
		return errors.Join(err, fmt.Errorf("%d volumes are missing, those of parity included, and there is parity for %d: at least %d more are needed",
			missing, s.table.Parity, missing-s.table.Parity))
	}
	return errors.Join(err, fmt.Errorf("there is parity for %d lost volumes: with --repair they are read through the damage, and airgap repair writes them anew",
		s.table.Parity))
}

// checkBeginning says what is wrong with a file that is volume i by its name, as far as its size and its first chunk tell.
func (t *Table) checkBeginning(i int, file *member) error {
	if want := t.volumeSize(i); file.size != want {
		return fmt.Errorf("%s has %d bytes; it should have %d", file.path, file.size, want)
	}
	size := min(t.ChunkSize, file.size)
	first, err := digestOf(io.NewSectionReader(file, 0, size), size)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", file.path, err)
	case first == t.chunkDigest(i, 0):
		return nil
	}
	if other := t.beginning(first); other >= 0 {
		return fmt.Errorf("%s is volume %d, not %d: the names of volumes were exchanged", file.path, other+1, i+1)
	}
	return fmt.Errorf("%s is damaged at its beginning, or a volume of another bundle", file.path)
}

// beginning returns the volume that begins with a chunk, or -1.
func (t *Table) beginning(first bundle.Digest) int {
	for i := range t.members() {
		if t.chunkDigest(i, 0) == first {
			return i
		}
	}
	return -1
}

// Damage is a range of bytes of a volume that is not what the table says.
type Damage struct {
	Volume   int    // from 1
	Path     string // of the volume
	From, To int64  // bytes of the volume; To is the first that is fine again
	TooLong  bool   // these bytes follow the end of the volume, and are not looked at; the others are fine
}

// String describes the damage for a person.
func (d Damage) String() string {
	if d.TooLong {
		return fmt.Sprintf("%s is too long: it has %d bytes, and should have %d", d.Path, d.To, d.From)
	}
	return fmt.Sprintf("%s: bytes %d to %d are damaged", d.Path, d.From, d.To-1)
}
