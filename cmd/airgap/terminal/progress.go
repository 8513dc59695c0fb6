package terminal

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Progress shows how far a command has come. It implements bundle.Observer: counting is one atomic addition, and a
// goroutine of its own does the showing. Close it, or the last line never appears.
type Progress struct {
	display  display
	now      func() time.Time
	stop     chan struct{}
	stopped  sync.WaitGroup
	closing  sync.Once
	done     atomic.Int64
	item     atomic.Pointer[string]
	mu       sync.Mutex // orders the calls to display, and guards what follows
	phase    string
	thing    string
	total    int64
	began    time.Time
	inPhase  bool
	isClosed bool
}

// display is one way of showing progress. Calls come one at a time.
type display interface {
	begin(v view)
	update(v view)
	end(v view)
	warn(format string, args ...any)
}

// view is the state at one moment. Strings in it come from outside and are not escaped.
type view struct {
	phase       string
	thing       string // what is counted; "" is bytes
	item        string
	done, total int64 // a total of 0 is not known
	elapsed     time.Duration
}

// isComplete tells whether the phase did all that it set out to do, as far as that can be told.
func (v view) isComplete() bool { return v.total == 0 || v.done >= v.total }

// amount writes n of what is counted.
func (v view) amount(n int64) string {
	if v.thing == "" {
		return Bytes(n)
	}
	return Count(int(n), v.thing)
}

// progress writes what is done, of a total that follows.
func (v view) progress() string {
	if v.thing == "" {
		return Bytes(v.done)
	}
	return strconv.FormatInt(v.done, 10)
}

// rate writes n of what is counted in d. No time at all gives "".
func (v view) rate(n int64, d time.Duration) string {
	if v.thing == "" || d <= 0 {
		return Rate(n, d)
	}
	return scaled(float64(n)/d.Seconds()) + "/s"
}

func (v view) percent() int64 {
	if v.total <= 0 {
		return 0
	}
	return int64(float64(v.done) / float64(v.total) * 100)
}

// Options says how NewProgress shows what it is told.
type Options struct {
	Screen *Screen
	Format Format
	Quiet  bool             // nothing but warnings
	Now    func() time.Time // the clock; nil is time.Now
	// Interval is how often the display is renewed. 0 is five times a second on a terminal, where a person looks
	// on, and every ten seconds elsewhere, where each time is one more line in a log. Negative is never.
	Interval time.Duration
}

// NewProgress returns a Progress that suits the screen: a bar on a terminal, lines elsewhere, JSON where that was
// asked for.
func NewProgress(o Options) *Progress {
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Progress{display: newDisplay(o), now: o.Now, stop: make(chan struct{})}
	if interval := o.interval(); interval > 0 {
		p.stopped.Go(func() { p.renew(interval) })
	}
	return p
}

func newDisplay(o Options) display {
	switch {
	case o.Quiet && o.Format == FormatJSON:
		return quiet{newRecords(o.Screen)}
	case o.Quiet:
		return quiet{&lines{w: o.Screen}}
	case o.Format == FormatJSON:
		return newRecords(o.Screen)
	case o.Screen.IsTerminal():
		return &bar{lines: lines{w: o.Screen}, screen: o.Screen}
	}
	return &lines{w: o.Screen}
}

func (o Options) interval() time.Duration {
	const (
		forPersons = 200 * time.Millisecond
		forLogs    = 10 * time.Second
	)
	switch {
	case o.Interval != 0:
		return o.Interval
	case o.Format != FormatJSON && o.Screen.IsTerminal():
		return forPersons
	}
	return forLogs
}

func (p *Progress) renew(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			p.refresh()
		}
	}
}

// refresh shows the state of the moment.
func (p *Progress) refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inPhase {
		p.display.update(p.view())
	}
}

// view must be called with the lock held.
func (p *Progress) view() view {
	v := view{phase: p.phase, thing: p.thing, done: p.done.Load(), total: p.total, elapsed: p.now().Sub(p.began)}
	if item := p.item.Load(); item != nil {
		v.item = *item
	}
	return v
}

// Phase implements bundle.Observer.
func (p *Progress) Phase(name string, total int64) { p.Count(name, "", total) }

// Count implements bundle.Observer.
func (p *Progress) Count(name, thing string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endPhase()
	p.phase, p.thing, p.total, p.began, p.inPhase = name, thing, total, p.now(), !p.isClosed
	p.done.Store(0)
	p.item.Store(nil)
	if p.inPhase {
		p.display.begin(p.view())
	}
}

func (p *Progress) endPhase() {
	if p.inPhase {
		p.inPhase = false
		p.display.end(p.view())
	}
}

// Item implements bundle.Observer.
func (p *Progress) Item(name string) { p.item.Store(&name) }

// Add implements bundle.Observer.
func (p *Progress) Add(n int64) { p.done.Add(n) }

// Warn implements bundle.Observer.
func (p *Progress) Warn(message string) { p.Warnf("%s", message) }

// Warnf prints a warning; arguments are escaped (see Sprintf).
func (p *Progress) Warnf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.display.warn(format, args...)
}

// Close ends the phase and the showing. It can be called more than once.
func (p *Progress) Close() {
	p.closing.Do(func() { close(p.stop) })
	p.stopped.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endPhase()
	p.isClosed = true
}
