package importer_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/registrytest"
	importer "airgap/import"
	"airgap/import/importtest"
	"airgap/import/transfer"
	"airgap/verify"
)

// ways are how a bundle can be read.
var ways = map[string]func(testing.TB, string) *verify.Bundle{"file": importtest.Open, "pipe": importtest.OpenPipe}

// refuses makes a target answer the push of manifests that contain some text as asked.
func refuses(text string, answer registrytest.Fault) registrytest.Fault {
	return registrytest.On("PUT", "/manifests/", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		return bytes.Contains(body, []byte(text)) && answer(w, r, next)
	})
}

// What a target never takes is found out before an image is sent, and the error says what it is and where it hangs.
func TestRefusedKindsAreFoundFirst(t *testing.T) {
	a := importtest.NewAcme(t)
	file := a.File()
	invalid := registrytest.Code(http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid")
	for name, test := range map[string]struct {
		refused string // text of the manifests that are refused
		answer  registrytest.Fault
		want    []string
	}{
		"artifact type": {importtest.SbomType, invalid, []string{"artifact type " + importtest.SbomType, "docker.io/acme/app:1, referrer " + a.Sbom.Digest.String(), "400", "MANIFEST_INVALID: manifest invalid"}},
		"empty config":  {bundle.MediaTypeEmptyJSON, invalid, []string{"config " + bundle.MediaTypeEmptyJSON}},
		"unsupported":   {importtest.SigstoreType, registrytest.Answer(http.StatusUnsupportedMediaType, "no such media"), []string{"artifact type " + importtest.SigstoreType, "415", "no such media"}},
		"not found":     {"vnd.example.report", registrytest.Code(http.StatusNotFound, "NOT_FOUND", "not found"), []string{"acme/report@" + a.Report.Digest.String(), "NOT_FOUND"}},
		"unprocessable": {`"subject"`, registrytest.Code(http.StatusUnprocessableEntity, "MANIFEST_INVALID", "no subjects here"), []string{"no subjects here"}},
	} {
		for way, open := range ways {
			if way == "pipe" && name == "not found" {
				continue // what is no referrer has layers, of which none is kept
			}
			t.Run(name+", "+way, func(t *testing.T) {
				s := registrytest.New(t, targets["acknowledges"]...)
				s.Inject(refuses(test.refused, test.answer))
				done, err := importer.Run(t.Context(), open(t, file), importtest.Client(), options(t, s))
				if !errors.Is(err, transfer.ErrRefused) || done.Complete {
					t.Fatalf("not refused: %v", err)
				}
				for _, want := range append(test.want, "no tag was moved, and nothing was pushed to "+s.Host()+"/mirror but") {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q is not in: %v", want, err)
					}
				}
				expectOnlySamples(t, a, s)
			})
		}
	}
}

// expectOnlySamples looks for what is no small artifact, and for tags.
func expectOnlySamples(t *testing.T, a *importtest.Acme, s *registrytest.Server) {
	t.Helper()
	if tags := tagsOf(t, a, s); len(tags) > 0 {
		t.Errorf("tags: %v", tags)
	}
	for digest, m := range a.Manifests {
		parsed := a.Parse(digest)
		sampled := parsed.Subject != nil || digest == a.Report.Digest
		for _, image := range a.Images {
			repo := "mirror/" + image.Root.Path
			if !sampled && s.StoredManifest(repo, digest.String()) != nil {
				t.Errorf("%s (%s) was pushed", digest, m.MediaType)
			}
			for _, layer := range parsed.Layers {
				if !sampled && s.StoredBlob(repo, layer.Digest) != nil {
					t.Errorf("the layer %s was pushed", layer.Digest)
				}
			}
		}
	}
}

