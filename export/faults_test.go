package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
	"airgap/export/registry/retry"
)

// faulty is a registry with one image of one layer, and an SBOM that refers to it.
type faulty struct {
	*Server
	image, layer, sbom bundle.Descriptor
}

func newFaulty(t *testing.T, options ...Option) *faulty {
	t.Helper()
	f := &faulty{Server: New(t, options...)}
	config := f.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json", []byte(`{"architecture":"amd64"}`))
	f.layer = f.AddBlob("acme/app", "application/vnd.oci.image.layer.v1.tar", []byte(strings.Repeat("layer", 50_000)))
	f.image = f.add(t, "1", bundle.Manifest{Config: &config, Layers: []bundle.Descriptor{f.layer}})
	f.sbom = f.add(t, "", bundle.Manifest{Config: &config, ArtifactType: "application/spdx+json", Subject: &f.image, Layers: []bundle.Descriptor{config}})
	return f
}

func (f *faulty) add(t *testing.T, tag string, m bundle.Manifest) bundle.Descriptor {
	t.Helper()
	m.SchemaVersion, m.MediaType = 2, bundle.MediaTypeOCIManifest
	content, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return f.AddManifest("acme/app", tag, m.MediaType, content)
}

// patient does not sleep between tries.
func patient() *registry.Client {
	return registry.New(registry.Config{
		Host:  func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
		Retry: retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
}

// exporting is an export of some references into a file, which can be run again.
type exporting struct {
	file     string
	requests export.Requests
	signer   export.Signer
	options  export.Options
}

func (f *faulty) exporting(t *testing.T, o export.WalkOptions, refs ...string) *exporting {
	t.Helper()
	e := &exporting{
		file: filepath.Join(t.TempDir(), "bundle.tar"), signer: export.SignedBy(newKey(t)), options: export.Options{Walk: o, Created: time.Unix(1, 0)},
	}
	for _, ref := range refs {
		e.requests = append(e.requests, parse(t, f.Host()+"/"+ref))
	}
	return e
}

func (e *exporting) run(ctx context.Context) (*export.Result, error) {
	return export.Run(ctx, patient(), e.requests, e.signer, export.ToFile(e.file), e.options)
}

// stream is run into a pipe.
func (e *exporting) stream(ctx context.Context) ([]byte, error) {
	var piped bytes.Buffer
	_, err := export.Run(ctx, patient(), e.requests, e.signer, export.ToStream(&piped), e.options)
	return piped.Bytes(), err
}

// left is what is there of the file, by what its name has more than the file's.
func (e *exporting) left(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(e.file + "*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = strings.TrimPrefix(found[i], e.file)
	}
	return found
}

// What an export leaves for a later run, once its plan is signed.
var unfinished = []string{".partial", ".partial.json"}

// export exports the references into a file, which nothing is left of where that fails before anything was fetched.
func (f *faulty) export(t *testing.T, o export.WalkOptions, refs ...string) (file string, err error) {
	t.Helper()
	e := f.exporting(t, o, refs...)
	_, err = e.run(t.Context())
	if left := e.left(t); err != nil && len(left) > 0 {
		t.Errorf("the export failed, and left %v", left)
	}
	return e.file, err
}

// Faults that pass, and faults in what is not asked for, are survived: the file is the same as without them.
func TestFaultsThatAreSurvived(t *testing.T) {
	for name, fault := range map[string]Fault{
		"connection dropped in the middle of a layer": On("GET", "/blobs/", Times(2, DropAfter(100_000))),
		"wrong bytes of the right length, once":       On("GET", "/blobs/", Times(1, Spoil())),
		"429 with Retry-After":                        Times(3, Throttle("7")),
		"500 three times":                             On("GET", "/referrers/", Times(3, Answer(500, "oops"))),
		"ranges are not understood":                   First(On("GET", "/blobs/", Times(1, DropAfter(100_000))), On("GET", "/blobs/", IgnoreRange())),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t, Faults(fault))
			file, err := f.export(t, export.WalkOptions{}, "acme/app:1")
			if err != nil {
				t.Fatal(err)
			}
			medium, err := bundle.OpenFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := bundle.Open(medium)
			if err != nil {
				t.Fatal(err)
			}
			defer sealed.Close()
			r, err := sealed.Reader(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []bundle.Digest{f.image.Digest, f.layer.Digest, f.sbom.Digest} {
				row, found := r.Contents().Find(d)
				if !found {
					t.Fatalf("%s is not in the bundle", d)
				}
				if b := r.Contents().Blobs[row]; !b.IsStored() {
					t.Errorf("%s is stored as %s", d, b.Stored)
				}
			}
		})
	}
}

