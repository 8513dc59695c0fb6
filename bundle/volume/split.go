package volume

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"airgap/bundle"
	"airgap/bundle/disk"
)

const copyBuffer = 1 << 20 // bytes

// digestOf hashes exactly size bytes.
func digestOf(r io.Reader, size int64) (bundle.Digest, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, min(size+1, copyBuffer)))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return bundle.Digest(h.Sum(nil)), err
}

// Split cuts the bundle of the given size, whose signed object is index, into volumes PATH.tar.0001 and so on, with a table
// beside each. No file of these names may be there, but what an earlier run was killed over. The volumes are written one after
// the other, and get their names at the end, all together; what fails leaves nothing.
func Split(ctx context.Context, r io.ReaderAt, size int64, index bundle.Digest, path string, volumeSize int64, parity int, o bundle.Observer) (*Table, error) {
	if t, err := finishNames(path); err != nil || t.isOf(index, volumeSize, parity) {
		return t, err
	}
	f, err := Create(path, volumeSize, func(int) int { return parity })
	if err != nil {
		return nil, err
	}
	observer := bundle.Observe(o)
	err = f.begin(size) // and no more, since FAT would write zeros
	if err == nil {
		err = f.fill(ctx, r, observer)
	}
	if err == nil {
		f.table.ManifestIndex = index
		err = f.Complete(ctx, observer)
	}
	if err != nil {
		return nil, errors.Join(err, f.Remove())
	}
	return f.table, nil
}

// isOf tells whether a table, which may be nil, is of a bundle that was cut in this way.
func (t *Table) isOf(index bundle.Digest, volumeSize int64, parity int) bool {
	return t != nil && t.ManifestIndex == index && t.VolumeSize == volumeSize && t.Parity == parity
}

// fill writes the volumes, and hashes their chunks on the way.
func (f *File) fill(ctx context.Context, r io.ReaderAt, o bundle.Observer) error {
	t := f.table
	o.Phase("split", t.Size)
	buffer := make([]byte, copyBuffer)
	for i, file := range f.files {
		o.Item(volumeName(f.path, i))
		for j := range t.chunks(i) {
			if err := ctx.Err(); err != nil {
				return err
			}
			at, size := t.chunk(i, j)
			h := sha256.New()
			out := io.MultiWriter(io.NewOffsetWriter(file, at), h)
			n, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{io.NewSectionReader(r, int64(i)*t.VolumeSize+at, size)}, buffer)
			if err == nil && n != size {
				err = fmt.Errorf("%w: it ended after %d bytes", bundle.ErrFormat, int64(i)*t.VolumeSize+at+n)
			}
			if err != nil {
				return err
			}
			disk.StartWriteback(file, at, size)
			t.Chunks[t.firstChunk(i)+j] = bundle.Digest(h.Sum(nil))
			o.Add(size)
		}
	}
	return f.Sync()
}

// newFiles are files that are written with bundle.PartialSuffix behind their names, and get their names all together.
type newFiles struct {
	names []string
	given int // how many have got their names
}

func (n *newFiles) create(name string) (*os.File, error) {
	f, err := disk.Create(name + bundle.PartialSuffix)
	if err == nil {
		n.names = append(n.names, name)
	}
	return f, err
}

// write writes a whole file, and syncs it.
func (n *newFiles) write(name string, content []byte) error {
	f, err := n.create(name)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (n *newFiles) giveNames() error {
	for ; n.given < len(n.names); n.given++ {
		if err := os.Rename(n.names[n.given]+bundle.PartialSuffix, n.names[n.given]); err != nil {
			return err
		}
	}
	return nil
}

// remove removes them, under whatever names.
func (n *newFiles) remove() error {
	var errs []error
	for i, name := range n.names {
		if i >= n.given {
			name += bundle.PartialSuffix
		}
		errs = append(errs, os.Remove(name))
	}
	*n = newFiles{}
	return errors.Join(errs...)
}

// Join writes the whole bundle to a new file, and checks every chunk on the way.
func Join(ctx context.Context, s *Set, path string, o bundle.Observer) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w", path, os.ErrExist)
	}
	if err := disk.CheckFree(filepath.Dir(path), s.Size()); err != nil {
		return err
	}
	var made newFiles
	f, err := made.create(path)
	if err != nil {
		return err
	}
	err = s.copyTo(ctx, f, bundle.Observe(o))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = made.giveNames()
	}
	if err != nil {
		return errors.Join(err, made.remove())
	}
	return disk.SyncDir(filepath.Dir(path))
}

// copyTo writes the whole bundle to w, chunk by chunk; bundle.ErrDigest where one of them is damaged.
func (s *Set) copyTo(ctx context.Context, w io.Writer, o bundle.Observer) error {
	o.Phase("join", s.Size())
	for i, file := range s.files[:s.table.Volumes()] {
		for j := range s.table.chunks(i) {
			if err := ctx.Err(); err != nil {
				return err
			}
			at, size := s.table.chunk(i, j)
			got, err := digestOf(io.TeeReader(io.NewSectionReader(file, at, size), w), size)
			if err != nil {
				return fmt.Errorf("%s: %w", file.path, err)
			}
			if got != s.table.chunkDigest(i, j) {
				return fmt.Errorf("%w: %s", bundle.ErrDigest, Damage{Volume: i + 1, Path: file.path, From: at, To: at + size})
			}
			o.Add(size)
		}
	}
	return nil
}
