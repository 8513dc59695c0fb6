package disk

import (
	"errors"
	"os"
)

// Temporary is a private file of which nothing is left once it is closed, nor, but on Windows, where the process is killed.
type Temporary struct {
	*os.File

	name string // to be removed by Close; "" where that was done at once
}

// NewTemporary makes one in dir ("" for the system's), readable by its owner only.
func NewTemporary(dir string) (*Temporary, error) {
	f, err := os.CreateTemp(dir, "airgap-*") // 0600
	if err != nil {
		return nil, err
	}
	t := &Temporary{File: f, name: f.Name()}
	if os.Remove(t.name) == nil { // Windows does not remove what is open
		t.name = ""
	}
	return t, nil
}

// Close implements io.Closer.
func (t *Temporary) Close() error {
	err := t.File.Close()
	if t.name != "" {
		err = errors.Join(err, os.Remove(t.name))
	}
	return err
}
