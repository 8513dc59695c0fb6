package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/export/registry/wire"

	"github.com/google/go-containerregistry/pkg/name"
)

// A blob is sent in one PATCH at first, as all registries take it. After a break it goes on where the registry says, and
// from then on in chunks: a proxy that keeps a request back until it is whole would otherwise lose all of it each time.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks

// push is one blob on its way into a repository.
type push struct {
	client  *Client
	session *session
	repo    name.Repository
	desc    bundle.Descriptor
	unsure  bool // the last PUT may have been carried out, though its answer did not come
	partial
}

// request is one step of the upload.
func (p *push) request(method string, u *url.URL, accept ...int) *request {
	return &request{
		op: "push blob", ref: DisplayName(p.repo.Name()) + "@" + p.desc.Digest.String(), home: p.session.home, session: p.session,
		method: method, url: u, accept: accept, patient: true,
	}
}

// octets is the header of a request that brings content.
var octets = http.Header{"Content-Type": {"application/octet-stream"}}

// uploads is where uploads begin.
func (p *push) uploads() *url.URL {
	return p.session.home.url(p.repo.RepositoryStr() + "/blobs/uploads/")
}

// chunkSize is the size of such a chunk, in bytes. Storage services of registries take no less than some 10 MiB, and what is
// sent again after a break is at most this.
const chunkSize = 32 << 20

// maxLooks is how often in a row a registry may fail to tell how far an upload is, until a new one begins. Connections that
// fail do not count.
const maxLooks = 2

// maxOutOfOrder is how often a registry may say that a chunk is not the next one, until a new upload begins: distribution 3 says
// so while it still writes what came before a break.
const maxOutOfOrder = 4

// partial is an upload that has begun.
type partial struct {
	location *url.URL // where it goes on; nil: there is none
	sent     int64    // bytes that the registry has of it
	failed   int      // in a row, of the looks
	chunked  bool     // the registry has told how far it was
	resumed  bool     // it goes on from what the registry told
	disorder int      // how often a chunk was not the next one
	distrust bool     // what the registry told was wrong, or it takes no chunks: begin anew from now on

	furthest, counted int64 // of all attempts, bytes that the registry has told of; when gotOn last said so
}

// gotOn tells whether the registry has told of notably more than when gotOn last said so.
func (p *partial) gotOn() bool {
	if p.furthest-p.counted < resumeProgress {
		return false
	}
	p.counted = p.furthest
	return true
}

// begin finds out where an upload goes on that broke off, or begins a new one.
func (p *push) begin(ctx context.Context) error {
	p.resumed = false
	if p.location != nil {
		if err := p.look(ctx); err != nil || p.location != nil {
			return err
		}
	}
	start := p.request(http.MethodPost, p.uploads(), http.StatusAccepted)
	location, err := p.step(ctx, start)
	if err != nil {
		return err
	}
	if location == nil {
		return start.failf("the registry does not say where to upload to")
	}
	p.location, p.sent = location, 0
	return nil
}

