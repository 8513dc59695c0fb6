package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"airgap/bundle"
	"airgap/export/registry/auth"
	"airgap/export/registry/wire"

	"github.com/google/go-containerregistry/pkg/name"
)

const (
	// smallBlob is the size, in bytes, up to which a blob is read whole before it is sent: the one PUT that commits it
	// then brings it along. Harbor ignores the body of a POST, so two requests is the least. What is larger is not kept in
	// memory, for each that is under way, nor sent again from its beginning when a connection breaks.
	smallBlob = 1 << 20
	// maxAnswer bounds the body of an answer to a write, in bytes: there is nothing in it to be read.
	maxAnswer = 64 << 10
	// cancelTimeout is how long an upload that failed may take to be given up. The registry forgets it anyway, in time.
	cancelTimeout = 2 * time.Second
)

// push is one blob on its way into a repository.
type push struct {
	client  *Client
	session *session
	repo    name.Repository
	desc    bundle.Descriptor
	unsure  bool // the last PUT may have been carried out, though its answer did not come
	partial
}

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

// request is one step of the upload.
func (p *push) request(method string, u *url.URL, accept ...int) *request {
	return &request{
		op: "push blob", ref: DisplayName(p.repo.Name()) + "@" + p.desc.Digest.String(), home: p.session.home, session: p.session,
		method: method, url: u, accept: accept, patient: true,
	}
}

// octets is the header of a request that brings content.
var octets = http.Header{"Content-Type": {"application/octet-stream"}}

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

// uploads is where uploads begin.
func (p *push) uploads() *url.URL {
	return p.session.home.url(p.repo.RepositoryStr() + "/blobs/uploads/")
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
		p.client.core.log.DebugContext(ctx, "upload not given up", "error", err)
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

// PushManifest puts body under ref, a tag or a digest, as it is. subjectAcknowledged tells whether the registry has said
// that it lists the manifest as a referrer of its subject (header OCI-Subject); where it has not, and has no referrers
// API, the fallback tag is the caller's to keep. A ref whose digest is not that of body, or a registry that calls it
// otherwise, is an error that wraps bundle.ErrDigest; more than bundle.MaxManifestSize bytes wrap bundle.ErrLimit.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests
func (c *Client) PushManifest(ctx context.Context, ref name.Reference, mediaType string, body []byte) (subjectAcknowledged bool, err error) {
	s := c.core.session(ref.Context(), pullPush)
	r := manifestRequest("push manifest", http.MethodPut, s, ref)
	r.header, r.body, r.accept, r.patient = http.Header{"Content-Type": {mediaType}}, body, []int{http.StatusCreated}, true
	digest := bundle.DigestOf(body)
	switch promised, err := promisedDigest(ref); {
	case err != nil:
		return false, r.fail(err)
	case promised != nil && *promised != digest:
		return false, r.failf("%w: it has %s", bundle.ErrDigest, digest)
	case len(body) > bundle.MaxManifestSize:
		return false, r.failf("%w: a manifest of %d bytes; registries take at most %d", bundle.ErrLimit, len(body), bundle.MaxManifestSize)
	}
	resp, _, err := c.core.fetch(ctx, r, maxAnswer)
	if err != nil {
		return false, err
	}
	if header := resp.Header.Get("Docker-Content-Digest"); header != "" && header != digest.String() {
		return false, r.fail(fmt.Errorf("%w: pushed %s, and the registry calls it %.80q", bundle.ErrDigest, digest, header))
	}
	return resp.Header.Get("OCI-Subject") != "", nil
}