// A target that takes everything gets the samples before the images, one of each kind, and nothing twice; nothing at all
// when nothing is lacking.
func TestSamplesArePartOfTheImport(t *testing.T) {
	a := importtest.NewAcme(t)
	file := a.File()
	for name, at := range targets {
		for way, open := range ways {
			t.Run(name+", "+way, func(t *testing.T) {
				s := registrytest.New(t, at...)
				if _, err := importer.Run(t.Context(), open(t, file), importtest.Client(), options(t, s)); err != nil {
					t.Fatal(err)
				}
				expectAcme(t, a, s, name == "fallback tags")
				pushes := digestsPushed(s)
				wanted := []string{importtest.SbomType, importtest.SigstoreType}
				if way == "file" { // the report's blobs are no proofs, and so not kept of a pipe
					wanted = append(wanted, "application/vnd.example.report")
				}
				for _, push := range pushes[:len(wanted)] {
					first := a.Parse(push.digest).RecordedArtifactType()
					if !slices.Contains(wanted, first) {
						t.Errorf("%q is among the first manifests, and %q not", first, wanted)
					}
					wanted = slices.DeleteFunc(wanted, func(kind string) bool { return kind == first })
				}
				seen := map[pushedTo]bool{}
				for _, push := range pushes {
					if seen[push] {
						t.Errorf("%s was pushed twice", push.digest)
					}
					seen[push] = true
				}
				s.Forget()
				if _, err := importer.Run(t.Context(), open(t, file), importtest.Client(), options(t, s)); err != nil || len(importtest.Writes(s)) > 0 {
					t.Errorf("the second time: %v, %v", err, importtest.Writes(s))
				}
			})
		}
	}
}

type pushedTo struct {
	repo   string
	digest bundle.Digest
}

// digestsPushed are the manifests that were pushed by digest, in that order.
func digestsPushed(s *registrytest.Server) []pushedTo {
	var pushes []pushedTo
	for _, r := range s.Requests() {
		parts := manifestPath.FindStringSubmatch(r.Path)
		if r.Method != http.MethodPut || parts == nil {
			continue
		}
		if digest, err := bundle.ParseDigest(parts[2]); err == nil {
			pushes = append(pushes, pushedTo{parts[1], digest})
		}
	}
	return pushes
}

// Of each kind the smallest is pushed; what is large, and what is an image, is not.
func TestSamplesAreSmall(t *testing.T) {
	w := importtest.NewWorld(t)
	image := w.Image("app", w.Layer(3000))
	w.Referrer(image, importtest.SbomType, strings.Repeat("large ", 1000))
	small := w.Referrer(image, importtest.SbomType, "small")
	huge := w.Referrer(image, "application/vnd.example.huge", strings.Repeat("huge", 1<<18)+".")
	chart := w.Manifest(bundle.MediaTypeOCIManifest, bundle.Manifest{
		Config: ptr(w.Blob("application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"chart"}`))),
		Layers: []bundle.Descriptor{w.Blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("chart"))},
	})
	w.Root("example.com/app:1", "app", "1", image)
	w.Root("example.com/charts/app:1", "charts/app", "1", chart)
	s := registrytest.New(t, targets["acknowledges"]...)
	if _, err := importer.Run(t.Context(), importtest.Open(t, w.File()), importtest.Client(), options(t, s)); err != nil {
		t.Fatal(err)
	}
	pushes := digestsPushed(s)
	at := func(d bundle.Descriptor) int {
		return slices.IndexFunc(pushes, func(p pushedTo) bool { return p.digest == d.Digest })
	}
	if before := max(at(small), at(chart)); before != 1 || at(image) < 2 || at(huge) < at(image) {
		t.Errorf("pushed in this order: %v", pushes)
	}
}

func ptr[T any](v T) *T { return &v }

// A target that wants the subject first, against the specification, gets it first.
func TestSampleWaitsForItsSubject(t *testing.T) {
	w := importtest.NewWorld(t)
	image := w.Image("app", w.Layer(3000))
	sbom := w.Referrer(image, importtest.SbomType, "sbom")
	w.Root("example.com/app:1", "app", "1", image)
	for _, code := range []string{"MANIFEST_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"} {
		s := registrytest.New(t, targets["acknowledges"]...)
		s.Inject(refuses(importtest.SbomType, func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
			return s.StoredManifest("mirror/app", image.Digest.String()) == nil &&
				registrytest.Code(http.StatusNotFound, code, "no such subject")(rw, r, next)
		}))
		if _, err := importer.Run(t.Context(), importtest.Open(t, w.File()), importtest.Client(), options(t, s)); err != nil {
			t.Fatal(err)
		}
		importtest.ExpectManifest(t, s, "mirror/app", sbom.Digest.String(), w.Blobs[sbom.Digest])
	}
}
