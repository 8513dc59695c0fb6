// Package ledgertest is what every repository that keeps the heads of bundles has to do, whatever it is made of.
package ledgertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/ledger"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// Key signs the bundles that New makes.
var Key = func() *signature.PrivateKey {
	k, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		panic(err)
	}
	return k
}()

// Trust trusts Key.
var Trust = verify.Trust{Policy: policy.OfKeys([]signature.PublicKey{Key.Public()})}

// New returns the head of a bundle of one image, which is called text.
func New(t testing.TB, mirror string, sequence uint64, text string) bundle.Artifact {
	t.Helper()
	return Sign(t, Key, bundle.PlanOptions{Mirror: mirror, Sequence: sequence}, text)
}

// Sign returns the head of a bundle of one image, which is called text, signed by a key. Created is added to the options.
func Sign(t testing.TB, key *signature.PrivateKey, o bundle.PlanOptions, text string) bundle.Artifact {
	t.Helper()
	return Of(t, key, o, Image{Path: "acme/app", Tag: "1", Text: text})
}

// Image is an image without layers or, with children, an index.
type Image struct {
	Path, Tag, Text string
	Children        []Image
}

// Config returns the config of the image.
func (i Image) Config() []byte { return []byte(`{"name":"` + i.Text + `"}`) }

func (i Image) manifest() *bundle.Manifest {
	if len(i.Children) > 0 {
		m := &bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIIndex, Annotations: map[string]string{"name": i.Text}}
		for _, child := range i.Children {
			m.Manifests = append(m.Manifests, bundle.Descriptor{MediaType: child.MediaType(), Digest: child.Digest(), Size: int64(len(child.Manifest()))})
		}
		return m
	}
	config := i.Config()
	return &bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &bundle.Descriptor{
		MediaType: "application/vnd.oci.image.config.v1+json", Digest: bundle.DigestOf(config), Size: int64(len(config)),
	}}
}

// Manifest returns the bytes of the manifest.
func (i Image) Manifest() []byte {
	content, err := json.Marshal(i.manifest())
	if err != nil {
		panic(err) // it cannot fail
	}
	return content
}

// MediaType returns that of the manifest.
func (i Image) MediaType() string { return i.manifest().MediaType }

// Digest returns that of the manifest.
func (i Image) Digest() bundle.Digest { return bundle.DigestOf(i.Manifest()) }

// Objects returns the config, and then the manifest.
func (i Image) Objects() []bundle.Object {
	object := func(mediaType string, content []byte) bundle.Object {
		return bundle.Object{
			Descriptor: bundle.Descriptor{MediaType: mediaType, Digest: bundle.DigestOf(content), Size: int64(len(content))},
			Write: func(w io.Writer) error {
				_, err := w.Write(content)
				return err
			},
		}
	}
	return []bundle.Object{object("application/vnd.oci.image.config.v1+json", i.Config()), object(i.MediaType(), i.Manifest())}
}

func (i Image) root() bundle.Image {
	source := "docker.io/" + i.Path + ":" + i.Tag
	if i.Tag == "" {
		source = "docker.io/" + i.Path + "@" + i.Digest().String()
	}
	root := bundle.Root{Source: source, Path: i.Path, Tag: i.Tag, MediaType: i.MediaType(), Digest: i.Digest(), Size: int64(len(i.Manifest()))}
	planned := bundle.Image{Root: root, Manifests: []bundle.ManifestRow{i.row(bundle.ViaRoot)}}
	for _, child := range i.Children {
		planned.Manifests = append(planned.Manifests, child.row(bundle.ViaChild))
	}
	return planned
}

func (i Image) row(via bundle.Via) bundle.ManifestRow {
	return bundle.ManifestRow{Digest: i.Digest(), MediaType: i.MediaType(), Size: int64(len(i.Manifest())), Via: via, From: "docker.io/" + i.Path}
}

