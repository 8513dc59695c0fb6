package volume

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Sizes that have names: what fits on a medium, with some room for its file system.
var Sizes = map[string]int64{
	"fat32":  4<<30 - 64<<10, // the largest file
	"dvd":    4_700_000_000 - 16<<20,
	"dvd-dl": 8_540_000_000 - 16<<20,
	"bd":     25_025_314_816 - 64<<20,
	"bd-dl":  50_050_629_632 - 64<<20,
}

var units = map[string]int64{"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30, "kb": 1e3, "mb": 1e6, "gb": 1e9}

var sizePattern = regexp.MustCompile(`^([0-9]{1,15})([a-z]*)$`)

// ParseSize reads a size of volumes: one of Sizes, or a number with a unit, as in 4000MiB or 4GB.
func ParseSize(s string) (int64, error) {
	if n, ok := Sizes[strings.ToLower(strings.TrimSpace(s))]; ok {
		return n, nil
	}
	n, ok := ParseBytes(s)
	switch {
	case !ok:
		return 0, fmt.Errorf("%w: %.40q is no size; 4000MiB, 4GB, fat32, dvd, dvd-dl, bd or bd-dl is expected", ErrVolumes, s)
	case n < MinSize:
		return 0, fmt.Errorf("%w: %.40q is too small; at least %d bytes are needed", ErrVolumes, s, MinSize)
	}
	return n, nil
}

// maxBytes is more than there is to carry.
const maxBytes = 1 << 56

// ParseBytes reads a number of bytes with a unit, as in 4000MiB or 4GB, of at most 2^56; false for what is none.
func ParseBytes(s string) (n int64, ok bool) {
	m := sizePattern.FindStringSubmatch(strings.ToLower(strings.TrimSpace(s)))
	if m == nil || units[m[2]] == 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	return n * units[m[2]], err == nil && n <= maxBytes/units[m[2]]
}

// volumeName and tableName name volume i, from 0, of the bundle that would be PATH.tar: PATH.tar.0001, PATH.volumes.0001.
func volumeName(path string, i int) string { return fmt.Sprintf("%s.tar.%04d", base(path), i+1) }
func tableName(path string, i int) string  { return fmt.Sprintf("%s.volumes.%04d", base(path), i+1) }

// FirstName is the name of the first volume of the bundle that would be PATH.tar.
func FirstName(path string) string { return volumeName(path, 0) }

// parityName names volume i of parity, from 0: PATH.parity.0001.
func parityName(path string, i int) string { return fmt.Sprintf("%s.parity.%04d", base(path), i+1) }

// memberName names volume i, where those of parity come after the others.
func (t *Table) memberName(path string, i int) string {
	if i < t.Volumes() {
		return volumeName(path, i)
	}
	return parityName(path, i-t.Volumes())
}

// ParseParity reads how many volumes of parity there are to be: a number, or a percentage of the volumes, rounded up.
func ParseParity(s string) (parity func(volumes int) int, err error) {
	text, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n < 1 || n > 1000:
		return nil, fmt.Errorf("%w: %.40q is no number of volumes, such as 2 or 10%%", ErrVolumes, s)
	case percent:
		return func(volumes int) int { return (volumes*n + 99) / 100 }, nil
	}
	return func(int) int { return n }, nil
}

func base(path string) string { return strings.TrimSuffix(path, ".tar") }

var namePattern = regexp.MustCompile(`^(.+)\.(tar|volumes|parity)\.([0-9]{4})$`)

// parseName takes the name of a volume or of a table apart.
func parseName(name string) (set string, what kind, number int, ok bool) {
	m := namePattern.FindStringSubmatch(name)
	if m == nil {
		return "", "", 0, false
	}
	number, err := strconv.Atoi(m[3])
	return m[1], kind(m[2]), number, err == nil && number >= 1
}

// kind is what a file is by its name.
type kind string

const (
	kindData   kind = "tar"
	kindTable  kind = "volumes"
	kindParity kind = "parity"
)

// IsPart tells whether a file is, by its name, a volume or a table.
func IsPart(name string) bool {
	_, _, _, ok := parseName(name)
	return ok
}

// SetName returns NAME of a file that is, by its name, the bundle NAME.tar, or a volume of it, or a table.
func SetName(file string) string {
	if set, _, _, ok := parseName(file); ok {
		return set
	}
	return base(file)
}
