package disk

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// create opens path for something new, empty. Windows lets nobody else remove or rename it meanwhile.
func create(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
		err := os.Remove(path)
		if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
			return nil, fmt.Errorf("%s: %w", path, ErrBusy)
		}
		if err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// reopen opens what create has made in an earlier run, with its content.
func reopen(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; remove it", path)
	}
	return os.OpenFile(path, os.O_RDWR, 0o600)
}

// freeSpace returns how many bytes the user may still write to the volume of dir.
func freeSpace(dir string) (int64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, err
	}
	return int64(min(free, math.MaxInt64)), nil
}

// syncDir does nothing: Windows has no such call, and NTFS journals a rename by itself.
func syncDir(string) error { return nil }
