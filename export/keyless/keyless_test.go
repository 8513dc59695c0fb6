package keyless_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/root"

	"airgap/bundle"
	"airgap/export/keyless"
	"airgap/verify/party"
	"airgap/verify/proof"
	"airgap/verify/proof/prooftest"
	"airgap/verify/signature"
)

var index = bundle.DigestOf([]byte("a manifest index"))

func token(t *testing.T, text string) keyless.Token {
	t.Helper()
	parsed, err := keyless.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// sign signs the index with services.
func sign(ctx context.Context, t *testing.T, w *prooftest.World, s keyless.Services) ([]byte, error) {
	t.Helper()
	return keyless.Signer(ctx, s, token(t, w.Token()), http.DefaultTransport).Sign(index)
}

// builder is who the World's tokens are for.
func builder(t *testing.T, w *prooftest.World) *party.Party {
	t.Helper()
	trusted, err := root.NewTrustedRootFromJSON(w.TrustedRoot(false))
	if err != nil {
		t.Fatal(err)
	}
	return &party.Party{Name: "builder", Root: trusted, Identities: []party.Identity{{Issuer: prooftest.Issuer, Subject: prooftest.Subject}}}
}

// What is signed counts for who trusts the root, as what the identity has signed, with the time of the log, of the authority, or of both.
func TestSign(t *testing.T) {
	w := prooftest.NewWorld(t)
	all := w.Serve()
	for name, services := range map[string]keyless.Services{
		"log":           {Fulcio: all.Fulcio, Rekor: all.Rekor},
		"timestamp":     {Fulcio: all.Fulcio + "/", Timestamps: all.Timestamps},
		"log and stamp": {Fulcio: all.Fulcio, Rekor: all.Rekor, Timestamps: all.Timestamps},
	} {
		if err := services.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		signed, err := sign(t.Context(), t, w, services)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p := proof.ReadBundle(signed, index)
		signer, err := p.By(builder(t, w))
		if err != nil || p.Kind != proof.Signature || signer.Issuer != prooftest.Issuer || signer.Subject != prooftest.Subject || signer.Time.IsZero() {
			t.Errorf("%s: by %+v, %v", name, signer, err)
		}
		stranger := builder(t, prooftest.NewWorld(t))
		if _, err := proof.ReadBundle(signed, index).By(stranger); !errors.Is(err, proof.ErrUntrusted) {
			t.Errorf("%s: under another root: %v", name, err)
		}
		again := keyless.Signer(t.Context(), services, token(t, w.Token()), http.DefaultTransport)
		if err := again.Check(signed, index); err != nil {
			t.Errorf("%s: not known again: %v", name, err)
		}
		if err := again.Check(signed, bundle.EmptyJSON); !errors.Is(err, signature.ErrWrongSubject) {
			t.Errorf("%s: known again over something else: %v", name, err)
		}
	}
}

// A service that refuses, is not there, leads elsewhere, or talks nonsense is an error that names it and has no token in it.
func TestSignFails(t *testing.T) {
	w := prooftest.NewWorld(t)
	good := w.Serve()
	elsewhere := httptest.NewServer(http.RedirectHandler(good.Fulcio, http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	nonsense := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusCreated)
		fmt.Fprint(rw, `{"x":{}}`)
	}))
	defer nonsense.Close()
	for name, c := range map[string]struct {
		services keyless.Services
		says     string
	}{
		"leads elsewhere":  {keyless.Services{Fulcio: elsewhere.URL, Rekor: good.Rekor}, "lead elsewhere"},
		"no such path":     {keyless.Services{Fulcio: good.Rekor, Rekor: good.Rekor}, "404"},
		"no certificates":  {keyless.Services{Fulcio: nonsense.URL, Rekor: good.Rekor}, "201"},
		"an empty log":     {keyless.Services{Fulcio: good.Fulcio, Rekor: nonsense.URL}, ""},
		"stamps that none": {keyless.Services{Fulcio: good.Fulcio, Timestamps: nonsense.URL}, ""},
	} {
		_, err := sign(t.Context(), t, w, c.services)
		if !errors.Is(err, keyless.ErrSign) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), w.Token()[20:60]) {
			t.Errorf("%s: the token is in the error: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sign(ctx, t, w, keyless.Services(good)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		services keyless.Services
		good     bool
	}{
		"public":             {keyless.PublicGood, true},
		"this machine":       {keyless.Services{Fulcio: "http://127.0.0.1:5555", Timestamps: "http://localhost/ts"}, true},
		"no time":            {keyless.Services{Fulcio: "https://fulcio.example"}, false},
		"nobody":             {keyless.Services{Rekor: "https://rekor.example"}, false},
		"no TLS":             {keyless.Services{Fulcio: "http://fulcio.example", Rekor: "https://rekor.example"}, false},
		"not an address":     {keyless.Services{Fulcio: "fulcio.example", Rekor: "https://rekor.example"}, false},
		"with a password":    {keyless.Services{Fulcio: "https://u:p@fulcio.example", Rekor: "https://rekor.example"}, false},
		"looks like a local": {keyless.Services{Fulcio: "http://127.0.0.1.example", Rekor: "https://rekor.example"}, false},
	} {
		if err := c.services.Check(); (err == nil) != c.good || err != nil && !errors.Is(err, keyless.ErrServices) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestToken(t *testing.T) {
	w := prooftest.NewWorld(t)
	good := token(t, "  "+w.Token()+"\n")
	if good.Issuer != prooftest.Issuer || good.Subject != prooftest.Subject {
		t.Errorf("%v", good)
	}
	for _, verb := range []string{"%v", "%+v", "%s", "%#v"} {
		if text := fmt.Sprintf(verb, good); strings.Contains(text, w.Token()[20:60]) {
			t.Errorf("%s shows the token: %s", verb, text)
		}
	}
	for _, bad := range []string{"", "x", "a.b.c", "airgap.key", "e30.e30.x", w.Token() + ".y"} {
		if _, err := keyless.ParseToken(bad); !errors.Is(err, keyless.ErrToken) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
