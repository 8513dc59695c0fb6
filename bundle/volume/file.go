package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/bundle/disk"
)

// File is a bundle that is being written in volumes, or continued: a bundle.File. Until it is complete the volumes are
// named PATH.tar.0001.partial and so on.
type File struct {
	path       string
	volumeSize int64
	parity     func(volumes int) int // nil for none
	table      *Table                // with the digests of those chunks that are known already
	files      []*os.File
	names      []string // of files
	made       newFiles // tables and volumes of parity
}

var _ bundle.File = (*File)(nil)

// Create begins a bundle in volumes of the given size. Volumes and tables of these names must not be there.
func Create(path string, volumeSize int64, parity func(volumes int) int) (*File, error) {
	if err := checkFree(path); err != nil {
		return nil, err
	}
	return &File{path: path, volumeSize: volumeSize, parity: parity}, nil
}

// checkFree refuses names that are taken: of volumes of another bundle some might be left over.
func checkFree(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory: name the bundle in it, as in %s", path, filepath.Join(path, "NAME.tar"))
	}
	if _, _, _, ok := parseName(filepath.Base(volumeName(path, 0))); !ok {
		return fmt.Errorf("%w: %q is no name for a bundle", ErrVolumes, path)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if set, _, _, ok := parseName(e.Name()); ok && set == filepath.Base(base(path)) {
			return fmt.Errorf("%s: %w: there are volumes of that name; take another name, or remove them", filepath.Join(filepath.Dir(path), e.Name()), os.ErrExist)
		}
	}
	return nil
}

// Reopen opens what Create has begun in an earlier run; bundle.ErrNoPartial where there is nothing, or volumes of another
// size.
func Reopen(path string, volumeSize int64, parity func(volumes int) int) (f *File, err error) {
	f = &File{path: path, volumeSize: volumeSize, parity: parity}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if _, err := finishNames(path); err != nil {
		return f, err
	}
	size := int64(0)
	for i := range MaxVolumes {
		name := volumeName(path, i) + bundle.PartialSuffix
		file, err := disk.Reopen(name)
		if errors.Is(err, os.ErrNotExist) && i > 0 {
			break
		}
		if errors.Is(err, os.ErrNotExist) {
			err = bundle.ErrNoPartial
		}
		if err != nil {
			return f, err
		}
		f.files, f.names = append(f.files, file), append(f.names, name)
		info, err := file.Stat()
		if err != nil {
			return f, err
		}
		if size != int64(i)*volumeSize {
			return f, fmt.Errorf("%w: the volumes have another size", bundle.ErrNoPartial)
		}
		size += info.Size()
	}
	if f.table, err = f.plan(size); err != nil || f.table.Volumes() != len(f.files) {
		return f, errors.Join(fmt.Errorf("%w: the volumes have another size", bundle.ErrNoPartial), err)
	}
	return f, nil
}

// finishNames gives names that an earlier run did not come to give before it was killed, and returns the table of what that
// has completed; nil for nothing. Tables get their names first, when everything that they name is whole.
func finishNames(path string) (*Table, error) {
	left, err := unfinished(path, bundle.PartialSuffix)
	switch {
	case errors.Is(err, os.ErrNotExist): // nor is there a directory
		return nil, nil
	case err != nil || len(left) == 0:
		return nil, err
	}
	t := tableOf(path)
	if t == nil {
		return nil, nil
	}
	var names []string
	for i := range t.members() {
		for _, name := range []string{t.memberName(path, i), tableName(path, i)} {
			_, err := os.Lstat(name)
			if _, partialErr := os.Lstat(name + bundle.PartialSuffix); (err == nil) == (partialErr == nil) {
				return nil, nil // they are of different runs
			}
			if err != nil {
				names = append(names, name)
			}
		}
	}
	for i := range t.members() {
		if name := t.memberName(path, i); slices.Contains(names, name) && !t.begins(i, name+bundle.PartialSuffix) {
			return nil, nil
		}
	}
	for _, name := range names {
		if err := os.Rename(name+bundle.PartialSuffix, name); err != nil {
			return nil, err
		}
	}
	return t, disk.SyncDir(filepath.Dir(path))
}

