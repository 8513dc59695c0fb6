package verify_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"airgap/bundle"
	"airgap/bundle/bundletest"
	"airgap/export/registry/registrytest"
	"airgap/verify"
	"airgap/verify/signature"
)

// layers are large enough that a copy can be broken off in the middle.
const layers = 8

// layered is a bundle of an image with some layers, the first n of which are those of every other n.
func layered(t *testing.T, sign bundle.Signer, n int) []byte {
	t.Helper()
	s := registrytest.New(t)
	config := s.AddBlob("acme/app", bundle.MediaTypeEmptyJSON, []byte("{}"))
	m := bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config}
	for i := range n {
		m.Layers = append(m.Layers, s.AddBlob("acme/app", "application/vnd.oci.image.layer.v1.tar", bytes.Repeat([]byte(strconv.Itoa(i)), 1<<20)))
	}
	content, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	s.AddManifest("acme/app", "1", bundle.MediaTypeOCIManifest, content)
	return exported(t, s, sign, "1")
}

// joining is a delta over two bundles, and the same with nothing left out.
type joining struct {
	key   *signature.PrivateKey
	sign  bundle.Signer
	full  []byte
	bases []*bundletest.Remade
	delta *bundletest.Remade
}

func newJoining(t *testing.T) *joining {
	t.Helper()
	w := &joining{key: generate(t)}
	w.sign = signWith(w.key)
	w.full = layered(t, w.sign, layers)
	first := bundletest.Remake(t, layered(t, w.sign, 3), w.sign, bundle.PlanOptions{Mirror: "m", Sequence: 1})
	second := bundletest.Remake(t, layered(t, w.sign, 6), w.sign, bundle.PlanOptions{Mirror: "m", Sequence: 2, StoredBy: first.Stores})
	w.bases = []*bundletest.Remade{first, second}
	w.delta = bundletest.Remake(t, w.full, w.sign, bundle.PlanOptions{Mirror: "m", Sequence: 3, StoredBy: second.Stores})
	return w
}

