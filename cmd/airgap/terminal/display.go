package terminal

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
)

// lines is the display for logs: a line when a phase begins, one now and then, and one when it ends.
type lines struct {
	w           io.Writer
	lastDone    int64
	lastElapsed time.Duration
}

func (l *lines) begin(v view) {
	l.lastDone, l.lastElapsed = 0, 0
	if v.total > 0 {
		l.print("%s: %s", v.phase, v.amount(v.total))
	} else {
		l.print("%s", v.phase)
	}
}

func (l *lines) update(v view) {
	parts := []string{l.amount(v)}
	// The rate since the last line: a stall is seen when it happens, and not as a slow fall of an average.
	if rate := v.rate(v.done-l.lastDone, v.elapsed-l.lastElapsed); rate != "" && v.done > 0 {
		parts = append(parts, rate)
	}
	if v.item != "" {
		parts = append(parts, v.item)
	}
	l.lastDone, l.lastElapsed = v.done, v.elapsed
	l.print("%s: %s", v.phase, strings.Join(parts, ", "))
}

func (*lines) amount(v view) string {
	if v.total > 0 {
		return fmt.Sprintf("%s of %s (%d%%)", v.progress(), v.amount(v.total), v.percent())
	}
	if v.done > 0 {
		return v.amount(v.done)
	}
	return Duration(v.elapsed)
}

func (l *lines) end(v view) {
	switch {
	case !v.isComplete():
		l.print("%s: stopped at %s of %s after %s", v.phase, v.progress(), v.amount(v.total), Duration(v.elapsed))
	case v.done > 0:
		l.print("%s: %s in %s%s", v.phase, v.amount(v.done), Duration(v.elapsed), inBrackets(v.rate(v.done, v.elapsed)))
	default:
		l.print("%s: ended after %s", v.phase, Duration(v.elapsed))
	}
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func (l *lines) warn(format string, args ...any) {
	_, _ = fmt.Fprintln(l.w, "warning: "+Sprintf(format, args...))
}

// print writes one line. It has nobody to tell of an error, and progress is not worth failing for.
func (l *lines) print(format string, args ...any) {
	_, _ = fmt.Fprintln(l.w, Sprintf(format, args...))
}

// bar is the display for persons: a progress bar below the lines that tell which phases are over.
type bar struct {
	lines
	screen *Screen
	bar    *progressbar.ProgressBar
}

func (b *bar) begin(v view) {
	total := v.total
	if total <= 0 {
		total = -1 // progressbar's "not known"
	}
	b.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(io.Discard), // the screen draws, as it knows what else is on it
		progressbar.OptionShowBytes(v.thing == ""),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(v.thing),
		progressbar.OptionShowCount(),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetWidth(b.barWidth()),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSpinnerCustom([]string{"|", "/", "-", `\`}),
		progressbar.OptionSetSpinnerChangeInterval(0), // or it starts a goroutine that nothing ends
	)
	b.update(v)
}

// barWidth leaves room for the figures and the item: a quarter of the line, within reason.
func (b *bar) barWidth() int { return min(max(b.screen.width()/4, 5), 30) }

func (b *bar) update(v view) {
	done := v.done
	if v.total > 0 {
		// progressbar takes the total as the end, after which it stands still, and more than it as an error.
		// Here the phase ends when it is said to end: work may have to be done again.
		done = min(done, v.total-1)
	}
	_ = b.bar.Set64(max(done, 0))
	figures := strings.ReplaceAll(strings.TrimSpace(b.bar.String()), "( ", "(") // progressbar pads small numbers
	line := v.phase + " " + figures + "  " + v.item
	b.screen.Status(Escape(strings.TrimRight(line, " ")))
}

func (b *bar) end(v view) {
	b.screen.Status("")
	b.lines.end(v)
}

// records is the display for programs: JSON Lines.
type records struct{ log *slog.Logger }

func newRecords(w io.Writer) records {
	// Progress is not subject to --log-level: --quiet is the switch for it.
	return records{NewLogger(w, FormatJSON, slog.LevelInfo)}
}

func (r records) begin(v view)  { r.record("begin", v) }
func (r records) update(v view) { r.record("progress", v) }
func (r records) end(v view)    { r.record("end", v) }

func (r records) warn(format string, args ...any) { r.log.Warn(fmt.Sprintf(format, args...)) }

func (r records) record(message string, v view) {
	attributes := []slog.Attr{
		slog.String("phase", v.phase), slog.Int64("done", v.done), slog.Int64("total", v.total), slog.String("unit", cmp.Or(v.thing, "byte")),
		slog.Float64("seconds", v.elapsed.Seconds()),
	}
	if v.item != "" {
		attributes = append(attributes, slog.String("item", v.item))
	}
	r.log.LogAttrs(context.Background(), slog.LevelInfo, message, attributes...)
}

// quiet passes on warnings only.
type quiet struct{ display }

func (quiet) begin(view)  {}
func (quiet) update(view) {}
func (quiet) end(view)    {}
