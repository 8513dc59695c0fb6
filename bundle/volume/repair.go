package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"airgap/bundle"
	"airgap/bundle/disk"
)

// Repairable tells whether everything that is damaged can be rebuilt, and if not, where too much is lost.
func (s *Set) Repairable(damage []Damage) error {
	lost := make([]int, s.table.chunks(0))
	for _, d := range damage {
		if d.TooLong {
			continue
		}
		for at := d.From; at < d.To; at += s.table.ChunkSize {
			lost[at/s.table.ChunkSize]++
		}
	}
	for j, n := range lost {
		if n > s.table.Parity {
			return fmt.Errorf("%w: of bytes %d to %d, %d volumes are lost, and there is parity for %d",
				ErrVolumes, int64(j)*s.table.ChunkSize, min(int64(j+1)*s.table.ChunkSize, s.table.volumeSize(0))-1, n, s.table.Parity)
		}
	}
	return nil
}

// Repair writes every volume that is damaged or missing anew into a directory, with a table, under its own name, and
// returns their paths. What it rebuilds is checked against the table, and what is there already, from an earlier run, is
// checked as well. Nothing is changed where it lies; what fails leaves nothing under these names.
func (s *Set) Repair(ctx context.Context, dir string, o bundle.Observer) (repaired []string, err error) {
	observer := bundle.Observe(o)
	damaged, err := s.damaged(ctx, observer)
	if err != nil {
		return nil, err
	}
	if err := s.Repairable(s.ranges(damaged)); err != nil {
		return nil, err
	}
	r := repair{set: s, dir: dir, out: make([]*chunkWriter, len(s.files))}
	for i, chunks := range damaged {
		if !slices.Contains(chunks, true) && !s.tooLong(i) {
			continue
		}
		name := filepath.Join(dir, s.table.memberName(s.path, i))
		repaired = append(repaired, name)
		there, err := r.isThere(ctx, i, name)
		if err != nil {
			return nil, err
		}
		if !there {
			r.wanted = append(r.wanted, i)
		}
	}
	if err := r.write(ctx, damaged, observer); err != nil {
		return nil, errors.Join(err, r.made.remove())
	}
	return repaired, nil
}

// repair writes volumes anew.
type repair struct {
	set    *Set
	dir    string
	wanted []int          // volumes
	out    []*chunkWriter // by volume; nil for those that are not wanted
	made   newFiles
}

// isThere tells whether an earlier run has written volume i. What else there is of its name is not overwritten.
func (r *repair) isThere(ctx context.Context, i int, name string) (bool, error) {
	file, closer, err := openMember(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fine := file.size == r.set.table.volumeSize(i)
	for j := range r.set.table.chunks(i) {
		fine = fine && ctx.Err() == nil && r.set.table.isChunk(file, i, j)
	}
	err = ctx.Err()
	if err == nil && !fine {
		err = somethingElse(name)
	}
	return true, errors.Join(err, closer.Close())
}

// writeTable writes the copy of the table that lies beside volume i, unless an earlier run has.
func (r *repair) writeTable(i int) error {
	name := filepath.Join(r.dir, tableName(r.set.path, i))
	switch t, err := readTable(name); {
	case errors.Is(err, os.ErrNotExist):
		return r.made.write(name, r.set.table.encode())
	case err != nil || t.Root != r.set.table.Root:
		return somethingElse(name)
	}
	return nil
}

func somethingElse(name string) error {
	return fmt.Errorf("%s: %w, and is something else: write elsewhere, or remove it", name, os.ErrExist)
}

// write writes what is wanted.
func (r *repair) write(ctx context.Context, damaged [][]bool, o bundle.Observer) (err error) {
	if len(r.wanted) == 0 {
		return nil
	}
	size := int64(0)
	for _, i := range r.wanted {
		size += r.set.table.volumeSize(i)
	}
	if err := disk.CheckFree(r.dir, size); err != nil {
		return err
	}
	for _, i := range r.wanted {
		if err := r.writeTable(i); err != nil {
			return err
		}
	}
	for _, i := range r.wanted {
		name := filepath.Join(r.dir, r.set.table.memberName(r.set.path, i))
		if r.out[i], err = newChunkWriter(name, r.set.table.ChunkSize, &r.made); err != nil {
			return errors.Join(err, closeAll(r.out))
		}
	}
	err = r.set.rebuild(ctx, damaged, r.out, o)
	if err = errors.Join(err, closeAll(r.out)); err != nil {
		return err
	}
	for _, i := range r.wanted {
		for j, got := range r.out[i].digests {
			if got != r.set.table.chunkDigest(i, int64(j)) {
				return fmt.Errorf("%w: what was rebuilt of %s is not what the table says", bundle.ErrDigest, r.set.fileName(i))
			}
		}
	}
	if err := r.made.giveNames(); err != nil {
		return err
	}
	return disk.SyncDir(r.dir)
}

// rebuild goes through all volumes, block by block, and writes those that are wanted.
func (s *Set) rebuild(ctx context.Context, damaged [][]bool, out []*chunkWriter, o bundle.Observer) error {
	t := s.table
	b, err := t.newBlocks()
	if err != nil {
		return err
	}
	size := t.volumeSize(0)
	o.Phase("repair", size)
	for at := int64(0); at < size; at += parityBlock {
		if err := ctx.Err(); err != nil {
			return err
		}
		// A block lies in one chunk, as these are multiples of it.
		n := int(min(parityBlock, size-at))
		shards := make([][]byte, t.members())
		lost := false
		for i := range shards {
			chunk := at / t.ChunkSize
			if chunk < t.chunks(i) && damaged[i][chunk] {
				shards[i], lost = b.memory[i][:0], true
				continue
			}
			shards[i] = b.memory[i][:n]
			if s.files[i] == nil { // beyond its end
				clear(shards[i])
				continue
			}
			// What cannot be read any more, and could a moment ago, is lost like the rest.
			if err := b.read(i, n, s.files[i], at, t.volumeSize(i)-at); err != nil {
				shards[i], lost = b.memory[i][:0], true
			}
		}
		if lost {
			if err := b.code.Reconstruct(shards); err != nil {
				return fmt.Errorf("%w: bytes %d to %d of the volumes cannot be rebuilt: %w", ErrVolumes, at, at+int64(n)-1, err)
			}
		}
		for i, w := range out {
			if have := min(int64(n), t.volumeSize(i)-at); w != nil && have > 0 {
				if err := w.write(shards[i][:have]); err != nil {
					return err
				}
			}
		}
		o.Add(int64(n))
	}
	return nil
}
