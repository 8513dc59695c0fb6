package wire

import (
	"context"
	"sync"
	"time"
)

// limiter holds the requests to one host to its Config: so many at once, and so many in a second.
type limiter struct {
	slots    chan struct{} // nil: any number at once
	interval time.Duration // 0: any number in a second

	mu   sync.Mutex
	next time.Time // when the next request may begin
}

// maxInterval bounds the time between two requests, which would overflow for rates next to nothing.
const maxInterval = time.Hour

func newLimiter(cfg Config) *limiter {
	l := &limiter{}
	if cfg.ReqConcurrent > 0 {
		l.slots = make(chan struct{}, cfg.ReqConcurrent)
	}
	if cfg.ReqPerSec > 0 {
		l.interval = time.Duration(min(float64(time.Second)/cfg.ReqPerSec, float64(maxInterval)))
	}
	return l
}

// enter waits until a request may begin. leave must be called when it is over; a second call does nothing.
func (l *limiter) enter(ctx context.Context, counted bool, cfg *Config) (leave func(), err error) {
	leave = func() {}
	if l.slots != nil && counted {
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		leave = sync.OnceFunc(func() { <-l.slots })
	}
	if wait := l.turn(cfg.Now()); wait > 0 {
		if err := cfg.Sleep(ctx, wait); err != nil {
			leave()
			return nil, err
		}
	}
	return leave, nil
}

// turn takes the next free moment to begin and returns how long that is from now.
func (l *limiter) turn(now time.Time) time.Duration {
	if l.interval == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := now
	if at.Before(l.next) {
		at = l.next
	}
	l.next = at.Add(l.interval)
	return at.Sub(now)
}
