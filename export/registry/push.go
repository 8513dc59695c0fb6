package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"airgap/bundle"
	"airgap/export/registry/auth"

	"github.com/google/go-containerregistry/pkg/name"
)

const (
	// smallBlob is the size, in bytes, up to which a blob is read whole before it is sent: the one PUT that commits it
	// then brings it along. Harbor ignores the body of a POST, so two requests is the least. What is larger is not kept in
	// memory, for each that is under way, nor sent again from its beginning when a connection breaks.
	smallBlob = 1 << 20
)

// PushBlob uploads a blob into repo. After failures that may pass it goes on where the registry says that the upload has got
// to, or, if the registry does not say, again from the beginning; either way with a fresh open, whose content is read from its
// beginning. The content must give io.EOF after desc.Size bytes and only if they have desc.Digest, as those of package
// bundle do: only then is the upload committed. Any other end of it is returned, and the upload is given up. A 401 in
// the middle renews the token. The content is read by one goroutine at a time, and closed.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs
func (c *Client) PushBlob(ctx context.Context, repo name.Repository, desc bundle.Descriptor, open func() (io.ReadCloser, error)) error {
	p := &push{client: c, session: c.core.session(repo, pullPush), repo: repo, desc: desc}
	pace := c.core.pacer(false)
	for {
		err := p.once(ctx, open)
		if err == nil {
			return nil
		}
		if p.gotOn() {
			pace.Progress()
		}
		if err := c.core.pause(ctx, &pace, err); err != nil {
			p.drop(ctx)
			return err
		}
	}
}

// once uploads the blob, in one attempt. An upload that another attempt may continue is left open.
func (p *push) once(ctx context.Context, open func() (io.ReadCloser, error)) error {
	if p.unsure {
		// The blob may have been committed though nobody said so; only this content has been sent under its digest.
		if size, found, err := p.client.HasBlob(ctx, p.repo, p.desc.Digest); err == nil && found && (size == p.desc.Size || size < 0) {
			return nil
		}
	}
	content, err := open()
	if err != nil {
		return p.request(http.MethodPost, p.uploads()).fail(err)
	}
	defer content.Close()
	small, err := p.readSmall(content)
	if err == nil {
		err = p.begin(ctx)
	}
	if err != nil {
		return err
	}
	p.unsure = false
	if small == nil {
		err = p.stream(ctx, content)
	}
	if err == nil {
		err = p.commit(ctx, small)
	}
	if err != nil && (small != nil || !isTemporary(err)) {
		p.drop(ctx)
	}
	return err
}

// readSmall reads a small blob whole; nil for others.
func (p *push) readSmall(content io.Reader) ([]byte, error) {
	r := p.request(http.MethodPost, p.uploads())
	if p.desc.Size < 0 {
		return nil, r.failf("%w: a size of %d bytes", bundle.ErrFormat, p.desc.Size)
	}
	if p.desc.Size > smallBlob {
		return nil, nil
	}
	small, err := readSmall(content, p.desc.Size)
	if err != nil {
		return nil, r.fail(err)
	}
	return small, nil
}

// readSmall reads content of the given size to its end.
func readSmall(content io.Reader, size int64) ([]byte, error) {
	buf := make([]byte, size)
	n, err := io.ReadFull(content, buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	read := upload{content: content, size: size, n: int64(n), done: err != nil}
	return buf, read.finish()
}

// commit gives the upload its digest. The content has been sent, and has been verified, or is small.
func (p *push) commit(ctx context.Context, small []byte) error {
	u := *p.location
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	// What is there already is the registry's, and stays as it is.
	u.RawQuery += "digest=" + url.QueryEscape(p.desc.Digest.String())
	r := p.request(http.MethodPut, &u, http.StatusCreated)
	r.header, r.body = octets, small
	resp, err := p.client.core.send(ctx, r)
	if err != nil {
		var e *Error
		p.unsure = errors.As(err, &e) && e.temporary && e.Status != http.StatusTooManyRequests
		return p.mixedUp(uploadLost(err))
	}
	defer r.discard(resp)
	if header := resp.Header.Get("Docker-Content-Digest"); header != "" && header != p.desc.Digest.String() {
		return r.failf("%w: the registry has committed it as %.80q", bundle.ErrDigest, header)
	}
	return nil
}

// Mount makes the blob d, which the repository from of the same registry has, part of repo too, without moving it. False
// without an error means that the registry would not, for whatever reason, and that the blob has to be pushed.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#mounting-a-blob-from-another-repository
func (c *Client) Mount(ctx context.Context, repo, from name.Repository, d bundle.Digest) (mounted bool, err error) {
	s := c.core.sessionIn(repo, auth.Scope{Actions: pullPush, From: c.Path(from)})
	p := &push{client: c, session: s, repo: repo, desc: bundle.Descriptor{Digest: d}}
	u := s.home.url(repo.RepositoryStr() + "/blobs/uploads/")
	u.RawQuery = url.Values{"mount": {d.String()}, "from": {c.Path(from)}}.Encode()
	r := p.request(http.MethodPost, u, http.StatusCreated, http.StatusAccepted)
	r.op, r.patient = "mount blob", false
	if repo.RegistryStr() != from.RegistryStr() {
		return false, r.failf("%s is at another registry", DisplayName(from.Name()))
	}
	resp, _, err := c.core.fetch(ctx, r, maxAnswer)
	var e *Error
	switch {
	case errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Status == http.StatusNotFound):
		return false, nil
	case err != nil:
		return false, err
	case resp.StatusCode == http.StatusAccepted:
		if location, err := uploadLocation(r, resp); err == nil {
			p.cancel(ctx, location)
		}
		return false, ctx.Err()
	}
	if header := resp.Header.Get("Docker-Content-Digest"); header != "" && header != d.String() {
		return false, r.failf("%w: the registry has mounted %.80q", bundle.ErrDigest, header)
	}
	return true, nil
}
