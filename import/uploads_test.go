package importer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export/registry/harbor/harbortest"
	"airgap/export/registry/registrytest"
	"airgap/import/importtest"
)

// sent counts the bytes of bodies that arrive at a server.
type sent struct{ bytes atomic.Int64 }

func (s *sent) fault(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	r.Body = &countedBody{r.Body, s}
	return false
}

type countedBody struct {
	io.ReadCloser
	sent *sent
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.sent.bytes.Add(int64(n))
	return n, err
}

// A blob is larger than a chunk, so that what comes after the first break goes in several.
const uploadSize = 80 << 20

// TestUploadsContinue: of an upload that breaks in the middle, what has arrived is not sent again, unless the registry does
// not tell how much that is.
func TestUploadsContinue(t *testing.T) {
	const mib = 1 << 20
	blob := largeBlob()
	desc := bundle.Descriptor{Digest: bundle.DigestOf(blob), Size: int64(len(blob))}
	patch := func(f registrytest.Fault) registrytest.Fault { return registrytest.On("PATCH", "/uploads/", f) }
	for title, test := range map[string]struct {
		strict bool
		faults func(*harbortest.Server) []registrytest.Fault
		most   int64 // bytes that may have been sent in all
		posts  int
	}{
		"one break": {
			faults: func(*harbortest.Server) []registrytest.Fault {
				return []registrytest.Fault{patch(registrytest.Times(1, registrytest.BreakUpload(50*mib)))}
			},
			most: uploadSize + 8*mib, posts: 1,
		},
		"more breaks than attempts": {
			faults: func(*harbortest.Server) []registrytest.Fault {
				return []registrytest.Fault{patch(registrytest.Times(12, registrytest.BreakUpload(5*mib)))}
			},
			most: uploadSize + 12*4*mib, posts: 1,
		},
		"a proxy that loses what is not whole": {
			faults: func(*harbortest.Server) []registrytest.Fault {
				return []registrytest.Fault{
					patch(registrytest.Times(1, registrytest.BreakUpload(mib))),
					patch(registrytest.Between(1, 3, registrytest.DropUpload(20*mib))),
				}
			},
			most: uploadSize + 3*32*mib, posts: 1,
		},
		"strict": {
			strict: true,
			faults: func(*harbortest.Server) []registrytest.Fault {
				return []registrytest.Fault{patch(registrytest.Times(1, registrytest.BreakUpload(20*mib)))}
			},
			most: uploadSize + 40*mib, posts: 2,
		},
		"502 of a proxy": {
			faults: func(*harbortest.Server) []registrytest.Fault {
				return []registrytest.Fault{
					patch(registrytest.Times(1, registrytest.BreakUpload(50*mib))),
					registrytest.On("GET", "/uploads/", registrytest.Times(1, registrytest.Answer(502, "<html>", "Content-Type", "text/html"))),
					registrytest.On("PUT", "/uploads/", registrytest.Times(1, registrytest.Answer(502, ""))),
				}
			},
			most: uploadSize + 8*mib, posts: 1,
		},
		"the token expires": {
			faults: func(s *harbortest.Server) []registrytest.Fault {
				later := func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
					s.Advance(time.Hour)
					return false
				}
				return []registrytest.Fault{
					registrytest.On("GET", "/uploads/", registrytest.Times(1, later)), registrytest.On("PUT", "/uploads/", registrytest.Times(1, later)),
					patch(registrytest.Times(1, registrytest.BreakUpload(50*mib))),
				}
			},
			most: uploadSize + 8*mib, posts: 1,
		},
		// It takes the old request to its end while the new one is under way.
		"a registry that is not done with what came before the break": {
			faults: func(*harbortest.Server) []registrytest.Fault {
				return []registrytest.Fault{
					patch(registrytest.Times(1, registrytest.BreakUpload(20*mib))),
					patch(registrytest.Times(2, registrytest.Code(416, "RANGE_INVALID", "invalid content range"))),
				}
			},
			most: uploadSize + 4*mib, posts: 1,
		},
		"a registry that takes no chunks": {
			faults: func(*harbortest.Server) []registrytest.Fault {
				return []registrytest.Fault{
					patch(registrytest.Times(1, registrytest.BreakUpload(20*mib))),
					patch(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
						return r.Header.Get("Content-Range") != "" && registrytest.Code(405, "UNSUPPORTED", "no chunks")(w, r, next)
					}),
				}
			},
			most: uploadSize + 24*mib, posts: 2,
		},
		"a registry that never takes the next chunk": {
			faults: func(*harbortest.Server) []registrytest.Fault {
				return []registrytest.Fault{
					patch(registrytest.Times(1, registrytest.BreakUpload(20*mib))),
					patch(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
						return r.Header.Get("Content-Range") != "" && registrytest.Code(416, "RANGE_INVALID", "")(w, r, next)
					}),
				}
			},
			most: uploadSize + 24*mib, posts: 2,
		},
		"a registry that is wrong about how far it is": {
			faults: func(*harbortest.Server) []registrytest.Fault {
				return []registrytest.Fault{
					patch(registrytest.Times(1, registrytest.BreakUpload(20*mib))),
					registrytest.On("GET", "/uploads/", registrytest.Times(1, registrytest.Header("Range", fmt.Sprintf("0-%d", 10*mib)))),
				}
			},
			most: 2*uploadSize + 20*mib, posts: 2,
		},
	} {
		t.Run(title, func(t *testing.T) {
			s := harbortest.New(t, harbortest.With(func(set *harbortest.Settings) { set.StrictUploads = test.strict }))
			c := importtest.HarborClient(t, harbortest.Admin)
			var arrived sent
			s.Inject(append([]registrytest.Fault{arrived.fault}, test.faults(s)...)...)
			open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob)), nil }
			if err := c.PushBlob(t.Context(), s.Repo("library/app"), desc, open); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.Blob("library/app", desc.Digest), blob) {
				t.Error("something else is stored")
			}
			if n := arrived.bytes.Load(); n > test.most {
				t.Errorf("%d MiB were sent, more than %d", n/mib, test.most/mib)
			}
			if n := s.Count("POST", "/uploads/"); n != test.posts {
				t.Errorf("%d uploads were begun, not %d", n, test.posts)
			}
		})
	}
}

