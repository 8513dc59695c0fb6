package wire

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// ErrStalled: no byte has moved for Config.Stall. It is a net.Error, of a timeout.
var ErrStalled error = stalled{}

type stalled struct{}

func (stalled) Error() string   { return "the connection stalled" }
func (stalled) Timeout() bool   { return true }
func (stalled) Temporary() bool { return true }

// watch cancels an exchange on which nothing moves any more. Timeouts of net/http are for whole phases, and a layer may
// take hours as long as it gets on.
type watch struct {
	ctx    context.Context // the exchange's own, see newWatch
	cancel context.CancelCauseFunc
	timer  *time.Timer
	whole  *time.Timer // of all of it; nil where it may take as long as it gets on
}

// newWatch returns a context for one exchange, and its watch, which sleeps until told what to expect. end must be called.
func newWatch(parent context.Context) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watch{ctx: ctx, cancel: cancel}
	w.timer = time.AfterFunc(time.Hour, func() { cancel(ErrStalled) })
	w.timer.Stop()
	return ctx, w
}

// within cancels the exchange unless end comes within d, however it gets on. 0 is any time.
func (w *watch) within(d time.Duration) {
	if d > 0 {
		w.whole = time.AfterFunc(d, func() { w.cancel(ErrStalled) })
	}
}

// expect cancels the exchange unless it is called again, or rest or end, within d.
func (w *watch) expect(d time.Duration) { w.timer.Reset(d) }

// rest expects nothing for now.
func (w *watch) rest() { w.timer.Stop() }

// end ends the exchange.
func (w *watch) end() {
	w.timer.Stop()
	if w.whole != nil {
		w.whole.Stop()
	}
	w.cancel(context.Canceled)
}

// translate returns ErrStalled in place of the cancellation by which net/http reports it.
func (w *watch) translate(err error) error {
	if errors.Is(context.Cause(w.ctx), ErrStalled) {
		return ErrStalled
	}
	return err
}

// watchedBody is an answer's body that fails when it stalls.
type watchedBody struct {
	inner io.ReadCloser
	watch *watch
	stall time.Duration
	// closed is called once the body is closed.
	closed func()
	// hurried: the rest must come within a time that runs already, however it trickles.
	hurried bool
}

// Hurry gives the rest of resp's body no more than d altogether.
func Hurry(resp *http.Response, d time.Duration) {
	if b, ok := resp.Body.(*watchedBody); ok {
		b.hurried = true
		b.watch.expect(d)
	}
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if !b.hurried {
		b.watch.expect(b.stall)
		defer b.watch.rest()
	}
	n, err := b.inner.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.watch.translate(err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.inner.Close()
	b.watch.end()
	b.closed()
	return err
}

// watchedUpload is a request's body. Waiting for what it reads is no stall of the connection.
type watchedUpload struct {
	io.ReadCloser
	watch *watch
	stall time.Duration
}

func (u *watchedUpload) Read(p []byte) (int, error) {
	u.watch.rest()
	n, err := u.ReadCloser.Read(p)
	switch {
	case err == nil:
		u.watch.expect(u.stall)
	case errors.Is(err, io.EOF):
		u.watch.expect(answerTimeout)
	}
	return n, err
}
