// Package archive is the tar that bundles are: its headers are a function of name, size and creation time (FORMAT.md,
// "Entries"). It writes them, and reads one back only by writing it again and comparing: no other header is ever interpreted.
package archive

import (
	"bytes"
	"fmt"
	"strconv"
)

const (
	// BlockSize is what headers, and contents with their padding, are multiples of.
	BlockSize = 512
	// MaxOctalSize is the largest size that the eleven octal digits of a ustar header hold; above it the size is in
	// a PAX record (POSIX.1-2017, pax, "ustar Header Block" and "pax Extended Header").
	MaxOctalSize = 1<<33 - 1
	// TrailerSize is that of the end of an archive: two blocks of zeros.
	TrailerSize = 2 * BlockSize
)

// Field positions in a ustar header block. POSIX.1-2017, pax, "ustar Interchange Format".
const (
	fieldMode     = 100
	fieldUID      = 108
	fieldGID      = 116
	fieldSize     = 124
	fieldMtime    = 136
	fieldChecksum = 148
	fieldTypeflag = 156
	fieldMagic    = 257
	fieldDevMajor = 329
	fieldDevMinor = 337
)

// Header returns the bytes that precede the content of an entry: one block, or three where the size needs a PAX
// record. mtime is in seconds since 1970.
func Header(name string, size, mtime int64) []byte {
	if size <= MaxOctalSize {
		return ustarBlock(name, size, mtime, '0')
	}
	record := paxRecord("size", strconv.FormatInt(size, 10))
	header := ustarBlock("PaxHeaders/size", int64(len(record)), mtime, 'x')
	header = append(header, record...)
	header = append(header, make([]byte, Padding(int64(len(record))))...)
	// The octal field cannot hold the size; the PAX record takes its place, and 0 is what POSIX readers expect here.
	return append(header, ustarBlock(name, 0, mtime, '0')...)
}

// HeaderSize returns how many bytes Header gives.
func HeaderSize(size int64) int64 {
	if size <= MaxOctalSize {
		return BlockSize
	}
	return 3 * BlockSize
}

func ustarBlock(name string, size, mtime int64, typeflag byte) []byte {
	b := make([]byte, BlockSize)
	copy(b, name)
	octal := func(at, digits int, v int64) { // and the NUL that follows is there
		for ; digits > 0; digits-- {
			b[at+digits-1] = '0' + byte(v&7)
			v >>= 3
		}
	}
	octal(fieldMode, 7, 0o644)
	octal(fieldUID, 7, 0)
	octal(fieldGID, 7, 0)
	octal(fieldSize, 11, size)
	octal(fieldMtime, 11, mtime)
	b[fieldTypeflag] = typeflag
	copy(b[fieldMagic:], "ustar\x0000")
	octal(fieldDevMajor, 7, 0)
	octal(fieldDevMinor, 7, 0)

	// The checksum is the sum of all bytes with the checksum field itself as spaces.
	copy(b[fieldChecksum:], "        ")
	sum := int64(0)
	for _, c := range b {
		sum += int64(c)
	}
	copy(b[fieldChecksum:], "000000\x00 ")
	octal(fieldChecksum, 6, sum)
	return b
}

// paxRecord returns "LENGTH KEY=VALUE\n", where LENGTH counts the whole record, itself included.
func paxRecord(key, value string) []byte {
	rest := " " + key + "=" + value + "\n"
	length := len(rest)
	for length != len(rest)+len(strconv.Itoa(length)) {
		length = len(rest) + len(strconv.Itoa(length))
	}
	return []byte(strconv.Itoa(length) + rest)
}

// ReadHeader reads name, size and time of an entry below the PAX limit. It accepts exactly the blocks that
// Header writes.
func ReadHeader(block []byte) (name string, size, mtime int64, err error) {
	text, _, _ := bytes.Cut(block[:fieldMode], []byte{0})
	size, sizeErr := strconv.ParseInt(string(block[fieldSize:fieldSize+11]), 8, 64)
	mtime, timeErr := strconv.ParseInt(string(block[fieldMtime:fieldMtime+11]), 8, 64)
	if sizeErr != nil || timeErr != nil || size < 0 || mtime < 0 || !bytes.Equal(block, ustarBlock(string(text), size, mtime, '0')) {
		return "", 0, 0, fmt.Errorf("a tar header is not of the form that airgap writes")
	}
	return string(text), size, mtime, nil
}

// Padding returns how many zero bytes follow size bytes of content up to the next block.
func Padding(size int64) int64 { return -size & (BlockSize - 1) }

// EntrySize is what an entry takes in the file: header, content, padding.
func EntrySize(size int64) int64 { return HeaderSize(size) + size + Padding(size) }
