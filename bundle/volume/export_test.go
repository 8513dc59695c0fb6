package volume

import (
	"io"
	"syscall"
)

// ParseTable is parseTable.
var ParseTable = parseTable

// Scratch makes bytes of volume i, from 1, unreadable.
func (s *Set) Scratch(i int, from, to int64) {
	s.files[i-1].ReaderAt = scratched{s.files[i-1].ReaderAt, from, to}
}

// scratched is a device that fails where it is scratched, as the system reports it.
type scratched struct {
	io.ReaderAt

	from, to int64
}

func (s scratched) ReadAt(p []byte, at int64) (int, error) {
	if end := at + int64(len(p)); at >= s.to || end <= s.from {
		return s.ReaderAt.ReadAt(p, at)
	}
	n, err := s.ReaderAt.ReadAt(p[:max(0, s.from-at)], at)
	if err == nil {
		err = syscall.EIO
	}
	return n, err
}
