package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"airgap/bundle/disk"
)

const (
	// PartialSuffix ends the name of a bundle that is not complete.
	PartialSuffix = ".partial"
	// OldSuffix ends the name of a partial file that has stepped aside.
	OldSuffix = ".old"
)

// single is a bundle in one file.
type single struct {
	*os.File

	path string
	old  string // OldSuffix, once it has stepped aside
	size int64
}

// CreateFile begins a bundle in a file that will have the given name once it is complete. Until then it is PATH.partial,
// readable by its owner only; an older .partial is overwritten, symbolic links are not followed. disk.ErrBusy where another
// process writes it.
func CreateFile(path string) (File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; to write to a device or a pipe use -o - and redirect", path)
	}
	f, err := disk.Create(path + PartialSuffix)
	if err != nil {
		return nil, err
	}
	return &single{File: f, path: path}, nil
}

// ReopenFile opens what CreateFile has begun in an earlier run, and was not completed; ErrNoPartial, and disk.ErrBusy.
func ReopenFile(path string) (File, error) {
	f, err := disk.Reopen(path + PartialSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoPartial
	}
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
	if err := disk.CheckFree(filepath.Dir(s.path), size); err != nil {
		return err
	}
	s.size = size
	return s.Truncate(size)
}

// StartWriteback implements Target.
func (s *single) StartWriteback(offset, size int64) { disk.StartWriteback(s.File, offset, size) }

// Complete implements Target.
func (s *single) Complete(context.Context, Observer) error {
	if err := s.Close(); err != nil {
		return err
	}
	// What an earlier run has moved aside, and then was killed, nobody needs any more.
	if err := os.Remove(s.partial() + OldSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(s.partial(), s.path); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(s.path))
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
