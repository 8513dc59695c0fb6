package concurrency

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// server is a model of a registry, in a time of its own.
type server struct {
	clock  time.Time
	ends   ends
	takes  func(underWay int) time.Duration
	refuse int // above so many at once it answers 429; 0 is never
	limit  *Limit
	active int
	worst  int // the most that there were at once
}

type ends []time.Time

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].Before(e[j]) }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(time.Time)) }
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newServer(most int, takes func(int) time.Duration) *server {
	s := &server{clock: time.Unix(1_700_000_000, 0), takes: takes}
	s.limit = New(most, func() time.Time { return s.clock })
	return s
}

// serve answers so many requests, with always more of them waiting, and returns how many it answered in a second.
func (s *server) serve(requests int) float64 {
	start := s.clock
	for range requests {
		for s.limit.enter() {
			s.active++
			s.worst = max(s.worst, s.active)
			if s.refuse > 0 && s.active > s.refuse {
				s.limit.Overloaded()
			}
			heap.Push(&s.ends, s.clock.Add(s.takes(s.active)))
		}
		s.clock = heap.Pop(&s.ends).(time.Time)
		s.active--
		s.limit.Leave(1)
	}
	return float64(requests) / s.clock.Sub(start).Seconds()
}

// slots is a registry that works on so many requests at once, and lets the others wait for their turn.
func slots(n int, each time.Duration) func(int) time.Duration {
	return func(underWay int) time.Duration { return each * time.Duration(max(n, underWay)) / time.Duration(n) }
}

func TestBeginsAtEight(t *testing.T) {
	for most, want := range map[int]int{64: 8, 8: 8, 3: 3, 1: 1, 0: 1} {
		if got := New(most, nil).Current(); got != want {
			t.Errorf("at most %d: begins at %d, want %d", most, got, want)
		}
	}
}

// It finds out by itself how much a registry can do at once, without asking for much more than that.
func TestGrowsWhileThroughputGrows(t *testing.T) {
	for _, capacity := range []int{8, 16, 24, 40} {
		s := newServer(64, slots(capacity, 20*time.Millisecond))
		s.serve(20_000)
		rate := s.serve(20_000)
		best := float64(capacity) / 0.020
		if rate < 0.9*best {
			t.Errorf("capacity %d: %.0f requests a second, of the %.0f that there could be; %d at once", capacity, rate, best, s.limit.Current())
		}
		if s.worst > capacity*8/5 {
			t.Errorf("capacity %d: %d at once", capacity, s.worst)
		}
	}
	if s := newServer(12, slots(40, 20*time.Millisecond)); s.serve(20_000) == 0 || s.worst != 12 {
		t.Errorf("%d at once, want the 12 that are allowed", s.worst)
	}
}

// A registry that can do less than what it begins with, and does not say so, is asked for less.
func TestShrinksWhenAnswersTakeLonger(t *testing.T) {
	quick := slots(16, 20*time.Millisecond)
	s := newServer(64, quick)
	s.serve(20_000)
	had := s.limit.Current()
	s.takes = func(n int) time.Duration { return 20 * time.Millisecond * time.Duration(1+n*n/16) } // it gets on its own nerves
	s.serve(5_000)
	if got := s.limit.Current(); got > had/2 {
		t.Errorf("%d at once, after %d while it was quick", got, had)
	}
}

// Where everything has become slow for other reasons, such as a longer way or a busy machine, asking for less would only be
// slower still.
func TestDoesNotShrinkForWhatIsNotItsDoing(t *testing.T) {
	s := newServer(64, func(int) time.Duration { return 20 * time.Millisecond })
	s.serve(5_000)
	had := s.limit.Current()
	for _, slower := range []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second} {
		s.takes = func(int) time.Duration { return slower }
		s.serve(5_000)
		if got := s.limit.Current(); got < had*3/4 {
			t.Errorf("%d at once after %d, since answers take %s", got, had, slower)
		}
	}
}

func TestShrinksWhenRefused(t *testing.T) {
	s := newServer(64, slots(64, 20*time.Millisecond))
	s.refuse = 20
	s.serve(40_000)
	if got := s.limit.Current(); got > 20 || got < 5 {
		t.Errorf("%d at once, where 20 are allowed", got)
	}
	if s.worst > 25 {
		t.Errorf("%d at once, where 20 are allowed", s.worst)
	}
	// All that were under way are refused: that is one overload.
	l := New(64, nil)
	for range 8 {
		l.Overloaded()
	}
	if got := l.Current(); got != Begin/2 {
		t.Errorf("%d at once after one overload", got)
	}
}

// What does not fill the limit says nothing about it.
func TestStaysWhereThereIsLittleToDo(t *testing.T) {
	clock := time.Unix(1_700_000_000, 0)
	l := New(64, func() time.Time { return clock })
	for range 1000 {
		if err := l.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(time.Second)
		l.Leave(1)
	}
	if got := l.Current(); got != Begin {
		t.Errorf("%d at once", got)
	}
}

func TestEnterWaits(t *testing.T) {
	l := New(1, nil)
	if err := l.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Enter(done); !errors.Is(err, context.Canceled) {
		t.Errorf("there was room: %v", err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := l.Enter(t.Context()); err != nil {
				t.Error(err)
			}
			l.Leave(1)
		})
	}
	l.Leave(1)
	wg.Wait()
	// Many give up while others come and go.
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%2 == 0 {
				go cancel()
			}
			if err := l.Enter(ctx); err == nil {
				l.Leave(1)
			}
			cancel()
		})
	}
	wg.Wait()
	if l.active != 0 || len(l.waiting) != 0 {
		t.Errorf("%d are still under way, and %d wait", l.active, len(l.waiting))
	}
}
