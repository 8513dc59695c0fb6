package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"airgap/bundle"
)

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
	w.timer = time.AfterFunc(time.Hour, func() { cancel(errStalled) })
	w.timer.Stop()
	return ctx, w
}

// within cancels the exchange unless end comes within d, however it gets on. 0 is any time.
func (w *watch) within(d time.Duration) {
	if d > 0 {
		w.whole = time.AfterFunc(d, func() { w.cancel(errStalled) })
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

// translate returns errStalled in place of the cancellation by which net/http reports it.
func (w *watch) translate(err error) error {
	if errors.Is(context.Cause(w.ctx), errStalled) {
		return errStalled
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

// hurry gives the rest of resp's body no more than d altogether.
func hurry(resp *http.Response, d time.Duration) {
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

// upload is content on its way out, as net/http reads it: it counts, and remembers how the content ended, since what
// net/http says of that is not enough to commit anything.
type upload struct {
	content io.Reader
	size    int64 // bytes that are to come

	watch  *watch
	stall  time.Duration
	closed chan struct{}

	// Written by Read, read after closed.
	n    int64
	err  error
	done bool // content gave io.EOF
}

// begin prepares for the one exchange that may read u.
func (u *upload) begin(w *watch, stall time.Duration) {
	u.watch, u.stall, u.closed = w, stall, make(chan struct{})
}

// Read implements io.Reader. Waiting for the content is no stall of the connection.
func (u *upload) Read(p []byte) (int, error) {
	u.watch.rest()
	n, err := u.content.Read(p)
	u.n += int64(n)
	switch {
	case errors.Is(err, io.EOF) && u.n < u.size:
		err = fmt.Errorf("%w: %d of %d bytes", bundle.ErrDigest, u.n, u.size)
		u.err = err
	case errors.Is(err, io.EOF):
		u.done = true
		u.watch.expect(answerTimeout)
	case err != nil:
		u.err = err
	case u.n > u.size:
		err = fmt.Errorf("%w: more than the %d bytes that were promised", bundle.ErrDigest, u.size)
		u.err = err
	default:
		u.watch.expect(u.stall)
	}
	return n, err
}

// Close implements io.Closer; net/http calls it when it will read no more.
func (u *upload) Close() error {
	select {
	case <-u.closed:
	default:
		close(u.closed)
	}
	return nil
}

// wait returns once net/http is done with the content, with the content's own error if it has one.
func (u *upload) wait() error {
	if u.closed != nil { // nil before the first exchange
		<-u.closed
	}
	return u.err
}

// finish makes sure that the content has ended, and where it should: only then has it been verified.
func (u *upload) finish() error {
	if !u.done && u.err == nil && u.n == u.size {
		// net/http may stop at the Content-Length. io.EOF is what the content's digest is checked at.
		var one [1]byte
		switch n, err := io.ReadFull(u.content, one[:]); {
		case n > 0:
			u.err = fmt.Errorf("%w: more than the %d bytes that were promised", bundle.ErrDigest, u.size)
		case errors.Is(err, io.EOF):
			u.done = true
		default:
			u.err = err
		}
	}
	switch {
	case u.err != nil:
		return u.err
	case u.n != u.size:
		return fmt.Errorf("%w: %d of %d bytes", bundle.ErrDigest, u.n, u.size)
	case !u.done:
		return errors.New("the content did not end")
	}
	return nil
}
