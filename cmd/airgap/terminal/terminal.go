// Package terminal is how airgap talks to a person or to a log: it escapes what comes from outside, writes sizes,
// and shows progress. Begin with NewScreen, which owns standard error, and NewProgress, which is the
// bundle.Observer that the library packages report to.
//
// Nothing here writes to standard output, which carries results only.
package terminal

import (
	"io"
	"strings"
	"sync"

	"github.com/rivo/uniseg"
)

// Screen owns a stream, usually standard error, that several writers share: log lines, warnings and one status line
// that is redrawn below them. It is safe for concurrent use.
type Screen struct {
	mu     sync.Mutex
	w      io.Writer
	width  func() int
	status string
	cells  int // width of the status line on the terminal, to be wiped
}

// NewScreen returns a Screen that writes to w. width returns the number of cells in a line of the terminal; it is
// asked for each status line, as people resize windows. It is nil where w is no terminal.
func NewScreen(w io.Writer, width func() int) *Screen {
	return &Screen{w: w, width: width}
}

// IsTerminal tells whether there is a person in front of the screen, and so a place for a status line.
func (s *Screen) IsTerminal() bool { return s.width != nil }

// Write prints p, which must be whole lines, above the status line.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	n, err := s.w.Write(p)
	s.draw()
	return n, err
}

// Status replaces the status line; "" removes it. Without a terminal it does nothing.
func (s *Screen) Status(line string) {
	if !s.IsTerminal() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	s.status = line
	s.draw()
}

// wipe and draw do without escape sequences, which not every Windows console understands. What they write is
// cosmetic: an error here shows again when something that matters is written.
func (s *Screen) wipe() {
	if s.cells > 0 {
		_, _ = io.WriteString(s.w, "\r"+strings.Repeat(" ", s.cells)+"\r")
		s.cells = 0
	}
}

func (s *Screen) draw() {
	if s.status == "" {
		return
	}
	// One cell stays free: a line as wide as the terminal wraps, and could not be wiped.
	line := fit(s.status, s.width()-1)
	s.cells = uniseg.StringWidth(line)
	_, _ = io.WriteString(s.w, line)
}

// fit shortens s to a number of cells.
func fit(s string, cells int) string {
	if uniseg.StringWidth(s) <= cells {
		return s
	}
	var b strings.Builder
	used := 0
	for g := uniseg.NewGraphemes(s); g.Next(); {
		if used += g.Width(); used > cells {
			break
		}
		b.WriteString(g.Str())
	}
	return b.String()
}
