// Package concurrency finds out how much to ask of a registry at once.
//
// Make one Limit for all the workers that ask one registry, of which there may be as many as the Limit ever allows. Each
// calls Enter before it asks for something and Leave after it, with how much work that was; whoever sees the registry
// refuse for want of capacity calls Overloaded.
//
// The number begins at Begin. It grows as long as that makes more work done in a second, in steps of a quarter; a step that
// does not pay is taken back, and tried again only after a while. It shrinks by half when the registry is overloaded, and by
// a quarter when what it is asked for takes more than twice as long as at best, and less than half as much is done.
package concurrency

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Begin is the number that a Limit begins with.
const Begin = 8

const (
	// pays is by how much more work per second a step must bring to be kept.
	pays = 1.05
	// slow is by how much more time things may take, and how much less work may be done, than at best.
	slow = 2.0
	// leastDone and leastTime are what a measurement takes at least: shorter ones measure chance.
	leastDone = 16
	leastTime = 50 * time.Millisecond
	// pause is for how many measurements the number stays after a step that did not pay, and after an overload.
	pause = 16
	// remembered is after how many measurements the best ones are forgotten: what is asked for changes as a run goes on.
	remembered = 64
)

// Limit is how much may be under way at once. It is safe for concurrent use.
type Limit struct {
	most int
	now  func() time.Time

	mu      sync.Mutex
	limit   int
	active  int
	waiting []chan struct{} // closed when it is their turn, the first first

	// The measurement under way.
	since time.Time
	done  int
	work  int64
	full  bool // the limit has been reached in it
	asked bool // the registry has asked for less in it

	// What measurements have shown.
	rate     float64 // work per second before the last step; 0: not known
	before   int     // the number before the last step up; 0: there was none
	above    int     // the number before the last step down for slowness; 0: there was none
	wasSlow  bool    // the measurement before was slow as well; the first one is of before and after
	settling bool    // what was begun before that step down is not all done
	rest     int     // measurements for which the number stays
	bestRate float64 // work per second, at best
	bestTime float64 // seconds that one thing takes, at best
	bestAge  int     // measurements since the best were last forgotten
}

// New returns a Limit that never allows more than most, at least 1. now is the clock; nil is time.Now.
func New(most int, now func() time.Time) *Limit {
	if now == nil {
		now = time.Now
	}
	most = max(1, most)
	return &Limit{most: most, now: now, limit: min(Begin, most), since: now()}
}

// Enter waits until there is room for one more, or ctx is done, whose error it returns. Who comes first is let in first.
func (l *Limit) Enter(ctx context.Context) error {
	l.mu.Lock()
	if l.enter() {
		l.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, turn); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	} else { // it was let in at the same moment
		l.active--
		l.admit()
	}
	return ctx.Err()
}

// enter enters if there is room.
func (l *Limit) enter() bool {
	if l.active >= l.limit {
		l.full = true
		return false
	}
	l.active++
	return true
}

// admit lets in as many of those who wait as there is room for.
func (l *Limit) admit() {
	for len(l.waiting) > 0 && l.enter() {
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
	}
}

// Leave ends what Enter began. work is how much it was, in any unit that adds up, such as bytes and so many for each request.
func (l *Limit) Leave(work int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active--
	l.done++
	l.work += work
	if l.done >= max(leastDone, 2*l.limit) {
		if now := l.now(); now.Sub(l.since) >= leastTime {
			l.measured(now.Sub(l.since).Seconds())
			l.begin(now)
		}
	}
	l.admit()
}

// Overloaded is for an answer that says that the registry cannot take so much: 429, 500, 502, 503 or 504.
func (l *Limit) Overloaded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked {
		return // all that were under way may be answered so; that is one overload
	}
	l.limit = max(1, l.limit/2)
	l.before, l.above, l.rate, l.rest = 0, 0, 0, pause
	l.wasSlow, l.settling = false, false
	l.begin(l.now())
	l.asked = true
}

// Current returns how much may be under way now.
func (l *Limit) Current() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}

func (l *Limit) begin(now time.Time) {
	l.since, l.done, l.work, l.full, l.asked = now, 0, 0, false, false
}

// measured draws conclusions from a measurement that took so many seconds.
func (l *Limit) measured(seconds float64) {
	if !l.full {
		return // there were not enough workers, or not enough to do, to say anything
	}
	if l.settling {
		l.settling = false
		return
	}
	rate := float64(l.work) / seconds
	took := seconds * float64(l.limit) / float64(l.done) // by Little's law
	if l.bestAge++; l.bestTime == 0 || l.bestAge > remembered {
		l.bestRate, l.bestTime, l.bestAge = rate, took, 0
	}
	l.bestRate, l.bestTime = max(l.bestRate, rate), min(l.bestTime, took)
	isSlow := took > l.bestTime*slow && rate < l.bestRate/slow
	again := isSlow && l.wasSlow
	l.wasSlow = isSlow
	switch {
	case l.before > 0 && rate < l.rate*pays: // the step did not pay
		l.limit, l.before, l.rest = l.before, 0, pause
	case l.above > 0 && rate*pays < l.rate: // neither did this one, and what is slow now is as it should be
		l.limit, l.above, l.rest, l.bestTime = l.above, 0, pause, 0
	case again && l.limit > 1:
		l.above, l.rate, l.settling = l.limit, rate, true
		l.limit, l.before, l.rest = l.limit-max(1, l.limit/4), 0, pause
	case isSlow: // and perhaps not the next time
	case l.rest > 0:
		l.rest--
		l.before, l.above = 0, 0
	case l.limit < l.most:
		l.before, l.rate = l.limit, rate
		l.limit = min(l.most, l.limit+max(1, l.limit/4))
	default:
		l.before = 0
	}
}
