package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"airgap/bundle"
)

// Wanted is a volume that has to be inserted.
type Wanted struct {
	Number, Of int      // from 1; 0 for any other than those that are there. Of is 0 while no table says how many there are
	Name       string   // of its file; "" while that is not known either
	Places     []string // where it is looked for
	Problem    error    // what is wrong with what is there; nil where it is merely not there
}

// Drive is a bundle.Medium of volumes of which one can be read at a time, where they are put into the same place one after the other. It holds one
// file open, and none while it waits, so that a disk can be taken out.
type Drive struct {
	table  *Table
	name   string // the NAME of NAME.tar.0001
	places []string
	ask    func(context.Context, Wanted) error

	mu      sync.RWMutex
	current int // volume, from 0; -1 for none
	file    *member
	closer  io.Closer
	ended   error // ask gave up: it is not asked again
}

// OpenDrive looks for a bundle's volumes in directories, or beside files, of which one volume at a time need be there. Where
// another one is needed than those that are, ask is called until it is there, or ask returns an error, which ends the reading. Its
// context is that of OpenDrive or Insert; ReadAt has none to give.
func OpenDrive(ctx context.Context, paths []string, ask func(context.Context, Wanted) error) (*Drive, error) {
	d := &Drive{ask: ask, current: -1}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			path = filepath.Dir(path)
		}
		d.places = append(d.places, path)
	}
	for range maxAsks {
		problem := d.begin(paths)
		if problem == nil {
			return d, nil
		}
		wanted := Wanted{Number: 1, Places: d.places, Problem: problem}
		if errors.Is(problem, ErrTable) { // of which every volume has a copy
			wanted.Number = 0
		}
		if err := ask(ctx, wanted); err != nil {
			return nil, fmt.Errorf("%w: %w", problem, err)
		}
	}
	return nil, errAsked
}

// maxAsks is how often one volume is asked for: a script that answers and changes no disk must not go on for ever.
const maxAsks = 20

var errAsked = fmt.Errorf("%w: it was asked for %d times", bundle.ErrNotInserted, maxAsks)

// begin finds a table.
func (d *Drive) begin(paths []string) (err error) {
	f := newFinder()
	for _, path := range paths {
		if err := f.look(path); err != nil {
			return err
		}
	}
	if err := f.onlyOne(); err != nil {
		return err
	}
	d.name = f.name()
	d.table, err = f.readTables()
	return err
}

// Size returns the size of the bundle, in bytes.
func (d *Drive) Size() int64 { return d.table.Size }

// Access implements bundle.Medium.
func (d *Drive) Access() bundle.Access { return bundle.Access{Removable: d} }

// ManifestIndex returns the digest of the signed object of which these are the volumes, by the word of the table.
func (d *Drive) ManifestIndex() bundle.Digest { return d.table.ManifestIndex }

// Part implements bundle.Parts: parts are volumes, from 0.
func (d *Drive) Part(offset int64) (part int, end int64) {
	part = int(offset / d.table.VolumeSize)
	return part, int64(part)*d.table.VolumeSize + d.table.volumeSize(part)
}

// ReadAt implements io.ReaderAt. Where p lies in several volumes, they are asked for one after the other.
func (d *Drive) ReadAt(p []byte, offset int64) (int, error) {
	return d.table.each(p, offset, func(i int, part []byte, at int64) (int, error) {
		for {
			if n, ok, err := d.read(i, part, at); ok {
				return n, err
			}
			if err := d.Insert(context.Background(), i); err != nil {
				return 0, err
			}
		}
	})
}

// read reads from volume i where that is inserted.
func (d *Drive) read(i int, p []byte, at int64) (n int, ok bool, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.current != i {
		return 0, false, nil
	}
	n, err = d.file.ReadAt(p, at)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: %w", d.file.path, err)
	}
	return n, true, err
}

// Insert implements bundle.Parts: it waits until volume i, from 0, is there.
func (d *Drive) Insert(ctx context.Context, i int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == i || d.ended != nil { // somebody else was faster
		return d.ended
	}
	if err := d.takeOut(); err != nil {
		return err
	}
	w := Wanted{Number: i + 1, Of: d.table.Volumes(), Name: volumeName(d.name, i), Places: d.places}
	err := errAsked
	for range maxAsks {
		w.Problem = d.find(i)
		if d.current == i {
			return nil
		}
		if err = d.ask(ctx, w); ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			err = fmt.Errorf("%w: %w", bundle.ErrNotInserted, err)
			break
		}
		err = errAsked
	}
	d.ended = fmt.Errorf("volume %d of %d: %w", w.Number, w.Of, err)
	return d.ended
}

// find opens volume i where it is as the table says. The problem is nil where there is no file of its name at all.
func (d *Drive) find(i int) (problem error) {
	for _, place := range d.places {
		file, closer, err := openMember(filepath.Join(place, volumeName(d.name, i)))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = d.table.checkBeginning(i, file)
		}
		if err == nil {
			d.current, d.file, d.closer = i, file, closer
			return nil
		}
		if closer != nil {
			err = errors.Join(err, closer.Close())
		}
		problem = err
	}
	return problem
}

func (d *Drive) takeOut() error {
	if d.closer == nil {
		return nil
	}
	err := d.closer.Close()
	d.current, d.file, d.closer = -1, nil, nil
	return err
}

// Close closes the volume that is inserted.
func (d *Drive) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.takeOut()
}
