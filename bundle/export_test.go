package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// ReadTables is readTables with a header as it is in the file, and tables in the order of FORMAT.md.
func ReadTables(header []byte, tables ...[]byte) (*Contents, error) {
	var h Header
	if err := json.Unmarshal(header, &h); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	var readers tableReaders
	for i, b := range tables {
		readers[i] = io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
	}
	return readTables(h, readers)
}

// KeepOnly lowers what is kept besides head and manifests where access is not random, in bytes.
func (r *Reader) KeepOnly(limit int64) { r.kept = r.layout.proofs(limit) }

// EntryStart returns where the entry of a row begins.
func (l *Layout) EntryStart(row int) int64 {
	start, _ := l.entry(row)
	return start
}
