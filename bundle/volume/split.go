package volume

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"airgap/bundle"
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
// beside each. No file of these names may be there. The volumes are written one after the other, and then the tables; what
// fails leaves nothing.
func Split(ctx context.Context, r io.ReaderAt, size int64, index bundle.Digest, path string, volumeSize int64, parity int, o bundle.Observer) (t *Table, err error) {
	if t, err = newTable(index, size, volumeSize, parity); err != nil {
		return nil, err
	}
	if err := checkFree(path); err != nil {
		return nil, err
	}
	if err := bundle.CheckFree(filepath.Dir(path), size+int64(t.Parity)*t.volumeSize(0)); err != nil {
		return nil, err
	}
	observer := bundle.Observe(o)
	observer.Phase("split", size)
	var made []string
	defer func() {
		if err != nil {
			for _, name := range made {
				err = errors.Join(err, os.Remove(name))
			}
		}
	}()
	for i := range t.Volumes() {
		observer.Item(volumeName(path, i))
		if err := t.cut(ctx, r, i, volumeName(path, i), &made, observer); err != nil {
			return nil, err
		}
	}
	if err := t.writeParity(ctx, r, func(i int) string { return parityName(path, i) }, &made, observer); err != nil {
		return nil, err
	}
	content := t.encode()
	for i := range t.members() {
		if err := writeNew(tableName(path, i), &made, func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		}); err != nil {
			return nil, err
		}
	}
	return t, bundle.SyncDir(filepath.Dir(path))
}

// cut writes volume i, hashing its chunks on the way.
func (t *Table) cut(ctx context.Context, r io.ReaderAt, i int, name string, made *[]string, o bundle.Observer) error {
	return writeNew(name, made, func(w io.Writer) error {
		start, left := int64(i)*t.VolumeSize, t.volumeSize(i)
		for at := int64(0); at < left; at += t.ChunkSize {
			if err := ctx.Err(); err != nil {
				return err
			}
			size := min(t.ChunkSize, left-at)
			h := sha256.New()
			n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(w, h)}, struct{ io.Reader }{io.NewSectionReader(r, start+at, size)}, make([]byte, copyBuffer))
			if err == nil && n != size {
				err = fmt.Errorf("%w: it ended after %d bytes", bundle.ErrFormat, start+at+n)
			}
			if err != nil {
				return err
			}
			t.Chunks = append(t.Chunks, bundle.Digest(h.Sum(nil)))
			o.Add(size)
		}
		return nil
	})
}

// createNew makes a file that must not be there yet.
func createNew(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		err = fmt.Errorf("%w: write elsewhere, or remove it where it is left from a run that was interrupted", err)
	}
	return f, err
}

// writeNew writes a file that must not be there yet, and syncs it.
func writeNew(name string, made *[]string, write func(io.Writer) error) error {
	f, err := createNew(name)
	if err != nil {
		return err
	}
	*made = append(*made, name)
	out := bufio.NewWriterSize(f, copyBuffer)
	err = write(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Join writes the whole bundle to a new file, and checks every chunk on the way.
func Join(ctx context.Context, s *Set, path string, o bundle.Observer) (err error) {
	observer := bundle.Observe(o)
	observer.Phase("join", s.Size())
	var made []string
	defer func() {
		if err != nil {
			for _, name := range made {
				err = errors.Join(err, os.Remove(name))
			}
		}
	}()
	partial := path + bundle.PartialSuffix
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w", path, os.ErrExist)
	}
	if err := bundle.CheckFree(filepath.Dir(path), s.Size()); err != nil {
		return err
	}
	err = writeNew(partial, &made, func(w io.Writer) error {
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
					return fmt.Errorf("%w: %s", bundle.ErrDigest, Damage{i + 1, file.path, at, at + size})
				}
				observer.Add(size)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	made = nil
	return bundle.SyncDir(filepath.Dir(path))
}

// isFine tells whether a chunk is there and what the table says. A sector that cannot be read is damage like any other.
func (s *Set) isFine(i int, chunk int64) bool {
	if s.files[i] == nil {
		return false
	}
	at, size := s.table.chunk(i, chunk)
	got, err := digestOf(io.NewSectionReader(s.files[i], at, size), size)
	return err == nil && got == s.table.chunkDigest(i, chunk)
}

// Check compares every chunk with the table, on all processors, and returns what is damaged or missing, in order.
func (s *Set) Check(ctx context.Context, o bundle.Observer) ([]Damage, error) {
	damaged, err := s.damaged(ctx, bundle.Observe(o))
	if err != nil {
		return nil, err
	}
	return s.ranges(damaged), nil
}

// CheckParity is Check of the volumes of parity alone.
func (s *Set) CheckParity(ctx context.Context, o bundle.Observer) ([]Damage, error) {
	first := s.table.Volumes()
	damaged, err := s.damagedFrom(ctx, first, bundle.Observe(o))
	if err != nil {
		return nil, err
	}
	return s.ranges(damaged), nil
}

// Parity returns how many volumes of parity there should be.
func (s *Set) Parity() int { return s.table.Parity }

// ranges puts damaged chunks that follow one another together.
func (s *Set) ranges(damaged [][]bool) []Damage {
	var all []Damage
	for i, chunks := range damaged {
		for j, is := range chunks {
			if !is {
				continue
			}
			at, size := s.table.chunk(i, int64(j))
			to := at + size
			if last := len(all) - 1; last >= 0 && all[last].Volume == i+1 && all[last].To == at {
				all[last].To = to
			} else {
				all = append(all, Damage{i + 1, s.fileName(i), at, to})
			}
		}
	}
	return all
}

// damaged tells by volume and chunk what is not as it should be.
func (s *Set) damaged(ctx context.Context, o bundle.Observer) ([][]bool, error) {
	return s.damagedFrom(ctx, 0, o)
}

// damagedFrom is damaged for the volumes from first on, those of parity included; the others count as fine.
func (s *Set) damagedFrom(ctx context.Context, first int, o bundle.Observer) ([][]bool, error) {
	total := int64(0)
	for i := first; i < len(s.files); i++ {
		total += s.table.volumeSize(i)
	}
	o.Phase("check volumes", total)
	damaged := make([][]bool, len(s.files))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i := first; i < len(s.files); i++ {
		damaged[i] = make([]bool, s.table.chunks(i))
		for j := range damaged[i] {
			group.Go(func() error {
				if err := groupCtx.Err(); err != nil {
					return err
				}
				damaged[i][j] = !s.isFine(i, int64(j))
				_, size := s.table.chunk(i, int64(j))
				o.Add(size)
				return nil
			})
		}
	}
	return damaged, errors.Join(group.Wait(), ctx.Err())
}

// fileName is the path of a volume, or its name where it is missing.
func (s *Set) fileName(i int) string {
	if s.files[i] == nil {
		return s.table.memberName(s.path, i)
	}
	return s.files[i].path
}