// Faults that stay are named, never read as "none", and leave nothing that looks finished. What fails once the plan is signed
// is continued when it is run again.
func TestFaultsThatAreReported(t *testing.T) {
	for name, test := range map[string]struct {
		fault  Fault
		want   error
		signed bool
	}{
		"wrong bytes of the right length": {On("GET", "/blobs/", Spoil()), bundle.ErrDigest, true},
		"500 at the referrers":            {On("GET", "/referrers/", Answer(500, "oops")), registry.ErrUnavailable, false},
		"429 at the referrers":            {On("GET", "/referrers/", Throttle("1")), registry.ErrThrottled, false},
		"401 at the referrers":            {On("GET", "/referrers/", Code(401, "UNAUTHORIZED", "who are you")), registry.ErrUnauthorized, false},
		"403 at the referrers":            {On("GET", "/referrers/", Code(403, "DENIED", "no")), registry.ErrForbidden, false},
		"the repository is unknown":       {On("GET", "/referrers/", NameUnknown()), registry.ErrRepositoryUnknown, false},
		"truncated listing":               {On("GET", "/referrers/", Cut(20)), bundle.ErrFormat, false},
		"500 at a cosign tag":             {On("HEAD", ".sig", Answer(500, "")), registry.ErrUnavailable, false},
		"a layer is missing":              {On("GET", "/blobs/", Code(404, "BLOB_UNKNOWN", "gone")), registry.ErrNotFound, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t)
			e := f.exporting(t, export.WalkOptions{}, "acme/app:1")
			whole, err := e.stream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.Inject(test.fault)
			if _, err := e.stream(t.Context()); !errors.Is(err, test.want) {
				t.Errorf("into a pipe: %v, want %v", err, test.want)
			}
			if _, err := e.run(t.Context()); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			left := e.left(t)
			if test.signed && !slices.Equal(left, unfinished) || !test.signed && len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			f.Inject()
			result, err := e.run(t.Context())
			if err != nil || result.Continued != test.signed {
				t.Fatalf("run again: continued %t, %v", err == nil && result.Continued, err)
			}
			written, err := os.ReadFile(e.file)
			if err != nil || !bytes.Equal(written, whole) || len(e.left(t)) != 1 {
				t.Errorf("run again: %d bytes, want %d; there is %v (%v)", len(written), len(whole), e.left(t), err)
			}
		})
	}
}

func TestWhatIsNoAnswerToReferrersIsAnError(t *testing.T) {
	f := newFaulty(t)
	config := f.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json", []byte(`{"architecture":"amd64"}`))
	stranger := f.add(t, "stranger", bundle.Manifest{Config: &config, Subject: &f.sbom, ArtifactType: "application/x"})
	listing := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		bundle.MediaTypeOCIIndex, stranger.MediaType, stranger.Digest, stranger.Size)
	f.Inject(On("GET", "/referrers/"+f.image.Digest.String(), Answer(200, listing, "Content-Type", bundle.MediaTypeOCIIndex)))
	if _, err := f.export(t, export.WalkOptions{}, "acme/app:1"); !errors.Is(err, export.ErrSubject) {
		t.Errorf("a referrer of something else: %v", err)
	}
}

func TestAttestationRepositoryMustYieldSomething(t *testing.T) {
	for _, repository := range []string{"none", "empty"} {
		f := newFaulty(t)
		f.AddManifest("proofs/empty/app", "other", bundle.MediaTypeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+bundle.MediaTypeOCIIndex+`","manifests":[]}`))
		from, err := export.ParseAttestations([]string{f.Host() + "/acme=" + f.Host() + "/proofs/" + repository}, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.export(t, export.WalkOptions{Attestations: from}, "acme/app:1"); !errors.Is(err, export.ErrNoReferrers) {
			t.Errorf("%s: %v", repository, err)
		}
		if _, err := f.export(t, export.WalkOptions{Attestations: from, AllowNoReferrers: true}, "acme/app:1"); err != nil {
			t.Errorf("%s, allowed: %v", repository, err)
		}
	}
}

