// Package disk is what a bundle needs of files and the os package does not do: unfinished files that one process has and a
// later one goes on with, temporary files that leave nothing, room, and what has reached the disk.
package disk

import (
	"errors"
	"fmt"
	"os"
)

// Errors that a caller may want to tell apart.
var (
	// ErrBusy: another process is writing the same file.
	ErrBusy = errors.New("another process is writing this file")
	// ErrNoSpace: the disk has less room than is needed.
	ErrNoSpace = errors.New("not enough free disk space")
	// ErrNotRegular: a directory, a pipe or a device is where a file should be.
	ErrNotRegular = errors.New("not a regular file")
)

// Create opens path for something new, empty, readable by its owner only, and locked: no symbolic or hard link is followed.
// ErrBusy where another process has it.
func Create(path string) (*os.File, error) { return create(path) }

// Reopen opens what Create has made in an earlier run, with its content; fs.ErrNotExist where there is none, and ErrBusy.
func Reopen(path string) (*os.File, error) { return reopen(path) }

// OpenRegular opens a file to be read, and nothing that is named like one (ErrNotRegular): opening a pipe would wait for whoever
// writes to it, and nobody could interrupt that.
func OpenRegular(path string) (*os.File, os.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, ErrNotRegular)
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
		return fmt.Errorf("%w: %d bytes are needed, %s has %d", ErrNoSpace, size, dir, free)
	}
	return nil
}
