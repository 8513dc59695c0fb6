package proof_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"airgap/bundle"
	"airgap/verify/party"
	"airgap/verify/proof"
	"airgap/verify/proof/prooftest"
	"airgap/verify/signature"
)

// layers is a manifest of layers that are all the same.
func layers(n int, layer prooftest.Layer, size int64) *bundle.Manifest {
	d := bundle.Descriptor{MediaType: layer.MediaType, Digest: bundle.DigestOf(layer.Content), Size: size, Annotations: layer.Annotations}
	return &bundle.Manifest{Layers: slices.Repeat([]bundle.Descriptor{d}, n)}
}

// attested returns an attestation of the World's image by its key p256, and who that is.
func attested(t testing.TB, w *prooftest.World, form string) (prooftest.Layer, *party.Party) {
	t.Helper()
	return w.Attested(json.RawMessage(`{"serial":12345678901234567890,"HTTP_PROXY":1,"http_proxy":2}`))[form][0].Layers[0], whoHas(t, w.Keys["p256"])
}

func whoHas(t testing.TB, keys ...crypto.Signer) *party.Party {
	t.Helper()
	whose := &party.Party{Name: "us"}
	for _, key := range keys {
		public, err := signature.NewPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		whose.Keys = append(whose.Keys, party.Key{PublicKey: public})
	}
	return whose
}

// TestTooLarge: what is larger than MaxSize is broken and is not asked for, and spoils nothing beside it.
func TestTooLarge(t *testing.T) {
	w := prooftest.NewWorld(t)
	layer, us := attested(t, w, "envelope")
	m := layers(2, layer, int64(len(layer.Content)))
	m.Layers[0].Size = proof.MaxSize + 1
	opened := 0
	proofs, err := proof.Read(context.Background(), proof.Carrier{Manifest: m, About: w.About}, func(context.Context, bundle.Descriptor) ([]byte, error) {
		opened++
		return layer.Content, nil
	})
	if err != nil || len(proofs) != 2 || opened != 1 {
		t.Fatalf("%d proofs of %d opened, %v", len(proofs), opened, err)
	}
	if _, err := proofs[0].By(us); !errors.Is(err, proof.ErrBroken) {
		t.Errorf("the large one: %v", err)
	}
	if _, err := proofs[1].By(us); err != nil {
		t.Errorf("the one beside it: %v", err)
	}
}

// TestTooMany: of one manifest a thousand layers are read, and every one that is not is told of.
func TestTooMany(t *testing.T) {
	w := prooftest.NewWorld(t)
	layer, us := attested(t, w, "envelope")
	opened := 0
	proofs, err := proof.Read(context.Background(), proof.Carrier{Manifest: layers(1003, layer, 1), About: w.About}, func(context.Context, bundle.Descriptor) ([]byte, error) {
		opened++
		return layer.Content, nil
	})
	if err != nil || len(proofs) != 1003 || opened != 1000 {
		t.Fatalf("%d proofs of %d opened, %v", len(proofs), opened, err)
	}
	if _, err := proofs[999].By(us); err != nil {
		t.Errorf("the last that is read: %v", err)
	}
	if _, err := proofs[1000].By(us); !errors.Is(err, proof.ErrBroken) {
		t.Errorf("the first that is not: %v", err)
	}
}

