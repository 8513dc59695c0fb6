package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"airgap/bundle"
	"airgap/export/registry/retry"
)

func (c *core) openBlob(ctx context.Context, r *request, size int64) (*blob, error) {
	if size < 0 {
		return nil, r.failf("%w: a size of %d bytes", bundle.ErrFormat, size)
	}
	b := &blob{core: c, ctx: ctx, request: r, size: size, pacer: c.pacer(r.once)}
	if err := b.connect(); err != nil {
		return nil, err
	}
	return b, nil
}

// blob reads a blob through as many connections as it takes. Its context is a field because io.Reader has no argument
// for it; it is that of the one call to Blob.
type blob struct {
	core    *core
	ctx     context.Context
	request *request
	size    int64
	pacer   retry.Pacer

	// Of a mirror, until it breaks off: where to go on then, and whom to tell.
	origin *request
	giveUp func(error)

	offset  int64 // of the next byte
	mark    int64 // the offset of the last break
	body    io.ReadCloser
	noRange bool  // the registry does not understand ranges
	err     error // ends every further Read
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if b.offset == b.size {
			b.err = b.end()
			return 0, b.err
		}
		n, err := b.body.Read(p[:min(int64(len(p)), b.size-b.offset)])
		b.offset += int64(n)
		if n > 0 {
			return n, nil // an error comes again
		}
		if err == nil {
			continue
		}
		if b.err = b.resume(err); b.err != nil {
			return 0, b.err
		}
	}
}

// end makes sure that nothing follows the last byte. A connection that breaks there has done its work. What a mirror adds
// does no harm.
func (b *blob) end() error {
	if b.origin != nil {
		return io.EOF
	}
	var one [1]byte
	if n, _ := io.ReadFull(b.body, one[:]); n > 0 {
		return b.request.failf("%w: the registry has more than %d bytes", bundle.ErrDigest, b.size)
	}
	return io.EOF
}

// resume connects again after the connection ended with err.
func (b *blob) resume(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if b.offset-b.mark >= resumeProgress {
		b.pacer.Progress()
	}
	b.mark = b.offset
	broken := b.core.broken(b.ctx, b.request, b.request.url, fmt.Errorf("after %d of %d bytes: %w", b.offset, b.size, err))
	_ = b.body.Close()
	if b.origin != nil && b.ctx.Err() == nil {
		b.giveUp(broken)
		b.request, b.origin, b.pacer = b.origin, nil, b.core.pacer(false)
		return b.connect()
	}
	if err := b.core.pause(b.ctx, &b.pacer, broken); err != nil {
		return err
	}
	return b.connect()
}

// connect opens a connection for what is missing.
func (b *blob) connect() error {
	for {
		err := b.open()
		if err == nil {
			return nil
		}
		if err := b.core.pause(b.ctx, &b.pacer, err); err != nil {
			return err
		}
	}
}

// open tries once to get the content from offset on.
func (b *blob) open() error {
	ranged := b.offset > 0 && !b.noRange
	b.request.header = nil
	if ranged {
		b.request.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", b.offset, b.size-1)}}
	}
	resp, err := b.core.send(b.ctx, b.request)
	if err != nil {
		var e *Error
		if ranged && errors.As(err, &e) && e.Status == http.StatusRequestedRangeNotSatisfiable {
			b.noRange = true
			return b.open()
		}
		return err
	}
	if err := b.check(resp, ranged); err != nil {
		_ = resp.Body.Close()
		return b.request.fail(err)
	}
	if resp.StatusCode == http.StatusOK && b.offset > 0 {
		// It does not do ranges: over what is known already. (Should that differ now, the digest will tell.)
		if _, err := io.CopyN(io.Discard, resp.Body, b.offset); err != nil {
			_ = resp.Body.Close()
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return b.core.broken(b.ctx, b.request, resp.Request.URL, err)
		}
	}
	b.body = resp.Body
	return nil
}

// check tells whether resp brings what was asked for.
func (b *blob) check(resp *http.Response, ranged bool) error {
	want := b.size
	if resp.StatusCode == http.StatusPartialContent {
		if !ranged {
			return errors.New("the registry sends a part of the blob instead of the whole")
		}
		first, last, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
		switch {
		case !ok || first != b.offset || last >= b.size:
			return fmt.Errorf("asked for bytes %d to %d and was sent %.100q", b.offset, b.size-1, resp.Header.Get("Content-Range"))
		case total >= 0 && total != b.size:
			return fmt.Errorf("%w: %d bytes promised, the registry has %d", bundle.ErrDigest, b.size, total)
		}
		want = last - first + 1
	}
	if resp.ContentLength >= 0 && resp.ContentLength != want {
		return fmt.Errorf("%w: %d bytes promised, the registry sends %d", bundle.ErrDigest, want, resp.ContentLength)
	}
	return nil
}

// parseContentRange reads "bytes first-last/total"; total is -1 where it is "*" (RFC 9110, section 14.4).
func parseContentRange(s string) (first, last, total int64, ok bool) {
	unit, rest, _ := strings.Cut(s, " ")
	span, totalText, _ := strings.Cut(rest, "/")
	firstText, lastText, _ := strings.Cut(span, "-")
	first, ok1 := parseCount(firstText)
	last, ok2 := parseCount(lastText)
	total, ok3 := parseCount(totalText)
	if totalText == "*" {
		total, ok3 = -1, true
	}
	return first, last, total, strings.EqualFold(unit, "bytes") && ok1 && ok2 && ok3 && first <= last && (total < 0 || last < total)
}

func parseCount(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}

// Close implements io.Closer.
func (b *blob) Close() error {
	if b.err == nil {
		b.err = errors.New("read after Close")
	}
	return b.body.Close()
}
