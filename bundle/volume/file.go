package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
)

// File is a bundle that is being written in volumes, or continued: a bundle.File. Until it is complete the volumes are
// named PATH.tar.0001.partial and so on.
type File struct {
	path       string
	volumeSize int64
	parity     func(volumes int) int // nil for none
	table      *Table                // without digests and manifest index
	files      []*os.File
	old        string // bundle.OldSuffix, once it has stepped aside
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
	size := int64(0)
	for i := range MaxVolumes {
		file, err := bundle.ReopenPartial(volumeName(path, i) + bundle.PartialSuffix)
		if errors.Is(err, bundle.ErrNoPartial) && i > 0 {
			break
		}
		if err != nil {
			return f, err
		}
		f.files = append(f.files, file)
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

// Reserve implements bundle.File.
func (f *File) Reserve(size int64) (err error) {
	if f.table, err = f.plan(size); err != nil {
		return err
	}
	if err := bundle.CheckFree(filepath.Dir(f.path), size+int64(f.table.Parity)*f.table.volumeSize(0)); err != nil {
		return err
	}
	for i := range f.table.Volumes() {
		file, err := bundle.CreatePartial(volumeName(f.path, i) + bundle.PartialSuffix)
		if err != nil {
			return err
		}
		f.files = append(f.files, file)
		if err := file.Truncate(f.table.volumeSize(i)); err != nil {
			return err
		}
	}
	return f.removeLeft()
}

// removeLeft removes what an earlier run that made more volumes has left, so that nobody takes it for a part of this one.
func (f *File) removeLeft() error {
	for i := f.table.Volumes(); i < MaxVolumes; i++ {
		err := os.Remove(volumeName(f.path, i) + bundle.PartialSuffix)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plan cuts a bundle of a size.
func (f *File) plan(size int64) (*Table, error) {
	parity := 0
	if f.parity != nil {
		parity = f.parity(int(divideUp(size, f.volumeSize)))
	}
	return newTable(bundle.Digest{}, size, f.volumeSize, parity)
}

// Size implements bundle.File.
func (f *File) Size() (int64, error) { return f.table.Size, nil }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	return f.table.each(p, offset, func(i int, part []byte, at int64) (int, error) { return f.files[i].ReadAt(part, at) })
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, offset int64) (int, error) {
	return f.table.each(p, offset, func(i int, part []byte, at int64) (int, error) { return f.files[i].WriteAt(part, at) })
}

// StartWriteback implements bundle.File.
func (f *File) StartWriteback(offset, size int64) {
	for end := offset + size; offset < end; {
		i := int(offset / f.table.VolumeSize)
		within := offset - int64(i)*f.table.VolumeSize
		n := min(end-offset, f.table.VolumeSize-within)
		bundle.StartWriteback(f.files[i], within, n)
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

// Sync implements bundle.File.
func (f *File) Sync() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Sync())
	}
	return errors.Join(errs...)
}

// Complete implements bundle.File; an error leaves what was written, to be continued. It reads the volumes once more, on all processors, for the digests in the table: blobs
// are written in any order, and no hash of a chunk can be.
func (f *File) Complete() error {
	var made []string
	table, err := f.completeTable(&made)
	for i := range f.table.members() {
		if err != nil {
			break
		}
		if err = writeNew(tableName(f.path, i)+bundle.PartialSuffix, &made, func(w io.Writer) error {
			_, err := w.Write(table)
			return err
		}); err != nil {
			break
		}
	}
	if err != nil {
		for _, name := range made {
			err = errors.Join(err, os.Remove(name))
		}
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	for i := range f.table.members() {
		for _, name := range []string{f.table.memberName(f.path, i), tableName(f.path, i)} {
			if err := os.Rename(name+bundle.PartialSuffix, name); err != nil {
				return err
			}
		}
	}
	return bundle.SyncDir(filepath.Dir(f.path))
}

func (f *File) completeTable(made *[]string) ([]byte, error) {
	sealed, err := bundle.Open(f, f.table.Size)
	if err != nil {
		return nil, err
	}
	t := *f.table
	t.ManifestIndex = sealed.ManifestIndex()
	t.Chunks = make([]bundle.Digest, t.firstChunk(t.Volumes()))
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(runtime.NumCPU())
	at := 0
	for i, file := range f.files {
		for j := range t.chunks(i) {
			place := at
			at++
			group.Go(func() (err error) {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				start := j * t.ChunkSize
				size := min(t.ChunkSize, t.volumeSize(i)-start)
				t.Chunks[place], err = digestOf(io.NewSectionReader(file, start, size), size)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	name := func(i int) string { return parityName(f.path, i) + bundle.PartialSuffix }
	if err := t.writeParity(context.Background(), f, name, made, bundle.Observe(nil)); err != nil {
		return nil, err
	}
	return t.encode(), nil
}

// Remove implements bundle.File.
func (f *File) Remove() error {
	errs := []error{f.Close()}
	for i := range f.files {
		errs = append(errs, os.Remove(f.partial(i)))
	}
	return errors.Join(errs...)
}

// StepAside implements bundle.File.
func (f *File) StepAside() error {
	for i := range f.files {
		if err := os.Rename(f.partial(i), f.partial(i)+bundle.OldSuffix); err != nil {
			return err
		}
	}
	f.old = bundle.OldSuffix
	return nil
}

func (f *File) partial(i int) string { return volumeName(f.path, i) + bundle.PartialSuffix + f.old }

// Close implements bundle.File.
func (f *File) Close() error {
	var errs []error
	for _, file := range f.files {
		if err := file.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
