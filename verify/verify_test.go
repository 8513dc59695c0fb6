package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/export"
	"airgap/export/registry"
	"airgap/export/registry/registrytest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signature"
)

// images is a registry with two images that share a layer; the config of the second lies about it.
func images(t *testing.T) *registrytest.Server {
	t.Helper()
	s := registrytest.New(t)
	layer := s.AddBlob("acme/app", "application/vnd.oci.image.layer.v1.tar", []byte(strings.Repeat("layer", 1000)))
	for tag, diffID := range map[string]bundle.Digest{"good": layer.Digest, "liar": bundle.EmptyJSON} {
		config := s.AddBlob("acme/app", "application/vnd.oci.image.config.v1+json",
			[]byte(fmt.Sprintf(`{"config":{"Labels":{"a":"1","A":"2"}},"rootfs":{"type":"layers","diff_ids":[%q]}}`, diffID)))
		content, err := json.Marshal(bundle.Manifest{SchemaVersion: 2, MediaType: bundle.MediaTypeOCIManifest, Config: &config, Layers: []bundle.Descriptor{layer}})
		if err != nil {
			t.Fatal(err)
		}
		s.AddManifest("acme/app", tag, bundle.MediaTypeOCIManifest, content)
	}
	return s
}

func exported(t *testing.T, s *registrytest.Server, sign bundle.Signer, tags ...string) []byte {
	t.Helper()
	client := registry.New(registry.Config{Host: func(string) registry.HostConfig { return registry.HostConfig{PlainHTTP: true} }})
	var requests export.Requests
	for _, tag := range tags {
		request, err := export.ParseRequest(s.Host() + "/acme/app:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		requests = append(requests, request)
	}
	var out bytes.Buffer
	if _, err := export.Run(t.Context(), client, requests, export.Signer{Sign: sign}, export.ToStream(&out), export.Options{Created: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func generate(t *testing.T) *signature.PrivateKey {
	t.Helper()
	key, err := signature.Generate(signature.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signWith(key *signature.PrivateKey) bundle.Signer {
	return func(d bundle.Digest) ([]byte, error) { return signature.Sign(key, d) }
}

// open opens b as a file or as a pipe.
func open(t *testing.T, b []byte, pipe bool, keys ...signature.PublicKey) (*verify.Bundle, error) {
	t.Helper()
	var sealed *bundle.Sealed
	var err error
	if pipe {
		sealed, err = bundle.Open(bundle.FromReader(bytes.NewReader(b)))
	} else {
		sealed, err = bundle.Open(bundle.FromReaderAt(bytes.NewReader(b), int64(len(b))))
	}
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := sealed.Close(); err != nil {
			t.Error(err)
		}
	})
	return verify.Open(t.Context(), sealed, verify.Trust{Policy: policy.OfKeys(keys)})
}

func TestOpenDemandsATrustedSignature(t *testing.T) {
	s, key, other := images(t), generate(t), generate(t)
	for name, test := range map[string]struct {
		sign bundle.Signer
		keys []signature.PublicKey
		want error
	}{
		"any match is enough": {signWith(key), []signature.PublicKey{other.Public(), key.Public()}, nil},
		"no key":              {signWith(key), nil, verify.ErrNoKey},
		"another key":         {signWith(other), []signature.PublicKey{key.Public()}, signature.ErrUntrustedKey},
		"another subject": {func(bundle.Digest) ([]byte, error) { return signature.Sign(key, bundle.EmptyJSON) },
			[]signature.PublicKey{key.Public()}, signature.ErrWrongSubject},
		"another predicate type": {func(d bundle.Digest) ([]byte, error) {
			return signature.Attest(key, d, "https://example.com/other", json.RawMessage("{}"))
		},
			[]signature.PublicKey{key.Public()}, signature.ErrWrongPredicate},
		"no signature": {func(bundle.Digest) ([]byte, error) { return []byte("{ }"), nil }, []signature.PublicKey{key.Public()}, signature.ErrMalformed},
	} {
		b := exported(t, s, test.sign, "good")
		for _, pipe := range []bool{false, true} {
			checked, err := open(t, b, pipe, test.keys...)
			if !errors.Is(err, test.want) {
				t.Errorf("%s, pipe %t: %v, want %v", name, pipe, err, test.want)
			}
			if (checked == nil) != (test.want != nil) {
				t.Errorf("%s, pipe %t: a bundle came back: %t", name, pipe, checked != nil)
			}
			if err == nil && (len(checked.Signers()) != 1 || checked.Signers()[0].Key != key.Public().Digest()) {
				t.Errorf("%s: matched %v", name, checked.Signers())
			}
		}
	}
}

func TestCheckBlobsNamesEveryProblem(t *testing.T) {
	key := generate(t)
	b := exported(t, images(t), signWith(key), "good", "liar")
	layer := bytes.Index(b, []byte("layerlayer"))
	config := bytes.Index(b, []byte(`{"config":{"Labels"`))
	b[layer] ^= 1
	b[config] ^= 1
	checked, err := open(t, b, false, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	err = checked.CheckBlobs(t.Context(), nil)
	if !errors.Is(err, bundle.ErrDigest) {
		t.Fatalf("spoilt blobs: %v", err)
	}
	for _, want := range []string{"acme/app:", ", layer sha256:", ", config sha256:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in the error:\n%v", want, err)
		}
	}
}

func TestDeep(t *testing.T) {
	s, key := images(t), generate(t)
	for _, pipe := range []bool{false, true} {
		good, err := open(t, exported(t, s, signWith(key), "good"), pipe, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := good.CheckBlobsDeep(t.Context(), nil); err != nil {
			t.Errorf("pipe %t: %v", pipe, err)
		}
		liar, err := open(t, exported(t, s, signWith(key), "good", "liar"), pipe, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		err = liar.CheckBlobsDeep(t.Context(), nil)
		if !errors.Is(err, verify.ErrLayer) || !strings.Contains(err.Error(), "acme/app:liar") {
			t.Errorf("pipe %t: a config that lies: %v", pipe, err)
		}
	}
}

func TestCancelledCheckIsNoCleanOne(t *testing.T) {
	key := generate(t)
	b := exported(t, images(t), signWith(key), "good")
	for _, pipe := range []bool{false, true} {
		checked, err := open(t, b, pipe, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := checked.CheckBlobs(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("pipe %t: %v", pipe, err)
		}
	}
}
