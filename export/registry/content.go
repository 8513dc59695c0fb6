package registry

import (
	"errors"
	"fmt"
	"io"

	"airgap/bundle"
)

// upload is content on its way out, as net/http reads it: it counts, and remembers how the content ended, since what
// net/http says of that is not enough to commit anything.
type upload struct {
	content io.Reader
	size    int64 // bytes that are to come

	closed chan struct{}

	// Written by Read, read after closed.
	n    int64
	err  error
	done bool // content gave io.EOF
}

// begin prepares for the one exchange that may read u.
func (u *upload) begin() { u.closed = make(chan struct{}) }

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.content.Read(p)
	u.n += int64(n)
	switch {
	case errors.Is(err, io.EOF) && u.n < u.size:
		err = fmt.Errorf("%w: %d of %d bytes", bundle.ErrDigest, u.n, u.size)
		u.err = err
	case errors.Is(err, io.EOF):
		u.done = true
	case err != nil:
		u.err = err
	case u.n > u.size:
		err = fmt.Errorf("%w: more than the %d bytes that were promised", bundle.ErrDigest, u.size)
		u.err = err
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
