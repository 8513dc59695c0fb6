package export_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/registry"
	. "airgap/export/registry/registrytest"
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
		Retry: registry.RetryPolicy{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
}

// export exports the references into a directory, and returns the file and the error.
func (f *faulty) export(t *testing.T, o export.WalkOptions, refs ...string) (file string, err error) {
	t.Helper()
	sign, _ := signer(t)
	var requests []export.Request
	for _, ref := range refs {
		requests = append(requests, parse(t, f.Host()+"/"+ref))
	}
	file = filepath.Join(t.TempDir(), "bundle.tar")
	_, err = export.Run(t.Context(), patient(), requests, sign, export.ToFile(file), export.Options{Walk: o, Created: time.Unix(1, 0)})
	left, _ := filepath.Glob(file + "*")
	if err != nil && len(left) > 0 {
		t.Errorf("the export failed, and left %v", left)
	}
	return file, err
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
			sealed, err := bundle.OpenFile(file)
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

// Faults that stay are named, never read as "none", and leave no file.
func TestFaultsThatAreReported(t *testing.T) {
	for name, test := range map[string]struct {
		fault Fault
		want  error
	}{
		"wrong bytes of the right length": {On("GET", "/blobs/", Spoil()), bundle.ErrDigest},
		"500 at the referrers":            {On("GET", "/referrers/", Answer(500, "oops")), registry.ErrUnavailable},
		"429 at the referrers":            {On("GET", "/referrers/", Throttle("1")), registry.ErrThrottled},
		"401 at the referrers":            {On("GET", "/referrers/", Code(401, "UNAUTHORIZED", "who are you")), registry.ErrUnauthorized},
		"403 at the referrers":            {On("GET", "/referrers/", Code(403, "DENIED", "no")), registry.ErrForbidden},
		"the repository is unknown":       {On("GET", "/referrers/", NameUnknown()), registry.ErrRepositoryUnknown},
		"truncated listing":               {On("GET", "/referrers/", Cut(20)), bundle.ErrFormat},
		"500 at a cosign tag":             {On("HEAD", ".sig", Answer(500, "")), registry.ErrUnavailable},
		"a layer is missing":              {On("GET", "/blobs/", Code(404, "BLOB_UNKNOWN", "gone")), registry.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t, Faults(test.fault))
			if _, err := f.export(t, export.WalkOptions{}, "acme/app:1"); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
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

func TestCancellingLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := newFaulty(t)
	f.Inject(On("GET", "/blobs/", func(http.ResponseWriter, *http.Request, http.Handler) bool { cancel(); return false }))
	sign, _ := signer(t)
	file := filepath.Join(t.TempDir(), "bundle.tar")
	_, err := export.Run(ctx, patient(), []export.Request{parse(t, f.Host()+"/acme/app:1")}, sign, export.ToFile(file), export.Options{Created: time.Unix(1, 0)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, _ := filepath.Glob(file + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
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
		sign, _ := signer(t)
		file := filepath.Join(t.TempDir(), "bundle.tar")
		request := parse(t, f.Host()+"/acme/app:foreign")
		request.Settings.IncludeNondistributable = include
		result, err := export.Run(t.Context(), patient(), []export.Request{request}, sign, export.ToFile(file), export.Options{Created: time.Unix(1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(written), string(content)); got != include || (len(result.LeftOut) == 0) != include {
			t.Errorf("include %t: in the file %t, left out %v", include, got, result.LeftOut)
		}
	}
}
