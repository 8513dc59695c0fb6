package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"airgap/bundle"
)

// Fault may answer a request instead of next, or pass it to next and spoil the answer: both return true. False leaves the
// request to the next fault, or to the registry.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler) bool

// Then makes a handler that lets fault have requests before next.
func Then(fault Fault, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fault(w, r, next) {
			next.ServeHTTP(w, r)
		}
	})
}

// First has the first of the faults that handles a request answer it; none sees the others' answers.
func First(faults ...Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		for _, fault := range faults {
			if fault(w, r, next) {
				return true
			}
		}
		return false
	}
}

// On limits a fault to requests with that method ("" for any) and part of a path.
func On(method, part string, fault Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if method != "" && r.Method != method || !strings.Contains(r.URL.Path, part) {
			return false
		}
		return fault(w, r, next)
	}
}

// Times limits a fault to the first n requests that it would have.
func Times(n int, fault Fault) Fault { return Between(0, n, fault) }

// Between limits a fault to requests number first to last-1 of those that it would have, counted from 0.
func Between(first, last int, fault Fault) Fault {
	var count atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if n := int(count.Add(1)) - 1; n < first || n >= last {
			return false
		}
		return fault(w, r, next)
	}
}

// Answer gives a status, headers (name, value, name, value, ...) and a body.
func Answer(status int, body string, headers ...string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

// Code answers with a status and an error of the specification.
func Code(status int, code, message string) Fault {
	body, _ := json.Marshal(map[string]any{"errors": []any{map[string]any{"code": code, "message": message}}})
	return Answer(status, string(body), "Content-Type", "application/json")
}

// Throttle answers 429 with Retry-After, in seconds or as a date; empty leaves the header out.
func Throttle(retryAfter string) Fault {
	fault := Code(http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow down")
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		return fault(w, r, next)
	}
}

// NotFoundText answers 404 in plain text, as distribution does for whatever it does not know.
func NotFoundText() Fault {
	return Answer(http.StatusNotFound, "404 page not found\n", "Content-Type", "text/plain; charset=utf-8")
}

// NameUnknown answers 404 NAME_UNKNOWN.
func NameUnknown() Fault {
	return Code(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
}

// RedirectTo answers 307 to base and the request's path; base is such as "http://127.0.0.1:1234". The other server gets a
// query that only it should see.
func RedirectTo(base string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		w.Header().Set("Location", base+r.URL.Path+"?X-Signature="+SignedQuery)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
}

// SignedQuery is the secret in the query of RedirectTo.
const SignedQuery = "0123456789-signed-query"

// Drop closes the connection without an answer.
func Drop() Fault {
	return func(http.ResponseWriter, *http.Request, http.Handler) bool { panic(http.ErrAbortHandler) }
}

// DropAfter closes the connection after n bytes of the body, whose promised length stays what it was.
func DropAfter(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		answer := Real(r, next)
		answer.header(w)
		_, _ = w.Write(answer.Body[:min(n, len(answer.Body))])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// DropUpload closes the connection after n bytes of the request's body.
func DropUpload(n int64) Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		_, _ = io.CopyN(io.Discard, r.Body, n)
		panic(http.ErrAbortHandler)
	}
}

// BreakUpload closes the connection after n bytes of the request's body, which the registry gets.
func BreakUpload(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, n), brokenBody{}))
		next.ServeHTTP(w, r)
		panic(http.ErrAbortHandler)
	}
}

type brokenBody struct{}

// Read implements io.Reader.
func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Cut answers with only the first n bytes of the body, and says so: well-formed HTTP.
func Cut(n int) Fault {
	return Change(func(a *RealAnswer) { a.Body = a.Body[:min(n, len(a.Body))] })
}

// Spoil changes one byte in the middle of the body.
func Spoil() Fault {
	return Change(func(a *RealAnswer) {
		if len(a.Body) > 0 {
			a.Body = bytes.Clone(a.Body)
			a.Body[len(a.Body)/2] ^= 1
		}
	})
}

// Extend adds n bytes to the body, with a length to match.
func Extend(n int) Fault {
	return Change(func(a *RealAnswer) { a.Body = append(bytes.Clone(a.Body), make([]byte, n)...) })
}

// IgnoreRange has the registry answer with the whole where a part is asked for.
func IgnoreRange() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		r.Header.Del("Range")
		return false
	}
}

