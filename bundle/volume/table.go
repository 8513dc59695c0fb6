// Package volume cuts a bundle into volumes that fit on media, and reads it from them where they lie (FORMAT.md,
// "Volumes").
//
// A volume is a plain range of bytes of the bundle: joined in order, by cat, they are the bundle again. Beside each lies a
// copy of one small table, which says how the bundle was cut and has a digest for every chunk. The table is not signed, and
// need not be: it serves to tell volumes apart and to say which of them is damaged. What is in the bundle is checked as
// ever.
//
// [Split] cuts a bundle, [Open] finds volumes and reads them, [Join] makes one file of them.
package volume

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// Bounds on what a table may say.
const (
	MinSize      = 64 << 10 // of a volume, in bytes
	MaxVolumes   = 9999     // as their names have four digits
	MaxChunks    = 1 << 17  // of the whole bundle
	minChunk     = 1 << 20
	maxChunk     = 1 << 40
	wantedChunks = 1 << 16 // with as many a table has some 4 MiB
	maxShards    = 256     // volumes and those of parity together: what Reed-Solomon over bytes can do
	maxHeader    = 4 << 10
	digestLine   = 2*sha256.Size + 1
	maxTableSize = maxHeader + MaxChunks*digestLine
)

// formatName is in every table.
const formatName = "airgap-volumes/1"

// Errors that a caller may want to tell apart.
var (
	// ErrTable: a table of volumes is malformed.
	ErrTable = fmt.Errorf("%w: table of volumes", bundle.ErrFormat)
	// ErrVolumes: volumes are missing, cut short, under the wrong name, or of another bundle.
	ErrVolumes = errors.New("not all volumes are there as they should be")
)

// Table says how a bundle was cut.
type Table struct {
	Format        string        `json:"format"`
	ManifestIndex bundle.Digest `json:"manifestIndex"`
	Size          int64         `json:"size"`       // of the bundle, in bytes
	VolumeSize    int64         `json:"volumeSize"` // of every volume but the last, which may be smaller
	ChunkSize     int64         `json:"chunkSize"`  // of every chunk but the last of each volume
	Parity        int           `json:"parity"`     // volumes that can stand in for others
	Root          bundle.Digest `json:"root"`       // of the table itself: see encode

	Chunks []bundle.Digest `json:"-"` // volume by volume, those of parity last
}

// newTable plans how a bundle is cut. ErrVolumes where that makes too many volumes or too small ones.
func newTable(index bundle.Digest, size, volumeSize int64, parity int) (*Table, error) {
	if volumeSize < MinSize {
		return nil, fmt.Errorf("%w: volumes of %d bytes; at least %d are needed", ErrVolumes, volumeSize, MinSize)
	}
	t := &Table{Format: formatName, ManifestIndex: index, Size: size, VolumeSize: volumeSize, ChunkSize: minChunk, Parity: parity}
	if n := divideUp(size, volumeSize); n > MaxVolumes {
		return nil, fmt.Errorf("%w: %d volumes of %d bytes; at most %d are possible", ErrVolumes, n, volumeSize, MaxVolumes)
	}
	if parity > 0 && t.members() > maxShards {
		return nil, fmt.Errorf("%w: %d volumes and %d of parity; at most %d together are possible: make the volumes larger", ErrVolumes, t.Volumes(), parity, maxShards)
	}
	for t.chunkCount() > wantedChunks && t.ChunkSize < maxChunk {
		t.ChunkSize *= 2
	}
	return t, nil
}

func divideUp(a, b int64) int64 { return (a + b - 1) / b }

// Volumes returns how many volumes there are, without those of parity.
func (t *Table) Volumes() int { return int(divideUp(t.Size, t.VolumeSize)) }

// members returns how many there are with those of parity, which have the numbers after the others.
func (t *Table) members() int { return t.Volumes() + t.Parity }

// volumeSize returns the size of volume i, from 0. Those of parity are as large as the first.
func (t *Table) volumeSize(i int) int64 {
	if i >= t.Volumes() {
		i = 0
	}
	return min(t.VolumeSize, t.Size-int64(i)*t.VolumeSize)
}

