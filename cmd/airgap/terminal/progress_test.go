package terminal

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
)

var _ bundle.Observer = (*Progress)(nil)

// clock is a clock that the test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }
func newClock() *clock                   { return &clock{time.Unix(1700000000, 0)} }

// run shows one finished and one broken phase.
func run(o Options) {
	c := newClock()
	o.Now, o.Interval = c.now, -1
	p := NewProgress(o)
	defer p.Close()
	p.Phase("resolve", 0)
	p.Item("docker.io/acme/app:1")
	c.advance(2 * time.Second)
	p.refresh()
	p.Phase("fetch", 4<<20)
	c.advance(time.Second)
	p.Add(1 << 20)
	p.refresh()
	p.Warn("docker.io/acme/app:1 has no referrers")
	p.Add(1 << 20)
	p.Add(-1 << 20) // a blob that broke
	p.Add(2 << 20)
	p.Item("sha256:abc")
	c.advance(time.Second)
	p.refresh()
	p.Add(1 << 20)
	p.Phase("push", 100)
	p.Add(30)
	c.advance(500 * time.Millisecond)
}

func TestLines(t *testing.T) {
	var b bytes.Buffer
	run(Options{Screen: NewScreen(&b, nil)})
	want := `resolve
resolve: 2s, docker.io/acme/app:1
resolve: ended after 2s
fetch: 4.0 MiB
fetch: 1.0 MiB of 4.0 MiB (25%), 1.0 MiB/s
warning: docker.io/acme/app:1 has no referrers
fetch: 3.0 MiB of 4.0 MiB (75%), 2.0 MiB/s, sha256:abc
fetch: 4.0 MiB in 2s (2.0 MiB/s)
push: 100 B
push: stopped at 30 B of 100 B after 500ms
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Where bytes are not the work, things are counted.
func TestThingsAreCounted(t *testing.T) {
	var b, records, screen bytes.Buffer
	for _, o := range []Options{{Screen: NewScreen(&b, nil)}, {Screen: NewScreen(&records, nil), Format: FormatJSON}, {Screen: NewScreen(&screen, wide)}} {
		c := newClock()
		o.Now, o.Interval = c.now, -1
		p := NewProgress(o)
		p.Count("find", "manifest", 0)
		p.Add(300)
		c.advance(2 * time.Second)
		p.refresh()
		p.Count("list", "repository", 4)
		p.Add(1)
		p.refresh()
		p.Close()
	}
	want := `find
find: 300 manifests, 150/s
find: 300 manifests in 2s (150/s)
list: 4 repositories
list: 1 of 4 repositories (25%)
list: stopped at 1 of 4 repositories after 0s
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := records.String(); !strings.Contains(got, `"unit":"manifest"`) {
		t.Errorf("no unit in %s", got)
	}
	if _, states, _ := onScreen(t, screen.String()); strings.Contains(strings.Join(states, "\n"), "iB") {
		t.Errorf("bytes on the screen: %q", states)
	}
}