// What cannot be carried is found before anything is written.
func TestManifestsThatAreRefused(t *testing.T) {
	config := `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + bundle.EmptyJSON.String() + `","size":2}`
	for name, test := range map[string]struct {
		mediaType, manifest string
		want                error
	}{
		"Docker schema 1":   {"application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1,"name":"a"}`, bundle.ErrUnsupported},
		"unknown type":      {"application/vnd.acme.manifest", `{"schemaVersion":2}`, bundle.ErrUnsupported},
		"sha512 layer":      {bundle.MediaTypeOCIManifest, `{"schemaVersion":2,` + config + `,"layers":[{"mediaType":"x","digest":"sha512:` + strings.Repeat("0", 128) + `","size":1}]}`, bundle.ErrUnsupported},
		"duplicate key":     {bundle.MediaTypeOCIManifest, `{"schemaVersion":2,` + config + `,` + config + `}`, bundle.ErrFormat},
		"key in other case": {bundle.MediaTypeOCIManifest, `{"schemaVersion":2,` + config + `,"Layers":[]}`, bundle.ErrFormat},
		"trailing data":     {bundle.MediaTypeOCIManifest, `{"schemaVersion":2,` + config + `} {}`, bundle.ErrFormat},
		"two sizes": {bundle.MediaTypeOCIManifest, `{"schemaVersion":2,` + config + `,"layers":[{"mediaType":"x","digest":"` + bundle.EmptyJSON.String() + `","size":3}]}`,
			bundle.ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t)
			f.AddManifest("acme/app", "bad", test.mediaType, []byte(test.manifest))
			if _, err := f.export(t, export.WalkOptions{}, "acme/app:bad"); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

func TestProblemsOfSeveralImagesAreReportedTogether(t *testing.T) {
	f := newFaulty(t)
	_, err := f.export(t, export.WalkOptions{}, "acme/app:1", "acme/app:missing", "acme/none:1")
	if err == nil || !strings.Contains(err.Error(), "acme/app:missing") || !strings.Contains(err.Error(), "acme/none:1") {
		t.Errorf("not both problems are named: %v", err)
	}
}

func TestCancellingLeavesNothingThatLooksFinished(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := newFaulty(t)
	e := f.exporting(t, export.WalkOptions{}, "acme/app:1")
	f.Inject(On("GET", "/blobs/", func(http.ResponseWriter, *http.Request, http.Handler) bool { cancel(); return false }))
	if _, err := e.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left := e.left(t); !slices.Equal(left, unfinished) {
		t.Errorf("left behind: %v", left)
	}
	f.Inject()
	if result, err := e.run(t.Context()); err != nil || !result.Continued || len(e.left(t)) != 1 {
		t.Errorf("run again: %v, %v", e.left(t), err)
	}
}

// cancelling cancels when a phase begins.
type cancelling struct {
	phase  string
	cancel context.CancelFunc

	mu     sync.Mutex
	phases map[string][2]int64 // bytes in all, and done, by phase
	now    string
}

func (c *cancelling) Phase(name string, total int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phases == nil {
		c.phases = map[string][2]int64{}
	}
	c.now, c.phases[name] = name, [2]int64{total, 0}
	if name == c.phase {
		c.cancel()
	}
}

func (c *cancelling) Add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.phases[c.now]
	c.phases[c.now] = [2]int64{p[0], p[1] + n}
}

func (c *cancelling) Item(string)                       {}
func (c *cancelling) Count(name, _ string, total int64) { c.Phase(name, total) }
func (c *cancelling) Warn(string)                       {}

// Hashing volumes and making parity, at the end of an export, is seen and can be cancelled; the next run goes on there.
func TestCancellingTheEndOfAnExportInVolumes(t *testing.T) {
	for _, phase := range []string{"hash volumes", "parity"} {
		t.Run(phase, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f := newFaulty(t)
			e := f.exporting(t, export.WalkOptions{}, "acme/app:1")
			watch := &cancelling{phase: phase, cancel: cancel}
			e.options.Observer = watch
			output := export.ToFile(e.file).InVolumes(100<<10, func(int) int { return 1 })
			if _, err := export.Run(ctx, patient(), e.requests, e.signer, output, e.options); !errors.Is(err, context.Canceled) {
				t.Fatalf("cancelled: %v", err)
			}
			for _, name := range e.left(t) {
				if !strings.Contains(name, ".partial") {
					t.Errorf("%s looks finished", name)
				}
			}
			f.Forget()
			watch.phase = ""
			result, err := export.Run(t.Context(), patient(), e.requests, e.signer, output, e.options)
			if err != nil || !result.Continued || f.Count("GET", "/blobs/") > 0 {
				t.Errorf("run again: %v, %d blobs fetched", err, f.Count("GET", "/blobs/"))
			}
			if p := watch.phases[phase]; p[0] < result.Size || p[1] != p[0] {
				t.Errorf("%d of %d bytes were said to be done", p[1], p[0])
			}
		})
	}
}

// An export is continued for the same key, images and settings alone; Replan looks again.
func TestWhatIsContinued(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *faulty, *exporting){
		"another key": func(t *testing.T, _ *faulty, e *exporting) { e.signer = export.SignedBy(newKey(t)) },
		"other images": func(t *testing.T, f *faulty, e *exporting) {
			e.requests = append(e.requests, parse(t, f.Host()+"/acme/app:1=other:1"))
		},
		"other settings": func(_ *testing.T, _ *faulty, e *exporting) { e.requests[0].Settings.NoReferrers = true },
		"another time":   func(_ *testing.T, _ *faulty, e *exporting) { e.options.Created = time.Unix(2, 0) },
		"replan":         func(_ *testing.T, _ *faulty, e *exporting) { e.options.Replan = true },
		"":               func(*testing.T, *faulty, *exporting) {},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t, Faults(On("GET", "/blobs/", Code(404, "BLOB_UNKNOWN", "gone"))))
			e := f.exporting(t, export.WalkOptions{}, "acme/app:1")
			if _, err := e.run(t.Context()); err == nil {
				t.Fatal("exported without a layer")
			}
			f.Inject()
			f.Forget()
			change(t, f, e)
			result, err := e.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			looked := f.Count("GET", "/manifests/") > 0
			if again := name == ""; result.Continued != again || looked == again {
				t.Errorf("continued %t, looked again %t", result.Continued, looked)
			}
			if left := e.left(t); len(left) != 1 {
				t.Errorf("there is %v", left)
			}
		})
	}
}

