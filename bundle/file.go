package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// OldSuffix ends the name of a partial file that has stepped aside.
const OldSuffix = ".old"

// CreatePartial opens path for something new, empty, readable by its owner only, and locked: no symbolic or hard link is
// followed. ErrBusy where another process has it.
func CreatePartial(path string) (*os.File, error) { return createPartial(path) }

// ReopenPartial opens what CreatePartial has made in an earlier run, with its content; ErrNoPartial where there is none.
func ReopenPartial(path string) (*os.File, error) {
	f, err := openPartial(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoPartial
	}
	return f, err
}

// errNotRegular: a directory, a pipe or a device is where a file should be.
var errNotRegular = errors.New("not a regular file")

// OpenRegular opens a file to be read, and nothing that is named like one: opening a pipe would wait for whoever writes to it,
// and nobody could interrupt that.
func OpenRegular(path string) (*os.File, os.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, errNotRegular)
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// StartWriteback tells the system to bring a range of a file to the disk, and does not wait for it. It is a hint.
func StartWriteback(f *os.File, offset, size int64) { startWriteback(f, offset, size) }

// SyncDir makes new names in a directory durable, where the system can.
func SyncDir(dir string) error { return syncDir(dir) }

// CheckFree returns ErrNoSpace where a directory's file system has less than size bytes to give.
func CheckFree(dir string, size int64) error {
	if free, err := freeSpace(dir); err == nil && free < size {
		return fmt.Errorf("%w: the bundle needs %d bytes, %s has %d", ErrNoSpace, size, dir, free)
	}
	return nil
}

// single is a bundle in one file.
type single struct {
	*os.File

	path string
	old  string // OldSuffix, once it has stepped aside
	size int64
}

// CreateFile begins a bundle in a file that will have the given name once it is complete. Until then it is PATH.partial,
// readable by its owner only; an older .partial is overwritten, symbolic links are not followed. ErrBusy where another process
// writes it.
func CreateFile(path string) (File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; to write to a device or a pipe use -o - and redirect", path)
	}
	f, err := createPartial(path + PartialSuffix)
	if err != nil {
		return nil, err
	}
	return &single{File: f, path: path}, nil
}

// ReopenFile opens what CreateFile has begun in an earlier run, and was not completed; ErrNoPartial, and ErrBusy.
func ReopenFile(path string) (File, error) {
	f, err := ReopenPartial(path + PartialSuffix)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &single{File: f, path: path, size: info.Size()}, nil
}

// Size implements Medium.
func (s *single) Size() int64 { return s.size }

// Access implements Medium and Target.
func (s *single) Access() Access { return Access{Random: s.File} }

// Reserve implements Target.
func (s *single) Reserve(size int64) error {
	if err := CheckFree(filepath.Dir(s.path), size); err != nil {
		return err
	}
	s.size = size
	return s.Truncate(size)
}

// StartWriteback implements Target.
func (s *single) StartWriteback(offset, size int64) { startWriteback(s.File, offset, size) }

// Complete implements Target.
func (s *single) Complete(context.Context, Observer) error {
	if err := s.Close(); err != nil {
		return err
	}
	if err := os.Rename(s.partial(), s.path); err != nil {
		return err
	}
	// What an earlier run has moved aside, and then was killed, nobody needs any more.
	if err := os.Remove(s.partial() + OldSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(s.path))
}

// Remove implements Target.
func (s *single) Remove() error {
	return errors.Join(s.Close(), os.Remove(s.partial()))
}

// Close implements Target. It may be called again.
func (s *single) Close() error {
	if err := s.File.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// StepAside implements File.
func (s *single) StepAside() error {
	name := s.partial()
	s.old = OldSuffix
	return os.Rename(name, s.partial())
}

func (s *single) partial() string { return s.path + PartialSuffix + s.old }