// Of returns the head of a bundle of images, signed by a key. Created is added to the options.
func Of(t testing.TB, key *signature.PrivateKey, o bundle.PlanOptions, images ...Image) bundle.Artifact {
	t.Helper()
	o.Created = time.Unix(1_700_000_000, 0)
	var planned []bundle.Image
	manifests := map[bundle.Digest]*bundle.Manifest{}
	for _, i := range images {
		planned, manifests[i.Digest()] = append(planned, i.root()), i.manifest()
		for _, child := range i.Children {
			manifests[child.Digest()] = child.manifest()
		}
	}
	contents, err := bundle.Plan(planned, func(d bundle.Digest) (*bundle.Manifest, error) { return manifests[d], nil }, o)
	if err != nil {
		t.Fatal(err)
	}
	layout, err := bundle.NewLayout(contents, func(d bundle.Digest) ([]byte, error) { return signature.Sign(key, d) })
	if err != nil {
		t.Fatal(err)
	}
	return layout.Artifact()
}

// Contract tests repositories. open returns one that is empty, or not there.
func Contract(t *testing.T, open func(testing.TB) ledger.Repository) {
	t.Run("empty", func(t *testing.T) { empty(t, ledger.Ledger{Repository: open(t)}) })
	t.Run("kept", func(t *testing.T) { kept(t, ledger.Ledger{Repository: open(t)}) })
	t.Run("taken", func(t *testing.T) { taken(t, ledger.Ledger{Repository: open(t)}) })
	t.Run("listed", func(t *testing.T) { listed(t, ledger.Ledger{Repository: open(t)}) })
	t.Run("beside", func(t *testing.T) { beside(t, ledger.Ledger{Repository: open(t)}) })
	t.Run("interrupted", func(t *testing.T) { interrupted(t, open) })
}

func empty(t *testing.T, l ledger.Ledger) {
	if entries, err := l.Entries(t.Context(), ""); err != nil || len(entries) > 0 {
		t.Error(entries, err)
	}
	for _, reference := range []string{"dhi-000001", bundle.DigestOf(nil).String()} {
		if _, err := l.Head(t.Context(), reference); !errors.Is(err, bundle.ErrNotFound) {
			t.Errorf("%s: %v", reference, err)
		}
	}
	if body, err := l.Blob(t.Context(), bundle.Descriptor{Digest: bundle.DigestOf(nil)}); !errors.Is(err, bundle.ErrNotFound) {
		t.Error(body, err)
	}
	if referrers, err := l.Referrers(t.Context(), bundle.DigestOf(nil)); err != nil || len(referrers) > 0 {
		t.Error(referrers, err)
	}
}

// expect wants an entry to be whole.
func expect(t *testing.T, l ledger.Ledger, tag string, want bundle.Artifact) {
	t.Helper()
	for _, reference := range []string{tag, want.Index.Digest.String()} {
		head, err := l.Head(t.Context(), reference)
		if err != nil {
			t.Fatal(err)
		}
		if head.ManifestIndex() != want.Index.Digest {
			t.Fatalf("%s is %s", reference, head.ManifestIndex())
		}
		if got := len(head.Signatures()); got != 1+len(want.Beside) {
			t.Errorf("%s: there are %d Sigstore bundles, want the signature and %d beside it", reference, got, len(want.Beside))
		}
		checked, err := verify.OpenHead(t.Context(), head, Trust)
		if err != nil {
			t.Fatal(err)
		}
		contents, err := checked.Contents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := contents.Header.EntryTag(head.ManifestIndex()); got != tag || contents.Header.Counts.Roots != 1 {
			t.Errorf("%s: the header is of %s, with %d roots", tag, got, contents.Header.Counts.Roots)
		}
	}
}