// begins tells whether a file is volume i, as far as its size and its first chunk tell.
func (t *Table) begins(i int, name string) bool {
	file, closer, err := openMember(name)
	if err != nil {
		return false
	}
	defer func() { _ = closer.Close() }()
	return t.checkBeginning(i, file) == nil
}

// tableOf returns the first whole table of the given name, or nil.
func tableOf(path string) *Table {
	for i := range MaxVolumes {
		t, err := readTable(tableName(path, i))
		if err == nil {
			return t
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	return nil
}

// unfinished returns what Create has begun, or Complete, and was not completed: files whose names end in suffix.
func unfinished(path, suffix string) (left []part, err error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), suffix)
		if set, what, number, ok := parseName(name); is && ok && set == filepath.Base(base(path)) {
			left = append(left, part{filepath.Join(filepath.Dir(path), e.Name()), what, number})
		}
	}
	return left, err
}

// Reserve implements bundle.Target.
func (f *File) Reserve(size int64) error {
	if err := f.begin(size); err != nil {
		return err
	}
	for i, file := range f.files {
		if err := file.Truncate(f.table.volumeSize(i)); err != nil {
			return err
		}
	}
	return nil
}

// begin makes volumes for a bundle of a size, which are empty.
func (f *File) begin(size int64) (err error) {
	if f.table, err = f.plan(size); err != nil {
		return err
	}
	if err := disk.CheckFree(filepath.Dir(f.path), size+int64(f.table.Parity)*f.table.volumeSize(0)); err != nil {
		return err
	}
	for i := range f.table.Volumes() {
		name := volumeName(f.path, i) + bundle.PartialSuffix
		file, err := disk.Create(name)
		if err != nil {
			return err
		}
		f.files, f.names = append(f.files, file), append(f.names, name)
	}
	return f.removeLeft()
}

// removeLeft removes what earlier runs have left that is no part of this one: more volumes, and tables and volumes of parity,
// which are made last. It would be taken for a part of this one, or be in its way.
func (f *File) removeLeft() error {
	left, err := unfinished(f.path, bundle.PartialSuffix)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range left {
		if p.what != kindData || p.number > f.table.Volumes() {
			errs = append(errs, os.Remove(p.path))
		}
	}
	return errors.Join(errs...)
}

// plan cuts a bundle of a size.
func (f *File) plan(size int64) (*Table, error) {
	parity := 0
	if f.parity != nil {
		parity = f.parity(int(divideUp(size, f.volumeSize)))
	}
	t, err := newTable(bundle.Digest{}, size, f.volumeSize, parity)
	if err != nil {
		return nil, err
	}
	t.Chunks = make([]bundle.Digest, t.firstChunk(t.Volumes()))
	return t, nil
}

// Size implements bundle.Medium.
func (f *File) Size() int64 { return f.table.Size }

// Access implements bundle.Medium and bundle.Target.
func (f *File) Access() bundle.Access { return bundle.Access{Random: f} }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	return f.table.each(p, offset, func(i int, part []byte, at int64) (int, error) { return f.files[i].ReadAt(part, at) })
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, offset int64) (int, error) {
	return f.table.each(p, offset, func(i int, part []byte, at int64) (int, error) { return f.files[i].WriteAt(part, at) })
}

// StartWriteback implements bundle.Target.
func (f *File) StartWriteback(offset, size int64) {
	for end := offset + size; offset < end; {
		i := int(offset / f.table.VolumeSize)
		within := offset - int64(i)*f.table.VolumeSize
		n := min(end-offset, f.table.VolumeSize-within)
		disk.StartWriteback(f.files[i], within, n)
		offset += n
	}
}

// each calls do for every part of p that is in one volume, from offset of the whole on.
func (t *Table) each(p []byte, offset int64, do func(i int, part []byte, at int64) (int, error)) (int, error) {
	if offset < 0 {
		return 0, errors.New("a negative offset")
	}
	done := 0
	for done < len(p) {
		if offset >= t.Size {
			return done, io.EOF
		}
		i := int(offset / t.VolumeSize)
		within := offset - int64(i)*t.VolumeSize
		part := p[done:min(int64(len(p)), int64(done)+t.volumeSize(i)-within)]
		n, err := do(i, part, within)
		done, offset = done+n, offset+int64(n)
		if err != nil && (n < len(part) || !errors.Is(err, io.EOF)) {
			return done, err
		}
	}
	return done, nil
}

