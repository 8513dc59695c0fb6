package bundletest

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Entry is an entry of a tar: the bytes of its header, content and padding.
type Entry struct {
	Name string
	Size int64
	Raw  []byte
}

const block = 512

// Entries takes a bundle apart, without airgap's own reader. It understands what bundles below 8 GiB have.
func Entries(bundle []byte) (entries []Entry, end []byte) {
	for len(bundle) >= block && bundle[0] != 0 {
		name, _, _ := strings.Cut(string(bundle[:100]), "\x00")
		size, err := strconv.ParseInt(string(bundle[124:135]), 8, 64)
		if err != nil {
			panic(err)
		}
		length := block + (size+block-1)/block*block
		entries = append(entries, Entry{name, size, bundle[:length]})
		bundle = bundle[length:]
	}
	return entries, bundle
}

// sized returns a header with another size, and a checksum that is right for it.
func (e Entry) sized(size int64) []byte {
	header := bytes.Clone(e.Raw[:block])
	copy(header[124:], fmt.Sprintf("%011o", size))
	return sum(header)
}

func (e Entry) named(name string) []byte {
	raw := bytes.Clone(e.Raw)
	copy(raw, make([]byte, 100))
	copy(raw, name)
	copy(raw, sum(raw[:block]))
	return raw
}

// sum puts the right checksum into a header.
func sum(header []byte) []byte {
	copy(header[148:156], "        ")
	total := 0
	for _, c := range header[:block] {
		total += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", total))
	return header
}

func (e Entry) content() []byte { return e.Raw[block : block+e.Size] }

// pad returns content with zeros up to a full block.
func pad(content []byte) []byte {
	return append(bytes.Clone(content), make([]byte, -len(content)&(block-1))...)
}

// flipped returns the entry with a bit changed at the given byte.
func (e Entry) flipped(at int64) []byte {
	raw := bytes.Clone(e.Raw)
	raw[at] ^= 1
	return raw
}

// Spoiled yields a bundle spoilt in every way in which an entry can be, entry by entry, with a name for each. A reader
// must refuse all of them.
func Spoiled(good []byte) iter.Seq2[string, []byte] {
	entries, end := Entries(good)
	return func(yield func(string, []byte) bool) {
		for i, e := range entries {
			for how, replacement := range e.spoiled(entries, i) {
				var spoiled []byte
				for j, other := range entries {
					switch {
					case j == i:
						spoiled = append(spoiled, replacement...)
					case j == i+1 && how == "reordered": // it is in the replacement
					default:
						spoiled = append(spoiled, other.Raw...)
					}
				}
				if !yield(fmt.Sprintf("entry %d, %.30s, %s", i, e.Name, how), append(spoiled, end...)) {
					return
				}
			}
		}
		for how, bad := range map[string][]byte{
			"end: a bit changed":   append(bytes.Clone(good[:len(good)-1]), 1),
			"end: cut short":       good[:len(good)-block],
			"end: missing":         good[:len(good)-2*block],
			"end: something added": append(bytes.Clone(good), make([]byte, block)...),
			"nothing but the end":  make([]byte, 2*block),
			"empty":                nil,
		} {
			if !yield(how, bad) {
				return
			}
		}
	}
}

func (e Entry) spoiled(entries []Entry, i int) map[string][]byte {
	ways := map[string][]byte{
		"header changed":  e.flipped(110), // the user id, which no reader needs
		"mode changed":    e.flipped(105),
		"removed":         {},
		"duplicated":      append(bytes.Clone(e.Raw), e.Raw...),
		"renamed":         e.named("blobs/sha256/" + strings.Repeat("0", 64)),
		"name with a ../": e.named("../" + e.Name),
		"lengthened":      append(e.sized(e.Size+1), pad(append(bytes.Clone(e.content()), 'x'))...),
		"absurd size":     append(e.sized(1<<33-1), e.Raw[block:]...),
	}
	if e.Size > 0 {
		ways["content changed"] = e.flipped(block + e.Size/2)
		ways["shortened"] = append(e.sized(e.Size-1), pad(e.content()[:e.Size-1])...)
		ways["emptied"] = e.sized(0)
	}
	if e.Size%block != 0 {
		ways["padding changed"] = e.flipped(int64(len(e.Raw)) - 1)
	}
	if i+1 < len(entries) {
		ways["reordered"] = append(bytes.Clone(entries[i+1].Raw), e.Raw...)
	}
	return ways
}