func kept(t *testing.T, l ledger.Ledger) {
	for i := range uint64(3) {
		if err := l.Put(t.Context(), bundle.SequenceTag("dhi", i+1), New(t, "dhi", i+1, strconv.FormatUint(i, 10))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(3) {
		expect(t, l, bundle.SequenceTag("dhi", i+1), New(t, "dhi", i+1, strconv.FormatUint(i, 10)))
	}
}

func taken(t *testing.T, l ledger.Ledger) {
	first := New(t, "dhi", 1, "first")
	for range 2 {
		if err := l.Put(t.Context(), "dhi-000001", first); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Put(t.Context(), "dhi-000001", New(t, "dhi", 1, "second")); !errors.Is(err, ledger.ErrTaken) {
		t.Error("the number was given away again:", err)
	}
	expect(t, l, "dhi-000001", first)
}

// beside wants what comes beside a bundle to be kept with it, also when it comes later, and once.
func beside(t *testing.T, l ledger.Ledger) {
	first := New(t, "dhi", 1, "first")
	head, err := bundle.ReadHead(content(t, first.Index), nil, func(context.Context, bundle.Descriptor) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content(t, first.Blobs[0]))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	header, err := head.Header(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	with := first
	for i, more := range []string{`{"a":1}`, `{"b":2}`} {
		with = with.With([]byte(more), "https://example.com/"+more[2:3], header)
		for range 2 {
			if err := l.Put(t.Context(), "dhi-000001", with); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Put(t.Context(), "dhi-000001", first); err != nil {
			t.Fatal(err)
		}
		head, err := l.Head(t.Context(), "dhi-000001")
		if err != nil {
			t.Fatal(err)
		}
		if len(head.Signatures()) != i+2 || !slices.ContainsFunc(head.Signatures(), func(s []byte) bool { return string(s) == more }) {
			t.Errorf("the bundle has %q, want %s among %d", head.Signatures(), more, i+2)
		}
		_, m, err := with.Beside[i].Manifest.Manifest()
		if err != nil || m.Subject.Digest != first.Index.Digest || m.Annotations["dev.sigstore.bundle.predicateType"] != "https://example.com/"+more[2:3] {
			t.Errorf("%+v (%v)", m, err)
		}
	}
	expect(t, l, "dhi-000001", with)
}

func content(t *testing.T, o bundle.Object) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := o.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func listed(t *testing.T, l ledger.Ledger) {
	for _, e := range []ledger.Entry{{Mirror: "dhi", Sequence: 10}, {Mirror: "dhi", Sequence: 2}, {Mirror: "charts", Sequence: 7}} {
		if err := l.Put(t.Context(), e.Tag(), New(t, e.Mirror, e.Sequence, "x")); err != nil {
			t.Fatal(err)
		}
	}
	without := New(t, "", 0, "x")
	if err := l.Put(t.Context(), "bundle-0123456789ab", without); err != nil {
		t.Fatal(err)
	}
	all, err := l.Entries(t.Context(), "")
	if want := []ledger.Entry{{Mirror: "charts", Sequence: 7}, {Mirror: "dhi", Sequence: 2}, {Mirror: "dhi", Sequence: 10}}; err != nil || !slices.Equal(all, want) {
		t.Error(all, err)
	}
	charts, err := l.Entries(t.Context(), "charts")
	if err != nil || !slices.Equal(charts, []ledger.Entry{{Mirror: "charts", Sequence: 7}}) {
		t.Error(charts, err)
	}
}

// errKilled ends an Interrupted repository.
var errKilled = errors.New("killed")

// Interrupted is a repository of which only so many writes succeed, and nothing after them; with Done the last of them is
// carried out, though nobody learns of it.
type Interrupted struct {
	ledger.Repository

	Writes int
	Done   bool
}

func (i *Interrupted) write(do func() error) error {
	switch i.Writes--; {
	case i.Writes > 0:
		return do()
	case i.Writes == 0 && i.Done:
		return errors.Join(errKilled, do())
	}
	return errKilled
}

// PutBlob implements ledger.Repository.
func (i *Interrupted) PutBlob(ctx context.Context, o bundle.Object) error {
	return i.write(func() error { return i.Repository.PutBlob(ctx, o) })
}

// PutManifest implements ledger.Repository.
func (i *Interrupted) PutManifest(ctx context.Context, o bundle.Object, tag string) error {
	return i.write(func() error { return i.Repository.PutManifest(ctx, o, tag) })
}

// interrupted wants what is listed to be whole wherever it is interrupted, and to be completed when it is done again.
func interrupted(t *testing.T, open func(testing.TB) ledger.Repository) {
	a := New(t, "dhi", 1, "x").With([]byte(`{"beside":1}`), "https://example.com/beside", &bundle.Header{Created: "2023-11-14T22:13:20Z"})
	for _, done := range []bool{false, true} {
		for writes := 1; ; writes++ {
			repository := open(t)
			l := ledger.Ledger{Repository: repository}
			err := ledger.Ledger{Repository: &Interrupted{repository, writes, done}}.Put(t.Context(), "dhi-000001", a)
			if err == nil {
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			entries, err := l.Entries(t.Context(), "dhi")
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) > 0 {
				expect(t, l, "dhi-000001", a)
			}
			if err := l.Put(t.Context(), "dhi-000001", a); err != nil {
				t.Fatal(err)
			}
			expect(t, l, "dhi-000001", a)
		}
	}
}
