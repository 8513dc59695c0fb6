package bundle

import (
	"bufio"
	"errors"
	"io"
	"sync"

	"airgap/bundle/disk"
)

// spool gives the beginning of a stream a ReaderAt: what is asked for is first copied to a temporary file. Callers ask only
// for what they have bounded. Several may read at once; in is for who reads on behind what they ask for.
type spool struct {
	in   *bufio.Reader
	file *disk.Temporary

	mu   sync.Mutex
	size int64 // bytes of the stream that are in file
}

func newSpool(in io.Reader) (*spool, error) {
	f, err := disk.NewTemporary("")
	if err != nil {
		return nil, err
	}
	return &spool{in: bufio.NewReaderSize(in, 1<<20), file: f}, nil
}

func (s *spool) ReadAt(p []byte, offset int64) (int, error) {
	if err := s.extend(offset + int64(len(p))); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return s.file.ReadAt(p, offset)
}

// extend copies the stream up to the given position; io.EOF where it ends before.
func (s *spool) extend(to int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to <= s.size {
		return nil
	}
	n, err := io.CopyN(io.NewOffsetWriter(s.file, s.size), s.in, to-s.size)
	s.size += n
	return err
}

func (s *spool) Close() error { return s.file.Close() }
