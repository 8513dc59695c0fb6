package harbortest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is what a request is answered with.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	content bool // body is a blob, of which a part may be asked for
}

// problem is one error in a body.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

const typeJSON = "application/json; charset=utf-8"

// status answers with nothing but that.
func status(code int, headers ...string) answer {
	a := answer{status: code, header: http.Header{}}
	for i := 0; i+1 < len(headers); i += 2 {
		a.header.Set(headers[i], headers[i+1])
	}
	return a
}

// refuse answers as Harbor's core does; distribution adds what the registry behind it sends along.
func refuse(code int, problems ...problem) answer {
	a := status(code, "Content-Type", typeJSON)
	a.body = marshal(map[string]any{"errors": problems})
	return a
}

// show answers the API with a document.
func show(v any, headers ...string) answer {
	a := status(http.StatusOK, append([]string{"Content-Type", "application/json"}, headers...)...)
	a.body = marshal(v)
	return a
}

func text(code int, message string) answer {
	a := status(code, "Content-Type", "text/plain; charset=utf-8")
	a.body = []byte(message)
	return a
}

// distribution marks an answer as one of the registry behind Harbor's core.
func (a answer) distribution() answer {
	a.header.Set("Docker-Distribution-Api-Version", "registry/2.0")
	return a
}

func marshal(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // only what is made here is encoded
	}
	return b.Bytes()
}

func (a answer) send(w http.ResponseWriter, r *http.Request) {
	for key, values := range a.header {
		w.Header()[key] = values
	}
	if a.content && a.status == http.StatusOK {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
		return
	}
	if len(a.body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body)
	}
}

// exchange is one request on its way to an answer.
type exchange struct {
	*Server
	r      *http.Request
	body   []byte
	broken bool // the body ended before its end
	who    identity
}

// answer answers the request, under the lock.
func (x *exchange) answer() answer {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.who = x.identify()
	var a answer
	switch path := x.r.URL.Path; {
	case path == "/service/token":
		a = x.token()
	case strings.HasPrefix(path, "/v2/"):
		a = x.v2()
	case strings.HasPrefix(path, apiPrefix):
		a = x.api()
	default: // the portal, a page for browsers
		a = status(http.StatusOK, "Content-Type", "text/html")
		a.body = []byte("<!doctype html><title>Harbor</title>")
	}
	a.header.Set("Date", x.now().UTC().Format(http.TimeFormat))
	return a
}

// base is the address of the server as the client has it.
func (x *exchange) base() string {
	scheme := "http"
	if x.r.TLS != nil {
		scheme = "https"
	}
	if forwarded := x.r.Header.Get("X-Forwarded-Proto"); forwarded != "" {
		scheme = forwarded
	}
	return scheme + "://" + x.r.Host
}

// Answers that many requests may get.
var (
	readOnly = problem{Code: "DENIED", Message: "The system is in read only mode. Any modification is prohibited."}
	unauth   = problem{Code: "UNAUTHORIZED", Message: "unauthorized"}
	forbid   = problem{Code: "FORBIDDEN", Message: "forbidden"}
)

func notFound(message string) answer {
	return refuse(http.StatusNotFound, problem{Code: "NOT_FOUND", Message: message})
}
