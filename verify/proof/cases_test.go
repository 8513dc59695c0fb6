package proof_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"airgap/bundle"
	"airgap/verify/proof"
	"airgap/verify/proof/prooftest"
)

// readCase reads the proofs of a case as they would be found in a registry.
func readCase(t testing.TB, w *prooftest.World, c prooftest.Case) []*proof.Proof {
	t.Helper()
	var all []*proof.Proof
	about := bundle.Descriptor{MediaType: bundle.MediaTypeOCIManifest, Digest: w.About, Size: int64(len(w.Image))}
	for _, carrier := range c.Carriers {
		raw := carrier.Manifest(t, about)
		manifest, err := bundle.ParseManifest(bundle.MediaTypeOCIManifest, raw)
		if err != nil {
			t.Fatal(err)
		}
		proofs, err := proof.Read(context.Background(), proof.Carrier{
			Digest: bundle.DigestOf(raw), Manifest: manifest, About: w.About, AboutBytes: func() ([]byte, error) { return w.Image, nil },
		}, func(_ context.Context, d bundle.Descriptor) ([]byte, error) {
			for _, layer := range carrier.Layers {
				if bundle.DigestOf(layer.Content) == d.Digest {
					return layer.Content, nil
				}
			}
			t.Fatalf("%s: %s is asked for", c.Name, d.Digest)
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, proofs...)
	}
	return all
}

// verdict is what the case asks for: nil for one good proof, or else why the last is not.
func verdict(proofs []*proof.Proof, c prooftest.Case) error {
	err := prooftest.ErrAbsent
	for _, p := range proofs {
		asked := c.Type == "" && p.Kind == proof.Signature || c.Type != "" && p.Kind == proof.Attestation && p.PredicateType == c.Type
		if !asked && p.Problem == nil {
			continue
		}
		_, problem := p.By(c.Party)
		if problem == nil {
			return nil
		}
		err = problem
	}
	return err
}

// noNetwork fails the test that asks one.
type noNetwork struct{ t *testing.T }

// RoundTrip implements http.RoundTripper.
func (n noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("%s %s is asked for", r.Method, r.URL)
	return nil, errors.New("there is no network")
}

// TestCases: every case has the verdict that it should have; testdata/interop has cosign judge the same.
func TestCases(t *testing.T) {
	network := http.DefaultTransport
	http.DefaultTransport = noNetwork{t}
	t.Cleanup(func() { http.DefaultTransport = network })
	w := prooftest.NewWorld(t)
	cases := w.Cases()
	if len(cases) < 60 {
		t.Errorf("%d cases", len(cases))
	}
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.Name] {
			t.Errorf("two cases are called %q", c.Name)
		}
		seen[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			proofs := readCase(t, w, c)
			err := verdict(proofs, c)
			if !errors.Is(err, c.Want) {
				t.Errorf("got %v, want %v", err, c.Want)
			}
			t.Log(err)
		})
	}
}
