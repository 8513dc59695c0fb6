package cache

import (
	"io"
	"os"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/export"
)

var _ export.Facts = (*Source)(nil)

// maxFact bounds the file of a fact, in bytes.
const maxFact = 4 << 10

// Noted implements export.Facts. The file has the time on a line, and the fact on another.
func (s *Source) Noted(fact string) time.Time {
	f, err := os.Open(s.factPath(fact))
	if err != nil {
		return time.Time{}
	}
	defer func() { _ = f.Close() }()
	entry, err := io.ReadAll(io.LimitReader(f, maxFact))
	if err != nil {
		return time.Time{}
	}
	first, rest, _ := strings.Cut(string(entry), "\n")
	at, err := time.Parse(time.RFC3339Nano, first)
	if err != nil || rest != fact+"\n" {
		return time.Time{}
	}
	return at
}

// Note implements export.Facts.
func (s *Source) Note(fact string, at time.Time) {
	s.write(s.factPath(fact), []byte(at.UTC().Format(time.RFC3339Nano)+"\n"+fact+"\n"))
}

// factPath is where a fact lies, among the manifests. Neither is ever taken for the other.
func (s *Source) factPath(fact string) string { return s.path(bundle.DigestOf([]byte(fact))) }
