package bundle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/archive"
	"airgap/bundle/bundletest"
)

// resigned makes a bundle again after a change to its header or a table, as somebody with the key could: everything that hangs
// from the change by digest follows it. It gives the bytes up to the end of the head.
func resigned(t *testing.T, good []byte, place int, change func([]byte) []byte) []byte {
	t.Helper()
	entries, _ := bundletest.Entries(good)
	content := func(i int) []byte { return entries[i].Raw[512 : 512+entries[i].Size] }
	old := content(place)
	changed := change(bytes.Clone(old))
	if bytes.Equal(old, changed) {
		t.Fatal("nothing was changed")
	}
	renew := func(text []byte, was, is []byte) []byte {
		text = bytes.ReplaceAll(text, []byte(bundle.DigestOf(was).String()), []byte(bundle.DigestOf(is).String()))
		return bytes.ReplaceAll(text, fmt.Appendf(nil, `%s","size":%d`, bundle.DigestOf(is), len(was)), fmt.Appendf(nil, `%s","size":%d`, bundle.DigestOf(is), len(is)))
	}
	index := renew(content(1), old, changed)
	var out bytes.Buffer
	add := func(name string, body []byte) {
		out.Write(archive.Header(name, int64(len(body)), 1_700_000_000))
		out.Write(body)
		out.Write(make([]byte, (512-len(body)%512)%512))
	}
	blob := func(body []byte) { add("blobs/sha256/"+bundle.DigestOf(body).Hex(), body) }
	for i := range entries {
		switch {
		case i == 1:
			blob(index)
		case i == place:
			blob(changed)
		case strings.HasPrefix(entries[i].Name, "blobs/"):
			blob(renew(content(i), content(1), index))
		default:
			add(entries[i].Name, renew(content(i), content(1), index))
		}
	}
	out.Write(make([]byte, 1024))
	return out.Bytes()
}

// A header has one spelling, as the tables have.
func TestHeaderHasOneSpelling(t *testing.T) {
	good := newWorld().stream(t)
	const header = 2
	for name, change := range map[string]func([]byte) []byte{
		"white space": func(b []byte) []byte { return append([]byte(" "), b...) },
		"an unknown field": func(b []byte) []byte {
			return bytes.Replace(b, []byte(`{"formatVersion"`), []byte(`{"x":1,"formatVersion"`), 1)
		},
		"null for a list": func(b []byte) []byte { return bytes.Replace(b, []byte(`"requires":[]`), []byte(`"requires":null`), 1) },
		"null for bases":  func(b []byte) []byte { return bytes.Replace(b, []byte(`"bases":[]`), []byte(`"bases":null`), 1) },
		"another order": func(b []byte) []byte {
			var fields map[string]any
			if err := json.Unmarshal(b, &fields); err != nil {
				t.Fatal(err)
			}
			sorted, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			return sorted
		},
	} {
		b := resigned(t, good, header, change)
		sealed, err := bundle.Open(bundle.FromReaderAt(bytes.NewReader(b), int64(len(b))))
		if err != nil {
			t.Fatalf("%s: the signed object itself must be fine: %v", name, err)
		}
		if _, err := sealed.Reader(context.Background()); !errors.Is(err, bundle.ErrFormat) || !strings.Contains(err.Error(), "header") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A root whose manifest is not in the bundle is not mistaken for another manifest of its size and type.
func TestRootThatIsNotThere(t *testing.T) {
	w := &world{blobs: map[bundle.Digest][]byte{}}
	m := w.manifest(image(w.add([]byte("{}")), w.add([]byte("layer"))), bundle.MediaTypeOCIManifest)
	w.images = []bundle.Image{{
		Root:      bundle.Root{Source: "docker.io/acme/app:1", Path: "acme/app", Tag: "1", MediaType: m.MediaType, Digest: m.Digest, Size: m.Size},
		Manifests: []bundle.ManifestRow{{Digest: m.Digest, MediaType: m.MediaType, Size: m.Size, Via: bundle.ViaRoot, From: "docker.io/acme/app"}},
	}}
	const roots = 3
	err := checkFile(resigned(t, w.stream(t), roots, func(table []byte) []byte {
		return bytes.Replace(table, []byte(m.Digest.String()), []byte(bundle.DigestOf([]byte("elsewhere")).String()), 1)
	}))
	if !errors.Is(err, bundle.ErrFormat) || !strings.Contains(err.Error(), "no row of the manifests table is the root") {
		t.Errorf("%v", err)
	}
	w.images[0].Root.Digest = bundle.DigestOf([]byte("elsewhere"))
	if _, err := w.tryPlan(); err == nil || !strings.Contains(err.Error(), "no row of the manifests table is the root") {
		t.Errorf("it was planned: %v", err)
	}
}