func TestNondistributableLayers(t *testing.T) {
	content := []byte("windows base layer")
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials were sent to the address of a foreign layer")
		}
		_, _ = w.Write(content)
	}))
	defer elsewhere.Close()
	f := newFaulty(t)
	config := f.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json", []byte(`{}`))
	foreign := bundle.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: bundle.DigestOf(content), Size: int64(len(content)), URLs: []string{elsewhere.URL + "/layer"}}
	f.add(t, "foreign", bundle.Manifest{Config: &config, Layers: []bundle.Descriptor{foreign}})
	for _, include := range []bool{false, true} {
		e := f.exporting(t, export.WalkOptions{}, "acme/app:foreign")
		e.requests[0].Settings.IncludeNondistributable = include
		result, err := e.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(e.file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(written), string(content)); got != include || (len(result.LeftOut) == 0) != include {
			t.Errorf("include %t: in the file %t, left out %v", include, got, result.LeftOut)
		}
	}
}

// A stranger who is not answered for want of time or of turns leaves it unknown whether the image is private: it is exported,
// and recorded as private.
func TestPrivacyThatCannotBeAsked(t *testing.T) {
	for label, fault := range map[string]Fault{
		"throttled":    Throttle(""),
		"unavailable":  Answer(503, ""),
		"out of order": Answer(500, ""),
	} {
		t.Run(label, func(t *testing.T) {
			login := &Login{User: "ada", Password: "s3cret-pa55", Public: func(string) bool { return true }}
			f := newFaulty(t, Wrap(login.Guard))
			anonymous := 0
			f.Inject(On("GET", "/token", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if r.Header.Get("Authorization") != "" {
					return false
				}
				anonymous++
				return fault(w, r, next)
			}))
			client := registry.New(registry.Config{
				Host:     func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} },
				Keychain: adaKeychain{},
				Retry:    retry.Policy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
			})
			plan, err := export.MakePlan(t.Context(), client, export.Requests{parse(t, f.Host()+"/acme/app:1")}, export.Options{Created: time.Unix(1, 0)})
			if err != nil {
				t.Fatal(err)
			}
			defer plan.Close()
			if err := plan.Err(); err != nil {
				t.Fatal(err)
			}
			if !plan.Contents.Root(0).Private || anonymous < 2 {
				t.Errorf("private: %t, after %d tries", plan.Contents.Root(0).Private, anonymous)
			}
			result, err := plan.Result()
			if err != nil || len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "acme/app") {
				t.Errorf("%q, %v", result.Warnings, err)
			}
		})
	}
}

type adaKeychain struct{}

func (adaKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: "ada", Password: "s3cret-pa55"}), nil
}

func (f *faulty) index(t *testing.T, tag string, children ...bundle.Descriptor) bundle.Descriptor {
	t.Helper()
	content, err := json.Marshal(bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIIndex, Manifests: children})
	if err != nil {
		t.Fatal(err)
	}
	return f.AddManifest("acme/app", tag, bundle.MediaTypeOCIIndex, content)
}