// Sync implements bundle.Target.
func (f *File) Sync() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Sync())
	}
	return errors.Join(errs...)
}

// Complete implements bundle.Target. It reads the volumes once more, on all processors, for the digests in the table: blobs are
// written in any order, and no hash of a chunk can be.
func (f *File) Complete(ctx context.Context, o bundle.Observer) error {
	err := errors.Join(f.removeLeft(), f.removeAside())
	if err == nil {
		err = f.addTables(ctx, o)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return errors.Join(err, f.made.remove())
	}
	return f.giveNames()
}

// giveNames gives the tables their names first: from then on finishNames can do the rest.
func (f *File) giveNames() error {
	if err := f.made.giveNames(); err != nil {
		return err
	}
	for i, name := range f.names {
		final := strings.TrimSuffix(name, bundle.PartialSuffix)
		if err := os.Rename(name, final); err != nil {
			return err
		}
		f.names[i] = final // which Remove needs
	}
	return disk.SyncDir(filepath.Dir(f.path))
}

// removeAside removes what an earlier run has moved aside, and then was killed. Nobody needs it once all is written.
func (f *File) removeAside() error {
	aside, err := unfinished(f.path, bundle.PartialSuffix+bundle.OldSuffix)
	for _, p := range aside {
		err = errors.Join(err, os.Remove(p.path))
	}
	return err
}

// addTables makes the volumes of parity, and a table for each volume.
func (f *File) addTables(ctx context.Context, o bundle.Observer) error {
	if err := f.hash(ctx, o); err != nil {
		return err
	}
	t := *f.table
	if t.ManifestIndex.IsZero() {
		sealed, err := bundle.Open(bundle.FromReaderAt(f, t.Size))
		if err != nil {
			return err
		}
		t.ManifestIndex = sealed.ManifestIndex()
	}
	var parity newFiles
	err := t.writeParity(ctx, f, func(i int) string { return parityName(f.path, i) }, &parity, o)
	content := t.encode()
	for i := range t.members() {
		if err == nil {
			err = f.made.write(tableName(f.path, i), content)
		}
	}
	f.made.names = append(f.made.names, parity.names...)
	if err == nil {
		f.table = &t
	}
	return err
}

// hash finds the digests of those chunks of which none is known.
func (f *File) hash(ctx context.Context, o bundle.Observer) error {
	t := f.table
	if !slices.ContainsFunc(t.Chunks, bundle.Digest.IsZero) {
		return nil
	}
	o.Phase("hash volumes", t.Size)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, file := range f.files {
		for j := range t.chunks(i) {
			digest := &t.Chunks[t.firstChunk(i)+j]
			if !digest.IsZero() {
				continue
			}
			group.Go(func() (err error) {
				if err := groupCtx.Err(); err != nil {
					return err
				}
				at, size := t.chunk(i, j)
				*digest, err = digestOf(io.NewSectionReader(file, at, size), size)
				o.Add(size)
				return err
			})
		}
	}
	return errors.Join(ctx.Err(), group.Wait())
}

// Remove implements bundle.Target.
func (f *File) Remove() error {
	errs := []error{f.Close(), f.made.remove()}
	for _, name := range f.names {
		errs = append(errs, os.Remove(name))
	}
	return errors.Join(errs...)
}

// StepAside implements bundle.File.
func (f *File) StepAside() error {
	for i, name := range f.names {
		f.names[i] = volumeName(f.path, i) + bundle.PartialSuffix + bundle.OldSuffix
		if err := os.Rename(name, f.names[i]); err != nil {
			return err
		}
	}
	return nil
}

// Close implements bundle.Medium and bundle.Target. It may be called again.
func (f *File) Close() error {
	var errs []error
	for _, file := range f.files {
		if err := file.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
