// Package flight has one do what several wait for.
package flight

import (
	"context"
	"sync"
)

// Flight runs a function at most once at a time: whoever asks while it runs gets the same result. The function belongs
// to none of them, so the context of the first does not end it for the others; it is cancelled when nobody waits any
// more. The zero value is ready.
type Flight[T any] struct {
	mu      sync.Mutex
	current *run[T]
}

type run[T any] struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	value   T
	err     error
}

// Do returns what fn returns, or the error of ctx as soon as that is done.
func (f *Flight[T]) Do(ctx context.Context, fn func(context.Context) (T, error)) (T, error) {
	r := f.join(ctx, fn)
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		f.leave(r)
		var zero T
		return zero, ctx.Err()
	}
}

func (f *Flight[T]) join(ctx context.Context, fn func(context.Context) (T, error)) *run[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == nil {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &run[T]{cancel: cancel, done: make(chan struct{})}
		f.current = r
		go func() {
			defer cancel()
			r.value, r.err = fn(own)
			f.finish(r)
			close(r.done)
		}()
	}
	f.current.waiting++
	return f.current
}

func (f *Flight[T]) leave(r *run[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.waiting--; r.waiting > 0 {
		return
	}
	r.cancel()
	if f.current == r {
		f.current = nil
	}
}

func (f *Flight[T]) finish(r *run[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == r {
		f.current = nil
	}
}