func (w *joining) open(t *testing.T, b []byte) *verify.Bundle {
	t.Helper()
	checked, err := open(t, b, false, w.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return checked
}

func (w *joining) over(t *testing.T, bases ...*bundletest.Remade) *verify.Bundle {
	t.Helper()
	var opened []*verify.Bundle
	for _, base := range bases {
		opened = append(opened, w.open(t, base.Bytes))
	}
	return over(t, w.open(t, w.delta.Bytes), opened...)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestJoinedIsTheWholeOfTheDelta(t *testing.T) {
	w := newJoining(t)
	path := filepath.Join(t.TempDir(), "whole.tar")
	result, err := w.over(t, w.bases...).Join(t.Context(), w.key, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	content := read(t, path)
	whole := w.open(t, content)
	if err := whole.CheckBlobs(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if result.ManifestIndex != whole.ManifestIndex() || result.Size != int64(len(content)) {
		t.Errorf("result %+v", result)
	}
	// Nothing but the name of the delta tells it from what export would have made in one go.
	got, delta := whole.Contents(), w.delta.Contents
	want := bundletest.Remake(t, w.full, w.sign, bundle.PlanOptions{Mirror: "m", Sequence: 3}).Contents
	if !slices.Equal(got.Blobs, want.Blobs) || !slices.Equal(got.RootManifests(0), want.RootManifests(0)) || !reflect.DeepEqual(got.Root(0), want.Root(0)) {
		t.Error("other tables than those of the full bundle")
	}
	header := got.Header
	if header.Joined != w.delta.ManifestIndex || header.Identity(whole.ManifestIndex()) != w.delta.ManifestIndex || !slices.Equal(header.Requires, []string{"joined"}) {
		t.Errorf("header %+v", header)
	}
	if header.Counts != want.Header.Counts || header.Mirror != "m" || header.Sequence != 3 || header.Created != delta.Header.Created || len(header.Bases) > 0 {
		t.Errorf("header %+v", header)
	}
	if len(delta.Header.Bases) != 2 || delta.Header.Counts.Based != 6 {
		t.Errorf("the delta was changed: %+v", delta.Header)
	}
	again := filepath.Join(t.TempDir(), "again.tar")
	if _, err := w.over(t, w.bases[1], w.bases[0]).Join(t.Context(), w.key, again, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, again), content) {
		t.Error("the same inputs gave other bytes")
	}
}

func TestJoinNeedsAllBases(t *testing.T) {
	w := newJoining(t)
	path := filepath.Join(t.TempDir(), "whole.tar")
	_, err := w.over(t, w.bases[1]).Join(t.Context(), w.key, path, nil)
	if !errors.Is(err, verify.ErrLacking) || !strings.Contains(err.Error(), w.bases[0].ManifestIndex.String()) || strings.Contains(err.Error(), w.bases[1].ManifestIndex.String()) {
		t.Errorf("one base lacks: %v", err)
	}
	if _, err := w.open(t, w.bases[0].Bytes).Join(t.Context(), w.key, path, nil); !errors.Is(err, bundle.ErrUnsupported) {
		t.Errorf("a bundle that leaves nothing out: %v", err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.over(t, w.bases...).Join(t.Context(), w.key, path, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file that is there: %v", err)
	}
}

// stopper cancels when so many bytes have been copied.
type stopper struct {
	bundle.Observer

	after  int64
	cancel context.CancelFunc
	done   atomic.Int64
	total  atomic.Int64
}

func (s *stopper) Phase(name string, total int64) {
	if name == "join" {
		s.total.Store(total)
	}
}

func (s *stopper) Add(n int64) {
	if s.done.Add(n) > s.after {
		s.cancel()
	}
}

// Broken off anywhere, by an end of its own or of the process, it goes on where it was, and what another run has left is no hindrance.
func TestJoinGoesOn(t *testing.T) {
	w := newJoining(t)
	whole := filepath.Join(t.TempDir(), "whole.tar")
	if _, err := w.over(t, w.bases...).Join(t.Context(), w.key, whole, nil); err != nil {
		t.Fatal(err)
	}
	want := read(t, whole)
	other := generate(t)
	for name, test := range map[string]struct {
		key   *signature.PrivateKey // of the first run
		spoil func([]byte) []byte
		fresh bool // nothing can be used
	}{
		"as it was left":       {w.key, func(b []byte) []byte { return b }, false},
		"with holes":           {w.key, func(b []byte) []byte { return append(b[:len(b)/2:len(b)/2], make([]byte, len(b)-len(b)/2)...) }, false},
		"by another key":       {other, func(b []byte) []byte { return b }, true},
		"with a broken head":   {w.key, func(b []byte) []byte { b[700] ^= 1; return b }, true},
		"with hardly a head":   {w.key, func(b []byte) []byte { return b[:100] }, true},
		"with nothing written": {w.key, func([]byte) []byte { return nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "whole.tar")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := &stopper{Observer: bundle.Observe(nil), after: 5 << 20, cancel: cancel}
			if _, err := w.over(t, w.bases...).Join(ctx, test.key, path, stop); !errors.Is(err, context.Canceled) {
				t.Fatalf("broken off: %v", err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it has its name: %v", err)
			}
			partial := path + bundle.PartialSuffix
			if err := os.WriteFile(partial, test.spoil(read(t, partial)), 0o600); err != nil {
				t.Fatal(err)
			}
			seen := &stopper{Observer: bundle.Observe(nil), after: 1 << 60}
			if _, err := w.over(t, w.bases...).Join(t.Context(), w.key, path, seen); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(read(t, path), want) {
				t.Error("other bytes than in one go")
			}
			if fresh := seen.total.Load() >= layers<<20; fresh != test.fresh {
				t.Errorf("%d bytes were copied anew", seen.total.Load())
			}
			if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A key that is held elsewhere signs otherwise each time, and may want a person: it is asked once, however often the join is broken off.
func TestJoinSignsOnce(t *testing.T) {
	w := newJoining(t)
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := signature.NewPublicKey(secret.Public())
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	key := signature.HeldElsewhere(public, func(signed []byte) ([]byte, error) {
		asked++
		return secret.Sign(rand.Reader, signed, nil)
	})
	path := filepath.Join(t.TempDir(), "whole.tar")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop := &stopper{Observer: bundle.Observe(nil), after: 5 << 20, cancel: cancel}
	if _, err := w.over(t, w.bases...).Join(ctx, key, path, stop); !errors.Is(err, context.Canceled) {
		t.Fatalf("broken off: %v", err)
	}
	seen := &stopper{Observer: bundle.Observe(nil), after: 1 << 60}
	if _, err := w.over(t, w.bases...).Join(t.Context(), key, path, seen); err != nil {
		t.Fatal(err)
	}
	if asked != 1 || seen.total.Load() >= layers<<20 {
		t.Errorf("asked %d times to sign, %d bytes copied anew", asked, seen.total.Load())
	}
	if _, err := open(t, read(t, path), false, public); err != nil {
		t.Error(err)
	}
}

// Content that is wrong in a base never gets into the whole.
func TestJoinChecksWhatItCopies(t *testing.T) {
	w := newJoining(t)
	spoiled := *w.bases[0]
	spoiled.Bytes = bytes.Clone(spoiled.Bytes)
	spoiled.Bytes[len(spoiled.Bytes)-2000] ^= 1
	path := filepath.Join(t.TempDir(), "whole.tar")
	_, err := w.over(t, &spoiled, w.bases[1]).Join(t.Context(), w.key, path, nil)
	if !errors.Is(err, bundle.ErrDigest) || !strings.Contains(err.Error(), "in m@1 of ") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it has its name: %v", err)
	}
	if _, err := w.over(t, w.bases...).Join(t.Context(), w.key, path, nil); err != nil {
		t.Errorf("with the right one: %v", err)
	}
}