// look asks how far the upload is. One that the registry has nothing of, or does not tell of, is given up.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks (GET of the location)
func (p *push) look(ctx context.Context) error {
	if p.distrust {
		p.chunked = false
		p.drop(ctx)
		return nil
	}
	r := p.request(http.MethodGet, p.location, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	resp, err := p.client.core.send(ctx, r)
	if err != nil {
		var e *Error
		if errors.As(err, &e) && e.Status >= http.StatusInternalServerError {
			p.failed++
		}
		switch {
		case ctx.Err() == nil && e != nil && (e.HasCode(codeUploadInvalid) || e.HasCode(codeUploadUnknown)):
			// Distribution 2.8 says so whenever more has arrived than it had last told of.
			p.location = nil
		case ctx.Err() == nil && (!isTemporary(err) || p.failed >= maxLooks):
			p.failed = 0
			p.drop(ctx)
		default:
			return err
		}
		return nil
	}
	defer r.discard(resp)
	p.failed = 0
	location, err := uploadLocation(r, resp)
	if err != nil {
		return err
	}
	if location != nil {
		p.location = location
	}
	sent, told := uploadedBytes(resp.Header.Get("Range"), p.desc.Size)
	p.chunked = p.chunked || told
	if sent == 0 {
		p.drop(ctx)
		return nil
	}
	p.sent, p.resumed = sent, true
	p.furthest = max(p.furthest, sent)
	return nil
}

// uploadedBytes reads how much of a blob a registry has, from a header such as "0-1023". 0 is for none or not known: distribution
// says "0-0" for one byte as well as for none. told tells whether the header makes sense.
func uploadedBytes(header string, size int64) (sent int64, told bool) {
	last, ok := strings.CutPrefix(strings.TrimPrefix(header, "bytes="), "0-")
	n, err := strconv.ParseInt(last, 10, 64)
	switch {
	case !ok || err != nil || n < 0 || n >= size:
		return 0, false
	case n == 0:
		return 0, true
	}
	return n + 1, true
}

// stream sends what the registry does not have of the content, which begins at its beginning: only who reads all of it learns
// whether it is right.
func (p *push) stream(ctx context.Context, content io.Reader) error {
	if err := p.skip(content); err != nil {
		return err
	}
	last := &upload{content: content}
	for p.sent < p.desc.Size {
		r := p.request(http.MethodPatch, p.location, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
		r.header, r.stream = octets.Clone(), &upload{content: content, size: p.desc.Size - p.sent}
		if p.chunked {
			if r.stream.size > chunkSize {
				r.stream = &upload{content: io.LimitReader(content, chunkSize), size: chunkSize}
			}
			// Harbor does not look at it; distribution 3 and others want it.
			r.header.Set("Content-Range", fmt.Sprintf("%d-%d", p.sent, p.sent+r.stream.size-1))
		}
		next, err := p.step(ctx, r)
		if err != nil {
			return p.refusedChunk(err)
		}
		if next != nil {
			p.location = next
		}
		p.sent += r.stream.size
		last = r.stream
		if p.sent < p.desc.Size && last.n != last.size {
			return r.failf("the registry answered after %d of %d bytes of a chunk", last.n, last.size)
		}
	}
	if err := last.finish(); err != nil {
		return p.request(http.MethodPatch, p.location).fail(err)
	}
	return nil
}

// skip reads what the registry has already.
func (p *push) skip(content io.Reader) error {
	n, err := io.CopyN(io.Discard, content, p.sent)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %d of %d bytes", bundle.ErrDigest, n, p.desc.Size)
	}
	if err != nil {
		return p.request(http.MethodPatch, p.location).fail(err)
	}
	return nil
}

// refusedChunk makes the error temporary that the registry does not take this chunk, or any.
func (p *push) refusedChunk(err error) error {
	var e *Error
	if !p.chunked || !errors.As(err, &e) {
		return err
	}
	switch e.Status {
	case http.StatusRequestedRangeNotSatisfiable:
		p.disorder++
		e.temporary, p.distrust = true, p.disorder >= maxOutOfOrder
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusLengthRequired, http.StatusNotImplemented:
		e.temporary, p.distrust = true, true
	}
	return err
}

// mixedUp makes the error temporary that the registry has committed other bytes: where an upload was continued, both sides
// may have been wrong about how far it was, since a registry may still be busy with a request whose connection broke. A new
// upload shows.
func (p *push) mixedUp(err error) error {
	var e *Error
	if p.resumed && errors.As(err, &e) && e.HasCode(codeDigestInvalid) {
		e.temporary, p.distrust = true, true
	}
	return err
}

// drop gives the upload up, unless a registry may still be at committing it: that would stop it.
func (p *push) drop(ctx context.Context) {
	if !p.unsure {
		p.cancel(ctx, p.location)
	}
	p.location, p.sent = nil, 0
}

// step sends r and returns the Location in its answer, or nil where there is none.
func (p *push) step(ctx context.Context, r *request) (*url.URL, error) {
	resp, err := p.client.core.send(ctx, r)
	if err != nil {
		return nil, uploadLost(err)
	}
	defer r.discard(resp)
	return uploadLocation(r, resp)
}

// uploadLost makes an error temporary that says that the registry has lost the upload: a new one may go well.
func uploadLost(err error) error {
	var e *Error
	if errors.As(err, &e) && (e.HasCode(codeUploadUnknown) || e.HasCode(codeUploadInvalid)) {
		e.temporary = true
	}
	return err
}

// uploadLocation returns where resp says that an upload goes on, or nil. It may be another host, to which no credentials
// go, but not from https to http. Where it is the registry itself it is taken to mean the registry as it was reached: those
// behind a proxy often have the wrong idea of their own scheme.
func uploadLocation(r *request, resp *http.Response) (*url.URL, error) {
	header := resp.Header.Get("Location")
	if header == "" {
		return nil, nil
	}
	location, err := resp.Request.URL.Parse(header)
	if err == nil {
		err = wire.CheckURL(location)
	}
	if err != nil {
		return nil, r.failf("upload location: %w", wire.URLError(err))
	}
	location.Fragment = ""
	if location.Host == r.home.base.Host {
		location.Scheme = r.home.base.Scheme
	}
	if resp.Request.URL.Scheme == "https" && location.Scheme != "https" {
		return nil, r.failf("upload location on %s: %w", sanitize(location.Host, 300), wire.ErrDowngrade)
	}
	return location, nil
}

// cancelTimeout is how long an upload that failed may take to be given up. The registry forgets it anyway, in time.
const cancelTimeout = 2 * time.Second

// cancel gives an upload up, also when ctx is done. What comes of it does not matter.
func (p *push) cancel(ctx context.Context, location *url.URL) {
	if location == nil {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer stop()
	err := p.remove(ctx, location)
	var e *Error
	if errors.As(err, &e) && e.HasCode(codeUploadInvalid) {
		// Something has arrived since the registry told the location, as where a connection broke.
		look := p.request(http.MethodGet, location, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
		if location, err = p.step(ctx, look); err == nil && location != nil {
			err = p.remove(ctx, location)
		}
	}
	if err != nil {
		p.client.core.cfg.Logger.DebugContext(ctx, "upload not given up", "error", err)
	}
}

func (p *push) remove(ctx context.Context, location *url.URL) error {
	r := p.request(http.MethodDelete, location, http.StatusNoContent, http.StatusAccepted, http.StatusOK)
	resp, err := p.client.core.send(ctx, r)
	if err == nil {
		r.discard(resp)
	}
	return err
}