// largeBlob is one in which no two parts are alike.
func largeBlob() []byte {
	w := importtest.NewWorld(nil)
	content := make([]byte, uploadSize)
	_, _ = w.Random.Read(content)
	return content
}

// TestContinuedUploadIsChecked: what is read again for an upload that goes on has to be right to its end.
func TestContinuedUploadIsChecked(t *testing.T) {
	blob := bytes.Repeat([]byte("content "), 200_000)
	desc := bundle.Descriptor{Digest: bundle.DigestOf(blob), Size: int64(len(blob))}
	damaged := errors.New("damaged")
	for _, at := range []int{100_000, 300_000, len(blob)} {
		s := harbortest.New(t, harbortest.Faults(registrytest.On("PATCH", "", registrytest.Times(1, registrytest.BreakUpload(200_000)))))
		opened := 0
		err := importtest.HarborClient(t, harbortest.Admin).PushBlob(t.Context(), s.Repo("library/app"), desc, func() (io.ReadCloser, error) {
			if opened++; opened == 1 {
				return io.NopCloser(bytes.NewReader(blob)), nil
			}
			return io.NopCloser(io.MultiReader(bytes.NewReader(blob[:at]), failing{damaged})), nil
		})
		if !errors.Is(err, damaged) || s.Blob("library/app", desc.Digest) != nil || s.Uploads() != 0 {
			t.Errorf("at %d: %v, %d uploads are open", at, err, s.Uploads())
		}
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }
