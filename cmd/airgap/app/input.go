package app

import (
	"context"
	"fmt"
	"io"
	"os"

	"airgap/cmd/airgap/terminal"
)

// interruptible is standard input while a command runs: a Read that waits for more ends with the context of the command.
// What then comes from the pipe is lost, so that it is of no use afterwards.
type interruptible struct {
	ctx    context.Context // of the command, which does all the reading
	in     io.Reader
	buffer []byte // of its own: the read that nobody waits for any more goes on
	left   []byte // of buffer: what has been read and not been asked for
	err    error
}

func (r *interruptible) Read(p []byte) (int, error) {
	if len(r.left) == 0 && r.err == nil {
		if r.buffer == nil {
			r.buffer = make([]byte, 256<<10) // more than a pipe usually holds
		}
		var n int
		n, r.err = Wait(r.ctx, func() (int, error) { return r.in.Read(r.buffer) })
		r.left = r.buffer[:n]
	}
	if len(r.left) == 0 {
		return 0, r.err
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// Wait runs read, which knows nothing of contexts, until it is done or the context is.
func Wait[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := read()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// maxSmallFile bounds ReadSmallFile, in bytes.
const maxSmallFile = 1 << 20

// ReadSmallFile reads a file that a template or a flag names.
func ReadSmallFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err == nil && len(content) > maxSmallFile {
		err = fmt.Errorf("%s is larger than %s", name, terminal.Bytes(maxSmallFile))
	}
	return content, err
}