// chunks returns how many chunks volume i has.
func (t *Table) chunks(i int) int64 { return divideUp(t.volumeSize(i), t.ChunkSize) }

// chunk returns where chunk j of volume i begins in the volume, and its size.
func (t *Table) chunk(i int, j int64) (at, size int64) {
	at = j * t.ChunkSize
	return at, min(t.ChunkSize, t.volumeSize(i)-at)
}

func (t *Table) chunkCount() int64 { return t.firstChunk(t.members()) }

// firstChunk returns how many chunks the volumes before i have.
func (t *Table) firstChunk(i int) int64 {
	last := t.Volumes() - 1
	if i <= last {
		return int64(i) * t.chunks(0)
	}
	return int64(last)*t.chunks(0) + t.chunks(last) + int64(i-last-1)*t.chunks(0)
}

// chunkDigest returns the digest of chunk j of volume i.
func (t *Table) chunkDigest(i int, j int64) bundle.Digest { return t.Chunks[t.firstChunk(i)+j] }

// encode writes the table: a line of JSON, and a line for each chunk with its digest in hexadecimal. The root is the digest
// of just these bytes, with zeros in its own place.
func (t *Table) encode() []byte {
	unrooted := *t
	unrooted.Root = bundle.Digest{}
	unrooted.Root = bundle.DigestOf(unrooted.write())
	t.Root = unrooted.Root
	return unrooted.write()
}

func (t *Table) write() []byte {
	header, err := json.Marshal(t)
	if err != nil {
		panic(err) // the struct cannot fail to encode
	}
	lines := bytes.NewBuffer(append(header, '\n'))
	for _, d := range t.Chunks {
		lines.WriteString(d.Hex())
		lines.WriteByte('\n')
	}
	return lines.Bytes()
}

// parseTable reads a table of at most maxTableSize bytes. Errors wrap ErrTable.
func parseTable(r io.Reader) (*Table, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxTableSize+1))
	if err != nil {
		return nil, err
	}
	line, lines, found := bytes.Cut(content, []byte("\n"))
	if !found || len(line) > maxHeader || len(content) > maxTableSize {
		return nil, fmt.Errorf("%w: it does not begin with a line of at most %d bytes, or is too long", ErrTable, maxHeader)
	}
	t := &Table{}
	if err := strictjson.UnmarshalExact(line, t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTable, err)
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	if int64(len(lines)) != t.chunkCount()*digestLine {
		return nil, fmt.Errorf("%w: it has not as many digests as its first line says", ErrTable)
	}
	for i := 0; i < len(lines); i += digestLine {
		var d bundle.Digest
		if _, err := hex.Decode(d[:], lines[i:i+digestLine-1]); err != nil {
			return nil, fmt.Errorf("%w: line %d is no digest", ErrTable, 2+i/digestLine)
		}
		t.Chunks = append(t.Chunks, d)
	}
	if !bytes.Equal(t.encode(), content) {
		return nil, fmt.Errorf("%w: it is damaged: its root is the digest of something else", ErrTable)
	}
	return t, nil
}

// check bounds every number before anything is done with it.
func (t *Table) check() error {
	switch {
	case t.Format != formatName:
		return fmt.Errorf("%w: its format is %.40q, not %q: use a newer version of airgap", ErrTable, t.Format, formatName)
	case t.Size < 1 || t.Size > bundle.MaxFileSize:
		return fmt.Errorf("%w: a bundle of %d bytes", ErrTable, t.Size)
	case t.VolumeSize < MinSize || t.VolumeSize > bundle.MaxFileSize || divideUp(t.Size, t.VolumeSize) > MaxVolumes:
		return fmt.Errorf("%w: volumes of %d bytes", ErrTable, t.VolumeSize)
	case t.Parity < 0 || t.Parity > 0 && (t.Parity > maxShards || t.members() > maxShards):
		return fmt.Errorf("%w: %d volumes of parity", ErrTable, t.Parity)
	case t.ChunkSize < minChunk || t.ChunkSize > maxChunk || t.chunkCount() > MaxChunks:
		return fmt.Errorf("%w: chunks of %d bytes", ErrTable, t.ChunkSize)
	}
	return nil
}