func TestQuietPassesOnWarnings(t *testing.T) {
	var b bytes.Buffer
	run(Options{Screen: NewScreen(&b, nil), Quiet: true})
	if got, want := b.String(), "warning: docker.io/acme/app:1 has no referrers\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRecordsAreJSONLines(t *testing.T) {
	var b bytes.Buffer
	run(Options{Screen: NewScreen(&b, wide), Format: FormatJSON})
	var messages []string
	for line := range strings.Lines(b.String()) {
		var record struct {
			Level, Msg, Phase, Item string
			Done, Total             int64
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if record.Msg == "progress" && record.Item == "sha256:abc" && (record.Done != 3<<20 || record.Total != 4<<20) {
			t.Errorf("wrong figures: %s", line)
		}
		messages = append(messages, record.Msg)
	}
	want := "begin progress end begin progress docker.io/acme/app:1 has no referrers progress end begin end"
	if got := strings.Join(messages, " "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// onScreen plays back what was written, as a terminal would: a carriage return leads back to the first cell.
// It returns the finished lines, each state of the last line, and the widest line.
func onScreen(t *testing.T, written string) (finished, states []string, widest int) {
	t.Helper()
	for i, line := range strings.Split(written, "\n") {
		var cells []rune
		column := 0
		for _, r := range line {
			if r == '\r' {
				if state := strings.TrimRight(string(cells), " "); state != "" {
					states = append(states, state)
				}
				column = 0
				continue
			}
			cells = append(cells[:column], append([]rune{r}, cells[min(column+1, len(cells)):]...)...)
			column++
			widest = max(widest, column)
		}
		if i < strings.Count(written, "\n") {
			finished = append(finished, strings.TrimRight(string(cells), " "))
		} else if rest := strings.TrimSpace(string(cells)); rest != "" {
			t.Errorf("%q is left on the screen", rest)
		}
	}
	return finished, states, widest
}

func TestBar(t *testing.T) {
	var b bytes.Buffer
	run(Options{Screen: NewScreen(&b, wide)})
	finished, states, widest := onScreen(t, b.String())
	want := []string{
		"resolve: ended after 2s",
		"warning: docker.io/acme/app:1 has no referrers",
		"fetch: 4.0 MiB in 2s (2.0 MiB/s)",
		"push: stopped at 30 B of 100 B after 500ms",
	}
	if got := strings.Join(finished, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("lines that stay:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	last := states[len(states)-2] // before the phase "push"
	for _, part := range []string{"fetch", "75%", "[===", "(3.0/4.0 MiB", "/s)", "sha256:abc"} {
		if !strings.Contains(last, part) {
			t.Errorf("%q is missing in %q", part, last)
		}
	}
	if widest > 99 {
		t.Errorf("a line of %d cells on a terminal of 100", widest)
	}
}

func TestBarFitsTheTerminal(t *testing.T) {
	for _, width := range []int{1, 2, 10, 40, 80} {
		var b bytes.Buffer
		p := NewProgress(Options{Screen: NewScreen(&b, func() int { return width }), Interval: -1})
		p.Phase("fetch", 1<<40)
		p.Item(strings.Repeat("日本語", 100))
		p.Add(1 << 39)
		p.refresh()
		for _, state := range strings.Split(b.String(), "\r") {
			if cells := strings.TrimRight(state, "\n"); len(cells) > 0 && fit(cells, width-1) != cells {
				t.Errorf("on %d cells: %q", width, cells)
			}
		}
		p.Close()
	}
}

// More than was announced, and work taken back, must not stop the bar.
func TestBarSurvivesWrongFigures(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(Options{Screen: NewScreen(&b, wide), Interval: -1})
	p.Phase("fetch", 100)
	for _, n := range []int64{150, -100, -100, 40} {
		p.Add(n)
		p.refresh()
	}
	p.Add(60)
	p.Phase("fetch", 1)
	p.Add(1)
	p.refresh()
	p.Close()
	_, states, _ := onScreen(t, b.String())
	for i, percent := range []string{"0%", "99%", "50%", "0%", "0%"} {
		if !strings.Contains(states[i], percent) {
			t.Errorf("state %d: %q, want %s", i, states[i], percent)
		}
	}
}

func TestLogLinesKeepTheStatusLineBelow(t *testing.T) {
	var b bytes.Buffer
	screen := NewScreen(&b, wide)
	p := NewProgress(Options{Screen: screen, Interval: -1})
	p.Phase("fetch", 100)
	NewLogger(screen, FormatText, slog.LevelWarn).Warn("retrying")
	if !strings.HasSuffix(b.String(), "]") || !strings.Contains(b.String(), "msg=retrying\n") {
		t.Errorf("got %q", b.String())
	}
	p.Close()
	onScreen(t, b.String())
}

func TestProgressIsSafeForConcurrentUse(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(Options{Screen: NewScreen(&b, wide), Interval: time.Microsecond})
	p.Phase("fetch", 8000)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				p.Item("x")
				p.Add(1)
			}
			p.Warn("w")
		})
	}
	all.Wait()
	p.Close()
	p.Close()
	p.Phase("after the end", 0)
	finished, _, _ := onScreen(t, b.String())
	if len(finished) != 9 || !strings.HasPrefix(finished[8], "fetch: 7.8 KiB in") {
		t.Errorf("got %q", finished)
	}
}

func TestParse(t *testing.T) {
	if _, err := ParseFormat("xml"); err == nil || err.Error() != `"xml" is no log format: text or json` {
		t.Errorf("got %v", err)
	}
	if _, err := ParseLevel("loud"); err == nil || err.Error() != `"loud" is no log level: debug, info, warn or error` {
		t.Errorf("got %v", err)
	}
	if level, err := ParseLevel("Debug"); err != nil || level != slog.LevelDebug {
		t.Errorf("got %v, %v", level, err)
	}
}
