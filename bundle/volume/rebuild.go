package volume

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"airgap/bundle"
)

// OpenRebuilding is Open where what is damaged or missing is rebuilt from the volumes of parity at the moment in which it is
// read: every chunk is compared with the table before any of it is given out, which costs another reading of it (from the
// system's cache) and another hash. A sector that cannot be read is damage like any other. More missing volumes than there are
// of parity are an error at once (ErrVolumes), and so is, when it is read, a place that too many volumes have lost.
func OpenRebuilding(paths ...string) (*Set, error) {
	s, err := open(paths, true)
	if err != nil {
		return nil, err
	}
	if err := s.enoughFor(); err != nil {
		_, strict := Open(paths...) // which says more about each of them
		return nil, errors.Join(err, strict, s.Close())
	}
	if s.rebuilder, err = newRebuild(s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// enoughFor tells whether parity can stand in for the volumes that are missing altogether.
func (s *Set) enoughFor() error {
	missing := 0
	for _, file := range s.files {
		if file == nil {
			missing++
		}
	}
	if missing > s.table.Parity {
		return fmt.Errorf("%w: %d are missing, those of parity counted, and there is parity for %d", ErrVolumes, missing, s.table.Parity)
	}
	return nil
}

// Rebuilt returns what was found to be damaged or missing while it was read, and rebuilt.
func (s *Set) Rebuilt() []Damage {
	if s.rebuilder == nil {
		return nil
	}
	damaged := make([][]bool, len(s.files))
	for i := range damaged {
		damaged[i] = make([]bool, s.table.chunks(i))
		for j := range damaged[i] {
			damaged[i][j] = condition(s.rebuilder.conditions[s.table.firstChunk(i)+int64(j)].Load()) == lost
		}
	}
	return s.ranges(damaged)
}

// condition is what is known of a chunk.
type condition uint32

const (
	unknown condition = iota
	fine
	lost
)

const (
	// keptBlocks is how many rebuilt blocks are kept, since what is read is most often smaller than a block, and several
	// readers are under way: 2 MiB in all.
	keptBlocks = 32
	// chunkLocks keep readers from hashing one chunk at the same time.
	chunkLocks = 64
)

// rebuilder reads a Set in spite of its damage.
type rebuilder struct {
	set        *Set
	conditions []atomic.Uint32 // by chunk
	checking   [chunkLocks]sync.Mutex

	mu     sync.Mutex // of what follows
	blocks *blocks    // nil without parity
	kept   []rebuilt  // the last ones, the newest at the end
}

// rebuilt is a block of a volume.
type rebuilt struct {
	volume  int
	at      int64
	content []byte
}

func newRebuild(s *Set) (r *rebuilder, err error) {
	r = &rebuilder{set: s, conditions: make([]atomic.Uint32, s.table.chunkCount())}
	if s.table.Parity > 0 {
		r.blocks, err = s.table.newBlocks()
	}
	return r, err
}

// readAt reads part of volume i, of which it knows that it ends in the volume.
func (r *rebuilder) readAt(i int, p []byte, at int64) (n int, err error) {
	for n < len(p) {
		chunk := at / r.set.table.ChunkSize
		part := p[n:min(int64(len(p)), int64(n)+(chunk+1)*r.set.table.ChunkSize-at)]
		if err := r.readChunk(i, chunk, part, at); err != nil {
			return n, err
		}
		n, at = n+len(part), at+int64(len(part))
	}
	return n, nil
}

// readChunk reads part of one chunk.
func (r *rebuilder) readChunk(i int, chunk int64, p []byte, at int64) error {
	if r.isFine(i, chunk) {
		if n, _ := r.set.files[i].ReadAt(p, at); n == len(p) {
			return nil
		}
		r.lose(i, chunk)
	}
	for len(p) > 0 {
		start := at - at%parityBlock
		block, err := r.block(i, start)
		if err != nil {
			return err
		}
		n := copy(p, block[at-start:])
		p, at = p[n:], at+int64(n)
	}
	return nil
}

// isFine tells whether a chunk is there and what the table says.
func (r *rebuilder) isFine(i int, chunk int64) bool {
	row := r.set.table.firstChunk(i) + chunk
	if known := condition(r.conditions[row].Load()); known != unknown {
		return known == fine
	}
	lock := &r.checking[row%chunkLocks]
	lock.Lock()
	defer lock.Unlock()
	if condition(r.conditions[row].Load()) == unknown {
		found := lost
		if r.set.isFine(i, chunk) {
			found = fine
		}
		r.conditions[row].Store(uint32(found))
	}
	return condition(r.conditions[row].Load()) == fine
}

func (r *rebuilder) lose(i int, chunk int64) {
	r.conditions[r.set.table.firstChunk(i)+chunk].Store(uint32(lost))
}

// block returns a block of a volume that is damaged there. It must not be changed.
func (r *rebuilder) block(i int, at int64) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.kept {
		if b.volume == i && b.at == at {
			return b.content, nil
		}
	}
	content, err := r.reconstruct(i, at)
	if err != nil {
		return nil, err
	}
	if len(r.kept) == keptBlocks {
		r.kept = slices.Delete(r.kept, 0, 1)
	}
	r.kept = append(r.kept, rebuilt{i, at, content})
	return content, nil
}

// reconstruct computes a block of a volume from those of as many others as there are volumes without parity. What cannot be
// read is lost from then on, and others take its place.
func (r *rebuilder) reconstruct(wanted int, at int64) ([]byte, error) {
	t := r.set.table
	if r.blocks == nil {
		return nil, fmt.Errorf("%w: %s is damaged from byte %d on, and there are no volumes of parity to rebuild it from", ErrVolumes, r.set.fileName(wanted), at)
	}
	size := int(min(parityBlock, t.volumeSize(0)-at))
	chunk := at / t.ChunkSize
	shards := make([][]byte, t.members())
	have := 0
	for i := range shards {
		if i == wanted || have == t.Volumes() {
			continue
		}
		if chunk < t.chunks(i) {
			if !r.isFine(i, chunk) {
				continue
			}
			if err := r.blocks.read(i, size, r.set.files[i], at, t.volumeSize(i)-at); err != nil {
				r.lose(i, chunk)
				continue
			}
		} else { // beyond its end, where it counts as zeros
			clear(r.blocks.memory[i][:size])
		}
		shards[i] = r.blocks.memory[i][:size]
		have++
	}
	if have < t.Volumes() {
		return nil, fmt.Errorf("%w: bytes %d to %d of %s cannot be rebuilt: only %d of the %d volumes that this takes are readable there",
			ErrVolumes, at, at+int64(size)-1, r.set.fileName(wanted), have, t.Volumes())
	}
	required := make([]bool, len(shards))
	required[wanted] = true
	if err := r.blocks.code.ReconstructSome(shards, required); err != nil {
		return nil, fmt.Errorf("%w: %w", bundle.ErrDigest, err)
	}
	return shards[wanted][:min(int64(size), t.volumeSize(wanted)-at)], nil
}