// Hang does not answer until the client goes away.
func Hang() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// HangAfter sends n bytes of the body and then nothing until the client goes away.
func HangAfter(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		answer := Real(r, next)
		answer.header(w)
		_, _ = w.Write(answer.Body[:min(n, len(answer.Body))])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// Header sets a header in the real answer; an empty value removes it.
func Header(key, value string) Fault {
	return Change(func(a *RealAnswer) {
		a.Header.Del(key)
		if value != "" {
			a.Header.Set(key, value)
		}
	})
}

// Pages cuts referrers listings into pages of n descriptors, with links to the next.
func Pages(n int) Fault {
	return On("GET", "/referrers/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		answer := Real(r, next)
		var index struct {
			SchemaVersion int               `json:"schemaVersion"`
			MediaType     string            `json:"mediaType"`
			Manifests     []json.RawMessage `json:"manifests"`
		}
		if answer.Status != http.StatusOK || json.Unmarshal(answer.Body, &index) != nil {
			return false
		}
		// The registry lists in no order.
		sortRaw(index.Manifests)
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		from = min(from, len(index.Manifests))
		to := min(from+n, len(index.Manifests))
		if to < len(index.Manifests) {
			answer.Header.Set("Link", fmt.Sprintf(`<%s?from=%d>; rel="next"`, r.URL.Path, to))
		}
		index.Manifests = index.Manifests[from:to]
		answer.Body, _ = json.Marshal(index)
		answer.Send(w)
		return true
	})
}

func sortRaw(list []json.RawMessage) {
	for i := range list {
		for j := i; j > 0 && bytes.Compare(list[j], list[j-1]) < 0; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
}

// Mounts makes mounts of any blob that the registry has work, which go-containerregistry answers with an upload.
func Mounts() Fault {
	return On("POST", "/blobs/uploads/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		digest, from := r.URL.Query().Get("mount"), r.URL.Query().Get("from")
		if digest == "" {
			return false
		}
		head := httptest.NewRequest("HEAD", "/v2/"+from+"/blobs/"+digest, nil)
		head.Header = r.Header.Clone()
		if Real(head, next).Status != http.StatusOK {
			return false
		}
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("Location", strings.TrimSuffix(r.URL.Path, "uploads/")+digest)
		w.WriteHeader(http.StatusCreated)
		return true
	})
}

// BlobsPerRepository hides blobs from repositories that they were not pushed to or mounted into: go-containerregistry
// keeps all in one place. Mounts work, from where a blob is seen. Blobs stored by AddBlob are seen nowhere, unless seen
// says so with "repo@digest".
func BlobsPerRepository(seen ...string) Fault {
	var mu sync.Mutex
	known := make(map[string]bool)
	for _, s := range seen {
		known[s] = true
	}
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		repo, blob, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
		if !ok {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Method == "GET" || r.Method == "HEAD" {
			return !known[repo+"@"+blob] && Code(http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")(w, r, next)
		}
		query := r.URL.Query()
		if digest := query.Get("digest"); digest != "" {
			known[repo+"@"+digest] = true
		}
		if digest := query.Get("mount"); known[query.Get("from")+"@"+digest] {
			known[repo+"@"+digest] = true
			w.Header().Set("Location", "/v2/"+repo+"/blobs/"+digest)
			w.WriteHeader(http.StatusCreated)
			return true
		}
		return false
	}
}

// acknowledgeSubject answers with OCI-Subject.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests-with-subject
func acknowledgeSubject(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var manifest struct {
		Subject *bundle.Descriptor `json:"subject"`
	}
	if json.Unmarshal(body, &manifest) == nil && manifest.Subject != nil {
		w.Header().Set("OCI-Subject", manifest.Subject.Digest.String())
	}
	return false
}

// RealAnswer is what the registry would have answered.
type RealAnswer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Real asks the registry.
func Real(r *http.Request, next http.Handler) RealAnswer {
	w := httptest.NewRecorder()
	next.ServeHTTP(w, r)
	return RealAnswer{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()}
}

// Change passes a request on and lets change have the answer.
func Change(change func(*RealAnswer)) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		answer := Real(r, next)
		change(&answer)
		if r.Method != http.MethodHead {
			answer.Header.Set("Content-Length", strconv.Itoa(len(answer.Body)))
		}
		answer.Send(w)
		return true
	}
}

// header sends status and headers as they are.
func (a RealAnswer) header(w http.ResponseWriter) {
	for key, values := range a.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(a.Status)
}

// Send sends the answer; a Content-Length that no longer holds is left out.
func (a RealAnswer) Send(w http.ResponseWriter) {
	if a.Header.Get("Content-Length") != strconv.Itoa(len(a.Body)) && len(a.Body) > 0 {
		a.Header.Del("Content-Length")
	}
	a.header(w)
	_, _ = w.Write(a.Body)
}