// TestUnreadable: what cannot be opened is an error, and no state of a proof.
func TestUnreadable(t *testing.T) {
	w := prooftest.NewWorld(t)
	layer, _ := attested(t, w, "bundle")
	gone := errors.New("the disk is gone")
	if _, err := proof.Read(context.Background(), proof.Carrier{Manifest: layers(1, layer, 1), About: w.About},
		func(context.Context, bundle.Descriptor) ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

// TestStatement: numbers are as they are written, and keys that differ in case alone are two.
func TestStatement(t *testing.T) {
	w := prooftest.NewWorld(t)
	for _, form := range []string{"envelope", "bundle"} {
		layer, _ := attested(t, w, form)
		p := readOne(t, w, layer)
		statement, err := p.Statement()
		if err != nil {
			t.Fatal(err)
		}
		predicate := statement.(map[string]any)["predicate"].(map[string]any)
		if got := predicate["serial"]; got != json.Number("12345678901234567890") {
			t.Errorf("%s: serial %v", form, got)
		}
		if predicate["HTTP_PROXY"] != json.Number("1") || predicate["http_proxy"] != json.Number("2") {
			t.Errorf("%s: predicate %v", form, predicate)
		}
	}
}

func readOne(t testing.TB, w *prooftest.World, layer prooftest.Layer) *proof.Proof {
	t.Helper()
	proofs, err := proof.Read(context.Background(), proof.Carrier{Manifest: layers(1, layer, 1), About: w.About},
		func(context.Context, bundle.Descriptor) ([]byte, error) { return layer.Content, nil })
	if err != nil || len(proofs) != 1 {
		t.Fatalf("%d proofs, %v", len(proofs), err)
	}
	return proofs[0]
}

// TestOneKeyTwice: two signatures by one key are by one signer, and by two keys are by two, whichever form they have.
func TestOneKeyTwice(t *testing.T) {
	w := prooftest.NewWorld(t)
	us := whoHas(t, w.Keys["p256"], w.Keys["p384"], w.Keys["other"])
	signers := func(names ...string) int {
		seen := map[string]bool{}
		for _, c := range w.Cases() {
			if slices.Contains(names, c.Name) {
				for _, p := range readCase(t, w, c) {
					signer, err := p.By(us)
					if err != nil {
						t.Fatalf("%s: %v", c.Name, err)
					}
					seen[signer.ID()] = true
				}
			}
		}
		return len(seen)
	}
	if n := signers("sig tag by p256", "bundle by p256", "att tag by p256"); n != 1 {
		t.Errorf("one key in three forms is %d signers", n)
	}
	if n := signers("sig tag by p256", "sig tag by p384", "bundle by another key"); n != 3 {
		t.Errorf("three keys are %d signers", n)
	}
}

// TestReadBundle: a Sigstore bundle in a file says the same as one in a layer; one over bare bytes proves nothing about a digest.
func TestReadBundle(t *testing.T) {
	w := prooftest.NewWorld(t)
	layer, us := attested(t, w, "bundle")
	if signer, err := proof.ReadBundle(layer.Content, w.About).By(us); err != nil || signer.Key != us.Keys[0].Digest() {
		t.Errorf("by %+v, %v", signer, err)
	}
	if _, err := proof.ReadBundle(layer.Content, w.Other).By(us); !errors.Is(err, proof.ErrSubject) {
		t.Errorf("about something else: %v", err)
	}
	for _, c := range w.Cases() {
		if c.Name == "a message signature over the manifest" {
			if _, err := proof.ReadBundle(c.Carriers[0].Layers[0].Content, w.About).By(us); !errors.Is(err, proof.ErrBroken) {
				t.Errorf("over bare bytes: %v", err)
			}
		}
	}
}

// TestAtOnce: By may be asked from several goroutines, and says the same to all. (For the race detector.)
func TestAtOnce(t *testing.T) {
	w := prooftest.NewWorld(t)
	for _, c := range w.Cases() {
		proofs := readCase(t, w, c)
		want := verdict(proofs, c)
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				if got := verdict(proofs, c); !errors.Is(got, c.Want) {
					t.Errorf("%s: %v, before that %v", c.Name, got, want)
				}
			})
		}
		group.Wait()
	}
}

// TestOffline: nothing that verifies names what would ask a network: sigstore-go's clients for TUF, Fulcio and Rekor, and the functions that fetch a
// trusted root. Below verify only what signs, on the connected side, may.
func TestOffline(t *testing.T) {
	forbidden := []string{"net/http", "github.com/sigstore/sigstore-go/pkg/sign", "github.com/sigstore/sigstore-go/pkg/tuf", "github.com/theupdateframework/", "github.com/sigstore/rekor/pkg/client"}
	seen := 0
	err := fs.WalkDir(os.DirFS(".."), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/") || strings.HasPrefix(path, "signature/") {
			return err
		}
		seen++
		content, err := os.ReadFile(filepath.Join("..", path))
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, content, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(forbidden, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				t.Errorf("%s imports %s", path, name)
			}
		}
		for _, call := range []string{"root.Fetch", "root.GetTrustedRoot", "root.NewLiveTrustedRoot"} {
			if strings.Contains(string(content), call) {
				t.Errorf("%s calls %s", path, call)
			}
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Fatalf("%d files, %v", seen, err)
	}
}
