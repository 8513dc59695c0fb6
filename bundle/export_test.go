package bundle

import (
	"bytes"
	"encoding/json"
)

// ReadTables is readTables with a header as it is in the file.
func ReadTables(header, roots, manifests, blobs, missing []byte) (*Contents, error) {
	var h Header
	if err := json.Unmarshal(header, &h); err != nil {
		return nil, ErrFormat
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	return readTables(h, bytes.NewReader(roots), bytes.NewReader(manifests), bytes.NewReader(blobs), bytes.NewReader(missing))
}

// TarHeader is tarHeader.
var TarHeader = tarHeader
