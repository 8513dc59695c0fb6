package harbortest

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"airgap/bundle"
)

// upload is a blob on its way.
type upload struct {
	id, full string
	content  []byte
	state    string // what the next request has to come with
}

// blob is GET or HEAD of one.
func (x *exchange) blob(p *project, t target) answer {
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		return refuse(http.StatusMethodNotAllowed, problem{Code: "UNSUPPORTED", Message: "The operation is unsupported."}).distribution()
	}
	content, stored := x.blobs[t.reference]
	unknown := refuse(http.StatusNotFound, problem{Code: "BLOB_UNKNOWN", Message: "blob unknown to registry", Detail: t.reference})
	switch {
	case !stored:
		return unknown // by Harbor, which keeps a list of all blobs
	case !p.linked[t.repo][t.reference]:
		return unknown.distribution() // by the registry, which keeps one for each repository
	}
	a := status(http.StatusOK, "Content-Type", "application/octet-stream", "Docker-Content-Digest", t.reference).distribution()
	a.body, a.content = content, true
	return a
}

// upload is all that is done to uploads.
func (x *exchange) upload(p *project, t target) answer {
	if t.reference == "" {
		if x.r.Method != http.MethodPost {
			return text(http.StatusMethodNotAllowed, "").distribution()
		}
		return x.startUpload(p, t)
	}
	u := x.uploads[t.reference]
	if u == nil || u.full != t.full {
		return refuse(http.StatusNotFound, problem{Code: "BLOB_UPLOAD_UNKNOWN", Message: "blob upload unknown to registry", Detail: struct{}{}}).distribution()
	}
	look := x.r.Method == http.MethodGet && !x.set.StrictUploads
	if !look && x.r.URL.Query().Get("_state") != u.state {
		return refuse(http.StatusNotFound, problem{Code: "BLOB_UPLOAD_INVALID", Message: "blob upload invalid"}).distribution()
	}
	switch x.r.Method {
	case http.MethodGet:
		return x.progress(u, http.StatusNoContent)
	case http.MethodPatch:
		return x.appendUpload(u)
	case http.MethodPut:
		return x.commit(p, t, u)
	case http.MethodDelete:
		delete(x.uploads, u.id)
		return status(http.StatusNoContent, "Docker-Upload-Uuid", u.id).distribution()
	}
	return text(http.StatusMethodNotAllowed, "").distribution()
}

// startUpload is POST, which may be a mount. A body, and a digest in the query, are ignored.
func (x *exchange) startUpload(p *project, t target) answer {
	if query := x.r.URL.Query(); query.Get("mount") != "" && query.Get("from") != "" {
		if a := x.mount(p, t, query.Get("mount"), query.Get("from")); a != nil {
			return *a
		}
	}
	u := &upload{id: newUUID(), full: t.full}
	x.renewState(u)
	x.uploads[u.id] = u
	return x.progress(u, http.StatusAccepted)
}

// mount returns nil where the other repository does not have the blob: an upload begins then. The quota is looked at
// first.
func (x *exchange) mount(p *project, t target, digest, from string) *answer {
	content, stored := x.blobs[digest]
	if _, counted := p.counted[digest]; stored && !counted {
		if a := p.over(int64(len(content))); a != nil {
			return a
		}
	}
	fromProject, fromRepo, _ := strings.Cut(from, "/")
	if !stored || !x.projects[fromProject].linked[fromRepo][digest] {
		return nil
	}
	p.link(t.repo, digest)
	p.counted[digest] = int64(len(content))
	a := x.created(t, "blobs", digest)
	return &a
}

// created is the answer to whoever has put something there.
func (x *exchange) created(t target, kind, digest string) answer {
	return status(http.StatusCreated,
		"Docker-Content-Digest", digest, "Location", fmt.Sprintf("%s/v2/%s/%s/%s", x.base(), t.full, kind, digest)).distribution()
}

// progress tells how far an upload is, and where it goes on.
func (x *exchange) progress(u *upload, code int) answer {
	location := fmt.Sprintf("%s/v2/%s/blobs/uploads/%s?_state=%s", x.base(), u.full, u.id, url.QueryEscape(u.state))
	return status(code, "Docker-Upload-Uuid", u.id, "Location", location, "Range", fmt.Sprintf("0-%d", max(0, len(u.content)-1))).distribution()
}

// renewState makes the state of an upload one that nobody has seen.
func (x *exchange) renewState(u *upload) {
	state := fmt.Sprintf(`%s{"Name":%q,"UUID":%q,"Offset":%d,"StartedAt":%q}`, rand.Text(), u.full, u.id, len(u.content), timestamp(x.now()))
	u.state = base64.URLEncoding.EncodeToString([]byte(state))
}

// appendUpload is PATCH, which takes any chunk for the next one: Content-Range is not looked at. Of a request that breaks
// off it keeps what has come.
func (x *exchange) appendUpload(u *upload) answer {
	u.content = append(u.content, x.body...)
	x.renewState(u)
	if x.broken {
		panic(http.ErrAbortHandler) // nobody is there any more to be answered
	}
	return x.progress(u, http.StatusAccepted)
}

// commit is PUT. Only now the quota is looked at, when all the bytes are there. What counts is the length of the body or,
// without one, what PATCH has brought: a body of unknown length was seen to escape, and so does, by Harbor's source
// (src/server/middleware/quota/put_blob_upload.go), what came before a last chunk that PUT brings.
func (x *exchange) commit(p *project, t target, u *upload) answer {
	if x.broken {
		panic(http.ErrAbortHandler)
	}
	digest := x.r.URL.Query().Get("digest")
	content := append(u.content, x.body...)
	counts := int64(len(u.content))
	if x.r.ContentLength > 0 {
		counts = x.r.ContentLength
	}
	own := bundle.DigestOf(content).String()
	_, counted := p.counted[own]
	if a := p.over(counts); a != nil && !counted {
		return *a
	}
	delete(x.uploads, u.id)
	sum := sha512.Sum512(content)
	if digest != own && digest != "sha512:"+hex.EncodeToString(sum[:]) {
		detail := map[string]any{"Digest": digest, "Reason": struct{}{}}
		return refuse(http.StatusBadRequest, problem{Code: "DIGEST_INVALID", Message: "provided digest did not match uploaded content", Detail: detail}).distribution()
	}
	x.blobs[own] = content
	p.link(t.repo, own)
	if !counted && counts > 0 {
		p.counted[own] = counts
	}
	return x.created(t, "blobs", own)
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
